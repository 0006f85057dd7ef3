"""Weights of a trained forger: one safetensors file whose header carries a JSON card. Data, never code.

The card says that this is a research forger, what it is, how it was trained and on whom, so that the file cannot be
parted from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from CTForgeryScanLib.errors import ModelError
from training.whole_file import whole

MARK = "research forger: made to train and to test a detector of forged CT, and for nothing else"


def save_weights(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write tensors with their card, of which ``card["forger"]`` is the forger's name; whole or not at all."""
    contiguous = {name: values.detach().contiguous() for name, values in tensors.items()}
    with whole(path) as part:
        save_file(contiguous, part, {"card": json.dumps({"mark": MARK, **card}, sort_keys=True)})


def load_weights(path: Path, forger: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the card of a file of that forger. Raises ModelError for a missing, damaged or other file."""
    card = read_card(path)
    if card.get("forger") != forger:
        raise ModelError(
            f"'{path}' holds weights of the forger {card.get('forger')!r}: give weights that the training of "
            f"{forger} wrote."
        )
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118  # no mapping


def read_card(path: Path) -> dict[str, Any]:
    """The card of a forger's weights. Raises ModelError where there is none."""
    try:
        with safe_open(path, "pt") as file:
            card: dict[str, Any] = json.loads((file.metadata() or {})["card"])
    except FileNotFoundError as error:
        raise ModelError(f"There are no weights '{path}': train the forger, or correct the path.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"'{path}' is damaged or no forger's weights: give the file that the training wrote."
        ) from error
    return card
