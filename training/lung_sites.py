"""Random places in healthy lung, and forging at one or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.crops import lung_mask
from training.forgers.forger import ForgedVolume, Forger
from training.sites import Site, SiteKind

Ijk = tuple[int, int, int]

DIAMETER_MM = (8.0, 20.0)
"""Of the sites that are forged; CT-GAN's cube has its own size."""

_OF_NODULES = 0.5
_APART_MM = 32.0  # from the surface of one forged site to the centre of the next: the side of CT-GAN's cube


def random_lung_place(
    volume: Volume, rng: np.random.Generator, *, off_the_ends: int = 0, inside: bool = False, tries: int = 500
) -> Ijk:
    """A random (i, j, k) in lung, so many slices off the ends but in the middle third of a short scan.

    ``inside``: with lung on all sides of it. Raises InputError where there is next to none.
    """
    count = len(volume.hu)
    off = min(off_the_ends, count // 3)
    for _ in range(tries):
        k = int(rng.integers(off, count - off))
        mask = lung_mask(volume.hu[k])
        places = np.argwhere(ndimage.binary_erosion(mask) if inside else mask)
        if len(places):
            r, c = places[rng.integers(len(places))]
            return int(STRIDE * c + CENTRE), int(STRIDE * r + CENTRE), k
    raise InputError(f"No lung was found in '{volume.source}': give a chest CT.")


def lung_place_away(
    volume: Volume,
    taken: Sequence[Site],
    gap_mm: float,
    rng: np.random.Generator,
    *,
    off_the_ends: int = 0,
    tries: int = 100,
) -> Ijk:
    """A random (i, j, k) with lung on all sides, farther than ``gap_mm`` from the surfaces of other sites.

    Raises InputError where there is none.
    """
    for _ in range(tries):
        at = random_lung_place(volume, rng, off_the_ends=off_the_ends, inside=True)
        away = [
            np.linalg.norm(np.subtract(at, site.ijk) * volume.spacing_mm) - site.diameter_mm / 2
            for site in taken
        ]
        if min(away, default=np.inf) > gap_mm:
            return at
    raise InputError(
        f"'{volume.source}' has no lung away from its other sites; ask for fewer sites a volume."
    )


def random_place(
    volume: Volume,
    kind: SiteKind,
    nodules: Sequence[Ijk],
    rng: np.random.Generator,
    *,
    off_the_ends: int = 0,
    inside: bool = False,
) -> Ijk:
    """Where to forge: as ``random_lung_place`` or, for every other removal, at one of the nodules if there are any."""
    if kind == "remove" and nodules and rng.random() < _OF_NODULES:
        return nodules[int(rng.integers(len(nodules)))]
    return random_lung_place(volume, rng, off_the_ends=off_the_ends, inside=inside)


def forged_at_random(
    volume: Volume,
    forger: Forger,
    kind: SiteKind,
    rng: np.random.Generator,
    place: Callable[[], Ijk],
    diameter_mm: tuple[float, float] | None = None,
    tries: int = 60,
) -> tuple[ForgedVolume, Site]:
    """The volume forged at the first of the places that the forger takes, with a diameter from the range; and the site.

    Raises InputError with the forger's last reason where it takes none.
    """
    reason = None
    for _ in range(tries):
        at = place()
        site = Site(volume.source, at, rng.uniform(*diameter_mm) if diameter_mm else 0.0, kind)
        try:
            return forger.forge(volume, site, rng), site
        except InputError as error:
            # Most often too near the border for the forger: another place.
            reason = error
    raise InputError(f"No place to forge was found in '{volume.source}' ({reason}).") from reason


@dataclass(frozen=True)
class ForgedApart:
    """A volume after all its forgeries, their sites, and what each of them changed, bool [k, j, i]."""

    volume: Volume
    sites: list[Site]
    masks: list[NDArray[np.bool_]]


def forge_apart(
    volume: Volume,
    kinds: Sequence[SiteKind],
    forger: Forger,
    rng: np.random.Generator,
    *,
    off_the_ends: int,
    diameter_mm: tuple[float, float] | None = None,
) -> ForgedApart:
    """Forge one random place after the other, away from one another. Raises InputError where no place fits."""
    sites: list[Site] = []
    masks = []
    for kind in kinds:
        place = partial(lung_place_away, volume, tuple(sites), _APART_MM, rng, off_the_ends=off_the_ends)
        forged, site = forged_at_random(volume, forger, kind, rng, place, diameter_mm)
        volume = replace(volume, hu=forged.hu)
        sites.append(site)
        masks.append(forged.changed_mask)
    return ForgedApart(volume, sites, masks)
