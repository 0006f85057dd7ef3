"""The cubes that CT-GAN learns from: cut around a place, at 1 mm, varied; and the values its networks see.

HU are equalised over all training cubes, so that every level is as frequent as every other: half of a network's range
is lung. Arrays are [k, j, i] or [N, k, j, i]; spacings are (i, j, k) in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Floats
from training.forgers.published_pasting import CLEARED, CUBE

Singles = NDArray[np.float32]

MARGIN = 4  # millimetres beyond the cube on each side, for shifts and turns
_OUTSIDE_HU = -1000
_TURN_DEGREES = 6
_SHIFTED = 0.8
_BINS = 10_000
_LEVELS = 32_768.0


@dataclass(frozen=True)
class Place:
    """What a cube is cut around.

    ``ijk`` in voxels; ``shrink`` > 1 cuts so many times more and shows a large nodule smaller, as the middle of a cube
    can hold it.
    """

    ijk: tuple[float, float, float]
    shrink: float = 1.0


def cut_base(volume: Volume, place: Place) -> Singles:
    """The 40³ mm around a place at 1 mm by cubic splines: HU [40, 40, 40], −1000 where it leaves the volume."""
    side = CUBE + 2 * MARGIN
    zyx = np.array(volume.spacing_mm[::-1])
    sides = np.round(side * place.shrink / zyx).astype(int)
    low = np.round(place.ijk[::-1]).astype(int) - sides // 2
    first, last = np.maximum(low, 0), np.minimum(low + sides, volume.shape)
    if (first >= last).any():
        raise InputError(f"the place {place.ijk} lies outside '{volume.source}': correct the table of sites.")
    inside = volume.hu[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    around = list(zip(first - low, low + sides - last, strict=True))
    box = np.pad(inside.astype(np.float32), around, constant_values=_OUTSIDE_HU)
    return ndimage.zoom(box, side / sides, order=3)


def varied(base: Singles, rng: np.random.Generator, shifted: float = _SHIFTED) -> Singles:
    """A cube [32, 32, 32] out of a base: turned in plane by a multiple of 6°, mirrored, shifted 4 mm diagonally with
    that probability."""
    turned = ndimage.rotate(
        base, _TURN_DEGREES * int(rng.integers(60)), axes=(1, 2), reshape=False, order=3, mode="reflect"
    )
    rows, columns = (
        (MARGIN + rng.choice([-MARGIN, MARGIN], 2)) if rng.random() < shifted else (MARGIN, MARGIN)
    )
    cube = turned[MARGIN:-MARGIN, rows : rows + CUBE, columns : columns + CUBE]
    return cube[:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def varied_cubes(
    bases: Sequence[Singles], count: int, rng: np.random.Generator, shifted: float = _SHIFTED
) -> Singles:
    """``count`` cubes [count, 32, 32, 32] in HU, every base used as often as the others, give or take one."""
    return np.stack([varied(bases[n % len(bases)], rng, shifted) for n in range(count)])


@dataclass(frozen=True)
class Scale:
    """How the networks see HU: equalised, then brought to about −0.5…0.5; 0 is about the median.

    ``hu`` [10000], lower edges of the histogram's bins; ``level`` [10000], the cumulated histogram, 0…32,768.
    """

    hu: Floats
    level: Floats
    mean: float
    low: float
    high: float
    """Mean, least and greatest level of the training cubes."""

    @classmethod
    def of(cls, cubes: Singles) -> Scale:
        """The scale that makes these cubes' levels equally frequent."""
        counts, edges = np.histogram(cubes, _BINS)
        level = np.cumsum(counts) * (_LEVELS / cubes.size)
        levels = np.interp(cubes, edges[:-1], level)
        return cls(edges[:-1].astype(float), level, *(float(f(levels)) for f in (np.mean, np.min, np.max)))

    def equalise(self, hu: Floats | Singles) -> Floats:
        """HU → level."""
        return np.interp(hu, self.hu, self.level)

    def restore(self, level: Floats) -> Floats:
        """Level → HU, the inverse of ``equalise`` within the range of the training cubes."""
        return np.interp(level, self.level, self.hu)

    def to_network(self, hu: Floats | Singles) -> Singles:
        """HU → what the networks see."""
        return ((self.equalise(hu) - self.mean) / (self.high - self.low)).astype(np.float32)

    def to_hu(self, values: Singles) -> Floats:
        """What a network painted → HU; values beyond ±0.5 are clipped."""
        return self.restore(
            np.clip(values.astype(np.float64), -0.5, 0.5) * (self.high - self.low) + self.mean
        )


def condition_of(values: Singles) -> Singles:
    """Cubes [..., 32, 32, 32] as networks see them, with the 20³ in their middle set to 0: what they fill."""
    cleared = values.copy()
    cleared[..., CLEARED, CLEARED, CLEARED] = 0
    return cleared
