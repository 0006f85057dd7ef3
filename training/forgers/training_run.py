"""The folder of one forger's training: checkpoint, metrics, sample pictures, and in the end the weights.

A killed training goes on from its checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn
from torch.optim import Optimizer

from CTForgeryScanLib.errors import InputError
from training.checkpoint import Checkpoint
from training.data import DATA_HELP, read_slices
from training.forgers.lung_patches import Image
from training.forgers.weights import read_card, save_weights
from training.metrics_log import MetricsLog
from training.slices import Slice

_LOG_EVERY = 50
_WINDOW_HU = (-1050.0, 150.0)


@dataclass(frozen=True)
class RunSettings:
    """What every forger's training is told. It is the card's ``config``, and a checkpoint is of one alone."""

    width: int
    steps: int
    batch: int
    learning_rate: float
    seed: int = 1
    checkpoint_every: int = 250
    patients: tuple[str, ...] = ()
    """Whom it is trained on."""


class TrainingRun:
    """Keeps ``parts`` (networks and optimisers) of a training and logs its ``losses`` (names) in ``folder``.

    Raises InputError where the folder holds the training of another configuration.
    """

    def __init__(
        self,
        folder: Path,
        forger: str,
        settings: RunSettings,
        losses: Sequence[str],
        **parts: nn.Module | Optimizer,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.forger, self.settings = folder, forger, settings
        self.weights = folder / f"{forger}.safetensors"
        self._checkpoint = Checkpoint(folder / "checkpoint.safetensors", settings, **parts)
        self._panels = {forger: losses}
        self._sums, self._counted = dict.fromkeys(losses, 0.0), 0
        self._log: MetricsLog | None = None

    def steps(self) -> range:
        """The steps that are left, from the checkpoint on; none where the weights are there."""
        config, last = asdict(self.settings), self.settings.steps
        if self.weights.exists():
            if read_card(self.weights)["config"] != {**config, "patients": list(self.settings.patients)}:
                raise InputError(
                    f"'{self.weights}' is of another configuration or other patients: give another --out, or remove it."
                )
            return range(last, last)
        first = self._checkpoint.load().step
        self._log = MetricsLog(self.folder, self._panels, first=first, last=last)
        return range(first, last)

    def done(self, step: int, losses: Mapping[str, Tensor]) -> bool:
        """Note so many steps as done, with the last one's losses; whether a checkpoint was saved, as now and then.

        Raises InputError when a loss is not a number, before it can reach a checkpoint.
        """
        assert self._log
        for name, loss in losses.items():
            self._sums[name] += loss.item()
            if not math.isfinite(self._sums[name]):
                raise InputError(
                    f"The loss {name} is not finite at step {step}: lower --learning-rate and give another --out."
                )
        self._counted += 1
        is_due = step % self.settings.checkpoint_every == 0 or step == self.settings.steps
        if is_due or step % _LOG_EVERY == 0:
            self._log.write(step, {name: total / self._counted for name, total in self._sums.items()})
            self._sums, self._counted = dict.fromkeys(self._sums, 0.0), 0
        if is_due:
            self._checkpoint.save(step)
        return is_due

    def draw(self, step: int, columns: Sequence[Image]) -> None:
        """``samples/STEP.png``: one column per kind of picture ([N, side, side], HU), one row per patch."""
        rows = np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)
        low, high = _WINDOW_HU
        grey = (np.clip((rows - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        path = self.folder / "samples" / f"{step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Pictures.fromarray(grey).resize((2 * grey.shape[1], 2 * grey.shape[0])).save(path)

    def finish(self, network: nn.Module) -> Path:
        """Write the weights with their card, if they are not there; the checkpoint has done its work."""
        if self._log:
            self._log.close()
            card = {"forger": self.forger, "config": asdict(self.settings), "torch": torch.__version__}
            save_weights(self.weights, network.state_dict(), card)
            self._checkpoint.path.unlink(missing_ok=True)
        return self.weights


def arguments(description: str, defaults: RunSettings) -> argparse.ArgumentParser:
    """A parser of what every forger's training is given, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--data", type=Path, required=True, help=DATA_HELP)
    add("--out", type=Path, required=True, help="folder of this training; resumes what it holds")
    add("--without", nargs="*", default=[], metavar="PATIENT", help="patients not to train on")
    add("--width", type=int, help="filters of the first layer (default: %(default)s)")
    add("--steps", type=int, help="(default: %(default)s)")
    add("--batch", type=int, help="patches a step (default: %(default)s)")
    add("--learning-rate", type=float, help="(default: %(default)s)")
    add("--seed", type=int, help="(default: %(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of the CPU (default: %(default)s)")
    parser.set_defaults(**asdict(defaults))
    return parser


def untouched_slices(data: Path, without: Sequence[str]) -> list[Slice]:
    """Every untouched slice of the data but of these patients. Raises InputError for an unknown patient."""
    slices = [s for s in read_slices(data) if not s.forged]
    unknown = set(without) - {s.patient for s in slices}
    if unknown:
        raise InputError(f"'{data}' has no patient {', '.join(sorted(unknown))}: correct --without.")
    return [s for s in slices if s.patient not in without]
