"""The rows of the paper's tables and how each method is made, read from ``configs/paper-tables.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.config import read_settings
from training.evaluation.counts import Counts
from training.tables.scale import Scale
from training.windows_config import WindowsConfig

PAPER_TABLES = Path(__file__).parents[1] / "configs" / "paper-tables.yaml"


@dataclass(frozen=True)
class Method:
    """A detector with its second stage; what the paper's recipe does not say differently is the paper's own."""

    name: str
    detector: str
    """The method whose first stage it uses: its own name, but for −GLCM."""
    settings: dict[str, Any]
    """What it changes in ``WindowsConfig``."""
    glcm: bool = True
    linear_dct: bool = False
    dense: bool = False

    def config(self, scale: Scale) -> WindowsConfig:
        """The first stage's training: the scale's recipe with this method's settings."""
        recipe = scale.recipe | (scale.whole_recipe if self.settings.get("whole") else {})
        return replace(WindowsConfig(name=self.detector, folds=""), **recipe, **self.settings)


@dataclass(frozen=True)
class SliceRow:
    """A row of tables 1 to 3: which slices, which method, and the paper's ACC, P, R, F1 (None: not in the paper)."""

    set: str
    method: str
    paper: tuple[float | None, ...]


@dataclass(frozen=True)
class ScanRow:
    """A scan of table 4: how often and how it is forged, and the paper's counts."""

    name: str
    sites: int
    kind: str
    spacing_mm: float
    slices: Counts
    areas: Counts | None


@dataclass(frozen=True)
class PaperTables:
    """Everything that the file holds."""

    methods: dict[str, Method]
    slice_tables: dict[str, list[SliceRow]]
    scans: list[ScanRow]


def read_paper_tables(path: Path = PAPER_TABLES) -> PaperTables:
    """Read the file."""
    given = read_settings(path)
    tables = {
        table["title"]: [SliceRow(row[0], row[1], tuple(row[2:])) for row in table["rows"]]
        for table in given["slice_tables"]
    }
    scans = []
    for name, row in given["scan_table"].items():
        tp, tn, fp, fn = row["slices"]
        areas = Counts(*row["areas"]) if "areas" in row else None
        scans.append(
            ScanRow(name, row["sites"], row["kind"], row["spacing_mm"], Counts(tp, fp, fn, tn), areas)
        )
    return PaperTables(
        {name: _method(name, settings) for name, settings in given["methods"].items()}, tables, scans
    )


def _method(name: str, settings: dict[str, Any]) -> Method:
    own = dict(settings)
    return Method(
        name,
        own.pop("detector", name),
        glcm=own.pop("glcm", True),
        linear_dct=own.pop("linear_dct", False),
        dense=own.pop("dense", False),
        settings=own,
    )
