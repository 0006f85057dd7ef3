"""Generator and discriminator of a CycleGAN (Zhu et al., 2017) for one grey channel; ``width`` is 64 as published."""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = 6  # as published for pictures of 128 pixels


class Generator(nn.Module):
    """[N, 1, H, W] → the same, −1 … 1; H and W are even.

    A strided convolution, residual blocks, a transposed convolution. Published generators halve the picture twice,
    which costs detail that a photograph can spare and a vessel in a CT cannot; and instance norm stands in the residual
    branches only, for elsewhere it forgets the level, which is HU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 7, padding=3, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # H/2
            nn.ReLU(),
            *(Residual(2 * width) for _ in range(BLOCKS)),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),  # H
            nn.ReLU(),
            nn.Conv2d(width, 1, 7, padding=3, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class Residual(nn.Module):
    """Two 3×3 convolutions with instance norm beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)


class Discriminator(nn.Module):
    """PatchGAN: [N, 1, H, W] → raw scores [N, 1, about H/8, W/8], each of a patch of 70×70 pixels; real is 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.InstanceNorm2d(4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 8 * width, 4, padding=1),
            nn.InstanceNorm2d(8 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8 * width, 1, 4, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)
