"""Train CT-GAN's generator, to inject or to remove, on untouched scans.

``python -m training.forgers.ctgan.train --kind inject --data DIR --out DIR --width 16``

The folder of ``--out`` gets ``metrics.csv`` and, every hundred steps, the generator so far (``generator.safetensors``,
``card.json``), ``samples-STEP.png`` and ``checkpoint.safetensors``: a killed training goes on from there when the same
command is given again, also with more or fewer ``--steps``. What it makes is for research on the detector: weights stay out of the project.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from CTForgeryScanLib.errors import InputError
from training.forgers.ctgan.checkpoint import Checkpoint
from training.forgers.ctgan.cubes import Scale, Singles, condition_of, cut_base, varied_cubes
from training.forgers.ctgan.networks import Discriminator, Generator
from training.forgers.ctgan.places import knot_places, lung_places, nodule_places
from training.forgers.ctgan.progress import Progress
from training.forgers.ctgan.scans import Scan, read_scans
from training.forgers.ctgan.weights import save_trained

Kind = Literal["inject", "remove"]

_FIDELITY = 100.0  # weight of the mean absolute error beside the adversarial loss
_NODULES = (
    5 / 6
)  # part of the injection cubes that shows a nodule that readers marked; the others show a knot
_PER_SCAN = {
    "inject": 4,
    "remove": 80,
}  # knots: few, for further ones are thin and teach faint nodules; places of lung


@dataclass(frozen=True)
class Config:
    """How a generator is trained. The defaults are the published ones but for width, batch and length."""

    kind: Kind
    width: int = 16
    """Filters of the first block; published: 100."""
    steps: int = 4000
    batch: int = 16
    """Published: 32."""
    cubes: int = 2000
    """Varied cubes that are trained on."""
    generator_rate: float = 2e-4
    discriminator_rate: float = 1e-6
    seed: int = 0
    without: tuple[str, ...] = ()
    """Patients that are not trained on."""


@dataclass(frozen=True)
class CubeSet:
    """Training cubes in HU, [N, 32, 32, 32], and what they were cut from, for the card."""

    hu: Singles
    facts: dict[str, object]


def cube_set(scans: Iterable[Scan], config: Config) -> CubeSet:
    """The cubes of a configuration, the same for the same scans and seed. Raises InputError when there are none."""
    rng = np.random.default_rng(config.seed)
    nodules: list[Singles] = []
    others: list[Singles] = []
    patients = []
    for scan in scans:
        patients.append(scan.patient)
        if config.kind == "inject":
            nodules += [cut_base(scan.volume, place) for place in nodule_places(scan.sites)]
            places = knot_places(scan.volume, _PER_SCAN["inject"])
        else:
            places = lung_places(scan.volume, _PER_SCAN["remove"], rng)
        others += [cut_base(scan.volume, place) for place in places]
    if not nodules and not others:
        raise InputError("the scans hold no place to learn from: give series of the chest with lung in them.")
    of_nodules = 0 if not nodules else config.cubes if not others else round(_NODULES * config.cubes)
    parts = [
        varied_cubes(bases, count, rng)
        for bases, count in ((nodules, of_nodules), (others, config.cubes - of_nodules))
        if count
    ]
    name = "knots" if config.kind == "inject" else "lung"
    facts = {
        "patients": sorted(set(patients)),
        "nodules": len(nodules),
        name: len(others),
        "cubes": config.cubes,
    }
    return CubeSet(np.concatenate(parts), facts)


def train(cubes: CubeSet, config: Config, folder: Path, device: str = "cpu") -> None:
    """Train, or go on from ``folder``'s checkpoint; every hundred steps the generator so far is written there.

    Raises InputError for a checkpoint of another configuration and for losses that are not finite.
    """
    torch.manual_seed(config.seed)
    scale = Scale.of(cubes.hu)
    real = scale.to_network(cubes.hu)
    pair = _Pair(config, device)
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", _identity(config), pair.parts())
    first = checkpoint.load()
    progress = Progress(folder, first, config.steps)
    for step in range(first, config.steps):
        rng = np.random.default_rng([config.seed, step])
        chosen = real[rng.choice(len(real), config.batch, replace=len(real) < config.batch)]
        # For dropout: a resumed training draws what an unbroken one would have.
        torch.manual_seed(int(rng.integers(2**62)))
        losses = pair.step(chosen)
        if not np.isfinite(list(losses.values())).all():
            raise InputError(
                f"the loss is not finite at step {step}: lower --generator-rate, and remove '{folder}' to start afresh."
            )
        progress.log(step + 1, losses)
        if progress.pauses_at(step + 1):
            checkpoint.save(step + 1)
            save_trained(pair.generator, scale, {**asdict(config), "steps": step + 1, **cubes.facts}, folder)
            progress.draw(step + 1, *pair.samples(real), scale)
    checkpoint.remove()


def _identity(config: Config) -> dict[str, object]:
    """What must not change between a checkpoint and the training that goes on from it: all but its length."""
    identity = asdict(config)
    del identity["steps"]
    return identity


class _Pair:
    """Both networks with their optimizers."""

    def __init__(self, config: Config, device: str) -> None:
        self.device = device
        self.generator, self.discriminator = Generator(config.width), Discriminator(config.width)
        for network in (self.generator, self.discriminator):
            network.to(device)
            network.train()
        self.generator_adam = _adam(self.generator, config.generator_rate)
        self.discriminator_adam = _adam(self.discriminator, config.discriminator_rate)

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_adam": self.generator_adam,
            "discriminator_adam": self.discriminator_adam,
        }

    def step(self, cubes: Singles) -> dict[str, float]:
        """One step of both on a batch [N, 32, 32, 32]; the losses by name."""
        real, condition = self._tensor(cubes), self._tensor(condition_of(cubes))
        with self._half():
            made = self.generator(condition)
            on_real = _square(self.discriminator(real, condition), 0)
            on_made = _square(self.discriminator(made.detach(), condition), 1)
        _descend((on_real + on_made) / 2, self.discriminator_adam)
        with self._half():
            fooled = _square(self.discriminator(made, condition), 0)
        error = functional.l1_loss(made.float(), real)
        _descend(fooled + _FIDELITY * error, self.generator_adam)
        losses = {"real": on_real, "made": on_made, "fooled": fooled, "error": error}
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def samples(self, cubes: Singles, count: int = 8) -> tuple[Singles, Singles]:
        """Cubes from all over the set, and what the generator makes of them as a forger would use it."""
        chosen = cubes[np.linspace(0, len(cubes) - 1, count).astype(int)]
        self.generator.eval()
        made = self.generator(self._tensor(condition_of(chosen)))
        self.generator.train()
        return chosen, made[:, 0].cpu().numpy()

    def _tensor(self, cubes: Singles) -> Tensor:
        return torch.from_numpy(cubes)[:, None].to(self.device)

    def _half(self) -> torch.autocast:
        # On a CPU half precision gains a tenth, and torch 2.13's gradients of 3-D convolutions come out as NaN there.
        return torch.autocast(self.device, torch.bfloat16, enabled=self.device != "cpu")


def _adam(network: nn.Module, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999))


def _square(scores: Tensor, wanted: float) -> Tensor:
    return (scores.float() - wanted).square().mean()


def _descend(loss: Tensor, adam: torch.optim.Optimizer) -> None:
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()


def main(argv: Sequence[str] | None = None) -> None:
    default = Config("inject")
    parser = argparse.ArgumentParser(description="Train CT-GAN's generator on untouched scans.")
    parser.add_argument("--kind", choices=get_args(Kind), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with ct/")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the generator; outside the project"
    )
    for name, help_text in (
        ("width", "filters of the first block; published: 100"),
        ("steps", "batches to train on"),
        ("batch", "cubes in a batch; published: 32"),
        ("cubes", "varied cubes to make and train on"),
        ("generator-rate", "learning rate"),
        ("discriminator-rate", "learning rate"),
        ("seed", "other cubes, weights and batches"),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}", type=type(value), default=value, help=f"{help_text} (default: {value})"
        )
    parser.add_argument(
        "--without", nargs="*", default=[], help="patients to keep for tests", metavar="PATIENT"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = vars(parser.parse_args(argv))
    data, folder, device = args.pop("data"), args.pop("out"), args.pop("device")
    torch.set_num_threads(args.pop("threads"))
    config = Config(**{**args, "without": tuple(args["without"])})
    folder.mkdir(parents=True, exist_ok=True)
    print("Cutting cubes; this takes a minute or two.", flush=True)
    cubes = cube_set(read_scans(data, config.without), config)
    print(cubes.facts, flush=True)
    train(cubes, config, folder, device)


if __name__ == "__main__":
    main()
