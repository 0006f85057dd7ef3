"""What a detector says of a slice, the same way for all: p(forged) of its windows, or of the slice as a whole."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from CTForgeryScanLib.windows import STRIDE, WINDOW, circle_mask
from training.precision import mixed_precision

BATCH = 256


def cut_windows(hu: NDArray[np.int16], asked: NDArray[np.bool_]) -> NDArray[np.int16]:
    """The windows [N, 32, 32] of a slice [j, i] that ``asked`` [r, c] marks, row by row."""
    views = np.lib.stride_tricks.sliding_window_view(hu, (WINDOW, WINDOW))[::STRIDE, ::STRIDE]
    windows: NDArray[np.int16] = views[asked]
    return windows


@torch.inference_mode()
def forged_logits(
    network: nn.Module, images: NDArray[np.int16], batch: int = BATCH, precision: str = "float32"
) -> NDArray[np.float32]:
    """log(p/(1−p)), [N], of images [N, H, W] in HU by a network with two logits, which is put in eval mode.

    ``precision`` is torch's name of that of the convolutions (``WindowsConfig.precision``).
    """
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(images), batch):
        hu = torch.from_numpy(images[start : start + batch]).to(device).float()[:, None]
        with mixed_precision(device, precision):
            logits = network(hu).float()
        parts.append((logits[:, 1] - logits[:, 0]).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def window_logits(
    network: nn.Module, hu: NDArray[np.int16], batch: int = BATCH, precision: str = "float32"
) -> NDArray[np.float32]:
    """Logits [r, c] of all windows of a slice [j, i] in HU (Eq. 4–7), one by one in batches; −∞ outside the circle."""
    circle = circle_mask(*hu.shape)
    logits = np.full(circle.shape, -np.inf, np.float32)
    logits[circle] = forged_logits(network, cut_windows(hu, circle), batch, precision)
    return logits


def probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function; p of −∞ is 0."""
    return torch.sigmoid(torch.from_numpy(logits)).numpy()


class WindowNetwork:
    """A network with two logits, window by window."""

    def __init__(self, network: nn.Module, precision: str = "float32") -> None:
        self.network, self.precision = network, precision

    def score_windows(self, hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """p(forged) of every window, [r, c] in 0…1, of a slice [j, i] in HU; 0 where none is asked (Eq. 4–7)."""
        return probability(window_logits(self.network, hu, precision=self.precision))


class SliceNetwork:
    """A network with two logits on whole slices."""

    def __init__(self, network: nn.Module, precision: str = "float32") -> None:
        self.network, self.precision = network, precision

    def score_slice(self, hu: NDArray[np.int16]) -> float:
        """p(forged) of a slice [j, i] in HU."""
        return float(probability(forged_logits(self.network, hu[None], precision=self.precision))[0])
