"""A trained generator on disk: its weights, the table of its scale, and the card, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from CTForgeryScanLib.errors import ModelError
from training.forgers.ctgan.cubes import Scale
from training.forgers.ctgan.networks import Generator
from training.forgers.weights import load_weights, save_weights

FORGER = "ctgan"
WEIGHTS = "generator.safetensors"
_NETWORK = "network/"


@dataclass(frozen=True)
class Trained:
    """A generator in evaluation mode, the scale of its values, and its card."""

    generator: Generator
    scale: Scale
    card: dict[str, Any]


def save_trained(generator: Generator, scale: Scale, facts: dict[str, Any], folder: Path) -> None:
    """Write ``folder/generator.safetensors``; ``facts``, with ``width`` among them, stand in the card."""
    tensors = {f"{_NETWORK}{name}": values for name, values in generator.state_dict().items()}
    tensors |= {"scale/hu": torch.from_numpy(scale.hu), "scale/level": torch.from_numpy(scale.level)}
    ends = {"mean": scale.mean, "low": scale.low, "high": scale.high}
    save_weights(folder / WEIGHTS, tensors, {"forger": FORGER, **facts, "scale": ends})


def load_trained(path: Path) -> Trained:
    """What ``save_trained`` wrote. Raises ModelError for a file that is missing, damaged or another forger's."""
    tensors, card = load_weights(path, FORGER)
    try:
        generator = Generator(card["width"])
        network = {k.removeprefix(_NETWORK): v for k, v in tensors.items() if k.startswith(_NETWORK)}
        generator.load_state_dict(network)
        scale = Scale(tensors["scale/hu"].numpy(), tensors["scale/level"].numpy(), **card["scale"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"'{path}' is no generator of this program ({error}): train it again.") from error
    return Trained(generator.eval(), scale, card)
