"""The noise block that CT-GAN's published touch-up copies into every place it forges.

The touch-up cuts a block out of the scan at one fixed place, (Z/2, 0.43·H, 0.27·W), and adds its noise to each forged
site (Mirsky et al., 2019, as published; ``training/forgers/published_pasting.py``, step 3). Two places of one scan
then have the same noise, which no scanner makes. It is found whatever the generator painted, and by its removals
rather than by its injections, which fade the block out.

Of the block's place only row and column are sure: slices may have been cut off since, and the series may have been
flipped. So the whole column of lung at that row and column (in all four in-plane flips) is correlated with the lung
of the scan, by FFT. A peak says which shift takes the block to a site, whatever the block's slices; along which slices
it was pasted is then told by ``published_block.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor
from torch.nn import functional

from CTForgeryScanLib.evidence.exhibit import exhibit
from CTForgeryScanLib.evidence.finding import (
    Evidence,
    Finding,
    Place,
    Step,
    not_applicable,
    nothing_found,
)
from CTForgeryScanLib.evidence.noise import Floats, LungNoise, about
from CTForgeryScanLib.evidence.published_block import (
    COPIED_HU,
    Column,
    Kji,
    block_side,
    cube_sides,
    published_columns,
    source_slice,
)
from CTForgeryScanLib.evidence.thresholds import Threshold
from CTForgeryScanLib.volume import Volume

TEST = "copied_noise"

NEAR_KJI = (3, 6, 6)
"""Shifts up to these are no copy: noise resembles itself there, for slices overlap and anatomy runs on. Along k alone
(``beside``) it may do so at any distance, as rings do, so such copies have a higher threshold of their own."""

_FEWEST_VOXELS = 3000  # of even lung in the block: fewer do not stand out
_COARSE = 4  # the overlap's energy varies slowly, so it is correlated on cells of 4x4x4
_PEAK = 4.3  # standard deviations from which a shift of the whole column is looked at more closely
_PLACES = 20000  # highest shifts of a column, neighbours among them
_PEAKS = 60  # as many of them for each column
_AROUND = 4  # pixels beside a shift where a copy must not agree
_APART = 2  # voxels within which peaks are one
_LEAST_ENERGY = 2000.0  # overlaps of less than about a thousand voxels count as if they had this
_SAME = 3  # voxels within which two shifts are one


@dataclass(frozen=True)
class Copy:
    """Two blocks of the same noise: centres (k, j, i) in voxels of the volume, side in voxels, and the score.

    ``score`` is the correlation over the agreeing slices in standard deviations of what independent noise gives.
    """

    score: float
    site_kji: Kji
    source_kji: Kji
    side: int

    @property
    def beside(self) -> bool:
        """Whether site and source are at the same place of different slices."""
        return all(abs(by) <= near for by, near in zip(self.shift_kji[1:], NEAR_KJI[1:], strict=True))

    @property
    def shift_kji(self) -> Kji:
        """From the source to the site."""
        k, j, i = (a - b for a, b in zip(self.site_kji, self.source_kji, strict=True))
        return k, j, i


def copied_noise(
    volume: Volume, noise: LungNoise, threshold: Threshold, device: torch.device, step: Step
) -> list[Finding]:
    """Every place whose noise is a copy of the touch-up's block; or one answer that there is none.

    ``noise`` is the volume's. Not applicable where too little flat lung lies at the block's place, unless a
    copy is found that tells that the scan was flipped since.
    """
    side = block_side(volume.spacing_mm)
    columns = published_columns(volume.shape, side)
    voxels = [_voxels_of_block(_column(volume, noise, corner, side), side) for corner in columns]
    searched = [corner for corner, count in zip(columns, voxels, strict=True) if count >= _FEWEST_VOXELS]
    copies = [
        copy
        for copy in find_copies(volume, noise, searched, threshold.threshold, device, step)
        if copy.score >= (threshold.beside if copy.beside else threshold.threshold)
    ]
    step(1.0)
    # The lung of the flipped places says nothing of a scan that was not flipped.
    if not copies and columns[0] not in searched:
        text = (
            "Copied noise was not looked for: the place that CT-GAN's touch-up copies from "
            f"(43 % down, 27 % across) holds only {voxels[0]} voxels of even lung; {_FEWEST_VOXELS} are needed."
        )
        return [Finding(not_applicable(TEST, text))]
    if not copies:
        text = "No part of the lung has the noise of the block that CT-GAN's touch-up copies."
        return [Finding(nothing_found(TEST, text, threshold=threshold.threshold))]
    return [_finding(volume, noise, threshold, copy) for copy in copies]


def _voxels_of_block(block: _Block, side: int) -> int:
    """Most voxels of even lung in as many slices of the column as a block is high."""
    counts = np.count_nonzero(block.noise, axis=(1, 2))
    return int(np.convolve(counts, np.ones(side, np.int64)).max()) if len(counts) else 0


def _finding(volume: Volume, noise: LungNoise, threshold: Threshold, copy: Copy) -> Finding:
    site, source = copy.site_kji[::-1], copy.source_kji[::-1]
    ras = volume.ijk_to_ras_point(site)
    away = float(np.linalg.norm(np.subtract(ras, volume.ijk_to_ras_point(source))))
    text = (
        f"The noise in the lung about slice {site[2]}, pixel ({site[0]}, {site[1]}) is a copy of the noise about slice "
        f"{source[2]}, pixel ({source[0]}, {source[1]}), {away:.0f} mm away (agreement {copy.score:.0f}; untouched "
        f"scans stay below {threshold.threshold:.1f}). No scanner repeats its noise; CT-GAN's touch-up copies it from "
        "there to every place it repaints."
    )
    evidence = Evidence(
        TEST, True, None, True, copy.score, threshold.threshold, (site[0], site[1], site[2]), ras, text
    )
    ranges = [
        (max(at - copy.side // 2, 0), min(at - copy.side // 2 + copy.side, size) - 1)
        for at, size in zip(site, volume.shape[::-1], strict=True)
    ]
    extent = (ranges[0], ranges[1], ranges[2])
    certainty = 1 - threshold.probability_untouched(copy.score)
    return Finding(
        evidence, Place(extent, certainty, exhibit(volume, noise, copy.site_kji, copy.source_kji, copy.side))
    )


def find_copies(
    volume: Volume,
    noise: LungNoise,
    columns: Sequence[tuple[int, int]],
    at_least: float,
    device: torch.device,
    step: Step,
) -> list[Copy]:
    """The places whose noise is that of one of the columns of lung, best first, echoes left out.

    Args:
        volume: the scan.
        noise: the volume's.
        columns: first (row, column) of the blocks to look for, in the volume (see ``published_columns``).
        at_least: lowest score that is asked for.
        device: where the FFTs run.
        step: progress.
    """
    side = block_side(volume.spacing_mm)
    search = _Search(noise.white, device)
    copies: list[Copy] = []
    for n, corner in enumerate(columns):
        block = _column(volume, noise, corner, side)
        step((n + 0.1) / len(columns))
        for shift in search.shifts(block) if block.noise.any() else []:
            step((n + 0.5) / len(columns))
            run = _best_run(noise.white, block, shift, search.lengths, side)
            # Standing out lowers the score, so that most shifts need not be looked at closer.
            if run is not None and run.scores(side).max() >= at_least:
                score = _standing_out(noise.white, block, run, side)
                if score >= at_least:
                    copies.append(_placed(run, score, volume, noise, corner))
        step((n + 1) / len(columns))
    return _without_echoes(sorted(copies, key=lambda copy: -copy.score))


@dataclass(frozen=True)
class _Block:
    """What may have been copied: noise of all slices [k, j, i], and its first (row, column) in the noise's box."""

    noise: Floats
    first: tuple[int, int]


def _column(volume: Volume, noise: LungNoise, corner: tuple[int, int], side: int) -> _Block:
    """A column of lung; brighter voxels are 0, for the touch-up copies none of those."""
    _, j0, i0 = noise.first_kji
    rows, columns = (
        slice(min(max(at - first, 0), size), max(min(at - first + side, size), 0))
        for at, first, size in zip(corner, (j0, i0), noise.white.shape[1:], strict=True)
    )
    hu = volume.hu[:, j0 + rows.start : j0 + rows.stop, i0 + columns.start : i0 + columns.stop]
    return _Block(noise.white[:, rows, columns] * (hu <= COPIED_HU), (rows.start, columns.start))


class _Search:
    """Correlates columns of a noise volume with the volume. Circular: a shift is known up to ``lengths``."""

    def __init__(self, white: Floats, device: torch.device) -> None:
        # Multiples of the coarse cells, so that both correlations wrap alike.
        coarse = tuple(fft.next_fast_len(-(-n // _COARSE), real=True) for n in white.shape)
        self.lengths: Kji = (_COARSE * coarse[0], _COARSE * coarse[1], _COARSE * coarse[2])
        self._coarse = coarse
        self._white = torch.from_numpy(white).to(device)
        self._spectrum = torch.fft.rfftn(self._white, s=self.lengths)
        self._energy = torch.fft.rfftn(self._cells(self._white), s=coarse)

    def shifts(self, block: _Block) -> list[Kji]:
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
class _Run:
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


def _best_run(white: Floats, block: _Block, shift: Kji, lengths: Kji, side: int) -> _Run | None:
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
            runs.append(_Run(by, inside, total, energy))
    return max(runs, key=lambda run: run.scores(side).max(), default=None)


def _shifted(white: Floats, block: _Block, spans: tuple[slice, slice, slice], shift: Kji) -> Floats:
    """What lies where the shift takes that part of the block."""
    begin = [at + by for at, by in zip((0, *block.first), shift, strict=True)]
    return white[tuple(slice(s.start + b, s.stop + b) for s, b in zip(spans, begin, strict=True))]


def _standing_out(white: Floats, block: _Block, run: _Run, side: int) -> float:
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


def _placed(run: _Run, score: float, volume: Volume, noise: LungNoise, corner: tuple[int, int]) -> Copy:
    """Block and site in the volume."""
    side = block_side(volume.spacing_mm)
    move = run.shift
    j, i = corner[0] + side // 2, corner[1] + side // 2
    source, site = (
        Column(about(volume.hu, *place, side, 0), noise.about(*place, side))
        for place in ((j, i), (j + move[1], i + move[2]))
    )
    source = replace(source, noise=source.noise * (source.hu <= COPIED_HU))
    k = source_slice(source, site, move[0], cube_sides(volume.spacing_mm))
    return Copy(score, (k + move[0], j + move[1], i + move[2]), (k, j, i), side)


def _without_echoes(copies: list[Copy]) -> list[Copy]:
    """The copies of one block, the best one's, without what they explain: sites also agree with one another."""
    kept: list[Copy] = []
    for copy in copies:
        known = [kept[0].source_kji, *(other.site_kji for other in kept)] if kept else [copy.source_kji]
        if copy.source_kji[1:] != known[0][1:]:
            continue
        shift = np.array(copy.shift_kji)
        if all(np.abs(shift - np.subtract(a, b)).max() > _SAME for a, b in itertools.permutations(known, 2)):
            kept.append(copy)
    return kept
