"""Mixed precision, where it is faster."""

from __future__ import annotations

import torch

from CTForgeryScanLib.heatmap import choose_precision


def mixed_precision(device: torch.device, precision: str = "bfloat16") -> torch.autocast:
    """Computes layers in ``precision``, torch's name of it; float32 changes nothing.

    Nor does bfloat16 on a CPU without instructions for it, which would imitate it many times slower.
    """
    imitated = precision == "bfloat16" and choose_precision("auto", device) == "float32"
    return torch.autocast(
        device.type, getattr(torch, precision), enabled=precision != "float32" and not imitated
    )
