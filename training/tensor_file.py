"""Reading safetensors files that our commands wrote, with a sentence where one is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from CTForgeryScanLib.errors import InputError


def read_header(path: Path) -> dict[str, str]:
    """What was noted beside the tensors; nothing for a file of others. Raises InputError for a damaged file."""
    with _damage_said(path), safe_open(path, "np") as file:
        return file.metadata() or {}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name. Raises InputError for a damaged file."""
    with _damage_said(path):
        return safetensors.torch.load_file(path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The same as NumPy arrays."""
    with _damage_said(path):
        return safetensors.numpy.load_file(path)


@contextmanager
def _damage_said(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise InputError(
            f"'{path}' is damaged ({error}): remove it and give the command that wrote it again."
        ) from error
