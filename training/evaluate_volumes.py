"""Whole volumes forged at known places: does the cascade find them as regions?

``python -m training.evaluate_volumes --config training/configs/ctgan-v1.yaml --data DIR --runs RUNS``

Untouched series are forged by CT-GAN's published pasting rules with made-up content (``training.forgers``: no
generator), one site at a time, twice injected and twice removed. Each whole scan is judged by the detector and the
region rule of the fold that never saw the patient. What it says of genuine CT-GAN volumes is limited, but it is the
one measure of whole scans at hand, and the content is of no generator that the detector was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.regions import RegionRule, find_regions
from CTForgeryScanLib.volume import Volume, load_volume
from CTForgeryScanLib.windows import CENTRE, STRIDE, heatmap_ijk_to_ras
from training.config import read_config
from training.evaluate import SITE_PX, read_judges
from training.experiment import arguments
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.lung_sites import forged_at_random, random_lung_place
from training.out_of_fold import load_detector
from training.sites import SiteKind
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
_KINDS: tuple[SiteKind, ...] = ("inject", "remove", "inject", "remove")
_FORGER = PublishedPasting(procedural_content)
FROM_THE_ENDS = 12


@dataclass(frozen=True)
class Outcome:
    """What became of one forged site: the score of its region, 0 where no place on it is as hot as the hottest
    elsewhere, whether it is a region at the default operating point, and how many regions lie elsewhere."""

    series: str
    kind: SiteKind
    ijk: tuple[int, int, int]
    peak_on_site: bool
    score: float
    found: bool
    false_regions: int


def scan_forged(
    volume: Volume, untouched: NDArray[np.float32], kind: SiteKind, sweeper: Sweeper, seed: int
) -> tuple[tuple[int, int, int], NDArray[np.float32]]:
    """Forge one site in lung at random: its (i, j, k) and the forged scan's p(forged) [k, r, c].

    ``untouched`` is the heatmap before; only the slices that the forgery changed are swept again.
    """
    rng = np.random.default_rng(seed)
    place = partial(random_lung_place, volume, rng, off_the_ends=FROM_THE_ENDS, inside=True)
    forged, site = forged_at_random(volume, _FORGER, kind, rng, place)
    p = untouched.copy()
    changed = np.flatnonzero(forged.changed_mask.any(axis=(1, 2)))
    p[changed] = np.stack(list(sweeper.sweep(forged.hu[changed])))
    return site.voxel, p


def judge(
    volume: Volume,
    p: NDArray[np.float32],
    ijk: tuple[int, int, int],
    kind: SiteKind,
    rule: RegionRule,
    score: float,
) -> Outcome:
    """Whether the site at ``ijk`` is found in the forged scan's heatmap."""
    heatmap = Heatmap(p, heatmap_ijk_to_ras(volume.ijk_to_ras))
    candidates = find_regions(volume, heatmap, rule, 0.0).regions
    hits = [r for r in candidates if _near(r.center_ijk[:2], ijk) and r.slices[0] <= ijk[2] <= r.slices[1]]
    others = [r for r in candidates if r not in hits]
    r, c = np.unravel_index(np.argmax(p[ijk[2]]), p.shape[1:])
    best = max((hit.score for hit in hits), default=0.0)
    return Outcome(
        series=volume.source,
        kind=kind,
        ijk=ijk,
        peak_on_site=_near((STRIDE * c + CENTRE, STRIDE * r + CENTRE), ijk),
        score=round(best, 4),
        found=best >= score,
        false_regions=sum(other.score >= score for other in others),
    )


def _near(place: tuple[float, float], ijk: tuple[int, int, int]) -> bool:
    return bool(np.hypot(place[0] - ijk[0], place[1] - ijk[1]) < SITE_PX)


def main(argv: Sequence[str] | None = None) -> None:
    """Forge, scan and print one row a site and the sums."""
    args = arguments("Judge the cascade on whole volumes forged at known places.").parse_args(argv)
    fold_of = read_folds(args.config.parent / read_config(args.config).folds)
    judges = read_judges(args.runs)
    outcomes: list[Outcome] = []
    for series in SERIES:
        volume = load_volume(args.data / "ct" / series)
        fold = fold_of[series]
        point, rule = judges[str(fold)]
        sweeper = Sweeper(load_detector(args.runs / f"fold-{fold}" / "detector.safetensors"), "cpu")
        untouched = np.stack(list(sweeper.sweep(volume.hu)))
        for kind in _KINDS:
            ijk, p = scan_forged(volume, untouched, kind, sweeper, seed=len(outcomes))
            outcomes.append(judge(volume, p, ijk, kind, rule, point.region_score))
            print(outcomes[-1], flush=True)
    for kind in ("inject", "remove"):
        of_kind = [o for o in outcomes if o.kind == kind]
        print(
            f"{kind}: {sum(o.found for o in of_kind)} of {len(of_kind)} sites found as a region, highest window on the "
            f"site in {sum(o.peak_on_site for o in of_kind)}, {sum(o.false_regions for o in of_kind)} false regions"
        )


if __name__ == "__main__":
    main()
