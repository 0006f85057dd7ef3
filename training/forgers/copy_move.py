"""Copy-move: a patch of lung from elsewhere in the scan, mirrored or turned, laid over a place with blended borders.

What anyone does with an image editor to hide a nodule, and what content-aware filling tends to do. The patch's level
and noise are matched to the place, as a careful forger would. Arrays are [k, j, i]; spacings are (i, j, k) in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Floats, fade
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung import Box, level_and_noise, lung_place, without_noise
from training.sites import Site, SiteKind

SYMMETRIES = 8
"""Of a square: number n turns by n % 4 quarter turns, after a mirror left to right where n is 4 or more."""

_BORDER_MM = 3.0


@dataclass(frozen=True)
class CopyMove:
    """Covers a site with a round patch from a random lung place, in one of the 8 symmetries.

    The patch's diameter is ``reach`` times the site's. ``forge`` raises InputError where the patch would leave the
    volume or no other place holds as much lung.
    """

    reach: float = 1.0
    name: str = "copy_move"
    kinds: tuple[SiteKind, ...] = ("remove",)

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        spacing_mm, diameter = volume.spacing_mm, self.reach * site.diameter_mm
        across = round(diameter / 2 / min(spacing_mm[:2]))
        # j and i alike, so that a quarter turn fits.
        box = Box((max(round(diameter / 2 / spacing_mm[2]), 1), across, across))
        centre = site.voxel[::-1]
        if not box.fits(volume.shape, centre):
            raise InputError(
                f"the site {site.voxel} is too near the border of the volume for a patch of "
                f"{diameter:.0f} mm; choose a site deeper inside"
            )
        source = lung_place(volume.hu, spacing_mm, box, rng, away_from=centre)
        symmetry = int(rng.integers(SYMMETRIES))
        patch = box.cut(volume.hu, source)
        patch = np.rot90(patch[:, :, ::-1] if symmetry >= 4 else patch, symmetry % 4, axes=(1, 2))
        original = box.cut(volume.hu, centre)
        weight = _weight(box, spacing_mm, diameter)
        result = volume.hu.copy()
        result[box.at(centre)] = np.rint(_matched(patch, original) * weight + original * (1 - weight)).astype(
            np.int16
        )
        record = {
            "forger": self.name,
            "source_ijk": [int(n) for n in reversed(source)],
            "symmetry": symmetry,
        }
        return forged_volume(volume, result, site, record)


def _weight(box: Box, spacing_mm: tuple[float, float, float], diameter: float) -> Floats:
    """1 in a ball of this diameter, fading to 0 over the last millimetres."""
    z, y, x = np.ix_(
        *(np.arange(-h, h + 1) * mm for h, mm in zip(box.half, reversed(spacing_mm), strict=True))
    )
    return fade(np.sqrt(x**2 + y**2 + z**2), diameter / 2, _BORDER_MM)


def _matched(patch: Floats, original: Floats) -> Floats:
    """The patch with the level and the noise of what it covers, both measured in lung."""
    smooth = without_noise(patch)
    level, noise = zip(*(level_and_noise(values) for values in (patch, original)), strict=True)
    return np.asarray(smooth + level[1] - level[0] + (patch - smooth) * noise[1] / noise[0])
