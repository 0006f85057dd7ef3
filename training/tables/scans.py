"""Table 4: whole scans forged at one to three places, judged by the detector and rules that never saw the patient.

The paper attacked its scans with CT-GAN. Here CT-GAN's published pasting does it, with made-up content or what
generators of ours paint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.regions import FoundRegions, find_regions
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import CENTRE, STRIDE, heatmap_ijk_to_ras
from training.evaluate_volumes import FROM_THE_ENDS
from training.evaluation.counts import Counts
from training.evaluation.froc import NO_SITE, ProposedPlaces, hits
from training.evaluation.scans import TamperedArea
from training.evaluation.voxels import voxel_counts
from training.fit_slice_classifier import Fitted
from training.forgers.forger import Forger
from training.lung_sites import forge_apart
from training.sites import Site, SiteKind
from training.whole_file import whole

ON_SITE_MM = 20.0
"""A region whose centre lies so near to a forged site's has found it: CT-GAN repaints 32 mm."""
CHANGED_HU = 10
"""Voxels that differ by less do not count as changed: pasting touches far more than it repaints."""


@dataclass(frozen=True)
class JudgedScan:
    """What was said of one scan, in numbers that can be kept: slice by slice, and place by place."""

    patient: str
    series: str
    spacing_mm: float
    flagged: list[bool]
    areas: list[TamperedArea]
    scores: list[float]
    hits: list[int]
    regions_on_sites: int
    false_regions: int
    voxels: Counts | None

    @property
    def places(self) -> ProposedPlaces:
        """For FROC."""
        return ProposedPlaces(self.patient, np.array(self.scores), np.array(self.hits, int), len(self.areas))


@dataclass(frozen=True)
class ForgedScan:
    """A scan after all its forgeries: each one's slices, and which voxels differ at all and visibly, bool [k, j, i]."""

    volume: Volume
    sites: list[Site]
    areas: list[TamperedArea]
    touched: NDArray[np.bool_]
    changed: NDArray[np.bool_]


def forge_scan(volume: Volume, kinds: Sequence[SiteKind], forger: Forger, seed: int) -> ForgedScan:
    """Forge one place after the other; none for an untouched scan. Raises InputError where no place fits."""
    forged = forge_apart(volume, kinds, forger, np.random.default_rng(seed), off_the_ends=FROM_THE_ENDS)
    areas = []
    for site, mask in zip(forged.sites, forged.masks, strict=True):
        touched = np.flatnonzero(mask.any(axis=(1, 2)))
        areas.append(TamperedArea(site.voxel[2], int(touched[0]), int(touched[-1])))
    difference = np.abs(forged.volume.hu.astype(np.int32) - volume.hu)
    return ForgedScan(forged.volume, forged.sites, areas, difference > 0, difference >= CHANGED_HU)


def judge_scan(patient: str, scan: ForgedScan, sweeper: Sweeper, fitted: Fitted) -> JudgedScan:
    """Sweep the scan and ask slice classifier and region rule, at the default operating point.

    A slice is flagged for itself or in a region, as a scan does it. A place elsewhere is wrong only where nothing was
    touched, as in ``evaluate_volumes``.
    """
    point = next(iter(fitted.points.values()))
    p = np.stack(list(sweeper.sweep(scan.volume.hu)))
    heatmap = Heatmap(p, heatmap_ijk_to_ras(scan.volume.ijk_to_ras))
    found = find_regions(scan.volume, heatmap, fitted.rule, point.region_score)
    flagged = fitted.classifier.probability(p) >= point.slice_threshold
    for region in found.regions:
        flagged[region.slices[0] : region.slices[1] + 1] = True
    places = find_regions(scan.volume, heatmap, fitted.rule, 0.0).regions
    nearest = hits(
        [region.center_ras for region in places],
        [scan.volume.ijk_to_ras_point(site.ijk) for site in scan.sites],
        ON_SITE_MM,
    ).tolist()
    told = [
        (site, region)
        for site, region in zip(nearest, places, strict=True)
        if site != NO_SITE or not scan.touched[tuple(round(n) for n in region.center_ijk[::-1])]
    ]
    on, every = [site for site, _ in told], [region for _, region in told]
    on_site = [site for site, region in zip(on, every, strict=True) if region.score >= point.region_score]
    return JudgedScan(
        patient=patient,
        series=scan.volume.source,
        spacing_mm=scan.volume.spacing_mm[2],
        flagged=flagged.tolist(),
        areas=scan.areas,
        scores=[region.score for region in every],
        hits=on,
        regions_on_sites=len({site for site in on_site if site >= 0}),
        false_regions=sum(site < 0 for site in on_site),
        voxels=_voxels(scan, found) if scan.sites else None,
    )


def _voxels(scan: ForgedScan, found: FoundRegions) -> Counts:
    """Outlined against changed, in the heatmap's geometry: a window stands for the voxel at its centre."""
    rows, columns = (STRIDE * np.arange(n) + int(CENTRE) for n in found.labels.shape[1:])
    changed = scan.changed[:, rows[:, None], columns]
    return voxel_counts(changed, (found.labels > 0).astype(np.float32), 0.5)


def keep_scan(scan: JudgedScan, path: Path) -> None:
    """Write what was said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_text(json.dumps(asdict(scan), indent=1) + "\n", encoding="utf-8")


def read_scan(path: Path) -> JudgedScan:
    """What ``keep_scan`` wrote."""
    given = json.loads(path.read_text(encoding="utf-8"))
    given["areas"] = [TamperedArea(**area) for area in given["areas"]]
    given["voxels"] = Counts(**given["voxels"]) if given["voxels"] else None
    return JudgedScan(**given)
