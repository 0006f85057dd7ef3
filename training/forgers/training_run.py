"""The folder of one forger's training: checkpoint, metrics, sample pictures, and in the end the weights.

A killed training goes on from its checkpoint when the same command is given again. Files are safetensors, CSV and
PNG; the checkpoint's header holds the configuration as JSON.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from CTForgeryScanLib.errors import InputError
from training.data import Slice, read_slices
from training.forgers.checkpoint import Checkpoint, Parts
from training.forgers.lung_patches import Image
from training.forgers.weights import read_card, save_weights

_LOG_EVERY = 50
_WINDOW_HU = (-1050.0, 150.0)


class TrainingRun:
    """Keeps ``parts`` (networks and optimisers) in ``folder``, for one ``config`` (JSON-ready) alone."""

    def __init__(
        self, folder: Path, forger: str, config: Mapping[str, Any], parts: Parts, checkpoint_every: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.forger, self.config, self.every = folder, forger, dict(config), checkpoint_every
        self.checkpoint = Checkpoint(folder / "checkpoint.safetensors", self.config, parts)
        self._metrics = folder / "metrics.csv"
        self._sums: dict[str, float] = {}
        self._counted = 0
        self._started, self._first = time.monotonic(), 0

    @property
    def weights(self) -> Path:
        """The finished forger's weights."""
        return self.folder / f"{self.forger}.safetensors"

    def is_finished(self) -> bool:
        """Whether this training was done before. Raises InputError where another configuration's was."""
        if not self.weights.exists():
            return False
        if read_card(self.weights)["config"] != self.config:
            raise InputError(
                f"'{self.weights}' is of another configuration or other patients: give another --out, or remove it."
            )
        return True

    def resume(self) -> int:
        """Restore the checkpoint and return its step; 0 where there is none.

        Raises InputError when it is damaged or of another configuration.
        """
        self._first = self.checkpoint.load()
        _forget_after(self._metrics, self._first)
        return self._first

    def log(self, step: int, of: int, losses: Mapping[str, Tensor]) -> None:
        """Count the losses of a finished step; now and then, and before a checkpoint, print and write their means.

        Raises InputError when one is not a number, before it can reach a checkpoint.
        """
        for name, loss in losses.items():
            value = loss.item()
            if not math.isfinite(value):
                raise InputError(
                    f"The loss {name} is not finite at step {step}: lower --learning-rate and give another --out; "
                    f"the last good state is in '{self.checkpoint.path}'."
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
        self.checkpoint.remove()


def arguments(description: str, defaults: Mapping[str, Any]) -> argparse.ArgumentParser:
    """A parser of what every forger's training is given, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with ctgan/, pristine_slices/ and ct/")
    add("--out", type=Path, required=True, help="folder of this training; resumes what it holds")
    add("--without", nargs="*", default=[], metavar="PATIENT", help="patients not to train on")
    add("--width", type=int, help="filters of the first layer (default: %(default)s)")
    add("--steps", type=int, help="(default: %(default)s)")
    add("--batch", type=int, help="patches a step (default: %(default)s)")
    add("--learning-rate", type=float, help="(default: %(default)s)")
    add("--seed", type=int, help="(default: %(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of the CPU (default: %(default)s)")
    parser.set_defaults(**defaults)
    return parser


def untouched_slices(data: Path, without: Sequence[str]) -> list[Slice]:
    """Every untouched slice of the data folder but of these patients. Raises InputError for an unknown patient."""
    slices = [s for s in read_slices(data) if not s.forged]
    unknown = set(without) - {s.patient for s in slices}
    if unknown:
        raise InputError(f"'{data}' has no patient {', '.join(sorted(unknown))}: correct --without.")
    return [s for s in slices if s.patient not in without]


def _forget_after(metrics: Path, step: int) -> None:
    """Drop the rows that a killed training logged after its last checkpoint; they will be logged again."""
    if metrics.exists():
        header, *rows = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
        metrics.write_text("".join([header, *kept]), encoding="utf-8")
