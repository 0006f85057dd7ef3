"""The sweep: the local detector over every sub-image of every slice gives the heatmap volume (Section 3.4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import DeviceError, ScanCancelled
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import (
    STRIDE,
    WINDOW,
    asked_mask,
    grid_shape,
    heatmap_ijk_to_ras,
)

_SLICES_PER_PASS = {"mps": 4, "cuda": 16}
_SIDE_BY_SIDE = 4
"""Slices at once on a CPU; each takes some 200 MiB."""
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Heatmap:
    """p(forged) of every window, float32 [k, r, c] in 0…1, a small volume of its own.

    ``ijk_to_ras`` (4×4) maps the heatmap's own voxel (c, r, k) to RAS in mm, so that anything that knows volumes
    draws it over the CT; nothing is upsampled.
    """

    p: NDArray[np.float32]
    ijk_to_ras: NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Where and how a sweep ran: ``device`` and ``precision`` as torch names them, ``notes`` for the user."""

    device: str
    precision: str
    notes: tuple[str, ...] = ()


def choose_device(asked: str = "auto") -> torch.device:
    """The device to sweep on; ``auto`` takes a GPU that computes, else the CPU.

    Raises DeviceError when the asked-for device is absent or cannot compute, as one that this torch is not built for.
    """
    if asked == "auto":
        for gpu in _gpus():
            with suppress(DeviceError):
                return choose_device(gpu)
        return torch.device("cpu")
    try:
        device = torch.device(asked)
        torch.ones(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"The device '{asked}' is not available ({_first_line(error)}): use --device auto or cpu."
        ) from error
    return device


def _gpus() -> list[str]:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, is_there in there.items() if is_there]


def choose_precision(asked: str, device: torch.device) -> str:
    """The arithmetic: ``auto`` is float16 on CUDA and MPS, bfloat16 on CPUs that compute in it, else float32.

    Raises DeviceError for a name that is not one of float32, bfloat16, float16.
    """
    if asked == "auto":
        if device.type != "cpu":
            return "float16"
        # Builds without oneDNN, such as those for macOS, do not have the question either.
        computes_in_it = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "bfloat16" if computes_in_it else "float32"
    if asked not in _PRECISIONS:
        raise DeviceError(f"The precision '{asked}' is unknown: use auto, {', '.join(_PRECISIONS)}.")
    return asked


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory: CUDA raises a type of its own for it, MPS and the CPU only say so."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in said
        or "can't allocate memory" in said
        or "ALLOC_FAILED" in said  # cuDNN, cuBLAS
        or "STATUS_NOT_INITIALIZED" in said  # cuDNN, where not even its own workspace fits
    )


class Sweeper:
    """A detector made ready for a device once, then applied to slices.

    The batch halves itself when the device's memory runs out; when one slice is too much, the rest is swept on the
    CPU. What happened is in ``ran``, and nothing is lost.
    """

    def __init__(self, detector: LocalDetector, device: str = "auto", precision: str = "auto") -> None:
        self._detector = detector
        self._notes: list[str] = []
        chosen = choose_device(device)
        if device == "auto" and chosen.type == "cpu" and _gpus():
            self._notes.append("There is a GPU that PyTorch cannot compute on; scanned on the CPU.")
        self._prepare(chosen, precision)

    @property
    def ran(self) -> Sweep:
        """Device, precision and notes so far."""
        return Sweep(str(self._device), self._precision, tuple(self._notes))

    def _prepare(self, device: torch.device, precision: str) -> None:
        self._device, self._precision = device, choose_precision(precision, device)
        self._batch = _SLICES_PER_PASS.get(device.type, min(torch.get_num_threads(), _SIDE_BY_SIDE))
        self._network = self._detector.in_precision(_PRECISIONS[self._precision]).to(device)

    def sweep(self, slices: NDArray[np.int16]) -> Iterator[NDArray[np.float32]]:
        """For each slice of [k, j, i] in HU, in order, its map of p(forged) [r, c]."""
        threads = torch.get_num_threads()
        each = max(1, threads // _SIDE_BY_SIDE)
        start = 0
        try:
            with ThreadPoolExecutor(_SIDE_BY_SIDE, "sweep", torch.set_num_threads, (each,)) as pool:
                while start < len(slices):
                    batch = slices[start : start + self._batch]
                    try:
                        maps = self._judge(batch, pool)
                    except RuntimeError as error:
                        if not is_out_of_memory(error):
                            raise
                        self._make_room(len(batch))
                        continue
                    yield from maps
                    start += len(batch)
        finally:
            torch.set_num_threads(threads)  # what one thread sets, threads to come begin with

    def _judge(self, slices: NDArray[np.int16], pool: Executor) -> Iterable[NDArray[np.float32]]:
        """The maps of a batch: on a GPU in one pass, on a CPU each slice in a thread of its own.

        Threads that share a slice wait for one another hundreds of times; on a busy computer that was ten times
        slower. A slice alone is judged in the same way: with more threads its last digits would be others.
        """
        if self._device.type != "cpu":
            return self._maps(slices)
        return [of_slice for (of_slice,) in pool.map(self._maps, slices[:, None])]

    def _make_room(self, tried: int) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if tried > 1:
            self._batch = tried // 2
            self._notes.append(f"The device's memory ran out; continued with {self._batch} slices at a time.")
        elif self._device.type != "cpu":
            self._notes.append(
                f"The memory of '{self._device}' is too small for one slice; continued on the CPU."
            )
            self._prepare(torch.device("cpu"), "auto")
        else:
            raise DeviceError(
                "The computer's memory is too small for one slice: close other programs and try again."
            )

    def _maps(self, slices: NDArray[np.int16]) -> NDArray[np.float32]:
        """p(forged) [k, r, c], 0 where a window is not asked (``asked_mask``)."""
        asked = np.stack([asked_mask(hu) for hu in slices])
        maps = np.zeros(asked.shape, np.float32)
        if not asked.any():
            return maps
        # Windows are exact wherever they lie, so only the part of the slices that holds asked ones is computed.
        r, c = np.nonzero(asked.any(axis=0))
        r0, r1, c0, c1 = r.min(), r.max(), c.min(), c.max()
        part = slices[:, STRIDE * r0 : STRIDE * r1 + WINDOW, STRIDE * c0 : STRIDE * c1 + WINDOW]
        p = self.probabilities(part)
        maps[:, r0 : r1 + 1, c0 : c1 + 1] = np.where(asked[:, r0 : r1 + 1, c0 : c1 + 1], p, 0)
        return maps

    @torch.inference_mode()
    def probabilities(self, part: NDArray[np.int16]) -> NDArray[np.float32]:
        """p(forged) of every window of slices or parts of slices [n, j, i] in HU: float32 [n, r, c]."""
        hu = torch.from_numpy(np.ascontiguousarray(part)).to(self._device)[:, None]
        logits: Tensor = self._network(hu)
        return torch.sigmoid(logits[:, 0]).cpu().numpy()


def sweep_volume(
    volume: Volume,
    sweeper: Sweeper,
    *,
    on_slice: Callable[[int, NDArray[np.float32], float], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Heatmap:
    """The heatmap of a volume.

    ``on_slice(k, map [r, c], seconds left)`` is called after each slice. Raises ScanCancelled between two slices once
    ``should_cancel()`` is true.
    """
    count = len(volume.hu)
    p = np.zeros((count, *grid_shape(*volume.hu.shape[1:])), np.float32)
    started = time.monotonic()
    for k, of_slice in enumerate(sweeper.sweep(volume.hu)):
        if should_cancel is not None and should_cancel():
            raise ScanCancelled("The scan was cancelled; nothing was written.")
        p[k] = of_slice
        if on_slice is not None:
            on_slice(k, of_slice, (time.monotonic() - started) / (k + 1) * (count - k - 1))
    return Heatmap(p, heatmap_ijk_to_ras(volume.ijk_to_ras))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
