"""What forgers paint where no generator does: lung filled in from around, a nodule. Arrays are [k, j, i] in HU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.forgers.ball import DENSE_HU, Floats


def filled_from_lung(hu: Floats, hidden: NDArray[np.bool_], spacing_mm: Sequence[float]) -> Floats:
    """``hu`` with what is hidden filled from the lung around it, by weighted means that widen inwards.

    ``spacing_mm`` is along k, j and i.
    """
    mm = np.asarray(spacing_mm, float)
    known = (~hidden) & (hu < DENSE_HU)  # walls and vessels must not bleed into the new lung
    if not known.any():
        known = ~hidden
    filled, weight = np.zeros_like(hu), np.zeros_like(hu)
    for sigma in (2.0, 4.0, 8.0, 16.0):
        share = ndimage.gaussian_filter(known.astype(float), sigma / mm)
        value = ndimage.gaussian_filter(np.where(known, hu, 0.0), sigma / mm) / np.maximum(share, 1e-9)
        part = np.clip(share * 8, 0, 1) * (1 - weight)
        filled, weight = filled + part * value, weight + part
    filled = filled / np.maximum(weight, 1e-9)
    edge = np.clip(ndimage.gaussian_filter(hidden.astype(float), 1.0 / mm), 0, 1)
    return np.asarray(hu * (1 - edge) + filled * edge)


def with_nodule(
    hu: Floats,
    offsets_mm: Sequence[Floats],
    rng: np.random.Generator,
    diameter_mm: float | None = None,
    texture: Floats | float = 0.0,
) -> Floats:
    """``hu`` with a lobulated, slightly flattened soft-tissue mass about the place of offset 0.

    ``offsets_mm`` are along k, j and i and broadcast to ``hu``. Without a diameter it is one of 11 to 16 mm; it is
    smooth within but for the ``texture`` in HU.
    """
    z, y, x = offsets_mm
    axes = (diameter_mm or rng.uniform(11.0, 16.0)) / 2 * rng.uniform(0.85, 1.15, 3)
    near = np.sqrt((z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2)
    surface = np.ones_like(near)
    for _ in range(6):
        wave = rng.normal(size=3)
        wave *= rng.uniform(0.35, 0.8) / np.linalg.norm(wave)
        surface += 0.07 * np.sin(wave[0] * z + wave[1] * y + wave[2] * x + rng.uniform(0, 2 * np.pi))
    fill = 1 / (1 + np.exp((near / surface - 1) * axes.mean() / 0.7))
    return np.asarray(hu + fill * (rng.uniform(-100, 50) + texture - hu))
