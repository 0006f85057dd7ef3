"""From slices to 3-D tampered regions: the paper's n-of-m rule (Section 4.1), in millimetres for any slice spacing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.heatmap import Heatmap
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import CENTRE, STRIDE

CASCADE = "cascade"
"""Source of a region that the cascade found; any other is the name of an evidence test."""

PAPER_RUN = (9, 10)
"""The paper's rule: at least 9 of 10 consecutive slices."""


@dataclass(frozen=True)
class RegionRule:
    """When slices make a tampered region.

    Of the consecutive slices that cover ``stretch_mm``, at least ``share`` have p(slice forged) of
    ``slice_probability`` and windows of ``window_threshold`` at the same place. CT-GAN's cube is 32 mm high, and half
    of it is asked for; so many slices that agree need not each be beyond doubt, as one that is flagged alone must be.
    Fewer than ``fewest_slices`` do not tell a forgery from a vessel. A region wider than ``widest_mm`` in the slice's
    plane is no small-region forgery (CT-GAN touches 42 mm) but a whole image that was processed, or a scanner the
    detector does not know.
    """

    window_threshold: float
    slice_probability: float = 0.5
    stretch_mm: float = 15.0
    fewest_slices: int = 4
    share: float = 0.9
    widest_mm: float = 80.0

    def run(self, slice_spacing_mm: float, slices: int) -> tuple[int, int]:
        """(n, m): how many of how many consecutive slices; fewer where the volume has fewer."""
        m = min(max(self.fewest_slices, math.floor(self.stretch_mm / slice_spacing_mm)), slices)
        return math.ceil(self.share * m - 1e-9), m


@dataclass(frozen=True)
class Region:
    """One tampered region. IJK are CT voxels (i, j, k), RAS and sizes are in mm; ranges include both ends."""

    id: int
    source: str
    score: float
    """In 0…1. Of the cascade: the highest p(forged) that n of m consecutive slices of the region reach. Of an evidence
    test: 1 − the probability that an untouched scan shows as much."""
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
    geometry; and how many places were passed over because they are too wide for a small-region forgery."""

    regions: tuple[Region, ...]
    labels: NDArray[np.uint8]
    too_wide: int


def find_regions(
    volume: Volume, heatmap: Heatmap, slice_probability: NDArray[np.float64], rule: RegionRule
) -> FoundRegions:
    """3-D connected regions of hot windows that satisfy ``rule``; ``slice_probability`` [k] is p(slice forged).

    A volume of one slice has no neighbours to ask and gets no regions.
    """
    labels = np.zeros(heatmap.p.shape, np.uint8)
    if len(slice_probability) < 2:
        return FoundRegions((), labels, 0)
    n, m = rule.run(volume.spacing_mm[2], len(slice_probability))
    suspect = slice_probability >= rule.slice_probability
    hot = (heatmap.p >= rule.window_threshold) & suspect[:, None, None]
    parts, count = ndimage.label(_bridged(hot, gap=m - n), structure=np.ones((3, 3, 3)))
    found, too_wide = [], 0
    for part, box in zip(range(1, count + 1), ndimage.find_objects(parts), strict=True):
        mask = (parts[box] == part) & hot[box]
        profile = np.where(mask, heatmap.p[box], 0).max(axis=(1, 2))
        if _best_run(profile > 0, n, m) < n:
            continue
        if max(_extent_mm(volume, box)[:2]) > rule.widest_mm:
            too_wide += 1
            continue
        found.append((_nth_highest(profile, n, m), box, mask, profile))
    found.sort(key=lambda f: -f[0])
    for number, (_, box, mask, _) in enumerate(found[:255], start=1):
        labels[box][mask] = number
    regions = tuple(_describe(i, volume, heatmap, *f) for i, f in enumerate(found[:255], start=1))
    return FoundRegions(regions, labels, too_wide)


def scan_probability(
    slice_probability: NDArray[np.float64], slice_spacing_mm: float, rule: RegionRule
) -> float:
    """p(scan forged): the highest probability that n of m consecutive slices reach; a slice alone: its own."""
    n, m = rule.run(slice_spacing_mm, len(slice_probability)) if len(slice_probability) > 1 else (1, 1)
    return _nth_highest(slice_probability, n, m)


def _bridged(hot: NDArray[np.bool_], gap: int) -> NDArray[np.bool_]:
    """Hot windows joined along k over the slices that the n-of-m rule lets miss."""
    if gap == 0:
        return hot
    return (
        ndimage.binary_closing(np.pad(hot, ((gap, gap), (0, 0), (0, 0))), np.ones((gap + 1, 1, 1)))[gap:-gap]
        | hot
    )


def _best_run(present: NDArray[np.bool_], n: int, m: int) -> int:
    """Most slices present in any m consecutive ones; runs shorter than m count as they are."""
    return int(np.convolve(present, np.ones(m, int)).max())


def _nth_highest(profile: NDArray[np.floating], n: int, m: int) -> float:
    """The highest value that at least n of some m consecutive entries reach; 0 when there are fewer than n."""
    if len(profile) < n:
        return 0.0
    padded = np.pad(np.asarray(profile, np.float64), (0, max(0, m - len(profile))))
    stretches = np.lib.stride_tricks.sliding_window_view(padded, m)
    return float(np.sort(stretches, axis=1)[:, -n].max())


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


def _describe(
    number: int,
    volume: Volume,
    heatmap: Heatmap,
    score: float,
    box: tuple[slice, slice, slice],
    mask: NDArray[np.bool_],
    profile: NDArray[np.float32],
) -> Region:
    weights = np.where(mask, heatmap.p[box], 0)
    k, r, c = (float(at + part.start) for at, part in zip(ndimage.center_of_mass(weights), box, strict=True))
    center = (STRIDE * c + CENTRE, STRIDE * r + CENTRE, k)
    n, m = PAPER_RUN
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
        paper_rule=_best_run(profile > 0, n, m) >= n,
    )
