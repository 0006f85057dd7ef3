"""What a picture shows of a copy: site and source side by side, their noise where it looks most alike, and at which
shifts of one over the other all of it agrees: at one alone, as only a copy does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from CTForgeryScanLib.evidence.finding import Exhibit, Tile
from CTForgeryScanLib.evidence.noise import Floats, LungNoise, Number, about
from CTForgeryScanLib.evidence.published_block import Kji
from CTForgeryScanLib.volume import Volume

_ZOOMED = 21  # pixels of the part whose noise is shown, few enough to be told apart by eye
_EVEN = 0.9  # share of the part that should be even lung at both places
_SMOOTHED = 0.7  # pixels (sigma): single pixels agree less than small neighbourhoods do
_SHIFTS = 10  # pixels either way


def exhibit(
    volume: Volume, noise: LungNoise, site: Kji, source: Kji, side: int, symmetry: int = 0
) -> Exhibit:
    """Site and source, centres [k, j, i] of boxes of ``side`` voxels, in the slice in which their noise is most alike.

    The source is shown as the site has it: mirrored where ``symmetry`` is 4 or more, then turned by ``symmetry % 4``
    quarter turns.
    """
    by = site[0] - source[0]
    first = max(0, by, site[0] - side // 2)
    stop = min(len(volume.hu), len(volume.hu) + by, site[0] - side // 2 + side)
    here = noise.about(*site[1:], side)[first:stop]
    there = as_copied(noise.about(*source[1:], side)[first - by : stop - by], symmetry)
    both = (here != 0) & (there != 0)
    grain = [_smoothed(values, both) for values in (here, there)]
    at, row, column = _most_alike(grain[0], grain[1], both)
    k = first + at
    part = (at, slice(row, row + _ZOOMED), slice(column, column + _ZOOMED))
    marked = (row, column, min(_ZOOMED, side))
    turned = "turned" if symmetry else "copied"
    site_hu = about(volume.hu[k], *site[1:], side, -1000)
    source_hu = as_copied(about(volume.hu[k - by], *source[1:], side, -1000), symmetry)
    return Exhibit(
        "Copied noise: laid over one another, the noise of two places agrees at one shift alone (right), "
        "as only a copy does.",
        (
            Tile(f"site: slice {k}, pixel ({site[2]}, {site[1]})", site_hu.astype(np.float32), "hu", marked),
            Tile(
                f"{turned} from: {k - by}, ({source[2]}, {source[1]})",
                source_hu.astype(np.float32),
                "hu",
                marked,
            ),
            Tile("noise in the site's square", grain[0][part], "noise"),
            Tile("noise it was copied from", grain[1][part], "noise"),
            Tile(
                f"agreement, shifted by up to {_SHIFTS} pixels", np.abs(_agreement(here, there)), "strength"
            ),
        ),
    )


def as_copied(values: NDArray[Number], symmetry: int) -> NDArray[Number]:
    """A source [..., j, i] as its copy in this symmetry of the square."""
    return np.rot90(values[..., ::-1] if symmetry >= 4 else values, symmetry % 4, axes=(-2, -1))


def _smoothed(noise: Floats, both: NDArray[np.bool_]) -> Floats:
    """Noise [k, j, i] where both places have some, smoothed in the plane; 0 elsewhere."""
    sigma = (0, _SMOOTHED, _SMOOTHED)
    share = ndimage.gaussian_filter(both.astype(np.float32), sigma)
    smooth: Floats = ndimage.gaussian_filter(noise * both, sigma) / np.maximum(share, 0.1) * both
    return smooth


def _most_alike(here: Floats, there: Floats, both: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Slice, first row and first column of the part in which the noise of two places [k, j, i] correlates best."""
    size = min(_ZOOMED, here.shape[1])
    product, own, other, even = (
        ndimage.uniform_filter(values, (0, size, size), mode="constant")
        for values in (here * there, np.square(here), np.square(there), both.astype(np.float32))
    )
    # Where no part is even enough, the most even one.
    likeness = np.where(even > _EVEN, product / np.sqrt(own * other + 1e-9), even - 2)
    half = size // 2
    inside = likeness[:, half : half + here.shape[1] - size + 1, half : half + here.shape[2] - size + 1]
    k, row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(k), int(row), int(column)


def _agreement(here: Floats, there: Floats) -> Floats:
    """Correlation of all slices at each shift within ±10 pixels [j, i], in standard deviations of independent noise."""
    size = [fft.next_fast_len(n + _SHIFTS, real=True) for n in here.shape[1:]]
    shifts = np.arange(-_SHIFTS, _SHIFTS + 1)

    def at_shifts(site: Floats, source: Floats) -> Floats:
        spectrum = (fft.rfft2(site, s=size) * np.conj(fft.rfft2(source, s=size))).sum(axis=0)
        part: Floats = fft.irfft2(spectrum, s=size)[np.ix_(shifts, shifts)]
        return part

    energy = at_shifts(np.square(here), np.square(there)).clip(min=1)
    return (at_shifts(here, there) / np.sqrt(energy)).astype(np.float32)
