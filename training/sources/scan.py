"""What every source gives: scans with a name, a patient, known sites, and voxels when they are asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.sites import Site


class Scan(Protocol):
    """One CT of a source."""

    @property
    def name(self) -> str:
        """Unique in its source, and fit for a file name."""

    @property
    def patient(self) -> str:
        """Whom it is of: patients never stand on both sides of a split."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Places that are known: real nodules, or where it was forged."""

    def load(self) -> Volume:
        """Its voxels. Raises InputError where the files are damaged."""


@dataclass(frozen=True)
class StoredScan:
    """A scan of files on disk."""

    name: str
    patient: str
    load: Callable[[], Volume]
    sites: tuple[Site, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The scans of a source, and sentences on what is missing from it."""

    scans: tuple[Scan, ...]
    notes: tuple[str, ...] = ()


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file. Raises InputError where it cannot be read or lacks one of the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            found = reader.fieldnames or []
            missing = [name for name in columns if name not in found]
            if missing:
                raise InputError(
                    f"{path}: it has no column {', '.join(missing)} (it has {', '.join(found) or 'none'}); "
                    "give the file as it was published."
                )
            return list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the table cannot be read ({error}); give the file as it was published."
        ) from error


def number(row: dict[str, str], column: str, table: Path) -> float:
    """A number of a row. Raises InputError where it is none."""
    try:
        return float(row[column])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{table}: '{row[column]}' in the column {column} is not a number; give the file as it was published."
        ) from error
