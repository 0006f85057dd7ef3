"""The untouched series that CT-GAN can learn from, with the nodules and tumours that their tables name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume, load_volume
from training.sites import Site

_THICKEST_MM = 2.5  # LUNA16's own limit


@dataclass(frozen=True)
class Scan:
    """One untouched series; ``sites`` are its real nodules, as far as anyone marked them."""

    patient: str
    volume: Volume
    sites: tuple[Site, ...]


def read_scans(folder: Path, without: tuple[str, ...] = ()) -> Iterator[Scan]:
    """The series in ``folder/ct`` of at most 2.5 mm between slices, but for the patients in ``without``.

    Raises InputError when the folder has no ``ct/cases.csv``.
    """
    table = folder / "ct" / "cases.csv"
    if not table.is_file():
        raise InputError(
            f"'{folder}' holds no ct/cases.csv: name the folder of the training data with --data."
        )
    sites = [*_nodules(folder / "ct" / "lidc_nodules.csv"), *_tumours(folder / "ct" / "tumours.csv", table)]
    for row in _rows(table):
        if row["patient"] not in without and float(row["sz_mm"]) <= _THICKEST_MM:
            of_case = tuple(site for site in sites if site.volume == row["case"])
            yield Scan(row["patient"], load_volume(folder / "ct" / row["case"]), of_case)


def patients_of(folder: Path) -> dict[str, str]:
    """Series → patient, of ``folder/ct``."""
    return {row["case"]: row["patient"] for row in _rows(folder / "ct" / "cases.csv")}


def _nodules(table: Path) -> list[Site]:
    return [
        Site(
            row["case"],
            (float(row["x"]), float(row["y"]), float(row["k"])),
            float(row["max_extent_mm"]),
            "nodule",
        )
        for row in _rows(table)
    ]


def _tumours(table: Path, cases: Path) -> list[Site]:
    spacing = {row["case"]: [float(row[f"s{axis}_mm"]) for axis in "xyz"] for row in _rows(cases)}
    sites = []
    for row in _rows(table):
        low, high = ([float(row[f"{axis}_{end}"]) for axis in "xyk"] for end in ("min", "max"))
        i, j, k = ((a + b) / 2 for a, b in zip(low, high, strict=True))
        sides = [(b - a) * mm for a, b, mm in zip(low, high, spacing[row["case"]], strict=True)]
        sites.append(Site(row["case"], (i, j, k), max(sides), "nodule"))
    return sites


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
