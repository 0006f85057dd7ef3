"""Nodules set into other lung, where there are too few of them to learn from in their own surroundings alone.

With eleven nodules a generator knows each by what lies around it, and paints next to nothing into lung it has not seen.
Set into a hundred other places, a nodule no longer follows from its surroundings: it has to be painted everywhere.
Arrays are cubes [k, j, i] at 1 mm, as ``cubes.cut_base`` cuts them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from training.forgers.ctgan.cubes import Singles
from training.forgers.published_pasting import CLEARED

_SOLID_HU = -500
_FEWEST_VOXELS = 60  # of a nodule at 1 mm: a ball of 5 mm
_EDGE_MM = 0.8
_HALF = (CLEARED.stop - CLEARED.start) // 2


def moved_nodules(
    nodules: Sequence[Singles], lung: Sequence[Singles], count: int, rng: np.random.Generator
) -> list[Singles]:
    """``count`` of the cubes ``lung``, each with a nodule of one of the others in its middle.

    Raises InputError where there is no nodule that can be moved, or no lung.
    """
    solid = [(base, mask) for base in nodules if (mask := nodule_in(base)) is not None]
    if not (solid and lung):
        raise InputError("no nodule can be set into other lung: give scans with solid nodules, or --moved 0.")
    hosts = rng.integers(len(lung), size=count)
    return [_moved(*solid[n % len(solid)], lung[int(host)], rng) for n, host in enumerate(hosts)]


def nodule_in(base: Singles) -> NDArray[np.bool_] | None:
    """What is solid in the middle of a cube, as far as CT-GAN clears it; None where that is next to nothing."""
    middle = np.array(base.shape) // 2
    offsets = np.ogrid[tuple(slice(-m, n - m) for m, n in zip(middle, base.shape, strict=True))]
    reached = sum(offset**2 for offset in offsets) <= (_HALF - 1) ** 2
    parts, _ = ndimage.label((base > _SOLID_HU) & reached)
    about = np.unique(parts[tuple(slice(m - 2, m + 3) for m in middle)])
    nodule = np.isin(parts, about[about > 0])
    return nodule if np.count_nonzero(nodule) >= _FEWEST_VOXELS else None


def _moved(base: Singles, nodule: NDArray[np.bool_], lung: Singles, rng: np.random.Generator) -> Singles:
    """The cube ``lung`` with that nodule of the cube ``base`` in its middle, in one of a cube's 48 symmetries."""
    weight = ndimage.gaussian_filter(ndimage.binary_dilation(nodule).astype(np.float32), _EDGE_MM)
    axes = rng.permutation(3)
    flips = tuple(slice(None, None, int(step)) for step in rng.choice([-1, 1], 3))
    weight, values = (cube.transpose(axes)[flips] for cube in (weight, base))
    return (lung + weight * np.maximum(values - lung, 0)).astype(np.float32)
