"""What a training shows while it runs: lines with the time left, ``metrics.csv``, ``samples-STEP.png``."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
from PIL import Image

from training.forgers.ctgan.cubes import Scale, Singles, condition_of

LINE_EVERY, PAUSE_EVERY = 50, 100
_LUNG_WINDOW = (-1350.0, 150.0)
_ZOOM = 4


class Progress:
    """Of a training that goes on at step ``first`` of ``last``."""

    def __init__(self, folder: Path, first: int, last: int) -> None:
        self.folder, self.first, self.last = folder, first, last
        self.started = time.monotonic()
        self.losses: list[dict[str, float]] = []
        self.metrics = folder / "metrics.csv"
        self._forget_after(first)

    def pauses_at(self, step: int) -> bool:
        """Whether it is time for a checkpoint and a picture."""
        return step % PAUSE_EVERY == 0 or step == self.last

    def log(self, step: int, losses: dict[str, float]) -> None:
        """Count a step; every 50 of them a line, and a row with their mean losses."""
        self.losses.append(losses)
        if step % LINE_EVERY and step != self.last:
            return
        means = {name: float(np.mean([of[name] for of in self.losses])) for name in losses}
        self.losses = []
        seconds = (time.monotonic() - self.started) / (step - self.first)
        new = not self.metrics.exists()
        with self.metrics.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", *means, "seconds_per_step"])
            writer.writerow([step, *(f"{mean:.5f}" for mean in means.values()), f"{seconds:.3f}"])
        parts = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        left = seconds * (self.last - step) / 60
        print(f"step {step}/{self.last}: {parts}; {seconds:.2f} s a step, {left:.1f} min left", flush=True)

    def draw(self, step: int, real: Singles, made: Singles, scale: Scale) -> None:
        """``samples-STEP.png``: middle slices, real above what the generator was given and what it made."""
        rows = [
            np.concatenate([scale.to_hu(cube[cube.shape[0] // 2]) for cube in cubes], axis=1)
            for cubes in (real, condition_of(real), made)
        ]
        low, high = _LUNG_WINDOW
        grey = (np.clip((np.concatenate(rows) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        picture = Image.fromarray(grey).resize(
            (grey.shape[1] * _ZOOM, grey.shape[0] * _ZOOM), Image.Resampling.NEAREST
        )
        picture.save(self.folder / f"samples-{step:06d}.png")

    def _forget_after(self, step: int) -> None:
        """Drop the rows that a killed training logged after its last checkpoint; they will be logged again."""
        if self.metrics.exists():
            header, *rows = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [row for row in rows if int(row.split(",")[0]) <= step]
            self.metrics.write_text("".join([header, *kept]), encoding="utf-8")
