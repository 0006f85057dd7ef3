"""A trained generator on disk: ``generator.safetensors`` (weights and the scale's table) and ``card.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from CTForgeryScanLib.errors import ModelError
from training.forgers.ctgan.cubes import Scale
from training.forgers.ctgan.networks import Generator

MARK = "research forger, do not ship"
_WEIGHTS, _CARD = "generator.safetensors", "card.json"


@dataclass(frozen=True)
class Trained:
    """A generator in evaluation mode, the scale of its values, and its card."""

    generator: Generator
    scale: Scale
    card: dict[str, Any]


def save_trained(generator: Generator, scale: Scale, facts: dict[str, Any], folder: Path) -> None:
    """Write both files; ``facts``, with ``width`` among them, stand in the card beside the scale and the mark."""
    tensors = {f"network/{name}": values.contiguous() for name, values in generator.state_dict().items()}
    tensors |= {"scale/hu": torch.from_numpy(scale.hu), "scale/level": torch.from_numpy(scale.level)}
    save_file(tensors, folder / _WEIGHTS, {"mark": MARK})
    card = {
        "mark": MARK,
        **facts,
        "scale": {"mean": scale.mean, "low": scale.low, "high": scale.high},
        "sha256": hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest(),
    }
    (folder / _CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load_trained(folder: Path) -> Trained:
    """What ``save_trained`` wrote. Raises ModelError when a file is missing, damaged or not the card's."""
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        if hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest() != card["sha256"]:
            raise ModelError(
                f"'{folder / _WEIGHTS}' is not the file its card describes: train the generator again."
            )
        tensors = load_file(folder / _WEIGHTS)
        generator = Generator(card["width"])
        network = {k.removeprefix("network/"): v for k, v in tensors.items() if k.startswith("network/")}
        generator.load_state_dict(network)
        scale = Scale(tensors["scale/hu"].numpy(), tensors["scale/level"].numpy(), **card["scale"])
    except FileNotFoundError as error:
        raise ModelError(
            f"'{folder}' holds no trained generator ('{error.filename}' is missing): "
            "train one with python -m training.forgers.ctgan.train."
        ) from error
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"the generator in '{folder}' is damaged ({error}): train it again.") from error
    return Trained(generator.eval(), scale, card)
