"""The slices that are compared: of genuine CT-GAN sites, and of sites that our generators forge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import load_volume
from training.data import forged_slices
from training.forgers.ctgan.places import knot_places, lung_places
from training.forgers.published_pasting import PublishedPasting
from training.sites import Site, SiteKind

GENUINE, OURS, OURS_WHITE, BEFORE = "genuine", "ours", "ours, white noise", "ours, before"
GROUPS = (GENUINE, OURS, OURS_WHITE, BEFORE)


@dataclass(frozen=True)
class ForgedSlice:
    """The slice [j, i] of a site's centre (x, y).

    ``group`` is GENUINE, OURS (touched up as published), OURS_WHITE (as the genuine ones are) or BEFORE (untouched).
    """

    group: str
    patient: str
    kind: SiteKind
    hu: NDArray[np.int16]
    site: tuple[float, float]
    pixel_mm: float


def genuine(folder: Path) -> Iterator[ForgedSlice]:
    """The centre slices that the authors' own CT-GAN forged."""
    for s in forged_slices(folder):
        own = s.forged[0]
        yield ForgedSlice(
            GENUINE,
            s.patient,
            "inject" if own.kind == "inject" else "remove",
            s.hu,
            (own.x, own.y),
            s.spacing_mm,
        )


def ours(
    forger: PublishedPasting, series: Path, patient: str, per_kind: int, seed: int
) -> Iterator[ForgedSlice]:
    """Sites forged one at a time, each in both ways: injected into healthy lung, removed where knots are brightest."""
    volume, rng = load_volume(series), np.random.default_rng(seed)
    for kind in forger.kinds:
        places = lung_places(volume, 500, rng) if kind == "inject" else knot_places(volume, 500)
        done = 0
        for place in places:
            site = Site(series.name, place.ijk, 0, kind)
            try:
                forged = forger.forge(volume, site, rng)
                white = replace(forger, touch_up="white").forge(volume, site, rng)
            except InputError:
                continue  # too near the border for CT-GAN's cube: another place
            i, j, k = site.voxel
            for group, hu in ((OURS, forged.hu), (OURS_WHITE, white.hu), (BEFORE, volume.hu)):
                yield ForgedSlice(group, patient, kind, hu[k], (i, j), volume.spacing_mm[0])
            done += 1
            if done == per_kind:
                break
        if not done:
            print(f"{series.name}: no site of the kind {kind} could be forged", flush=True)
