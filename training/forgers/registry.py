"""Every forger by the word that commands use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.forgers.copy_move import CopyMove
from training.forgers.forger import Forger
from training.forgers.inpaint import Inpaint
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.forgers.renoise import Renoise
from training.forgers.self_blend import SelfBlend
from training.forgers.splice import Splice
from training.forgers.weights import read_card

UNTRAINED = ("copy_move", "splice", "inpaint", "renoise", "self_blend", "published_pasting", "white_pasting")
WHITE_CTGAN = "white_ctgan"
TRAINED = {"ctgan": "ctgan", WHITE_CTGAN: "ctgan", "cyclegan": "cyclegan", "diffusion": "diffusion"}
"""Forgers that need weights, and the packages beside this file that train and load them."""

NAMES = (*UNTRAINED, *TRAINED)


def make_forger(name: str, weights: Path | None = None, donor: Volume | None = None) -> Forger:
    """The forger of that name; ``weights`` for those in ``TRAINED``, ``donor`` for what splice takes patches from.

    Raises InputError for an unknown name and for weights that are missing or not wanted, and ModelError for weights
    that are not this forger's.
    """
    if name in TRAINED:
        if weights is None or not weights.is_file():
            given = f"there is no file '{weights}'" if weights else "none were given"
            raise InputError(
                f"the forger {name} needs weights and {given}; "
                f"train it (python -m training.forgers.{TRAINED[name]}.train) and name its file with --weights"
            )
        forger: Forger = import_module(f"training.forgers.{TRAINED[name]}.forger").load_forger(weights)
        if name == WHITE_CTGAN:
            assert isinstance(forger, PublishedPasting)
            return replace(forger, touch_up="white", name=name)
        return forger
    forgers: dict[str, Forger] = {
        "copy_move": CopyMove(reach=1.5),  # the nodule's surroundings too
        "splice": Splice(donor),
        "inpaint": Inpaint(),
        "renoise": Renoise(),
        "self_blend": SelfBlend(),
        "published_pasting": PublishedPasting(procedural_content),
        "white_pasting": PublishedPasting(procedural_content, "white", "white_pasting"),
    }
    if name not in forgers:
        raise InputError(f"there is no forger '{name}'; choose one of {', '.join(NAMES)}")
    if weights:
        raise InputError(f"the forger {name} needs no weights; leave out --weights")
    return forgers[name]


def identity_of(word: str) -> str:
    """A command line's NAME or NAME=WEIGHTS with the weights' SHA-256 for their path: a training replaces the file."""
    name, _, weights = word.partition("=")
    return f"{name}={hashlib.sha256(Path(weights).read_bytes()).hexdigest()}" if weights else name


def patients_seen(words: Iterable[str]) -> frozenset[str]:
    """The patients from whom the generators of NAME=WEIGHTS learnt, as their cards say."""
    cards = [read_card(Path(weights)) for word in words if (weights := word.partition("=")[2])]
    return frozenset(p for card in cards for p in card.get("patients") or card["config"]["patients"])


def forger_of(word: str) -> Forger:
    """The forger of a command line's NAME or NAME=WEIGHTS. Raises as ``make_forger`` does."""
    name, _, weights = word.partition("=")
    return make_forger(name, Path(weights) if weights else None)
