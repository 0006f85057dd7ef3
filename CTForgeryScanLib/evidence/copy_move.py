"""Copy-move at candidate places: is this place's noise that of another place of the scan, shifted, mirrored or turned?

A patch of 20 mm of the lung's whitened noise about each candidate, three slices high, in the eight symmetries of a
square, is correlated by FFT with every slice of the lung. The candidates are the cascade's own, also those far below
its thresholds: places whose logits (``places.py``), averaged over three slices, are highest.
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
from CTForgeryScanLib.places import LIMIT, place_logits
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
_PEAK = (7, 9, 9)  # slices, rows and columns of windows in which a candidate is the highest
_AT_ONCE = 8  # slices that are correlated together


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
    """The most suspicious places [k, j, i] of the heatmap, in voxels of the whole volume; ``first`` is its slice 0."""
    logits = ndimage.uniform_filter1d(place_logits(heatmap.p), 3, axis=0, mode="nearest")
    peaks = (logits == ndimage.maximum_filter(logits, _PEAK)) & (logits > -LIMIT)
    best: list[NDArray[np.int64]] = []
    places = np.argwhere(peaks)
    for place in places[np.argsort(-logits[peaks], kind="stable")]:
        # Where the logits are at their limit, neighbouring places are equal peaks.
        if all((np.abs(place - other) > np.floor_divide(_PEAK, 2)).any() for other in best):
            best.append(place)
        if len(best) == count:
            break
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
    half = patch_half(volume)
    judged = [place for place in places if np.count_nonzero(_patch(noise, place, half)) >= _FEWEST_VOXELS]
    if not judged:
        step(1.0)
        text = "Copied places were not looked for: no place that the heatmap points at lies in even lung."
        return [Finding(not_applicable(TEST, text))]
    search = MatchSearch(noise, half, device)
    matches: list[Match] = []
    for n, place in enumerate(judged):
        step(n / len(judged))
        matches += [m for m in [search.best(place)] if m is not None and m.score >= threshold.threshold]
    step(1.0)
    if not matches:
        text = f"At the {len(judged)} most conspicuous places the noise is found nowhere else in the scan."
        return [Finding(nothing_found(TEST, text, threshold=threshold.threshold))]
    return [_finding(volume, noise, threshold, match, half) for match in matches]


def patch_half(volume: Volume) -> int:
    """Half the patch's side in pixels."""
    return max(round(PATCH_MM / 2 / min(volume.spacing_mm[:2])), 4)


class MatchSearch:
    """Correlates patches of a noise volume with all of it, a few slices at a time, which stay in the cache."""

    def __init__(self, noise: LungNoise, half: int, device: torch.device) -> None:
        self.half = half
        self._noise = noise
        self._device = device
        # Circular: a patch that reaches beyond one border reaches into the zeros behind the other.
        self._size = [fft.next_fast_len(n + half, real=True) for n in noise.white.shape[1:]]
        slices, columns = len(noise.white), self._size[1] // 2 + 1
        self._spectra = torch.empty((slices, self._size[0], columns), dtype=torch.complex64, device=device)
        energy = torch.empty(noise.white.shape, device=device)
        for first in range(0, slices, _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            there = torch.from_numpy(noise.white[part]).to(device)
            self._spectra[part] = torch.fft.rfft2(there, s=self._size)
            energy[part] = self._energy_of_patches(there)
        self._energy = energy.clone()
        for dk in range(1, _HALF_SLICES + 1):
            self._energy[dk:] += energy[:-dk]
            self._energy[:-dk] += energy[dk:]

    def _energy_of_patches(self, white: Tensor) -> Tensor:
        side = 2 * self.half + 1
        energy = white.square()[:, None]
        for kernel, padding in (((side, 1), (self.half, 0)), ((1, side), (0, self.half))):
            energy = torch.nn.functional.avg_pool2d(energy, kernel, 1, padding)
        return energy[:, 0]

    def best(self, place: Kji) -> Match | None:
        """The best match of the patch about a place [k, j, i] of the volume, over all places and symmetries."""
        patch = _patch(self._noise, place, self.half)
        templates = [self._template(patch, symmetry) for symmetry in range(_SYMMETRIES)]
        area_density = (2 * self.half + 1) ** 2 * float(np.square(patch).mean())
        _, j, i = (int(n) for n in np.subtract(place, self._noise.first_kji))
        own = [slice(max(at - _BESIDE, 0), max(at + _BESIDE + 1, 0)) for at in (j, i)]
        highest: list[tuple[float, Kji, Floats]] = [
            (0.0, (0, 0, 0), np.zeros((1, 1), np.float32))
        ] * _SYMMETRIES
        for first in range(0, len(self._energy), _AT_ONCE):
            weight = (
                (self._energy[first : first + _AT_ONCE] * area_density).clamp_(min=_LEAST_ENERGY).rsqrt_()
            )
            weight[:, own[0], own[1]] = 0
            for symmetry, template in enumerate(templates):
                scores = self._correlated(template, first, len(weight)).mul_(weight)
                flat = int(scores.argmax())
                k, r, c = (int(n) for n in np.unravel_index(flat, tuple(scores.shape)))
                peak = float(scores[k, r, c])
                if peak > highest[symmetry][0]:
                    highest[symmetry] = (peak, (first + k, r, c), scores[k].cpu().numpy().copy())
        matches = [
            Match(peak - _around(plane, at[1], at[2]), place, self._in_volume(at), symmetry)
            for symmetry, (peak, at, plane) in enumerate(highest)
            if peak > 0
        ]
        return max(matches, key=lambda match: match.score, default=None)

    def _in_volume(self, at: Kji) -> Kji:
        k, j, i = (int(n) for n in np.add(at, self._noise.first_kji))
        return k, j, i

    def _template(self, patch: Floats, symmetry: int) -> Tensor:
        """Conjugate spectrum of the patch as its source would be, with its middle at the origin."""
        # The inverse of the turn that made the candidate from its source.
        turned = np.rot90(patch, -(symmetry % 4), axes=(1, 2))
        turned = np.ascontiguousarray(turned[:, :, ::-1] if symmetry >= 4 else turned)
        padded = torch.zeros((len(turned), *self._size), device=self._device)
        padded[:, : turned.shape[1], : turned.shape[2]] = torch.from_numpy(turned).to(self._device)
        return torch.fft.rfft2(padded.roll((-self.half, -self.half), dims=(1, 2))).conj_physical_()

    def _correlated(self, template: Tensor, first: int, count: int) -> Tensor:
        """The correlation [k, j, i] of a patch with the slices ``first`` … about each of its places."""
        product = torch.zeros_like(self._spectra[first : first + count])
        for n, dk in enumerate(range(-_HALF_SLICES, _HALF_SLICES + 1)):
            # The patch's slices above and below reach beyond the volume at its ends.
            low, high = max(first, -dk), min(first + count, len(self._spectra) - dk)
            if low < high:
                product[low - first : high - first].addcmul_(self._spectra[low + dk : high + dk], template[n])
        _, rows, columns = self._noise.white.shape
        return torch.fft.irfft2(product, s=self._size)[:, :rows, :columns]


def _patch(noise: LungNoise, place: Kji, half: int) -> Floats:
    """The noise about a place [k, j, i] of the volume, [slices, side, side], 0 beyond the box."""
    column = noise.about(*place[1:], 2 * half + 1)
    patch = np.zeros((2 * _HALF_SLICES + 1, *column.shape[1:]), np.float32)
    first = place[0] - _HALF_SLICES
    low, high = max(first, 0), min(first + len(patch), len(column))
    patch[low - first : high - first] = column[low:high]
    return patch


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
        f"({si}, {sj}), {away:.0f} mm away (agreement {match.score:.0f}; "
        f"{threshold.in_words(f'{threshold.threshold:.1f}')}). A scanner's noise does not repeat so: it looks as if "
        "one place was copied over the other."
    )
    evidence = Evidence(TEST, True, None, True, match.score, threshold.threshold, (i, j, k), ras, text)
    extent = (
        (max(i - half, 0), min(i + half, volume.shape[2] - 1)),
        (max(j - half, 0), min(j + half, volume.shape[1] - 1)),
        (max(k - _HALF_SLICES, 0), min(k + _HALF_SLICES, volume.shape[0] - 1)),
    )
    shown = exhibit(volume, noise, match.candidate_kji, match.source_kji, 2 * half + 1, match.symmetry)
    certainty = 1 - threshold.probability_untouched(match.score)
    return Finding(evidence, Place(extent, certainty, shown))
