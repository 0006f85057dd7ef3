"""Out-of-fold heatmaps: every slice swept by the detector that never saw its patient."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import heatmap_ijk_to_ras
from training.slices import Slice


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
    """Slice name → heatmap [r, c]; swept fold by fold and kept in ``runs``, so that a second call only reads."""
    maps: dict[str, NDArray[np.float32]] = {}
    for fold in sorted({fold_of[s.patient] for s in slices}):
        maps |= fold_heatmaps([s for s in slices if fold_of[s.patient] == fold], runs / f"fold-{fold}")
    return {s.name: maps[s.name] for s in slices}


@dataclass(frozen=True)
class Series:
    """An untouched series: its slices in order of position and the volume that they make."""

    slices: tuple[Slice, ...]
    volume: Volume


@dataclass(frozen=True)
class SeriesHeatmap(Series):
    """An untouched series as it would be scanned."""

    heatmap: Heatmap


def untouched_series(slices: Sequence[Slice]) -> list[Series]:
    """The untouched series among ``slices``, by name."""
    members: dict[str, list[Slice]] = defaultdict(list)
    for s in slices:
        if s.between_mm and not s.forged:
            members[s.series].append(s)
    found = []
    for name, of_series in sorted(members.items()):
        ordered = sorted(of_series, key=lambda s: s.k)
        matrix = np.diag([ordered[0].spacing_mm, ordered[0].spacing_mm, ordered[0].between_mm, 1.0])
        found.append(Series(tuple(ordered), Volume(np.stack([s.hu for s in ordered]), matrix, name)))
    return found


def series_heatmaps(slices: Sequence[Slice], maps: Mapping[str, NDArray[np.float32]]) -> list[SeriesHeatmap]:
    """The untouched series among ``slices``, with the heatmaps [r, c] that ``maps`` holds by slice name."""
    found = []
    for series in untouched_series(slices):
        p = np.stack([maps[s.name] for s in series.slices])
        heatmap = Heatmap(p, heatmap_ijk_to_ras(series.volume.ijk_to_ras))
        found.append(SeriesHeatmap(series.slices, series.volume, heatmap))
    return found


def fold_heatmaps(slices: Sequence[Slice], folder: Path) -> dict[str, NDArray[np.float32]]:
    """Slice name → heatmap [r, c] by the detector in ``folder``, where they are kept until it is another one."""
    path, kept = folder / "detector.safetensors", folder / "heatmaps.safetensors"
    detector = load_detector(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if not kept.exists() or _made_by(kept) != sha256:
        sweeper = Sweeper(detector)
        print(f"{folder.name}: sweeping {len(slices)} slices", flush=True)
        save_file(
            {s.name: next(sweeper.sweep(s.hu[None])) for s in slices}, kept, {"detector_sha256": sha256}
        )
    return load_file(kept)


def _made_by(heatmaps: Path) -> str | None:
    """SHA-256 of the detector that made the kept heatmaps."""
    with safe_open(heatmaps, "np") as file:
        return (file.metadata() or {}).get("detector_sha256")
