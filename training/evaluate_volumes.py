"""Whole volumes forged at known places: does the cascade find them as regions?

``python -m training.evaluate_volumes --config training/configs/ctgan-v1.yaml --data DIR --runs RUNS``

Untouched series are forged by CT-GAN's published pasting rules with made-up content (``training.forgers``: no
generator), one site at a time, twice injected and twice removed. Each is judged by the detector that never saw the
patient and by the shipped second stage. What it says of genuine CT-GAN volumes is limited, but it is the one measure
of whole scans at hand, and the content is of no generator that the detector was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Sweeper, sweep_volume
from CTForgeryScanLib.models import Model, load_model
from CTForgeryScanLib.regions import find_regions
from CTForgeryScanLib.volume import Volume, load_volume
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.config import read_config
from training.crops import lung_mask
from training.evaluate import SITE_PX
from training.experiment import arguments
from training.forgers.published_pasting import Kind, forge
from training.out_of_fold import load_detector
from training.splits import read_folds

SERIES = (
    "LIDC-IDRI-0001",
    "LIDC-IDRI-0002",
    "LIDC-IDRI-0003",
    "LIDC-IDRI-0314",
    "RIDER-0117",
    "CMB-CRC-MSB-01068",
    "TCGA-DE-A4MA",
    "R01-001",
)
"""Series of at least 40 slices whose spacing CT-GAN can forge."""
_KINDS: tuple[Kind, ...] = ("inject", "remove", "inject", "remove")
_AROUND_MM = 24.0
_FROM_THE_ENDS = 12
_TRIES = 20


@dataclass(frozen=True)
class Outcome:
    """What became of one forged site."""

    series: str
    kind: Kind
    ijk: tuple[int, int, int]
    peak_on_site: bool
    found: bool
    false_regions: int
    peak: float
    probability: float


def forge_and_scan(
    series: str, volume: Volume, kind: Kind, model: Model, sweeper: Sweeper, seed: int
) -> Outcome:
    """Forge one site in lung at random and scan the slices within 24 mm of it."""
    rng = np.random.default_rng(seed)
    hu, ijk = _forged(volume, kind, rng)
    half = max(10, int(_AROUND_MM / volume.spacing_mm[2]))
    first, stop = max(0, ijk[2] - half), min(len(hu), ijk[2] + half)
    part = load_volume((hu, volume.ijk_to_ras)).slices(first, stop)
    heatmap = sweep_volume(part, sweeper)
    probability = model.classifier.probability(heatmap.p)
    regions = find_regions(part, heatmap, probability, model.rule).regions
    hits = [
        region
        for region in regions
        if _near(region.center_ijk[:2], ijk) and region.slices[0] <= ijk[2] - first <= region.slices[1]
    ]
    at_site = heatmap.p[ijk[2] - first]
    r, c = np.unravel_index(np.argmax(at_site), at_site.shape)
    on_site = _near((STRIDE * c + CENTRE, STRIDE * r + CENTRE), ijk)
    p = float(probability[ijk[2] - first])
    return Outcome(series, kind, ijk, on_site, bool(hits), len(regions) - len(hits), float(at_site.max()), p)


def _forged(
    volume: Volume, kind: Kind, rng: np.random.Generator
) -> tuple[NDArray[np.int16], tuple[int, int, int]]:
    for _ in range(_TRIES):
        k = int(rng.integers(_FROM_THE_ENDS, len(volume.hu) - _FROM_THE_ENDS))
        places = np.argwhere(ndimage.binary_erosion(lung_mask(volume.hu[k])))
        if len(places) == 0:
            continue
        r, c = places[rng.integers(len(places))]
        ijk = (int(STRIDE * c + CENTRE), int(STRIDE * r + CENTRE), k)
        try:
            return forge(volume.hu, volume.spacing_mm, ijk, kind, rng).hu, ijk
        except InputError:
            # Too near the border for CT-GAN's cube: another place.
            continue
    raise InputError(f"No place to forge was found in '{volume.source}': give a series with more lung.")


def _near(place: tuple[float, float], ijk: tuple[int, int, int]) -> bool:
    return bool(np.hypot(place[0] - ijk[0], place[1] - ijk[1]) < SITE_PX)


def main(argv: Sequence[str] | None = None) -> None:
    """Forge, scan and print one row a site and the sums."""
    args = arguments("Judge the cascade on whole volumes forged at known places.").parse_args(argv)
    config = read_config(args.config)
    fold_of = read_folds(args.config.parent / config.folds)
    model = load_model(args.runs / config.name)
    outcomes: list[Outcome] = []
    for series in SERIES:
        volume = load_volume(args.data / "ct" / series)
        sweeper = Sweeper(
            load_detector(args.runs / f"fold-{fold_of[series]}" / "detector.safetensors"), "cpu"
        )
        for kind in _KINDS:
            outcomes.append(forge_and_scan(series, volume, kind, model, sweeper, seed=len(outcomes)))
            print(outcomes[-1], flush=True)
    for kind in ("inject", "remove"):
        of_kind = [o for o in outcomes if o.kind == kind]
        print(
            f"{kind}: {sum(o.found for o in of_kind)} of {len(of_kind)} sites found as a region, highest window on the "
            f"site in {sum(o.peak_on_site for o in of_kind)}, {sum(o.false_regions for o in of_kind)} false regions"
        )


if __name__ == "__main__":
    main()
