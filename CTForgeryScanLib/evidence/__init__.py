"""Evidence that needs no training: traces of tampering that can be shown and said in one sentence.

Each file is one family of tests. ``finding.py`` is what they answer with, ``noise.py`` lays bare the noise that the
tests of the voxels compare, and ``examine_header`` and ``examine_voxels`` run them all.

Tried at single places and dropped (``python -m training.measure_local_traces`` measures them, at 20 forged sites of
each kind in 10 series against 58 untouched places, 38 of them where the detector is hottest). Evidence may err at one
place of 4,000, so a trace that cannot tell forged sites from 58 untouched ones has no place here; of the forged sites
above every untouched one (removals, injections) there were

- one-sided change, the noise's skewness in the block: 0 and 0;
- steps at the two z faces of the cube: 4 of 17 and 0 of 18;
- noise level by HU band against the same tissue about it: 16 and 1. Removals separate (area under the curve 0.98),
  measured at the site itself and on made-up tissue, whose grain is not a network's; not shown at one place of 4,000.
  Genuine removals have more noise than the lung about them, not less, and in the finest detail: ``added_noise.py``;
- a spike at exactly -1000 HU: 0 and 0.
"""

from __future__ import annotations

import torch

from CTForgeryScanLib.evidence import added_noise, copied_noise, copy_move
from CTForgeryScanLib.evidence.finding import Finding, Step, not_applicable, part_of
from CTForgeryScanLib.evidence.header import header_hints
from CTForgeryScanLib.evidence.noise import LungNoise, lung_noise
from CTForgeryScanLib.evidence.published_block import Kji
from CTForgeryScanLib.evidence.thresholds import load_threshold
from CTForgeryScanLib.heatmap import is_out_of_memory
from CTForgeryScanLib.volume import Volume

TESTS = (added_noise.TEST, copied_noise.TEST, copy_move.TEST)
"""The tests of the voxels."""

_FEWEST_SLICES = added_noise.FEWEST_SLICES
_CLIPPED = 0.25  # share of the lung that a clipped export has at -1000 HU; untouched series have up to 0.02
_BANDWIDTH = 0.06  # untouched series have at least 0.13
_NOISE_HU = 3.0  # untouched series have at least 17


def examine_header(volume: Volume) -> list[Finding]:
    """The hints of files and header; in no time, and for a volume that cannot be scanned too."""
    return [Finding(hint(volume)) for hint in header_hints()]


def examine_voxels(volume: Volume, places: list[Kji], device: torch.device, step: Step) -> list[Finding]:
    """The tests of the voxels, on the whole volume; ``places`` [k, j, i] are the cascade's candidates.

    Raises what ``step`` raises. What ``device`` cannot do is done on the CPU; where the memory is too small, the tests
    say so: the sweep's result stands.
    """
    for tried in dict.fromkeys((device, torch.device("cpu"))):
        try:
            return _examine(volume, places, tried, step)
        except (RuntimeError, MemoryError) as error:
            # A GPU has more ways to fail than the CPU, of which none may cost the sweep.
            if tried.type == "cpu" and isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
    too_small = "Noise was not examined: the computer's memory is too small for the whole scan."
    return [Finding(not_applicable(test, too_small)) for test in TESTS]


def _examine(volume: Volume, places: list[Kji], device: torch.device, step: Step) -> list[Finding]:
    noise = lung_noise(volume, part_of(step, 0, 0.35)) if len(volume.hu) >= _FEWEST_SLICES else None
    reason = _not_judged(volume, noise)
    if noise is None or reason is not None:
        step(1.0)
        return [Finding(not_applicable(test, reason or "")) for test in TESTS]
    return _compare(volume, noise, places, device, part_of(step, 0.35, 1))


def _compare(
    volume: Volume, noise: LungNoise, places: list[Kji], device: torch.device, step: Step
) -> list[Finding]:
    added, copied, moved = (load_threshold(test) for test in TESTS)
    return [
        *added_noise.added_noise(volume, noise, added, part_of(step, 0, 0.2)),
        *copied_noise.copied_noise(volume, noise, copied, device, part_of(step, 0.2, 0.5)),
        *copy_move.copy_move(volume, noise, places, moved, device, part_of(step, 0.5, 1)),
    ]


def _not_judged(volume: Volume, noise: LungNoise | None) -> str | None:
    """Why noise cannot be compared in this volume, a sentence; None where it can."""
    if len(volume.hu) < _FEWEST_SLICES:
        return f"Noise was not examined: it needs at least {_FEWEST_SLICES} slices."
    if noise is None:
        return "Noise was not examined: the scan holds no even lung."
    if noise.clipped > _CLIPPED:
        share = f"{100 * noise.clipped:.0f} %"
        return f"Noise was not examined: {share} of the lung is cut off at -1000 HU, and its noise with it."
    if noise.deviation_hu < _NOISE_HU or noise.bandwidth < _BANDWIDTH:
        return (
            "Noise was not examined: the lung's noise was smoothed away "
            f"({noise.deviation_hu:.0f} HU are left, in {100 * noise.bandwidth:.0f} % of the frequencies)."
        )
    return None
