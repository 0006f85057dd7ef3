"""Hints from the files and their headers: what a scanner writes and a program that rewrites a scan tends to get wrong.

Each is a hint and is worded so: an anonymiser, an archive or an export does some of them too. None has a place, and
none changes a verdict. ``python -m training.evaluate_header_hints DATA`` counts on how many untouched and how many
forged files each fires. Tried and dropped: values below the header's PixelPaddingValue and values outside the field
of view that are not the padding value (untouched GE files have both), a FrameOfReferenceUID that differs between the
slices of a series (an anonymiser gave one of the untouched series a new one a slice), any difference of SliceLocation
and position in a slice alone (Toshiba counts from the table's zero).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.assessable import GAPS_WARN
from CTForgeryScanLib.evidence.finding import Evidence, not_applicable, nothing_found
from CTForgeryScanLib.processing import grey_level_gaps
from CTForgeryScanLib.volume import FileFacts, Volume

LOCATION_MM = 0.5
"""How far SliceLocation may be from the position: headers round, untouched ones to 0.01 mm."""

FIELD_OF_VIEW = 0.01
"""How far image width and ReconstructionDiameter may differ, as a share: rounding of untouched ones leaves 0.0007."""

_ANONYMISERS = "an anonymiser or an export may do this too"
_ARCHIVES = "some archives, and some scanners of before about 2000"
# Slope and intercepts by manufacturer, from the untouched data and for what these vendors sell; a slope of 1.000244
# (4096/4095) is Siemens' own.
_RESCALES: tuple[tuple[str, float, tuple[float, ...]], ...] = (
    ("GE MEDICAL", 0.0, (-1024.0,)),
    ("SIEMENS", 0.0003, (-1024.0, -8192.0)),
    ("PHILIPS", 0.0, (-1024.0, -1000.0)),
    ("TOSHIBA", 0.0, (0.0, -1024.0)),
    ("CANON", 0.0, (0.0, -1024.0)),
)

Hint = Callable[[Volume], Evidence]


def header_hints() -> tuple[Hint, ...]:
    """All hints of this file, in the order in which they are shown."""
    return (
        file_identifier,
        repeated_identifiers,
        slice_location,
        field_of_view,
        differing_headers,
        rescale,
        grey_levels,
    )


def file_identifier(volume: Volume) -> Evidence:
    """MediaStorageSOPInstanceUID (0002,0003) against SOPInstanceUID (0008,0018): PS3.10, 7.1 wants them equal."""
    test = "file_identifier"
    pairs = [(f.media_storage_uid, f.sop_instance_uid) for f in volume.header.files]
    known = [(media, image) for media, image in pairs if media and image]
    if not known:
        return _lacking(test, volume, "identifiers of file and image")
    odd = sum(media != image for media, image in known)
    if not odd:
        return nothing_found(test, "Every file has the identifier of the image that it holds.", 0.0)
    return _hint(
        test,
        odd,
        None,
        f"Hint: {_of(odd, len(known))} the identifier of another image in the head of the file, so the image in it "
        f"was put into a file made for another ({_ANONYMISERS}).",
    )


def repeated_identifiers(volume: Volume) -> Evidence:
    """SOPInstanceUID and MediaStorageSOPInstanceUID must each be unique within a series (PS3.5, 9)."""
    test = "repeated_identifiers"
    files = volume.header.files
    if len(files) == 1:
        return not_applicable(test, "A single file has nothing to repeat.")
    if not any(f.sop_instance_uid or f.media_storage_uid for f in files):
        return _lacking(test, volume, "identifiers of the images")
    repeated = max(
        _repeated(f.sop_instance_uid for f in files), _repeated(f.media_storage_uid for f in files)
    )
    if not repeated:
        return nothing_found(test, "No two files share an identifier.", 0.0)
    return _hint(
        test,
        repeated,
        None,
        f"Hint: {_of(repeated, len(files))} an identifier that another file has too, as when a program makes all "
        "slices from one file (a folder that holds a copy of a slice does this too).",
    )


def slice_location(volume: Volume) -> Evidence:
    """SliceLocation (0020,1041) against ImagePositionPatient (0020,0032).

    Vendors count from a zero of their own, in either direction and, with a tilted gantry, along the table or the
    normal; all must agree in the distance between slices. Of a slice alone only a count of slices is told from a place.
    """
    test = "slice_location"
    placed = [f for f in volume.header.files if f.slice_location_mm is not None and f.position_mm is not None]
    if not placed:
        return _lacking(test, volume, "slice location and image position")
    if len(placed) == 1:
        return _single_location(test, volume, placed[0])
    location = np.array([f.slice_location_mm for f in placed], float)
    off = min(
        float(np.abs(difference - np.median(difference)).max())
        for along in _heights(volume, placed)
        for difference in (location - along, location + along)
    )
    if off <= LOCATION_MM:
        return nothing_found(
            test, "The slice locations agree with the positions of the slices.", off, LOCATION_MM
        )
    return _hint(
        test,
        off,
        LOCATION_MM,
        f"Hint: the slice locations in the header are up to {off:.1f} mm off the positions of the slices, so one of "
        f"the two was rewritten ({_ANONYMISERS}).",
    )


def _single_location(test: str, volume: Volume, file: FileFacts) -> Evidence:
    location, height = float(file.slice_location_mm or 0.0), float(_heights(volume, [file])[0][0])
    off = abs(abs(location) - abs(height))
    if off <= LOCATION_MM:
        return nothing_found(test, "The slice location agrees with the position.", off, LOCATION_MM)
    if location != file.instance_number:
        return not_applicable(
            test, "Of a slice alone one cannot tell where its vendor counts locations from."
        )
    return _hint(
        test,
        off,
        LOCATION_MM,
        f"Hint: the slice location {location:g} is the number of the slice and not its place ({height:.1f} mm), which "
        f"no scanner writes so ({_ANONYMISERS}).",
    )


def _heights(volume: Volume, files: list[FileFacts]) -> list[NDArray[np.float64]]:
    """Where the files lie in mm, along the slices' normal and along the line from the first to the farthest."""
    positions = np.array([f.position_mm for f in files])
    columns, rows = volume.ijk_to_ras[:3, 0], volume.ijk_to_ras[:3, 1]
    normal = np.cross(columns, rows) * (-1.0, -1.0, 1.0)
    along = [positions @ (normal / np.linalg.norm(normal))]
    offsets = positions - positions[0]
    farthest = offsets[np.argmax(np.linalg.norm(offsets, axis=1))]
    if farthest.any():
        along.append(offsets @ (farthest / np.linalg.norm(farthest)))
    return along


def field_of_view(volume: Volume) -> Evidence:
    """ReconstructionDiameter (0018,1100) against columns times pixel spacing, which for a scanner are one thing."""
    test = "field_of_view"
    known = [
        (f.width_mm, f.reconstruction_mm) for f in volume.header.files if f.width_mm and f.reconstruction_mm
    ]
    if not known:
        return _lacking(test, volume, "the diameter of the reconstruction")
    width, diameter = max(known, key=lambda pair: abs(pair[0] / pair[1] - 1.0))
    off = abs(width / diameter - 1.0)
    if off <= FIELD_OF_VIEW:
        return nothing_found(test, "The size of the image is that of the reconstruction.", off, FIELD_OF_VIEW)
    return _hint(
        test,
        off,
        FIELD_OF_VIEW,
        f"Hint: the image is {width:.0f} mm wide but its header speaks of a reconstruction of {diameter:.0f} mm, so "
        "the header is another scan's, or the image was resampled or cropped (an export may do this too).",
    )


def differing_headers(volume: Volume) -> Evidence:
    """What one acquisition writes alike into all its slices: voltage, kernel, software, diameter and the like."""
    test = "differing_headers"
    files = volume.header.files
    if len(files) == 1:
        return not_applicable(test, "A single file has no other to differ from.")
    if not any(f.acquisition for f in files):
        return _lacking(test, volume, "facts of the acquisition")
    values = [dict(f.acquisition) for f in files]
    names = list(dict.fromkeys(name for of_file in values for name in of_file))
    differing = [name for name in names if len({of_file.get(name) for of_file in values}) > 1]
    if not differing:
        return nothing_found(test, "All slices have the header of one acquisition.", 0.0)
    return _hint(
        test,
        len(differing),
        None,
        f"Hint: the slices of this series differ in {', '.join(differing)}, which one acquisition writes alike into "
        "all, so some may come from elsewhere (a series joined from several scans does this too).",
    )


def rescale(volume: Volume) -> Evidence:
    """Slope and intercept (0028,1053 and 1052) against what scanners of this manufacturer write."""
    test = "rescale"
    manufacturer = volume.header.manufacturer or ""
    known = [row for row in _RESCALES if row[0] in manufacturer.upper()]
    written = {f.rescale for f in volume.header.files if f.rescale}
    if not written:
        return _lacking(test, volume, "slope and intercept")
    if not known:
        return not_applicable(test, "The header names no manufacturer whose rescale is known.")
    _, tolerance, intercepts = known[0]
    odd = sorted(
        (slope, intercept)
        for slope, intercept in written
        if abs(slope - 1.0) > tolerance or intercept not in intercepts
    )
    if not odd:
        return nothing_found(test, "Slope and intercept are as this manufacturer writes them.", 0.0)
    slope, intercept = odd[0]
    usual = " or ".join(f"{value:g}" for value in intercepts)
    return _hint(
        test,
        len(odd),
        None,
        f"Hint: grey values are stored with slope {slope:g} and intercept {intercept:g} where {manufacturer} writes 1 "
        f"and {usual}, so another program wrote them (so do {_ARCHIVES}).",
    )


def grey_levels(volume: Volume) -> Evidence:
    """Grey levels of tissue that never occur, as a stretch, an equalisation or fewer bits leave them."""
    test = "grey_levels"
    if not volume.header.files:
        return _no_header(test)
    gaps = grey_level_gaps(volume)
    if gaps <= GAPS_WARN:
        return nothing_found(test, "The grey levels of tissue have no gaps.", gaps, GAPS_WARN)
    return _hint(
        test,
        gaps,
        GAPS_WARN,
        f"Hint: {100 * gaps:.0f} % of the grey levels of tissue never occur, so contrast was changed after the "
        "reconstruction, as by histogram equalisation (an export with fewer grey levels does this too).",
    )


def _repeated(identifiers: Iterable[str | None]) -> int:
    """How many have the same as another."""
    counts = Counter(uid for uid in identifiers if uid)
    return sum(count for count in counts.values() if count > 1)


def _of(count: int, total: int) -> str:
    return "the file has" if total == 1 else f"{count} of {total} files have"


def _hint(test: str, score: float, threshold: float | None, text: str) -> Evidence:
    return Evidence(test, True, None, True, float(score), threshold, None, None, text)


def _lacking(test: str, volume: Volume, what: str) -> Evidence:
    return (
        not_applicable(test, f"The header does not state {what}.")
        if volume.header.files
        else _no_header(test)
    )


def _no_header(test: str) -> Evidence:
    return not_applicable(test, "The volume did not come as DICOM files, so there is no header to look at.")
