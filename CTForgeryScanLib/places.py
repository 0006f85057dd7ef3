"""How suspicious a place is: the logit of p(forged), averaged over neighbouring sub-images.

A forged site fills all sub-images of its neighbourhood; an edge or a vessel that a sub-image mistakes for one fills a
few. Both later stages, slices and regions, therefore judge places and not single sub-images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NEIGHBOURS = 5
"""A place is 5×5 sub-images: their centres span 16 pixels, half of the smallest block that CT-GAN repaints."""
LIMIT = 6.0
"""Logits beyond ±6 (p = 0.0025, 0.9975) say no more: otherwise one sub-image would outvote its neighbours."""


def place_logits(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits [..., r, c] of the places about every sub-image of p(forged) [..., r, c]; −6 where nothing was judged."""
    p = np.clip(heatmap, 1e-6, 1 - 1e-6)
    logits = np.clip(np.log(p) - np.log1p(-p), -LIMIT, LIMIT)
    size = (1,) * (heatmap.ndim - 2) + (NEIGHBOURS, NEIGHBOURS)
    return ndimage.uniform_filter(logits, size, mode="nearest").astype(np.float32)
