"""Noise that was added to a place: in the finest detail it is stronger there than in the lung about it.

A reconstruction holds little of the finest detail that its pixels could show, and what noise it has changes slowly from
place to place. The removals among the slices that CT-GAN's authors published carry white noise of 10 to 24 HU, which
fills the finest detail too, strongest in the middle of the touched block and faded out towards its edge
(``training/measure_added_noise.py``); by CT-GAN's rules all of the block's slices are touched. In sharp kernels it
drowns in the scan's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import norm

from CTForgeryScanLib.evidence.finding import (
    Evidence,
    Exhibit,
    Finding,
    Place,
    Step,
    Tile,
    not_applicable,
    nothing_found,
)
from CTForgeryScanLib.evidence.noise import Floats, LungNoise, Mask, about
from CTForgeryScanLib.evidence.published_block import Kji, block_side
from CTForgeryScanLib.evidence.thresholds import Threshold
from CTForgeryScanLib.volume import Volume

TEST = "added_noise"

FEWEST_SLICES = 5
"""The median over so many slices is judged: streaks and motion stay in one or two, a touched block fills dozens."""

Index = TypeVar("Index", int, NDArray[np.intp])

NOT_JUDGED = -9.0
"""The excess where there is too little even lung."""

_INNER_MM, _RING_MM = 17.0, (56.0, 98.0)  # sides of the square that is judged, and of the ring about it
_LEAST_MM2 = (75.0, 400.0)  # of even lung in both
_FINEST = np.outer((1, -2, 1), (1, -2, 1)) / 6  # of white noise it keeps the standard deviation
_ROUNDED_HU = 0.3  # mean of the finest detail that rounding to whole HU leaves
_STRONG = 1.5  # times the ring's mean: what is stronger is counted, so that no single edge outweighs the rest
_OF_NORMAL = 1.197  # 1.5 means of a normal distribution's absolute values, in standard deviations
_STRIDE = 4
_PLACES = 8
_HALF = 0.5  # of a peak's excess, in logarithms, down to which a place reaches


@dataclass(frozen=True)
class Excess:
    """Logarithm of how many times stronger the finest detail is than about it, float32 [k, r, c].

    Taken every ``_STRIDE`` pixels from pixel ``first_ji`` of the volume on; ``NOT_JUDGED`` where it cannot be told.
    """

    values: Floats
    first_ji: tuple[int, int]

    def pixel(self, row: Index, column: Index) -> tuple[Index, Index]:
        """The pixel (j, i) of the volume at a place of the grid, or at several."""
        return self.first_ji[0] + _STRIDE * row, self.first_ji[1] + _STRIDE * column


def added_noise(volume: Volume, noise: LungNoise, threshold: Threshold, step: Step) -> list[Finding]:
    """Every place with stronger noise than the lung about it; or one answer that there is none.

    ``noise`` is the volume's. The score is how many times stronger it is, as a logarithm.
    """
    excess = find_excess(volume, noise, step)
    places = _peaks(excess, threshold.threshold, block_side(volume.spacing_mm))
    if places:
        return [_finding(volume, threshold, excess, place) for place in places]
    if excess.values.max(initial=NOT_JUDGED) <= NOT_JUDGED:
        return [Finding(not_applicable(TEST, "Added noise was not examined: no place has enough even lung."))]
    text = "Nowhere in the lung is the noise stronger than around it as where noise was added."
    return [Finding(nothing_found(TEST, text, float(excess.values.max()), threshold.threshold))]


def find_excess(volume: Volume, noise: LungNoise, step: Step) -> Excess:
    """The excess of all slices, as the median over ``FEWEST_SLICES``; ``noise`` is the volume's."""
    _, j, i = noise.first_kji
    rows, columns = noise.white.shape[1:]
    box = volume.hu[:, j : j + rows, i : i + columns]
    grid = np.empty((len(box), -(-rows // _STRIDE), -(-columns // _STRIDE)), np.float32)
    for k, (plane, white) in enumerate(zip(box, noise.white, strict=True)):
        grid[k] = _of_slice(plane, white != 0, volume.spacing_mm[0])
        step((k + 1) / len(box))
    median = ndimage.median_filter(grid, (min(FEWEST_SLICES, len(grid)), 1, 1), mode="nearest")
    return Excess(median, (j, i))


def finest_detail(plane: NDArray[np.int16]) -> Floats:
    """What of a slice [j, i] changes from pixel to pixel in both directions, in HU."""
    return np.asarray(ndimage.convolve(plane.astype(np.float32), _FINEST.astype(np.float32)))


def _of_slice(plane: NDArray[np.int16], flat: Mask, spacing_mm: float) -> Floats:
    """A slice's excess on the grid."""
    even = ndimage.minimum_filter(flat, 3)
    detail = np.abs(finest_detail(plane)) * even
    inner, near, far = (2 * round(mm / spacing_mm / 2) + 1 for mm in (_INNER_MM, *_RING_MM))

    def total(values: NDArray[np.generic], side: int) -> Floats:
        whole = ndimage.uniform_filter(values.astype(np.float32), side, mode="constant") * side**2
        return np.asarray(whole)

    def in_ring(values: NDArray[np.generic]) -> Floats:
        return total(values, far) - total(values, near)

    in_inner, about_it = total(even, inner), in_ring(even)
    mean = in_ring(detail) / np.maximum(about_it, 1)
    # Once more without the edges that stand out of it.
    mean = in_ring(np.minimum(detail, 3 * mean)) / np.maximum(about_it, 1) + _ROUNDED_HU
    strong = total(even & (detail > _STRONG * mean), inner) / np.maximum(in_inner, 1)
    # So large a share of normal noise is that strong; what standard deviation says that?
    excess = np.log(_OF_NORMAL / norm.isf(np.clip(strong, 0.01, 0.97) / 2))
    least = [mm2 / spacing_mm**2 for mm2 in _LEAST_MM2]
    excess[(in_inner < least[0]) | (about_it < least[1])] = NOT_JUDGED
    return np.asarray(excess[::_STRIDE, ::_STRIDE], np.float32)


def _peaks(excess: Excess, at_least: float, side: int) -> list[Kji]:
    """The highest places (k, r, c) of the grid that reach a score, a block (``side`` voxels) apart from one another."""
    values = excess.values.copy()
    apart = (side, side // _STRIDE, side // _STRIDE)
    peaks: list[Kji] = []
    while len(peaks) < _PLACES and values.max() >= at_least:
        k, r, c = (int(n) for n in np.unravel_index(int(np.argmax(values)), values.shape))
        peaks.append((k, r, c))
        near = (slice(max(at - by, 0), at + by + 1) for at, by in zip((k, r, c), apart, strict=True))
        values[tuple(near)] = NOT_JUDGED
    return peaks


def _slices(excess: Excess, peak: Kji) -> tuple[int, int]:
    """First and last slice about a peak in which the excess is at least half of it, or cannot be told."""
    k, r, c = peak
    column = excess.values[:, r, c]
    runs, _ = ndimage.label((column >= _HALF * column[k]) | (column == NOT_JUDGED))
    at = np.flatnonzero((runs == runs[k]) & (column != NOT_JUDGED))
    return int(at[0]), int(at[-1])


def _finding(volume: Volume, threshold: Threshold, excess: Excess, peak: Kji) -> Finding:
    first, last = _slices(excess, peak)
    j, i = excess.pixel(*peak[1:])
    score = float(excess.values[peak])
    center = (i, j, (first + last) // 2)
    ras = volume.ijk_to_ras_point(center)
    text = (
        f"About pixel ({i}, {j}) of slices {first} to {last} the finest detail of the noise is {np.exp(score):.1f} "
        f"times as strong as in the lung around it "
        f"({threshold.in_words(f'{np.exp(threshold.threshold):.1f} times')}). A scanner's noise changes slowly from "
        "place to place; it looks as if noise was added here."
    )
    half = block_side(volume.spacing_mm) // 2
    limits = volume.shape[::-1]
    extent = (
        (max(i - half, 0), min(i + half, limits[0] - 1)),
        (max(j - half, 0), min(j + half, limits[1] - 1)),
        (first, last),
    )
    evidence = Evidence(TEST, True, None, True, score, threshold.threshold, center, ras, text)
    shown = _exhibit(volume, excess, peak, 2 * half)
    return Finding(evidence, Place(extent, 1 - threshold.probability_untouched(score), shown))


def _exhibit(volume: Volume, excess: Excess, peak: Kji, side: int) -> Exhibit:
    """The place in its surroundings, its finest detail, and how strong that is."""
    k = peak[0]
    j, i = excess.pixel(*peak[1:])
    hu = about(volume.hu[k], j, i, 2 * side, -1000)
    detail = finest_detail(hu)
    strength = ndimage.uniform_filter(np.minimum(np.abs(detail), 60), 9)
    lung = ndimage.uniform_filter(np.clip(hu, -1024, 0).astype(np.float32), 7) < -600
    marked = (side // 2, side // 2, side)
    return Exhibit(
        "Added noise: in the finest detail (middle) the noise is stronger at this place than in the lung around it.",
        (
            Tile(f"site: slice {k}, pixel ({i}, {j})", hu.astype(np.float32), "hu", marked),
            # 0 would be no lung.
            Tile("its finest detail", np.where(detail == 0, 1e-3, detail) * lung, "noise", marked),
            Tile("how strong that is", strength * lung, "strength", marked),
        ),
    )
