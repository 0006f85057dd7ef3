"""What every evidence test answers with: one finding in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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
class Tile:
    """One of the squares of an exhibit.

    Attributes:
        words: what it shows.
        values: float32 [j, i].
        kind: HU, noise about 0 (0 where there is none), or how strong something is, from 0 up.
        marked: first row, first column and side in pixels of the part that is outlined.
    """

    words: str
    values: NDArray[np.float32]
    kind: Literal["hu", "noise", "strength"]
    marked: tuple[int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What a picture shows of a finding: a sentence and up to five squares side by side."""

    title: str
    tiles: tuple[Tile, ...]


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
