"""From findings with a place to regions beside those of the cascade, and into its label volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.evidence.finding import Finding
from CTForgeryScanLib.regions import CASCADE, Region
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import CENTRE, STRIDE

_MOST_REGIONS = 255  # what a label volume of bytes can number


def regions_of_findings(volume: Volume, findings: Sequence[Finding], count: int) -> tuple[Region, ...]:
    """A region for each finding that names a place, numbered after ``count`` others; ``volume`` is the whole one."""
    placed = [(f.evidence, f.place) for f in findings if f.place is not None and f.evidence.found]
    regions = []
    for number, (evidence, place) in enumerate(placed[: _MOST_REGIONS - count], start=count + 1):
        assert evidence.center_ijk is not None and evidence.center_ras is not None
        sizes = [
            (last - first + 1) * spacing
            for (first, last), spacing in zip(place.extent_ijk, volume.spacing_mm, strict=True)
        ]
        region = Region(
            id=number,
            source=evidence.test,
            score=place.certainty,
            center_ijk=evidence.center_ijk,
            center_ras=evidence.center_ras,
            extent_ijk=place.extent_ijk,
            extent_mm=(sizes[0], sizes[1], sizes[2]),
            slices=place.extent_ijk[2],
            peak_slice=int(np.clip(evidence.center_ijk[2], 0, len(volume.hu) - 1)),
            paper_rule=False,
        )
        regions.append(region)
    return tuple(regions)


def with_evidence(labels: NDArray[np.uint8], regions: Sequence[Region], first: int) -> NDArray[np.uint8]:
    """The labels [k, r, c] of slices ``first`` …, with the windows of the evidence's regions where none is yet."""
    labels = labels.copy()
    for region in regions:
        if region.source == CASCADE:
            continue
        (i0, i1), (j0, j1), (k0, k1) = region.extent_ijk
        r0, c0 = (max(math.ceil((low - CENTRE) / STRIDE), 0) for low in (j0, i0))
        r1, c1 = (max(math.floor((high - CENTRE) / STRIDE) + 1, 0) for high in (j1, i1))
        part = labels[max(k0 - first, 0) : max(k1 - first + 1, 0), r0:r1, c0:c1]
        part[part == 0] = region.id
    return labels
