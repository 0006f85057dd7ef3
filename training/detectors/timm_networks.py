"""XceptionNet and ResNet50, the paper's baselines (Section 4.4), from timm: one channel, two classes, untrained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.detectors.paper import InFloat32

MODELS = {"xception": "legacy_xception", "resnet50": "resnet50"}
"""timm's names of them; its "xception" proper is a later variant."""


class TimmNetwork(nn.Module):
    """HU [N, 1, H, W] → logits [N, 2] for untouched and forged."""

    def __init__(self, name: str) -> None:
        super().__init__()
        _let_torchvision_load()
        import timm

        self.network = timm.create_model(MODELS[name], pretrained=False, in_chans=1, num_classes=2)
        self.network.conv1 = InFloat32(self.network.get_submodule("conv1"))

    def forward(self, hu: Tensor) -> Tensor:
        logits: Tensor = self.network(hu / 1000)
        return logits


def _let_torchvision_load() -> None:
    """Make timm's torchvision importable where pip paired its CUDA build, the only one on PyPI, with a CPU torch.

    Its compiled part then does not load and the import stops at two operators of object detection. Nothing here uses
    them; declared, they no longer stand in the way.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
