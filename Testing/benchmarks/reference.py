"""The dense detector against the paper's own network window by window: one 512×512 slice, side by side in one run.

``PYTHONPATH=. python Testing/benchmarks/reference.py [--model NAME] [--device auto] [--threads N] [--windows N]``

prints the seconds of each and their ratio, by the clock and in processor time, which also holds on a machine that is
busy with other things (but tells nothing of a GPU). The slice is the bundled sample's, widened by reflection where it
is smaller; all 12,477 windows of the circle are asked (Eq. 4–7), or the reference judges the first N of them and its
time is scaled to all. Time does not depend on weights, so the paper's network has random ones.
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

from CTForgeryScanLib.cards import DEFAULT_MODEL
from CTForgeryScanLib.heatmap import Sweeper, choose_device
from CTForgeryScanLib.models import load_model
from CTForgeryScanLib.volume import load_volume
from CTForgeryScanLib.windows import circle_mask
from training.detectors.paper import PaperNetwork
from training.detectors.scorers import BATCH, cut_windows, forged_logits

SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"
_SIZE = 512
_ROUNDS = 5


def sample_slice() -> NDArray[np.int16]:
    """The middle slice of the bundled sample, 512×512 in HU."""
    volume = load_volume(SAMPLE).hu
    hu = volume[len(volume) // 2]
    missing = [max(0, _SIZE - n) for n in hu.shape]
    return np.pad(hu, [(n // 2, n - n // 2) for n in missing], mode="symmetric")[:_SIZE, :_SIZE]


def seconds(work: Callable[[], object], rounds: int) -> NDArray[np.float64]:
    """Median time of a call: by the clock, of the processor."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return np.median(taken, axis=0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The dense detector against the paper's network.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--windows", type=int, help="how many the reference judges; else all")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    hu = sample_slice()
    windows = cut_windows(hu, circle_mask(*hu.shape))
    judged = windows[: args.windows]
    network = PaperNetwork().to(choose_device(args.device))
    detector = load_model(args.model).detector
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, "
        f"torch {torch.__version__}; {len(windows)} windows of a {hu.shape[0]}×{hu.shape[1]} slice, "
        f"of which the reference judged {len(judged)}\n"
    )
    forged_logits(network, judged[:BATCH])
    reference = seconds(partial(forged_logits, network, judged), rounds=1) * len(windows) / len(judged)
    print("| one slice | seconds | of the processor | ratio | of the processor's |\n|---|---|---|---|---|")
    print(
        f"| the paper's network, float32, window by window | {reference[0]:.1f} | {reference[1]:.1f} | 1 | 1 |",
        flush=True,
    )
    for precision in ("float32", "bfloat16"):
        sweeper = Sweeper(detector, args.device, precision)
        sweeper.probabilities(hu[None])
        dense = seconds(partial(sweeper.probabilities, hu[None]), _ROUNDS)
        clock, processor = (f"1/{ratio:.0f}" for ratio in reference / dense)
        print(
            f"| {args.model}, {precision}, all windows in one pass | {dense[0]:.3f} | {dense[1]:.3f} "
            f"| {clock} | {processor} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
