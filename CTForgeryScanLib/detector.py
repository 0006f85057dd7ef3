"""The local detector: a small CNN with spatial and channel attention (Section 3.3, Eq. 1–3), exact and dense.

Every convolution is unpadded and the strides divide the windows' stride, so one pass over a slice gives for every
32×32 window exactly what the window alone would give. Padding is what would break this: a padded window sees zeros
where the slice has tissue. Channel attention (Eq. 2) needs the window's own maximum and mean: they are taken by
pooling over the window's extent in the last feature map.

Shapes below are those of one window; a slice of H×W pixels gives ⌊(H−32)/4⌋+1 by ⌊(W−32)/4⌋+1 logits.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from CTForgeryScanLib.windows import STRIDE, WINDOW

HU_RANGE = (-1024.0, 1024.0)
"""HU outside are clipped: below lies only padding, above only metal and dense bone."""


def _crop(x: Tensor, border: int) -> Tensor:
    return x[..., border:-border, border:-border]


class InputLayer(nn.Module):
    """HU → (HU / 1000, high-pass residual), float32. [N, 1, 32, 32] → [N, 2, 30, 30].

    Fixed constants, never statistics of the window. Forgeries differ from their surroundings in noise of some 10 HU
    on tissue that spans 1,000: the residual, compressed by tanh beyond ±40 HU, gives the network that scale at once.
    It is taken before anything is rounded to bfloat16, in which HU near −1000 lie 4 apart.
    """

    def forward(self, hu: Tensor) -> Tensor:
        hu = hu.float().clamp(*HU_RANGE)
        rows = (hu[..., :-2, :] + 2 * hu[..., 1:-1, :] + hu[..., 2:, :]) / 4
        binomial = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
        centre = _crop(hu, 1)
        return torch.cat([centre / 1000, torch.tanh((centre - binomial) / 40)], dim=1)


class ConvNorm(nn.Sequential):
    """Unpadded convolution, batch norm and, unless ``act`` is off, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, act: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.05),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))


class SeparableConvNorm(nn.Sequential):
    """Depthwise 3×3, then pointwise convolution, batch norm and, unless ``act`` is off, ReLU."""

    def __init__(self, inputs: int, outputs: int, act: bool = True) -> None:
        depthwise = nn.Conv2d(inputs, inputs, 3, groups=inputs, bias=False)
        super().__init__(depthwise, *ConvNorm(inputs, outputs, 1, act=act))


class SpatialAttention(nn.Module):
    """Eq. 1: F → F · σ(conv3×3([max over channels; mean over channels])); the border of one pixel is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3)

    def forward(self, features: Tensor) -> Tensor:
        summary = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], dim=1)
        return _crop(features, 1) * torch.sigmoid(self.conv(summary))


class ResidualBlock(nn.Module):
    """Two separable convolutions beside a cropped 1×1 shortcut; with ``pool``, 2×2 max-pooling beside stride 2."""

    def __init__(self, inputs: int, outputs: int, pool: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            SeparableConvNorm(inputs, outputs), SeparableConvNorm(outputs, outputs, act=False)
        )
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.shortcut = ConvNorm(inputs, outputs, 1, stride=2 if pool else 1, act=False)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.pool(self.trunk(features)) + self.shortcut(_crop(features, 2)))


class WindowChannelAttention(nn.Module):
    """Eq. 2 on each window's own maximum and mean, applied where the window is pooled: [N, C, 4, 4] → [N, 2C, 1, 1].

    The attention a > 0 is constant in a window, so max(a·F) = a·max(F) and mean(a·F) = a·mean(F): the pooled features
    can be scaled instead of the window's whole feature map, which neighbouring windows share.
    """

    def __init__(self, channels: int, extent: int, stride: int) -> None:
        super().__init__()
        self.extent, self.stride = extent, stride
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 4, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        maximum = functional.max_pool2d(features, self.extent, self.stride)
        mean = functional.avg_pool2d(features, self.extent, self.stride)
        attention = torch.sigmoid(self.squeeze(maximum) + self.squeeze(mean))
        return torch.cat([maximum * attention, mean * attention], dim=1)


class LocalDetector(nn.Module):
    """Slices [N, 1, H, W] in HU (float) → logits [N, heads, R, C], one for each window (``windows.grid_shape``).

    ``heads`` > 1 serves training only: auxiliary tasks that share the trunk. With ``half_turn``, once trained, every
    window is also seen turned by half and the two logits are averaged: a forgery does not depend on which way up the
    patient lies, much of the network's error does. Raises ValueError for slices smaller than a window.
    """

    def __init__(self, width: int = 24, heads: int = 1, half_turn: bool = False) -> None:
        super().__init__()
        self.config = {"width": width, "heads": heads, "half_turn": half_turn}
        self.half_turn = half_turn
        w = width
        self.input = InputLayer()  # 2 × 30 × 30
        self.trunk = nn.Sequential(
            ConvNorm(2, w, 3),  # w × 28 × 28
            ConvNorm(w, w, 3),  # w × 26 × 26
            SpatialAttention(),  # w × 24 × 24
            ResidualBlock(w, 2 * w, pool=True),  # 2w × 10 × 10
            SpatialAttention(),  # 2w × 8 × 8
            ResidualBlock(2 * w, 4 * w, pool=False),  # 4w × 4 × 4
        )
        self.pool = WindowChannelAttention(4 * w, extent=4, stride=STRIDE // 2)  # 8w × 1 × 1
        self.head = nn.Sequential(
            nn.Conv2d(8 * w, 2 * w, 1), nn.SELU(inplace=True), nn.Conv2d(2 * w, heads, 1)
        )

    def in_precision(self, precision: torch.dtype) -> LocalDetector:
        """A fused copy whose trunk, where the work is, computes in ``precision``; windows are judged in float32.

        Its weights are rounded to bfloat16 whatever the precision: so every device runs the same network, and a
        bfloat16 heatmap differs from a float32 one by the rounding of its activations alone.
        """
        fused = self.fused()
        fused.trunk.to(torch.bfloat16).to(precision)
        return fused

    def forward(self, hu: Tensor) -> Tensor:
        rows, columns = hu.shape[-2:]
        if min(rows, columns) < WINDOW:
            raise ValueError(
                f"a slice of {rows}×{columns} pixels is smaller than one {WINDOW}×{WINDOW} sub-image"
            )
        # What no window covers would leave the pooled branch and its shortcut with sizes that differ by one.
        covered = hu[..., : rows - (rows - WINDOW) % STRIDE, : columns - (columns - WINDOW) % STRIDE]
        logits = self._logits(covered)
        if self.half_turn and not self.training:
            logits = (logits + self._logits(covered.flip(-2, -1)).flip(-2, -1)) / 2
        return logits

    def _logits(self, hu: Tensor) -> Tensor:
        # Channels last is the order in which CPUs and GPUs run such convolutions fastest.
        precision = next(self.trunk.parameters()).dtype
        pixels = self.input(hu).to(precision, memory_format=torch.channels_last)
        logits: Tensor = self.head(self.pool(self.trunk(pixels).float()))
        return logits

    def fused(self) -> LocalDetector:
        """A copy for inference in which the batch norms are folded into the convolutions before them."""
        fused = copy.deepcopy(self).eval()
        for module in list(fused.modules()):
            if not isinstance(module, nn.Sequential):
                continue
            for i, (first, second) in enumerate(zip(module, list(module)[1:], strict=False)):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
        return fused
