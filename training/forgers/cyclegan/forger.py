"""The CycleGAN forger: a site's noisy copy, denoised slice by slice by the generator, blended in a soft ball.

The paper's generalisation set is whole slices to which noise was added and which a CycleGAN denoised (Section 4.1,
``denoised``); as a forger it does this to a site. Before, a nodule is drawn there, or lung from elsewhere laid over it,
so that the generator paints what the site's kind says. Arrays are [k, j, i].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Ball, Floats, ball_about, fade
from training.forgers.content import with_nodule
from training.forgers.cyclegan.networks import Generator
from training.forgers.cyclegan.noise import add_noise
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung import Box, level_and_noise, lung_place
from training.forgers.lung_patches import HU_RANGE, Image, patch_about, to_hu, to_unit
from training.forgers.weights import load_weights
from training.sites import Site, SiteKind

_SIDE = 128  # pixels of what the generator sees of a slice
_BORDER_MM = 4.0


@dataclass(frozen=True)
class CycleGANForger:
    """Injects or removes a nodule in a ball that a trained denoiser repaints, at native resolution.

    ``forge`` raises InputError where the ball leaves the volume or is wider than the generator's patch, and for a
    removal in a scan that holds as much lung nowhere else.
    """

    generator: Generator
    name: str = "cyclegan"
    kinds: tuple[SiteKind, ...] = ("inject", "remove")

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        ball = ball_about(volume, site)
        patch, inner = patch_about(ball, volume.shape, _SIDE)
        planes = volume.hu[patch].astype(np.float64)
        if site.kind == "inject":
            planes[inner] = with_nodule(planes[inner], ball.offsets_mm, rng, site.diameter_mm)
        else:
            planes[inner] = _with_lung(volume, site, ball, rng)
        painted = self._denoised(planes, rng)[inner].astype(np.float64)
        hu = ball.laid(volume.hu, painted, _BORDER_MM, site.kind)
        return forged_volume(volume, hu, site, {"forger": self.name})

    def denoised(self, hu: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
        """Whole slices [k, j, i] after noise and the generator, which leaves alone what it cannot express."""
        inside = (hu > HU_RANGE[0]) & (hu < HU_RANGE[1])
        return np.where(inside, np.rint(self._denoised(hu, rng)), hu).astype(np.int16)

    def _denoised(self, hu: NDArray[np.floating] | NDArray[np.int16], rng: np.random.Generator) -> Image:
        noisy = np.stack([add_noise(plane, rng) for plane in hu])
        with torch.inference_mode():
            # Instance norm looks at each picture alone, so a batch gives what slice by slice would.
            return to_hu(self.generator(torch.from_numpy(to_unit(noisy))[:, None])[:, 0].numpy())


def load_forger(weights: Path) -> CycleGANForger:
    """The forger of weights that ``cyclegan.train`` wrote. Raises ModelError for any other file."""
    tensors, card = load_weights(weights, CycleGANForger.name)
    generator = Generator(card["config"]["width"])
    generator.load_state_dict(tensors)
    return CycleGANForger(generator.eval())


def _with_lung(volume: Volume, site: Site, ball: Ball, rng: np.random.Generator) -> Floats:
    """The ball's box with lung from elsewhere in the scan laid over it, at the level of the lung that is there."""
    half = [n // 2 for n in (at.stop - at.start for at in ball.at)]
    box = Box((half[0], half[1], half[2]))
    other = box.cut(volume.hu, lung_place(volume.hu, volume.spacing_mm, box, rng, away_from=site.voxel[::-1]))
    before = ball.cut(volume.hu)
    level = level_and_noise(before)[0] - level_and_noise(other)[0]
    # A generator sharpens a seam that it is shown.
    return before + fade(ball.distance_mm, ball.radius_mm, _BORDER_MM) * (other + level - before)
