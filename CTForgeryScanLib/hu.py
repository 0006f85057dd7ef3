"""What every format of a CT shares: planes become int16 HU, axes become RAS, and what cannot be a CT is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError

MIN_PIXELS = 64
"""Fewest rows and columns of a slice: the detector's windows are 32 pixels wide."""

_INT16 = np.iinfo(np.int16)


def check_plane(name: str, columns: int, rows: int, components: int = 1) -> None:
    """Refuse colour images and slices too small for a window. Raises InputError."""
    if components != 1:
        raise InputError(
            f"{name}: it has {components} values a pixel (a colour image); give the CT's own grey values."
        )
    if min(columns, rows) < MIN_PIXELS:
        raise InputError(
            f"{name}: slices of {columns}x{rows} pixels are too small; "
            f"give whole axial slices of at least {MIN_PIXELS}x{MIN_PIXELS}."
        )


def to_hu(
    name: str, shape: tuple[int, ...], planes: Iterable[NDArray[Any]]
) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Planes [j, i] of HU of any number type as one int16 volume, and a note on values that were clipped.

    Args:
        name: of the source, for messages.
        shape: slices, rows, columns.
        planes: the slices in order; each is used up before the next is asked for, so memory stays one volume.

    Raises:
        InputError: no voxels, NaN or infinity, or too many values above the 16-bit range to be metal.
    """
    if 0 in shape:
        raise InputError(f"{name}: it holds no voxels; give a CT with at least one slice.")
    try:
        hu = np.empty(shape, np.int16)
    except MemoryError as error:
        raise too_large(name) from error
    clipped = too_high = 0
    for k, plane in enumerate(planes):
        low, high = plane.min(), plane.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"{name}: slice {k} holds values that are not numbers (NaN or infinity); export the CT again."
            )
        if plane.dtype.kind == "f" or low < _INT16.min or high > _INT16.max:
            exact = np.rint(plane, dtype=np.float64)
            plane = exact.clip(_INT16.min, _INT16.max)
            clipped += int(np.count_nonzero(plane != exact))
            too_high += int(np.count_nonzero(exact > _INT16.max))
        hu[k] = plane
    if too_high > 0.01 * hu.size:
        raise InputError(
            f"{name}: {100 * too_high / hu.size:.0f} % of its values are above {_INT16.max}, "
            "so they are not Hounsfield units; export the CT with its rescale slope and intercept applied."
        )
    return hu, (f"{clipped} values outside the 16-bit range were clipped.",) if clipped else ()


def lacks_memory(error: RuntimeError) -> bool:
    """Whether ITK failed for want of memory, which it says like any other failure."""
    return "allocate memory" in str(error)


def too_large(name: str) -> InputError:
    """What to raise for a CT that the computer's memory cannot hold."""
    return InputError(
        f"{name}: the computer's memory is too small for this CT; close other programs or crop it."
    )


def ras_matrix(axes_lps: NDArray[np.float64], origin_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """4x4 ijk_to_ras of the axis vectors (columns, mm a voxel) and origin that ITK and DICOM give in LPS."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes_lps, origin_lps
    matrix[:2] *= -1.0
    matrix += 0.0  # no negative zeros
    return matrix


def ras_matrix_of_image(image: sitk.Image) -> NDArray[np.float64]:
    """4x4 ijk_to_ras of a SimpleITK image of three dimensions."""
    axes = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    return ras_matrix(axes, np.asarray(image.GetOrigin()))


def check_name(path: Path) -> None:
    """Raises InputError for a path that is no text, at which ITK would end the process, or that cannot be reached."""
    try:
        str(path).encode("utf-8")
        path.exists()
    except UnicodeEncodeError as error:
        raise InputError(f"{str(path)!r}: the name is not valid text (UTF-8); rename it.") from error
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror}); check its permissions.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal meanwhile: what matters is raised or noted in words."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
