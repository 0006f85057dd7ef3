"""Model cards: which models there are and what ``model.json`` says of each. Nothing here imports torch."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CTForgeryScanLib.errors import ModelError

DEFAULT_MODEL = "ctgan-v2"
CARD = "model.json"


@dataclass(frozen=True)
class OperatingPoint:
    """How sensitive a scan is, in words and in thresholds."""

    text: str
    """What it costs, for example "about 1 false alarm in 100 scans"."""
    slice_threshold: float
    """Calibrated p(slice forged) from which a slice is flagged."""
    region_score: float
    """Score from which a place is a tampered region (``regions.Region.score``)."""


def models_folder() -> Path:
    """Where the shipped models lie: beside the library in a checkout and in Slicer, inside it when pip installed it."""
    library = Path(__file__).resolve().parent
    candidates = [library.parent / "Resources" / "Models", library / "Resources" / "Models"]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def model_folders() -> list[Path]:
    """The folders of the shipped models, by name."""
    return [card.parent for card in sorted(models_folder().glob(f"*/{CARD}"))]


def list_models() -> list[dict[str, Any]]:
    """The cards of the shipped models, by name, but for those that cannot be read: one spoils none of the others."""
    cards = []
    for folder in model_folders():
        with suppress(ModelError):
            cards.append(read_card(folder))
    return cards


def find_model(name: str | Path) -> Path:
    """The folder of a shipped model by name, or of any model by its folder; ModelError when there is none.

    A bare name means the shipped model, whatever lies in the working folder; ``./name`` is a folder.
    """
    folder = Path(name)
    if isinstance(name, str) and name == folder.name and (models_folder() / name / CARD).is_file():
        folder = models_folder() / name
    if not (folder / CARD).is_file():
        known = ", ".join(card["name"] for card in list_models()) or "none"
        raise ModelError(
            f"There is no model '{name}': give one of the shipped ones ({known}) or a model's folder."
        )
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """The card of the model in ``folder``; ModelError when it is missing or damaged."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        card["name"], card["sha256"], card["validated"], card["description"], choose_operating_point(card)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The model card '{folder / CARD}' is damaged or not complete: install the model again, or complete it "
            "with training.evaluate."
        ) from error
    return dict(card)


def choose_operating_point(card: dict[str, Any], name: str | None = None) -> OperatingPoint:
    """One of the card's operating points, the default one if none is named; ModelError for an unknown name."""
    points = card["operating_points"]
    chosen = card["default_operating_point"] if name is None else name
    if chosen not in points:
        raise ModelError(
            f"The model '{card['name']}' has no operating point '{chosen}': give one of {', '.join(points)}."
        )
    return OperatingPoint(**points[chosen])
