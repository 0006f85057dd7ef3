"""The second stage: which slices were tampered with, from the co-occurrence of their heatmaps (Section 3.4).

PCA and RBF-SVM are plain arrays here: scikit-learn fits them (``training/fit_slice_classifier.py``), NumPy evaluates
them, and a test holds the two equal. A model file is data and does not break when scikit-learn changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.glcm import FEATURES, cooccurrence

Array = NDArray[np.float32]


def slice_features(heatmap: NDArray[np.float32]) -> Array:
    """log(1 + co-occurrence) of one slice's heatmap [r, c], flattened to 40,000 values.

    The pair (0, 0) is left out: it counts the windows where nothing was found, that is the size of the image.
    The logarithm keeps the few windows of a forged site from drowning in those of its surroundings.
    """
    counts = cooccurrence(heatmap).astype(np.float32)
    counts[0, 0] = 0
    return np.log1p(counts).reshape(FEATURES)


@dataclass(frozen=True)
class SliceClassifier:
    """PCA, RBF-SVM and Platt's calibration as arrays.

    ``cells`` [F] are the features that are used at all; ``mean`` [F], ``components`` [P, F] and ``scale`` [P] whiten
    them; ``support`` [S, P], ``dual`` [S], ``intercept`` [1], ``gamma`` [1] are the SVM; ``platt`` [2] its slope and
    offset: p = σ(slope · margin + offset), calibrated for forged and untouched slices being equally frequent.
    """

    cells: NDArray[np.int32]
    mean: Array
    components: Array
    scale: Array
    support: Array
    dual: Array
    intercept: Array
    gamma: Array
    platt: Array

    def margin(self, features: Array) -> NDArray[np.float64]:
        """SVM decision values [N] of features [N, 40000]; above 0 is forged."""
        projected = (features[:, self.cells] - self.mean) @ self.components.T.astype(np.float32) / self.scale
        distance = (
            (projected**2).sum(1)[:, None] + (self.support**2).sum(1)[None] - 2 * projected @ self.support.T
        ).astype(np.float64)
        return np.exp(-self.gamma[0] * np.maximum(distance, 0)) @ self.dual + self.intercept[0]

    def probability(self, heatmap: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated p(slice forged), [k], of a heatmap volume [k, r, c]."""
        margins = [self.margin(slice_features(of_slice)[None])[0] for of_slice in heatmap]
        return 1 / (1 + np.exp(-(self.platt[0] * np.array(margins) + self.platt[1])))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by name, as they are stored."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SliceClassifier:
        """The reverse of ``arrays``; raises KeyError for a missing one."""
        return cls(**{f.name: arrays[f.name] for f in fields(cls)})
