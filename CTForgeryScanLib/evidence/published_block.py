"""CT-GAN's published block: where its touch-up takes the noise from, and along which slices it pasted it.

Row and column of a copy are known to the pixel from the shift at which its noise agrees. Along k the block is often
higher than what is left of the scan, so that neither of its ends is in it. Then the repainted cube in its middle shows
where it lies: with the copied noise taken away again, a generator's smooth tissue is left in the cube, the scan's own
noise about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import norm

from CTForgeryScanLib.evidence.noise import Floats, Mask, clip_anatomy, without_anatomy

Kji = tuple[int, int, int]
Profile = NDArray[np.float64]

ROW, COLUMN = 0.43, 0.27
"""Where the published touch-up takes its block, as a share of rows and columns; along k at half the slices."""

COPIED_HU = -800
"""Brighter voxels of the block are replaced by the mean of the rest before its noise is added to a site."""

REMOVAL_SIGMAS = 0.1
"""Width of the dome by which a removal is blended in."""

_CUBE_MM = 32
_LEAST_ENERGY = 20.0  # of the source's noise in a slice: with less its agreement is not known
_FEWEST_PIXELS = 30  # of even lung in a slice: with fewer its noise level is not known
_FEWEST_SLICES = 5
_FINE = 3  # side in pixels of the mean above which noise is told from tissue in the cube, which is smooth up to there
_NEW = 0.5  # share of what a slice says that its neighbours have not said
_OFF_MIDDLE = 0.1  # how far from the middle of what is left the source may well be, as a share of the slices
_SURE = 6.0  # log-likelihood by which other slices must be better than the published ones to be believed
_ALIKE = 0.5  # log-likelihood by which slices are as likely as the best


@dataclass(frozen=True)
class Column:
    """The lung about a place in all slices: HU [k, side, side], and whitened noise, 0 where there is no even lung."""

    hu: NDArray[np.int16]
    noise: Floats


def cube_sides(spacing_mm: tuple[float, float, float]) -> Kji:
    """Voxels (k, j, i) of the cube of 32 mm that is repainted."""
    i, j, k = (max(1, round(_CUBE_MM / spacing)) for spacing in spacing_mm)
    return k, j, i


def block_side(spacing_mm: tuple[float, float, float]) -> int:
    """Side in voxels, the same along every axis, of the block that the touch-up copies (published rule)."""
    return int(1.3 * max(cube_sides(spacing_mm)))


def published_columns(shape: Kji, side: int) -> list[tuple[int, int]]:
    """First (row, column) of the touch-up's block in a volume [k, j, i], as it was and flipped in the plane."""
    rows, columns = shape[1:]
    j, i = int(ROW * rows) - side // 2, int(COLUMN * columns) - side // 2
    return [(j, i), (j, columns - i - side), (rows - j - side, i), (rows - j - side, columns - i - side)]


def dome(side: int, sigmas: float) -> Profile:
    """The weight [side, side] in 0...1 by which the published program blends a block in, constant along k."""
    half = sigmas + (sigmas + 0.5) / side
    profile = np.diff(norm.cdf(np.linspace(-half, half, side + 1)))
    weight = np.sqrt(np.outer(profile, profile))
    return np.asarray((weight - weight.min()) / (weight.max() - weight.min()))


def source_slice(source: Column, site: Column, shift: int, cube: Kji) -> int:
    """The slice in which the centre of the copied block lies.

    Args:
        source: where the block was taken.
        site: where it was added.
        shift: slices from the source to the site.
        cube: voxels of the repainted cube.

    Returns:
        The published slice, half of all, as cut or turned upside down since, unless another fits clearly better.
    """
    slices, side = site.hu.shape[:2]
    agreement = _agreement(_moved(source.noise, shift), site.noise)
    level = _noise_level(_own_noise(source, site, shift), site.noise != 0, cube)
    centres = np.arange(max(0, -shift), min(slices, slices - shift))
    # Slices may be missing at either end: rather a few than many.
    likelihood = -0.5 * ((centres - (slices - 1) / 2) / (_OFF_MIDDLE * slices)) ** 2
    for n, centre in enumerate(centres + shift):
        block, middle = (_slices_of(centre, size, slices) for size in (side, cube[0]))
        # Both parts of the block hold some of the source, and nothing else of the scan does.
        likelihood[n] += _NEW * _log_likelihood(agreement, [block - middle, middle], [])
        # The cube took the scan's own noise away, whose level may change along k.
        likelihood[n] += _NEW * _log_likelihood(
            level, [-middle], [np.ones(slices), np.linspace(-1, 1, slices)]
        )
    for published in (slices // 2, slices - 1 - slices // 2):
        at = published - centres[0]
        if 0 <= at < len(centres) and likelihood[at] > likelihood.max() - _SURE:
            return published
    return int(np.median(centres[likelihood > likelihood.max() - _ALIKE]))


def _moved(column: Floats, shift: int) -> Floats:
    """A column so many slices further on, 0 where nothing comes from."""
    moved = np.zeros_like(column)
    slices = len(column)
    moved[max(0, shift) : slices + min(0, shift)] = column[max(0, -shift) : slices - max(0, shift)]
    return moved


def _own_noise(source: Column, site: Column, shift: int) -> Floats:
    """The site's noise in HU without the source's, which the touch-up added; 0 where there is no even lung."""
    copied = source.hu <= COPIED_HU
    added = np.where(copied, source.hu - source.hu[copied].mean(), 0).astype(np.float32)
    before = site.hu - _moved(added, shift) * dome(site.hu.shape[1], REMOVAL_SIGMAS).astype(np.float32)
    flat = site.noise != 0
    rest = np.stack([without_anatomy(*plane, _FINE) for plane in zip(before, flat, strict=True)])
    clip_anatomy(rest, flat)
    return rest


@dataclass(frozen=True)
class _Measured:
    """A measurement of each slice and how much it counts, 0 where it could not be made."""

    values: Profile
    weights: Profile


def _agreement(source: Floats, site: Floats) -> _Measured:
    """How much of the source's noise each slice of the site holds."""
    product = (site * source).sum(axis=(1, 2), dtype=np.float64)
    energy = (np.square(source) * (site != 0)).sum(axis=(1, 2), dtype=np.float64)
    energy[energy < _LEAST_ENERGY] = 0
    return _Measured(product / np.maximum(energy, _LEAST_ENERGY), energy)


def _noise_level(rest: Floats, flat: Mask, cube: Kji) -> _Measured:
    """Logarithm of the variance in the cube's cross-section of each slice."""
    j, i = (rest.shape[1] // 2 - n // 2 for n in cube[1:])
    inner = np.s_[:, j : j + cube[1], i : i + cube[2]]
    counts = np.count_nonzero(flat[inner], axis=(1, 2)).astype(np.float64)
    counts[counts < _FEWEST_PIXELS] = 0
    variance = np.square(rest[inner]).sum(axis=(1, 2), dtype=np.float64) / np.maximum(counts, 1)
    return _Measured(np.log(np.maximum(variance, 1e-6)), counts)


def _slices_of(centre: int, size: int, slices: int) -> Profile:
    """1 in the slices of a box of this size about a centre, 0 in the others."""
    inside = np.zeros(slices)
    inside[max(centre - size // 2, 0) : max(centre - size // 2 + size, 0)] = 1
    return inside


def _log_likelihood(measured: _Measured, parts: list[Profile], free: list[Profile]) -> float:
    """Of the measurement as a sum of the parts, none of them negative, and of whatever multiples of the free ones."""
    root = np.sqrt(measured.weights)
    count = np.count_nonzero(root)
    if count < _FEWEST_SLICES:
        return 0.0
    values, shapes = measured.values * root, np.stack(parts, axis=1) * root[:, None]
    if free:
        base, _ = np.linalg.qr(np.stack(free, axis=1) * root[:, None])
        values, shapes = values - base @ (base.T @ values), shapes - base @ (base.T @ shapes)
    rest = float(nnls(shapes, values)[1])
    return -count / 2 * float(np.log(max(rest**2, 1e-9) / count))
