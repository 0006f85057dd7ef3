"""What a killed training needs to go on, in one safetensors file (data, never code)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from CTForgeryScanLib.errors import InputError
from training.tensor_file import read_header, read_tensors
from training.whole_file import whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Resumed:
    """Where a training goes on: steps done, and whatever else it had noted (JSON values)."""

    step: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


class Checkpoint:
    """Saves and restores the ``parts`` (networks, optimizers) of a training that ``config`` describes."""

    def __init__(self, path: Path, config: DataclassInstance, **parts: nn.Module | Optimizer) -> None:
        self.path, self.parts = path, parts
        self.config = json.dumps(asdict(config), sort_keys=True)

    def save(self, step: int, **notes: Any) -> None:
        """Replace the file as a whole: killed in between, the one before is still there."""
        tensors = {
            f"{part}/{key}": value.detach().clone(memory_format=torch.contiguous_format)
            for part, of in self.parts.items()
            for key, value in _tensors(of).items()
        }
        with whole(self.path) as part:
            save_file(tensors, part, {"step": str(step), "config": self.config, "notes": json.dumps(notes)})

    def load(self) -> Resumed:
        """Restore the parts.

        Raises InputError for a damaged checkpoint or one of another configuration, and changes nothing then.
        """
        if not self.path.exists():
            return Resumed()
        header = read_header(self.path)
        if header.get("config") != self.config:
            raise InputError(f"'{self.path}' is of another configuration: give another --runs, or remove it.")
        of_part: dict[str, dict[str, Tensor]] = {part: {} for part in self.parts}
        for name, value in read_tensors(self.path).items():
            part, _, key = name.partition("/")
            of_part[part][key] = value
        for part, of in self.parts.items():
            if isinstance(of, Optimizer):
                _restore(of, of_part[part])
            else:
                of.load_state_dict(of_part[part])
        return Resumed(int(header["step"]), json.loads(header["notes"]))


def _tensors(of: nn.Module | Optimizer) -> dict[str, Tensor]:
    if isinstance(of, Optimizer):
        state = of.state_dict()["state"]
        return {f"{i}/{k}": value for i, values in state.items() for k, value in values.items()}
    return of.state_dict()


def _restore(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Optimizers number their parameters: keys are ``number/field``."""
    state = optimizer.state_dict()
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(state)
