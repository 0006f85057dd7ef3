"""The pictures of the results. Those that show the CT itself stay with the runs: the data are not the project's."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.cards import DEFAULT_MODEL
from CTForgeryScanLib.windows import grid_shape
from training.evaluation.froc import froc, sensitivity_interval
from training.evaluation.plots import ShownSlice, plot_froc, plot_heatmaps, plot_roc, plot_training
from training.evaluation.slices import UNTOUCHED, auc_interval
from training.tables.cells import kept_heatmaps, slices_of
from training.tables.sets import ALL_KINDS, SPLITS, Split
from training.tables.study import Cell, Study

_SHOWN = 4


def write_pictures(study: Study, folder: Path) -> list[str]:
    """Draw what there is to draw, and the lines of Markdown that show it; none where nothing was run."""
    lines = [line for split in SPLITS for line in _roc(study, split, folder)]
    scans = [scan.places for _, scan in study.scans() if scan is not None]
    if any(scan.sites for scan in scans):
        path = folder / f"froc-{study.scale.name}.png"
        plot_froc({DEFAULT_MODEL: froc(scans)}, path, {DEFAULT_MODEL: sensitivity_interval(scans)})
        lines += [_shown("FROC of the scans of table 4", path), ""]
    curves = _training_curves(study)
    if curves:
        path = folder / f"training-{study.scale.name}.png"
        plot_training(curves, path, "step", "accuracy on the validation windows or slices")
        lines += [_shown("Validation accuracy while training, as the paper's Fig. 7", path), ""]
    if _heatmaps(study):
        lines += [
            "Heatmaps beside slices, as the paper's Fig. 8, show the data themselves and are therefore not here: the "
            f"command writes them to `RUNS/tables/{study.scale.name}/heatmaps.png`.",
            "",
        ]
    return ["## Pictures", "", *lines] if lines else []


def _shown(words: str, path: Path) -> str:
    return f"![{words}]({path.parent.name}/{path.name})"


def _roc(study: Study, split: Split, folder: Path) -> list[str]:
    curves, intervals = {}, []
    for cell in (c for c in study.cells if c.split == split and c.set == ALL_KINDS):
        if judged := slices_of(study.done(cell)):
            forged, scores = [s.kind != UNTOUCHED for s in judged], [s.score for s in judged]
            curves[cell.method.name] = (forged, scores)
            low, high = auc_interval(forged, scores, [s.patient for s in judged])
            intervals.append(f"- {cell.method.name}: AUC {low:.3f}–{high:.3f} (95 %, by patient).")
    if not curves:
        return []
    path = folder / f"roc-{study.scale.name}-{split}.png"
    plot_roc(curves, path)
    return [_shown(f"ROC, split: {split}", path), "", f"Split: {split}.", "", *intervals, ""]


def _training_curves(study: Study) -> dict[str, tuple[list[float], list[float]]]:
    """Validation accuracy of the first fold's networks, by method and split."""
    curves = {}
    for cell in (c for c in study.cells if c.set == ALL_KINDS and c.method.detector == c.method.name):
        log = _detector(study, cell) / "metrics.csv"
        if log.exists():
            with log.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if rows:
                steps, accuracy = ([float(row[name]) for row in rows] for name in ("step", "accuracy"))
                curves[f"{cell.method.name}, {cell.split}"] = (steps, accuracy)
    return curves


def _heatmaps(study: Study) -> bool:
    """Draw the first fold's forged test slices under the heatmaps of every method that has them; whether any does."""
    maps: dict[str, dict[str, NDArray[np.float32]]] = {}
    for cell in (c for c in study.cells if c.set == ALL_KINDS and c.split == "patient"):
        kept, done = kept_heatmaps(_detector(study, cell) / "heatmaps"), study.done(cell)
        if kept and done:
            maps[cell.method.detector] = {s.name: kept[s.name] for s in done[0].slices if s.name in kept}
    if not maps:
        return False
    slices = [s for s in study.slices if s.forged and all(s.name in of_method for of_method in maps.values())]
    shown = [
        ShownSlice(
            f"{s.name} ({s.kind})",
            s.hu,
            {name: _on_grid(kept[s.name], s.hu, study.scale.every) for name, kept in maps.items()},
            [(s.forged[0].x, s.forged[0].y)],
        )
        for s in slices[:: max(1, len(slices) // _SHOWN)][:_SHOWN]
    ]
    plot_heatmaps(shown, study.folder / "heatmaps.png")
    return True


def _on_grid(heatmap: NDArray[np.float32], hu: NDArray[np.int16], every: int) -> NDArray[np.float32]:
    """A heatmap of every ``every``-th window on the grid of all, linearly between them."""
    at = np.indices(grid_shape(*hu.shape)) / every
    return ndimage.map_coordinates(heatmap, at, order=1, mode="nearest")


def _detector(study: Study, cell: Cell) -> Path:
    return study.fold_folder(cell, 0) / "detectors" / cell.method.detector
