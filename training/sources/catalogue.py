"""Every source by the word that commands use."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Sequence

from CTForgeryScanLib.errors import InputError
from training.sites import FORGED
from training.sources import dicom_series, genuine_ctgan, luna16, shared_data, simulated
from training.sources.scan import Scan

SOURCES = {
    "luna16": luna16.read,
    "dicom": dicom_series.read,
    "genuine_ctgan": genuine_ctgan.read,
    "data": shared_data.read,
    "simulated": simulated.read,
}
SOURCE_HELP = (
    f"a source ({', '.join(SOURCES)}) and where it is: a folder, or for simulated the number of chests"
)

UNSEEN_HELP = "forge only in patients whom no generator learnt from"


def read_sources(sources: Sequence[tuple[str, str]]) -> tuple[Scan, ...]:
    """The scans of several sources. Raises InputError, also where two scans have one name."""
    scans = [scan for name, where in sources for scan in read_source(name, where)]
    names = Counter(scan.name for scan in scans)
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(
            f"The sources have {len(twice)} scans in common, such as {twice[0]}: give each once."
        )
    return tuple(scans)


def read_source(name: str, where: str) -> tuple[Scan, ...]:
    """The scans of a source; what is missing from it is said on the error output. Raises InputError."""
    if name not in SOURCES:
        raise InputError(f"there is no source '{name}'; choose one of {', '.join(SOURCES)}")
    listing = SOURCES[name](where)
    for note in listing.notes:
        print(note, file=sys.stderr)
    return listing.scans


def was_forged(scan: Scan) -> bool:
    """Whether a source knows a place where the scan was forged, as the genuine CT-GAN set does."""
    return any(site.kind in FORGED for site in scan.sites)


def read_untouched(name: str, where: str) -> tuple[Scan, ...]:
    """The scans of a source that nobody forged, to be forged or learnt from as untouched; the others are named.

    Raises InputError, also where there is none.
    """
    scans = read_source(name, where)
    untouched = tuple(scan for scan in scans if not was_forged(scan))
    if len(untouched) < len(scans):
        forged = ", ".join(scan.name for scan in scans if scan not in untouched)
        print(f"Left out, for they are forged already: {forged}.", file=sys.stderr)
    if not untouched:
        raise InputError(f"{where}: every scan of the source {name} is forged; give untouched ones.")
    return untouched


def of_unseen(scans: Sequence[Scan], seen: Collection[str], *, leave_out: bool) -> tuple[Scan, ...]:
    """The scans of patients whom no generator learnt from, if those that it did are to be left out; else all.

    Either is said: what a generator forges in whom it knows is better than in others. Raises InputError where none
    is left.
    """
    known = [scan for scan in scans if scan.patient in seen]
    if known:
        what = "Left out" if leave_out else "Forged too, which --unseen would leave out"
        print(f"{what}: {len(known)} scans of patients that the generators learnt from.", file=sys.stderr)
    elif seen:
        print(
            "Of no scan is it known that a generator learnt from its patient: make sure that patients have the names "
            "that they had then.",
            file=sys.stderr,
        )
    left = tuple(scan for scan in scans if not (leave_out and scan.patient in seen))
    if not left:
        raise InputError(
            "The generators learnt from every patient: train them --without some, to forge those."
        )
    return left
