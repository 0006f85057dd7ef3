"""What tests of trained forgers share: slices to train on, trainings cut off, volumes to forge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

import phantoms
from CTForgeryScanLib.volume import Volume, load_volume
from training.forgers.forger import Forger
from training.forgers.lung_patches import LungPatches
from training.sites import Site, SiteKind
from training.slices import Slice

SPACING = (0.8, 0.8, 2.5)
SITE = (90, 128, 8)  # (i, j, k), in lung


def slices(patients: int = 2) -> list[Slice]:
    """Two neighbouring slices of each patient."""
    found = []
    for n in range(patients):
        hu = phantoms.chest(slices=2, size=256, seed=n)
        found += [Slice(f"p{n}/{k}", f"p{n}", f"p{n}", k, hu[k], 0.8, 2.5) for k in range(2)]
    return found


def volume() -> Volume:
    """A chest of 16 slices whose lung holds the ``SITE``."""
    return load_volume((phantoms.chest(slices=16, size=256), phantoms.geometry(SPACING)))


def cut_off(train: Callable[[], Path], draws: int) -> None:
    """Run a training that is killed when it draws patches for that time."""
    draw, counted = LungPatches.draw, 0

    def counting(self: LungPatches, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        nonlocal counted
        counted += 1
        if counted == draws:
            raise KeyboardInterrupt
        return draw(self, count, rng)

    with mock.patch.object(LungPatches, "draw", counting):
        try:
            train()
        except KeyboardInterrupt:
            return
    raise AssertionError("the training ended before it was to be killed")


def assert_same_training(one: Path, other: Path) -> None:
    """Both folders hold the same weights and metrics."""
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    (weights,) = one.glob("*.safetensors")
    tensors, others = load_file(weights), load_file(other / weights.name)
    assert tensors.keys() == others.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)


def assert_changes_its_ball_only(forger: Forger, kind: SiteKind, diameter_mm: float = 10.0) -> None:
    """The forgery lies within a ball of twice the nodule, is repeatable, and the volume given stays as it was."""
    given = volume()
    before = given.hu.copy()
    site = Site("chest", SITE, diameter_mm, kind)
    forged = forger.forge(given, site, np.random.default_rng(5))
    np.testing.assert_array_equal(given.hu, before)
    np.testing.assert_array_equal(forged.changed_mask, forged.hu != before)
    offsets = (np.argwhere(forged.changed_mask) - SITE[::-1]) * SPACING[::-1]
    reach = float(np.linalg.norm(offsets, axis=1).max())
    assert diameter_mm / 2 < reach <= diameter_mm, f"changed up to {reach:.1f} mm from the site"
    again = forger.forge(given, site, np.random.default_rng(5))
    np.testing.assert_array_equal(forged.hu, again.hu)
    assert forged.metadata["forger"] == forger.name
    assert forged.metadata["kind"] == kind
