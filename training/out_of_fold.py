"""Out-of-fold heatmaps: every slice swept by the detector that never saw its patient."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.models import DETECTOR
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import heatmap_ijk_to_ras
from training.config import Config, as_json, completed
from training.progress import progress
from training.slices import Slice
from training.tensor_file import read_arrays, read_header, read_tensors
from training.whole_file import whole

FOLDS_JSON = "folds.json"
"""By fold what ``fit_slice_classifier`` fitted: thresholds and region rule."""


def load_detector(path: Path, training: Config | None = None) -> LocalDetector:
    """The detector that ``train_detector`` wrote.

    Raises InputError when that fold is not trained yet, its file is damaged, or it was trained by another configuration
    or other folds than ``training`` (``Experiment.training``), where it is given.
    """
    if not path.exists():
        raise InputError(f"'{path}' is missing: train that fold first (python -m training.train_detector).")
    header = read_header(path)
    written = json.loads(header.get("training", "null"))
    if training is not None and (written is None or completed(written) != as_json(training)):
        raise InputError(
            f"'{path}' was trained by another configuration or other folds: give another --runs, or remove it."
        )
    if written is None:
        raise InputError(f"'{path}' is not of training.train_detector: give the --runs of such a training.")
    detector = LocalDetector(**json.loads(header["config"]))
    detector.load_state_dict(read_tensors(path))
    return detector.eval()


def detector_sha256(runs: Path, fold: int | str) -> str:
    """By what results remember the detector of a fold that they are of."""
    return hashlib.sha256((runs / f"fold-{fold}" / DETECTOR).read_bytes()).hexdigest()


def out_of_fold_heatmaps(
    slices: Sequence[Slice], fold_of: dict[str, int], runs: Path, training: Config | None = None
) -> dict[str, NDArray[np.float32]]:
    """Slice name → heatmap [r, c]; swept fold by fold and kept in ``runs``, so that a second call only reads.

    Raises InputError as ``load_detector``.
    """
    maps: dict[str, NDArray[np.float32]] = {}
    for fold in sorted({fold_of[s.patient] for s in slices}):
        detector = load_detector(runs / f"fold-{fold}" / DETECTOR, training)
        of_fold = [s for s in slices if fold_of[s.patient] == fold]
        maps |= _heatmaps(of_fold, detector, runs / f"fold-{fold}", detector_sha256(runs, fold))
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


def untouched_series(slices: Sequence[Slice]) -> Iterator[Series]:
    """The untouched series among ``slices``, by name; one at a time, for together they may not fit into memory."""
    members: dict[str, list[Slice]] = defaultdict(list)
    for s in slices:
        if s.between_mm and not s.forged:
            members[s.series].append(s)
    for name, of_series in sorted(members.items()):
        ordered = sorted(of_series, key=lambda s: s.k)
        matrix = np.diag([ordered[0].spacing_mm, ordered[0].spacing_mm, ordered[0].between_mm, 1.0])
        yield Series(tuple(ordered), Volume(np.stack([s.hu for s in ordered]), matrix, name))


def series_heatmaps(
    slices: Sequence[Slice], maps: Mapping[str, NDArray[np.float32]]
) -> Iterator[SeriesHeatmap]:
    """The untouched series among ``slices``, with the heatmaps [r, c] that ``maps`` holds by slice name."""
    for series in untouched_series(slices):
        p = np.stack([maps[s.name] for s in series.slices])
        heatmap = Heatmap(p, heatmap_ijk_to_ras(series.volume.ijk_to_ras))
        yield SeriesHeatmap(series.slices, series.volume, heatmap)


def _heatmaps(
    slices: Sequence[Slice], detector: LocalDetector, folder: Path, sha256: str
) -> dict[str, NDArray[np.float32]]:
    """Slice name → heatmap [r, c]; kept in the folder until detector or slices are others."""
    kept = folder / "heatmaps.safetensors"
    made_of = {"detector_sha256": sha256, "slices_sha256": _sha256(slices)}
    if not kept.exists() or read_header(kept) != made_of:
        sweeper = Sweeper(detector)
        print(f"{folder.name}: sweeping {len(slices)} slices", flush=True)
        with whole(kept) as part:
            maps = {s.name: next(sweeper.sweep(s.hu[None])) for s in progress(slices, folder.name)}
            save_file(maps, part, made_of)
    return read_arrays(kept)


def _sha256(slices: Sequence[Slice]) -> str:
    """Of their names and voxels."""
    digest = hashlib.sha256()
    for s in slices:
        digest.update(s.name.encode() + np.ascontiguousarray(s.hu).tobytes())
    return digest.hexdigest()
