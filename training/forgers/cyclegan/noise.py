"""The noisy domain: impulse noise and Gaussian noise on CT slices (Section 4.1; the paper gives no amounts)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.forgers.lung_patches import HU_RANGE, Image

_GAUSSIAN_HU = (20.0, 80.0)  # standard deviation
_IMPULSES = (0.01, 0.05)  # share of the pixels


def add_noise(hu: NDArray[np.floating], rng: np.random.Generator) -> Image:
    """One slice or patch [j, i] in HU with Gaussian noise and salt and pepper of random amounts."""
    noisy = hu + rng.normal(0, rng.uniform(*_GAUSSIAN_HU), hu.shape)
    struck = rng.random(hu.shape) < rng.uniform(*_IMPULSES)
    noisy[struck] = rng.choice(HU_RANGE, int(struck.sum()))
    return noisy.astype(np.float32)
