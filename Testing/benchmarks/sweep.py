"""Speed and memory of the sweep, side by side in one run.

``python Testing/benchmarks/sweep.py [--model NAME] [--device auto]`` prints tables: the dense pass against the
same network window by window in batches of 256, in both precisions; seconds for 75, 150 and 300 slices (cost is
linear); the same 75 beside as many busy processes as there are cores, and twice as many; and the peak memory of
scanning 300 slices, without and with evidence. The slices are the bundled sample's, repeated.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from CTForgeryScanLib.cards import DEFAULT_MODEL
from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.models import load_model
from CTForgeryScanLib.volume import load_volume
from CTForgeryScanLib.windows import STRIDE, WINDOW, circle_mask, near_lung_mask

SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"
_ROUNDS = 5

_PEAK_MEMORY = """
import resource, sys
import numpy as np
from CTForgeryScanLib import load_volume, scan
sample = load_volume(sys.argv[1])
hu = np.resize(sample.hu, (300, *sample.hu.shape[1:]))
scan((hu, sample.ijk_to_ras), model=sys.argv[2], device=sys.argv[3], evidence=sys.argv[4] == "with")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def median_seconds(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Median time of a call after one that is not counted."""
    work()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def dense_sweep(sweeper: Sweeper, slices: NDArray[np.int16]) -> None:
    """Sweep and throw the maps away."""
    for _ in sweeper.sweep(slices):
        pass


def window_by_window(
    sweeper: Sweeper, hu: NDArray[np.int16], asked: NDArray[np.bool_], batch: int = 256
) -> NDArray[np.float32]:
    """p(forged) of the ``asked`` windows [r, c] of a slice, cut out and run in batches as the paper does."""
    windows = np.stack(
        [
            hu[STRIDE * r : STRIDE * r + WINDOW, STRIDE * c : STRIDE * c + WINDOW]
            for r, c in np.argwhere(asked)
        ]
    )
    return np.concatenate(
        [sweeper.probabilities(windows[i : i + batch]) for i in range(0, len(windows), batch)]
    )


def compare(detector: LocalDetector, device: str, hu: NDArray[np.int16]) -> None:
    """Print the dense sweep of one slice against its windows one by one, in both precisions."""
    circle = circle_mask(*hu.shape)
    asked = {"near lung": circle & near_lung_mask(hu), "in the circle, as the paper": circle}
    print(
        "| windows | count | precision | dense sweep, s | window by window, s | ratio |\n|---|---|---|---|---|---|"
    )
    for words, mask in asked.items():
        for precision in ("float32", "bfloat16"):
            sweeper = Sweeper(detector, device, precision)
            # Several slices at once, as in a scan, for each has a thread of its own.
            dense = median_seconds(partial(dense_sweep, sweeper, np.repeat(hu[None], 4, axis=0))) / 4
            alone = median_seconds(partial(window_by_window, sweeper, hu, mask), rounds=3)
            print(
                f"| {words} | {mask.sum()} | {precision} | {dense:.3f} | {alone:.2f} | {alone / dense:.0f} |",
                flush=True,
            )


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Beside so many processes that do nothing but compute."""
    with ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed and memory of the sweep.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    hu = load_volume(SAMPLE).hu
    detector = load_model(args.model).detector
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n"
    )
    compare(detector, args.device, hu[len(hu) // 2])
    print("\n| slices | busy processes beside | s | s a slice |\n|---|---|---|---|")
    sweeper = Sweeper(detector, args.device)
    cores = os.cpu_count() or 1
    for count, beside in ((75, 0), (150, 0), (300, 0), (75, cores), (75, 2 * cores)):
        slices = np.resize(hu, (count, *hu.shape[1:]))
        with busy(beside):
            started = time.perf_counter()
            dense_sweep(sweeper, slices)
            seconds = time.perf_counter() - started
        print(f"| {count} | {beside} | {seconds:.1f} | {seconds / count:.3f} |", flush=True)
    for evidence in ("without", "with"):
        command = [sys.executable, "-c", _PEAK_MEMORY, str(SAMPLE), args.model, args.device, evidence]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        print(f"peak memory of scanning 300 slices {evidence} evidence: {float(peak):.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
