"""Train the diffusion forger: a denoiser of lung patches of 64×64 pixels at native resolution.

``python -m training.forgers.diffusion.train --data DIR --out DIR --steps 1000 [--width 32] [--without PATIENT …]``

The folder gets ``metrics.csv``, ``samples/`` (columns: the slice before, a patch, the same with its middle hidden,
in-painted) and in the end ``diffusion.safetensors``, the moving average of the weights. A killed training goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from CTForgeryScanLib.heatmap import choose_device
from training.command import run_command
from training.forgers.diffusion.networks import Denoiser
from training.forgers.diffusion.sampling import alpha_sigma, in_paint
from training.forgers.lung_patches import Image, LungPatches, to_hu, to_unit
from training.forgers.training_run import RunSettings, TrainingRun, arguments, untouched_slices
from training.precision import mixed_precision
from training.slices import Slice

FORGER = "diffusion"
SIDE = 64
_ALONE = 0.1  # share of the patches that are shown without the slice before
_EMA = 0.995
_SAMPLES, _SAMPLE_STEPS, _HIDDEN_PX = 6, 20, 16


@dataclass(frozen=True)
class Settings(RunSettings):
    """How the denoiser is trained."""

    width: int = 32
    steps: int = 1000
    batch: int = 8
    learning_rate: float = 2e-3


def train(slices: Sequence[Slice], settings: Settings, folder: Path, device: str = "cpu") -> Path:
    """Train on untouched series, going on from the folder's checkpoint; the path of the weights."""
    # Single slices have no slice before, and would be most of the patients.
    patches = LungPatches([s for s in slices if s.between_mm], SIDE)
    torch.manual_seed(settings.seed)
    network = Denoiser(settings.width).to(choose_device(device))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(_EMA))
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    settings = replace(settings, patients=patches.patients)
    run = TrainingRun(
        folder, FORGER, settings, ("velocity",), network=network, average=average, optimizer=optimizer
    )
    for step in run.steps():
        # Of the step alone, so that a resumed training draws what an unbroken one would.
        rng = np.random.default_rng([settings.seed, step])
        patch, before = _units(patches, settings.batch, rng)
        before[rng.random(len(before)) < _ALONE] = -1
        loss = _loss(network, patch, before, rng)
        optimizer.param_groups[0]["lr"] = _learning_rate(step, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        if run.done(step + 1, {"velocity": loss}):
            run.draw(step + 1, _samples(average.module, patches, settings.seed))
    return run.finish(average.module)


def _units(patches: LungPatches, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Patches and the slices before them, [N, 1, side, side], −1 … 1."""
    patch, before = patches.draw(count, rng)
    return torch.from_numpy(to_unit(patch))[:, None], torch.from_numpy(to_unit(before))[:, None]


def _loss(network: Denoiser, patch: Tensor, before: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean squared error of the velocity at times spread evenly over the batch."""
    device, count = next(network.parameters()).device, len(patch)
    time = torch.from_numpy(((np.arange(count) + rng.random()) / count).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(patch.shape, dtype=np.float32))
    alpha, sigma = (part[:, None, None, None] for part in alpha_sigma(time))
    noised, wanted = alpha * patch + sigma * noise, alpha * noise - sigma * patch
    with mixed_precision(device):
        velocity = network(noised.to(device), before.to(device), time.to(device))
    return (velocity.float() - wanted.to(device)).square().mean()


def _learning_rate(step: int, settings: Settings) -> float:
    """Up over the first 2 % of the steps, then down to 0 along half a cosine."""
    done = (step + 1) / settings.steps
    return settings.learning_rate * min(1.0, done / 0.02) * (1 + math.cos(math.pi * done)) / 2


def _samples(network: nn.Module, patches: LungPatches, seed: int) -> list[Image]:
    """Columns of a sample picture, each [N, side, side] in HU."""
    device = next(network.parameters()).device
    patch, before = (of.to(device) for of in _units(patches, _SAMPLES, np.random.default_rng(seed)))
    along = torch.arange(SIDE, device=device) - (SIDE - 1) / 2
    hidden = (torch.hypot(along[:, None], along[None, :]) < _HIDDEN_PX).expand(patch.shape)
    random = torch.Generator().manual_seed(seed)
    painted = in_paint(network, patch, hidden, before, random, steps=_SAMPLE_STEPS)
    columns = (before, patch, patch.masked_fill(hidden, -1), painted)
    return [to_hu(column[:, 0].cpu().numpy()) for column in columns]


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments("Train the diffusion forger.", Settings()).parse_args(argv)
    torch.set_num_threads(args.threads)
    settings = Settings(
        width=args.width, steps=args.steps, batch=args.batch, learning_rate=args.learning_rate, seed=args.seed
    )
    print(train(untouched_slices(args.data, args.without), settings, args.out, args.device))


if __name__ == "__main__":
    run_command(main)
