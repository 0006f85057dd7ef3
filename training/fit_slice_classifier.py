"""Fit the second stage on out-of-fold heatmaps and put the model together.

``python -m training.fit_slice_classifier --config training/configs/ctgan-v1.yaml --data DIR --runs RUNS``

The slice classifier that judges a fold is fitted on the other folds' heatmaps, its hyperparameters and its threshold
chosen inside them by patient; the shipped one is made in the same way from all. Written to RUNS: ``out-of-fold.csv``
(one row a slice) and ``<name>/``, the model folder, whose card ``training.evaluate`` completes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from CTForgeryScanLib.models import CARD, CLASSIFIER, DETECTOR
from CTForgeryScanLib.regions import RegionRule
from CTForgeryScanLib.slice_classifier import SliceClassifier, slice_features
from training.config import Config, read_config
from training.data import read_slices
from training.out_of_fold import load_detector, out_of_fold_heatmaps
from training.splits import read_folds

Features = NDArray[np.float32]

_GRID = {
    "pca__n_components": [16, 64, 256],
    "svm__C": [0.1, 1.0, 10.0, 100.0],
    "svm__gamma": [1e-4, 1e-3, 1e-2],
}
_INNER_FOLDS = 4


@dataclass(frozen=True)
class Fitted:
    """A slice classifier with its operating point and what the search chose."""

    classifier: SliceClassifier
    threshold: float
    chosen: dict[str, float]


def fit(
    features: Features, forged: NDArray[np.bool_], patients: NDArray[np.str_], false_share: float
) -> Fitted:
    """Search, fit, calibrate and set the threshold, all by patient.

    ``features`` [N, 40000]. The threshold is the lowest that flags at most ``false_share`` of the untouched slices in
    the inner cross-validation, but not below even odds.
    """
    cells = np.flatnonzero((features > 0).sum(0) >= 3).astype(np.int32)
    used = features[:, cells]
    pipeline = Pipeline(
        [
            ("pca", PCA(whiten=True, svd_solver="randomized", random_state=0)),
            ("svm", SVC(class_weight="balanced")),
        ]
    )
    inner = StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, _GRID, scoring="average_precision", cv=inner, n_jobs=1, refit=True)
    search.fit(used, forged, groups=patients)
    margins = cross_val_predict(
        search.best_estimator_, used, forged, groups=patients, cv=inner, method="decision_function"
    )
    # Calibrated on margins of slices the SVM did not see; balanced, because how often scans are forged is unknown.
    platt = LogisticRegression(C=1e3, class_weight="balanced").fit(margins[:, None], forged)
    probability = platt.predict_proba(margins[:, None])[:, 1]
    threshold = max(0.5, float(np.quantile(probability[~forged], 1 - false_share, method="higher")) + 1e-6)
    pca, svm = search.best_estimator_["pca"], search.best_estimator_["svm"]
    classifier = SliceClassifier(
        cells=cells,
        mean=pca.mean_.astype(np.float32),
        components=pca.components_.astype(np.float16),
        scale=np.sqrt(pca.explained_variance_).astype(np.float32),
        support=svm.support_vectors_.astype(np.float32),
        dual=svm.dual_coef_[0].astype(np.float32),
        intercept=svm.intercept_.astype(np.float32),
        gamma=np.array([svm.gamma], np.float32),
        platt=np.array([platt.coef_[0, 0], platt.intercept_[0]], np.float32),
    )
    return Fitted(classifier, threshold, search.best_params_)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Fit PCA + SVM on out-of-fold heatmaps and assemble the model."
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with ctgan/, pristine_slices/ and ct/"
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder that train_detector wrote")
    args = parser.parse_args(argv)
    config = read_config(args.config)
    fold_of = read_folds(args.config.parent / config.folds)
    slices = read_slices(args.data, frozenset(config.never_train))
    maps = out_of_fold_heatmaps(slices, fold_of, args.runs)
    features = np.stack([slice_features(maps[s.name]) for s in slices])
    forged = np.array([bool(s.forged) for s in slices])
    patients = np.array([s.patient for s in slices])
    folds = np.array([fold_of[s.patient] for s in slices])
    probability, thresholds = np.zeros(len(slices)), np.zeros(len(slices))
    for fold in np.unique(folds):
        inside, judged = folds != fold, folds == fold
        fitted = fit(features[inside], forged[inside], patients[inside], config.false_slice_share)
        print(f"fold {fold}: {fitted.chosen}, threshold {fitted.threshold:.3f}", flush=True)
        # Judged through the library's own code, the one that ships.
        probability[judged] = fitted.classifier.probability(
            np.stack([maps[s.name] for s in slices if fold_of[s.patient] == fold])
        )
        thresholds[judged] = fitted.threshold
    with (args.runs / "out-of-fold.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "fold", "probability", "threshold"])
        for s, fold, p, t in zip(slices, folds, probability, thresholds, strict=True):
            writer.writerow([s.name, fold, f"{p:.6f}", f"{t:.6f}"])
    shipped = fit(features, forged, patients, config.false_slice_share)
    print(f"all: {shipped.chosen}, threshold {shipped.threshold:.3f}")
    _assemble(config, shipped, args.runs)


def _assemble(config: Config, fitted: Fitted, runs: Path) -> None:
    """Write the model folder: both files and the part of the card that does not need measuring."""
    folder = runs / config.name
    folder.mkdir(exist_ok=True)
    detector = load_detector(runs / "fold-all" / "detector.safetensors")
    save_tensors(detector.state_dict(), folder / DETECTOR)
    save_file(fitted.classifier.arrays(), folder / CLASSIFIER)
    card = {
        "name": config.name,
        "architecture": detector.config,
        "sha256": {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in (DETECTOR, CLASSIFIER)},
        "slice_threshold": fitted.threshold,
        "region_rule": asdict(RegionRule(window_threshold=config.window_threshold)),
        "second_stage": fitted.chosen,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
