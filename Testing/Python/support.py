"""What several test files share: where the real data lie (if they do) and how a test says that it needs them."""

from __future__ import annotations

import os
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"


def shared_data() -> Path | None:
    """Folder of the real CT data (``ctgan/``, ``pristine_slices/``, ``ct/``), or None where it is absent.

    It is not part of the project: ``CTFORGERYSCAN_DATA`` names it.
    """
    named = os.environ.get("CTFORGERYSCAN_DATA")
    return Path(named) if named and Path(named, "ctgan", "labels.csv").is_file() else None


def real_data() -> Path:
    """``shared_data`` for tests that are marked ``needs_shared_data``."""
    folder = shared_data()
    assert folder is not None
    return folder


needs_shared_data = unittest.skipUnless(
    shared_data(), "the real CT data are absent (set CTFORGERYSCAN_DATA to their folder)"
)
