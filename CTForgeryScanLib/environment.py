"""What a scan needs beside this library and what this Python has of it, told without importing any of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from dataclasses import dataclass

from CTForgeryScanLib.errors import DeviceError


@dataclass(frozen=True)
class Package:
    """One package that a scan needs. ``at_least`` is the lowest version; ``module`` what is imported of it."""

    name: str
    module: str
    at_least: str


@dataclass(frozen=True)
class Found:
    """Whether a package is there and new enough; ``version`` is None where it is absent."""

    package: Package
    version: str | None
    good: bool


# 3D Slicer brings all but torch, scikit-image and safetensors.
PACKAGES = (
    Package("torch", "torch", "2.4"),
    Package("scikit-image", "skimage", "0.22"),
    Package("safetensors", "safetensors", "0.4"),
    Package("numpy", "numpy", "1.26"),
    Package("scipy", "scipy", "1.11"),
    Package("SimpleITK", "SimpleITK", "2.3"),
    Package("pillow", "PIL", "10.1"),
)


def find_packages() -> list[Found]:
    """Which of PACKAGES this Python has. Imports none of them, so it is quick."""
    importlib.invalidate_caches()
    return [_find(package) for package in PACKAGES]


def _find(package: Package) -> Found:
    if importlib.util.find_spec(package.module) is None:
        return Found(package, None, False)
    try:
        version = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        # It can be imported, which is what counts; built by hand, it does not say its version.
        return Found(package, "of unknown version", True)
    return Found(package, version, _numbers(version) >= _numbers(package.at_least))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def load_torch() -> None:
    """Raises DeviceError where torch is there but cannot be loaded, as where a library that it needs is missing."""
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        cause = str(error).partition("\n")[0]
        raise DeviceError(
            f"PyTorch is installed but cannot be loaded ({cause}): install it again."
        ) from error


def find_devices() -> list[tuple[str, str]]:
    """(name for --device, description) of each device that torch can compute on here, the best first.

    Imports torch, which takes seconds. Raises DeviceError as ``load_torch``.
    """
    load_torch()
    import torch

    found = []
    for n in range(torch.cuda.device_count()):
        gib = torch.cuda.get_device_properties(n).total_memory / 2**30
        found.append((f"cuda:{n}", f"{torch.cuda.get_device_name(n)}, {gib:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    found.append(("cpu", f"{os.cpu_count()} processor cores"))
    return found
