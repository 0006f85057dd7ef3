"""Models: ``detector.safetensors``, ``classifier.safetensors`` and their card ``model.json`` in one folder.

Model files are data, never code. The card names the SHA-256 of both files; what does not match is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import ModelError
from CTForgeryScanLib.regions import RegionRule
from CTForgeryScanLib.slice_classifier import SliceClassifier

DEFAULT_MODEL = "ctgan-v1"
CARD = "model.json"
DETECTOR = "detector.safetensors"
CLASSIFIER = "classifier.safetensors"


@dataclass(frozen=True)
class Model:
    """A detector, the slice classifier fitted to its heatmaps, and the card that says what both are good for."""

    name: str
    detector: LocalDetector
    classifier: SliceClassifier
    slice_threshold: float
    """Calibrated p(slice forged) from which a slice is flagged."""
    rule: RegionRule
    card: dict[str, Any]


def models_folder() -> Path:
    """Where the shipped models lie: beside the library in a checkout and in Slicer, inside it when pip installed it."""
    library = Path(__file__).resolve().parent
    candidates = [library.parent / "Resources" / "Models", library / "Resources" / "Models"]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def list_models() -> list[dict[str, Any]]:
    """The cards of the shipped models, by name."""
    return [_read_card(card.parent) for card in sorted(models_folder().glob(f"*/{CARD}"))]


def load_model(name: str | Path = DEFAULT_MODEL) -> Model:
    """Load a shipped model by name, or any model by its folder.

    Raises ModelError when it is missing, damaged, or its files are not those that the card describes.
    """
    folder = Path(name) if Path(name).is_dir() else models_folder() / name
    if not (folder / CARD).is_file():
        known = ", ".join(card["name"] for card in list_models()) or "none"
        raise ModelError(
            f"There is no model '{name}': give one of the shipped ones ({known}) or a model's folder."
        )
    card = _read_card(folder)
    try:
        detector = LocalDetector(**card["architecture"])
        detector.load_state_dict(load_tensors(_checked(folder, DETECTOR, card)))
        classifier = SliceClassifier.from_arrays(load_arrays(_checked(folder, CLASSIFIER, card)))
        rule = RegionRule(**card["region_rule"])
        threshold = float(card["slice_threshold"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"The model in '{folder}' is not one that this version reads ({type(error).__name__}): install it again."
        ) from error
    return Model(card["name"], detector.eval(), classifier, threshold, rule, card)


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        card["name"], card["sha256"], card["validated"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The model card '{folder / CARD}' is damaged: install the model again.") from error
    return dict(card)


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
