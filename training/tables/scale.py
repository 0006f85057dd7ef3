"""How much of the paper's experiments is done: ``configs/tables-<scale>.yaml`` as a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from training.config import check_names, check_types, read_settings


@dataclass(frozen=True)
class Scale:
    """One size of the experiments.

    ``skip`` maps patterns of cells (set/split/method) to the reason why this scale leaves them out, ``scans`` the scans
    of table 4 to the untouched series that stand for them.
    """

    name: str
    text: str
    """What it is, in a sentence for the reader of the results."""
    folds: int = 5
    folds_file: str = ""
    """The file of patient folds, in YAML named beside the configuration; made anew from ``seed`` without one."""
    folds_run: int = 5
    """How many of the folds are held out, one training each."""
    second_stage_folds: int = 0
    """Folds that only the second stage learns from; 0: it learns from the validation fold."""
    every: int = 1
    """Which windows a sweep asks, down and across: 1 is the paper's stride of 4 pixels, 2 is a quarter of the time."""
    cyclegan_slices: int = 58
    """How many slices CycleGAN denoises for its set."""
    never_train: tuple[str, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    """What differs from the paper's training (``WindowsConfig``)."""
    whole_recipe: dict[str, Any] = field(default_factory=dict)
    """What differs besides for methods on whole slices, of which a batch fills the memory."""
    skip: dict[str, str] = field(default_factory=dict)
    scans: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    def why_skipped(self, cell: str) -> str | None:
        """Why this scale leaves the cell out; None when it does not."""
        return next((why for pattern, why in self.skip.items() if fnmatchcase(cell, pattern)), None)


def scale_path(name: str) -> Path:
    """The configuration of a scale that comes with the project."""
    return Path(__file__).parents[1] / "configs" / f"tables-{name}.yaml"


def read_scale(path: Path) -> Scale:
    """Read a configuration; raises InputError for a missing file or settings that the program does not know."""
    given = read_settings(path)
    check_names(path, given, [f.name for f in fields(Scale)], ("name", "text"))
    check_types(path, given, Scale)
    folds = given.get("folds_file", "")
    return Scale(
        **given
        | {
            "never_train": tuple(given.get("never_train", ())),
            "folds_file": folds and str(path.parent / folds),
        }
    )
