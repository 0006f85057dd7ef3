"""What processing after the reconstruction leaves in the values: the statistics that `assessable` judges by.

Four traces, each of another cause. ``python -m training.measure_processing DATA`` fits limits to untouched scans and
counts what is found on processed copies of them.

- *Grain*: a filter that smooths takes the noise between neighbouring pixels down to what rounding to whole HU
  leaves, whatever the kernel was; a reconstruction leaves more.
- *Periodicity*: interpolated pixels are smoother the farther they lie from a sample, so roughness repeats along rows
  and columns (Gallagher 2005; Mahdian and Saic 2008).
- *Padding edge*: outside its field of view a scanner writes one value far below air, and beside it air; whatever
  filters or resamples whole slices leaves values between the two.
- *Grey-level gaps*: a stretch of contrast, an equalisation or fewer bits leave levels of tissue that never occur.

Tried and dropped: power of flat lung at 0.35-0.5 line pairs a millimetre against 0.08-0.2 (kernels differ in it a
hundredfold, so it saw a Gauss of 1 px in 3 of 15 series only), roughness by second and sixth differences and by the
residual's size instead of its logarithm (all see less cubic resampling), a histogram with peaks instead of gaps (an
untouched series, RIDER-0117, has every second level ten times as often).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.volume import Volume

FloatArray = NDArray[np.float32]

MAX_SLICES = 16
"""Slices looked at, spread evenly over the volume: enough for the statistics, and fast for any length."""

MIN_TILES = 12
"""Flat lung tiles without which the lung's noise is not judged."""

_TILE = 16
_AIR_HU = -1024
_LUNG_HU = (-970, -700)
_BODY_HU = (-950, 200)
_PADDING_HU = -1400
"""Padding lies below; a stretch of contrast may bring air down to almost there."""

_PERIODICITY_FROM = 0.04
"""Lowest rhythm searched, in cycles a pixel: below it anatomy repeats too. Resampling by 0.96-1.04 is not seen."""


@dataclass(frozen=True)
class ProcessingTraces:
    """Statistics of evenly spread slices; nan where there is too little to measure.

    Attributes:
        grain: median noise of the body at the highest frequency of both axes, beyond what rounding to whole HU leaves
            and in units of it; 0 = rounding alone.
        periodicity: highest peak of the spectrum of roughness against its surroundings, in the weaker half of the rows
            or columns, the stronger of the two.
        padding_edge: pixels with values between padding and air for every pixel that borders padding.
        grey_level_gaps: share of the grey levels of tissue that never occur.
        noise_hu: median standard deviation of flat lung tiles, after removing a quadratic surface.
    """

    grain: float
    periodicity: float
    padding_edge: float
    grey_level_gaps: float
    noise_hu: float


def measure_processing(volume: Volume) -> ProcessingTraces:
    """All statistics of a volume (what they are on real CT: ``assessable``)."""
    planes = sample_slices(volume)
    return ProcessingTraces(
        grain=_grain(planes),
        periodicity=max(_periodicity(planes, axis) for axis in (0, 1)),
        padding_edge=_padding_edge(planes),
        grey_level_gaps=_gap_fraction(planes),
        noise_hu=_lung_noise(planes),
    )


def grey_level_gaps(volume: Volume) -> float:
    """The share of the grey levels of tissue that never occur, alone."""
    return _gap_fraction(sample_slices(volume))


def sample_slices(volume: Volume) -> list[FloatArray]:
    """Up to `MAX_SLICES` slices, evenly spread, float32 [j, i] in HU."""
    count = volume.shape[0]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_SLICES)).round().astype(int))
    return [volume.hu[k].astype(np.float32) for k in chosen]


def _body(plane: FloatArray) -> NDArray[np.bool_]:
    return (plane > _BODY_HU[0]) & (plane < _BODY_HU[1])


def _grain(planes: list[FloatArray]) -> float:
    """Noise that passes the sixth difference along both axes: that of the highest frequencies."""
    order = 6
    taps = np.array([(-1) ** n * comb(order, n) for n in range(order + 1)], float)
    rounding = np.sum(taps**2) / np.sqrt(12.0)
    half = order // 2
    found = []
    for plane in planes:
        inside = ndimage.minimum_filter(_body(plane), order + 1)[half:-half, half:-half]
        found.append(np.abs(np.diff(np.diff(plane, order, axis=0), order, axis=1))[inside])
    passed = np.concatenate(found)
    if len(passed) < 1000:
        return float("nan")
    # Of filtered rounding errors, which are nearly normal, the median is 0.6833 standard deviations.
    noise = float(np.median(passed)) / 0.6833 / rounding
    return float(np.sqrt(max(0.0, noise**2 - 1.0)))


def _periodicity(planes: list[FloatArray], axis: int) -> float:
    """How strongly the roughness along an axis repeats.

    The logarithm of the fourth difference is averaged across the axis and over the slices, and the spectrum of that
    profile searched. Each half of the axis must show the same peak, so that one interpolated region (which may be a
    forgery) does not count as a resampled image.
    """
    total: NDArray[np.float64] | float = 0.0
    count: NDArray[np.int64] | int = 0
    for plane in planes:
        inside = ndimage.minimum_filter1d(_body(plane), 5, axis).take(range(2, plane.shape[axis] - 2), axis)
        rough = np.log(np.abs(np.diff(plane, 4, axis=axis)) + 2.0)
        total = total + np.sum(rough * inside, axis=1 - axis, dtype=np.float64)
        count = count + inside.sum(axis=1 - axis)
    used = np.flatnonzero(np.asarray(count) > 20 * len(planes))
    if len(used) < 100:
        return 0.0
    span = slice(used[0], used[-1] + 1)
    profile = np.asarray(total)[span] / np.maximum(np.asarray(count)[span], 1)
    profile = profile - ndimage.gaussian_filter1d(profile, 6)
    profile = np.clip(profile, *np.quantile(profile, (0.02, 0.98)))
    return float(np.minimum(*(_against_surroundings(half) for half in np.array_split(profile, 2))).max())


def _against_surroundings(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power spectrum from `_PERIODICITY_FROM` up, each frequency in units of the mean within 0.05 cycles."""
    length = max(1024, 2 * len(profile))
    power = np.abs(np.fft.rfft((profile - profile.mean()) * np.hanning(len(profile)), length)) ** 2
    # The median of an exponential distribution, which the power of noise has, is ln 2 of its mean.
    surroundings = ndimage.median_filter(power, length // 10, mode="reflect") / np.log(2.0)
    return (power / np.maximum(surroundings, 1e-12))[int(_PERIODICITY_FROM * length) :]


def _padding_edge(planes: list[FloatArray]) -> float:
    """Pixels between padding and air against those that border padding; nan where the field of view is not padded."""
    between = border = 0
    for plane in planes:
        # A resampling may leave ripples on the padding, so values that are close count as one.
        values, counts = np.unique(plane[plane < _PADDING_HU] // 64, return_counts=True)
        if not len(counts) or counts.max() < 0.01 * plane.size:
            continue
        padding = 64 * values[np.argmax(counts)] + 32
        step = 0.1 * (_AIR_HU - padding)
        padded = np.abs(plane - padding) <= 0.9 * step
        border += int(np.count_nonzero(ndimage.binary_dilation(padded) & ~padded))
        between += int(np.count_nonzero((plane > padding + step) & (plane < _AIR_HU - step)))
    return between / border if border >= 200 else float("nan")


def _gap_fraction(planes: list[FloatArray]) -> float:
    """Share of whole HU between the 10th and 90th percentile of tissue that no voxel has; 0 where too few to say."""
    values = np.concatenate([plane[(plane > -950) & (plane < 300)] for plane in planes])
    if not len(values):
        return 0.0
    low, high = (int(v) for v in np.percentile(values, (10, 90)))
    inside = values[(values >= low) & (values <= high)] - low
    counts = np.bincount(inside.astype(np.int64), minlength=high - low + 1)
    # A level can be a gap only where levels close by on both sides are well filled; between two tissues it is not.
    filled = [ndimage.maximum_filter1d(counts, 21, origin=side) for side in (-10, 10)]
    dense = ndimage.uniform_filter1d(counts.astype(np.float64), 41) >= 15
    expected = dense & (np.minimum(*filled) >= 30)
    return float(np.mean(counts[expected] == 0)) if np.count_nonzero(expected) >= 20 else 0.0


def _lung_noise(planes: list[FloatArray]) -> float:
    """Standard deviation in HU of the flatter half of the lung's tiles, each less its quadratic surface."""
    tiles = np.concatenate([_tiles(plane) for plane in planes])
    if not len(tiles):
        return float("nan")
    y, x = np.mgrid[:_TILE, :_TILE] / (_TILE - 1.0) - 0.5
    surfaces = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).reshape(-1, 6)
    basis = np.linalg.qr(surfaces)[0].astype(np.float32)
    flat = tiles.reshape(len(tiles), -1)
    spread = (flat - (flat @ basis) @ basis.T).std(axis=1)
    flatter = spread[spread <= np.median(spread)]
    return float(np.median(flatter)) if len(flatter) >= MIN_TILES else float("nan")


def _tiles(plane: FloatArray) -> FloatArray:
    """Tiles [n, 16, 16] of a slice that lie in lung, on two grids half a tile apart."""
    low, high = _LUNG_HU
    found = []
    for shift in (0, _TILE // 2):
        part = plane[shift:, shift:]
        rows, columns = part.shape[0] // _TILE, part.shape[1] // _TILE
        tiles = part[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE).swapaxes(1, 2)
        flat = tiles.reshape(-1, _TILE, _TILE)
        found.append(flat[np.mean((flat > low) & (flat < high), axis=(1, 2)) > 0.95])
    return np.concatenate(found)
