"""Everything that a killed training needs to go on, in one safetensors file: data, never code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from CTForgeryScanLib.errors import InputError

Parts = Mapping[str, nn.Module | Optimizer]


class Checkpoint:
    """Networks and optimisers by name, with the step and the configuration (JSON-ready) that they belong to."""

    def __init__(self, path: Path, config: Mapping[str, Any], parts: Parts) -> None:
        self.path, self.config, self.parts = path, json.dumps(config, sort_keys=True), parts

    def save(self, step: int) -> None:
        """Write all of it, or leave the checkpoint that was there."""
        tensors = {f"{name}/{k}": v for name, part in self.parts.items() for k, v in _tensors(part).items()}
        whole = self.path.with_suffix(".part")
        save_file(tensors, whole, {"step": str(step), "config": self.config})
        whole.replace(self.path)

    def load(self) -> int:
        """Restore all parts and return the step; 0 where there is no checkpoint.

        Raises InputError when it is damaged or of another configuration.
        """
        if not self.path.exists():
            return 0
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
            tensors = load_file(self.path)
        except SafetensorError as error:
            raise InputError(f"'{self.path}' is damaged: remove it to train from the start.") from error
        if metadata["config"] != self.config:
            raise InputError(
                f"'{self.path}' is of another configuration or other patients: give another --out, or remove it."
            )
        for name, part in self.parts.items():
            prefix = f"{name}/"
            _restore(part, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        return int(metadata["step"])

    def remove(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)


def _tensors(part: nn.Module | Optimizer) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        flat = part.state_dict()
    else:
        state = part.state_dict()["state"]
        flat = {f"{index}/{field}": v for index, fields in state.items() for field, v in fields.items()}
    # The format wants no two tensors in one memory.
    return {name: values.detach().clone().contiguous() for name, values in flat.items()}


def _restore(part: nn.Module | Optimizer, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    state = part.state_dict()
    for key, values in tensors.items():
        index, _, field = key.partition("/")
        state["state"].setdefault(int(index), {})[field] = values
    part.load_state_dict(state)
