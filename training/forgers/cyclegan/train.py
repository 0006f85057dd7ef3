"""Train the CycleGAN forger: unpaired noisy and clean CT patches, and two generators between them.

``python -m training.forgers.cyclegan.train --data DIR --out DIR --steps 4000 [--width 16] [--without PATIENT …]``

The clean domain is untouched lung as it is, the noisy one other untouched lung with impulse and Gaussian noise
(Section 4.1). The folder gets ``metrics.csv``, ``samples/`` (columns: noisy, denoised, back to noisy; clean, made
noisy, back to clean) and in the end ``cyclegan.safetensors``, the denoising generator. A killed training goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from CTForgeryScanLib.heatmap import choose_device
from training.command import run_command
from training.forgers.cyclegan.networks import Discriminator, Generator
from training.forgers.cyclegan.noise import add_noise
from training.forgers.lung_patches import Image, LungPatches, to_hu, to_unit
from training.forgers.training_run import RunSettings, TrainingRun, arguments, untouched_slices
from training.precision import mixed_precision
from training.slices import Slice

FORGER = "cyclegan"
_CYCLE, _IDENTITY = 10.0, 5.0  # weights of the losses beside the adversarial one, as published
_LOSSES = ("adversarial", "cycle", "identity", "discriminators")
_POOL = 50
_SAMPLES = 4


@dataclass(frozen=True)
class Settings(RunSettings):
    """How the CycleGAN is trained; published: width 64, learning rate 2e-4, some 10⁵ steps, patches of 128 to 256."""

    width: int = 16
    steps: int = 4000
    batch: int = 1
    learning_rate: float = 4e-4
    side: int = 96


class ImagePool(nn.Module):
    """The last fakes: a discriminator judges each new one or, half of the time, swaps it for an older one.

    A module, so that a checkpoint holds it as it holds the networks.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(_POOL, 1, side, side))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def swap(self, fakes: Tensor, rng: np.random.Generator) -> Tensor:
        """What the discriminator is to judge, [N, 1, side, side] like ``fakes``."""
        judged = []
        for fake in fakes.detach().float():
            if self.filled < _POOL:
                self.images[self.filled] = fake
                self.filled += 1
                judged.append(fake)
            elif rng.random() < 0.5:
                at = int(rng.integers(_POOL))
                judged.append(self.images[at].clone())
                self.images[at] = fake
            else:
                judged.append(fake)
        return torch.stack(judged)


class CycleGAN:
    """Both generators and discriminators with their optimisers and pools."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.device = device
        self.denoise, self.roughen = Generator(settings.width), Generator(settings.width)
        self.is_clean, self.is_noisy = Discriminator(settings.width), Discriminator(settings.width)
        self.clean_pool, self.noisy_pool = ImagePool(settings.side), ImagePool(settings.side)
        for part in self.networks().values():
            part.to(device)
        self.generators = _adam([self.denoise, self.roughen], settings.learning_rate)
        self.discriminators = _adam([self.is_clean, self.is_noisy], settings.learning_rate)

    def networks(self) -> dict[str, nn.Module]:
        """What has weights or images, by name."""
        names = ("denoise", "roughen", "is_clean", "is_noisy", "clean_pool", "noisy_pool")
        return {name: getattr(self, name) for name in names}

    def step(self, noisy: Tensor, clean: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        """One update of the generators and one of the discriminators; the losses for the log."""
        noisy, clean = noisy.to(self.device), clean.to(self.device)
        with mixed_precision(self.device):
            denoised, roughened = self.denoise(noisy), self.roughen(clean)
            adversarial = _apart(self.is_clean(denoised), 1) + _apart(self.is_noisy(roughened), 1)
            cycle = _l1(self.roughen(denoised), noisy) + _l1(self.denoise(roughened), clean)
            identity = _l1(self.denoise(clean), clean) + _l1(self.roughen(noisy), noisy)
        _update(self.generators, adversarial + _CYCLE * cycle + _IDENTITY * identity)
        of_clean, of_noisy = self.clean_pool.swap(denoised, rng), self.noisy_pool.swap(roughened, rng)
        with mixed_precision(self.device):
            told_apart = (
                _apart(self.is_clean(clean), 1)
                + _apart(self.is_clean(of_clean), 0)
                + _apart(self.is_noisy(noisy), 1)
                + _apart(self.is_noisy(of_noisy), 0)
            ) / 2
        _update(self.discriminators, told_apart)
        losses = (adversarial, cycle, identity, told_apart)
        return dict(zip(_LOSSES, losses, strict=True))

    def samples(self, noisy: Tensor, clean: Tensor) -> list[Image]:
        """Columns of a sample picture, each [N, side, side] in HU."""
        noisy, clean = noisy.to(self.device), clean.to(self.device)
        with torch.inference_mode():
            denoised, roughened = self.denoise(noisy), self.roughen(clean)
            columns = [noisy, denoised, self.roughen(denoised), clean, roughened, self.denoise(roughened)]
        return [to_hu(column[:, 0].cpu().numpy()) for column in columns]


def train(slices: Sequence[Slice], settings: Settings, folder: Path, device: str = "cpu") -> Path:
    """Train on untouched slices, going on from the folder's checkpoint; the path of the denoiser's weights."""
    patches = LungPatches(slices, settings.side)
    gan = CycleGAN(settings, choose_device(device))
    optimizers = {"generators": gan.generators, "discriminators": gan.discriminators}
    settings = replace(settings, patients=patches.patients)
    run = TrainingRun(folder, FORGER, settings, _LOSSES, **gan.networks(), **optimizers)
    for step in run.steps():
        # Of the step alone, so that a resumed training draws what an unbroken one would.
        rng = np.random.default_rng([settings.seed, step])
        noisy, clean = _domains(patches, settings.batch, rng)
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = _learning_rate(step, settings)
        if run.done(step + 1, gan.step(noisy, clean, rng)):
            always_alike = np.random.default_rng(settings.seed)
            run.draw(step + 1, gan.samples(*_domains(patches, _SAMPLES, always_alike)))
    return run.finish(gan.denoise)


def _domains(patches: LungPatches, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Noisy and clean patches [N, 1, side, side], −1 … 1, of different places."""
    clean, other = (patches.draw(count, rng)[0] for _ in range(2))
    noisy = np.stack([add_noise(patch, rng) for patch in other])
    return torch.from_numpy(to_unit(noisy))[:, None], torch.from_numpy(to_unit(clean))[:, None]


def _learning_rate(step: int, settings: Settings) -> float:
    """Constant for half of the steps, then linearly to 0."""
    return settings.learning_rate * min(1.0, 2 * (1 - step / settings.steps))


def _adam(networks: Sequence[nn.Module], learning_rate: float) -> torch.optim.Adam:
    parameters = [p for network in networks for p in network.parameters()]
    return torch.optim.Adam(parameters, lr=learning_rate, betas=(0.5, 0.999))


def _apart(scores: Tensor, wanted: float) -> Tensor:
    """Least-squares adversarial loss."""
    return (scores.float() - wanted).square().mean()


def _l1(image: Tensor, wanted: Tensor) -> Tensor:
    return functional.l1_loss(image.float(), wanted)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments("Train the CycleGAN forger.", Settings()).parse_args(argv)
    torch.set_num_threads(args.threads)
    settings = Settings(
        width=args.width, steps=args.steps, batch=args.batch, learning_rate=args.learning_rate, seed=args.seed
    )
    print(train(untouched_slices(args.data, args.without), settings, args.out, args.device))


if __name__ == "__main__":
    run_command(main)
