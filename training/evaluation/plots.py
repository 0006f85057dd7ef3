"""The pictures of an evaluation, as PNG: ROC, FROC, reliability, training curves, heatmaps beside slices (Fig. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_curve

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.picture import overlay
from training.evaluation.calibration import ReliabilityBin
from training.evaluation.counts import finite, labels_and_scores
from training.evaluation.froc import RATES, Froc
from training.evaluation.slices import auc

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_MARK_PX = 24
_DPI = 110


@dataclass(frozen=True)
class ShownSlice:
    """One row of Fig. 8: a slice ``hu`` [j, i], its heatmaps [r, c] by detector, its forged sites (x, y) in pixels."""

    title: str
    hu: NDArray[np.int16]
    heatmaps: Mapping[str, NDArray[np.float32]]
    sites: Sequence[tuple[float, float]] = ()


def plot_roc(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], path: Path) -> None:
    """ROC of each named (forged, scores), with its AUC; false alarms on a scale that shows 1 %."""
    figure, axes = _one(curves)
    for n, (name, (forged, scores)) in enumerate(curves.items()):
        truth, values = labels_and_scores(forged, scores)
        false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
        axes.step(
            false_rate, true_rate, where="post", label=f"{name} (AUC {auc(truth, values):.3f})", **_style(n)
        )
    # Linear up to 1 %, so that zero false alarms have a place; a detector is used left of 10 %.
    axes.set_xscale("symlog", linthresh=0.01, linscale=0.6)
    axes.set_xticks([0, 0.01, 0.1, 1], ["0", "1 %", "10 %", "100 %"])
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="untouched examples flagged", ylabel="forged examples flagged"
    )
    _save(figure, axes, path)


def plot_froc(
    curves: Mapping[str, Froc], path: Path, intervals: Mapping[str, NDArray[np.float64]] | None = None
) -> None:
    """FROC of each name between ⅛ and 8 false positives a scan, with bars for ``intervals`` [2, 7] at those rates."""
    figure, axes = _one(curves)
    for n, (name, curve) in enumerate(curves.items()):
        rates = np.geomspace(RATES[0], RATES[-1], 200)
        axes.plot(rates, curve.at(list(rates)), label=name, **_style(n))
        if intervals and name in intervals:
            axes.vlines(np.array(RATES) * 1.02**n, *intervals[name], color=_style(n)["color"], alpha=0.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, ["⅛", "¼", "½", "1", "2", "4", "8"])
    axes.set(ylim=(0, 1.02), xlabel="places wrongly proposed, a scan", ylabel="forged sites found")
    _save(figure, axes, path)


def plot_reliability(tables: Mapping[str, Sequence[ReliabilityBin]], path: Path) -> None:
    """Share forged against mean p(forged), bin by bin, with the number of examples beside each point."""
    figure, axes = _one(tables)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    for n, (name, table) in enumerate(tables.items()):
        predicted, share = [b.predicted for b in table], [b.forged for b in table]
        axes.plot(predicted, share, marker="o", label=name, **_style(n))
        for b in table:
            axes.annotate(
                str(b.examples), (b.predicted, b.forged), (5, -10), textcoords="offset points", fontsize=7
            )
    axes.set(xlim=(0, 1), ylim=(-0.06, 1.02), xlabel="p(forged)", ylabel="share that is forged")
    _save(figure, axes, path)


def plot_training(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], path: Path, x: str, y: str) -> None:
    """Named curves (steps or epochs, values), as the paper's Fig. 7; ``x`` and ``y`` label the axes."""
    figure, axes = _one(curves)
    for n, (name, (steps, values)) in enumerate(curves.items()):
        axes.plot(finite(steps), finite(values), label=name, **_style(n))
    axes.set(xlabel=x, ylabel=y)
    _save(figure, axes, path)


def plot_heatmaps(rows: Sequence[ShownSlice], path: Path) -> None:
    """Each slice beside itself under the heatmap of each detector, forged sites circled, as the paper's Fig. 8."""
    if not rows:
        raise InputError("There is no slice to show: give at least one.")
    names = list(rows[0].heatmaps)
    figure = Figure((2.9 * (1 + len(names)), 3.05 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 1 + len(names), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        low, high = -1000, 300
        line[0].imshow(row.hu, "gray", vmin=low, vmax=high)
        line[0].set_title(row.title, fontsize=8)
        for axes, name in zip(line[1:], names, strict=True):
            heatmap = row.heatmaps[name]
            axes.imshow(overlay(row.hu, heatmap))
            axes.set_title(f"{name}, highest window {heatmap.max():.2f}", fontsize=8)
        for axes in line:
            axes.axis("off")
            for site in row.sites:
                axes.add_patch(Circle(site, _MARK_PX, fill=False, color="#50C8FF", linewidth=1))
    _write(figure, path)


def _one(curves: Mapping[str, object]) -> tuple[Figure, Axes]:
    """An empty figure for these named curves; InputError where there is none."""
    if not curves:
        raise InputError("There is no curve to draw: give at least one.")
    figure = Figure((6.4, 4.6), layout="constrained")
    return figure, figure.subplots()


def _style(n: int) -> dict[str, Any]:
    """Colour and line differ together, so that neither has to be told apart alone."""
    return {"color": _COLOURS[n % len(_COLOURS)], "linestyle": _LINES[n % len(_LINES)]}


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize=8)
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
