"""Whole scans by the rules of the paper's Table 4: slices counted one by one ("2D"), tampered areas as a whole ("3D").

Section 4.1: a tampered area is found when 9 of 10 consecutive slices about its central slice, all of them tampered,
are flagged; 9 of 10 consecutive untouched slices that are flagged, or 9 consecutive ones, are one false positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.regions import PAPER_RUN
from training.evaluation.counts import Counts, count


@dataclass(frozen=True)
class TamperedArea:
    """A forged site's slices: the central one, the first and the last that were changed, counted from 0."""

    center: int
    first: int
    last: int


def counts_2d(slices: int, areas: Sequence[TamperedArea], flagged: ArrayLike) -> Counts:
    """Answers slice by slice, for a scan of so many slices; ``flagged`` is bool [k]."""
    said = _checked(slices, areas, flagged)
    return count(_tampered(slices, areas), said)


def counts_3d(
    slices: int, areas: Sequence[TamperedArea], flagged: ArrayLike, rule: tuple[int, int] = PAPER_RUN
) -> Counts:
    """Answers area by area; ``rule`` is (n, m): n of m consecutive slices.

    An area of fewer than n slices cannot be found by this rule and counts as missed. Flagged runs of untouched slices
    that overlap are one false positive. Areas that are rightly left alone cannot be counted.
    """
    said = _checked(slices, areas, flagged)
    n, m = rule
    found = sum(_agrees_about(said, area, n, m) for area in areas)
    return Counts(found, _runs(said, ~_tampered(slices, areas), n, m), len(areas) - found)


def _agrees_about(said: NDArray[np.bool_], area: TamperedArea, n: int, m: int) -> bool:
    """Whether n of m consecutive slices of the area, its central one among them, are flagged."""
    starts = range(max(area.first, area.center - m + 1), min(area.center, area.last - m + 1) + 1)
    # An area shorter than m slices is its own and only window.
    windows = [(start, start + m) for start in starts] or [(area.first, area.last + 1)]
    return any(said[first:end].sum() >= n for first, end in windows)


def _runs(said: NDArray[np.bool_], among: NDArray[np.bool_], n: int, m: int) -> int:
    """How many separate runs there are ``among`` these slices in which n of m consecutive ones are flagged."""
    covered = np.zeros(len(said), bool)
    stretches, _ = ndimage.label(among)
    for (stretch,) in ndimage.find_objects(stretches):
        width = min(m, stretch.stop - stretch.start)
        for start in range(stretch.start, stretch.stop - width + 1):
            if said[start : start + width].sum() >= n:
                covered[start : start + width] = True
    return int(ndimage.label(covered)[1])


def _tampered(slices: int, areas: Sequence[TamperedArea]) -> NDArray[np.bool_]:
    tampered = np.zeros(slices, bool)
    for area in areas:
        tampered[area.first : area.last + 1] = True
    return tampered


def _checked(slices: int, areas: Sequence[TamperedArea], flagged: ArrayLike) -> NDArray[np.bool_]:
    said = np.asarray(flagged)
    if said.shape != (slices,):
        raise InputError(
            f"The scan has {slices} slices and {said.shape} were judged: give one answer a slice."
        )
    for area in areas:
        if not 0 <= area.first <= area.center <= area.last < slices:
            raise InputError(
                f"The tampered area {area} does not lie in a scan of {slices} slices: count them from 0."
            )
    return said.astype(bool)
