"""Forged volumes as files: NRRD, marked as forged in the header, never DICOM; beside each, what was changed.

``NAME.nrrd`` holds the volume and, under ``FORGED_KEY``, the JSON list of its sites; ``NAME.changed.seg.nrrd`` labels
every voxel by |after − before| and opens in Slicer as a segmentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError, OutputError
from CTForgeryScanLib.hu import quiet
from CTForgeryScanLib.volume import Volume
from training.forgers.forger import ForgedVolume
from training.whole_file import whole

FORGED_KEY = "CTForgeryScan_forged"
"""Header field: JSON list of sites, empty for a volume that was not forged."""

CHANGES_HU = (1, 10, 100)
"""A voxel's label in the mask is how many of these |after − before| reaches."""

SiteRecord = dict[str, Any]


def site_record(ijk_to_ras: NDArray[np.float64], forged: ForgedVolume) -> SiteRecord:
    """One entry of the header's site list: kind, (i, j, k), RAS in mm, the nodule's diameter."""
    ijk = forged.metadata["ijk"]
    ras = (ijk_to_ras @ np.array([*ijk, 1.0]))[:3]
    return {
        "kind": forged.metadata["kind"],
        "ijk": ijk,
        "ras": [round(float(v), 2) for v in ras],
        "diameter_mm": forged.metadata["diameter_mm"],
    }


def write_forged(path: Path, before: Volume, after: NDArray[np.int16], sites: Sequence[SiteRecord]) -> None:
    """Write a forged volume and its mask. Raises OutputError for a suffix other than .nrrd and where a file exists.

    The volume comes last: where it is, it is whole and its mask is there.
    """
    if path.name.endswith(".seg.nrrd") or path.suffix != ".nrrd":
        raise OutputError(f"{path}: forged volumes are written as NRRD only; give a name that ends in .nrrd.")
    if path.exists():
        raise OutputError(f"{path}: it exists already and is not overwritten; give another name.")
    difference = np.abs(after.astype(np.int32) - before.hu)
    labels = np.digitize(difference, CHANGES_HU).astype(np.uint8)
    for target, array, fields in (
        (mask_path(path), labels, _segments()),
        (path, after, {FORGED_KEY: json.dumps(list(sites))}),
    ):
        with whole(target) as part:
            # Noise hardly shrinks; higher levels take minutes.
            write_nrrd(part, array, before.ijk_to_ras, fields, compression=1)


def write_nrrd(
    path: Path,
    array: NDArray[Any],
    ijk_to_ras: NDArray[np.float64],
    fields: Mapping[str, str],
    compression: int,
) -> None:
    """Write an array [k, j, i] as compressed NRRD with its geometry and header fields of its own."""
    image = sitk.GetImageFromArray(array)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras + 0.0  # no negative zeros
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for key, value in fields.items():
        image.SetMetaData(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(
        image, str(path), useCompression=True, imageIO="NrrdImageIO", compressionLevel=compression
    )


def read_sites(path: Path) -> list[SiteRecord]:
    """The sites of a forged file's header. Raises InputError where it is no NRRD or not marked as forged."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
        return json.loads(reader.GetMetaData(FORGED_KEY))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: it is not a volume that was marked as forged; give one that training.forge wrote."
        ) from error


def mask_path(path: Path) -> Path:
    """Where the mask of a forged file lies."""
    return path.with_name(f"{path.stem}.changed.seg.nrrd")


def _segments() -> dict[str, str]:
    """Header fields by which Slicer names the mask's labels."""
    fields: dict[str, str] = {}
    for n, (at_least, colour) in enumerate(
        zip(CHANGES_HU, ("0.3 0.5 1", "1 0.8 0.2", "1 0.3 0.2"), strict=True)
    ):
        fields |= {
            f"Segment{n}_ID": f"Changed_{at_least}",
            f"Segment{n}_Name": f"changed by {at_least} HU or more",
            f"Segment{n}_LabelValue": str(n + 1),
            f"Segment{n}_Layer": "0",
            f"Segment{n}_Color": colour,
        }
    return fields
