"""Loading a CT: DICOM, NRRD, NIfTI, MHD/MHA, a SimpleITK image or a NumPy array become one `Volume`.

Voxels are Hounsfield units, int16, in the order [k, j, i] (slice, row, column). ``ijk_to_ras`` maps voxel
indices (i, j, k), at voxel centres, to millimetres right, anterior, superior. ITK and DICOM count left and
posterior as positive, so the first two rows change sign. Voxels stay on the grid they came on: resampling
would destroy the traces that are looked for.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from CTForgeryScanLib.dicom import (
    FileFacts,
    Header,
    SeriesInfo,
    header_of,
    list_series,
    looks_like_dicom,
    read_file,
    read_folder,
)
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.hu import (
    check_name,
    check_plane,
    lacks_memory,
    quiet,
    ras_matrix_of_image,
    to_hu,
    too_large,
)

__all__ = [
    "VOLUME_SUFFIXES",
    "FileFacts",
    "Header",
    "SeriesInfo",
    "Source",
    "Volume",
    "list_series",
    "load_volume",
]

VOLUME_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT: Hounsfield units with geometry, what the header says, and sentences for the user.

    Attributes:
        hu: int16 [k, j, i], Hounsfield units.
        ijk_to_ras: float64 4x4, voxel centre (i, j, k) to millimetres (right, anterior, superior).
        source: the path as given, or what kind of object it was.
        header: facts of the header.
        notes: sentences about missing or duplicate slices, gantry tilt, clipped values and the like.
    """

    hu: NDArray[np.int16]
    ijk_to_ras: NDArray[np.float64]
    source: str
    header: Header = field(default_factory=Header)
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        k, j, i = self.hu.shape
        return k, j, i

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j and k."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of voxels (little-endian int16, [k, j, i]) and geometry: the same for every file format."""
        # NIfTI keeps geometry in float32, so count in micrometre-sized steps; the odd shift keeps the round
        # decimals that files like to use away from the edge between two steps.
        steps = np.floor(self.ijk_to_ras * 1000.0 + 0.3717).astype("<i8")
        digest = hashlib.sha256(np.asarray(self.shape, "<i8").tobytes() + steps.tobytes())
        for plane in self.hu:
            digest.update(np.ascontiguousarray(plane, "<i2").tobytes())
        return digest.hexdigest()

    def ijk_to_ras_point(self, ijk: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where voxel coordinate (i, j, k) lies, in millimetres (right, anterior, superior)."""
        r, a, s = self.ijk_to_ras[:3, :3] @ np.asarray(ijk, float) + self.ijk_to_ras[:3, 3]
        return float(r), float(a), float(s)

    def slices(self, start: int, stop: int) -> Volume:
        """The volume of slices start ... stop - 1, each at the place it had.

        Raises:
            InputError: the range is empty or leaves the volume.
        """
        if not 0 <= start < stop <= self.shape[0]:
            raise InputError(
                f"{self.source}: slices {start}:{stop} are not within 0:{self.shape[0]}; give a range that is."
            )
        moved = self.ijk_to_ras.copy()
        moved[:3, 3] += start * moved[:3, 2]
        return replace(self, hu=self.hu[start:stop], ijk_to_ras=moved)


ArrayWithGeometry: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
Source: TypeAlias = str | os.PathLike[str] | sitk.Image | Volume | ArrayWithGeometry


def load_volume(source: Source, *, series: str | None = None) -> Volume:
    """Load a CT from wherever it is.

    Args:
        source: a DICOM folder (searched with its subfolders), one DICOM file, a NRRD, NIfTI, MHD or MHA file, a
            SimpleITK image, a (NumPy array [k, j, i] of HU, 4x4 ijk_to_ras) pair, or a `Volume` (returned as it is).
        series: for a DICOM folder with several series: UID, series number, or a part of the UID that only one has.

    Raises:
        InputError: missing, damaged, empty, or not a CT of one grey value a voxel; says what to do about it.
    """
    if isinstance(source, Volume):
        return source
    if isinstance(source, sitk.Image):
        return _from_image(source, "SimpleITK image", header_of(source))
    if isinstance(source, tuple):
        return _from_array(*source)
    path = Path(source)
    check_name(path)
    if path.is_file() and series is not None:
        raise InputError(f"{source}: a single file has no series to choose from; leave the series out.")
    if path.is_dir():
        stack = read_folder(path, series)
    elif not path.is_file():
        raise InputError(f"{source}: there is no such file or folder; check the path.")
    elif looks_like_dicom(path):
        stack = read_file(path)
    else:
        return _from_image(_read_image(path), str(source), Header())
    return Volume(stack.hu, stack.ijk_to_ras, str(source), stack.header, stack.notes)


def _from_array(array: NDArray[Any], ijk_to_ras: NDArray[Any]) -> Volume:
    """A volume of a NumPy array [k, j, i] (or [j, i]: one slice) and its geometry."""
    name = "NumPy array"
    array, matrix = np.asarray(array), np.array(ijk_to_ras, np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise InputError(f"{name}: it has {array.ndim} dimensions; give one volume [slice, row, column].")
    if not _is_affine(matrix):
        raise InputError(
            f"{name}: ijk_to_ras is not an invertible affine 4x4 matrix; give voxel (i, j, k) to RAS in mm."
        )
    check_plane(name, array.shape[2], array.shape[1])
    return _make(array, matrix, name, Header())


def _from_image(image: sitk.Image, name: str, header: Header) -> Volume:
    """A volume of a SimpleITK image of two or three dimensions, or four when there is but one volume in it."""
    _check_kind(name, image.GetSize(), image.GetNumberOfComponentsPerPixel())
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    elif image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    matrix = ras_matrix_of_image(image)
    if not _is_affine(matrix):
        raise InputError(
            f"{name}: its header does not say where the voxels lie (origin, spacing or axes are no numbers); "
            "export the CT again."
        )
    return _make(sitk.GetArrayViewFromImage(image), matrix, name, header)


def _is_affine(matrix: NDArray[np.float64]) -> bool:
    """Whether a matrix is a finite, affine 4x4 one that can be inverted."""
    return (
        matrix.shape == (4, 4)
        and np.array_equal(matrix[3], (0, 0, 0, 1))
        and bool(np.isfinite(matrix).all())
        # Whatever the unit: what is said of metres is the business of ``assessable``.
        and bool(abs(np.linalg.det(matrix[:3, :3])) > 1e-6 * np.linalg.norm(matrix[:3, :3], axis=0).prod())
    )


def _make(array: NDArray[Any], matrix: NDArray[np.float64], name: str, header: Header) -> Volume:
    """The volume of an array [k, j, i] of any number type."""
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: its values are {array.dtype}, not numbers; give Hounsfield units.")
    if header.bits_stored is None and array.dtype.itemsize == 1:
        header = replace(header, bits_stored=8)
    hu, notes = to_hu(name, array.shape, array)
    return Volume(hu, matrix, name, header, notes)


def _check_kind(name: str, size: tuple[int, ...], components: int) -> None:
    """Refuse colour images, several volumes in one file, and slices too small for a window."""
    check_plane(name, size[0], size[1], components)
    if len(size) not in (2, 3) and size[3:] != (1,):
        shape = "x".join(map(str, size))
        raise InputError(
            f"{name}: it is {len(size)}-dimensional ({shape}); export one volume of it and give that."
        )


# --- Files of one volume -------------------------------------------------------------------------------------------


def _read_image(path: Path) -> sitk.Image:
    """The image of a NRRD, NIfTI, MHD or MHA file."""
    if not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(
            f"{path}: this kind of file is not known; "
            f"give a DICOM folder or file, or one that ends in {', '.join(VOLUME_SUFFIXES)}."
        )
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
            _check_kind(str(path), reader.GetSize(), reader.GetNumberOfComponents())
            if path.name.lower().endswith((".nii", ".nii.gz")) and not _nifti_is_complete(path, reader):
                raise RuntimeError("fewer voxels than its header promises")
            return reader.Execute()
    except RuntimeError as error:
        if lacks_memory(error):
            raise too_large(str(path)) from error
        raise InputError(
            f"{path}: the file is damaged or cut short, or not what its ending says ({_cause(error)}); "
            "copy or export it again."
        ) from error


def _nifti_is_complete(path: Path, reader: sitk.ImageFileReader) -> bool:
    """Whether a NIfTI file holds as many bytes as its header says: ITK would fill up with zeros and not raise."""
    voxels = int(np.prod(reader.GetSize(), dtype=np.int64))
    needed = int(float(reader.GetMetaData("vox_offset"))) + voxels * int(reader.GetMetaData("bitpix")) // 8
    if not path.name.lower().endswith(".gz"):
        return path.stat().st_size >= needed
    got = 0
    try:
        with gzip.open(path) as file:
            while got < needed and (block := file.read(1 << 22)):
                got += len(block)
    except (EOFError, OSError, zlib.error):
        return False
    return got >= needed


def _cause(error: Exception) -> str:
    """The last, telling line of an ITK error, short and without source positions or addresses."""
    # MetaImage ends with the reason of the last failed system call, which may be any call.
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("Reason: ")]
    text = re.sub(r"^.*?ERROR: ", "", next(filter(None, reversed(lines)), "no reason given"))
    text = re.sub(r"\w+\(0x[0-9a-fA-F]+\): ", "", text)
    return text.rstrip(".;")[:160]
