"""Fit the second stage on out-of-fold heatmaps and put the model together.

``python -m training.fit_slice_classifier --config training/configs/ctgan-v2.yaml --data DIR --runs RUNS``

What judges a fold is fitted on the other folds' heatmaps: the slice classifier and its thresholds, chosen inside them
by patient, and the Gumbel distribution of the hottest rises of untouched series (``regions.RegionRule``). What ships is
made in the same way from all. Written to RUNS: ``out-of-fold.csv`` (one row a slice), ``folds.json`` (thresholds and
rule by fold) and ``<name>/``, the model folder, whose card ``training.evaluate`` completes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from scipy.optimize import brentq
from scipy.stats import gumbel_r
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.svm import SVC

from CTForgeryScanLib.cards import CARD, OperatingPoint
from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.models import CLASSIFIER, DETECTOR
from CTForgeryScanLib.regions import RegionRule, hottest_rise
from CTForgeryScanLib.slice_classifier import SliceClassifier, slice_features
from training.command import run_command
from training.config import Config
from training.experiment import arguments, read_experiment
from training.out_of_fold import (
    FOLDS_JSON,
    detector_sha256,
    load_detector,
    out_of_fold_heatmaps,
    series_heatmaps,
)
from training.slices import Slice

Maps = Mapping[str, NDArray[np.float32]]

OUT_OF_FOLD = "out-of-fold.csv"
_INNER_FOLDS = 4
_FEWEST_PATIENTS = 3
_PREDICTED = 0.99
_SIMULATED = 2000


@dataclass(frozen=True)
class Fitted:
    """The second stage: slice classifier, region rule and what each operating point makes of them."""

    classifier: SliceClassifier
    rule: RegionRule
    points: dict[str, OperatingPoint]

    def to_dict(self) -> dict[str, Any]:
        """What the model card says of it."""
        return {
            "operating_points": {name: asdict(point) for name, point in self.points.items()},
            "default_operating_point": next(iter(self.points)),
            "region_rule": asdict(self.rule),
        }


def fit(slices: Sequence[Slice], maps: Maps, config: Config) -> Fitted:
    """Fit, calibrate and set the thresholds on the slices' heatmaps [r, c], all by patient.

    A slice threshold is the lowest that flags no more untouched slices than its operating point allows in the inner
    cross-validation, but not below even odds. One principal component is kept (``SliceClassifier`` says why), so the
    SVM places a boundary on a line and its C hardly matters.
    """
    _check_enough(slices)
    features = np.stack([slice_features(maps[s.name]) for s in slices])
    forged = np.array([bool(s.forged) for s in slices])
    patients = np.array([s.patient for s in slices])
    pca = PCA(1, random_state=0).fit(features)
    # A component's sign is arbitrary; hotter is to be positive. Its unit makes the total variance 1.
    components = pca.components_ * np.sign(pca.components_.sum()) / np.sqrt(features.var(axis=0).sum())
    projected = (features - pca.mean_) @ components.T
    inner = StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=0)
    svm = SVC(kernel="linear", class_weight="balanced").fit(projected, forged)
    margins = cross_val_predict(svm, projected, forged, groups=patients, cv=inner, method="decision_function")
    # Calibrated on margins of slices the SVM did not see; balanced, because how often scans are forged is unknown.
    platt = LogisticRegression(C=1e3, class_weight="balanced").fit(margins[:, None], forged)
    untouched = platt.predict_proba(margins[~forged, None])[:, 1]
    classifier = SliceClassifier(
        mean=pca.mean_.astype(np.float32),
        components=components.astype(np.float32),
        weights=svm.coef_[0].astype(np.float32),
        intercept=svm.intercept_.astype(np.float32),
        platt=np.array([platt.coef_[0, 0], platt.intercept_[0]], np.float32),
    )
    points = {}
    for name, allowed in config.false_alarms.items():
        limit = np.quantile(untouched, 1 - allowed.in_100_slices / 100, method="higher")
        points[name] = OperatingPoint(
            text=f"about {allowed.in_100_scans:g} false alarm{'s' * (allowed.in_100_scans != 1)} in 100 scans",
            slice_threshold=max(0.5, float(limit) + 1e-6),
            region_score=1 - allowed.in_100_scans / 100,
        )
    return Fitted(classifier, fit_rule(slices, maps), points)


def _check_enough(slices: Sequence[Slice]) -> None:
    """Raises InputError where the slices do not suffice for an inner cross-validation by patient."""
    forged, all_of_them = {s.patient for s in slices if s.forged}, {s.patient for s in slices}
    if len(forged) < 2 or len(all_of_them) < _INNER_FOLDS:
        raise InputError(
            f"The second stage has {len(all_of_them)} patients to learn from, {len(forged)} of them forged: outside "
            f"every fold give {_INNER_FOLDS} or more, 2 of them forged."
        )


def fit_rule(slices: Sequence[Slice], maps: Maps) -> RegionRule:
    """The region rule whose Gumbel distribution fits the hottest rise of every patient's untouched series.

    A dozen patients tell a distribution roughly: it is widened until a scan of another patient stays below its 0.99
    quantile with that probability. Raises InputError for fewer than three patients.
    """
    form = RegionRule(location=0.0, scale=1.0)
    rises: dict[str, float] = {}
    for series in series_heatmaps(slices, maps):
        patient, rise = series.slices[0].patient, hottest_rise(series.volume, series.heatmap, form)
        rises[patient] = max(rise, rises.get(patient, -np.inf))
    if len(rises) < _FEWEST_PATIENTS:
        raise InputError(
            f"Untouched series of {len(rises)} patients do not tell what is usual: "
            f"give those of {_FEWEST_PATIENTS} or more."
        )
    location, scale = gumbel_r.fit(list(rises.values()))
    return RegionRule(float(location), float(scale) * _widening(len(rises)))


@cache
def _widening(count: int) -> float:
    """By what a Gumbel scale fitted to ``count`` values must be multiplied for its 0.99 quantile to hold for the next.

    Where the next value lies, in units of the fitted scale, depends on no parameter of the distribution: simulated.
    """
    draws = gumbel_r.rvs(size=(_SIMULATED, count), random_state=0)
    location, scale = np.transpose([gumbel_r.fit(values) for values in draws])
    quantile = gumbel_r.ppf(_PREDICTED)

    def missing(widening: float) -> float:
        return float(gumbel_r.cdf(location + widening * quantile * scale).mean()) - _PREDICTED

    return float(brentq(missing, 1, 10))


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments("Fit PCA + SVM on out-of-fold heatmaps and assemble the model.").parse_args(argv)
    experiment = read_experiment(args)
    config, slices, fold_of = experiment.config, experiment.slices, experiment.fold_of
    maps = out_of_fold_heatmaps(slices, fold_of, args.runs, experiment.training)
    rows, by_fold = [], {}
    for fold in sorted(set(fold_of.values())):
        fitted = fit([s for s in slices if fold_of[s.patient] != fold], maps, config)
        by_fold[fold] = fitted.to_dict() | {"detector_sha256": detector_sha256(args.runs, fold)}
        print(f"fold {fold}: {_summary(fitted)}", flush=True)
        held_out = [s for s in slices if fold_of[s.patient] == fold]
        # Judged through the library's own code, the one that ships.
        probabilities = [fitted.classifier.probability(maps[s.name][None])[0] for s in held_out]
        rows += [[s.name, fold, f"{p:.6f}"] for s, p in zip(held_out, probabilities, strict=True)]
    with (args.runs / OUT_OF_FOLD).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "fold", "probability"])
        writer.writerows(rows)
    (args.runs / FOLDS_JSON).write_text(json.dumps(by_fold, indent=1) + "\n", encoding="utf-8")
    shipped = fit(slices, maps, config)
    print(f"all: {_summary(shipped)}")
    _assemble(
        config, shipped, args.runs, load_detector(args.runs / "fold-all" / DETECTOR, experiment.training)
    )


def _summary(fitted: Fitted) -> str:
    points = ", ".join(f"{name} slices from {p.slice_threshold:.3f}" for name, p in fitted.points.items())
    return f"{points}; rises at {fitted.rule.location:.2f} ± {fitted.rule.scale:.2f}"


def _assemble(config: Config, fitted: Fitted, runs: Path, detector: LocalDetector) -> None:
    """Write the model folder: both files and the part of the card that does not need measuring."""
    folder = runs / config.name
    folder.mkdir(exist_ok=True)
    save_tensors(detector.state_dict(), folder / DETECTOR)
    save_file(fitted.classifier.arrays(), folder / CLASSIFIER)
    card = {
        "name": config.name,
        "architecture": detector.config,
        "sha256": {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in (DETECTOR, CLASSIFIER)},
        **fitted.to_dict(),
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
