"""A model small enough to make on the spot: random detector, slice classifier that asks for any hot window."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from CTForgeryScanLib.cards import CARD
from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.models import CLASSIFIER, DETECTOR
from CTForgeryScanLib.slice_classifier import FEATURES, SliceClassifier


def bright_detector() -> LocalDetector:
    """A detector that answers to bright windows: p(forged) is high where something denser than about 500 HU lies."""
    torch.manual_seed(0)
    detector = LocalDetector(4).eval()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.abs_()
        final = detector.head[2]
        assert isinstance(final, torch.nn.Conv2d) and final.bias is not None
        dark, bright = (float(detector(torch.full((1, 1, 32, 32), hu)).squeeze()) for hu in (0.0, 1000.0))
        final.weight.mul_(20 / (bright - dark))
        dark = float(detector(torch.zeros(1, 1, 32, 32)).squeeze())
        final.bias.sub_(dark + 8)
    return detector


def write_model(folder: Path) -> Path:
    """Write a whole, valid model folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(bright_detector().state_dict(), folder / DETECTOR)
    # Any pair of windows that reaches the highest level flags the slice.
    one = np.ones(1, np.float32)
    hottest = np.zeros((1, FEATURES), np.float32)
    hottest[0, -1] = 1
    classifier = SliceClassifier(
        mean=np.zeros(FEATURES, np.float32),
        components=hottest,
        weights=4 * one,
        intercept=-1 * one,
        platt=np.array([2, 0], np.float32),
    )
    save_file(classifier.arrays(), folder / CLASSIFIER)
    card = {
        "name": "small",
        "description": "made by a test",
        "summary": [],
        "architecture": {"width": 4},
        "sha256": {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in (DETECTOR, CLASSIFIER)},
        "operating_points": {
            "standard": {"text": "made by a test", "slice_threshold": 0.5},
            "sensitive": {"text": "made by a test", "slice_threshold": 0.1},
        },
        "default_operating_point": "standard",
        "region_rule": {"window_threshold": 0.5},
        "validated": {"spacing_mm": [0.5, 1.0]},
    }
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    return folder
