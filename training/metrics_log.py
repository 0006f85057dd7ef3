"""A training's figures while it runs: ``metrics.csv``, TensorBoard, a line on the screen and, at the end, curves."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """``panels`` names the figures of each step, grouped as the picture shows them: title → names.

    ``first`` is the step that the training starts or resumes at: what a killed one logged after it is dropped, since
    it will be logged again. ``last`` is the step it ends at, at the latest.
    """

    def __init__(self, folder: Path, panels: Mapping[str, Sequence[str]], *, first: int, last: int) -> None:
        self.folder, self.panels, self.first, self.last = folder, panels, first, last
        self.file = folder / "metrics.csv"
        self.started = time.monotonic()
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1)
        kept = [row for row in self._rows() if int(row["step"]) <= first]
        with self.file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the figures of ``step``: one for every name in ``panels``."""
        with self.file.open("a", newline="", encoding="utf-8") as file:
            row = [step, *(f"{values[name]:.6g}" for name in self._columns()[1:])]
            csv.writer(file, lineterminator="\n").writerow(row)
        for title, names in self.panels.items():
            for name in names:
                self.board.add_scalar(f"{title}/{name}", values[name], step)
        left = (time.monotonic() - self.started) / (step - self.first) * (self.last - step)
        said = ", ".join(f"{name.replace('_', ' ')} {values[name]:.4g}" for name in self._columns()[1:])
        print(
            f"{self.folder.name}: step {step}/{self.last}, {said}, {left / 60:.1f} min left at most",
            flush=True,
        )

    def close(self) -> None:
        """Draw ``curves.png`` of everything that was logged."""
        self.board.close()
        rows = self._rows()
        figure = Figure(figsize=(8, 3 * len(self.panels)), layout="constrained")
        for axes, (title, names) in zip(
            figure.subplots(len(self.panels), squeeze=False)[:, 0], self.panels.items(), strict=True
        ):
            for name in names:
                steps, values = [int(row["step"]) for row in rows], [float(row[name]) for row in rows]
                axes.plot(steps, values, marker="." if len(rows) < 50 else "", label=name.replace("_", " "))
            axes.set(title=title, xlabel="step")
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self.folder / "curves.png", dpi=120)

    def _columns(self) -> list[str]:
        return ["step", *(name for names in self.panels.values() for name in names)]

    def _rows(self) -> list[dict[str, str]]:
        if not self.file.exists():
            return []
        with self.file.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
