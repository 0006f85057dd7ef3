"""Dense training crops: 112×112 pixels, 21×21 windows each, with a target for every window and task.

Targets are 1 (forged), 0 (untouched) and −1 (not asked). Task 0 is CT-GAN's way of forging, by the genuine program or
by ours (``made_slices``), against untouched; task 1, which only shapes the shared trunk, is any site made on the fly
(``blending``) against the same tissue beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.windows import CENTRE, STRIDE, body_mask, centres, grid_shape, near_lung_mask
from training.blending import blend_site, process, splice, starve, window_distance
from training.slices import Slice

CROP = 112
GENUINE, BLENDED = 0, 1
TASKS = 2
_GRID = grid_shape(CROP, CROP)
_LUNG_HU = (-980, -600)

Marks = tuple[tuple[float, float], ...]
"""Places (x, y) of a slice."""


@dataclass(frozen=True)
class Mix:
    """What a batch is made of (crops), and how often (probability) a crop is treated as a whole, an untouched one is
    averaged over neighbouring slices or starved of photons (``blending.starve``), or its values end at −1000 HU.

    ``made`` are crops of our own forgeries, ``twins`` of such places before they were forged, ``hard`` of places that
    the detector to go on from takes for forged and that are not.
    """

    genuine: int = 11
    genuine_elsewhere: int = 4
    made: int = 0
    twins: int = 0
    spliced: int = 3
    blended: int = 3
    lesions: int = 3
    hard: int = 0
    untouched: int = 8
    treated: float = 0.25
    thick: float = 0.25
    starved: float = 0.0
    floor: float = 0.2
    positive_px: float = 10.0

    @property
    def total(self) -> int:
        """Crops in a batch."""
        sites = self.genuine + self.made + self.spliced + self.blended
        return sites + self.twins + self.genuine_elsewhere + self.lesions + self.hard + self.untouched


class Places:
    """Random places in slices, whose lung and what is near it are looked for once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, bool], NDArray[np.intp]] = {}

    def draw(self, s: Slice, *, lung: bool, rng: np.random.Generator) -> tuple[float, float]:
        """A random (row, column) in lung or near it, or anywhere in the slice if it shows none."""
        if (s.name, lung) not in self._found:
            self._found[s.name, lung] = np.argwhere(lung_mask(s.hu) if lung else near_lung_mask(s.hu))
        places = self._found[s.name, lung]
        if len(places) == 0:
            return float(rng.uniform(0, s.hu.shape[0])), float(rng.uniform(0, s.hu.shape[1]))
        r, c = places[rng.integers(len(places))]
        return float(r * STRIDE + CENTRE), float(c * STRIDE + CENTRE)


class CropSampler:
    """Draws batches from slices; every untouched patient has the same weight, however many slices.

    A batch depends on the seed and its step alone, so that a resumed training draws what an unbroken one would have.
    """

    def __init__(self, slices: Sequence[Slice], mix: Mix, seed: int) -> None:
        self.mix, self.seed = mix, seed
        self.rng = np.random.default_rng(seed)
        self.neighbours = {(s.series, s.k): s for s in slices if s.between_mm and not s.forged}
        self.genuine = [s for s in slices if s.forged and s.twin is None]
        self.made = [s for s in slices if s.twin is not None]
        self.untouched: dict[str, list[Slice]] = defaultdict(list)
        for s in slices:
            if not s.forged:
                self.untouched[s.patient].append(s)
        for wanted, there, what in (
            (mix.genuine + mix.genuine_elsewhere + mix.spliced, self.genuine, "forged slices"),
            (mix.made + mix.twins, self.made, "sites made in whole untouched series"),
            (mix.total, self.untouched, "untouched slices"),
        ):
            if wanted and not there:
                raise InputError(f"The data hold no {what} to train on: change the data or the mix.")
        self.patients = sorted(self.untouched)
        self.with_lesions = self._marked(lambda s: s.lesions)
        self.with_hot = self._marked(lambda s: s.hot)
        self._places = Places()

    def batch(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """HU [N, 1, 112, 112] and targets [N, tasks, 21, 21] of that step."""
        self.rng = np.random.default_rng([self.seed, step])
        mix, draw = self.mix, self.rng.integers
        crops = [self._genuine(self.genuine[draw(len(self.genuine))]) for _ in range(mix.genuine)]
        crops += [
            self._elsewhere(self.genuine[draw(len(self.genuine))]) for _ in range(mix.genuine_elsewhere)
        ]
        crops += [self._genuine(self.made[draw(len(self.made))]) for _ in range(mix.made)]
        crops += [self._twin(self.made[draw(len(self.made))]) for _ in range(mix.twins)]
        crops += [self._spliced() for _ in range(mix.spliced)]
        crops += [self._blended(self._draw(self.patients)) for _ in range(mix.blended)]
        crops += [self._at(self.with_lesions) for _ in range(mix.lesions)]
        crops += [self._at(self.with_hot) for _ in range(mix.hard)]
        crops += [self._untouched(self._draw(self.patients)) for _ in range(mix.untouched)]
        varied = [self._vary(hu, target) for hu, target in crops]
        return np.stack([hu for hu, _ in varied])[:, None], np.stack([target for _, target in varied])

    def _draw(self, patients: Sequence[str]) -> Slice:
        slices = self.untouched[patients[int(self.rng.integers(len(patients)))]]
        return slices[self.rng.integers(len(slices))]

    def _genuine(self, s: Slice) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        site = s.forged[0]
        near = (site.y + self.rng.uniform(-30, 30), site.x + self.rng.uniform(-30, 30))
        return self._cut(s, self._corner(s, near))

    def _twin(self, made: Slice) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """The place of a made site before it was forged: what differs between the two is the forgery alone."""
        assert made.twin is not None
        hu, target = self._genuine(replace(made, hu=made.twin))
        return hu, np.zeros_like(target)

    def _elsewhere(self, s: Slice) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        return self._cut(s, self._corner(s, self._place(s, lung=False)))

    def _spliced(self) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """A genuine site set into the lung of an untouched slice: the same forgery in the noise of another scanner."""
        hu, target, centre = self._lung_crop(self._draw(self.patients))
        s = self.genuine[self.rng.integers(len(self.genuine))]
        site = s.forged[0]
        wanted = (site.y - centre[0], site.x - centre[1])
        if not all(0 <= first <= n - CROP for first, n in zip(wanted, s.hu.shape, strict=True)):
            return self._genuine(s)
        other = s.hu[round(wanted[0]) : round(wanted[0]) + CROP, round(wanted[1]) : round(wanted[1]) + CROP]
        radius = self.rng.uniform(12, 22)
        self._aim(target, centre, radius, positive_px=self.mix.positive_px, tasks=(GENUINE, BLENDED))
        return splice(hu, other.astype(np.float32), radius, centre, self.rng), target

    def _blended(self, s: Slice) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        hu, target, centre = self._lung_crop(s)
        radius = self.rng.uniform(10, 24)
        self._aim(target, centre, radius, positive_px=0.5 * radius, tasks=(BLENDED,))
        return blend_site(hu, radius, centre, self.rng), target

    def _lung_crop(self, s: Slice) -> tuple[NDArray[np.float32], NDArray[np.int8], tuple[float, float]]:
        """A crop that holds a random place in lung, which is returned as (row, column) in the crop."""
        place = self._place(s, lung=True)
        corner = self._corner(s, (place[0] + self.rng.uniform(-30, 30), place[1] + self.rng.uniform(-30, 30)))
        return *self._cut(s, corner), (place[0] - corner[0], place[1] - corner[1])

    def _aim(
        self,
        target: NDArray[np.int8],
        centre: tuple[float, float],
        reach: float,
        *,
        positive_px: float,
        tasks: tuple[int, ...],
    ) -> None:
        """Mark a made site: positive near its centre for ``tasks``, not asked where a window holds some of it."""
        distance = window_distance(_GRID, centre)
        target[:, distance < reach + CENTRE + 4] = -1
        for task in tasks:
            target[task][distance <= positive_px] = 1

    def _marked(self, places: Callable[[Slice], Marks]) -> dict[str, list[tuple[Slice, Marks]]]:
        """Patient → untouched slices with their marked places; patients without any are left out."""
        marked = {p: [(s, at) for s in self.untouched[p] if (at := places(s))] for p in self.patients}
        return {p: of_patient for p, of_patient in marked.items() if of_patient}

    def _at(
        self, marked: dict[str, list[tuple[Slice, Marks]]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """A crop that holds a marked place, of any patient that has some."""
        if not marked:
            return self._untouched(self._draw(self.patients))
        of_patient = marked[list(marked)[self.rng.integers(len(marked))]]
        s, places = of_patient[self.rng.integers(len(of_patient))]
        x, y = places[self.rng.integers(len(places))]
        return self._cut(s, self._corner(s, (y + self.rng.uniform(-20, 20), x + self.rng.uniform(-20, 20))))

    def _untouched(self, s: Slice) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        # Half in lung, half anywhere that is judged: chest wall, mediastinum, what lies below the lungs.
        if self.rng.random() < 0.5:
            return self._cut(s, self._corner(s, self._place(s, lung=True)))
        return self._cut(s, self._corner(s, self._place(s, lung=False)))

    def _place(self, s: Slice, lung: bool) -> tuple[float, float]:
        return self._places.draw(s, lung=lung, rng=self.rng)

    def _corner(self, s: Slice, centre: tuple[float, float]) -> tuple[int, int]:
        """First (row, column) of the crop about ``centre``, moved so that the crop lies in the slice."""
        top, left = (
            int(np.clip(round(p - CROP / 2), 0, n - CROP)) for p, n in zip(centre, s.hu.shape, strict=True)
        )
        return top, left

    def _cut(self, s: Slice, corner: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """The crop with that first (row, column), and its targets."""
        top, left = corner
        thick = np.stack([of.hu[top : top + CROP, left : left + CROP] for of in self._thick(s)])
        hu = thick.mean(axis=0).astype(np.float32)
        # Never over a forged site: the noise of a scan is there before it is forged (``made_slices``).
        if not s.forged and self.mix.starved and self.rng.random() < self.mix.starved:
            hu = starve(hu, self.rng)
        target = np.zeros((TASKS, *_GRID), np.int8)
        for site in s.forged:
            distance = window_distance(_GRID, (site.y - top, site.x - left))
            # Genuine sites teach the first task alone: whether the second finds them is worth knowing.
            target[:, distance < site.block / 2 + CENTRE] = -1
        if s.forged:
            own = s.forged[0]
            target[GENUINE][window_distance(_GRID, (own.y - top, own.x - left)) <= self.mix.positive_px] = 1
        return hu, target

    def _thick(self, s: Slice) -> list[Slice]:
        """``s`` alone or, in an untouched series, sometimes with those that follow: as thick as other scanners'."""
        if s.forged or (s.series, s.k) not in self.neighbours or self.rng.random() >= self.mix.thick:
            return [s]
        count = int(self.rng.integers(2, 5))
        return [of for k in range(s.k, s.k + count) if (of := self.neighbours.get((s.series, k)))]

    def _vary(
        self, hu: NDArray[np.float32], target: NDArray[np.int8]
    ) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """One of the eight symmetries, an offset, sometimes a treatment of the whole crop or a floor at −1000 HU."""
        rng = self.rng
        if rng.random() < self.mix.treated:
            hu = process(hu, rng)
        if rng.random() < self.mix.floor:
            hu = np.maximum(hu, -1000)
        hu = np.trunc(hu + np.float32(rng.normal(0, 8)))
        turns = int(rng.integers(4))
        hu, target = np.rot90(hu, turns), np.rot90(target, turns, axes=(1, 2))
        if rng.random() < 0.5:
            hu, target = hu[:, ::-1], target[:, :, ::-1]
        return np.ascontiguousarray(hu, np.float32), np.ascontiguousarray(target)


def lung_mask(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Windows, bool [r, c], in the body whose centre has the density of lung."""
    y, x = (np.floor(a).astype(int) for a in centres(*hu.shape))
    at_centre = hu[np.ix_(y, x)]
    return body_mask(hu) & (at_centre > _LUNG_HU[0]) & (at_centre < _LUNG_HU[1])
