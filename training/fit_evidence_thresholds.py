"""Thresholds of the evidence tests from untouched series: at most one false finding in 1,000 scans.

``python -m training.fit_evidence_thresholds --data DIR`` writes ``Resources/Evidence/thresholds.json``.

In each untouched series the copied-noise search is made as in a scan, and again for blocks at random places in lung,
which nobody copied either. The highest score of each search is a maximum over millions of shifts, so a Gumbel
distribution is fitted to them (scipy, maximum likelihood), for each patient alone. The threshold is the highest of the
patients' quantiles at 1 − 1/1000: scans differ, and the worst must hold too. Copy-move is fitted alike to patches about
random voxels of flat lung, at 1 − 1/4000, for a scan has four candidates. Copies at the same place of another
slice, where rings resemble themselves, are fitted apart. For each patient it is also checked that the threshold of the
others would have held. Added noise is looked for everywhere at once, so one distribution is fitted to the highest
excess of each patient.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from CTForgeryScanLib.evidence import TESTS, added_noise, copied_noise, copy_move
from CTForgeryScanLib.evidence.copied_noise import find_copies
from CTForgeryScanLib.evidence.noise import LungNoise, lung_noise
from CTForgeryScanLib.evidence.published_block import block_side, published_columns
from CTForgeryScanLib.evidence.thresholds import thresholds_file
from CTForgeryScanLib.volume import Volume
from training.command import run_command
from training.sources.catalogue import read_source

Maxima = dict[str, list[float]]
"""Patient → highest score of each search."""

FALSE_SCANS = 1 / 1000
_SEARCHES = 8
"""Searches of each series: the published columns, and columns at random places."""
_LEAST_MAXIMA = 6
"""Fewest maxima of a patient to which a distribution is fitted."""
_FLOOR = 1.0
"""Lowest score asked for: where a search reaches none, there is nothing to fit."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the maxima of all untouched series, fit, print and write."""
    parser = argparse.ArgumentParser(description="Fit the evidence tests' thresholds to untouched series.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ct/")
    parser.add_argument("--tests", nargs="+", choices=TESTS, default=TESTS)
    parser.add_argument("--out", type=Path, default=thresholds_file())
    args = parser.parse_args(argv)
    elsewhere: Maxima = defaultdict(list)
    beside: Maxima = defaultdict(list)
    moved: Maxima = defaultdict(list)
    added: dict[str, float] = {}
    for scan in read_source("data", str(args.data)):
        volume = scan.load()
        noise = lung_noise(volume, lambda share: None)
        if noise is None:
            continue
        if added_noise.TEST in args.tests:
            excess = float(added_noise.find_excess(volume, noise, lambda share: None).values.max())
            added[scan.patient] = max(excess, added.get(scan.patient, excess))
            print(scan.name, f"{excess:.2f}", flush=True)
        if copied_noise.TEST in args.tests:
            found = search_maxima(volume, noise)
            elsewhere[scan.patient] += [far for far, _ in found]
            beside[scan.patient] += [near for _, near in found]
            print(scan.name, *(f"{far:.2f}/{near:.2f}" for far, near in found), flush=True)
        if copy_move.TEST in args.tests:
            scores = match_maxima(volume, noise)
            moved[scan.patient] += scores
            print(scan.name, *(f"{score:.2f}" for score in scores), flush=True)
    fits = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    if added:
        highest = {"the highest of each patient": list(added.values())}
        fits[added_noise.TEST] = fit_threshold(highest, FALSE_SCANS, added_noise.NOT_JUDGED)
        fits[added_noise.TEST]["beside"] = fits[added_noise.TEST]["threshold"]
    if elsewhere:
        fits[copied_noise.TEST] = fit_threshold(elsewhere, FALSE_SCANS)
        fits[copied_noise.TEST]["beside"] = fit_threshold(beside, FALSE_SCANS)["threshold"]
    if moved:
        fits[copy_move.TEST] = fit_threshold(moved, FALSE_SCANS / copy_move.CANDIDATES)
        fits[copy_move.TEST]["beside"] = fits[copy_move.TEST]["threshold"]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(fits, indent=2) + "\n", encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))


def search_maxima(volume: Volume, noise: LungNoise) -> list[tuple[float, float]]:
    """The highest score of each search in an untouched volume: elsewhere, and at the same place of another slice."""
    rng = np.random.default_rng(0)
    side = block_side(volume.spacing_mm)
    maxima = []
    for n in range(_SEARCHES):
        corners = published_columns(volume.shape, side) if n == 0 else _random_columns(noise, side, rng)
        copies = find_copies(volume, noise, corners, _FLOOR, torch.device("cpu"), lambda share: None)
        far, near = (max((c.score for c in copies if c.beside is by), default=_FLOOR) for by in (False, True))
        maxima.append((far, near))
    return maxima


def match_maxima(volume: Volume, noise: LungNoise) -> list[float]:
    """The highest score of copy-move matches of patches about random voxels of flat lung."""
    rng = np.random.default_rng(1)
    search = copy_move.MatchSearch(noise, copy_move.patch_half(volume), torch.device("cpu"))
    places = np.argwhere(noise.white != 0)
    chosen = places[rng.integers(len(places), size=_SEARCHES)] + noise.first_kji
    matches = [search.best((int(k), int(j), int(i))) for k, j, i in chosen]
    return [match.score for match in matches if match is not None]


def _random_columns(noise: LungNoise, side: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """First (row, column) of four blocks about random voxels of flat lung, as many as the published flips."""
    places: NDArray[np.int64] = np.argwhere((noise.white != 0).mean(axis=0) > 0.3)
    if len(places) == 0:
        places = np.argwhere((noise.white != 0).any(axis=0))
    chosen = places[rng.integers(len(places), size=4)] + noise.first_kji[1:] - side // 2
    return [(int(j), int(i)) for j, i in chosen]


def fit_threshold(maxima: Maxima, false_share: float, floor: float = _FLOOR) -> dict[str, Any]:
    """The threshold and all that it was derived from; scores at the ``floor`` say nothing."""
    patients = {}
    for patient, given in maxima.items():
        scores = [score for score in given if score > floor]
        if len(scores) >= _LEAST_MAXIMA:
            location, scale = stats.gumbel_r.fit(scores)
            patients[patient] = {
                "searches": len(scores),
                "highest": round(max(scores), 2),
                "location": round(float(location), 3),
                "scale": round(float(scale), 3),
                "quantile": round(float(stats.gumbel_r.isf(false_share, location, scale)), 2),
            }

    def worst(without: str | None = None) -> dict[str, Any]:
        return max((fit for p, fit in patients.items() if p != without), key=lambda fit: fit["quantile"])

    chosen = worst()
    above = [
        p
        for p, fit in patients.items()
        if len(patients) > 1 and fit["highest"] >= worst(without=p)["quantile"]
    ]
    whose = "by patient; the worst patient's" if len(patients) > 1 else "one of each patient"
    return {
        "threshold": chosen["quantile"],
        "location": chosen["location"],
        "scale": chosen["scale"],
        "false_share_of_searches": false_share,
        "made_by": "python -m training.fit_evidence_thresholds",
        "distribution": f"Gumbel (maximum likelihood) of the searches' highest scores, {whose}",
        "patients_above_the_threshold_of_the_others": above,
        "patients": patients,
    }


if __name__ == "__main__":
    run_command(main)
