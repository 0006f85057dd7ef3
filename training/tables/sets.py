"""Which slices an experiment is about, and how they are divided: by patient, or leaking as the paper's are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from training.evaluation.slices import UNTOUCHED
from training.slices import Slice
from training.splits import make_folds

Split = Literal["leaking", "patient"]
SPLITS: tuple[Split, ...] = get_args(Split)
ALL_KINDS = "all"
CYCLEGAN = "cyclegan"


@dataclass(frozen=True)
class Parts:
    """What each step may see: the detector's training and validation, the second stage's training, the test."""

    training: list[Slice]
    validation: list[Slice]
    second_stage: list[Slice]
    test: list[Slice]

    def scans_on_both_sides(self) -> set[str]:
        """Series with a slice in the test and one in anything that was learnt from."""
        learnt = {s.series for part in (self.training, self.validation, self.second_stage) for s in part}
        return learnt & {s.series for s in self.test}


def of_kind(slices: Sequence[Slice], kind: str) -> list[Slice]:
    """The slices that are forged in this way, and the untouched ones; ``ALL_KINDS`` for all."""
    return [s for s in slices if kind == ALL_KINDS or s.kind in (kind, UNTOUCHED)]


def fold_of_slice(
    slices: Sequence[Slice], split: Split, folds: int, seed: int, fold_of_patient: dict[str, int] | None
) -> dict[str, int]:
    """Slice name → fold. ``leaking``: slices are dealt as independent files (Section 4.1 draws its test set so).

    ``fold_of_patient`` is the checked-in file; without one, patients are dealt from the seed.
    """
    if split == "leaking":
        return make_folds([replace(s, patient=s.name) for s in slices], folds, seed)
    fold_of = make_folds(slices, folds, seed) if fold_of_patient is None else fold_of_patient
    return {s.name: fold_of[s.patient] for s in slices}


def divide(
    slices: Sequence[Slice],
    fold_of: dict[str, int],
    fold: int,
    folds: int,
    second_stage_folds: int,
    seed: int,
) -> Parts:
    """Test on ``fold``; the next one stops the training, those after it teach the second stage.

    Without any for the second stage, it learns from the fold that stopped the training. Second stage and test get as
    many untouched slices as forged ones, as in the paper; the detector's training draws its own.
    """
    held: dict[int, list[Slice]] = defaultdict(list)
    for s in slices:
        held[(fold_of[s.name] - fold) % folds].append(s)
    second = [s for n in range(2, 2 + second_stage_folds) for s in held.pop(n, [])] or held[1]
    test, validation = held.pop(0, []), held.pop(1, [])
    return Parts(
        training=[s for part in held.values() for s in part],
        validation=validation,
        second_stage=balanced(second, seed),
        test=balanced(test, seed),
    )


def balanced(slices: Sequence[Slice], seed: int) -> list[Slice]:
    """All forged slices and as many untouched ones at random, taken from the patients by turns."""
    forged = [s for s in slices if s.forged]
    return forged + untouched_by_turns(slices, len(forged), seed)


def untouched_by_turns(slices: Sequence[Slice], count: int, seed: int) -> list[Slice]:
    """So many of the untouched slices, or all if there are fewer, at random, taken from the patients by turns."""
    rng = np.random.default_rng(seed)
    untouched: dict[str, list[Slice]] = defaultdict(list)
    for s in slices:
        if not s.forged:
            untouched[s.patient].append(s)
    turns: list[tuple[int, int, Slice]] = []
    for patient in rng.permutation(sorted(untouched)).tolist():
        order = rng.permutation(len(untouched[patient]))
        turns += [(turn, len(turns), untouched[patient][n]) for turn, n in enumerate(order)]
    turns.sort(key=lambda t: t[:2])
    return [s for _, _, s in turns[:count]]
