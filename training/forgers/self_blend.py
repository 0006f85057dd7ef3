"""Self-blending: a place replaced by a processed copy of itself, or of a place beside it, all slices treated alike.

The volume's form of what ``training.blending`` makes on the fly for every training crop, with one mask in mm over the
slices. Arrays are [k, j, i]; lengths in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CTForgeryScanLib.volume import Volume
from training.blending import processed_copy
from training.forgers.ball import Floats, ball_about
from training.forgers.content import filled_from_lung, with_nodule
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung import noise_in, without_noise
from training.sites import Site, SiteKind

_CONTEXT_MM = 25.0  # the copy may come from so far beside
_BORDER_SHARE = (0.15, 0.5)  # of the radius
_STRENGTH = (0.7, 1.0)


@dataclass(frozen=True)
class SelfBlend:
    """Blends a randomly blurred, resampled, filtered or noised copy over the site, with or without its nodule.

    ``forge`` raises InputError where the ball to forge in leaves the volume.
    """

    name: str = "self_blend"
    kinds: tuple[SiteKind, ...] = ("inject", "remove")

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        ball = ball_about(volume, site, _CONTEXT_MM)
        before = ball.cut(volume.hu)
        content = _treated(before, rng)
        noise, strength = noise_in(content), rng.uniform(*_STRENGTH)
        border_mm = ball.radius_mm * rng.uniform(*_BORDER_SHARE)
        if site.kind == "inject":
            content = with_nodule(content, ball.offsets_mm, rng, site.diameter_mm, noise)
        else:
            hidden = ball.distance_mm < ball.radius_mm - border_mm
            content = filled_from_lung(without_noise(content), hidden, ball.spacing_mm) + noise
            strength = 1.0  # or the nodule would shine through
        hu = ball.laid(volume.hu, before + strength * (content - before), border_mm, site.kind)
        return forged_volume(volume, hu, site, {"forger": self.name, "strength": round(strength, 2)})


def _treated(hu: Floats, rng: np.random.Generator) -> Floats:
    """Every slice after the same random treatments, each with noise of its own."""
    treatment = int(rng.integers(2**32))
    return np.stack(
        [processed_copy(plane.astype(np.float32), np.random.default_rng(treatment), rng) for plane in hu]
    ).astype(np.float64)
