"""The dense detector against the paper's own network window by window: one 512×512 slice, side by side in one run.

``PYTHONPATH=. python Testing/benchmarks/reference.py [--model ctgan-v1] [--device auto] [--threads N]``

prints the seconds of each and their ratio. The slice is the bundled sample's, widened by reflection where it is
smaller; all 12,477 windows of the circle are asked (Eq. 4–7). Time does not depend on weights, so the paper's network
has random ones.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from CTForgeryScanLib.heatmap import Sweeper, choose_device
from CTForgeryScanLib.models import load_model
from CTForgeryScanLib.volume import load_volume
from CTForgeryScanLib.windows import circle_mask
from training.detectors.paper import PaperNetwork
from training.detectors.scorers import window_logits

SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"
_SIZE = 512
_ROUNDS = 5


def sample_slice() -> NDArray[np.int16]:
    """The middle slice of the bundled sample, 512×512 in HU."""
    volume = load_volume(SAMPLE).hu
    hu = volume[len(volume) // 2]
    missing = [max(0, _SIZE - n) for n in hu.shape]
    return np.pad(hu, [(n // 2, n - n // 2) for n in missing], mode="symmetric")[:_SIZE, :_SIZE]


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The dense detector against the paper's network.")
    parser.add_argument("--model", default="ctgan-v1")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    hu = sample_slice()
    windows = int(circle_mask(*hu.shape).sum())
    network = PaperNetwork().to(choose_device(args.device))
    detector = load_model(args.model).detector
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, "
        f"torch {torch.__version__}; {windows} windows of a {hu.shape[0]}×{hu.shape[1]} slice\n"
    )
    reference = seconds(partial(window_logits, network, hu), rounds=1)
    print("| | seconds a slice | of the reference's time |\n|---|---|---|")
    print(f"| the paper's network, float32, window by window | {reference:.1f} | 1 |", flush=True)
    for precision in ("float32", "bfloat16"):
        sweeper = Sweeper(detector, args.device, precision)
        sweeper.probabilities(hu[None])
        dense = seconds(partial(sweeper.probabilities, hu[None]), _ROUNDS)
        share = f"1/{reference / dense:.0f}"
        print(f"| {args.model}, {precision}, all windows in one pass | {dense:.3f} | {share} |", flush=True)


if __name__ == "__main__":
    main()
