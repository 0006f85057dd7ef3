"""CTForgeryScanLib: was this CT tampered with by a generative network, and where?

>>> from CTForgeryScanLib import scan
>>> result = scan("folder/of/dicom")
>>> result.verdict, result.regions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from CTForgeryScanLib.cascade import scan
    from CTForgeryScanLib.models import load_model
    from CTForgeryScanLib.volume import load_volume

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "load_volume", "scan"]


def __getattr__(name: str) -> Any:
    """Import on first use: reading the version or opening Slicer's panel must not import torch."""
    from importlib import import_module

    homes = {"scan": "cascade", "load_model": "models", "load_volume": "volume"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
