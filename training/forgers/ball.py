"""The ball about a site outside of which a forger changes nothing, in mm at any spacing.

Arrays are [k, j, i]; lengths in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.sites import Site, SiteKind

Floats = NDArray[np.float64]

REACH, MARGIN_MM = 1.5, 2.0
"""A ball's radius is so many times the nodule's, and so much more: an attacker repaints the tissue around it too."""

DENSE_HU = -500
"""Above it stand walls, vessels and nodules."""

_SMALLEST_MM = 2.0
_RIM_MM = 2.0  # of a nodule, beyond the diameter that it was given


@dataclass(frozen=True, eq=False)
class Ball:
    """A ball and the box of voxels that holds it.

    Attributes:
        at: the box, as slices of the volume [k, j, i].
        offsets_mm: of the box's voxels from the site along k, j and i; they broadcast to the box.
        spacing_mm: along k, j and i.
        radius_mm: voxels farther from the site than this stay as they are.
        nodule_mm: radius of the nodule that comes or goes.
    """

    at: tuple[slice, slice, slice]
    offsets_mm: tuple[Floats, Floats, Floats]
    spacing_mm: tuple[float, float, float]
    radius_mm: float
    nodule_mm: float

    @property
    def distance_mm(self) -> Floats:
        """From the site, [k, j, i]."""
        z, y, x = self.offsets_mm
        return np.sqrt(x**2 + y**2 + z**2)

    def spared(self, before: Floats, kind: SiteKind) -> NDArray[np.bool_]:
        """Walls and vessels in the box, which an attacker leaves alone, but for what is to be removed."""
        dense = ndimage.gaussian_filter(before, (0, 1, 1)) > DENSE_HU
        if kind == "remove":
            dense &= self.distance_mm > self.nodule_mm + _RIM_MM
        # Their blurred edges belong to them.
        return np.asarray(ndimage.binary_dilation(dense, np.ones((1, 3, 3))))

    def cut(self, hu: NDArray[Any]) -> Floats:
        """The box of a volume."""
        return hu[self.at].astype(np.float64)

    def laid(
        self, hu: NDArray[np.int16], content: Floats, border_mm: float, kind: SiteKind
    ) -> NDArray[np.int16]:
        """A copy of the volume with the content in the ball, fading out over its last ``border_mm``, in whole HU.

        What is spared stays as it is, or becomes brighter where a nodule is injected against it.
        """
        before = self.cut(hu)
        spared = self.spared(before, kind)
        weight = fade(self.distance_mm, self.radius_mm, border_mm)
        if kind == "inject":
            content = np.where(spared, np.maximum(content, before), content)
        else:
            softened = ndimage.gaussian_filter(spared.astype(float), (0, 0.7, 0.7))
            weight *= 1 - np.maximum(softened, spared)
        limits = np.iinfo(np.int16)
        result = hu.copy()
        result[self.at] = np.rint(before + weight * (content - before)).clip(limits.min, limits.max)
        return result


def ball_about(volume: Volume, site: Site, context_mm: float = 0.0) -> Ball:
    """The ball to forge a site in; its box shows ``context_mm`` more on every side, where the volume has it.

    Raises InputError for a site without a diameter, outside the volume, or nearer to its border than the radius.
    """
    if not site.diameter_mm >= _SMALLEST_MM:
        raise InputError(
            f"the site {site.voxel} has a diameter of {site.diameter_mm:g} mm; "
            f"give the size of its nodule, at least {_SMALLEST_MM:g} mm"
        )
    radius = REACH * site.diameter_mm / 2 + MARGIN_MM
    spacing = volume.spacing_mm[::-1]
    ranges = []
    for centre, size, mm in zip(site.voxel[::-1], volume.shape, spacing, strict=True):
        half, around = int(radius / mm), int((radius + context_mm) / mm)
        # One voxel more, so that what is around the ball is known on every side.
        if not half < centre < size - 1 - half:
            raise InputError(
                f"the site {site.voxel} is outside the volume or too near its border: all within {radius:.0f} mm of "
                "it must lie inside; choose a site deeper inside"
            )
        ranges.append((centre, slice(max(centre - around, 0), min(centre + around + 1, size))))
    offsets: list[Floats] = [
        (np.arange(at.start, at.stop, dtype=np.float64) - centre) * mm
        for (centre, at), mm in zip(ranges, spacing, strict=True)
    ]
    z, y, x = np.ix_(*offsets)
    return Ball((ranges[0][1], ranges[1][1], ranges[2][1]), (z, y, x), spacing, radius, site.diameter_mm / 2)


def fade(distance_mm: Floats, radius_mm: float, border_mm: float) -> Floats:
    """1 within the radius, falling to 0 at it over the last ``border_mm``, along half a cosine."""
    ramp = np.clip((radius_mm - distance_mm) / border_mm, 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * ramp))
