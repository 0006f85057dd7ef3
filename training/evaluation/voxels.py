"""Voxels: how much of what a forger changed is outlined, on forged scans, at a threshold frozen beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from training.evaluation.counts import Counts, finite


def voxel_counts(changed: NDArray[np.bool_], score: NDArray[np.floating], threshold: float) -> Counts:
    """Voxels of one forged scan at or above ``threshold`` against those that were changed; both arrays [k, j, i].

    They share one grid: the CT's, or the heatmap's with the change taken at the windows' centres. ``threshold`` is one
    that was chosen on other patients. Raises InputError for an untouched scan, which has no voxel F1.
    """
    if changed.shape != score.shape:
        raise InputError(
            f"The changed voxels are {changed.shape} and the scores {score.shape}: bring both to one grid."
        )
    truth = changed.astype(bool)
    if not truth.any():
        raise InputError("No voxel of the scan was changed: voxel F1 is measured on forged scans only.")
    said = finite(score) >= threshold
    found = int((truth & said).sum())
    wrong, missed = int(said.sum()) - found, int(truth.sum()) - found
    return Counts(found, wrong, missed, truth.size - found - wrong - missed)


def mean_f1(scans: Sequence[Counts]) -> float:
    """Mean of the scans' own F1, so that a large forgery does not outweigh a small one."""
    if not scans:
        raise InputError("There is no forged scan to average: give at least one.")
    return float(np.mean([scan.f1 for scan in scans]))
