"""Where a result may be written, so that nothing else is lost. Nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from CTForgeryScanLib.formats import RESULT_FILES

_OF_FILE_MANAGERS = (".DS_Store", ".directory", "desktop.ini", "Thumbs.db")


def is_replaceable(place: Path) -> bool:
    """Whether nothing is there, or nothing but the result of a scan. Raises OSError where that cannot be seen."""
    try:
        names = {path.name for path in place.iterdir()}
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False
    names = {name for name in names if name not in _OF_FILE_MANAGERS and not name.startswith("._")}
    # Every result has its first file: a picture alone is somebody's own.
    return names <= set(RESULT_FILES) and (not names or RESULT_FILES[0] in names)


def place_for(folder: Path, input_sha256: str, others: Collection[Path] = ()) -> tuple[Path, bool]:
    """``folder``, or the first of ``folder-2``, ``folder-3`` … that is free for the result of the CT with that hash.

    Free is what is empty or holds an earlier result of that CT, and is not one of ``others``. Also returned: whether
    something is there, to be replaced.
    """
    place, number = folder, 1
    while True:
        # Asked first: what another process puts there from now on is not to be replaced.
        there = place.exists()
        if not there or (place not in others and is_replaceable(place) and _is_free(place, input_sha256)):
            return place, there
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")


def _is_free(place: Path, input_sha256: str) -> bool:
    try:
        earlier = json.loads((place / RESULT_FILES[0]).read_text(encoding="utf-8"))
        return bool(earlier["provenance"]["input_sha256"] == input_sha256)
    except FileNotFoundError:
        return True
    except (ValueError, KeyError, TypeError):
        return False  # a result that cannot be read is not this CT's either
