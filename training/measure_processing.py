"""Fit the limits of `CTForgeryScanLib.assessable` to untouched CT and measure what they find on processed copies.

Run from the repository: ``python -m training.measure_processing DATA`` (a few minutes). It prints Markdown;
with ``--out training/configs/processing-limits.json`` it stores the fit and what it was made of. The limits are
quantiles of extreme-value distributions fitted to each untouched patient's worst series or slice: one patient in 100
is warned of, one in 1,000 refused. Processed copies have no header: they are judged by values alone.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage, stats

from CTForgeryScanLib.assessable import assess
from CTForgeryScanLib.processing import ProcessingTraces, measure_processing, sample_slices
from CTForgeryScanLib.volume import Volume, load_volume
from training.command import run_command
from training.data import forged_files
from training.sources.catalogue import read_source
from training.sources.scan import read_table

Plane = NDArray[np.float32]
Process = tuple[str, float, Callable[[list[Plane]], list[Plane]]]
"""Name, by how much pixels grow in number along an axis, and what is done to the slices."""

EXPORT = "4D-Lung-113"
"""The series among the untouched ones that a treatment-planning system warped: no part of the fit."""

WARN, REFUSE = 0.01, 0.001


def processes() -> list[Process]:
    """What an export may do: resample, filter, use fewer grey levels, equalise."""

    def each(work: Callable[[Plane], NDArray[Any]]) -> Callable[[list[Plane]], list[Plane]]:
        return lambda planes: [work(plane).astype(np.float32) for plane in planes]

    def zoom(factor: float, order: int) -> Process:
        kind = {1: "linear", 3: "cubic"}[order]
        return (
            f"{kind}, {factor:g} times",
            factor,
            each(lambda plane: ndimage.zoom(plane, factor, order=order)),
        )

    def lanczos(factor: float) -> Process:
        return f"Lanczos, {factor:g} times", factor, each(lambda plane: _lanczos(plane, factor))

    def gauss(sigma: float) -> Process:
        return f"Gauss {sigma:g} px", 1.0, each(lambda plane: ndimage.gaussian_filter(plane, sigma))

    def fewer_levels(plane: Plane) -> NDArray[Any]:
        return np.rint(np.clip((plane + 1024) / 2047, 0, 1) * 255) * 2047 / 255 - 1024

    return [
        *(zoom(factor, order) for factor in (0.8, 0.9, 1.1, 1.2) for order in (1, 3)),
        *(lanczos(factor) for factor in (0.85, 1.15)),
        *(gauss(sigma) for sigma in (0.5, 0.7, 1.0)),
        ("median 3x3", 1.0, each(lambda plane: ndimage.median_filter(plane, 3))),
        ("8 bits, as a picture", 1.0, each(lambda plane: np.clip((plane + 1000) / 1400, 0, 1) * 255)),
        ("8 bits, as HU", 1.0, each(fewer_levels)),
        ("equalised", 1.0, equalised),
    ]


def _lanczos(plane: Plane, factor: float) -> NDArray[Any]:
    size = [round(factor * length) for length in plane.shape[::-1]]
    step = [(old - 1) / (new - 1) for old, new in zip(plane.shape[::-1], size, strict=True)]
    image = sitk.GetImageFromArray(plane)
    resampled = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLanczosWindowedSinc,
        (0.0, 0.0),
        step,
        (1.0, 0.0, 0.0, 1.0),
        -1024.0,
    )
    return sitk.GetArrayFromImage(resampled)


def equalised(planes: list[Plane]) -> list[Plane]:
    """Histogram equalisation of all slices together onto the HU from -1024 to 1023."""
    values = np.concatenate([np.maximum(plane, -1024).ravel() for plane in planes])
    levels, counts = np.unique(values, return_counts=True)
    share = (np.cumsum(counts) - counts[0]) / (values.size - counts[0])
    return [np.interp(plane, levels, -1024 + 2047 * share).astype(np.float32) for plane in planes]


def processed(volume: Volume, process: Process) -> Volume:
    """Evenly spread slices of a volume after processing, rounded to whole HU and without its header."""
    _, factor, work = process
    geometry = volume.ijk_to_ras.copy()
    geometry[:, :2] /= factor
    return load_volume((np.stack([np.rint(plane) for plane in work(sample_slices(volume))]), geometry))


def fit_maxima(worst: list[float]) -> dict[str, float]:
    """A Gumbel distribution of values that are maxima themselves: its parameters, ``warn`` and ``refuse``."""
    location, scale = stats.gumbel_r.fit(worst)
    warn, refuse = (float(stats.gumbel_r.isf(share, location, scale)) for share in (WARN, REFUSE))
    return {"location": float(location), "scale": float(scale), "warn": warn, "refuse": refuse}


def fit_tail(worst: list[float]) -> dict[str, float]:
    """An exponential tail above the median (peaks over a threshold): for values whose other end is of no interest."""
    median = float(np.median(worst))
    scale = float(np.mean([value - median for value in worst if value > median]))
    warn, refuse = (median + scale * float(np.log(0.5 / share)) for share in (WARN, REFUSE))
    return {"median": median, "scale": scale, "warn": warn, "refuse": refuse}


def limits(traces: dict[str, list[ProcessingTraces]]) -> dict[str, Any]:
    """The limits of grain and periodicity, fitted on logarithms, from the traces of each untouched patient."""
    finest = {patient: min(t.grain for t in of if t.grain == t.grain) for patient, of in traces.items()}
    rhythm = {patient: max(t.periodicity for t in of) for patient, of in traces.items()}
    grain = fit_tail([-float(np.log(value)) for value in finest.values()])
    periodicity = fit_maxima([float(np.log(value)) for value in rhythm.values()])
    held_out = Counter(_judged_by_others(patient, finest, rhythm) for patient in traces)
    edges = [t.padding_edge for of in traces.values() for t in of if t.padding_edge == t.padding_edge]
    return {
        "patients": len(traces),
        "patients by limits fitted to the others": dict(held_out),
        "grain": {"warn": np.exp(-grain["warn"]), "refuse": np.exp(-grain["refuse"]), "tail of -log": grain},
        "periodicity": {
            "warn": np.exp(periodicity["warn"]),
            "refuse": np.exp(periodicity["refuse"]),
            "maxima of log": periodicity,
        },
        "padding_edge": {"highest untouched": max(edges), "volumes with padding": len(edges)},
        "grey_level_gaps": {
            "highest untouched": max(t.grey_level_gaps for of in traces.values() for t in of)
        },
        "worst of each patient": {
            patient: {"grain": finest[patient], "periodicity": rhythm[patient]} for patient in sorted(traces)
        },
    }


def _judged_by_others(patient: str, finest: dict[str, float], rhythm: dict[str, float]) -> str:
    """What the limits would say of a patient had it not been among those that they were fitted to."""
    grain = fit_tail([-float(np.log(value)) for other, value in finest.items() if other != patient])
    periodicity = fit_maxima([float(np.log(value)) for other, value in rhythm.items() if other != patient])
    scores = (-float(np.log(finest[patient])), grain), (float(np.log(rhythm[patient])), periodicity)
    for severity in ("refuse", "warn"):
        if any(score > fit[severity] for score, fit in scores):
            return severity
    return "neither"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure untouched and forged CT, fit the limits, and count what processing is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with ct/, pristine_slices/ and ctgan/")
    parser.add_argument("--out", type=Path, help="JSON file for the fit")
    arguments = parser.parse_args(argv)
    folder: Path = arguments.data
    series = {scan.name: (scan.patient, scan.load()) for scan in read_source("data", str(folder))}
    traces: dict[str, list[ProcessingTraces]] = defaultdict(list)
    for row in read_table(folder / "pristine_slices" / "slices.csv", ("file", "patient")):
        volume = load_volume(folder / "pristine_slices" / row["file"])
        traces[row["patient"]].append(measure_processing(volume))
        _say_reasons(row["file"], volume)
    for case, (patient, volume) in series.items():
        if case != EXPORT:
            traces[patient].append(measure_processing(volume))
        _say_reasons(case, volume)
    for path in forged_files(folder / "ctgan"):
        _say_reasons(f"forged {path.name}", load_volume(path))
    fitted = limits(traces)
    print(
        json.dumps({key: value for key, value in fitted.items() if key != "worst of each patient"}, indent=2)
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(fitted, indent=2) + "\n", encoding="utf-8")
    _print_processed({case: volume for case, (_, volume) in series.items()})


def _say_reasons(name: str, volume: Volume) -> None:
    reasons = assess(volume, {}).reasons
    if reasons:
        print(
            f"- {name}: {', '.join(f'{r.severity} {r.code}' for r in reasons)}; {asdict(measure_processing(volume))}"
        )


def _print_processed(series: dict[str, Volume]) -> None:
    untouched = {case: volume for case, volume in series.items() if case != EXPORT}
    header = f"processed copies of {len(untouched)} untouched series"
    print(f"\n| {header} | refused | refused or warned | reasons | {EXPORT} |\n|---|---|---|---|---|")
    same: Process = ("as they are, without header", 1.0, lambda planes: planes)
    for process in (same, *processes()):
        results = [assess(processed(volume, process), {}) for volume in untouched.values()]
        codes = Counter(reason.code for result in results for reason in result.reasons)
        reasons = ", ".join(f"{code} {number}" for code, number in codes.most_common())
        refused = sum(not result.assessable for result in results)
        any_reason = sum(bool(result.reasons) for result in results)
        export = assess(processed(series[EXPORT], process), {}).reasons
        last = ", ".join(f"{reason.severity} {reason.code}" for reason in export) or "–"
        print(f"| {process[0]} | {refused} | {any_reason} | {reasons or '–'} | {last} |", flush=True)


if __name__ == "__main__":
    run_command(main)
