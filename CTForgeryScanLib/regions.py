"""From heatmap to 3-D tampered regions: consecutive slices that agree on a place, measured against the scan itself.

The paper asks 9 of 10 consecutive slices to agree (Section 4.1). Here a place's logits are averaged over the slices
that cover 10 mm, whatever their spacing, and compared with the rest of the same scan: scanners differ more in how hot
their untouched slices are than a forged place differs from an untouched one. How far the hottest place of an untouched
scan rises was measured, and a region's score says how rare its own rise is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.heatmap import Heatmap
from CTForgeryScanLib.places import LIMIT, NEIGHBOURS, place_logits
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import CENTRE, STRIDE

CASCADE = "cascade"
"""Source of a region that the cascade found; any other is the name of an evidence test."""

PAPER_RUN = (9, 10)
"""The paper's rule: at least 9 of 10 consecutive slices."""
_MOST_REGIONS = 20
_OTHER_SITES = 2
"""Hottest columns elsewhere that are left out of what is usual: the paper's scans are forged at up to three places."""


@dataclass(frozen=True)
class RegionRule:
    """When a place is a tampered region, in numbers that travel with the model.

    ``location`` and ``scale`` are those of the Gumbel distribution that the hottest rises of untouched scans follow.
    A rise is a place's logit, averaged over ``stretch_mm`` (CT-GAN's generator repaints 20, but an injected nodule is
    shorter) and at least ``fewest_slices`` (fewer do not tell a forgery from a vessel), above what the scan's stretches
    have elsewhere as their hottest place, in the median. "Elsewhere" begins ``own_mm`` from the place and leaves out
    the two hottest columns there, which may be forged too. A region ends where the rise falls to ``outline`` of its
    peak; one wider than ``widest_mm`` in the slice's plane is no small-region forgery (CT-GAN touches 42 mm) but an
    image that was processed as a whole, or a scanner the detector does not know.
    """

    location: float
    scale: float
    stretch_mm: float = 10.0
    fewest_slices: int = 6
    own_mm: float = 32.0
    outline: float = 0.5
    widest_mm: float = 80.0

    def stretch(self, slice_spacing_mm: float) -> int:
        """How many consecutive slices are averaged."""
        return max(self.fewest_slices, math.floor(self.stretch_mm / slice_spacing_mm))

    def score(self, rise: float) -> float:
        """Share of untouched scans whose hottest place rises less: 0.99 is one false alarm in 100 scans."""
        return math.exp(-math.exp(-(rise - self.location) / self.scale))


@dataclass(frozen=True)
class Region:
    """One tampered region. IJK are CT voxels (i, j, k), RAS and sizes are in mm; ranges include both ends."""

    id: int
    source: str
    score: float
    """Share of untouched scans that show less, 0…1: of the cascade by ``RegionRule.score``, of an evidence test by the
    distribution that its threshold comes from."""
    center_ijk: tuple[float, float, float]
    center_ras: tuple[float, float, float]
    extent_ijk: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    extent_mm: tuple[float, float, float]
    slices: tuple[int, int]
    peak_slice: int
    paper_rule: bool
    """Whether 9 of 10 consecutive slices agree, the paper's own criterion."""


@dataclass(frozen=True)
class FoundRegions:
    """Regions, most suspicious first; the label volume uint8 [k, r, c] (region id, 0 outside) in the heatmap's
    geometry; the score of the scan's most suspicious place that is not too wide, region or not; how many places were
    passed over because they are too wide for a small-region forgery; and whether the scan holds enough lung to say
    anything."""

    regions: tuple[Region, ...]
    labels: NDArray[np.uint8]
    score: float
    too_wide: int
    enough_lung: bool


@dataclass(frozen=True)
class _Peak:
    """The middle (k, r, c) of a hot place, its rise, and the logit that it rises above."""

    krc: tuple[int, int, int]
    rise: float
    usual: float


@dataclass(frozen=True)
class _Place:
    """A suspicious place: its rise, and its outline as a box of the heatmap with the mask [k, r, c] inside."""

    rise: float
    box: tuple[slice, slice, slice]
    mask: NDArray[np.bool_]


def find_regions(volume: Volume, heatmap: Heatmap, rule: RegionRule, score_threshold: float) -> FoundRegions:
    """3-D regions whose score reaches the threshold.

    A volume of fewer than ``rule.fewest_slices`` slices has too few neighbours to ask: it gets no regions and score 0.
    So does one whose hottest place has too little lung beside it to be compared with, as in a small field of view.
    """
    labels = np.zeros(heatmap.p.shape, np.uint8)
    if len(heatmap.p) < rule.fewest_slices:
        return FoundRegions((), labels, 0.0, 0, bool(heatmap.p.any()))
    regions: list[Region] = []
    highest, too_wide, enough_lung = 0.0, 0, False
    for place in _places(volume, heatmap, rule):
        enough_lung = True
        score = rule.score(place.rise)
        if _is_wide(volume, place, rule):
            too_wide += score >= score_threshold
            continue
        highest = max(highest, score)
        if score < score_threshold:
            break
        regions.append(_describe(len(regions) + 1, score, volume, heatmap, place))
        labels[place.box][place.mask] = len(regions)
    return FoundRegions(tuple(regions), labels, highest, too_wide, enough_lung)


def hottest_rise(volume: Volume, heatmap: Heatmap, rule: RegionRule) -> float:
    """The highest rise of a scan's places that are not too wide; 0 without lung.

    A rule's ``location`` and ``scale`` are fitted to those of untouched scans.
    """
    places = _places(volume, heatmap, rule)
    return next((place.rise for place in places if not _is_wide(volume, place, rule)), 0.0)


def _is_wide(volume: Volume, place: _Place, rule: RegionRule) -> bool:
    return max(_extent_mm(volume, place.box)[:2]) > rule.widest_mm


def _places(volume: Volume, heatmap: Heatmap, rule: RegionRule) -> Iterator[_Place]:
    """The places of a scan by their rise, highest first; none holds the peak of another."""
    logits = place_logits(heatmap.p)
    averaged = _stretched(logits, rule.stretch(volume.spacing_mm[2]))
    taken = np.zeros(averaged.shape, bool)
    before: list[tuple[int, int, int]] = []
    for peak in sorted(_peaks(volume, heatmap, averaged, rule), key=lambda peak: -peak.rise):
        if taken[peak.krc]:
            continue
        outline = peak.usual + rule.outline * peak.rise
        parts, _ = ndimage.label(averaged >= outline, np.ones((3, 3, 3)))
        whole = parts == parts[peak.krc]
        # A lower outline may take in a higher place: then both are one, which is known already.
        if any(whole[krc] for krc in before):
            continue
        before.append(peak.krc)
        taken |= whole
        mask = whole.copy()
        # Averaging reaches beyond the site; it ends where its own slices do. A weak place may have none that warm.
        warm = np.flatnonzero((whole & (logits >= outline)).any(axis=(1, 2)))
        if warm.size:
            mask[: warm[0]] = mask[warm[-1] + 1 :] = False
        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        yield _Place(peak.rise, box, mask[box])


def _peaks(
    volume: Volume, heatmap: Heatmap, averaged: NDArray[np.float32], rule: RegionRule
) -> Iterator[_Peak]:
    """The hottest places of the averaged logits, column by column, each ``own_mm`` to every side; the hottest column
    and of each column the hottest place come first.

    They end with a column that has too little lung beside it.
    """
    asked = heatmap.p > 0
    if not asked.any():
        return
    own_c, own_r = (math.ceil(rule.own_mm / (STRIDE * mm)) for mm in volume.spacing_mm[:2])
    along = max(rule.stretch(volume.spacing_mm[2]), math.ceil(rule.own_mm / volume.spacing_mm[2]))
    left = averaged.copy()
    for _ in range(_MOST_REGIONS):
        r, c = _hottest(left)[1:]
        around = (slice(max(0, r - own_r), r + own_r + 1), slice(max(0, c - own_c), c + own_c + 1))
        usual = _usual(averaged, asked, around, (own_r, own_c), rule)
        if usual is None:
            return
        # A scan may be forged at several heights of one column.
        column, rises = left[:, *around], True
        while rises:
            k, r, c = _hottest(column)
            rise = float(column[k, r, c]) - usual
            yield _Peak((k, r + around[0].start, c + around[1].start), rise, usual)
            column[max(0, k - along) : k + along + 1] = -LIMIT
            rises = float(column.max()) > usual
        column[:] = -LIMIT


def _usual(
    averaged: NDArray[np.float32],
    asked: NDArray[np.bool_],
    around: tuple[slice, slice],
    own: tuple[int, int],
    rule: RegionRule,
) -> float | None:
    """What a scan's slices have as their hottest place elsewhere than ``around``, in the median; None with too little
    lung there.

    Where lung is left, the hottest columns elsewhere are left out, too: of two forged places that share most of their
    slices, as in a short range, each would be what is usual for the other.
    """
    elsewhere, beside = averaged.copy(), asked.copy()
    # Slices without lung would make any that has some look hot.
    judged = int(asked.any(axis=(1, 2)).sum())
    usual = None
    for _ in range(1 + _OTHER_SITES):
        elsewhere[:, *around], beside[:, *around] = -LIMIT, False
        compared = np.count_nonzero(beside, axis=(1, 2)) >= NEIGHBOURS**2
        # The median of fewer would be that of nothing, above which any place rises.
        if compared.sum() < max(rule.fewest_slices, judged // 2 + 1):
            break
        usual = float(np.median(elsewhere[compared].max(axis=(1, 2))))
        r, c = _hottest(elsewhere)[1:]
        around = (slice(max(0, r - own[0]), r + own[0] + 1), slice(max(0, c - own[1]), c + own[1] + 1))
    return usual


def _hottest(logits: NDArray[np.float32]) -> tuple[int, int, int]:
    k, r, c = np.unravel_index(np.argmax(logits), logits.shape)
    return int(k), int(r), int(c)


def _stretched(logits: NDArray[np.float32], stretch: int) -> NDArray[np.float32]:
    """Means over ``stretch`` consecutive slices, [k, r, c]; at the volume's ends over the first or last so many."""
    count = len(logits)
    stretch = min(stretch, count)
    sums = np.cumsum(np.pad(logits, ((1, 0), (0, 0), (0, 0))), axis=0, dtype=np.float64)
    means = (sums[stretch:] - sums[:-stretch]) / stretch
    first = np.clip(np.arange(count) - stretch // 2, 0, count - stretch)
    return means[first].astype(np.float32)


def _agree(present: NDArray[np.bool_]) -> bool:
    """Whether n of some m consecutive slices are present, the paper's rule."""
    n, m = PAPER_RUN
    return bool(np.convolve(present, np.ones(m, int)).max() >= n)


def _extent_ijk(
    volume: Volume, box: tuple[slice, slice, slice]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """CT voxels (i, j, k) of the windows in the box; a window stands for the 4×4 pixels about its centre."""
    k, r, c = box

    def pixels(windows: slice, size: int) -> tuple[int, int]:
        first = math.ceil(STRIDE * windows.start + CENTRE - STRIDE / 2)
        return max(first, 0), min(first + STRIDE * (windows.stop - windows.start) - 1, size - 1)

    return pixels(c, volume.shape[2]), pixels(r, volume.shape[1]), (k.start, k.stop - 1)


def _extent_mm(volume: Volume, box: tuple[slice, slice, slice]) -> tuple[float, float, float]:
    ranges = _extent_ijk(volume, box)
    i, j, k = (
        (last - first + 1) * spacing for (first, last), spacing in zip(ranges, volume.spacing_mm, strict=True)
    )
    return i, j, k


def _describe(number: int, score: float, volume: Volume, heatmap: Heatmap, place: _Place) -> Region:
    box = place.box
    p = np.where(place.mask, heatmap.p[box], 0)
    k, r, c = (float(at + part.start) for at, part in zip(ndimage.center_of_mass(p), box, strict=True))
    center = (STRIDE * c + CENTRE, STRIDE * r + CENTRE, k)
    profile = p.max(axis=(1, 2))
    return Region(
        id=number,
        source=CASCADE,
        score=score,
        center_ijk=center,
        center_ras=volume.ijk_to_ras_point(center),
        extent_ijk=_extent_ijk(volume, box),
        extent_mm=_extent_mm(volume, box),
        slices=(box[0].start, box[0].stop - 1),
        peak_slice=box[0].start + int(np.argmax(profile)),
        paper_rule=_agree(profile >= 0.5),
    )
