"""Slices on disk: a scan's planes in one ``.npy``, which is mapped and not read, and what is known of them in JSON.

LUNA16's slices do not fit into memory; of mapped ones only those are there that a batch asks for.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from CTForgeryScanLib.errors import InputError
from training.slices import Slice, SliceSite
from training.whole_file import whole

SETTINGS = "slice-set.json"
"""The file by which a folder of stored slices is known, and what it was made with."""
_FINISHED = "finished"
_MACOS_FILES = 10_240
_RECORDS = ".slices.json"
_TOLD = [f.name for f in fields(Slice) if f.name not in ("hu", "hot", "twin")]


def records_path(folder: Path, name: str) -> Path:
    """The file that says that the scan of that name is stored."""
    return folder / f"{name}{_RECORDS}"


def store_slices(slices: Sequence[Slice], folder: Path, name: str) -> None:
    """Store the slices of a scan, all of one size; ``twin`` is not kept."""
    np.save(_planes_path(folder, name), np.stack([s.hu for s in slices]))
    empty = np.zeros((0, 0), np.int16)
    records = [asdict(replace(s, hu=empty, twin=None)) for s in slices]
    told = [{key: record[key] for key in _TOLD} for record in records]
    with whole(records_path(folder, name)) as part:
        part.write_text(json.dumps(told) + "\n", encoding="utf-8")


def mark_finished(folder: Path) -> None:
    """Say that all scans of the set are there: until then it is not read."""
    (folder / _FINISHED).touch()


def read_stored_slices(folder: Path) -> list[Slice]:
    """The slices of every scan that is stored, by scan.

    Raises InputError for damaged files, for a set that is not finished, and for none at all.
    """
    if not (folder / _FINISHED).exists():
        raise InputError(
            f"'{folder}' is not finished: give training.slice_set again, which goes on where it was."
        )
    _allow_many_files()
    slices: list[Slice] = []
    for path in sorted(folder.glob(f"*{_RECORDS}")):
        name = path.name.removesuffix(_RECORDS)
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
            planes = np.load(_planes_path(folder, name), mmap_mode="r")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.EMFILE:
                raise InputError(
                    f"'{folder}' holds more scans than this system lets a program open: raise the limit (ulimit -n)."
                ) from error
            raise InputError(
                f"'{path}' or its planes cannot be read ({error}): remove both and give training.slice_set again."
            ) from error
        slices += [_slice(record, plane) for record, plane in zip(records, planes, strict=True)]
    if not slices:
        raise InputError(f"'{folder}' holds no slices: make it with other sources or forgers.")
    return slices


def _allow_many_files() -> None:
    """A scan that is mapped keeps a file open; macOS allows 256 of them until it is asked."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows, which has no such limit

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # "Unlimited" is what macOS says and does not take; this many it gives.
        wanted = _MACOS_FILES if hard == resource.RLIM_INFINITY else hard
        if soft not in (resource.RLIM_INFINITY, hard):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _planes_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.slices.npy"


def _slice(record: dict[str, Any], plane: np.ndarray[Any, np.dtype[np.int16]]) -> Slice:
    sites = tuple(SliceSite(**site) for site in record["forged"])
    lesions = tuple((x, y) for x, y in record["lesions"])
    return Slice(**record | {"hu": plane, "forged": sites, "lesions": lesions})
