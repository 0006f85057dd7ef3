"""The diffusion forger: a ball painted anew by a diffusion model of lung, slice by slice, at native resolution.

Each slice is painted with the one before in view, so that vessels go on from slice to slice. Arrays are [k, j, i].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from CTForgeryScanLib.volume import Volume
from training.forgers.ball import ball_about
from training.forgers.content import filled_from_lung, with_nodule
from training.forgers.diffusion.networks import Denoiser
from training.forgers.diffusion.sampling import STEPS, in_paint
from training.forgers.diffusion.train import SIDE
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung_patches import HU_RANGE, Image, patch_about, to_hu, to_unit
from training.forgers.weights import load_weights
from training.sites import Site, SiteKind

_BORDER_MM = 3.0
# Of a removal's smooth draft hardly more than the level stays, so that a short training paints lung and nothing dense.
# An injection keeps the drawn nodule's outline, and its grain is painted.
_STARTS: dict[SiteKind, float] = {"remove": 0.8, "inject": 0.4}


@dataclass(frozen=True)
class DiffusionForger:
    """Removes or injects a nodule by painting over a draft of lung or of a nodule (SDEdit, Meng et al., 2022).

    ``forge`` raises InputError where the ball leaves the volume or is wider than the model's patch of 64 pixels.
    """

    network: Denoiser
    steps: int = STEPS
    name: str = "diffusion"
    kinds: tuple[SiteKind, ...] = ("inject", "remove")

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        ball = ball_about(volume, site)
        patch, inner = patch_about(ball, volume.shape, SIDE)
        planes = volume.hu[patch].astype(np.float64)
        inside = ball.distance_mm < ball.radius_mm
        if site.kind == "inject":
            planes[inner] = with_nodule(planes[inner], ball.offsets_mm, rng, site.diameter_mm)
        else:
            planes[inner] = filled_from_lung(planes[inner], inside, ball.spacing_mm)
        hidden = np.zeros(planes.shape, bool)
        hidden[inner] = inside
        first = patch[0].start
        before = volume.hu[first - 1][patch[1:]] if first else np.full(planes.shape[1:], HU_RANGE[0])
        painted = self._paint(to_unit(planes), hidden, to_unit(before), _STARTS[site.kind], rng)
        hu = ball.laid(volume.hu, to_hu(painted[inner]).astype(np.float64), _BORDER_MM, site.kind)
        return forged_volume(volume, hu, site, {"forger": self.name})

    def _paint(
        self,
        planes: Image,
        hidden: NDArray[np.bool_],
        before: Image,
        start: float,
        rng: np.random.Generator,
    ) -> Image:
        """The planes [k, j, i] with what is hidden painted anew, from the first to the last."""
        random = torch.Generator().manual_seed(int(rng.integers(2**62)))
        last, painted = torch.from_numpy(before)[None, None], []
        for plane, mask in zip(torch.from_numpy(planes), torch.from_numpy(hidden), strict=True):
            last = in_paint(
                self.network,
                plane[None, None],
                mask[None, None],
                last,
                random,
                start=start,
                steps=self.steps,
            )
            painted.append(last[0, 0].numpy())
        return np.stack(painted)


def load_forger(weights: Path) -> DiffusionForger:
    """The forger of weights that ``diffusion.train`` wrote. Raises ModelError for any other file."""
    tensors, card = load_weights(weights, DiffusionForger.name)
    network = Denoiser(card["config"]["width"])
    network.load_state_dict(tensors)
    return DiffusionForger(network.eval())
