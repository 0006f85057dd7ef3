"""Noise by the cosine schedule (Nichol and Dhariwal, 2021), taken off again by DDIM steps (Song et al., 2021)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

_OFFSET = 0.008
STEPS = 50


def alpha_sigma(time: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the patch and how much noise there is at a time in 0 … 1; their squares add up to 1."""
    angle = (time + _OFFSET) / (1 + _OFFSET) * math.pi / 2
    return torch.cos(angle), torch.sin(angle)


def in_paint(
    network: nn.Module,
    draft: Tensor,
    hidden: Tensor,
    before: Tensor,
    random: torch.Generator,
    *,
    start: float = 1.0,
    steps: int = STEPS,
) -> Tensor:
    """``draft`` [N, 1, H, W], −1 … 1, with what is ``hidden`` (bool, same shape) painted anew.

    At every step what is not hidden is replaced by itself at that step's noise, so that the new fits to it. From
    ``start`` = 1 nothing of the hidden draft remains; from less, the coarser part of it (SDEdit, Meng et al., 2022).
    ``network`` is a ``Denoiser``; ``before`` is the slice before, [N, 1, H, W]. ``random``
    is on the CPU; everything else on the network's device.
    """
    times = torch.linspace(start, 0, steps + 1, device=draft.device)
    noise = torch.randn(draft.shape, generator=random).to(draft.device)
    alpha, sigma = alpha_sigma(times[0])
    image = alpha * draft + sigma * noise
    painted = draft
    with torch.inference_mode():
        for time, later in pairwise(times):
            alpha, sigma = alpha_sigma(time)
            image = torch.where(hidden, image, alpha * draft + sigma * noise)
            velocity = network(image, before, time.expand(len(draft)))
            painted = (alpha * image - sigma * velocity).clamp(-1, 1)
            found = (image - alpha * painted) / sigma
            alpha, sigma = alpha_sigma(later)
            image = alpha * painted + sigma * found
    return torch.where(hidden, painted, draft)
