"""The real CT that detectors are trained on and judged by: genuine CT-GAN slices and untouched slices and series.

The folder has ``ctgan/`` (slices forged by the authors' own CT-GAN, with ``labels.csv``), ``pristine_slices/``
(untouched single slices, ``slices.csv``) and ``ct/`` (untouched series, ``cases.csv``, ``lidc_nodules.csv``,
``tumours.csv``). It is not part of the project.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import load_volume
from training.sites import Site, SiteKind
from training.slices import Slice
from training.sources.scan import read_table
from training.stored_slices import SETTINGS, read_stored_slices
from training.touched_block import sites_reaching

DATA_HELP = "the data folder (ctgan/, pristine_slices/ and ct/), or one that training.slice_set made"

_LABELS = ("scan", "file", "slice", "x", "y", "type", "pixel_spacing_mm", "slice_spacing_mm")
_KINDS: dict[str, SiteKind] = {"FM": "inject", "FB": "remove"}
_TUMOURS = ("case", "x_min", "x_max", "y_min", "y_max", "k_min", "k_max")


def read_slices(folder: Path, without: frozenset[str] = frozenset()) -> list[Slice]:
    """Every slice of the data folder, forged ones first, or of a folder that ``training.slice_set`` made, but for the
    patients in ``without``.

    Raises InputError when the folder does not hold the three sets, nor stored slices.
    """
    if (folder / SETTINGS).exists():
        return [s for s in read_stored_slices(folder) if s.patient not in without]
    for table in ("ctgan/labels.csv", "pristine_slices/slices.csv", "ct/cases.csv"):
        if not (folder / table).is_file():
            raise InputError(
                f"'{folder}' holds no {table}: name the folder of the training data with --data."
            )
    slices = [
        *forged_slices(folder / "ctgan"),
        *_single_slices(folder / "pristine_slices"),
        *_series(folder / "ct"),
    ]
    return [s for s in slices if s.patient not in without]


def forged_files(folder: Path) -> list[Path]:
    """The files of the genuine CT-GAN slices of ``folder`` (``labels.csv``), by name."""
    return sorted(folder / row["file"] for row in read_table(folder / "labels.csv", _LABELS))


def forged_slices(folder: Path) -> list[Slice]:
    """The genuine CT-GAN slices of ``folder`` (``labels.csv``)."""
    by_scan: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_table(folder / "labels.csv", _LABELS):
        by_scan[row["scan"]].append(row)
    slices = []
    for scan, rows in sorted(by_scan.items()):
        sites = [
            Site(scan, (float(r["x"]), float(r["y"]), float(r["slice"])), 0.0, _KINDS[r["type"]])
            for r in rows
        ]
        for row, own in zip(rows, sites, strict=True):
            volume = load_volume(folder / row["file"])
            k, pixel, between = own.voxel[2], float(row["pixel_spacing_mm"]), float(row["slice_spacing_mm"])
            slices.append(
                Slice(
                    name=f"ctgan/{Path(row['file']).stem}",
                    patient=f"ctgan-{scan}",
                    series=f"ctgan-{scan}",
                    k=k,
                    hu=volume.hu[0],
                    spacing_mm=pixel,
                    between_mm=between,
                    forged=sites_reaching(k, own, sites, pixel, between),
                )
            )
    return slices


def _single_slices(folder: Path) -> list[Slice]:
    slices = []
    for row in read_table(folder / "slices.csv", ("file", "patient", "pixel_spacing_mm")):
        name = f"pristine/{Path(row['file']).stem}"
        hu = load_volume(folder / row["file"]).hu[0]
        slices.append(Slice(name, row["patient"], name, 0, hu, float(row["pixel_spacing_mm"])))
    return slices


def _series(folder: Path) -> list[Slice]:
    lesions: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for row in read_table(folder / "lidc_nodules.csv", ("case", "x", "y", "k_min", "k_max")):
        for k in range(round(float(row["k_min"])), round(float(row["k_max"])) + 1):
            lesions[row["case"], k].append((float(row["x"]), float(row["y"])))
    for row in read_table(folder / "tumours.csv", _TUMOURS):
        centre = tuple((float(row[f"{axis}_min"]) + float(row[f"{axis}_max"])) / 2 for axis in "xy")
        for k in range(round(float(row["k_min"])), round(float(row["k_max"])) + 1):
            lesions[row["case"], k].append((centre[0], centre[1]))
    slices = []
    for row in read_table(folder / "cases.csv", ("case", "patient", "sx_mm", "sz_mm")):
        case, volume = row["case"], load_volume(folder / row["case"])
        pixel, between = float(row["sx_mm"]), float(row["sz_mm"])
        for k, hu in enumerate(volume.hu):
            # The tables count k over the files in name order, which in these series is the order of position.
            here = tuple(lesions[case, k])
            slices.append(Slice(f"{case}/{k:03d}", row["patient"], case, k, hu, pixel, between, lesions=here))
    return slices
