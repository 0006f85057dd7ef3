"""Forged slices of our own making: the genuine ones show 33 scans, these the same way of forging on other scanners.

Any forgers will do. ``pastings`` are CT-GAN's published pasting, with every noise touch-up there is, with made-up
content (``forgers.published_pasting``) or what generators of ours paint (``forgers.ctgan``). They forge at random
places in the lungs of untouched series and, where readers marked nodules, remove those. The slices are made anew from
the seed whenever they are asked for, so that nothing forged has to be kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.blending import starve
from training.forgers.ctgan.forger import ctgan
from training.forgers.forger import Forger
from training.forgers.published_pasting import PublishedPasting, TouchUp, procedural_content
from training.lung_sites import DIAMETER_MM, forged_at_random, random_place
from training.progress import progress
from training.sites import SiteKind
from training.slices import Slice, SliceSite

REACH_MM = 10.0
"""Slices up to here from a site's centre may be taken; CT-GAN's cube reaches 16 mm."""
SLICES_OF_A_SITE = 4
_CENTRE_PX = 10  # to each side of a site's centre: there windows are positive (``crops.Mix``)
_LEAST_HU = 20.0
"""Beside the site's own slice, one is taken if the square about the centre changed by so much in the mean. A removal
changes all slices up to ``REACH_MM`` by more; an injected nodule often ends before, and where only the fading block is
left next to nothing has changed."""


def pastings(generators: Path | None) -> list[Forger]:
    """CT-GAN's way of forging; ``generators`` is the folder of CT-GANs (``inject/`` and ``remove/``) that also paint.

    Raises ModelError for generators that are missing or damaged.
    """
    painted = [PublishedPasting(procedural_content), *([ctgan(generators)] if generators else [])]
    return [replace(pasting, touch_up=touch_up) for touch_up in get_args(TouchUp) for pasting in painted]


def made_slices(
    slices: Sequence[Slice], forgers: Sequence[Forger], sites: int, seed: int, starved: float = 0.0
) -> list[Slice]:
    """Forged slices of the untouched series among ``slices``, ``sites`` sites in each; forgers and kinds by turns.

    A series whose spacing a forger cannot work at gives none of its. ``starved`` is the share of sites whose series
    gets the noise of photon starvation before it is forged.
    """
    series: dict[str, list[Slice]] = defaultdict(list)
    for s in slices:
        if s.between_mm and not s.forged:
            series[s.series].append(s)
    turns = [(forger, kind) for forger in forgers for kind in forger.kinds]
    made: list[Slice] = []
    for index, name in enumerate(progress(sorted(series), "forging in whole series")):
        members = sorted(series[name], key=lambda s: s.k)
        for n, (forger, kind) in enumerate(islice(cycle(turns), sites)):
            rng = np.random.default_rng([seed, index, n])
            noisy = starved and rng.random() < starved
            made += _site(_starved(members, rng) if noisy else members, forger, kind, rng)
    return made


def _starved(members: list[Slice], rng: np.random.Generator) -> list[Slice]:
    noisy = starve(np.stack([s.hu for s in members]).astype(np.float32), rng)
    return [replace(s, hu=hu.astype(np.int16)) for s, hu in zip(members, noisy, strict=True)]


def _site(members: list[Slice], forger: Forger, kind: SiteKind, rng: np.random.Generator) -> list[Slice]:
    """Some slices of one site; none where no place fits."""
    of = members[0]
    volume = Volume(
        np.stack([s.hu for s in members]),
        np.diag([of.spacing_mm, of.spacing_mm, of.between_mm, 1.0]),
        of.series,
    )
    nodules = [(round(x), round(y), k) for k, s in enumerate(members) for x, y in s.lesions]
    place = partial(random_place, volume, kind, nodules, rng)
    try:
        forged, site = forged_at_random(volume, forger, kind, rng, place, DIAMETER_MM)
    except InputError:
        return []
    x, y, k = site.voxel
    reach = int(REACH_MM / of.between_mm)
    near = range(max(k - reach, 0), min(k + reach + 1, len(members)))
    about = np.s_[y - _CENTRE_PX : y + _CENTRE_PX + 1, x - _CENTRE_PX : x + _CENTRE_PX + 1]
    changed = [
        at
        for at in near
        if at == k
        or np.abs(forged.hu[at][about].astype(np.float32) - members[at].hu[about]).mean() >= _LEAST_HU
    ]
    name = f"made/{of.series}/{forger.name}-{x}-{y}-{k}-{kind}"
    return [
        Slice(
            name=f"{name}/{at}",
            patient=of.patient,
            series=name,
            k=int(at),
            hu=forged.hu[at].copy(),  # a view would keep the whole volume
            spacing_mm=of.spacing_mm,
            between_mm=of.between_mm,
            forged=(
                SliceSite(x, y, block_side(forged.changed_mask[at], x, y), abs(at - k) * of.between_mm, kind),
            ),
            twin=members[at].hu,
        )
        for at in rng.permutation(changed)[:SLICES_OF_A_SITE]
    ]


def block_side(changed: NDArray[np.bool_], x: int, y: int) -> int:
    """Side in pixels of the square about (x, y) that holds all that changed in a slice [j, i]."""
    rows, columns = np.nonzero(changed)
    return 2 * int(max(np.abs(rows - y).max(initial=0), np.abs(columns - x).max(initial=0))) + 1
