"""Whole volumes forged at known places: does the cascade find them as regions?

``python -m training.evaluate_volumes --config training/configs/ctgan-v2.yaml --data DIR --runs RUNS
[--forger published_pasting splice ctgan=WEIGHTS …] [--each 3]``

Untouched series are forged (``training.forgers``), at one place or several. Each whole scan is judged by the detector
and the region rule of the fold that never saw the patient. Whole volumes of the genuine CT-GAN are not at hand: forgers
that the detector was not trained on say more of what it will do with the next one than the published pasting, which it
was trained on. RUNS gets ``volumes.json``: by forger and kind what was found, which ``training.evaluate`` puts into the
model's card, and every volume.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.models import DETECTOR
from CTForgeryScanLib.regions import Region, RegionRule, find_regions
from CTForgeryScanLib.volume import Volume, load_volume
from CTForgeryScanLib.windows import CENTRE, STRIDE, heatmap_ijk_to_ras
from training.command import run_command
from training.config import read_config
from training.evaluate import SITE_PX, read_judges
from training.experiment import arguments, training_of
from training.forgers.forger import Forger
from training.forgers.registry import forger_of
from training.lung_sites import DIAMETER_MM, forge_apart
from training.out_of_fold import load_detector
from training.sites import Site, SiteKind
from training.splits import read_folds
from training.volume_outcomes import Outcome, SiteOutcome, keep_outcomes, summary

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
VOLUMES = 4
"""Volumes that each forger makes of a series, its kinds by turns."""
FROM_THE_ENDS = 12
REPAINTED_MM = 10.0
"""From a site's centre along k: what CT-GAN's generator repaints. A region is on the site if it reaches into that."""


def scan_forged(
    volume: Volume,
    untouched: NDArray[np.float32],
    forger: Forger,
    kinds: Sequence[SiteKind],
    sweeper: Sweeper,
    seed: int,
) -> tuple[list[Site], NDArray[np.bool_], NDArray[np.float32]]:
    """Forge sites in lung at random: the sites, what changed [k, j, i], and the forged scan's p(forged) [k, r, c].

    ``untouched`` is the heatmap before; only the slices that the forgeries changed are swept again.
    """
    rng = np.random.default_rng(seed)
    forged = forge_apart(volume, kinds, forger, rng, off_the_ends=FROM_THE_ENDS, diameter_mm=DIAMETER_MM)
    changed = np.logical_or.reduce(forged.masks)
    p = untouched.copy()
    slices = np.flatnonzero(changed.any(axis=(1, 2)))
    p[slices] = np.stack(list(sweeper.sweep(forged.volume.hu[slices])))
    return forged.sites, changed, p


def judge(
    volume: Volume,
    patient: str,
    p: NDArray[np.float32],
    sites: Sequence[Site],
    changed: NDArray[np.bool_],
    forger: Forger,
    rule: RegionRule,
    score: float,
) -> Outcome:
    """Whether the sites, all of one kind, are found in the forged scan's heatmap.

    A place elsewhere is wrong only where nothing ``changed``: CT-GAN touches slices far above and below its site.
    """
    heatmap = Heatmap(p, heatmap_ijk_to_ras(volume.ijk_to_ras))
    candidates = find_regions(volume, heatmap, rule, 0.0).regions
    reach = REPAINTED_MM / volume.spacing_mm[2]
    hits = [[r for r in candidates if _is_on(r, site, reach)] for site in sites]
    on_any = [r.id for of_site in hits for r in of_site]
    others = [
        r
        for r in candidates
        if r.id not in on_any and not changed[tuple(round(n) for n in r.center_ijk[::-1])]
    ]
    found = []
    for site, of_site in zip(sites, hits, strict=True):
        r, c = np.unravel_index(np.argmax(p[site.voxel[2]]), p.shape[1:])
        peak = (STRIDE * c + CENTRE, STRIDE * r + CENTRE)
        best = max((hit.score for hit in of_site), default=0.0)
        found.append(
            SiteOutcome(
                ijk=site.voxel,
                peak_on_site=any(
                    _near(peak, other.voxel)
                    for other in sites
                    if abs(other.voxel[2] - site.voxel[2]) <= reach
                ),
                score=round(best, 6),
                found=best >= score,
            )
        )
    return Outcome(
        patient=patient,
        forger=forger.name,
        kind=sites[0].kind,
        sites=tuple(found),
        elsewhere=tuple(round(other.score, 6) for other in others),
        false_regions=sum(other.score >= score for other in others),
    )


def _is_on(region: Region, site: Site, reach: float) -> bool:
    """Whether the region lies on the site; ``reach`` is what counts as the site's along k, in slices."""
    first, last = region.slices
    return _near(region.center_ijk[:2], site.voxel) and first - reach <= site.voxel[2] <= last + reach


def _near(place: tuple[float, float], ijk: tuple[int, int, int]) -> bool:
    return bool(np.hypot(place[0] - ijk[0], place[1] - ijk[1]) < SITE_PX)


def main(argv: Sequence[str] | None = None) -> None:
    """Forge, scan and print one row a volume, and for each forger the sums."""
    parser = arguments("Judge the cascade on whole volumes forged at known places.")
    parser.add_argument(
        "--forger",
        nargs="+",
        metavar="NAME[=WEIGHTS]",
        default=["published_pasting"],
        help="one after the other; words are those of training.forge",
    )
    parser.add_argument("--each", type=int, default=1, help="sites in a volume, all of one kind (default: 1)")
    args = parser.parse_args(argv)
    if args.each < 1:
        raise InputError(f"--each {args.each}: a forged volume has at least one site.")
    if not (args.data / "ct").is_dir():
        raise InputError(
            f"'{args.data}' holds no ct/: the series that are forged here are the data folder's."
        )
    config = read_config(args.config)
    fold_of = read_folds(args.config.parent / config.folds)
    training = training_of(config, fold_of)
    judges = read_judges(args.runs)
    forgers = [forger_of(word) for word in args.forger]
    outcomes: dict[str, list[Outcome]] = {
        _row(forger, kind, args.each): [] for forger in forgers for kind in forger.kinds
    }
    for series in SERIES:
        volume = load_volume(args.data / "ct" / series)
        if series not in fold_of:
            raise InputError(f"'{config.folds}' has no fold for {series}: these folds are of other data.")
        fold = fold_of[series]
        point, rule = judges[str(fold)]
        sweeper = Sweeper(load_detector(args.runs / f"fold-{fold}" / DETECTOR, training))
        untouched = np.stack(list(sweeper.sweep(volume.hu)))
        for forger in forgers:
            for n, kind in enumerate(islice(cycle(forger.kinds), VOLUMES)):
                seed = VOLUMES * SERIES.index(series) + n
                kinds = [kind] * args.each
                try:
                    sites, changed, p = scan_forged(volume, untouched, forger, kinds, sweeper, seed)
                except InputError as error:
                    print(f"Left out: {error}", file=sys.stderr, flush=True)
                    continue
                # Each of these series has a patient to itself, whom it is named after.
                outcome = judge(volume, series, p, sites, changed, forger, rule, point.region_score)
                outcomes[_row(forger, kind, args.each)].append(outcome)
                print(outcome, flush=True)
    keep_outcomes({name: made for name, made in outcomes.items() if made}, args.runs)
    for name, made in outcomes.items():
        if not made:
            continue
        told = summary(made)
        low, high = told["sensitivity_at_1_8_95"]
        print(
            f"{name}: {told['found']} of {told['sites']} sites found as a region, highest window on the site in "
            f"{told['peak_on_site']}, {told['false_regions']} false regions; sensitivity at 1/8 wrong places a scan "
            f"{told['sensitivity_at_1_8']:.2f} (95 % by patient: {low:.2f}–{high:.2f})"
        )


def _row(forger: Forger, kind: SiteKind, each: int) -> str:
    """By what the figures of some volumes are known."""
    return f"{forger.name}, {kind}" + (f", {each} a volume" if each > 1 else "")


if __name__ == "__main__":
    run_command(main)
