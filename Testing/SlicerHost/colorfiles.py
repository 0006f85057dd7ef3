"""The colour tables that Slicer has as files and slicer-core lacks; without them the colour nodes are missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib

CONTINUOUS = ("Inferno", "Magma", "Plasma", "Viridis", "Cividis")
"""Matplotlib's tables, under the names that Slicer gives them: vtkMRMLColorTableNodeFileInferno.txt and so on."""

DISCRETE = ("GenericColors", "GenericAnatomyColors", "DarkBrightChartColors")
"""Tables of labels that segmentation and plot nodes look for: their colours here are Matplotlib's tab20."""


def write_color_files(folder: Path) -> None:
    """Writes the tables as Slicer's colour logic wants them."""
    folder.mkdir(parents=True)
    for name in CONTINUOUS:
        table = matplotlib.colormaps[name.lower()]
        _write(folder / f"{name}.txt", ((str(index), table(index, bytes=True)) for index in range(256)))
    table = matplotlib.colormaps["tab20"]
    colors: list[tuple[str, Iterable[float]]] = [("background", (0, 0, 0, 0))]
    colors += [(str(label), table((label - 1) % 20, bytes=True)) for label in range(1, 64)]
    for name in DISCRETE:
        _write(folder / f"{name}.txt", colors)


def _write(path: Path, colors: Iterable[tuple[str, Iterable[float]]]) -> None:
    lines = [
        f"{index} {name} {' '.join(str(int(value)) for value in rgba)}"
        for index, (name, rgba) in enumerate(colors)
    ]
    path.write_text("\n".join([f"# {path.name}", *lines]) + "\n", encoding="utf-8")
