"""Patient folds: made once from a seed, checked in beside the configurations, read by everything else.

``python -m training.splits --data DIR --out training/configs/five-folds.csv`` makes the file of the data folder,
``python -m training.splits --source luna16 DIR --out FILE`` that of any source or of several.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from CTForgeryScanLib.errors import InputError
from training.command import run_command
from training.data import read_slices
from training.slices import Slice
from training.sources.catalogue import SOURCE_HELP, read_sources, was_forged
from training.sources.scan import number, read_table


def make_folds(slices: Sequence[Slice], folds: int, seed: int) -> dict[str, int]:
    """Patient → fold, so that every fold holds about as many forged slices of each kind and untouched patients.

    Patients are dealt in random order, those with most slices first, each to the fold that has least of its kind.
    """
    return deal(((s.patient, s.kind) for s in slices), folds, seed)


def deal(items: Iterable[tuple[str, str]], folds: int, seed: int) -> dict[str, int]:
    """Patient → fold for (patient, kind) of whatever is to be spread evenly. See ``make_folds``.

    Raises InputError for fewer patients than folds.
    """
    content: dict[str, Counter[str]] = defaultdict(Counter)
    for patient, kind in items:
        content[patient][kind] += 1
    if not 2 <= folds <= len(content):
        raise InputError(
            f"{len(content)} patients cannot be dealt into {folds} folds; ask for 2 to {len(content)}"
        )
    order = np.random.default_rng(seed).permutation(sorted(content)).tolist()
    order.sort(key=lambda p: -max(content[p].values()))
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    fold_of = {}
    for patient in order:
        kind, _ = content[patient].most_common(1)[0]
        fold = min(range(folds), key=lambda f: (held[f][kind], held[f].total()))
        fold_of[patient] = fold
        held[fold].update(content[patient])
    return fold_of


def read_folds(path: Path) -> dict[str, int]:
    """The checked-in file: columns ``patient, fold``. Raises InputError where it cannot be read."""
    fold_of = {}
    for row in read_table(path, ("patient", "fold")):
        fold = number(row, "fold", path)
        if not fold.is_integer():
            raise InputError(f"'{path}' has the fold {fold:g} for {row['patient']}: folds are whole numbers.")
        fold_of[row["patient"]] = int(fold)
    return fold_of


def digest(fold_of: Mapping[str, int]) -> str:
    """SHA-256 of which patient is in which fold: a file of the same name may be dealt anew."""
    return hashlib.sha256(json.dumps(sorted(fold_of.items())).encode()).hexdigest()


def check_folds(fold_of: Mapping[str, int], slices: Iterable[Slice], path: Path) -> None:
    """Raises InputError where patients of the slices were dealt into no fold."""
    if unknown := {s.patient for s in slices} - fold_of.keys():
        raise InputError(
            f"'{path}' has no fold for {len(unknown)} patients of the data (such as {min(unknown)}): deal them with "
            "python -m training.splits, and name that file as folds in the configuration."
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Deal the patients of the data folder, or of sources, into folds."
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--data", type=Path, help="the data folder, or one that training.slice_set made")
    given.add_argument("--source", nargs=2, action="append", metavar=("NAME", "WHERE"), help=SOURCE_HELP)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.out.exists():
        raise InputError(
            f"'{args.out}' exists: what was trained by it knows these folds alone. Give another --out for another deal."
        )
    if args.source:
        scans = read_sources(args.source)
        items = ((scan.patient, "forged" if was_forged(scan) else "untouched") for scan in scans)
        fold_of = deal(items, args.folds, args.seed)
    else:
        fold_of = make_folds(read_slices(args.data), args.folds, args.seed)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["patient", "fold"])
        writer.writerows(sorted(fold_of.items()))


if __name__ == "__main__":
    run_command(main)
