"""Print the noise statistics that `CTForgeryScanLib.assessable` judges by, on real CT and on processed copies of it.

Run from the repository: ``python -m training.measure_noise ../shared/data`` (a minute or two). Its limits were set
between what untouched CT shows and what processing leaves; forged slices must stay on the untouched side.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.assessable import MAX_SLICES, NoiseStatistics, assess, measure_noise
from CTForgeryScanLib.volume import Volume, load_volume

Plane = NDArray[np.float32]
Process = tuple[str, float, Callable[[Plane], Plane]]
"""Name, by how much pixels grow in number along an axis, and what is done to a slice."""


def processes() -> list[Process]:
    """Filters and resamplings that an export may do."""

    def zoom(factor: float, order: int) -> Process:
        kind = {1: "linear", 3: "cubic"}[order]
        return f"{kind} x{factor:g}", factor, lambda plane: ndimage.zoom(plane, factor, order=order)

    def blur(sigma: float) -> Process:
        return f"Gauss {sigma:g} px", 1.0, lambda plane: ndimage.gaussian_filter(plane, sigma)

    median: Process = ("median 5", 1.0, lambda plane: ndimage.median_filter(plane, 5))
    return [blur(0.7), blur(1.0), blur(1.5), median, zoom(1.4, 1), zoom(1.4, 3), zoom(0.7, 1), zoom(0.7, 3)]


def processed(volume: Volume, process: Process) -> Volume:
    """Evenly spread slices of a volume after processing."""
    _, factor, work = process
    count = volume.shape[0]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_SLICES)).round().astype(int))
    planes = [np.rint(work(np.maximum(volume.hu[k], -1024).astype(np.float32))) for k in chosen]
    geometry = volume.ijk_to_ras.copy()
    geometry[:, :2] /= factor
    return load_volume((np.stack(planes), geometry))


def line(name: str, noise: NoiseStatistics, reasons: str) -> str:
    """One row of the table."""
    numbers = f"{noise.sharpness:9.4f} {noise.periodicity:11.1f} {noise.tiles:6d} {noise.noise_hu:8.1f}"
    return f"{name:44s} {numbers}  {reasons}"


def main() -> None:
    """Measure everything under the folder given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with ct/, pristine_slices/ and ctgan/")
    parser.add_argument("--no-processing", action="store_true", help="measure the real data only")
    arguments = parser.parse_args()
    folder: Path = arguments.data
    series = sorted(path for path in (folder / "ct").iterdir() if path.is_dir())
    slices = [
        path for name in ("pristine_slices", "ctgan") for path in sorted((folder / name / "slices").iterdir())
    ]
    print(f"{'':44s} sharpness periodicity  tiles noise_hu  reasons")
    for path in series + slices:
        volume = load_volume(path)
        reasons = " ".join(f"{r.severity}:{r.code}" for r in assess(volume, {}).reasons)
        print(line(str(path.relative_to(folder)), measure_noise(volume), reasons), flush=True)
        if arguments.no_processing or path not in series:
            continue
        for process in processes():
            changed = processed(volume, process)
            reasons = " ".join(f"{r.severity}:{r.code}" for r in assess(changed, {}).reasons)
            print(line(f"    {process[0]}", measure_noise(changed), reasons), flush=True)


if __name__ == "__main__":
    main()
