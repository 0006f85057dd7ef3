"""What the stand-in needs, and what is missing of it in words."""

from __future__ import annotations

import ctypes.util
import functools
import importlib.util
import os
import sys
from pathlib import Path

PACKAGES = {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials", "matplotlib": "matplotlib"}
"""Python module -> the package that brings it."""

DRIVERS = ("/usr/lib/*/dri", "/usr/lib/dri", "/usr/lib64/dri", "/usr/lib/*-linux-gnu/libgallium-*")


@functools.cache
def missing_requirement() -> str | None:
    """One sentence that says what is missing and how to get it; None if nothing is."""
    if (
        "slicer" in sys.modules
        and hasattr(sys.modules["slicer"], "app")
        and "SlicerHost.startup" not in sys.modules
    ):
        return "this is 3D Slicer itself, which needs no stand-in"
    absent = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if absent:
        return f"the stand-in for Slicer needs {' and '.join(absent)}: pip install '.[gui]'"
    if sys.platform == "linux":
        missing = []
        if not ctypes.util.find_library("EGL"):
            missing.append("libegl1")
        if not any(any(Path("/").glob(pattern[1:])) for pattern in DRIVERS):
            missing.append("libgl1-mesa-dri")
        if missing:
            return f"the stand-in for Slicer draws with {' and '.join(missing)}: apt-get install {' '.join(missing)}"
    return None


WINDOW_LIBRARIES = {"xcb-cursor": "libxcb-cursor0", "xkbcommon-x11": "libxkbcommon-x11-0"}
"""Library that Qt opens a window with under X -> Debian's package."""


def missing_display() -> str | None:
    """One sentence that says why no window can come up; None if one can."""
    if sys.platform != "linux":
        return None
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        return "there is no display to open a window on: neither DISPLAY nor WAYLAND_DISPLAY is set"
    missing = [
        package for library, package in WINDOW_LIBRARIES.items() if not ctypes.util.find_library(library)
    ]
    if missing:
        return f"Qt cannot open a window without {' and '.join(missing)}: apt-get install {' '.join(missing)}"
    return None


def draw_off_screen() -> None:
    """Has VTK draw without a display; Qt's platform is chosen by who starts."""
    if sys.platform == "linux":
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
