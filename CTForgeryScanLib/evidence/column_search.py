"""At which shifts a column of lung agrees with the lung of the scan: correlation by FFT, then a closer look.

A shift that is found is what takes the column to its copy, whatever slices of it were copied.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor
from torch.nn import functional

from CTForgeryScanLib.evidence.noise import Floats
from CTForgeryScanLib.evidence.published_block import Kji

NEAR_KJI = (3, 6, 6)
"""Shifts up to these are no copy: noise resembles itself there, for slices overlap and anatomy runs on. Along k alone
(``beside``) it may do so at any distance, as rings do, so such copies have a higher threshold of their own."""

_COARSE = 4  # the overlap's energy varies slowly, so it is correlated on cells of 4x4x4
_PEAK = 4.3  # standard deviations from which a shift of the whole column is looked at more closely
_PLACES = 20000  # highest shifts of a column, neighbours among them
_PEAKS = 60  # as many of them for each column
_AROUND = 4  # pixels beside a shift where a copy must not agree
_APART = 2  # voxels within which peaks are one
_LEAST_ENERGY = 2000.0  # overlaps of less than about a thousand voxels count as if they had this


@dataclass(frozen=True)
class LungColumn:
    """What may have been copied: noise of all slices [k, j, i], and its first (row, column) in the noise's box."""

    noise: Floats
    first: tuple[int, int]


class ColumnSearch:
    """Correlates columns of a noise volume with the volume. Circular: a shift is known up to ``lengths``."""

    def __init__(self, white: Floats, device: torch.device) -> None:
        # Multiples of the coarse cells, so that both correlations wrap alike.
        coarse = tuple(fft.next_fast_len(-(-n // _COARSE), real=True) for n in white.shape)
        self.lengths: Kji = (_COARSE * coarse[0], _COARSE * coarse[1], _COARSE * coarse[2])
        self._coarse = coarse
        self._white = torch.from_numpy(white).to(device)
        self._spectrum = torch.fft.rfftn(self._white, s=self.lengths)
        self._energy = torch.fft.rfftn(self._cells(self._white), s=coarse)

    def shifts(self, block: LungColumn) -> list[Kji]:
        """The shifts, modulo ``lengths``, that make the column agree best with the volume, best first."""
        column = torch.from_numpy(block.noise).to(self._white.device)
        overlap = torch.fft.rfftn(self._cells(column), s=self._coarse).conj().mul_(self._energy)
        energy = torch.fft.irfftn(overlap, s=self._coarse).div_(_COARSE**3).clamp_(min=_LEAST_ENERGY)
        product = torch.fft.rfftn(column, s=self.lengths).conj_physical_().mul_(self._spectrum)
        del column
        scores = torch.fft.irfftn(product, s=self.lengths)
        del product
        cells = scores.view(*(n for c in self._coarse for n in (c, _COARSE)))
        cells.mul_(energy.rsqrt_()[:, None, :, None, :, None])
        places = (scores > _PEAK).nonzero()
        values = scores[tuple(places.T)]
        highest = values.topk(min(_PLACES, len(values))).indices
        # The column was transformed as if it lay in the corner.
        return self._peaks((places[highest].cpu().numpy() - (0, *block.first)) % self.lengths)

    def _cells(self, volume: Tensor) -> Tensor:
        """Energy of the noise in cells of 4x4x4 voxels."""
        missing = [-n % _COARSE for n in reversed(volume.shape)]
        padded = functional.pad(volume, [n for by in missing for n in (0, by)]).square_()
        cells = padded.view(*(n for size in padded.shape for n in (size // _COARSE, _COARSE)))
        return cells.sum(dim=(1, 3, 5))

    def _peaks(self, places: NDArray[np.int64]) -> list[Kji]:
        """The highest of neighbouring places, given highest first, without those too near to no shift at all."""
        size = np.array(self.lengths)
        places = places[(np.minimum(places, size - places) > NEAR_KJI).any(axis=1)]
        found: list[Kji] = []
        while len(places) and len(found) < _PEAKS:
            k, j, i = (int(n) for n in places[0])
            found.append((k, j, i))
            away = np.abs(places - places[0])
            places = places[(np.minimum(away, size - away) > _APART).any(axis=1)]
        return found


@dataclass(frozen=True)
class Run:
    """A shift of a column, and per slice how much column and shifted volume agree, over where both are flat lung."""

    shift: Kji
    spans: tuple[slice, slice, slice]
    """The part of the column whose shifted copy lies in the box."""
    total: NDArray[np.float64]
    energy: NDArray[np.float64]

    def scores(self, side: int) -> NDArray[np.float64]:
        """Of every run of ``side`` slices that touches the span; the first starts ``side`` - 1 slices before it."""
        total, energy = (np.convolve(values, np.ones(side)) for values in (self.total, self.energy))
        return total / np.sqrt(np.maximum(energy, _LEAST_ENERGY))


def best_run(white: Floats, block: LungColumn, shift: Kji, lengths: Kji, side: int) -> Run | None:
    """Which of the shifts that are the same modulo ``lengths`` agrees best; None where all leave the box."""
    runs = []
    for signed in itertools.product(*((n, n - length) for n, length in zip(shift, lengths, strict=True))):
        spans = []
        for at, long, move, size in zip(
            (0, *block.first), block.noise.shape, signed, white.shape, strict=True
        ):
            spans.append(slice(max(0, -move - at), min(long, size - move - at)))
        if all(span.start < span.stop for span in spans):
            by: Kji = (signed[0], signed[1], signed[2])
            inside = (spans[0], spans[1], spans[2])
            product: Floats = block.noise[inside] * _shifted(white, block, inside, by)
            total, energy = (a.sum(axis=(1, 2), dtype=np.float64) for a in (product, product * product))
            runs.append(Run(by, inside, total, energy))
    return max(runs, key=lambda run: run.scores(side).max(), default=None)


def _shifted(white: Floats, block: LungColumn, spans: tuple[slice, slice, slice], shift: Kji) -> Floats:
    """What lies where the shift takes that part of the block."""
    begin = [at + by for at, by in zip((0, *block.first), shift, strict=True)]
    return white[tuple(slice(s.start + b, s.stop + b) for s, b in zip(spans, begin, strict=True))]


def standing_out(white: Floats, block: LungColumn, run: Run, side: int) -> float:
    """The best run's score less the highest that the same slices reach a few pixels beside the shift.

    Copied noise agrees at one shift only; anatomy and streaks that resemble themselves agree around it too.
    """
    scores = run.scores(side)
    at = int(np.argmax(scores))
    first, stop = max(at - side + 1, 0), min(at + 1, len(run.total))
    spans = (slice(run.spans[0].start + first, run.spans[0].start + stop), *run.spans[1:])
    source, site = block.noise[spans], _shifted(white, block, spans, run.shift)
    size = [fft.next_fast_len(n + _AROUND, real=True) for n in source.shape[1:]]
    spectrum = np.conj(fft.rfft2(source, s=size)) * fft.rfft2(site, s=size)
    around = fft.irfft2(spectrum.sum(axis=0), s=size)
    lags = np.arange(-_AROUND, _AROUND + 1)
    beside = around[np.ix_(lags, lags)]
    beside[_AROUND - 1 : _AROUND + 2, _AROUND - 1 : _AROUND + 2] = 0  # the peak itself
    energy = max(float(run.energy[first:stop].sum()), _LEAST_ENERGY)
    return float(scores[at] - max(beside.max() / np.sqrt(energy), 0.0))
