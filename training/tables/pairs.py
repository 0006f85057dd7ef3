"""The paper's data set made anew: slices about a forged site, and the same slices before (Section 4.1, "Data set")."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from CTForgeryScanLib.errors import InputError
from training.data import Slice, SliceSite
from training.evaluate_volumes import FROM_THE_ENDS
from training.forgers.forger import Forger
from training.lung_sites import forged_at_random, random_lung_place
from training.out_of_fold import Series

AROUND = 2
"""Slices before and after the site's own that are taken: five in all."""


def paired_slices(series: Sequence[Series], forger: Forger, sites: int, seed: int) -> list[Slice]:
    """Five forged slices of each site and as many untouched ones, ``sites`` in each series, kinds by turns.

    As in the paper, half of the untouched slices are the forged ones' own before, the others lie anywhere in the
    series. Series that the forger cannot work on give none; raises InputError when all of them do.
    """
    made: list[Slice] = []
    for number, one in enumerate(series):
        rng = np.random.default_rng([seed, number])
        for n in range(sites):
            try:
                made += _pairs(one, forger, n, rng)
            except InputError as error:
                print(f"{one.volume.source}: {error}", flush=True)
                break
    if not made:
        raise InputError(f"None of {len(series)} series could be forged: give series of more slices.")
    return made


def _pairs(series: Series, forger: Forger, n: int, rng: np.random.Generator) -> list[Slice]:
    kind = forger.kinds[n % len(forger.kinds)]
    place = partial(random_lung_place, series.volume, rng, off_the_ends=FROM_THE_ENDS, inside=True)
    forged, site = forged_at_random(series.volume, forger, kind, rng, place, diameter_mm=(8, 20))
    i, j, k = site.voxel
    block = int(np.ptp(np.flatnonzero(forged.changed_mask.any(axis=(0, 1))))) + 1
    pairs = []
    for at in range(max(k - AROUND, 0), min(k + AROUND + 1, len(series.slices))):
        before = series.slices[at]
        reach = abs(at - k) * before.between_mm
        name = f"{series.volume.source}/{n}/{at:03d}"
        pairs.append(
            Slice(
                name=f"{name}/forged",
                patient=before.patient,
                series=before.series,
                k=at,
                hu=forged.hu[at].copy(),  # a view would keep the whole volume
                spacing_mm=before.spacing_mm,
                between_mm=before.between_mm,
                forged=(SliceSite(i, j, block, reach, kind),),
            )
        )
        lesions: tuple[tuple[float, float], ...] = ((float(i), float(j)),)
        if rng.random() < 0.5:
            before = series.slices[rng.integers(len(series.slices))]
            lesions = before.lesions
        pairs.append(
            Slice(
                name=f"{name}/untouched",
                patient=before.patient,
                series=before.series,
                k=before.k,
                hu=before.hu,
                spacing_mm=before.spacing_mm,
                between_mm=before.between_mm,
                lesions=lesions,
            )
        )
    return pairs
