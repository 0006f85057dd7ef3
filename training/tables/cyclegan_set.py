"""The paper's CycleGAN set: whole slices, given noise and denoised, against slices as they were (Section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from training.crops import Places
from training.forgers.cyclegan.forger import CycleGANForger
from training.slices import Slice, SliceSite
from training.tables.sets import CYCLEGAN, untouched_by_turns


def cyclegan_set(slices: Sequence[Slice], forger: CycleGANForger, count: int, seed: int) -> list[Slice]:
    """``count`` of the untouched slices, from the patients by turns, after ``forger``; and all untouched ones.

    A denoised slice is forged everywhere: its site, where the paper's network learns, is a random place in lung.
    """
    untouched = [s for s in slices if not s.forged]
    rng, places = np.random.default_rng(seed), Places()
    denoised = []
    for s in untouched_by_turns(untouched, count, seed):
        y, x = places.draw(s, lung=True, rng=rng)
        site = SliceSite(x, y, max(s.hu.shape), 0.0, CYCLEGAN)
        hu = forger.denoised(s.hu[None], rng)[0]
        denoised.append(replace(s, name=f"{s.name}/denoised", hu=hu, forged=(site,), lesions=()))
    return [*denoised, *untouched]
