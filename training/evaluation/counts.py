"""Right and wrong answers counted, the figures that the paper makes of them, and the checks every measure needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix

from CTForgeryScanLib.errors import InputError


@dataclass(frozen=True)
class Counts:
    """Answers by what was true (Section 4.1, "Evaluation"), in slices, areas or voxels, or in weights of them.

    A figure that has no meaning is NaN, the dash of the paper's Table 4: precision, recall and F1 where there was
    nothing to find, accuracy where what was rightly left alone cannot be counted (``true_negatives`` NaN).
    """

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float = float("nan")

    @property
    def positives(self) -> float:
        """How much there was to find."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> float:
        """How much there was to leave alone."""
        return self.true_negatives + self.false_positives

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return _ratio(self.true_positives + self.true_negatives, self.positives + self.negatives)

    @property
    def precision(self) -> float:
        """Share of what was flagged that is forged; 0 where nothing was flagged though there was something to find."""
        flagged = self.true_positives + self.false_positives
        if not self.positives:
            return np.nan
        return self.true_positives / flagged if flagged else 0.0

    @property
    def recall(self) -> float:
        """Share of what is forged that was flagged."""
        return _ratio(self.true_positives, self.positives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        if not self.positives:
            return np.nan
        return (
            2 * self.true_positives / (2 * self.true_positives + self.false_positives + self.false_negatives)
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
        )


def _ratio(part: float, of: float) -> float:
    return part / of if of else np.nan


def count(forged: ArrayLike, flagged: ArrayLike, weights: NDArray[np.float64] | None = None) -> Counts:
    """Count what was flagged against what is forged, example by example; ``weights`` as ``equal_classes`` gives."""
    truth, said = same_length("examples", forged=forged, flagged=flagged)
    ((tn, fp), (fn, tp)) = confusion_matrix(
        truth.astype(bool), said.astype(bool), labels=[False, True], sample_weight=weights
    ).tolist()
    return Counts(tp, fp, fn, tn)


def equal_classes(forged: ArrayLike) -> NDArray[np.float64]:
    """Weights with which the forged examples together weigh ½, and the untouched ones the other ½."""
    truth = both_classes(forged)
    return np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())


def same_length(what: str, **columns: ArrayLike) -> list[NDArray[Any]]:
    """The columns as arrays; InputError where one is not a plain list or their lengths differ."""
    arrays = [np.asarray(column) for column in columns.values()]
    for name, array in zip(columns, arrays, strict=True):
        if array.ndim != 1:
            raise InputError(f"'{name}' has {array.ndim} axes: give one value for each of the {what}.")
    if len({len(array) for array in arrays}) > 1:
        lengths = ", ".join(f"{len(array)} '{name}'" for name, array in zip(columns, arrays, strict=True))
        raise InputError(f"The {what} do not match ({lengths}): give one value of each for every one.")
    return arrays


def both_classes(forged: ArrayLike) -> NDArray[np.bool_]:
    """``forged`` as bools; InputError unless it holds forged and untouched examples."""
    truth = np.asarray(forged).astype(bool)
    if truth.all() or not truth.any():
        missing = "untouched" if truth.size and truth.all() else "forged"
        raise InputError(
            f"There is no {missing} example among {truth.size}: this figure compares both kinds."
        )
    return truth


def labels_and_scores(forged: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Both as arrays; InputError for lengths that differ, a class that is empty or a score that is not finite."""
    truth, values = same_length("examples", forged=forged, scores=scores)
    return both_classes(truth), finite(values)


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """``values`` as floats; InputError where one is NaN or infinite."""
    numbers = np.asarray(values, np.float64)
    if wrong := int((~np.isfinite(numbers)).sum()):
        raise InputError(f"{wrong} of {numbers.size} scores are not finite numbers: find out what made them.")
    return numbers


def probabilities(values: ArrayLike) -> NDArray[np.float64]:
    """``values`` as floats; InputError where one is no probability."""
    p = finite(values)
    if p.size and not 0 <= p.min() <= p.max() <= 1:
        raise InputError(
            f"Probabilities from {p.min():g} to {p.max():g} were given: they must lie between 0 and 1."
        )
    return p
