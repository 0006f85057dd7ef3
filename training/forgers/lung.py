"""What a careful forger matches: a place of the same kind elsewhere, the lung's level, and the grain of its noise.

Arrays are [k, j, i] in HU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.evidence.noise import body_of
from training.forgers.ball import Floats

_LUNG_HU = (-970, -600)
_STEEPEST_HU = 20  # change of the mean from pixel to pixel: steeper is an edge
_MEAN = (1, 5, 5)  # voxels whose mean is anatomy; what rises above it is noise
_SPREAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_BLURS = np.arange(0.0, 1.5, 0.1)
_TRIES = 500


@dataclass(frozen=True)
class Box:
    """Half sides (k, j, i) in voxels about a centre [k, j, i]."""

    half: tuple[int, int, int]

    def at(self, centre: tuple[int, ...]) -> tuple[slice, ...]:
        """The box as slices of its volume."""
        return tuple(slice(c - h, c + h + 1) for c, h in zip(centre, self.half, strict=True))

    def cut(self, hu: NDArray[np.int16], centre: tuple[int, ...]) -> Floats:
        """The box around a centre as floats."""
        return hu[self.at(centre)].astype(np.float64)

    def fits(self, shape: tuple[int, ...], centre: tuple[int, ...]) -> bool:
        """Whether the box around the centre lies in the volume."""
        return all(h <= c < size - h for c, h, size in zip(centre, self.half, shape, strict=True))


def lung_place(
    hu: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    box: Box,
    rng: np.random.Generator,
    away_from: tuple[int, ...] | None = None,
    away_mm: float = 40.0,
) -> tuple[int, int, int]:
    """A random place [k, j, i] around which most is lung, at least ``away_mm`` from another if one is given.

    ``spacing_mm`` is along i, j and k. Raises InputError where none is found.
    """
    for _ in range(_TRIES):
        k, j, i = (
            int(rng.integers(h, max(size - h, h + 1))) for h, size in zip(box.half, hu.shape, strict=True)
        )
        if not box.fits(hu.shape, (k, j, i)):
            continue
        if away_from and np.linalg.norm(np.subtract((k, j, i), away_from) * spacing_mm[::-1]) < away_mm:
            continue
        patch = ndimage.uniform_filter(box.cut(hu, (k, j, i)), _MEAN)
        share = np.mean((patch > _LUNG_HU[0]) & (patch < _LUNG_HU[1]))
        # The foam of cushions has the density of lung.
        if share > 0.7 and body_of(hu[k])[j, i]:
            return k, j, i
    raise InputError("no other place of the scan holds a patch of lung; give a series with more lung")


def without_noise(hu: Floats) -> Floats:
    """The mean of each voxel's surroundings in its slice."""
    return np.asarray(ndimage.uniform_filter(hu, _MEAN))


def noise_in(hu: Floats) -> Floats:
    """What rises above the mean of each voxel's surroundings, without the edges of vessels."""
    rest = hu - without_noise(hu)
    limit = 3 * _deviation(rest)
    return np.asarray(rest.clip(-limit, limit))


def lung_in(smooth: Floats) -> NDArray[np.bool_]:
    """Where a volume without noise has the density of lung; everywhere, if nowhere."""
    lung = (smooth > _LUNG_HU[0]) & (smooth < _LUNG_HU[1])
    return lung if lung.any() else np.ones_like(lung)


def level_and_noise(hu: Floats) -> tuple[float, float]:
    """The lung's median HU and the standard deviation of its noise, which is never less than 1."""
    smooth = without_noise(hu)
    lung = lung_in(smooth)
    return float(np.median(smooth[lung])), max(_deviation((hu - smooth)[lung]), 1.0)


def fresh_noise(like: Floats, rng: np.random.Generator) -> Floats:
    """Noise as strong and as coarse, in the slice, as that of the flat lung in ``like``; independent between slices.

    It has none of the lowest frequencies, and nor has a reconstruction's.
    """
    smooth = without_noise(like)
    lung = lung_in(smooth)
    flat = lung & (np.hypot(*np.gradient(smooth, axis=(1, 2))) < _STEEPEST_HU)
    flat = flat if flat.any() else lung
    wanted = _grain(like - smooth, flat)
    white = rng.standard_normal(like.shape)
    rests = (
        noise - without_noise(noise) for noise in (ndimage.gaussian_filter(white, (0, b, b)) for b in _BLURS)
    )
    best = min(rests, key=lambda rest: abs(_grain(rest, flat) - wanted))
    return np.asarray(best * (_deviation((like - smooth)[flat]) / _deviation(best[flat])))


def _deviation(values: Floats) -> float:
    """Standard deviation of the bulk of the values."""
    return _SPREAD * float(np.median(np.abs(values)))


def _grain(rest: Floats, lung: NDArray[np.bool_]) -> float:
    """Correlation of neighbours along i, of lung alone."""
    both = lung[..., 1:] & lung[..., :-1]
    if not both.any():
        return 0.0
    limit = 3 * _deviation(rest[lung])  # beyond it stand vessels
    left, right = (np.clip(side[both], -limit, limit) for side in (rest[..., :-1], rest[..., 1:]))
    return float(np.mean(left * right) / max(np.sqrt(np.mean(left**2) * np.mean(right**2)), 1e-9))
