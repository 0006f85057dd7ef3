"""The paper's global classification (Section 3.4) as written: GLCM → PCA-256 → RBF-SVM by grid search.

The library's ``SliceClassifier`` departs from it on purpose; the tables need the original. −GLCM (Table 1) gives the
heatmap itself to PCA and SVM. Following the authors' program, PCA is randomised and whitened, the SVM balanced, and a
finer grid is searched about the best point of C 1e2…1e4, γ 1e-6…1e-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.svm import SVC

from CTForgeryScanLib.glcm import cooccurrence

_COMPONENTS = 256
_FOLDS = 3
_SLICES_PER_COMPONENT = 4


class PaperSecondStage:
    """Fitted by ``fit_second_stage``; ``score`` ranks slices, ``is_forged`` decides."""

    def __init__(self, pca: PCA, svm: SVC, glcm: bool) -> None:
        self.pca, self.svm, self.glcm = pca, svm, glcm

    def score(self, heatmap: NDArray[np.float32]) -> float:
        """The SVM's decision value for one slice's heatmap [r, c]; above 0 is forged."""
        return float(self.svm.decision_function(self.pca.transform(_features([heatmap], self.glcm)))[0])

    def is_forged(self, heatmap: NDArray[np.float32]) -> bool:
        """Whether the slice of this heatmap [r, c] is classified as forged."""
        return self.score(heatmap) > 0


def _features(heatmaps: Sequence[NDArray[np.float32]], glcm: bool) -> NDArray[np.float32]:
    return np.stack([(cooccurrence(h) if glcm else h).ravel() for h in heatmaps]).astype(np.float32)


def fit_second_stage(
    heatmaps: Sequence[NDArray[np.float32]],
    forged: Sequence[bool],
    patients: Sequence[str],
    *,
    glcm: bool = True,
    seed: int = 0,
) -> PaperSecondStage:
    """Fit on heatmaps [r, c] of slices. The grid search's folds keep the slices of one of ``patients`` together.

    Fewer slices than the paper's 4,800 leave fewer components than its 256: a quarter of their number. As many as
    slices would, whitened, put every slice at the same distance from every other.
    Raises ValueError when either class has fewer patients than the search has folds.
    """
    features, truth, patient = _features(heatmaps, glcm), np.array(forged), np.array(patients)
    if min(len(np.unique(patient[truth == of])) for of in (True, False)) < _FOLDS:
        raise ValueError(f"the second stage needs forged and untouched slices of {_FOLDS} patients each")
    components = min(_COMPONENTS, len(features) // _SLICES_PER_COMPONENT)
    pca = PCA(components, whiten=True, svd_solver="randomized", random_state=seed)
    reduced = pca.fit_transform(features)
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    folds = list(splitter.split(reduced, truth, patient))

    def search(c: NDArray[np.float64], gamma: NDArray[np.float64]) -> Any:
        svm = SVC(kernel="rbf", class_weight="balanced")
        return GridSearchCV(svm, {"C": c, "gamma": gamma}, cv=folds).fit(reduced, truth)

    coarse = search(np.logspace(2, 4, 3), np.logspace(-6, -4, 3)).best_params_
    near = np.logspace(-0.5, 0.5, 3)
    fine = search(coarse["C"] * near, coarse["gamma"] * near)
    return PaperSecondStage(pca, fine.best_estimator_, glcm)
