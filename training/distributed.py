"""One training on several GPUs or processes: ``torchrun --nproc-per-node N -m training.…`` instead of ``python -m``.

Every process draws the same batch and works on its share of it. Gradients and batch norm's statistics are those of
the whole batch, so that N processes train what one would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import choose_device


@dataclass(frozen=True)
class Group:
    """The processes of one training and this one's place among them."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def check(self, batch: int, *, evenly: bool = True) -> None:
        """Raises InputError when a batch cannot be shared out, ``evenly`` or by shares that differ by one."""
        if batch % self.size if evenly else batch < self.size:
            wanted = "a number that divides it" if evenly else "fewer"
            raise InputError(
                f"A batch of {batch} cannot be shared by {self.size} processes: choose {wanted}."
            )

    def share(self) -> slice:
        """Which part of a batch is this process's."""
        return slice(self.rank, None, self.size)

    def spread(self, network: nn.Module) -> nn.Module:
        """``network``, wrapped so that a backward pass averages the gradients of all processes."""
        if self.size == 1:
            return network
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = SharedBatchNorm
        return DistributedDataParallel(network, broadcast_buffers=False)

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        total = value.detach().clone()
        if self.size == 1:
            return total
        distributed.all_reduce(total)
        return total / self.size

    def from_first(self, values: list[float]) -> list[float]:
        """What the first process holds; the others hand in a list of the same length."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return shared.tolist()


ALONE = Group(torch.device("cpu"))
"""One process, on the CPU."""


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """This process alone, or with those that torchrun started beside it, each on a GPU of its own if there are any."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(choose_device(device))
        return
    local = int(os.environ["LOCAL_RANK"])
    chosen = choose_device(f"cuda:{local}" if device == "auto" and torch.cuda.is_available() else device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Group(chosen, distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm by the mean and variance over all processes; torch's own SyncBatchNorm knows no CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        x32 = x.float()
        count = x32.numel() // x32.shape[1] * distributed.get_world_size()
        mean = all_reduce(x32.sum((0, 2, 3))) / count
        centred = x32 - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            # As in torch: without a momentum, the mean of all batches so far.
            part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, part)
            self.running_var.lerp_(variance * count / (count - 1), part)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
