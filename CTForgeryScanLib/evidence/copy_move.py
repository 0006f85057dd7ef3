"""Copy-move at candidate places: is this place's noise that of another place of the scan, shifted, mirrored or turned?

A patch of 20 mm of the lung's whitened noise about each candidate, three slices high, in the eight symmetries of a
square, is correlated by FFT with every slice of the lung. The candidates are the cascade's own, also those far below
its thresholds: places where the smoothed heatmap is highest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft, ndimage
from torch import Tensor

from CTForgeryScanLib.evidence.exhibit import exhibit
from CTForgeryScanLib.evidence.finding import (
    Evidence,
    Finding,
    Place,
    Step,
    not_applicable,
    nothing_found,
)
from CTForgeryScanLib.evidence.noise import Floats, LungNoise
from CTForgeryScanLib.evidence.published_block import Kji
from CTForgeryScanLib.evidence.thresholds import Threshold
from CTForgeryScanLib.heatmap import Heatmap
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import CENTRE, STRIDE

TEST = "copy_move"
CANDIDATES = 4
"""Places of a scan that are looked at."""

PATCH_MM = 20.0
_HALF_SLICES = 1
_SYMMETRIES = 8
_LEAST_ENERGY = 400.0  # patches of less than some two hundred voxels of even lung count as if they had this
_BESIDE = 8  # pixels about the patch itself, in any slice, that are no copy: rings and anatomy run on along k
_AROUND = (2, 4)  # pixels beside a match where a copy must not agree
_FEWEST_VOXELS = 300


@dataclass(frozen=True)
class Match:
    """The place of the scan whose noise agrees best with that of a candidate."""

    score: float
    """Standard deviations above what independent noise gives, less the highest a few pixels beside the place."""
    candidate_kji: Kji
    source_kji: Kji
    symmetry: int
    """The source turned by ``symmetry % 4`` quarter turns, after a mirror where it is 4 or more, is the candidate."""


def candidates(heatmap: Heatmap, first: int, count: int = CANDIDATES) -> list[Kji]:
    """The highest places [k, j, i] of the smoothed heatmap, in voxels of the whole volume; ``first`` is its slice 0."""
    smooth = ndimage.gaussian_filter(heatmap.p, (1.0, 1.5, 1.5))
    peaks = (smooth == ndimage.maximum_filter(smooth, (7, 9, 9))) & (smooth > 0)
    places = np.argwhere(peaks)
    best = places[np.argsort(-smooth[peaks])][:count]
    return [(int(k) + first, int(STRIDE * r + CENTRE), int(STRIDE * c + CENTRE)) for k, r, c in best]


def copy_move(
    volume: Volume,
    noise: LungNoise,
    places: list[Kji],
    threshold: Threshold,
    device: torch.device,
    step: Step,
) -> list[Finding]:
    """Every candidate whose noise is a copy; or one answer that there is none. ``noise`` is the volume's."""
    search = MatchSearch(noise, patch_half(volume), device)
    matches: list[Match] = []
    judged = 0
    for n, place in enumerate(places):
        step(n / len(places))
        if search.voxels(place) >= _FEWEST_VOXELS:
            judged += 1
            matches += [m for m in [search.best(place)] if m is not None and m.score >= threshold.threshold]
    step(1.0)
    if not judged:
        text = "Copied places were not looked for: no place that the heatmap points at lies in even lung."
        return [Finding(not_applicable(TEST, text))]
    if not matches:
        text = f"At the {judged} most conspicuous places the noise is found nowhere else in the scan."
        return [Finding(nothing_found(TEST, text, threshold=threshold.threshold))]
    return [_finding(volume, noise, threshold, match, search.half) for match in matches]


def patch_half(volume: Volume) -> int:
    """Half the patch's side in pixels."""
    return max(round(PATCH_MM / 2 / min(volume.spacing_mm[:2])), 4)


class MatchSearch:
    """Correlates patches of a noise volume with all of it."""

    def __init__(self, noise: LungNoise, half: int, device: torch.device) -> None:
        self.half = half
        self._noise = noise
        self._device = device
        self._size = [fft.next_fast_len(n + 2 * half, real=True) for n in noise.white.shape[1:]]
        white = torch.from_numpy(noise.white).to(device)
        self._spectra = torch.fft.rfft2(white, s=self._size)
        side = 2 * half + 1
        energy = white.square()[:, None]
        for kernel, padding in (((side, 1), (half, 0)), ((1, side), (0, half))):
            energy = torch.nn.functional.avg_pool2d(energy, kernel, 1, padding)
        # The patch's slices above and below reach beyond the volume at its ends.
        moved = [_moved(energy[:, 0], dk) for dk in range(-_HALF_SLICES, _HALF_SLICES + 1)]
        self._energy = torch.stack(moved).sum(dim=0)

    def voxels(self, place: Kji) -> int:
        """Voxels of even lung in the patch about a place [k, j, i] of the volume."""
        return int(np.count_nonzero(self._patch(place)))

    def best(self, place: Kji) -> Match | None:
        """The best match of the patch about a place [k, j, i] of the volume, over all places and symmetries."""
        patch = self._patch(place)
        found = [self._in_symmetry(patch, place, n) for n in range(_SYMMETRIES)]
        return max((m for m in found if m is not None), key=lambda m: m.score, default=None)

    def _patch(self, place: Kji) -> Floats:
        """The noise about a place, [slices, side, side], 0 beyond the box."""
        side = 2 * self.half + 1
        patch = np.zeros((2 * _HALF_SLICES + 1, side, side), np.float32)
        centre = np.subtract(place, self._noise.first_kji)
        low = centre - (_HALF_SLICES, self.half, self.half)
        size = np.array(self._noise.white.shape)
        first, stop = np.clip(low, 0, size), np.clip(low + patch.shape, 0, size)
        outer = tuple(slice(a, b) for a, b in zip(first, stop, strict=True))
        inner = tuple(slice(a, b) for a, b in zip(first - low, stop - low, strict=True))
        patch[inner] = self._noise.white[outer]
        return patch

    def _in_symmetry(self, patch: Floats, place: Kji, symmetry: int) -> Match | None:
        # The inverse of the turn that made the candidate from its source.
        turned = np.rot90(patch, -(symmetry % 4), axes=(1, 2))
        turned = np.ascontiguousarray(turned[:, :, ::-1] if symmetry >= 4 else turned)
        template = torch.fft.rfft2(torch.from_numpy(turned).to(self._device), s=self._size).conj()
        product = torch.zeros_like(self._spectra)
        for n, dk in enumerate(range(-_HALF_SLICES, _HALF_SLICES + 1)):
            into, out_of = _overlap(len(product), dk)
            product[into].addcmul_(self._spectra[out_of], template[n])
        scores = torch.fft.irfft2(product, s=self._size)
        # Entry (r, c) is the patch with its first row at r; its middle is what counts.
        scores = torch.roll(scores, (self.half, self.half), dims=(1, 2))
        scores = scores[:, : self._noise.white.shape[1], : self._noise.white.shape[2]]
        density = float(np.square(patch).mean())
        area = (2 * self.half + 1) ** 2
        scores = scores / (self._energy * area * density).clamp(min=_LEAST_ENERGY).sqrt()
        _, j, i = (int(n) for n in np.subtract(place, self._noise.first_kji))
        scores[
            :, max(j - _BESIDE, 0) : max(j + _BESIDE + 1, 0), max(i - _BESIDE, 0) : max(i + _BESIDE + 1, 0)
        ] = 0
        flat = int(scores.argmax())
        at = tuple(int(n) for n in np.unravel_index(flat, tuple(scores.shape)))
        peak = float(scores[at])
        if peak <= 0:
            return None
        source = np.add(at, self._noise.first_kji)
        score = peak - _around(scores[at[0]].cpu().numpy(), at[1], at[2])
        return Match(score, place, (int(source[0]), int(source[1]), int(source[2])), symmetry)


def _overlap(length: int, by: int) -> tuple[slice, slice]:
    """Slices k and k + by that both lie in a volume."""
    first, stop = max(0, -by), min(length, length - by)
    return slice(first, max(stop, first)), slice(first + by, max(stop, first) + by)


def _moved(volume: Tensor, by: int) -> Tensor:
    """Slice k + by at k, 0 where there is none."""
    moved = torch.zeros_like(volume)
    into, out_of = _overlap(len(volume), by)
    moved[into] = volume[out_of]
    return moved


def _around(plane: Floats, row: int, column: int) -> float:
    """The highest value within a few pixels of a place, the place itself left out; at least 0."""
    inner, outer = _AROUND
    r0, c0 = max(row - outer, 0), max(column - outer, 0)
    near: NDArray[np.float32] = plane[r0 : row + outer + 1, c0 : column + outer + 1].copy()
    near[
        max(row - inner + 1 - r0, 0) : row + inner - r0, max(column - inner + 1 - c0, 0) : column + inner - c0
    ] = 0
    return max(float(near.max()), 0.0)


def _finding(volume: Volume, noise: LungNoise, threshold: Threshold, match: Match, half: int) -> Finding:
    (k, j, i), (sk, sj, si) = match.candidate_kji, match.source_kji
    ras = volume.ijk_to_ras_point((i, j, k))
    away = float(np.linalg.norm(np.subtract(ras, volume.ijk_to_ras_point((si, sj, sk)))))
    how = "mirrored " * (match.symmetry >= 4) + "turned " * (match.symmetry % 4 != 0)
    text = (
        f"The noise in the lung about slice {k}, pixel ({i}, {j}) is the {how or 'same '}noise of slice {sk}, pixel "
        f"({si}, {sj}), {away:.0f} mm away (agreement {match.score:.0f}; untouched scans stay below "
        f"{threshold.threshold:.1f}). No scanner repeats its noise: one place was copied over the other."
    )
    evidence = Evidence(TEST, True, None, True, match.score, threshold.threshold, (i, j, k), ras, text)
    extent = (
        (max(i - half, 0), min(i + half, volume.shape[2] - 1)),
        (max(j - half, 0), min(j + half, volume.shape[1] - 1)),
        (max(k - _HALF_SLICES, 0), min(k + _HALF_SLICES, volume.shape[0] - 1)),
    )
    shown = exhibit(volume, noise, match.candidate_kji, match.source_kji, 2 * half + 1)
    certainty = 1 - threshold.probability_untouched(match.score)
    return Finding(evidence, Place(extent, certainty, shown))
