"""What every evidence test answers with: one finding in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evidence:
    """The answer of one test that needs no training. A test gives one, or one a place that it found.

    Attributes:
        test: the test's name, ``copied_noise`` for example; also the ``source`` of a region made of it.
        applicable: whether the test can say anything about this series.
        reason: why it cannot, a sentence; None where it can.
        found: whether the score reaches the threshold.
        score: the test's own statistic; None where it is not applicable.
        threshold: from the maxima of untouched series; None for a test that counts or compares exactly.
        center_ijk: the place in CT voxels (i, j, k); None for a finding of the whole series.
        center_ras: the same place in mm (right, anterior, superior).
        text: a sentence that a radiologist understands, with the place where there is one.
    """

    test: str
    applicable: bool
    reason: str | None
    found: bool
    score: float | None
    threshold: float | None
    center_ijk: tuple[float, float, float] | None
    center_ras: tuple[float, float, float] | None
    text: str


Step = Callable[[float], None]
"""Told the share of a test that is done, 0…1, a few times a second; raises ScanCancelled where the user said so."""


def not_applicable(test: str, reason: str) -> Evidence:
    """A test that can say nothing about this series; ``reason`` is a sentence that says why."""
    return Evidence(test, False, reason, False, None, None, None, None, reason)


def nothing_found(
    test: str, text: str, score: float | None = None, threshold: float | None = None
) -> Evidence:
    """A test that was made and found nothing."""
    return Evidence(test, True, None, False, score, threshold, None, None, text)


@dataclass(frozen=True, eq=False)
class Exhibit:
    """Two places of a scan that a picture shows side by side.

    Attributes:
        site_ijk: where the site is, in the slice that is shown; ``source_ijk``: where the source is.
        site_hu: int16 [j, i] about the site; ``source_hu``: about the source, turned as the site has it.
        zoomed: first row, first column and side in pixels of the part of both whose noise is shown.
        site_noise: that part's whitened noise, smoothed, float32 [j, i]; 0 where there is no even lung at both.
        source_noise: the same of the source.
        agreement: float32 [j, i], how much all their noise agrees at each shift of one over the other, the middle
            being the copy's, in standard deviations of what independent noise gives.
        turned: whether the source was mirrored or turned.
    """

    site_ijk: tuple[int, int, int]
    source_ijk: tuple[int, int, int]
    site_hu: NDArray[np.int16]
    source_hu: NDArray[np.int16]
    zoomed: tuple[int, int, int]
    site_noise: NDArray[np.float32]
    source_noise: NDArray[np.float32]
    agreement: NDArray[np.float32]
    turned: bool


@dataclass(frozen=True, eq=False)
class Place:
    """Where a finding lies: voxel ranges (i, j, k) with both ends, how certain (1 − p(untouched)), what to show."""

    extent_ijk: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    certainty: float
    exhibit: Exhibit


@dataclass(frozen=True, eq=False)
class Finding:
    """An answer, and the place it names; None where it names none."""

    evidence: Evidence
    place: Place | None = None


def part_of(step: Step, first: float, last: float) -> Step:
    """The progress of a part of a test that goes from the share ``first`` to ``last``."""
    return lambda share: step(first + share * (last - first))
