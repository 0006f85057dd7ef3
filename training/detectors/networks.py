"""From a configuration to a network, and from a file of ``train_windows`` to a scorer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from CTForgeryScanLib.errors import InputError
from training.detectors.paper import PaperNetwork
from training.detectors.scorers import SliceNetwork, WindowNetwork
from training.detectors.timm_networks import TimmNetwork
from training.tensor_file import read_header, read_tensors
from training.whole_file import whole
from training.windows_config import WindowsConfig


def build_network(config: WindowsConfig) -> nn.Module:
    """The network that ``config`` describes, newly initialised: HU [N, 1, H, W] → logits [N, 2]."""
    network: nn.Module
    if config.network == "paper":
        network = PaperNetwork(
            config.width,
            attention=config.attention,
            selu=config.selu,
            dct=config.dct,
            dropout=config.dropout,
        )
    else:
        network = TimmNetwork(config.network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1 - config.batch_norm_decay
    # The order in which CPUs and GPUs run such convolutions fastest, above all in half precision.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return network


def save_network(network: nn.Module, config: WindowsConfig, path: Path) -> None:
    """Write the weights with their configuration."""
    tensors = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    with whole(path) as part:
        save_file(tensors, part, {"config": json.dumps(asdict(config), sort_keys=True)})


def read_trained_config(path: Path) -> WindowsConfig:
    """The configuration that the weights in ``path`` were trained by."""
    given = json.loads(read_header(path)["config"])
    return WindowsConfig(**given | {"never_train": tuple(given["never_train"])})


def load_scorer(path: Path, device: torch.device) -> WindowNetwork | SliceNetwork:
    """The detector that ``train_windows`` wrote. Raises InputError when it is not there or damaged."""
    if not path.exists():
        raise InputError(f"'{path}' is missing: train that fold first (python -m training.train_windows).")
    config = read_trained_config(path)
    network = build_network(config)
    network.load_state_dict(read_tensors(path))
    network.to(device).eval()
    scorer = SliceNetwork if config.whole else WindowNetwork
    return scorer(network, config.precision)
