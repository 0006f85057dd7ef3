"""Random places in healthy lung, and forging at one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
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
