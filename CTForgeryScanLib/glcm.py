"""Grey-level co-occurrence of a heatmap (Algorithm 1): the features of the second stage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix

LEVELS = 100
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def cooccurrence(heatmap: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Counts [100, 100, 4] of level pairs one window apart at 0°, 45°, 90° and 135°.

    ``heatmap`` is one slice's p(forged), [r, c]. Levels are round(100·p); as the paper has 100 of them and rounding
    gives 101, the last two are one. Not symmetric and not normalised, as in the authors' program.
    """
    levels = np.minimum(np.rint(100 * heatmap), LEVELS - 1).astype(np.uint8)
    counts: NDArray[np.uint32] = graycomatrix(levels, distances=[1], angles=ANGLES, levels=LEVELS)
    return counts[:, :, 0, :]
