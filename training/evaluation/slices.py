"""Slices: the paper's ACC, P, R and F1 (Section 4.1), AUC, and detection at a false-alarm rate that users can bear."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score, roc_curve

from CTForgeryScanLib.errors import InputError
from training.evaluation.counts import (
    Counts,
    both_classes,
    count,
    equal_classes,
    labels_and_scores,
    same_length,
)
from training.evaluation.resampling import BOOTSTRAPS, patient_interval

UNTOUCHED = "untouched"
"""The kind of a slice that is not forged; any other names how it was forged."""


def slice_counts(forged: ArrayLike, flagged: ArrayLike, *, balanced: bool = False) -> Counts:
    """Answers by class; ``balanced``: with both classes weighing the same, as in the paper's test set.

    Raises InputError where one class is empty.
    """
    truth, said = same_length("slices", forged=forged, flagged=flagged)
    return count(both_classes(truth), said, equal_classes(truth) if balanced else None)


def counts_by_kind(kinds: ArrayLike, flagged: ArrayLike, *, balanced: bool = False) -> dict[str, Counts]:
    """Each kind of forgery against all untouched slices, as the paper's Table 2 has it; ``kinds`` are names [N]."""
    of, said = same_length("slices", kinds=kinds, flagged=flagged)
    found = {}
    for kind in sorted(set(of.tolist()) - {UNTOUCHED}):
        rows = (of == kind) | (of == UNTOUCHED)
        found[kind] = slice_counts(of[rows] == kind, said[rows], balanced=balanced)
    return found


def auc(forged: ArrayLike, scores: ArrayLike) -> float:
    """Chance that a forged example scores higher than an untouched one; ties count half."""
    truth, values = labels_and_scores(forged, scores)
    return float(roc_auc_score(truth, values))


def auc_within(forged: ArrayLike, scores: ArrayLike, judges: ArrayLike) -> float:
    """The AUC over pairs that the same judge scored: of models of several folds, whose scores need not be of one scale.

    Raises InputError where no judge scored both a forged and an untouched example.
    """
    truth, values = labels_and_scores(forged, scores)
    _, of = same_length("examples", scores=values, judges=judges)
    pairs, won = 0, 0.0
    for judge in np.unique(of):
        rows = of == judge
        own = int(truth[rows].sum() * (~truth[rows]).sum())
        pairs, won = pairs + own, won + (own * roc_auc_score(truth[rows], values[rows]) if own else 0.0)
    if not pairs:
        raise InputError("No judge scored both forged and untouched examples: compare what one judge scored.")
    return won / pairs


def auc_interval(
    forged: ArrayLike, scores: ArrayLike, patients: ArrayLike, bootstraps: int = BOOTSTRAPS
) -> tuple[float, float]:
    """95 % interval of the AUC over resampled patients; draws without both classes do not count."""
    same_length("slices", forged=forged, scores=scores, patients=patients)
    truth, values = labels_and_scores(forged, scores)

    def figure(rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        drawn = truth[rows]
        return float(roc_auc_score(drawn, values[rows])) if 0 < drawn.sum() < len(rows) else np.nan

    low, high = patient_interval(figure, patients, bootstraps)
    return float(low), float(high)


def detection_rate(forged: ArrayLike, scores: ArrayLike, false_alarms: float = 0.01) -> tuple[float, float]:
    """Highest share of forged examples found while at most ``false_alarms`` of the untouched ones are, and from which
    score on.

    The threshold is the best one on these very examples, as the field reports it: no operating point. With fewer
    than 1 / ``false_alarms`` untouched examples it allows no false alarm at all. Infinite where nothing can be found.
    """
    if not 0 <= false_alarms <= 1:
        raise InputError(
            f"A false-alarm rate of {false_alarms:g} was asked for: give a share between 0 and 1."
        )
    truth, values = labels_and_scores(forged, scores)
    false_rate, true_rate, thresholds = roc_curve(truth, values, drop_intermediate=False)
    last = int(np.flatnonzero(false_rate <= false_alarms)[-1])
    best = int(np.argmax(true_rate[: last + 1]))
    return float(true_rate[best]), float(thresholds[best])
