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

from CTForgeryScanLib.evidence.column_search import (
    NEAR_KJI,
    ColumnSearch,
    LungColumn,
    Run,
    best_run,
    standing_out,
)
from CTForgeryScanLib.evidence.exhibit import exhibit
from CTForgeryScanLib.evidence.finding import (
    Evidence,
    Finding,
    Place,
    Step,
    not_applicable,
    nothing_found,
)
from CTForgeryScanLib.evidence.noise import LungNoise, about
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

_FEWEST_VOXELS = 3000  # of even lung in the block: fewer do not stand out
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

    def least(self, threshold: Threshold) -> float:
        """The score from which such a copy is a finding."""
        return threshold.beside if self.beside else threshold.threshold


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
        if copy.score >= copy.least(threshold)
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


def _voxels_of_block(block: LungColumn, side: int) -> int:
    """Most voxels of even lung in as many slices of the column as a block is high."""
    counts = np.count_nonzero(block.noise, axis=(1, 2))
    return int(np.convolve(counts, np.ones(side, np.int64)).max()) if len(counts) else 0


def _finding(volume: Volume, noise: LungNoise, threshold: Threshold, copy: Copy) -> Finding:
    site, source = copy.site_kji[::-1], copy.source_kji[::-1]
    ras = volume.ijk_to_ras_point(site)
    away = float(np.linalg.norm(np.subtract(ras, volume.ijk_to_ras_point(source))))
    text = (
        f"The noise in the lung about slice {site[2]}, pixel ({site[0]}, {site[1]}) is a copy of the noise about slice "
        f"{source[2]}, pixel ({source[0]}, {source[1]}), {away:.0f} mm away (agreement {copy.score:.0f}; "
        f"{threshold.in_words(f'{copy.least(threshold):.1f}')}). A scanner's noise does not repeat so; CT-GAN's "
        "touch-up copies it from there to every place it repaints."
    )
    evidence = Evidence(
        TEST, True, None, True, copy.score, copy.least(threshold), (site[0], site[1], site[2]), ras, text
    )
    ranges = [
        (max(at - copy.side // 2, 0), min(at - copy.side // 2 + copy.side, size) - 1)
        for at, size in zip(site, volume.shape[::-1], strict=True)
    ]
    extent = (ranges[0], ranges[1], ranges[2])
    # The distribution is that of copies elsewhere; of those beside only the threshold is known.
    untouched = threshold.false_share if copy.beside else threshold.probability_untouched(copy.score)
    return Finding(
        evidence,
        Place(extent, 1 - untouched, exhibit(volume, noise, copy.site_kji, copy.source_kji, copy.side)),
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
    if not columns:
        return []
    side = block_side(volume.spacing_mm)
    search = ColumnSearch(noise.white, device)
    copies: list[Copy] = []
    for n, corner in enumerate(columns):
        block = _column(volume, noise, corner, side)
        step((n + 0.1) / len(columns))
        for shift in search.shifts(block) if block.noise.any() else []:
            step((n + 0.5) / len(columns))
            run = best_run(noise.white, block, shift, search.lengths, side)
            # Standing out lowers the score, so that most shifts need not be looked at closer.
            if run is not None and run.scores(side).max() >= at_least:
                score = standing_out(noise.white, block, run, side)
                if score >= at_least:
                    copies.append(_placed(run, score, volume, noise, corner))
        step((n + 1) / len(columns))
    return _without_echoes(sorted(copies, key=lambda copy: -copy.score))


def _column(volume: Volume, noise: LungNoise, corner: tuple[int, int], side: int) -> LungColumn:
    """A column of lung; brighter voxels are 0, for the touch-up copies none of those."""
    _, j0, i0 = noise.first_kji
    rows, columns = (
        slice(min(max(at - first, 0), size), max(min(at - first + side, size), 0))
        for at, first, size in zip(corner, (j0, i0), noise.white.shape[1:], strict=True)
    )
    hu = volume.hu[:, j0 + rows.start : j0 + rows.stop, i0 + columns.start : i0 + columns.stop]
    return LungColumn(noise.white[:, rows, columns] * (hu <= COPIED_HU), (rows.start, columns.start))


def _placed(run: Run, score: float, volume: Volume, noise: LungNoise, corner: tuple[int, int]) -> Copy:
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
