"""What every step of an experiment is given: its configuration, the data and the folder of its runs."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from training.config import Config, read_config
from training.data import DATA_HELP, read_slices
from training.slices import Slice
from training.splits import check_folds, digest, read_folds


@dataclass(frozen=True)
class Experiment:
    """A configuration with its patient folds and the slices that may be trained on."""

    config: Config
    fold_of: dict[str, int]
    slices: list[Slice]

    @property
    def training(self) -> Config:
        """What a detector is trained by, and known by later."""
        return training_of(self.config, self.fold_of)

    @property
    def data(self) -> str:
        """SHA-256 of which slices there are, and whose."""
        patients = sorted((s.name, s.patient) for s in self.slices)
        return hashlib.sha256(json.dumps(patients).encode()).hexdigest()


def training_of(config: Config, fold_of: Mapping[str, int]) -> Config:
    """With the folds' content instead of their file's name, and without what concerns the second stage alone."""
    return replace(config, folds=digest(fold_of), false_alarms={})


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser that knows ``--config``, ``--data`` and ``--runs``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the experiment")
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--runs", type=Path, required=True, help="folder of what the steps write and read")
    return parser


def read_experiment(args: argparse.Namespace) -> Experiment:
    """Read what the arguments name. Raises InputError for what is missing or damaged."""
    config = read_config(args.config)
    path = args.config.parent / config.folds
    fold_of, slices = read_folds(path), read_slices(args.data, frozenset(config.never_train))
    check_folds(fold_of, slices, path)
    return Experiment(config, fold_of, slices)
