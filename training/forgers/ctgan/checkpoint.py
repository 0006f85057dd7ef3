"""Everything that a killed training needs to go on, in one safetensors file: data, never code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from CTForgeryScanLib.errors import InputError


class Checkpoint:
    """Networks and optimizers by name, with the step and the configuration that they belong to."""

    def __init__(
        self, path: Path, config: dict[str, Any], parts: Mapping[str, nn.Module | torch.optim.Optimizer]
    ) -> None:
        self.path, self.config, self.parts = path, json.dumps(config, sort_keys=True), parts

    def save(self, step: int) -> None:
        """Write all of it, or leave the checkpoint that was there."""
        tensors: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            if isinstance(part, nn.Module):
                tensors |= {f"{name}/{key}": values for key, values in part.state_dict().items()}
            else:
                for index, state in part.state_dict()["state"].items():
                    tensors |= {f"{name}/{index}/{key}": values for key, values in state.items()}
        whole = self.path.with_suffix(".part")
        save_file(
            {key: values.contiguous() for key, values in tensors.items()},
            whole,
            {"step": str(step), "config": self.config},
        )
        whole.replace(self.path)

    def load(self) -> int:
        """Restore all parts and return the step; 0 where there is no checkpoint.

        Raises InputError when it is of another configuration.
        """
        if not self.path.exists():
            return 0
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
        if metadata["config"] != self.config:
            raise InputError(f"'{self.path}' is of another configuration: give another --out, or remove it.")
        tensors = load_file(self.path)
        for name, part in self.parts.items():
            own = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            if isinstance(part, nn.Module):
                part.load_state_dict(own)
            else:
                state = part.state_dict()
                for key, values in own.items():
                    index, _, field = key.partition("/")
                    state["state"].setdefault(int(index), {})[field] = values
                part.load_state_dict(state)
        return int(metadata["step"])

    def remove(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)
