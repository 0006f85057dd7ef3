"""In-painting without a network: a nodule erased and the hole closed by a biharmonic surface, slice by slice.

The noise that such a surface lacks is added with the level and grain of the scan's own, as a careful forger would.
Arrays are [k, j, i]; lengths in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic

from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Floats, ball_about
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung import fresh_noise, lung_in, without_noise
from training.sites import Site, SiteKind

_CONTEXT_MM = 20.0
_BORDER_MM = 2.0
_RANGE = (
    2,
    50,
    98,
)  # percentiles of the lung around: the surface, which would swing over, stays between the outer


@dataclass(frozen=True)
class Inpaint:
    """Removes what is in a ball by biharmonic in-painting (Damelin and Hoang, 2018) and noise like the scan's.

    ``forge`` raises InputError where the ball to forge in leaves the volume.
    """

    name: str = "inpaint"
    kinds: tuple[SiteKind, ...] = ("remove",)

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        ball = ball_about(volume, site, _CONTEXT_MM)
        before = ball.cut(volume.hu)
        spared = ball.spared(before, site.kind)
        hole = ball.distance_mm < ball.radius_mm - _BORDER_MM
        content = _surface(without_noise(before), hole, spared) + fresh_noise(before, rng)
        hu = ball.laid(volume.hu, content, _BORDER_MM, site.kind)
        return forged_volume(volume, hu, site, {"forger": self.name})


def _surface(smooth: Floats, hole: NDArray[np.bool_], spared: NDArray[np.bool_]) -> Floats:
    """The slices with their holes closed from the lung around; walls are taken for lung, so that they do not glow."""
    around = smooth[lung_in(smooth) & ~hole & ~spared]
    low, level, high = np.percentile(around if around.size else smooth, _RANGE)
    closed = np.where(spared, level, smooth)
    for k in np.flatnonzero(hole.any(axis=(1, 2))):
        closed[k] = inpaint_biharmonic(closed[k], hole[k])
    return closed.clip(low, high)
