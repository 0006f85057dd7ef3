"""Thresholds of the evidence tests from untouched series: at most one false finding in 1,000 scans.

``python -m training.fit_evidence_thresholds --data DIR`` writes ``Resources/Evidence/thresholds.json``.

In each untouched series the copied-noise search is made as in a scan, and again for blocks at random places in lung,
which nobody copied either. The highest score of each search is a maximum over millions of shifts, so a Gumbel
distribution is fitted to them (scipy, maximum likelihood), for each patient alone. The threshold is the highest of the
patients' quantiles at 1 − 1/1000: scans differ, and the worst of them must hold too.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from CTForgeryScanLib.evidence.copied_noise import block_side, find_copies, published_columns
from CTForgeryScanLib.evidence.noise import LungNoise, lung_noise
from CTForgeryScanLib.evidence.thresholds import thresholds_file
from CTForgeryScanLib.volume import Volume, load_volume

FALSE_SCANS = 1 / 1000
_SEARCHES = 8
"""Searches of each series: the published columns, and columns at random places."""
_LEAST_MAXIMA = 6
"""Fewest maxima of a patient to which a distribution is fitted."""
_FLOOR = 2.0
"""Lowest score asked for: where a search reaches none, there is nothing to fit."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the maxima of all untouched series, fit, print and write."""
    parser = argparse.ArgumentParser(description="Fit the evidence tests' thresholds to untouched series.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ct/")
    parser.add_argument("--out", type=Path, default=thresholds_file())
    args = parser.parse_args(argv)
    maxima: dict[str, list[float]] = defaultdict(list)
    with (args.data / "ct" / "cases.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found = search_maxima(load_volume(args.data / "ct" / row["case"]))
            maxima[row["patient"]] += found
            print(row["case"], *(f"{score:.2f}" for score in found), flush=True)
    fit = fit_threshold(maxima)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"copied_noise": fit}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(fit, indent=2))


def search_maxima(volume: Volume) -> list[float]:
    """The highest score of each search in an untouched volume."""
    noise = lung_noise(volume, lambda share: None)
    if noise is None:
        return []
    rng = np.random.default_rng(0)
    side = block_side(volume.spacing_mm)
    maxima = []
    for n in range(_SEARCHES):
        corners = published_columns(volume.shape, side) if n == 0 else _random_columns(noise, side, rng)
        copies = find_copies(volume, noise, corners, _FLOOR, torch.device("cpu"), lambda share: None)
        if copies:
            maxima.append(copies[0].score)
    return maxima


def _random_columns(noise: LungNoise, side: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """First (row, column) of four blocks about random voxels of flat lung, as many as the published flips."""
    places: NDArray[np.int64] = np.argwhere((noise.white != 0).mean(axis=0) > 0.3)
    if len(places) == 0:
        places = np.argwhere((noise.white != 0).any(axis=0))
    chosen = places[rng.integers(len(places), size=4)] + noise.first_kji[1:] - side // 2
    return [(int(j), int(i)) for j, i in chosen]


def fit_threshold(maxima: dict[str, list[float]]) -> dict[str, Any]:
    """The threshold and all that it was derived from."""
    patients = {}
    for patient, scores in maxima.items():
        if len(scores) >= _LEAST_MAXIMA:
            location, scale = stats.gumbel_r.fit(scores)
            quantile = stats.gumbel_r.isf(FALSE_SCANS, location, scale)
            patients[patient] = {
                "searches": len(scores),
                "highest": round(max(scores), 2),
                "location": round(float(location), 3),
                "scale": round(float(scale), 3),
                "quantile": round(float(quantile), 2),
            }
    worst = max(patients.values(), key=lambda fit: float(fit["quantile"]))
    return {
        "threshold": worst["quantile"],
        "location": worst["location"],
        "scale": worst["scale"],
        "false_scans": FALSE_SCANS,
        "made_by": "python -m training.fit_evidence_thresholds",
        "distribution": "Gumbel (maximum likelihood) of the searches' highest scores, by patient; the worst patient's",
        "patients": patients,
    }


if __name__ == "__main__":
    main()
