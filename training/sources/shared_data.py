"""The untouched series of the data folder (``ct/`` of ``training.data``), with what readers marked in them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import load_volume
from training.sites import Site
from training.sources.scan import Listing, StoredScan, read_table

Marked = tuple[tuple[float, float, float], float]
"""What one reader marked: the centre (i, j, k) in voxels and the largest extent in mm."""


def read(where: str) -> Listing:
    """The series of the data folder. Raises InputError where it holds no ``ct/cases.csv``."""
    folder = Path(where) / "ct"
    if not (folder / "cases.csv").is_file():
        raise InputError(f"{where}: it holds no ct/cases.csv; name the folder of the training data.")
    return Listing(
        tuple(
            StoredScan(
                case := row["case"],
                row["patient"],
                partial(load_volume, folder / case),
                _sites(folder, case, (float(row["sx_mm"]), float(row["sy_mm"]), float(row["sz_mm"]))),
            )
            for row in read_table(folder / "cases.csv", ("case", "patient", "sx_mm", "sy_mm", "sz_mm"))
        )
    )


def merged(marks: list[Marked], spacing_mm: tuple[float, float, float]) -> list[Marked]:
    """One mark for each nodule that several readers marked: mean centre, median extent.

    Marks are of one nodule when their centres are nearer to each other than half of the larger extent.
    """
    groups: list[list[Marked]] = []
    for centre, extent in marks:
        for group in groups:
            away = np.linalg.norm((np.mean([c for c, _ in group], axis=0) - centre) * spacing_mm)
            if away < max(extent, *(e for _, e in group)) / 2:
                group.append((centre, extent))
                break
        else:
            groups.append([(centre, extent)])
    result = []
    for group in groups:
        i, j, k = np.mean([centre for centre, _ in group], axis=0).tolist()
        result.append(((i, j, k), float(np.median([extent for _, extent in group]))))
    return result


def _sites(folder: Path, case: str, spacing_mm: tuple[float, float, float]) -> tuple[Site, ...]:
    marks: list[Marked] = []
    for row in read_table(folder / "lidc_nodules.csv", ("case", "x", "y", "k", "max_extent_mm")):
        if row["case"] == case:
            centre = (float(row["x"]), float(row["y"]), float(row["k"]))
            marks.append((centre, float(row["max_extent_mm"])))
    for row in read_table(
        folder / "tumours.csv", ("case", "x_min", "x_max", "y_min", "y_max", "k_min", "k_max")
    ):
        if row["case"] == case:
            low, high = ([float(row[f"{axis}_{end}"]) for axis in "xyk"] for end in ("min", "max"))
            i, j, k = np.add(low, high) / 2
            marks.append(((float(i), float(j), float(k)), float(np.max(np.subtract(high, low) * spacing_mm))))
    return tuple(Site(case, centre, extent, "nodule") for centre, extent in merged(marks, spacing_mm))
