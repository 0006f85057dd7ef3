"""What an epoch of ``train_windows`` shows: the paper's 25 windows a slice (Section 4.1), or whole slices.

A forged slice gives the 25 windows about its site, on the 5×5 grid of single pixels. An untouched one gives n of
them about a place where a forger would have worked, and 25 − n anywhere in the circle. (The paper says n = 10 and
20 others, which are not 25; 15 are.) That place is a real lesion where the slice has one, so that a slice's state
before the forgery is given by its site as lesion; else it is a random place in lung. An epoch draws as many untouched
slices as it has forged ones, every patient with the same weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.windows import STRIDE, WINDOW, circle_mask
from training.crops import Places
from training.slices import Slice

GRID = np.array([(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)])
"""Offsets (x, y) of the windows about a site; the first n are those of an untouched slice's place."""


class TrainingSamples:
    """Draws epochs; each depends on ``seed`` and its number alone, so that a resumed training sees what an unbroken one
    would have.

    Raises InputError when either class is missing, or when whole slices differ in size.
    """

    def __init__(
        self, slices: Sequence[Slice], *, whole: bool, site_negatives: int, passes: int, seed: int
    ) -> None:
        self.slices, self.whole, self.n, self.seed = slices, whole, site_negatives, seed
        forged = [i for i, s in enumerate(slices) if s.forged]
        self.forged = forged * passes
        self.untouched: dict[str, list[int]] = defaultdict(list)
        for i, s in enumerate(slices):
            if not s.forged:
                self.untouched[s.patient].append(i)
        if not forged or not self.untouched:
            raise InputError(
                f"Training needs forged and untouched slices, and there are {len(forged)} and "
                f"{len(slices) - len(forged)}: name other data or other folds."
            )
        if whole and len({s.hu.shape for s in slices}) > 1:
            raise InputError("Whole slices must all have the same size: train on windows instead.")
        self._places = Places()

    def epoch(self, number: int) -> NDArray[np.intp]:
        """Rows (slice, first row, first column, forged) in random order: [N, 4]."""
        rng = np.random.default_rng([self.seed, number])
        patients = sorted(self.untouched)
        drawn = []
        for _ in self.forged:
            of_patient = self.untouched[patients[rng.integers(len(patients))]]
            drawn.append(of_patient[rng.integers(len(of_patient))])
        rows = [(i, top, left, 1) for i in self.forged for top, left in self._forged(self.slices[i])]
        rows += [(i, top, left, 0) for i in drawn for top, left in self._untouched(self.slices[i], rng)]
        return rng.permutation(np.array(rows, np.intp))

    def cut(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Windows or whole slices [N, H, W] in HU and labels [N] of an epoch's rows."""
        images = []
        for i, top, left, _ in rows:
            hu = self.slices[i].hu
            images.append(hu if self.whole else hu[top : top + WINDOW, left : left + WINDOW])
        return np.stack(images), rows[:, 3].astype(np.int64)

    def _forged(self, s: Slice) -> NDArray[np.intp]:
        return self._about(s, (s.forged[0].x, s.forged[0].y), len(GRID))

    def _untouched(self, s: Slice, rng: np.random.Generator) -> NDArray[np.intp]:
        if self.whole:
            return np.zeros((1, 2), np.intp)
        if s.lesions:
            place = s.lesions[rng.integers(len(s.lesions))]
        else:
            y, x = self._places.draw(s, lung=True, rng=rng)
            place = (x, y)
        anywhere = STRIDE * np.argwhere(circle_mask(*s.hu.shape))
        others = rng.choice(anywhere, len(GRID) - self.n, replace=False)
        return np.concatenate([self._about(s, place, self.n), others])

    def _about(self, s: Slice, place: tuple[float, float], count: int) -> NDArray[np.intp]:
        """First (row, column) of ``count`` windows about a place (x, y), moved so that they lie in the slice."""
        if self.whole:
            return np.zeros((1, 2), np.intp)
        corners = np.rint(place).astype(int) + GRID[:count] - WINDOW // 2
        return np.clip(corners[:, ::-1], 0, np.array(s.hu.shape) - WINDOW)
