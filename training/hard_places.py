"""Hard places: what a detector takes for forged in untouched slices, for the next training to look at.

Random crops seldom show them, for a slice has thousands of places and few are hot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.places import place_logits
from CTForgeryScanLib.windows import centres
from training.progress import progress
from training.slices import Slice

OF_A_PATIENT = 16
"""Slices of each patient whose hottest place is marked."""


def mark_hard_places(slices: Sequence[Slice], detector: LocalDetector) -> list[Slice]:
    """The same slices; the hottest untouched ones of each patient have the centre of their hottest place in ``hot``."""
    sweeper = Sweeper(detector)
    heats: dict[str, list[tuple[float, int, tuple[float, float]]]] = defaultdict(list)
    for n, s in enumerate(progress(slices, "looking for hard places")):
        if s.forged:
            continue
        (heatmap,) = sweeper.sweep(s.hu[None])
        if not heatmap.any():
            continue  # nothing near lung was judged
        logits = place_logits(heatmap)
        r, c = np.unravel_index(np.argmax(logits), logits.shape)
        y, x = centres(*s.hu.shape)
        heats[s.patient].append((float(logits[r, c]), n, (float(x[c]), float(y[r]))))
    marked = list(slices)
    for of_patient in heats.values():
        for _, n, place in sorted(of_patient, reverse=True)[:OF_A_PATIENT]:
            marked[n] = replace(slices[n], hot=(place,))
    return marked
