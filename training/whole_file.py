"""Files that are written whole or not at all: killed in between, the one before is still there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, ending in ``.part``; once written, the file takes the place of ``path``."""
    part = path.with_name(f"{path.name}.part")
    yield part
    part.replace(path)
