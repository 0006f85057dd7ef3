"""Calibration: does a slice called 80 % forged turn out forged in 80 of 100 cases?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binned_statistic
from sklearn.metrics import brier_score_loss

from training.evaluation.counts import equal_classes, labels_and_scores, probabilities


@dataclass(frozen=True)
class ReliabilityBin:
    """The examples whose p(forged) lies in low…high: how many, their mean p, and the share that is forged."""

    low: float
    high: float
    examples: int
    predicted: float
    forged: float


def brier(forged: ArrayLike, p: ArrayLike, *, balanced: bool = False) -> float:
    """Mean squared error of p(forged); 0 is perfect, 0.25 is what p = ½ gets."""
    truth, values = labels_and_scores(forged, p)
    weights = equal_classes(truth) if balanced else None
    return float(brier_score_loss(truth, probabilities(values), sample_weight=weights))


def reliability(
    forged: ArrayLike, p: ArrayLike, bins: int = 10, *, balanced: bool = False
) -> list[ReliabilityBin]:
    """The reliability table, bins of equal width, empty ones left out.

    ``balanced``: with both classes weighing the same, which is how probabilities are calibrated where nobody knows how
    often scans are forged.
    """
    truth, values = labels_and_scores(forged, p)
    weights = equal_classes(truth) if balanced else np.full(len(truth), 1 / len(truth))
    sums, edges, number = binned_statistic(
        probabilities(values), [weights, weights * values, weights * truth], "sum", bins, range=(0, 1)
    )
    examples = np.bincount(number - 1, minlength=bins)
    return [
        ReliabilityBin(float(low), float(high), int(n), float(predicted / weight), float(share / weight))
        for low, high, n, weight, predicted, share in zip(edges[:-1], edges[1:], examples, *sums, strict=True)
        if n
    ]
