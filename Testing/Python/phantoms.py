"""Tiny simulated chests and the DICOM files of them, for tests that must not need real data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from scipy import ndimage

SERIES_UID = "1.2.826.0.1.3680043.10.999.1"


def chest(
    slices: int = 6, size: int = 192, *, noise_hu: float = 25.0, wide_lungs: bool = False, seed: int = 0
) -> NDArray[np.int16]:
    """A body with two lungs, HU int16 [k, j, i], with noise that looks like a reconstruction's (mildly correlated).

    Between ``wide_lungs`` and the air lies so thin a wall that windows do not see it: such a chest is not swept.
    """
    centre, width, height = (0.42, 0.33, 0.55) if wide_lungs else (0.33, 0.24, 0.5)
    y, x = np.mgrid[:size, :size] / (size - 1.0) * 2.0 - 1.0
    plane = np.full((size, size), -1000.0)
    plane[(x / 0.9) ** 2 + (y / 0.75) ** 2 < 1] = 40.0
    for side in (-1, 1):
        plane[((x - centre * side) / width) ** 2 + (y / height) ** 2 < 1] = -850.0
    white = np.random.default_rng(seed).normal(size=(slices, size, size))
    noise = ndimage.gaussian_filter(white, (0, 0.6, 0.6))
    return np.rint(plane + noise_hu * noise / noise.std()).clip(-1024, 3071).astype(np.int16)


def thick_walled_chest(slices: int = 27, seed: int = 0) -> NDArray[np.int16]:
    """Like ``chest``, with a wall so thick that windows see it in 192×192 pixels of 1.6 mm: lung is inside."""
    size = 192
    y, x = np.mgrid[:size, :size] / (size - 1.0) * 2.0 - 1.0
    plane = np.where(x**2 + y**2 < 0.8**2, 40.0, -1000.0)
    for side in (-1, 1):
        plane[((x - 0.35 * side) / 0.25) ** 2 + (y / 0.4) ** 2 < 1] = -850.0
    white = np.random.default_rng(seed).normal(size=(slices, size, size))
    noise = ndimage.gaussian_filter(white, (0, 0.6, 0.6))
    return np.rint(plane + 25 * noise / noise.std()).clip(-1024, 3071).astype(np.int16)


def geometry(spacing: tuple[float, float, float] = (0.7, 0.7, 2.5)) -> NDArray[np.float64]:
    """IJK-to-RAS of an ordinary axial scan, spacing (i, j, k) in mm."""
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = (120.0, 110.0, -300.0)
    return matrix


def dicom_slice(hu: NDArray[np.int16], z_mm: float, instance: int, **changes: Any) -> FileDataset:
    """A CT slice [j, i] at height z_mm as a DICOM data set; ``changes`` sets attributes (None removes them)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage if changes.get("Modality") == "MR" else CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{SERIES_UID}.{instance}")
    data = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.Manufacturer, data.ConvolutionKernel = "CT", "ACME", "STANDARD"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SeriesInstanceUID, data.SeriesNumber = SERIES_UID, 3
    data.InstanceNumber, data.SliceThickness = instance, 2.5
    data.PatientName, data.PatientID = "Nobody^Secret", "SECRET-42"
    data.ImagePositionPatient = [-120.0, -110.0, z_mm]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [0.7, 0.7]
    data.Rows, data.Columns = hu.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data["PixelData"].VR = "OW"
    return data


def save(data: FileDataset, path: Path) -> Path:
    """Write a data set as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def save_series(
    folder: Path, hu: NDArray[np.int16], names: list[str] | None = None, **changes: Any
) -> list[Path]:
    """Write a series, 2.5 mm between slices from z = -300 mm; ``names`` are the file names by slice."""
    names = names or [f"{k:03d}.dcm" for k in range(len(hu))]
    return [
        save(dicom_slice(plane, -300.0 + 2.5 * k, k + 1, **changes), folder / names[k])
        for k, plane in enumerate(hu)
    ]


def save_enhanced(path: Path, hu: NDArray[np.int16], heights_mm: Sequence[float]) -> Path:
    """Write slices [k, j, i] as the frames of one enhanced CT, each at its height."""
    stored = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    data = dicom_slice(hu[0], 0, 1, NumberOfFrames=len(hu), PixelData=stored)
    kind = UID("1.2.840.10008.5.1.4.1.1.2.1")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    shared, plane, pixels, values = Dataset(), Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = data.ImageOrientationPatient
    pixels.PixelSpacing, pixels.SliceThickness = data.PixelSpacing, data.SliceThickness
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [pixels]
    shared.PixelValueTransformationSequence = [values]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for height in heights_mm:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-120.0, -110.0, height]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    for moved in ("Position", "Orientation"):
        delattr(data, f"Image{moved}Patient")
    for moved in ("PixelSpacing", "SliceThickness", "RescaleSlope", "RescaleIntercept"):
        delattr(data, moved)
    return save(data, path)


def save_luna16(folder: Path, scans: int, spacing: tuple[float, float, float], *nodules: str) -> Path:
    """Write thick-walled chests 1.2.0, 1.2.1 … as LUNA16's users have them, and rows of its table of nodules."""
    subset = folder / "subset0"
    subset.mkdir(parents=True)
    for n in range(scans):
        image = sitk.GetImageFromArray(thick_walled_chest(seed=n))
        image.SetSpacing(spacing)
        sitk.WriteImage(image, str(subset / f"1.2.{n}.mhd"))
    rows = ("seriesuid,coordX,coordY,coordZ,diameter_mm", *nodules)
    (folder / "annotations.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
