"""The folder of one forger's training: checkpoint, metrics, sample pictures, and in the end the weights.

A killed training goes on from its checkpoint when the same command is given again. Files are safetensors, CSV and
PNG; the checkpoint's header holds the configuration as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from CTForgeryScanLib.errors import InputError
from training.data import Slice, read_slices
from training.forgers.lung_patches import Image
from training.forgers.weights import read_card, save_weights

_LOG_EVERY = 50
_WINDOW_HU = (-1050.0, 150.0)

Parts = Mapping[str, nn.Module | torch.optim.Optimizer]


class TrainingRun:
    """Keeps ``parts`` (networks and optimisers) in ``folder``, for one ``config`` (JSON-ready) alone.

    Raises InputError where the folder holds the training of another configuration.
    """

    def __init__(
        self, folder: Path, forger: str, config: Mapping[str, Any], parts: Parts, checkpoint_every: int
    ) -> None:
        self.folder, self.forger, self.config, self.parts = folder, forger, dict(config), parts
        self.every = checkpoint_every
        self._sums: dict[str, float] = {}
        self._counted = 0
        self._started, self._first = time.monotonic(), 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def weights(self) -> Path:
        """The finished forger's weights."""
        return self.folder / f"{self.forger}.safetensors"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.csv"

    def is_finished(self) -> bool:
        """Whether this training was done before."""
        if not self.weights.exists():
            return False
        self._check_config(read_card(self.weights)["config"], self.weights)
        return True

    def resume(self) -> int:
        """Restore the checkpoint and return its step; 0 where there is none."""
        tensors: dict[str, Tensor] = {}
        if self._checkpoint.exists():
            try:
                with safe_open(self._checkpoint, "pt") as file:
                    metadata = file.metadata()
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            except SafetensorError as error:
                raise InputError(
                    f"'{self._checkpoint}' is damaged: remove it to train from the start."
                ) from error
            self._check_config(json.loads(metadata["config"]), self._checkpoint)
            self._first = int(metadata["step"])
            for name, part in self.parts.items():
                _restore(
                    part,
                    {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")},
                )
        _forget_after(self._metrics, self._first)
        return self._first

    def save(self, step: int) -> None:
        """Write the checkpoint of that step; whole or not at all."""
        tensors = {f"{name}/{k}": v for name, part in self.parts.items() for k, v in _tensors(part).items()}
        whole = self._checkpoint.with_suffix(".part")
        save_file(tensors, whole, {"step": str(step), "config": json.dumps(self.config, sort_keys=True)})
        whole.replace(self._checkpoint)

    def log(self, step: int, of: int, losses: Mapping[str, Tensor]) -> None:
        """Count the losses of a finished step; now and then, and before a checkpoint, print and write their means.

        Raises InputError when one is not a number, before it can reach a checkpoint.
        """
        for name, loss in losses.items():
            value = loss.item()
            if not math.isfinite(value):
                raise InputError(
                    f"The loss {name} is not finite at step {step}: lower --learning-rate and give another --out; "
                    f"the last good state is in '{self._checkpoint}'."
                )
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._counted += 1
        if step % _LOG_EVERY and not self.is_due(step, of):
            return
        means = {name: total / self._counted for name, total in self._sums.items()}
        self._sums, self._counted = {}, 0
        new = not self._metrics.exists()
        with self._metrics.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([["step", *means]] if new else [])
            writer.writerow([step, *(f"{mean:.5f}" for mean in means.values())])
        left = (time.monotonic() - self._started) / (step - self._first) * (of - step) / 60
        words = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        print(f"{self.forger}: step {step}/{of}, {words}, {left:.1f} min left", flush=True)

    def is_due(self, step: int, of: int) -> bool:
        """Whether a checkpoint and a picture are to be written after this step."""
        return step % self.every == 0 or step == of

    def draw(self, step: int, columns: Sequence[Image]) -> None:
        """``samples/STEP.png``: one column per kind of picture ([N, side, side], HU), one row per patch."""
        rows = np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)
        low, high = _WINDOW_HU
        grey = (np.clip((rows - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        path = self.folder / "samples" / f"{step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Pictures.fromarray(grey).resize((2 * grey.shape[1], 2 * grey.shape[0])).save(path)

    def finish(self, network: nn.Module) -> None:
        """Write the weights with their card; the checkpoint has done its work."""
        card = {"forger": self.forger, "config": self.config, "torch": torch.__version__}
        save_weights(self.weights, network, card)
        self._checkpoint.unlink(missing_ok=True)

    def _check_config(self, found: Any, path: Path) -> None:
        # Through JSON, which knows no tuples.
        if found != json.loads(json.dumps(self.config)):
            raise InputError(
                f"'{path}' is of another configuration or other patients: give another --out, or remove it."
            )


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser of what every forger's training is given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with ctgan/, pristine_slices/ and ct/"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of this training; resumes what it holds"
    )
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="PATIENT", help="patients not to train on"
    )
    parser.add_argument("--width", type=int, default=16, help="filters of the first layer")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def untouched_slices(data: Path, without: Sequence[str]) -> list[Slice]:
    """Every untouched slice of the data folder but of these patients. Raises InputError for an unknown patient."""
    slices = [s for s in read_slices(data) if not s.forged]
    unknown = set(without) - {s.patient for s in slices}
    if unknown:
        raise InputError(f"'{data}' has no patient {', '.join(sorted(unknown))}: correct --without.")
    return [s for s in slices if s.patient not in without]


def _tensors(part: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return {name: values.detach().clone().contiguous() for name, values in part.state_dict().items()}
    state = part.state_dict()["state"]
    return {
        f"{i}/{field}": v.clone().contiguous() for i, fields in state.items() for field, v in fields.items()
    }


def _restore(part: nn.Module | torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    state = part.state_dict()
    for key, values in tensors.items():
        index, _, field = key.partition("/")
        state["state"].setdefault(int(index), {})[field] = values
    part.load_state_dict(state)


def _forget_after(metrics: Path, step: int) -> None:
    """Drop the rows that a killed training logged after its last checkpoint; they will be logged again."""
    if metrics.exists():
        header, *rows = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
        metrics.write_text("".join([header, *kept]), encoding="utf-8")
