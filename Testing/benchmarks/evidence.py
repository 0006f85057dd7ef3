"""Seconds and memory of the tests that need no training.

``python Testing/benchmarks/evidence.py [--slices 300] [--device auto] [--ct PATH]`` prints the seconds, by the
clock and of work (all cores added up), of laying the noise bare and of each test (copy-move at four places), and the
peak memory of the process. The slices are the
bundled sample's or those of the CT, repeated, so copies of slices are found, as they should be; the work is that of
any scan of this size.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from CTForgeryScanLib.evidence import added_noise, copied_noise, copy_move
from CTForgeryScanLib.evidence.noise import lung_noise
from CTForgeryScanLib.evidence.thresholds import load_threshold
from CTForgeryScanLib.heatmap import choose_device
from CTForgeryScanLib.volume import load_volume

SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"


def silent(share: float) -> None:
    """Nobody looks at the progress."""


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print how long the block took, and the highest memory until then."""
    clock, work = time.perf_counter(), time.process_time()
    yield
    clock, work = time.perf_counter() - clock, time.process_time() - work
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {clock:.1f} s, {work:.1f} s of work, peak memory {peak:.0f} MiB", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed and memory of the evidence tests.")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--ct", type=Path, default=SAMPLE, help="whose slices: a series of 512x512 is as real scans are"
    )
    args = parser.parse_args()
    device = choose_device(args.device)
    sample = load_volume(args.ct)
    with timed("reading"):
        volume = load_volume((np.resize(sample.hu, (args.slices, *sample.hu.shape[1:])), sample.ijk_to_ras))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {device}, {args.slices} slices"
    )
    with timed("noise"):
        noise = lung_noise(volume, silent)
    assert noise is not None
    print(f"box {noise.white.shape}")
    with timed("added noise"):
        added_noise.added_noise(volume, noise, load_threshold(added_noise.TEST), silent)
    with timed("copied noise"):
        copied_noise.copied_noise(volume, noise, load_threshold(copied_noise.TEST), device, silent)
    lung = np.argwhere(noise.white != 0)[:: max(np.count_nonzero(noise.white) // copy_move.CANDIDATES, 1)]
    places = [(int(k), int(j), int(i)) for k, j, i in lung[: copy_move.CANDIDATES] + noise.first_kji]
    with timed(f"copy-move at {len(places)} places"):
        copy_move.copy_move(volume, noise, places, load_threshold(copy_move.TEST), device, silent)


if __name__ == "__main__":
    main()
