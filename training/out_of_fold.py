"""Out-of-fold heatmaps: every slice swept by the detector that never saw its patient."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Sweeper
from training.data import Slice

FOLDS = 5


def load_detector(path: Path) -> LocalDetector:
    """The detector that ``train_detector`` wrote; raises InputError when that fold is not trained yet."""
    if not path.exists():
        raise InputError(f"'{path}' is missing: train that fold first (python -m training.train_detector).")
    with safe_open(path, "pt") as file:
        detector = LocalDetector(**json.loads(file.metadata()["config"]))
    detector.load_state_dict(load_tensors(path))
    return detector.eval()


def out_of_fold_heatmaps(
    slices: Sequence[Slice], fold_of: dict[str, int], runs: Path
) -> dict[str, NDArray[np.float32]]:
    """Slice name → heatmap [r, c]; swept fold by fold and kept in ``runs``, so that a second call only reads.

    Patients that belong to no fold were never trained on: fold 0's detector sweeps them.
    """
    maps: dict[str, NDArray[np.float32]] = {}
    for fold in range(FOLDS):
        maps |= fold_heatmaps([s for s in slices if fold_of.get(s.patient, 0) == fold], runs / f"fold-{fold}")
    return {s.name: maps[s.name] for s in slices}


def fold_heatmaps(slices: Sequence[Slice], folder: Path) -> dict[str, NDArray[np.float32]]:
    """Slice name → heatmap [r, c] by the detector in ``folder``, where the heatmaps are kept."""
    kept = folder / "heatmaps.safetensors"
    if not kept.exists():
        sweeper = Sweeper(load_detector(folder / "detector.safetensors"), "cpu")
        print(f"{folder.name}: sweeping {len(slices)} slices", flush=True)
        save_file({s.name: next(sweeper.sweep(s.hu[None])) for s in slices}, kept)
    return load_file(kept)
