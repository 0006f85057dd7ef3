"""Fit the second stage on out-of-fold heatmaps and put the model together.

``python -m training.fit_slice_classifier --config training/configs/ctgan-v1.yaml --data DIR --runs RUNS``

The slice classifier that judges a fold is fitted on the other folds' heatmaps, its hyperparameters and its threshold
chosen inside them by patient; the shipped one is made in the same way from all. Written to RUNS: ``out-of-fold.csv``
(one row a slice) and ``<name>/``, the model folder, whose card ``training.evaluate`` completes.
"""

from __future__ import annotations

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
from sklearn.svm import SVC

from CTForgeryScanLib.cards import CARD
from CTForgeryScanLib.models import CLASSIFIER, DETECTOR
from CTForgeryScanLib.regions import RegionRule
from CTForgeryScanLib.slice_classifier import SliceClassifier, slice_features
from training.config import Config
from training.experiment import arguments, read_experiment
from training.out_of_fold import load_detector, out_of_fold_heatmaps

Map = NDArray[np.float32]

OUT_OF_FOLD = "out-of-fold.csv"
_GRID = {"C": [0.001, 0.01, 0.1, 1.0, 10.0]}
"""For features whose total variance is 1."""
_INNER_FOLDS = 4


@dataclass(frozen=True)
class Fitted:
    """A slice classifier with its operating point and what the search chose."""

    classifier: SliceClassifier
    threshold: float
    """p(slice forged) from which a slice is flagged."""
    window_threshold: float
    """p(forged) from which a window belongs to a region."""
    chosen: dict[str, float]


def fit(maps: Sequence[Map], forged: NDArray[np.bool_], patients: NDArray[np.str_], config: Config) -> Fitted:
    """Search, fit, calibrate and set the thresholds on N heatmaps [r, c], all by patient.

    The slice threshold is the lowest that flags at most ``false_slice_share`` of the untouched slices in the inner
    cross-validation, but not below even odds; the window threshold that which ``false_window_share`` of the untouched
    windows reach.
    """
    features = np.stack([slice_features(p) for p in maps])
    untouched = np.concatenate([p[p > 0] for p, is_forged in zip(maps, forged, strict=True) if not is_forged])
    pca = PCA(random_state=0).fit(features)
    components = pca.components_ / np.sqrt(features.var(axis=0).sum())
    projected = (features - pca.mean_) @ components.T
    inner = StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(
        SVC(kernel="linear", class_weight="balanced"), _GRID, scoring="average_precision", cv=inner
    )
    svm = search.fit(projected, forged, groups=patients).best_estimator_
    margins = cross_val_predict(svm, projected, forged, groups=patients, cv=inner, method="decision_function")
    # Calibrated on margins of slices the SVM did not see; balanced, because how often scans are forged is unknown.
    platt = LogisticRegression(C=1e3, class_weight="balanced").fit(margins[:, None], forged)
    probability = platt.predict_proba(margins[:, None])[:, 1]
    limit = np.quantile(probability[~forged], 1 - config.false_slice_share, method="higher")
    classifier = SliceClassifier(
        mean=pca.mean_.astype(np.float32),
        components=components.astype(np.float32),
        weights=svm.coef_[0].astype(np.float32),
        intercept=svm.intercept_.astype(np.float32),
        platt=np.array([platt.coef_[0, 0], platt.intercept_[0]], np.float32),
    )
    chosen = {name: float(value) for name, value in search.best_params_.items()}
    window_threshold = float(np.quantile(untouched, 1 - config.false_window_share))
    return Fitted(classifier, max(0.5, float(limit) + 1e-6), window_threshold, chosen)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments("Fit PCA + SVM on out-of-fold heatmaps and assemble the model.").parse_args(argv)
    experiment = read_experiment(args)
    config, slices = experiment.config, experiment.slices
    maps = out_of_fold_heatmaps(slices, experiment.fold_of, args.runs)
    forged = np.array([bool(s.forged) for s in slices])
    patients = np.array([s.patient for s in slices])
    folds = np.array([experiment.fold_of[s.patient] for s in slices])
    rows = []
    for fold in np.unique(folds):
        inside = np.flatnonzero(folds != fold)
        fitted = fit([maps[slices[i].name] for i in inside], forged[inside], patients[inside], config)
        print(f"fold {fold}: {_chosen(fitted)}", flush=True)
        for i in np.flatnonzero(folds == fold):
            # Judged through the library's own code, the one that ships.
            p = fitted.classifier.probability(maps[slices[i].name][None])[0]
            rows.append([slices[i].name, fold, f"{p:.6f}", fitted.threshold, fitted.window_threshold])
    with (args.runs / OUT_OF_FOLD).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "fold", "probability", "slice_threshold", "window_threshold"])
        writer.writerows(rows)
    shipped = fit([maps[s.name] for s in slices], forged, patients, config)
    print(f"all: {_chosen(shipped)}")
    _assemble(config, shipped, args.runs)


def _chosen(fitted: Fitted) -> str:
    return f"{fitted.chosen}, slices from {fitted.threshold:.3f}, windows from {fitted.window_threshold:.3f}"


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
        "operating_points": {
            "standard": {
                "text": f"about 1 of {round(1 / config.false_slice_share)} untouched slices flagged",
                "slice_threshold": fitted.threshold,
            }
        },
        "default_operating_point": "standard",
        "region_rule": asdict(RegionRule(window_threshold=fitted.window_threshold)),
        "second_stage": fitted.chosen,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
