"""What 2-D generators are trained on: patches of untouched lung at native resolution, and HU as networks see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.crops import lung_mask
from training.forgers.ball import Ball
from training.slices import Slice

Image = NDArray[np.float32]

# Lung, where forgeries are, gets most of the network's range, as CT-GAN's equalisation gives it.
_HU = (-1100.0, -600.0, 500.0)
_UNIT = (-1.0, 0.4, 1.0)
HU_RANGE = (_HU[0], _HU[-1])
"""What a generator can express; values beyond are clipped."""

_OFF_CENTRE = 0.15  # of the patch: how far from its centre the place in lung may lie
_LESION_PX = 24
_CONTEXT_PX = 4  # around a ball, the least that a generator is shown


def to_unit(hu: NDArray[np.floating] | NDArray[np.int16]) -> Image:
    """HU to −1 … 1, piecewise linear, finer in lung than in tissue."""
    return np.interp(hu, _HU, _UNIT).astype(np.float32)


def to_hu(unit: NDArray[np.floating]) -> Image:
    """The inverse of ``to_unit`` within ``HU_RANGE``."""
    return np.interp(unit, _UNIT, _HU).astype(np.float32)


class LungPatches:
    """Draws patches around places in lung from untouched slices; every patient has the same weight.

    A draw depends on the random numbers given alone, so that a resumed training draws what an unbroken one would.
    Raises InputError where no slice shows lung.
    """

    def __init__(self, slices: Sequence[Slice], side: int) -> None:
        self.side = side
        self._slices: dict[str, list[Slice]] = defaultdict(list)
        self._places: dict[str, NDArray[np.float64]] = {}
        for s in slices:
            if not s.forged and min(s.hu.shape) >= side and len(places := _lung_away_from_lesions(s)):
                self._slices[s.patient].append(s)
                self._places[s.name] = places
        self._by_position = {(s.series, s.k): s for members in self._slices.values() for s in members}
        self.patients = tuple(sorted(self._slices))
        if not self.patients:
            raise InputError(
                f"No slice shows lung in at least {side}×{side} pixels: give untouched chest CT to train on."
            )

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Image, Image]:
        """Patches [N, side, side] in HU and the same places one slice before, which are air where there is none."""
        pairs = [self._draw(rng) for _ in range(count)]
        return np.stack([here for here, _ in pairs]), np.stack([before for _, before in pairs])

    def _draw(self, rng: np.random.Generator) -> tuple[Image, Image]:
        members = self._slices[self.patients[rng.integers(len(self.patients))]]
        s = members[rng.integers(len(members))]
        places = self._places[s.name]
        place = places[rng.integers(len(places))] + self.side * rng.uniform(-_OFF_CENTRE, _OFF_CENTRE, 2)
        corner = [corner_of(at, self.side, size) for at, size in zip(place, s.hu.shape, strict=True)]
        box = tuple(slice(first, first + self.side) for first in corner)
        here = s.hu[box].astype(np.float32)
        # Head to feet or feet to head: a forger may go either way.
        neighbour = self._by_position.get((s.series, s.k + int(rng.choice((-1, 1)))))
        before = neighbour.hu[box].astype(np.float32) if neighbour else np.full_like(here, HU_RANGE[0])
        if rng.random() < 0.5:
            here, before = here[:, ::-1], before[:, ::-1]
        return here, before


def patch_about(
    ball: Ball, shape: tuple[int, int, int], side: int
) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
    """The ball's slices in ``side`` × ``side`` pixels of a volume of that shape, and the ball's box within them.

    Both [k, j, i]. Raises InputError where the ball is as wide as the patch or the patch wider than the slices.
    """
    patch, inner = [ball.at[0]], [slice(None)]
    for box, size in zip(ball.at[1:], shape[1:], strict=True):
        if size < side or box.stop - box.start > side - 2 * _CONTEXT_PX:
            raise InputError(
                f"a ball of {2 * ball.radius_mm:.0f} mm, {box.stop - box.start} pixels across, in slices of {size} "
                f"pixels cannot be repainted in patches of {side}; choose a smaller nodule or a larger CT"
            )
        first = corner_of((box.start + box.stop) / 2, side, size)
        patch.append(slice(first, first + side))
        inner.append(slice(box.start - first, box.stop - first))
    return (patch[0], patch[1], patch[2]), (inner[0], inner[1], inner[2])


def corner_of(centre: float, side: int, size: int) -> int:
    """First index of ``side`` voxels about ``centre``, moved so that they lie in ``size`` voxels."""
    return int(np.clip(round(centre - side / 2), 0, size - side))


def _lung_away_from_lesions(s: Slice) -> NDArray[np.float64]:
    """Places [n, 2] (row, column) in lung, none near a lesion: what a generator takes for lung is to be healthy."""
    places = np.argwhere(lung_mask(s.hu)).astype(np.float64) * STRIDE + CENTRE
    for x, y in s.lesions:
        places = places[np.hypot(places[:, 0] - y, places[:, 1] - x) > _LESION_PX]
    return places
