"""A folder of DICOM series at any depth; nothing is known of nodules in them.

The patient is a digest of the header's Patient ID, so that no list or log names anyone; a series without one is a
patient of its own.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from CTForgeryScanLib.dicom import list_series, looks_like_dicom
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.hu import quiet
from CTForgeryScanLib.volume import load_volume
from training.sources.scan import Listing, Scan, StoredScan

_FEWEST = 10
"""Files: fewer are a scout view or a part of a scan."""

_PATIENT_ID = "0010|0020"


def read(where: str) -> Listing:
    """The CT series below a folder. Raises InputError where there is none."""
    root = Path(where)
    if not root.is_dir():
        raise InputError(f"{where}: there is no such folder; name one with DICOM series below it.")
    scans: dict[str, Scan] = {}
    notes = []
    for folder in _folders(root):
        try:
            series = list_series(folder)
        except InputError as error:
            notes.append(f"Left out: {error}")
            continue
        for info in series:
            if info.modality == "CT" and not info.localizer and info.files >= _FEWEST:
                name = hashlib.sha256(info.uid.encode()).hexdigest()[:16]
                load = partial(load_volume, folder, series=info.uid)
                scans[info.uid] = StoredScan(name, _patient(info.file) or name, load)
    if not scans:
        raise InputError(
            f"{where}: no CT series of {_FEWEST} or more slices was found; name a folder with DICOM below it."
        )
    return Listing(tuple(scans.values()), tuple(notes))


def _folders(root: Path) -> list[Path]:
    """The folders that hold DICOM files themselves."""
    found = []
    for parent, folders, names in os.walk(root):
        folders.sort()
        if any(map(_may_be_dicom, (Path(parent, name) for name in sorted(names)))):
            found.append(Path(parent))
    return found


def _may_be_dicom(file: Path) -> bool:
    """True also for what cannot be read: why its folder is left out is then said."""
    try:
        return looks_like_dicom(file)
    except InputError:
        return True


def _patient(file: Path) -> str | None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    with quiet():
        reader.ReadImageInformation()
    identity = reader.GetMetaData(_PATIENT_ID).strip() if reader.HasMetaDataKey(_PATIENT_ID) else ""
    return f"patient-{hashlib.sha256(identity.encode()).hexdigest()[:12]}" if identity else None
