"""The second stage: which slices were tampered with, from the co-occurrence of their heatmaps (Section 3.4).

PCA and SVM are plain arrays here: scikit-learn fits them (``training/fit_slice_classifier.py``), NumPy evaluates
them, and a test holds the two equal. A model file is data and does not break when scikit-learn changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.glcm import LEVELS, cooccurrence
from CTForgeryScanLib.places import place_logits

Array = NDArray[np.float32]

_PAIRS = (1, 16, 64, 256)
FEATURES = len(_PAIRS)


def slice_features(heatmap: NDArray[np.float32]) -> Array:
    """Four logits of one slice's heatmap [r, c]: what its hottest 1, 16, 64 and 256 pairs of neighbouring places reach.

    They are read off the co-occurrence of Algorithm 1, with two departures that make the second stage hold on scanners
    that it never saw. The heatmap is that of places (``places``), its logits halved before they become levels: a
    forged site and a vessel differ between 0.99 and 0.9999, which 100 levels of p itself do not tell apart. And the
    co-occurrence is cumulated from above, whatever the direction: a few dozen forged slices teach what 4 numbers mean,
    not what 40,000 do.
    """
    spread = 1 / (1 + np.exp(-place_logits(heatmap) / np.float32(2)))
    pairs = cooccurrence(spread).sum(axis=2)
    lower = np.minimum(*np.indices(pairs.shape))
    at_level = np.bincount(lower.ravel(), weights=pairs.ravel(), minlength=LEVELS)
    reaching = at_level[::-1].cumsum()[::-1]
    levels = np.array([np.flatnonzero(reaching >= n).max(initial=0) for n in _PAIRS])
    share = (levels + 0.5) / LEVELS
    return (2 * np.log(share / (1 - share))).astype(np.float32)


@dataclass(frozen=True)
class SliceClassifier:
    """PCA, linear SVM and Platt's calibration as arrays.

    ``mean`` [4] and ``components`` [P, 4] project the features; ``weights`` [P] and ``intercept`` [1] are the SVM;
    ``platt`` [2] its slope and offset: p = σ(slope · margin + offset), calibrated for forged and untouched slices being
    equally frequent. The SVM is linear, where the paper's is radial, and P is 1: hotter places never speak for an
    untouched slice, also where no slice of the training looked alike.
    """

    mean: Array
    components: Array
    weights: Array
    intercept: Array
    platt: Array

    def margin(self, features: Array) -> NDArray[np.float64]:
        """SVM decision values [N] of features [N, 4]; above 0 is forged."""
        projected = ((features - self.mean) @ self.components.T).astype(np.float64)
        return projected @ self.weights + self.intercept[0]

    def probability(self, heatmap: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated p(slice forged), [k], of a heatmap volume [k, r, c]."""
        margins = [self.margin(slice_features(of_slice)[None])[0] for of_slice in heatmap]
        return 1 / (1 + np.exp(-(self.platt[0] * np.array(margins) + self.platt[1])))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by name, as they are stored: in C order, since safetensors writes memory as it lies."""
        return {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SliceClassifier:
        """The reverse of ``arrays``; raises KeyError for a missing one."""
        return cls(**{f.name: arrays[f.name] for f in fields(cls)})
