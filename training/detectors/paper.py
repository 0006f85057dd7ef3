"""The paper's own local detector (Section 3.3, Fig. 5 and 6), the reference that the dense one is measured against.

Convolutions are padded ("SAME"), so a window has to be cut out and judged alone; ``scorers.window_logits`` does that
for all windows of a slice. Figure 5 leaves widths and kernels open; they are the authors' program's: 10.86 M weights
in convolutions and dense layers (batch norm has 19,648 more). Where text and program differ:

- the second dense layer and dropout 0.5 before the first are the program's, the text names neither;
- channel attention squeezes to C/4 as both say, with one pair of dense layers for maximum and mean (Eq. 2);
- HU enter as they are, which the text leaves open.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import fft
from torch import Tensor, nn

from CTForgeryScanLib.windows import WINDOW

_NORM_EPSILON = 1e-3  # TensorFlow's


class InFloat32(nn.Module):
    """Runs a layer in float32 also under autocast: HU near −1000 lie 4 apart in bfloat16, forgeries less."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.layer(x.float())
        return out


class Dct(nn.Module):
    """log(1 + |DCT-II|) of each window, as the input of "Ours-DCT" (Section 4.4): [N, 1, 32, 32] → the same."""

    def __init__(self) -> None:
        super().__init__()
        basis = fft.dct(np.eye(WINDOW), axis=0, norm="ortho")
        self.register_buffer("basis", torch.from_numpy(basis).float(), persistent=False)
        self.basis: Tensor

    def forward(self, hu: Tensor) -> Tensor:
        return torch.log1p((self.basis @ hu @ self.basis.T).abs())


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_NORM_EPSILON)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), _norm(outputs), nn.ReLU())


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False), _norm(outputs), nn.ReLU())


class SpatialAttention(nn.Module):
    """Eq. 1: F · σ(conv7×7([max over channels; mean over channels]))."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, features: Tensor) -> Tensor:
        summary = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], dim=1)
        return features * torch.sigmoid(self.conv(summary))


class ChannelAttention(nn.Module):
    """Eq. 2: F · σ(FC(max over pixels) + FC(mean over pixels)), FC: C → C/4 → C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        attention = torch.sigmoid(self.squeeze(features.amax((2, 3))) + self.squeeze(features.mean((2, 3))))
        return features * attention[:, :, None, None]


class Residual(nn.Module):
    """A trunk beside a 1×1 shortcut."""

    def __init__(self, trunk: nn.Module, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.trunk = trunk
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.trunk(features) + self.shortcut(features)
        return out


def _pooled(inputs: int, outputs: int) -> Residual:
    # Without padding but with a last, cut window: TensorFlow's SAME for even sizes.
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return Residual(nn.Sequential(_separable(inputs, outputs), pool), inputs, outputs, stride=2)


def _triple(inputs: int, outputs: int) -> Residual:
    trunk = nn.Sequential(
        _separable(inputs, outputs), _separable(outputs, outputs), _separable(outputs, outputs)
    )
    return Residual(trunk, inputs, outputs)


class PaperNetwork(nn.Module):
    """HU [N, 1, H, W] → logits [N, 2] for untouched and forged; H and W are multiples of 4.

    The paper's ablations (Table 1): ``attention`` off is −Attention, ``selu`` off (ReLU instead) is −Selu, whole slices
    instead of windows are −SW; ``dct`` on is Ours-DCT (Table 3). ``width`` 32 is the paper's.
    """

    def __init__(
        self,
        width: int = 32,
        *,
        attention: bool = True,
        selu: bool = True,
        dct: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        w = width
        first = nn.Sequential(*([Dct()] if dct else []), *_conv(1, w))
        self.features = nn.Sequential(  # sizes are those of a window
            InFloat32(first),  # w × 32 × 32
            _conv(w, 2 * w),
            SpatialAttention() if attention else nn.Identity(),
            _pooled(2 * w, 8 * w),  # 8w × 16 × 16
            _pooled(8 * w, 16 * w),  # 16w × 8 × 8
            _triple(16 * w, 32 * w),
            ChannelAttention(32 * w) if attention else nn.Identity(),
            _triple(32 * w, 32 * w),
            ChannelAttention(32 * w) if attention else nn.Identity(),
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(32 * w, 64 * w),
            nn.SELU() if selu else nn.ReLU(),
            nn.Linear(64 * w, 2),
        )

    def forward(self, hu: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(hu).mean((2, 3)))
        return logits
