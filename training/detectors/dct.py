"""A linear classifier on the DCT of the sub-images: what the spectrum alone tells, without a network.

The paper's "Ours-DCT" is its network trained on DCT features (``PaperNetwork(dct=True)``), after Frank et al.
(ICML 2020), who found that a linear model on log-scaled coefficients already tells generated images: this model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from CTForgeryScanLib.windows import circle_mask
from training.detectors.scorers import cut_windows, probability


def dct_features(windows: NDArray[np.int16]) -> NDArray[np.float32]:
    """log(1 + |DCT-II|), orthonormal, of windows [N, 32, 32] in HU: [N, 1024]."""
    coefficients = fft.dctn(windows.astype(np.float32), axes=(1, 2), norm="ortho")
    return np.log1p(np.abs(coefficients)).reshape(len(windows), -1)


@dataclass(frozen=True)
class DctDetector:
    """Logistic regression on ``dct_features`` as arrays: ``weights`` [1024] and ``intercept`` [1]."""

    weights: NDArray[np.float32]
    intercept: NDArray[np.float32]

    def score_windows(self, hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """See ``scorers.WindowNetwork``."""
        circle = circle_mask(*hu.shape)
        p = np.zeros(circle.shape, np.float32)
        p[circle] = probability(self.logits(cut_windows(hu, circle)))
        return p

    def logits(self, windows: NDArray[np.int16]) -> NDArray[np.float32]:
        """log(p/(1−p)), [N], of windows [N, 32, 32] in HU."""
        return (dct_features(windows) @ self.weights + self.intercept).astype(np.float32)


def fit_dct(windows: NDArray[np.int16], forged: NDArray[np.bool_], weight_decay: float = 1.0) -> DctDetector:
    """Fit on windows [N, 32, 32] in HU with their labels [N]."""
    scale = StandardScaler()
    linear = LogisticRegression(C=1 / weight_decay, max_iter=1000)
    make_pipeline(scale, linear).fit(dct_features(windows), forged)
    weights = linear.coef_[0] / scale.scale_
    intercept = linear.intercept_ - scale.mean_ @ weights
    return DctDetector(weights.astype(np.float32), intercept.astype(np.float32))
