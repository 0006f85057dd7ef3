"""CT-GAN's two networks: a 3-D U-Net that paints a cube, and a discriminator that judges 2³ patches of it.

As published (Mirsky et al., 2019) but for their width, the filters of the first block: 100 there (162.6 M and 26.9 M
parameters), 16 for a training on two CPU cores. Tensors are [N, channels, 32, 32, 32], axes k, j, i at 1 mm, values of
``cubes.Scale``.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_TAPS = 4
_SLOPE = 0.2


class Generator(nn.Module):
    """Condition [N, 1, 32, 32, 32] (the cube with its centre cleared) → the whole cube, same shape, in −1…1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        down = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        up = [8 * width, 4 * width, 2 * width, width]
        self.down = nn.ModuleList(
            _down(before, after, norm=level > 0) for level, (before, after) in enumerate(pairwise([1, *down]))
        )
        # Every block but the first sees the block before it beside the skip of the same size.
        seen = [down[4], *(2 * filters for filters in up)]
        self.up = nn.ModuleList(
            nn.Sequential(UpConv(before, after), nn.ReLU(), nn.Dropout(0.5), _norm(after))
            for before, after in zip(seen, up, strict=False)
        )
        self.last = UpConv(seen[4], 1)

    def forward(self, condition: Tensor) -> Tensor:
        skips = [condition]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = skips.pop()
        for block in self.up:
            x = torch.cat([block(x), skips.pop()], dim=1)
        return torch.tanh(self.last(x))


class Discriminator(nn.Module):
    """Cube and condition, each [N, 1, 32, 32, 32] → raw scores [N, 1, 2, 2, 2]: 0 for real, 1 for made."""

    def __init__(self, width: int) -> None:
        super().__init__()
        filters = [2, width, 2 * width, 4 * width, 8 * width]
        self.down = nn.Sequential(
            *(_down(before, after, norm=level > 0) for level, (before, after) in enumerate(pairwise(filters)))
        )
        self.last = nn.Conv3d(filters[-1], 1, _TAPS)

    def forward(self, cube: Tensor, condition: Tensor) -> Tensor:
        x = self.down(torch.cat([cube, condition], dim=1))
        return self.last(functional.pad(x, (1, 2) * 3))  # SAME padding of an even kernel at stride 1


class UpConv(nn.Module):
    """Nearest ×2, then a 4³ convolution with SAME padding (1 before, 2 after), in 2.4 × fewer multiplications.

    Of the doubled input's voxels that a kernel row meets, two or three come from the same voxel of the input. So the
    taps are summed first, into one 3³ kernel for each of the 2³ places of an output voxel within its input voxel.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        plain = nn.Conv3d(before, after, _TAPS)
        self.weight, self.bias = plain.weight, plain.bias
        # [place, tap] → which of the input voxels before, at and after it the tap meets
        meets = torch.tensor([[0, 1, 1, 2], [1, 1, 2, 2]])
        self.register_buffer("sums", torch.eye(3)[meets], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        sums, after = self.get_buffer("sums"), len(self.weight)
        kernels = torch.einsum("oiabc,pax,qby,rcz->opqrixyz", self.weight, sums, sums, sums)
        places = functional.conv3d(x, kernels.flatten(0, 3), padding=1)
        n, _, k, j, i = places.shape
        split = places.view(n, after, 2, 2, 2, k, j, i).permute(0, 1, 5, 2, 6, 3, 7, 4)
        doubled = split.reshape(n, after, 2 * k, 2 * j, 2 * i)
        return doubled + self.bias[:, None, None, None] if self.bias is not None else doubled


def _down(before: int, after: int, norm: bool) -> nn.Sequential:
    convolution = nn.Conv3d(before, after, _TAPS, stride=2, padding=1)
    return nn.Sequential(convolution, nn.LeakyReLU(_SLOPE), *([_norm(after)] if norm else []))


def _norm(filters: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(filters, eps=1e-3, momentum=0.2)  # Keras counts momentum the other way: 0.8
