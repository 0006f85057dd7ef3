"""LUNA16: scans as ``.mhd`` + ``.raw`` in ``subset0`` … ``subset9``, nodules in ``annotations.csv`` (LPS, mm).

A download of some subsets works. LUNA16 names series, not patients, and LIDC-IDRI has a few patients with two series;
TCIA's ``metadata.csv`` of LIDC-IDRI or a ``patients.csv`` (columns ``seriesuid, patient``) beside the annotations says
which, else each series is a patient.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.hu import quiet, ras_matrix
from CTForgeryScanLib.volume import load_volume
from training.sites import Site, ijk_of_lps
from training.sources.scan import Listing, StoredScan, number, read_table

SUBSETS, SCANS = 10, 888
_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
_HELP = "name the folder that holds LUNA16's subset0 to subset9 and annotations.csv"

Nodule = tuple[tuple[float, float, float], float]
"""Centre (x, y, z) in LPS mm, diameter in mm."""


def read(where: str) -> Listing:
    """The scans of a LUNA16 folder. Raises InputError where it holds none or its table is another."""
    folder = Path(where)
    if not folder.is_dir():
        raise InputError(f"{where}: there is no such folder; {_HELP}.")
    # The lung segmentations are .mhd of the same names, so only the subsets are looked into.
    found = {path.stem: path for path in sorted(folder.glob("subset[0-9]/**/*.mhd"))}
    if not found:
        raise InputError(f"{where}: it holds no subset with .mhd files; {_HELP}.")
    table = _beside(folder, "annotations.csv")
    if table is None:
        raise InputError(f"{where}: annotations.csv is missing; download it too and {_HELP}.")
    nodules: dict[str, list[Nodule]] = defaultdict(list)
    for row in read_table(table, _COLUMNS):
        x, y, z = (number(row, f"coord{axis}", table) for axis in "XYZ")
        nodules[row["seriesuid"]].append(((x, y, z), number(row, "diameter_mm", table)))
    patient_of = _patients(folder)
    scans, notes = [], _missing(folder, len(found))
    for uid, path in found.items():
        try:
            sites = _sites(path, nodules[uid])
        except InputError as error:
            notes.append(f"Left out: {error}")
            continue
        lost = len(nodules[uid]) - len(sites)
        if lost:
            notes.append(f"{path}: {lost} annotated nodules lie outside the volume and are left out.")
        scans.append(StoredScan(uid, patient_of.get(uid, uid), partial(load_volume, path), sites))
    if not scans:
        raise InputError(f"{where}: none of its {len(found)} scans is whole ({notes[-1]})")
    return Listing(tuple(scans), tuple(notes))


def _patients(folder: Path) -> dict[str, str]:
    """Series → patient, as far as a table beside the annotations says."""
    for name, series, patient in (
        ("patients.csv", "seriesuid", "patient"),
        ("metadata.csv", "Series UID", "Subject ID"),
    ):
        if (table := _beside(folder, name)) is not None:
            return {row[series]: row[patient] for row in read_table(table, (series, patient))}
    return {}


def _beside(folder: Path, name: str) -> Path | None:
    """The table of that name in the folder or one below, as the archives unpack."""
    return next((path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()), None)


def _missing(folder: Path, found: int) -> list[str]:
    if found == SCANS:
        return []
    absent = [f"subset{n}" for n in range(SUBSETS) if not any(folder.glob(f"subset{n}/**/*.mhd"))]
    whole = f"; missing altogether: {', '.join(absent)}" if absent else ""
    return [f"LUNA16 is not complete: {found} of {SCANS} scans are there{whole}."]


def _sites(path: Path, nodules: list[Nodule]) -> tuple[Site, ...]:
    """The nodules that lie in the volume, in its voxels. Raises InputError where the scan is not whole."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path}: the header cannot be read; download the subset again.") from error
    raw = path.with_suffix(".raw")
    if not (raw.is_file() or path.with_suffix(".zraw").is_file()):
        raise InputError(f"{path}: its .raw file is missing; unpack the subset again.")
    bytes_a_voxel = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    if raw.is_file() and raw.stat().st_size < math.prod(reader.GetSize()) * bytes_a_voxel:
        raise InputError(f"{path}: its .raw file is cut short; unpack the subset again.")
    axes = np.reshape(reader.GetDirection(), (3, 3)) * np.asarray(reader.GetSpacing())
    matrix, size = ras_matrix(axes, np.asarray(reader.GetOrigin())), np.array(reader.GetSize())
    places = [(ijk_of_lps(matrix, lps), diameter) for lps, diameter in nodules]
    return tuple(
        Site(path.stem, ijk, diameter, "nodule")
        for ijk, diameter in places
        if np.all(np.rint(ijk) >= 0) and np.all(np.rint(ijk) < size)
    )
