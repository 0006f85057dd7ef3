"""FROC: what share of the forged sites is found, against how many places are wrongly proposed in each scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from CTForgeryScanLib.errors import InputError
from training.evaluation.counts import finite, same_length
from training.evaluation.resampling import BOOTSTRAPS, patient_interval

RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False positives a scan at which the field reports sensitivity."""
NO_SITE = -1


@dataclass(frozen=True)
class ProposedPlaces:
    """What was proposed in one scan, forged or untouched: ``scores`` [N], the site that each is on, ``hits`` int [N]
    (``NO_SITE`` for none), and how many ``sites`` were forged. A further place on a site already hit is ignored."""

    patient: str
    scores: NDArray[np.float64]
    hits: NDArray[np.intp]
    sites: int

    def __post_init__(self) -> None:
        scores, hits = same_length("proposed places", scores=self.scores, hits=self.hits)
        finite(scores)
        if hits.size and not NO_SITE <= hits.min() <= hits.max() < self.sites:
            raise InputError(
                f"A place of '{self.patient}' is on site {hits.max()}, but {self.sites} were forged: count from 0."
            )


@dataclass(frozen=True)
class Froc:
    """The curve, thresholds falling: false positives a scan and sensitivity, each [N], both starting at 0."""

    thresholds: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]

    def at(self, rates: Sequence[float] = RATES) -> NDArray[np.float64]:
        """Sensitivity [len(rates)] at no more than so many false positives a scan; not interpolated."""
        last = np.searchsorted(self.false_positives, rates, side="right") - 1
        return self.sensitivity[last]


def hits(places_mm: ArrayLike, sites_mm: ArrayLike, within_mm: float) -> NDArray[np.intp]:
    """The nearest site within ``within_mm`` of each place, ``NO_SITE`` where there is none.

    Both are coordinates [N, 3] in mm, in one system.
    """
    places, sites = (np.asarray(a, np.float64).reshape(-1, 3) for a in (places_mm, sites_mm))
    if not len(sites):
        return np.full(len(places), NO_SITE)
    distance = cdist(places, sites)
    return np.where(distance.min(axis=1) <= within_mm, distance.argmin(axis=1), NO_SITE)


def froc(scans: Sequence[ProposedPlaces]) -> Froc:
    """The curve over all scans together. Raises InputError where no site was forged."""
    sites = sum(scan.sites for scan in scans)
    if not sites:
        raise InputError(f"There is no forged site in {len(scans)} scans: sensitivity needs some.")
    found = np.sort(np.concatenate([_best_on_sites(scan) for scan in scans]))
    wrong = np.sort(np.concatenate([scan.scores[scan.hits == NO_SITE] for scan in scans]))
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([found, wrong]))[::-1]])
    return Froc(
        thresholds,
        (len(wrong) - np.searchsorted(wrong, thresholds)) / len(scans),
        (len(found) - np.searchsorted(found, thresholds)) / sites,
    )


def sensitivity_interval(
    scans: Sequence[ProposedPlaces], rates: Sequence[float] = RATES, bootstraps: int = BOOTSTRAPS
) -> NDArray[np.float64]:
    """95 % interval [2, len(rates)] of ``froc(scans).at(rates)`` over resampled patients."""
    froc(scans)  # its own sentence where there is nothing to measure

    def figures(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        drawn = [scans[row] for row in rows]
        return froc(drawn).at(rates) if any(scan.sites for scan in drawn) else np.full(len(rates), np.nan)

    return patient_interval(figures, [scan.patient for scan in scans], bootstraps)


def _best_on_sites(scan: ProposedPlaces) -> NDArray[np.float64]:
    """The highest score on each site that was proposed at all."""
    return np.array(
        [scan.scores[scan.hits == site].max() for site in np.unique(scan.hits) if site != NO_SITE]
    )
