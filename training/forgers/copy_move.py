"""Copy-move: a patch of lung from elsewhere in the scan, mirrored or turned, laid over a place with blended borders.

What anyone does with an image editor to hide a nodule, and what content-aware filling tends to do. The patch's level
and noise are matched to the place, as a careful forger would. Arrays are [k, j, i]; spacings are (i, j, k) in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.evidence.noise import body_of
from CTForgeryScanLib.volume import Volume
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.published_pasting import Floats
from training.sites import Site, SiteKind

SYMMETRIES = 8
"""Of a square: number n turns by n % 4 quarter turns, after a mirror left to right where n is 4 or more."""

_AWAY_MM = 40.0  # the source is at least so far from the site
_BORDER_MM = 3.0
_LUNG_HU = (-970, -600)
_TRIES = 500


@dataclass(frozen=True)
class _Box:
    """Half sides (k, j, i) in voxels; j and i alike, so that a quarter turn fits."""

    half: tuple[int, int, int]

    def cut(self, hu: NDArray[np.int16], centre: tuple[int, ...]) -> Floats:
        """The box around a centre [k, j, i] as floats."""
        return hu[self.at(centre)].astype(np.float64)

    def at(self, centre: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(c - h, c + h + 1) for c, h in zip(centre, self.half, strict=True))

    def fits(self, shape: tuple[int, ...], centre: tuple[int, ...]) -> bool:
        """Whether the box around the centre lies in the volume."""
        return all(h <= c < size - h for c, h, size in zip(centre, self.half, shape, strict=True))


@dataclass(frozen=True)
class CopyMove:
    """Covers a site with a round patch of ``site.diameter_mm`` from a random lung place, in one of the 8 symmetries.

    ``forge`` raises InputError where the patch would leave the volume or no other place holds as much lung.
    """

    name: str = "copy_move"
    kinds: tuple[SiteKind, ...] = ("remove",)

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        spacing_mm = volume.spacing_mm
        across = round(site.diameter_mm / 2 / min(spacing_mm[:2]))
        box = _Box((max(round(site.diameter_mm / 2 / spacing_mm[2]), 1), across, across))
        centre = site.voxel[::-1]
        if not box.fits(volume.shape, centre):
            raise InputError(
                f"the site {site.voxel} is too near the border of the volume for a patch of "
                f"{site.diameter_mm:.0f} mm; choose a site deeper inside"
            )
        source = _source(volume.hu, spacing_mm, centre, box, rng)
        symmetry = int(rng.integers(SYMMETRIES))
        patch = box.cut(volume.hu, source)
        patch = np.rot90(patch[:, :, ::-1] if symmetry >= 4 else patch, symmetry % 4, axes=(1, 2))
        original = box.cut(volume.hu, centre)
        weight = _weight(box, spacing_mm, site.diameter_mm)
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


def _source(
    hu: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    site: tuple[int, ...],
    box: _Box,
    rng: np.random.Generator,
) -> tuple[int, int, int]:
    """A random place [k, j, i] away from the site around which most is lung."""
    for _ in range(_TRIES):
        k, j, i = (
            int(rng.integers(h, max(size - h, h + 1))) for h, size in zip(box.half, hu.shape, strict=True)
        )
        away = np.subtract((k, j, i), site) * spacing_mm[::-1]
        if not box.fits(hu.shape, (k, j, i)) or np.linalg.norm(away) < _AWAY_MM:
            continue
        patch = ndimage.uniform_filter(box.cut(hu, (k, j, i)), (1, 5, 5))
        share = np.mean((patch > _LUNG_HU[0]) & (patch < _LUNG_HU[1]))
        # The foam of cushions has the density of lung.
        if share > 0.7 and body_of(hu[k])[j, i]:
            return k, j, i
    raise InputError("no other place of the scan holds a patch of lung; give a series with more lung")


def _weight(box: _Box, spacing_mm: tuple[float, float, float], diameter: float) -> Floats:
    """1 in a ball of this diameter, fading to 0 over the last millimetres."""
    axes = [np.arange(-h, h + 1) * mm for h, mm in zip(box.half, reversed(spacing_mm), strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = diameter / 2 - np.sqrt(x**2 + y**2 + z**2)
    ramp = np.clip(inside / _BORDER_MM, 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * ramp))


def _matched(patch: Floats, original: Floats) -> Floats:
    """The patch with the level and the noise of what it covers, both measured in lung."""
    smooth = ndimage.uniform_filter(patch, (1, 5, 5))
    level, noise = zip(*(_level_and_noise(values) for values in (patch, original)), strict=True)
    return np.asarray(smooth + level[1] - level[0] + (patch - smooth) * noise[1] / noise[0])


def _level_and_noise(values: Floats) -> tuple[float, float]:
    smooth = ndimage.uniform_filter(values, (1, 5, 5))
    lung = (smooth > _LUNG_HU[0]) & (smooth < _LUNG_HU[1])
    if not lung.any():
        lung = np.ones_like(lung)
    rest = (values - smooth)[lung]
    return float(np.median(smooth[lung])), max(1.4826 * float(np.median(np.abs(rest))), 1.0)
