"""The denoiser: a small U-Net on patches of a slice, which is also shown the slice before."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_GROUPS = 8
_FREQUENCIES = 16


class Denoiser(nn.Module):
    """(noised patch [N, 1, H, W], the slice before [N, 1, H, W], time [N] in 0 … 1) → velocity [N, 1, H, W].

    H and W are multiples of 4. Velocity as Salimans and Ho (2022) define it: α·noise − σ·patch.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU()
        )
        self.enter = nn.Conv2d(2, width, 3, padding=1)  # H
        self.down1 = Block(width, width, wide)
        self.halve1 = nn.Conv2d(width, wide, 3, stride=2, padding=1)  # H/2
        self.down2 = Block(wide, wide, wide)
        self.halve2 = nn.Conv2d(wide, wide, 3, stride=2, padding=1)  # H/4
        self.middle1, self.middle2 = Block(wide, wide, wide), Block(wide, wide, wide)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.up2 = Block(2 * wide, wide, wide)  # H/2
        self.up1 = Block(wide + width, width, wide)  # H
        self.leave = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, noised: Tensor, before: Tensor, time: Tensor) -> Tensor:
        code = self.time(_waves(time))
        full = self.down1(self.enter(torch.cat([noised, before], 1)), code)
        half = self.down2(self.halve1(full), code)
        quarter = self.middle2(self.middle1(self.halve2(half), code), code)
        half = self.up2(torch.cat([self.enlarge(quarter), half], 1), code)
        return self.leave(self.up1(torch.cat([self.enlarge(half), full], 1), code))


class Block(nn.Module):
    """Two 3×3 convolutions beside an identity (or 1×1 convolution), scaled and shifted by the time between them."""

    def __init__(self, channels: int, filters: int, code: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, filters, 3, padding=1)
        )
        self.norm = nn.GroupNorm(_GROUPS, filters)
        self.by_time = nn.Linear(code, 2 * filters)
        self.second = nn.Sequential(nn.SiLU(), nn.Conv2d(filters, filters, 3, padding=1))
        self.aside = nn.Identity() if channels == filters else nn.Conv2d(channels, filters, 1)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.by_time(code)[:, :, None, None].chunk(2, dim=1)
        between = self.norm(self.first(features)) * (1 + scale) + shift
        return self.aside(features) + self.second(between)


def _waves(time: Tensor) -> Tensor:
    """Sines and cosines of the time [N] at frequencies from half a wave to 500 waves, [N, 2·frequencies]."""
    rates = math.pi * torch.logspace(0, 3, _FREQUENCIES, device=time.device)
    return torch.cat([torch.sin(time[:, None] * rates), torch.cos(time[:, None] * rates)], dim=1)
