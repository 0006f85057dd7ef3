"""Intervals by bootstraps over patients: slices of one patient resemble each other and are drawn together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CTForgeryScanLib.errors import InputError

BOOTSTRAPS = 1000
_INTERVAL = (0.025, 0.975)


def patient_interval(
    figures: Callable[[NDArray[np.intp]], ArrayLike],
    patients: ArrayLike,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """95 % interval [2, …] of ``figures(rows)``, one number or several, over resampled patients.

    ``patients`` [N] names each example's patient; ``rows`` are the drawn examples' indices. A draw for which a figure
    is NaN (one without a forged example, say) does not count for it. Raises InputError when none counts.
    """
    names = np.asarray(patients)
    if not names.size:
        raise InputError("There is no patient to draw from: give at least one example.")
    rows_of = [np.flatnonzero(names == patient) for patient in np.unique(names)]
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            figures(np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))]))
            for _ in range(bootstraps)
        ],
        np.float64,
    )
    if np.isnan(drawn).all(axis=0).any():
        raise InputError("No draw of patients holds what the figure needs: more patients are needed.")
    return np.nanquantile(drawn, _INTERVAL, axis=0)
