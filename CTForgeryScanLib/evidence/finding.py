"""What every evidence test answers with: one finding in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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


def nothing_found(test: str, text: str, score: float | None = None, threshold: float | None = None) -> Evidence:
    """A test that was made and found nothing."""
    return Evidence(test, True, None, False, score, threshold, None, None, text)
