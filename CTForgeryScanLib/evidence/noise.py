"""The noise of the lung laid bare: what the scanner left in flat lung, less anatomy, evened out over frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from CTForgeryScanLib.evidence.finding import Step
from CTForgeryScanLib.volume import Volume

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)

_LUNG_HU = (-970, -650)
"""Mean of the surroundings (7x7 pixels) that counts as lung."""

_AIR_HU, _TISSUE_HU = -1000, -500
"""A voxel at or below the first may have been clipped; above the second is no lung."""

_STEEPEST_HU = 20
"""Largest change of that mean from pixel to pixel: steeper is a vessel's or the chest wall's edge."""

_FLOOR = 0.03
"""Frequencies with less than this share of the strongest noise power count no more: there lies only rounding."""

_CLIP = 3.0
"""Values beyond so many standard deviations are anatomy."""

_SPREAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_REST = 5  # side in pixels of the mean that is taken away as anatomy
_REACH = 8  # pixels about a pixel that say whether it is flat lung, and some
_BLOCK = 4  # pixels by which the body is known
_ROWS_WITH_LUNG = 0.01  # share of the fullest row's (column's) flat lung with which the bounding box ends


@dataclass(frozen=True)
class LungNoise:
    """Whitened noise of the lung's bounding box.

    Attributes:
        white: float32 [k, j, i], unit variance, in -3...3; exactly 0 where there is no flat lung.
        first_kji: the box's first voxel in the volume.
        deviation_hu: standard deviation of the noise before it was whitened.
        bandwidth: share of the frequencies that the noise fills: 1 is white, smoothing lowers it.
        clipped: share of the lung at or below -1000 HU, where values may have been cut off.
    """

    white: Floats
    first_kji: tuple[int, int, int]
    deviation_hu: float
    bandwidth: float
    clipped: float

    def about(self, row: int, column: int, side: int) -> Floats:
        """A column of the noise [k, side, side] about a place of the volume; 0 beyond the box."""
        return about(self.white, row - self.first_kji[1], column - self.first_kji[2], side, 0)


def about(values: NDArray[Number], row: int, column: int, side: int, beyond: float) -> NDArray[Number]:
    """The ``side`` rows and columns about a place of values [..., j, i], ``beyond`` where they leave it."""
    cut = np.full((*values.shape[:-2], side, side), beyond, values.dtype)
    rows, columns = (
        slice(min(max(at - side // 2, 0), size), max(min(at - side // 2 + side, size), 0))
        for at, size in zip((row, column), values.shape[-2:], strict=True)
    )
    part = values[..., rows, columns]
    j, i = rows.start - row + side // 2, columns.start - column + side // 2
    if part.size:
        cut[..., j : j + part.shape[-2], i : i + part.shape[-1]] = part
    return cut


def lung_noise(volume: Volume, step: Step) -> LungNoise | None:
    """Lay the lung's noise bare; None where the volume has no flat lung.

    Flat lung is what has the density of lung in the body, without steep change and without voxels that may have been
    clipped. From it a mean over 5x5 flat voxels is subtracted, and what is left is divided, in the plane, by its own
    power spectrum over the whole scan. That is whitening twice: once so that neighbouring voxels say different
    things, once more since the frequencies in which noise is weak are those in which anatomy weighs least.
    """
    flat = np.empty(volume.shape, bool)
    lung = clipped = 0
    for k, plane in enumerate(volume.hu):
        flat[k], of_lung, cut = _flat_lung(plane)
        lung, clipped = lung + of_lung, clipped + cut
        step(0.5 * (k + 1) / len(flat))
    if not flat.any():
        return None
    rows, columns = (_span(flat.sum(axis=axes)) for axes in ((0, 2), (0, 1)))
    flat = np.ascontiguousarray(flat[:, rows, columns])
    rest = np.empty(flat.shape, np.float32)
    for k, plane in enumerate(volume.hu[:, rows, columns]):
        rest[k] = without_anatomy(plane, flat[k], _REST)
        step(0.5 + 0.2 * (k + 1) / len(flat))
    deviation = clip_anatomy(rest, flat)
    bandwidth = _whiten(rest, flat, step)
    return LungNoise(rest, (0, rows.start, columns.start), deviation, bandwidth, clipped / max(lung, 1))


def _flat_lung(plane: NDArray[np.int16]) -> tuple[Mask, int, int]:
    """Flat lung of a slice [j, i], its lung voxels in number, and how many of them are at or below -1000 HU."""
    flat, body = np.zeros(plane.shape, bool), body_of(plane)
    if not body.any():
        return flat, 0, 0
    # Only the body and what the filters reach about it.
    rows, columns = (
        slice(max(int(at[0]) - _REACH, 0), int(at[-1]) + 1 + _REACH)
        for at in (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    )
    values = np.clip(plane[rows, columns], -1024, _TISSUE_HU).astype(np.float32)
    mean = ndimage.uniform_filter(values, 7)
    down, across = np.gradient(ndimage.uniform_filter(mean, 3))
    lung = (mean > _LUNG_HU[0]) & (mean < _LUNG_HU[1]) & (np.hypot(down, across) < _STEEPEST_HU)
    lung &= body[rows, columns]
    clipped = values <= _AIR_HU
    flat[rows, columns] = lung & ~clipped & (values < _TISSUE_HU)
    return flat, int(np.count_nonzero(lung)), int(np.count_nonzero(lung & clipped))


def body_of(plane: NDArray[np.int16]) -> Mask:
    """The patient in a slice [j, i], known to a few pixels, without the cushions, whose foam has the density of lung.

    The convex hull of the largest dense object, for lung that the field of view cuts open is not inside its outline.
    """
    rows, columns = (n // _BLOCK for n in plane.shape)
    blocks = plane[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    dense = np.maximum(blocks, -1024).mean(axis=(1, 3)) > _TISSUE_HU
    # Beyond the edge the body goes on: a wall that the image cuts is not thin.
    dense = ndimage.binary_opening(np.pad(dense, 2, mode="edge"), np.ones((2, 2)))[2:-2, 2:-2]
    parts, count = ndimage.label(dense)
    body = np.zeros(plane.shape, bool)
    if count:
        hull = convex_hull_image(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))
        body[: rows * _BLOCK, : columns * _BLOCK] = hull.repeat(_BLOCK, 0).repeat(_BLOCK, 1)
    return body


def _span(counts: NDArray[np.int64]) -> slice:
    """From the first to the last row or column that holds a fair share of the lung."""
    filled = np.flatnonzero(counts >= _ROWS_WITH_LUNG * counts.max())
    return slice(int(filled[0]), int(filled[-1]) + 1)


def without_anatomy(plane: NDArray[np.int16] | Floats, flat: Mask, side: int) -> Floats:
    """A slice [j, i] less the mean of the flat voxels in a square of ``side`` about each; 0 where it is not flat."""
    values = plane * flat.astype(np.float32)
    share = ndimage.uniform_filter(flat.astype(np.float32), side)
    return (plane - ndimage.uniform_filter(values, side) / np.maximum(share, 1e-3)) * flat


def clip_anatomy(rest: Floats, flat: Mask) -> float:
    """Clip in place what sticks out of the noise; returns the noise's standard deviation."""
    deviation = _deviation(rest[flat])
    np.clip(rest, -_CLIP * deviation, _CLIP * deviation, out=rest)
    return deviation


def _deviation(values: Floats) -> float:
    """Standard deviation of the bulk of the values; never 0."""
    return max(_SPREAD * float(np.median(np.abs(values))), 1e-6)


def _whiten(rest: Floats, flat: Mask, step: Step) -> float:
    """Whiten the slices in place, to unit variance; returns the share of the frequencies that the noise fills."""
    power = np.zeros((rest.shape[1], rest.shape[2] // 2 + 1))
    for plane in rest:
        power += np.abs(np.fft.rfft2(plane)) ** 2
    step(0.85)
    power = ndimage.uniform_filter(power, 9, mode="wrap")
    power /= max(float(power.max()), 1e-9)  # 0 where the only lung is a few voxels
    gain = power / (power**2 + _FLOOR**2)
    for k, plane in enumerate(rest):
        rest[k] = np.fft.irfft2(np.fft.rfft2(plane) * gain, s=plane.shape) * flat[k]
    np.divide(rest, _deviation(rest[flat]), out=rest)
    np.clip(rest, -_CLIP, _CLIP, out=rest)
    step(1.0)
    return float(power.mean())
