"""The folder that a long command fills remembers what it is of: the same command goes on, another is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from CTForgeryScanLib.errors import OutputError


def check_settings(out: Path, file_name: str, settings: Mapping[str, object]) -> None:
    """Remember in ``file_name`` what the folder is of. Raises OutputError where it is of something else."""
    file = out / file_name
    if file.exists():
        if json.loads(file.read_text(encoding="utf-8")) != settings:
            raise OutputError(
                f"{out}: it holds what was made with other settings (see {file.name}), and nothing is overwritten; "
                "give another folder."
            )
    elif out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: it holds other files; give an empty or a new folder.")
    else:
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
