"""Models: ``detector.safetensors``, ``classifier.safetensors`` and their card ``model.json`` in one folder.

Model files are data, never code. The card names the SHA-256 of both files; what does not match is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors

from CTForgeryScanLib.cards import DEFAULT_MODEL, find_model, read_card
from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import ModelError
from CTForgeryScanLib.regions import RegionRule
from CTForgeryScanLib.slice_classifier import SliceClassifier

DETECTOR = "detector.safetensors"
CLASSIFIER = "classifier.safetensors"


@dataclass(frozen=True)
class Model:
    """A detector, the slice classifier fitted to its heatmaps, and the card that says what both are good for."""

    name: str
    detector: LocalDetector
    classifier: SliceClassifier
    rule: RegionRule
    card: dict[str, Any]


def load_model(name: str | Path = DEFAULT_MODEL) -> Model:
    """Load a shipped model by name, or any model by its folder.

    Raises ModelError when it is missing, damaged, or its files are not those that the card describes.
    """
    folder = find_model(name)
    card = read_card(folder)
    try:
        detector = LocalDetector(**card["architecture"])
        detector.load_state_dict(load_tensors(_checked(folder, DETECTOR, card)))
        classifier = SliceClassifier.from_arrays(load_arrays(_checked(folder, CLASSIFIER, card)))
        rule = RegionRule(**card["region_rule"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"The model in '{folder}' is not one that this version reads ({type(error).__name__}): install it again."
        ) from error
    return Model(card["name"], detector.eval(), classifier, rule, card)


def _checked(folder: Path, file: str, card: dict[str, Any]) -> bytes:
    """The file's bytes, if they are those the card was written for."""
    try:
        content = (folder / file).read_bytes()
    except OSError as error:
        raise ModelError(
            f"The model file '{folder / file}' cannot be read: install the model again."
        ) from error
    if hashlib.sha256(content).hexdigest() != card["sha256"].get(file):
        raise ModelError(
            f"The model file '{folder / file}' is damaged or of another model (its SHA-256 is not the card's): "
            "install the model again."
        )
    return content
