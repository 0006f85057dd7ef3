"""Train CT-GAN's generator, to inject or to remove, on untouched scans.

``python -m training.forgers.ctgan.train --kind inject --source data DIR --out DIR --width 16``

The folder of ``--out`` gets the losses (``metrics.csv``, TensorBoard, ``curves.png``) and, every hundred steps, the
generator so far (``generator.safetensors``), ``samples-STEP.png`` and ``checkpoint.safetensors``: a killed training
goes on from there when the same command is given again, also with more or fewer ``--steps``. The cubes are cut once
(``cubes.safetensors``). What it makes is for research on the detector: weights stay out of the project.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.checkpoint import Checkpoint
from training.command import run_command
from training.forgers.ctgan.cubes import Scale, Singles, condition_of, cut_base, varied_cubes
from training.forgers.ctgan.moved_nodules import moved_nodules
from training.forgers.ctgan.networks import Discriminator, Generator
from training.forgers.ctgan.places import knot_places, lung_places, nodule_places
from training.forgers.ctgan.samples import draw_samples
from training.forgers.ctgan.weights import save_trained
from training.metrics_log import MetricsLog
from training.sources.catalogue import SOURCE_HELP, read_untouched
from training.sources.scan import Scan
from training.tensor_file import read_arrays, read_header
from training.whole_file import whole

Kind = Literal["inject", "remove"]

_THICKEST_MM = 2.5  # LUNA16's own limit between slices
_FIDELITY = 100.0  # weight of the mean absolute error beside the adversarial loss
_NODULES = (
    5 / 6
)  # part of the injection cubes that shows a nodule that readers marked; the others show a knot
_KNOTS = 4  # a scan: further ones are thin, and teach faint nodules
_LUNG_PLACES = 80  # a scan
LOSSES = ("real", "made", "fooled", "error")
"""What a step is judged by: the discriminator on real and made cubes, the generator before it, and its mean error."""


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
    every: int = 100
    """Steps between two checkpoints, pictures and rows of the log."""
    seed: int = 0
    moved: float = 0.0
    """Part of the nodules' cubes in which a nodule is set into other lung (``moved_nodules``); for few nodules."""
    without: tuple[str, ...] = ()
    """Patients that are not trained on."""


@dataclass(frozen=True)
class CubeSet:
    """Training cubes in HU, [N, 32, 32, 32], and what they were cut from, for the card."""

    hu: Singles
    facts: dict[str, object]


@dataclass(frozen=True)
class _Bases:
    """What the training cubes are varied from, 40³ mm: nodules, what stands beside them, lung to set them in."""

    nodules: list[Singles] = field(default_factory=list)
    others: list[Singles] = field(default_factory=list)
    lung: list[Singles] = field(default_factory=list)


def cube_set(scans: Sequence[Scan], config: Config) -> CubeSet:
    """The cubes of a configuration, the same for the same scans and seed. Raises InputError when there are none."""
    if not 0 <= config.moved <= 1:
        raise InputError(f"--moved is {config.moved:g}: give a part between 0 and 1.")
    if unknown := set(config.without) - {scan.patient for scan in scans}:
        raise InputError(f"The scans have no patient {', '.join(sorted(unknown))}: correct --without.")
    rng = np.random.default_rng(config.seed)
    bases = _Bases()
    patients = []
    started = time.monotonic()
    enough = math.ceil(config.cubes / len(scans)) if scans else 0  # places of a scan; all bases lie in memory
    for number, scan in enumerate(scans, start=1):
        if scan.patient in config.without:
            continue
        try:
            volume = scan.load()
        except InputError as error:
            print(f"Left out: {scan.name}: {error}", file=sys.stderr, flush=True)
            continue
        if volume.spacing_mm[2] > _THICKEST_MM:
            continue
        patients.append(scan.patient)
        left = (time.monotonic() - started) / number * (len(scans) - number)
        print(
            f"Cutting cubes: scan {number} of {len(scans)}, {scan.name}, about {left / 60:.0f} min left",
            flush=True,
        )
        _cut_bases(bases, scan, volume, config, enough, rng)
    if not bases.nodules and not bases.others:
        raise InputError("the scans hold no place to learn from: give series of the chest with lung in them.")
    cubes, moved = _varied(bases, config, rng)
    facts = {
        "patients": sorted(set(patients)),
        "nodules": len(bases.nodules),
        "knots" if config.kind == "inject" else "lung": len(bases.others),
        "moved": moved,
        "cubes": config.cubes,
    }
    return CubeSet(cubes, facts)


def kept_cubes(scans: Sequence[Scan], config: Config, folder: Path) -> CubeSet:
    """``cube_set``, kept in ``folder``: of hundreds of scans it takes hours, and a training is resumed.

    Raises InputError as ``cube_set``, and for cubes of another configuration or other scans.
    """
    path = folder / "cubes.safetensors"
    of = {**asdict(replace(config, steps=0)), "scans": [scan.name for scan in scans]}
    made_of = json.dumps(of, sort_keys=True)
    if not path.exists():
        cubes = cube_set(scans, config)
        with whole(path) as part:
            save_file({"hu": cubes.hu}, part, {"of": made_of, "facts": json.dumps(cubes.facts)})
    header = read_header(path)
    if header.get("of") != made_of:
        raise InputError(
            f"'{path}' is of another configuration or other scans: give another --out, or remove it."
        )
    return CubeSet(read_arrays(path)["hu"], json.loads(header["facts"]))


def _cut_bases(
    bases: _Bases, scan: Scan, volume: Volume, config: Config, enough: int, rng: np.random.Generator
) -> None:
    if config.kind == "inject":
        bases.nodules.extend(cut_base(volume, place) for place in nodule_places(scan.sites))
        bases.others.extend(cut_base(volume, place) for place in knot_places(volume, min(_KNOTS, enough)))
    if config.kind == "remove" or config.moved:
        lung = bases.others if config.kind == "remove" else bases.lung
        lung.extend(cut_base(volume, place) for place in lung_places(volume, min(_LUNG_PLACES, enough), rng))


def _varied(bases: _Bases, config: Config, rng: np.random.Generator) -> tuple[Singles, int]:
    """All training cubes, and how many of them show a nodule that was moved."""
    nodules, others = bases.nodules, bases.others
    of_nodules = 0 if not nodules else config.cubes if not others else round(_NODULES * config.cubes)
    moved = round(config.moved * of_nodules)
    parts = []
    if own := of_nodules - moved:
        parts.append(varied_cubes(nodules, own, rng))
    if moved:
        # Nothing around them tells a shift, and the least mean error of shifted nodules is to paint none.
        parts.append(varied_cubes(moved_nodules(nodules, bases.lung, moved, rng), moved, rng, shifted=0))
    if rest := config.cubes - of_nodules:
        parts.append(varied_cubes(others, rest, rng))
    return np.concatenate(parts), moved


def train(cubes: CubeSet, config: Config, folder: Path, device: str = "cpu") -> None:
    """Train, or go on from ``folder``'s checkpoint; every so many steps the generator so far is written there.

    Raises InputError for a checkpoint of another configuration and for losses that are not finite.
    """
    torch.manual_seed(config.seed)
    scale = Scale.of(cubes.hu)
    real = scale.to_network(cubes.hu)
    pair = _Pair(config, device)
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", _Identity.of(config, cubes), **pair.parts())
    first = checkpoint.load().step
    log = MetricsLog(folder, {"losses": LOSSES}, first=first, last=config.steps)
    since_log: list[dict[str, float]] = []
    for step in range(first, config.steps):
        rng = np.random.default_rng([config.seed, step])
        chosen = real[rng.choice(len(real), config.batch, replace=len(real) < config.batch)]
        # For dropout: a resumed training draws what an unbroken one would have.
        torch.manual_seed(int(rng.integers(2**62)))
        since_log.append(pair.step(chosen))
        if not np.isfinite(list(since_log[-1].values())).all():
            raise InputError(
                f"the loss is not finite at step {step}: lower --generator-rate, and remove '{folder}' to start afresh."
            )
        done = step + 1
        if done % config.every == 0 or done == config.steps:
            log.write(done, {name: float(np.mean([of[name] for of in since_log])) for name in LOSSES})
            since_log = []
            checkpoint.save(done)
            save_trained(pair.generator, scale, {**asdict(config), "steps": done, **cubes.facts}, folder)
            draw_samples(folder / f"samples-{done:06d}.png", *pair.samples(real), scale)
    log.close()


@dataclass(frozen=True)
class _Identity:
    """What a checkpoint is of. Its length is left out: a training may go on for longer than it was meant to."""

    config: Config
    cubes: dict[str, object]

    @classmethod
    def of(cls, config: Config, cubes: CubeSet) -> _Identity:
        return cls(replace(config, steps=0), cubes.facts)


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
        losses = (on_real, on_made, fooled, error)
        return {name: loss.item() for name, loss in zip(LOSSES, losses, strict=True)}

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
    parser.add_argument("--source", nargs=2, required=True, metavar=("NAME", "WHERE"), help=SOURCE_HELP)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the generator; outside the project"
    )
    for name, help_text in (
        ("width", "filters of the first block; published: 100"),
        ("steps", "batches to train on"),
        ("batch", "cubes in a batch; published: 32"),
        ("cubes", "varied cubes to make and train on"),
        ("moved", "part of the nodules' cubes that shows one set into other lung, for few nodules"),
        ("generator-rate", "learning rate"),
        ("discriminator-rate", "learning rate"),
        ("every", "steps between two checkpoints"),
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
    source, folder, device = args.pop("source"), args.pop("out"), args.pop("device")
    torch.set_num_threads(args.pop("threads"))
    config = Config(**{**args, "without": tuple(args["without"])})
    folder.mkdir(parents=True, exist_ok=True)
    cubes = kept_cubes(read_untouched(*source), config, folder)
    print(cubes.facts, flush=True)
    train(cubes, config, folder, device)


if __name__ == "__main__":
    run_command(main)
