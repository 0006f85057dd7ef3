"""A stand-in for 3D Slicer, for tests and for people without Slicer.

Slicer's real core (MRML, logics, slice views, ``slicer.util``) comes from the package slicer-core; PySide6 stands for
the Qt application around it. ``start()`` makes ``slicer``, ``qt``, ``ctk`` and ``vtk`` what a scripted module finds in
Slicer. What is not Slicer's own here offers only what Slicer offers and raises on everything else, so that a test
cannot pass on an API that does not exist. Testing/README.md lists what it cannot show.
"""

from .requirements import missing_requirement
from .startup import load_module, start

__all__ = ["load_module", "missing_requirement", "start"]
