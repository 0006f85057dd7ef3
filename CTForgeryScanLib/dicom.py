"""DICOM: which series a folder holds, and one series as a stack of slices sorted by position.

Read from top to bottom: what is given back, the three ways in, the choice of a series, the header of one file, the
checks of a series, and its slices in order with their geometry and voxels. Positions and axes are LPS millimetres
until `ras_matrix` turns them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.hu import (
    check_name,
    check_plane,
    lacks_memory,
    quiet,
    ras_matrix,
    ras_matrix_of_image,
    to_hu,
    too_large,
)

_SAME_POSITION_MM = 0.01
_BATCH = 8
_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_MAGIC_AT = 128
_MEDIA_STORAGE_CLASS, _MEDIA_STORAGE_INSTANCE, _TRANSFER_SYNTAX = 0x02, 0x03, 0x10
_JPEG = "1.2.840.10008.1.2.4."
# JPEG baseline and extended, JPEG-LS near-lossless: lossy whatever the header says.
_LOSSY_SYNTAXES = frozenset({_JPEG + "50", _JPEG + "51", _JPEG + "81"})
# Free text of a header may name a person, so only these words of it are kept.
_DERIVATION_WORDS = re.compile(
    r"warp|resampl|interpol|deform|regist|smooth|filter|denois|reformat|rescal", re.I
)
# What a scanner writes alike into every slice of a series, by the words that a text names it with.
_ACQUISITION = {
    "manufacturer": "0008|0070",
    "model": "0008|1090",
    "software": "0018|1020",
    "tube voltage": "0018|0060",
    "kernel": "0018|1210",
    "slice thickness": "0018|0050",
    "reconstruction diameter": "0018|1100",
    "gantry tilt": "0018|1120",
    "patient position": "0018|5100",
    "filter": "0018|1160",
    "bits stored": "0028|0101",
    "pixel representation": "0028|0103",
    "rescale intercept": "0028|1052",
    "rescale slope": "0028|1053",
}


@dataclass(frozen=True)
class FileFacts:
    """What one DICOM file says of its own making; never who the patient is. None = the file does not say.

    Attributes:
        sop_instance_uid: identifier of the image.
        media_storage_uid: the same identifier as the file's head (group 0002) has it.
        instance_number: number of the image in its series.
        slice_location_mm: SliceLocation.
        position_mm: ImagePositionPatient, (left, posterior, superior).
        rescale: slope and intercept from stored values to HU.
        reconstruction_mm: ReconstructionDiameter.
        width_mm: columns times pixel spacing.
        acquisition: (name, value) of what a scanner writes alike into every slice of a series.
    """

    sop_instance_uid: str | None = None
    media_storage_uid: str | None = None
    instance_number: int | None = None
    slice_location_mm: float | None = None
    position_mm: tuple[float, ...] | None = None
    rescale: tuple[float, float] | None = None
    reconstruction_mm: float | None = None
    width_mm: float | None = None
    acquisition: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Header:
    """What the file says about how the image was made; never who the patient is. None = the file does not say."""

    modality: str | None = None
    series_uid: str | None = None
    manufacturer: str | None = None
    device: str | None = None
    kernel: str | None = None
    image_type: tuple[str, ...] = ()
    derivation: tuple[str, ...] = ()
    """Words of the derivation description that tell of processing, such as "warp" or "resampl"."""
    lossy: bool = False
    transfer_syntax: str | None = None
    bits_stored: int | None = None
    slice_thickness_mm: float | None = None
    files: tuple[FileFacts, ...] = ()
    """All files of the series in the order of acquisition and instance number, also those left out as duplicates;
    empty where the image did not come as DICOM files."""


@dataclass(frozen=True)
class SeriesInfo:
    """One DICOM series of a folder, as `list_series` found it; ``file`` is the first of its files."""

    uid: str
    file: Path
    number: int | None
    modality: str | None
    files: int
    columns: int
    rows: int
    kernel: str | None
    thickness_mm: float | None
    localizer: bool

    def __str__(self) -> str:
        facts = [
            f"{self.modality or 'no modality'}{' localizer' if self.localizer else ''}",
            f"{self.files} files",
            f"{self.columns}x{self.rows}",
        ]
        facts += [self.kernel] if self.kernel else []
        facts += [f"{self.thickness_mm:g} mm"] if self.thickness_mm else []
        return f"number {'?' if self.number is None else self.number} ({', '.join(facts)}, UID {self.uid})"


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series: int16 HU [k, j, i], 4x4 ijk_to_ras, header, and sentences for the user."""

    hu: NDArray[np.int16]
    ijk_to_ras: NDArray[np.float64]
    header: Header
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Slice:
    """What the header of one DICOM image says; geometry in LPS millimetres."""

    path: Path
    number: int | None
    order: tuple[int, int]
    """Acquisition and instance number: which of two files at one position comes first."""
    columns: int
    rows: int
    frames: int
    components: int
    row_axis: NDArray[np.float64]
    column_axis: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    """1 mm where the file does not say (``sized``)."""
    sized: bool
    placed: bool
    """Whether the file says where it lies; ``position`` is 0 where it does not."""
    position: NDArray[np.float64]
    step_mm: float
    """What the header gives as slice thickness or spacing, for a slice alone."""
    header: Header
    facts: FileFacts


# --- The ways in ---------------------------------------------------------------------------------------------------


def list_series(folder: str | os.PathLike[str]) -> list[SeriesInfo]:
    """The DICOM series in a folder and its subfolders, by series number.

    Raises:
        InputError: no such folder, no DICOM in it, or a CT file in it is damaged.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{folder}: there is no such folder; check the path.")
    return [_series_info(files) for files in _find_series(path)]


def read_folder(folder: Path, series: str | None) -> Stack:
    """The series of a folder that is asked for (UID, number, or part of a UID), or its only CT.

    Raises:
        InputError: no DICOM, no or several series that fit, a damaged file, or slices that are no stack of CT.
    """
    files = _choose(_find_series(folder), folder, series)
    stack = _read_series(files, str(folder))
    parents = {file.path.parent for file in files}
    notes: list[str] = []
    if len(parents) > 1:
        notes.append(f"The slices were found in {len(parents)} subfolders.")
    if empty := sorted(
        p for parent in parents for p in parent.iterdir() if p.is_file() and not p.stat().st_size
    ):
        notes.append(
            f"Files without content lie beside the slices (such as {empty[0].name}): slices may be missing."
        )
    return replace(stack, notes=(*notes, *stack.notes))


def read_file(path: Path) -> Stack:
    """One DICOM file: a slice alone, or all frames of an enhanced CT. Raises InputError where it is neither."""
    file = _read_header(path)
    if file is None:
        raise InputError(f"{path}: this DICOM file holds no image; give the CT's slices.")
    return _read_series([file], str(path))


def read_headers(paths: Iterable[Path]) -> Header:
    """What the headers of a series' files say together, voxels left unread; what is no DICOM image is passed over.

    Raises InputError where none of them is one.
    """
    found = [_read_header(path) for path in paths if path.is_file() and looks_like_dicom(path)]
    files = [file for file in found if file is not None]
    if not files:
        raise InputError("There is no DICOM file of an image among the headers: give the CT's slices.")
    return _header_of_series(files, _facts_of(files))


def looks_like_dicom(path: Path) -> bool:
    """Whether the file starts as DICOM does: the magic word, or (no preamble) an element of group 0008.

    Raises InputError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC_AT + 4)
    except FileNotFoundError:
        return False  # a link to nothing
    except OSError as error:
        _unreadable(error)
    return head[_MAGIC_AT:] == b"DICM" or (head[:2] == b"\x08\x00" and head[3:4] == b"\x00" and len(head) > 8)


def _unreadable(error: OSError) -> NoReturn:
    raise InputError(
        f"{error.filename}: it cannot be read ({error.strerror}); check its permissions."
    ) from error


# --- Which series --------------------------------------------------------------------------------------------------


def _find_series(folder: Path) -> list[list[_Slice]]:
    """The DICOM images in a folder and its subfolders by series, in the order of series number and UID.

    Raises InputError where there is none, and for a file or folder that cannot be read: its slice would be missing.
    """
    series: dict[str, list[_Slice]] = {}
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(names)):
            file = _read_header(path) if looks_like_dicom(path) else None
            if file is not None:
                series.setdefault(file.header.series_uid or "none", []).append(file)
    if not series:
        raise InputError(
            f"{folder}: no DICOM image is in this folder; give the folder that holds the CT's slices."
        )
    return [series[uid] for uid in sorted(series, key=lambda uid: (series[uid][0].number or 0, uid))]


def _series_info(files: list[_Slice]) -> SeriesInfo:
    first = files[0]
    return SeriesInfo(
        uid=first.header.series_uid or "none",
        file=first.path,
        number=first.number,
        modality=first.header.modality,
        files=len(files),
        columns=first.columns,
        rows=first.rows,
        kernel=first.header.kernel,
        thickness_mm=first.header.slice_thickness_mm,
        localizer=all("LOCALIZER" in file.header.image_type for file in files),
    )


def _choose(groups: list[list[_Slice]], folder: Path, series: str | None) -> list[_Slice]:
    """Which series to take. Raises InputError that lists them where that is not clear."""
    infos = [_series_info(files) for files in groups]
    listing = "; ".join(map(str, infos[:10])) + ("; ..." if len(infos) > 10 else "")
    if series is None:
        ct = [n for n, info in enumerate(infos) if info.modality == "CT" and not info.localizer]
        if len(ct) == 1:
            return groups[ct[0]]
        if len(infos) == 1:
            return groups[0]
        what = "several CT series" if ct else "no CT series"
        raise InputError(f"{folder}: the folder holds {what}; say which with its number or UID: {listing}.")
    wanted = series.strip()
    tests: tuple[Callable[[SeriesInfo], bool], ...] = (
        lambda info: info.uid == wanted,
        lambda info: str(info.number) == wanted,
        lambda info: wanted != "" and wanted in info.uid,
    )
    for test in tests:
        hits = [n for n, info in enumerate(infos) if test(info)]
        if len(hits) == 1:
            return groups[hits[0]]
        if hits:
            raise InputError(
                f"{folder}: '{wanted}' fits {len(hits)} series; give the whole UID of one: {listing}."
            )
    raise InputError(f"{folder}: no series fits '{wanted}'; the folder holds: {listing}.")


# --- The header of one file ----------------------------------------------------------------------------------------


def _read_header(path: Path) -> _Slice | None:
    """The header of one DICOM image; None where the file holds none. Raises InputError where it is damaged."""
    check_name(path)
    meta = _file_meta(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        # Damaged if it claims to be CT or is too short to say what it is.
        if meta is None or (meta and meta.get(_MEDIA_STORAGE_CLASS, _CT_STORAGE).startswith(_CT_STORAGE)):
            raise _damaged(path) from error
        return None
    columns, rows, frames = reader.GetSize()
    axes = np.reshape(reader.GetDirection(), (3, 3))
    header = header_of(reader, (meta or {}).get(_TRANSFER_SYNTAX))
    placed = _text(reader, "0020|0032") is not None
    position = np.asarray(reader.GetOrigin()) if placed else np.zeros(3)
    return _Slice(
        path=path,
        number=_integer(_text(reader, "0020|0011")),
        order=(_integer(_text(reader, "0020|0012")) or 0, _integer(_text(reader, "0020|0013")) or 0),
        columns=columns,
        rows=rows,
        frames=frames,
        components=reader.GetNumberOfComponents(),
        row_axis=axes[:, 0],
        column_axis=axes[:, 1],
        spacing_mm=(reader.GetSpacing()[0], reader.GetSpacing()[1]),
        sized=_text(reader, "0028|0030") is not None,
        placed=placed,
        position=position,
        step_mm=abs(header.slice_thickness_mm or _number(_text(reader, "0018|0088")) or 1.0),
        header=header,
        facts=_facts(reader, meta or {}, position if placed else None),
    )


def _facts(
    reader: sitk.ImageFileReader, meta: dict[int, str], position: NDArray[np.float64] | None
) -> FileFacts:
    """What the file says of its own making; ``meta`` is its group 0002."""
    slope, intercept = _number(_text(reader, "0028|1053")), _number(_text(reader, "0028|1052"))
    values = ((name, _text(reader, tag)) for name, tag in _ACQUISITION.items())
    return FileFacts(
        sop_instance_uid=_text(reader, "0008|0018"),
        media_storage_uid=meta.get(_MEDIA_STORAGE_INSTANCE),
        instance_number=_integer(_text(reader, "0020|0013")),
        slice_location_mm=_number(_text(reader, "0020|1041")),
        position_mm=None if position is None else tuple(position.tolist()),
        rescale=None if slope is None or intercept is None else (slope, intercept),
        reconstruction_mm=_number(_text(reader, "0018|1100")),
        # Without its tag the reader makes up a spacing of 1 mm.
        width_mm=reader.GetSize()[0] * reader.GetSpacing()[0] if _text(reader, "0028|0030") else None,
        # "120" and "120.0" are the same voltage, however a copy spells it.
        acquisition=tuple((name, _plain(value)) for name, value in values if value is not None),
    )


def _plain(value: str) -> str:
    """A number in its shortest form; other text as it is."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def header_of(source: sitk.Image | sitk.ImageFileReader, transfer_syntax: str | None = None) -> Header:
    """The facts that an image, or the reader of one, has of the DICOM header; none where it was not DICOM."""
    words = _DERIVATION_WORDS.findall(_text(source, "0008|2111") or "")
    kinds = (_text(source, "0008|0008") or "").split("\\")
    return Header(
        modality=_text(source, "0008|0060"),
        series_uid=_text(source, "0020|000e"),
        manufacturer=_text(source, "0008|0070"),
        device=_text(source, "0008|1090"),
        kernel=_text(source, "0018|1210"),
        image_type=tuple(kind.strip() for kind in kinds if kind.strip()),
        derivation=tuple(dict.fromkeys(word.lower() for word in words)),
        lossy=_text(source, "0028|2110") == "01" or transfer_syntax in _LOSSY_SYNTAXES,
        transfer_syntax=transfer_syntax,
        bits_stored=_integer(_text(source, "0028|0101")),
        slice_thickness_mm=_number(_text(source, "0018|0050")),
    )


def _text(source: Any, tag: str) -> str | None:
    """The value of a tag "gggg|eeee"; None where it is absent, empty or not text."""
    try:
        text = source.GetMetaData(tag).strip(" \0") if source.HasMetaDataKey(tag) else ""
    except UnicodeDecodeError:
        return None
    # SimpleITK hands bytes of other encodings over as lone surrogates, which cannot be written.
    return text.encode("utf-8", "replace").decode("utf-8") or None


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").split("\\")[0])
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _integer(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None else int(value)


def _file_meta(path: Path) -> dict[int, str] | None:
    """The elements of DICOM group 0002 as text by element number: empty without preamble, None where cut short."""
    # SimpleITK leaves this group out; it is always explicit VR, little-endian (PS3.10, 7.1).
    with path.open("rb") as file:
        data = file.read(4096)
    if data[_MAGIC_AT : _MAGIC_AT + 4] != b"DICM":
        return {}
    found: dict[int, str] = {}
    at = _MAGIC_AT + 4
    while data[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        long = data[at + 4 : at + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        start = at + (12 if long else 8)
        length = int.from_bytes(data[start - (4 if long else 2) : start], "little")
        if start + length > len(data):
            return None
        found[element] = data[start : start + length].decode("ascii", "replace").strip(" \0")
        at = start + length
    return found or None


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: the DICOM file is damaged or cut short; copy or export it again.")


# --- The slices of one series --------------------------------------------------------------------------------------


def _read_series(files: list[_Slice], name: str) -> Stack:
    """The stack of the files of one series, or of all frames of its only file."""
    _check_series(files, name)
    first = files[0]
    if first.frames > 1:
        with quiet():
            image = _read_image(first.path)
        # ITK falls back to these where the frames are not stored in order and evenly apart.
        if image.GetSpacing() == (1.0, 1.0, 1.0):
            raise InputError(
                f"{first.path}: where the frames of this enhanced CT lie cannot be told; "
                "export the series as one file a slice."
            )
        hu, notes = to_hu(name, (first.frames, first.rows, first.columns), sitk.GetArrayViewFromImage(image))
        return Stack(hu, ras_matrix_of_image(image), replace(first.header, files=(first.facts,)), notes)
    facts = _facts_of(files)
    files, sort_notes = _sort(files)
    matrix, grid_notes = _geometry(files)
    hu, clip_notes = to_hu(name, (len(files), first.rows, first.columns), _planes(files))
    return Stack(hu, matrix, _header_of_series(files, facts), sort_notes + grid_notes + clip_notes)


def _facts_of(files: list[_Slice]) -> tuple[FileFacts, ...]:
    return tuple(file.facts for file in sorted(files, key=_acquisition_order))


def _header_of_series(files: list[_Slice], facts: tuple[FileFacts, ...]) -> Header:
    """The first slice's, with what any slice says of having been processed or compressed."""
    headers = [file.header for file in files]
    derived = (header.image_type for header in headers if header.image_type[:1] == ("DERIVED",))
    return replace(
        headers[0],
        image_type=next(derived, headers[0].image_type),
        derivation=tuple(dict.fromkeys(word for header in headers for word in header.derivation)),
        lossy=any(header.lossy for header in headers),
        files=facts,
    )


def _check_series(files: list[_Slice], name: str) -> None:
    """Refuse what is not CT, not grey, too small, or not one stack. Raises InputError."""
    first = files[0]
    if first.header.modality not in (None, "CT"):
        raise InputError(f"{name}: the DICOM series is {first.header.modality}, not CT; give a CT series.")
    sizes = Counter((file.columns, file.rows) for file in files)
    if len(sizes) > 1:
        listing = " and ".join(f"{columns}x{rows}" for columns, rows in sorted(sizes))
        rarest = sizes.most_common()[-1][0]
        odd = next(file for file in files if (file.columns, file.rows) == rarest)
        raise InputError(
            f"{name}: slices of one series have different sizes ({listing}, see {odd.path.name}); "
            "export each size as a series of its own."
        )
    for file in files:
        check_plane(str(file.path), file.columns, file.rows, file.components)
        axes = np.concatenate([file.row_axis - first.row_axis, file.column_axis - first.column_axis])
        if np.abs(axes).max() > 1e-3 or not np.allclose(file.spacing_mm, first.spacing_mm, rtol=1e-3):
            raise InputError(
                f"{name}: slices of one series differ in direction or pixel spacing (see {file.path.name}); "
                "export each stack as a series of its own."
            )
        if len(files) > 1 and (not file.placed or file.frames > 1):
            raise InputError(
                f"{file.path}: the file does not say where its slice lies among the others; "
                "give it alone, or export the series with image positions."
            )


def _acquisition_order(file: _Slice) -> tuple[tuple[int, int], str]:
    return file.order, str(file.path)


def _sort(files: list[_Slice]) -> tuple[list[_Slice], tuple[str, ...]]:
    """Slices by position along the normal, one a position, and a note on those left out."""
    normal = np.cross(files[0].row_axis, files[0].column_axis)
    kept: list[tuple[float, _Slice]] = []
    dropped: list[_Slice] = []
    taken: set[int] = set()
    # First by acquisition and instance number: then the slices of two phases of a scan do not mix.
    for file in sorted(files, key=_acquisition_order):
        height = float(file.position @ normal)
        level = round(height / _SAME_POSITION_MM)
        if taken & {level - 1, level, level + 1}:
            dropped.append(file)
        else:
            kept.append((height, file))
        taken.add(level)
    kept.sort(key=lambda item: item[0])
    in_order = [file for _, file in kept]
    if not dropped:
        return in_order, ()
    phases = "; the series may hold several phases of one scan" if len(dropped) >= len(kept) / 2 else ""
    note = (
        f"{_slices_are(len(dropped))} at a position that another slice has already (such as {dropped[0].path.name}) "
        f"left out, the first by acquisition and instance number kept{phases}."
    )
    return in_order, (note,)


def _geometry(files: list[_Slice]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """4x4 ijk_to_ras of slices sorted by position, and notes on missing slices, uneven spacing and gantry tilt."""
    first = files[0]
    normal = np.cross(first.row_axis, first.column_axis)
    in_plane = [first.row_axis * first.spacing_mm[0], first.column_axis * first.spacing_mm[1]]
    notes: list[str] = []
    if not first.sized:
        notes.append(
            "The files do not say how large a pixel is; with 1 mm, as assumed, sizes are likely wrong."
        )
    if len(files) == 1:
        return ras_matrix(np.stack([*in_plane, normal * first.step_mm], axis=1), first.position), tuple(notes)
    positions = np.stack([file.position for file in files])
    steps = np.diff(positions, axis=0)
    heights = steps @ normal
    usual = float(np.median(heights))
    gaps = np.flatnonzero(heights > 1.5 * usual)
    if len(gaps):
        missing = int(np.sum(np.rint(heights[gaps] / usual) - 1))
        where = ", ".join(map(str, gaps[:5])) + (", ..." if len(gaps) > 5 else "")
        notes.append(
            f"{_slices_are(missing)} missing after slice {where}; "
            "the others were kept as if they touched, so positions beyond are off."
        )
    even = heights[heights <= 1.5 * usual]
    if even.max() - even.min() > 0.1 * usual:
        notes.append(f"The distance between slices varies from {even.min():.2f} to {even.max():.2f} mm.")
    step = np.median(steps, axis=0) if len(gaps) else (positions[-1] - positions[0]) / (len(files) - 1)
    tilt = float(np.degrees(np.arccos(min(1.0, float(step @ normal) / float(np.linalg.norm(step))))))
    if tilt > 0.5:
        notes.append(
            f"The slices are shifted against each other (gantry tilt of {tilt:.1f} degrees); coordinates keep it."
        )
    return ras_matrix(np.stack([*in_plane, step], axis=1), first.position), tuple(notes)


def _slices_are(count: int) -> str:
    return "1 slice is" if count == 1 else f"{count} slices are"


def _planes(files: list[_Slice]) -> Iterator[NDArray[Any]]:
    """The voxels [j, i] of one file after another, each a view that holds until the next is asked for."""
    # ITK decodes outside Python's lock, so an idle core halves the time; a batch at once keeps memory small.
    with quiet(), ThreadPoolExecutor(2) as readers:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            images = readers.map(_read_image, [file.path for file in batch])
            # The image has a name because a view does not keep its memory alive.
            for file, image in zip(batch, images, strict=True):
                yield sitk.GetArrayViewFromImage(image).reshape(file.rows, file.columns)


def _read_image(path: Path) -> sitk.Image:
    """The voxels of one file. To be called within `quiet`, which is one switch for all threads."""
    try:
        return sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise too_large(str(path)) if lacks_memory(error) else _damaged(path) from error
