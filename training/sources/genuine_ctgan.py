"""The genuine CT-GAN scans: the published set "Deepfakes: Medical Image Tamper Detection", as it unpacks.

Somewhere in the folder lie tables ``labels*.csv`` (columns ``type, uuid, slice, x, y``) and, for every uuid, a folder
of that name with the scan's DICOM slices. FM is a nodule injected, FB one removed, TM a real one, TB lung without one.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import load_volume
from training.sites import Site, SiteKind
from training.sources.scan import Listing, StoredScan, number, read_table

_COLUMNS = ("type", "uuid", "slice", "x", "y")
_KINDS: dict[str, SiteKind] = {"FM": "inject", "FB": "remove", "TM": "nodule", "TB": "lung"}


def read(where: str) -> Listing:
    """The scans that the tables name and that are there. Raises InputError where none is, or for another table."""
    root = Path(where)
    tables = sorted(root.rglob("labels*.csv"))
    if not tables:
        raise InputError(
            f"{where}: it holds no labels*.csv; name the folder into which the CT-GAN set was unpacked."
        )
    folders = {path.name: path for path in sorted(root.rglob("*")) if path.is_dir()}
    sites: dict[str, list[Site]] = defaultdict(list)
    for table in tables:
        for row in read_table(table, _COLUMNS):
            kind = _KINDS.get(row["type"].strip())
            if kind is None:
                raise InputError(
                    f"{table}: the type '{row['type']}' is not known ({', '.join(_KINDS)} are); "
                    "give the file as it was published."
                )
            # The files count the slices from the feet, which is how a volume counts them.
            i, j, k = (number(row, column, table) for column in ("x", "y", "slice"))
            uuid = row["uuid"].strip()
            sites[uuid].append(Site(uuid, (i, j, k), 0.0, kind))
    scans = tuple(
        # The name by which the slices of the same scan go in ``training.data``.
        StoredScan(uuid, f"ctgan-{uuid}", partial(load_volume, folders[uuid]), tuple(of_scan))
        for uuid, of_scan in sorted(sites.items())
        if uuid in folders
    )
    if not scans:
        raise InputError(
            f"{where}: none of the {len(sites)} scans that its tables name is there; unpack them too."
        )
    absent = sorted(set(sites) - set(folders))
    notes = (f"{len(absent)} labelled scans are not there: {', '.join(absent)}.",) if absent else ()
    return Listing(scans, notes)
