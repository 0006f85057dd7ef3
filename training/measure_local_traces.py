"""Do traces at a single place tell a forged place from untouched lung? Measured before any becomes an evidence test.

``python -m training.measure_local_traces --data DIR [--places 8]`` prints, for each trace and kind of forgery, how well
it separates. Every series is forged at random lung places by CT-GAN's published pasting rules and measured at the
site itself, which no candidate of the cascade hits as well; untouched are the same series at random lung places and at
the places where the shipped detector's heatmap is hottest, four of every dozen slices.

A test of evidence looks at four candidates a scan and may be wrong in one scan of 1,000, so at one place of 4,000.
The table is far laxer: it counts the forged places above the highest of all untouched ones.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.evidence.copy_move import CANDIDATES, candidates
from CTForgeryScanLib.evidence.published_block import block_side, cube_sides
from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.models import load_model
from CTForgeryScanLib.volume import Volume, load_volume
from CTForgeryScanLib.windows import heatmap_ijk_to_ras
from training.command import run_command
from training.evaluate_evidence import PASTING, forged_in_lung
from training.lung_sites import Ijk, random_lung_place
from training.sources.catalogue import read_source

_LUNG_HU = (-950, -700)
_SWEPT = 12  # slices of a series in which hot places are looked for
_ENOUGH = 200  # voxels of lung without which a trace is not measured


@dataclass(frozen=True)
class Surroundings:
    """What lies about a place [k, j, i]: HU, its high-pass rest, where it is lung, and the cube and block in it."""

    hu: NDArray[np.float32]
    rest: NDArray[np.float32]
    lung: NDArray[np.bool_]
    cube: NDArray[np.bool_]
    block: NDArray[np.bool_]
    centre: int
    """The place's slice among these."""
    high: int
    """Slices of the cube."""


def surroundings(volume: Volume, site: Ijk) -> Surroundings:
    """Twice the block in the plane, and the cube's slices with as many beyond either face."""
    cube, side = cube_sides(volume.spacing_mm), block_side(volume.spacing_mm)
    i, j, k = site
    first = [max(at - reach, 0) for at, reach in zip((k, j, i), (cube[0], side, side), strict=True)]
    box = tuple(
        slice(a, at + n + 1) for a, at, n in zip(first, (k, j, i), (cube[0], side, side), strict=True)
    )
    hu = volume.hu[box].astype(np.float32)
    smooth = ndimage.uniform_filter(hu, (1, 5, 5))
    centre = [at - a for at, a in zip((k, j, i), first, strict=True)]
    of_cube, of_block = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    for mask, sides in ((of_cube, cube), (of_block, (side, side, side))):
        mask[tuple(slice(max(c - n // 2, 0), c - n // 2 + n) for c, n in zip(centre, sides, strict=True))] = (
            True
        )
    lung = (smooth > _LUNG_HU[0]) & (smooth < _LUNG_HU[1]) & (hu < -500)
    return Surroundings(hu, hu - smooth, lung, of_cube, of_block, centre[0], cube[0])


def one_sided(at: Surroundings) -> float:
    """Skewness of the lung's noise in the block, less that of the lung about it: an injection only ever brightens."""
    inside, outside = at.rest[at.lung & at.block], at.rest[at.lung & ~at.block]
    return _skewness(inside) - _skewness(outside)


def z_faces(at: Surroundings) -> float:
    """How much more the slices differ across the cube's two faces than beside it, the lower of both as a logarithm."""
    step = np.abs(np.diff(at.hu, axis=0))
    both = at.lung[1:] & at.lung[:-1]
    within, beside = both & at.cube.any(axis=0), both & ~at.block.any(axis=0)
    ratio = np.array([_mean(s[a]) / _mean(s[b]) for s, a, b in zip(step, within, beside, strict=True)])
    logs = np.log(ratio)
    low, high = at.centre - at.high // 2 - 1, at.centre - at.high // 2 - 1 + at.high
    if not (low >= 0 and high < len(logs)) or np.isnan(logs[[low, high]]).any():
        return float("nan")
    return float(logs[[low, high]].min() - np.nanmedian(logs))


def noise_level(at: Surroundings) -> float:
    """By how much the noise of the cube's lung differs from that of the lung about it, as a logarithm without sign."""
    bands = []
    smooth = at.hu - at.rest
    for low in range(*_LUNG_HU, 50):
        band = at.lung & (smooth >= low) & (smooth < low + 50)
        inside, outside = at.rest[band & at.cube], at.rest[band & ~at.block]
        if min(len(inside), len(outside)) >= _ENOUGH:
            bands.append(np.log(_spread(inside) / _spread(outside)))
    return abs(float(np.median(bands))) if bands else float("nan")


def spike(at: Surroundings) -> float:
    """Voxels of the cube at -1000 HU against those at -1001 and -999, as a logarithm, less the same about it."""
    inside, outside = at.hu[at.cube], at.hu[~at.block]
    return _spike(inside) - _spike(outside)


TRACES: dict[str, Callable[[Surroundings], float]] = {
    "one-sided change": one_sided,
    "steps at the z faces": z_faces,
    "noise level by HU band": noise_level,
    "spike at -1000 HU": spike,
}


def _skewness(values: NDArray[np.float32]) -> float:
    if len(values) < _ENOUGH:
        return float("nan")
    centred = np.clip(values, *np.percentile(values, (0.5, 99.5))).astype(np.float64)
    centred -= centred.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean()) if len(values) >= _ENOUGH // 4 else float("nan")


def _spread(values: NDArray[np.float32]) -> float:
    return max(float(np.median(np.abs(values))), 0.5)


def _spike(values: NDArray[np.float32]) -> float:
    exact, beside = (np.count_nonzero(np.isin(values, at)) for at in ((-1000,), (-1001, -999)))
    return float(np.log((exact + 1) / (beside / 2 + 1)))


def measured(volume: Volume, site: Ijk) -> dict[str, float]:
    """Every trace at a place; NaN where it cannot be measured."""
    at = surroundings(volume, site)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: trace(at) for name, trace in TRACES.items()}


def places_of(volume: Volume, count: int, sweeper: Sweeper) -> Iterator[tuple[str, Volume, Ijk]]:
    """Places of a series: what they are, the volume they are in, and where."""
    for n in range(count):
        for kind in ("remove", "inject"):
            hu, site = forged_in_lung(volume, PASTING, kind, np.random.default_rng([n, 11]))
            yield kind, load_volume((hu, volume.ijk_to_ras)), site
        yield "untouched", volume, random_lung_place(volume, np.random.default_rng([n, 12]))
    first = len(volume.hu) // 2 - _SWEPT // 2
    slices = volume.hu[max(first, 0) : first + _SWEPT]
    heatmap = Heatmap(np.stack(list(sweeper.sweep(slices))), heatmap_ijk_to_ras(volume.ijk_to_ras))
    for k, j, i in candidates(heatmap, max(first, 0)):
        yield "untouched, hot", volume, (i, j, k)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure traces at single places.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ct/")
    parser.add_argument(
        "--places", type=int, default=8, help="forged places of each kind, and random untouched ones"
    )
    args = parser.parse_args(argv)
    sweeper = Sweeper(load_model().detector)
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for scan in read_source("data", str(args.data)):
        volume = scan.load()
        try:
            for what, of, site in places_of(volume, args.places, sweeper):
                for trace, value in measured(of, site).items():
                    values[trace, what].append(value)
        except InputError as error:
            print(f"{scan.name}: not forged, {error}", flush=True)
            continue
        print(f"{scan.name}: done; {CANDIDATES} hot places at most", flush=True)
    print_table(values)


def print_table(values: dict[tuple[str, str], list[float]]) -> None:
    """Area under the ROC curve, and the share above the highest untouched place."""
    print("| trace | forgery | places | AUC | above every untouched place | untouched, of them hot |")
    print("|---|---|---|---|---|---|")
    for trace in TRACES:
        usual, hot = (_finite(values[trace, what]) for what in ("untouched", "untouched, hot"))
        untouched = np.concatenate([usual, hot])
        for kind in ("remove", "inject"):
            forged = _finite(values[trace, kind])
            labels = np.r_[np.ones(len(forged)), np.zeros(len(untouched))]
            auc = roc_auc_score(labels, np.concatenate([forged, untouched]))
            above = np.count_nonzero(forged > untouched.max())
            print(
                f"| {trace} | {kind} | {len(forged)} | {auc:.2f} | {above} | {len(untouched)}, {len(hot)} |"
            )


def _finite(values: list[float]) -> NDArray[np.float64]:
    given = np.array(values)
    return given[np.isfinite(given)]


if __name__ == "__main__":
    run_command(main)
