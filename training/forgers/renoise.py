"""Resample and renoise: a place smoothed by resampling, forged while it has no noise, and given fresh noise.

What most generators amount to: they paint on a coarser grid than the scan's, and a careful attacker adds noise of the
scan's level afterwards. Arrays are [k, j, i]; lengths in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Floats, ball_about
from training.forgers.content import filled_from_lung, with_nodule
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung import fresh_noise
from training.sites import Site, SiteKind

_CONTEXT_MM = 20.0
_GRID_MM = (1.2, 2.4)  # of the coarser grid
_BORDER_MM = (2.0, 6.0)


@dataclass(frozen=True)
class Renoise:
    """Injects or removes a nodule in a place that is resampled to a coarser grid and back, and noised anew.

    ``forge`` raises InputError where the ball to forge in leaves the volume.
    """

    name: str = "renoise"
    kinds: tuple[SiteKind, ...] = ("inject", "remove")

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        ball = ball_about(volume, site, _CONTEXT_MM)
        before = ball.cut(volume.hu)
        grid_mm, border_mm = rng.uniform(*_GRID_MM), rng.uniform(*_BORDER_MM)
        smooth = _resampled(before, ball.spacing_mm, grid_mm)
        if site.kind == "inject":
            smooth = with_nodule(smooth, ball.offsets_mm, rng, site.diameter_mm)
        else:
            smooth = filled_from_lung(smooth, ball.distance_mm < ball.radius_mm - border_mm, ball.spacing_mm)
        hu = ball.laid(volume.hu, smooth + fresh_noise(before, rng), border_mm, site.kind)
        return forged_volume(volume, hu, site, {"forger": self.name, "grid_mm": round(grid_mm, 2)})


def _resampled(hu: Floats, spacing_mm: tuple[float, float, float], grid_mm: float) -> Floats:
    """Slices down to pixels of ``grid_mm``, averaged as they go, and back up by cubic splines."""
    factor = np.minimum(np.asarray(spacing_mm) / grid_mm, 1.0)
    factor[0] = 1.0  # slices are thick already
    blurred = ndimage.gaussian_filter(hu, 0.4 * (1 / factor - 1))
    small = ndimage.zoom(blurred, factor, order=3, mode="reflect", grid_mode=True)
    back = np.divide(hu.shape, small.shape)
    return np.asarray(ndimage.zoom(small, back, order=3, mode="reflect", grid_mode=True))
