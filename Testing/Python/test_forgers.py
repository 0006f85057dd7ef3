"""Forgers: what they change and what they must not, at any spacing; what they refuse."""

from __future__ import annotations

import unittest
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import phantoms
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume, load_volume
from training.forgers.ball import ball_about
from training.forgers.lung import Box, fresh_noise, level_and_noise, lung_place, noise_in
from training.forgers.registry import NAMES, UNTRAINED, make_forger
from training.forgers.splice import poisson_blended
from training.sites import Site, SiteKind

IN_BALL = ("splice", "inpaint", "renoise", "self_blend")


@cache
def chest(slices: int) -> NDArray[np.int16]:
    return phantoms.chest(slices, 256, seed=3)


def volume(spacing: tuple[float, float, float] = (0.7, 0.7, 2.5), slices: int = 24) -> Volume:
    return load_volume((chest(slices), phantoms.geometry(spacing)))


def site(kind: SiteKind, diameter_mm: float = 9.0) -> Site:
    return Site("phantom", (74.0, 128.0, 12.0), diameter_mm, kind)


def with_bump(scan: Volume) -> Volume:
    """The scan with a nodule of 9 mm at the site."""
    ball = ball_about(scan, site("remove"))
    hu = scan.hu.copy()
    hu[ball.at][ball.distance_mm < 4.5] = 20
    return load_volume((hu, scan.ijk_to_ras))


class Ball(unittest.TestCase):
    @settings(max_examples=15, deadline=None)
    @given(
        st.sampled_from(IN_BALL),
        st.booleans(),
        st.tuples(*(st.floats(0.5, 1.0),) * 2, st.floats(1.0, 4.0)),
        st.floats(6.0, 12.0),
        st.integers(0, 10**6),
    )
    def test_only_the_ball_changes_at_any_spacing(
        self,
        name: str,
        inject: bool,
        spacing: tuple[float, float, float],
        diameter_mm: float,
        seed: int,
    ) -> None:
        scan, forger = volume(spacing), make_forger(name)
        kind: SiteKind = "inject" if inject and "inject" in forger.kinds else "remove"
        before = scan.hu.copy()
        forged = forger.forge(scan, site(kind, diameter_mm), np.random.default_rng(seed))
        np.testing.assert_array_equal(scan.hu, before, "the given volume was changed")
        np.testing.assert_array_equal(forged.changed_mask, forged.hu != before)
        self.assertEqual(forged.hu.dtype, np.int16)
        k, j, i = np.nonzero(forged.changed_mask)
        away = np.linalg.norm((np.stack([i, j, k], 1) - (74, 128, 12)) * spacing, axis=1)
        self.assertLessEqual(away.max(), 0.75 * diameter_mm + 2 + 1e-6)
        self.assertGreater((away < diameter_mm / 2).sum(), 0.5 * (forged.changed_mask.sum() / 8))

    def test_the_same_seed_gives_the_same_forgery(self) -> None:
        scan = volume()
        for name in UNTRAINED:
            forger = make_forger(name)
            first, again, other = (
                forger.forge(scan, site(forger.kinds[-1]), np.random.default_rng(seed)).hu
                for seed in (1, 1, 2)
            )
            np.testing.assert_array_equal(first, again, name)
            self.assertTrue((first != other).any(), name)


class Content(unittest.TestCase):
    def test_a_nodule_comes_and_goes(self) -> None:
        scan = volume()
        for name in UNTRAINED:
            forger = make_forger(name)
            for kind in forger.kinds:
                given_scan = scan if kind == "inject" else with_bump(scan)
                hu = forger.forge(given_scan, site(kind), np.random.default_rng(5)).hu
                middle = hu[12, 126:131, 72:77].mean()
                if kind == "inject":
                    self.assertGreater(middle, -250, name)
                else:
                    self.assertLess(middle, -700, name)

    def test_a_wall_beside_a_removed_nodule_stays(self) -> None:
        scan = with_bump(volume())
        hu = scan.hu.copy()
        hu[:, :, 82:] = 40  # 5.6 mm from the site: beyond the nodule, within the ball
        scan = load_volume((hu, scan.ijk_to_ras))
        for name in IN_BALL:
            forged = make_forger(name).forge(scan, site("remove"), np.random.default_rng(2))
            self.assertFalse(forged.changed_mask[:, :, 84:].any(), name)
            self.assertLess(forged.hu[12, 126:131, 72:77].mean(), -700, name)

    def test_fresh_noise_is_as_strong_and_as_coarse_as_the_scans(self) -> None:
        hu = phantoms.chest(8, 192, noise_hu=30, seed=1)[:, 65:127, 48:80].astype(float)
        noise = fresh_noise(hu, np.random.default_rng(0))
        real = noise_in(hu)
        self.assertAlmostEqual(noise.std() / real.std(), 1, delta=0.1)
        grain = [np.corrcoef(n[..., 1:].ravel(), n[..., :-1].ravel())[0, 1] for n in (noise, real)]
        self.assertAlmostEqual(grain[0], grain[1], delta=0.08)
        self.assertAlmostEqual(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1], 0, delta=0.05)

    def test_poisson_blending_keeps_gradients_and_meets_the_rim(self) -> None:
        inside = np.zeros((7, 20, 20), bool)
        inside[2:5, 4:16, 4:16] = True
        rng = np.random.default_rng(0)
        before, patch = np.full(inside.shape, -850.0), rng.normal(0, 20, inside.shape)
        nothing = np.zeros_like(inside)
        raised = poisson_blended(before + patch, patch, inside, nothing, (2.5, 0.7, 0.7))
        np.testing.assert_allclose(raised, before + patch, atol=0.5)
        ramp = np.broadcast_to(np.arange(20.0), inside.shape)
        met = poisson_blended(ramp, np.zeros_like(patch), inside, nothing, (2.5, 0.7, 0.7))
        np.testing.assert_allclose(met, ramp, atol=0.05)

    def test_a_splice_from_another_scan_brings_its_noise(self) -> None:
        scan = volume((1.0, 1.0, 2.0))
        donor = load_volume(
            (phantoms.chest(24, 256, noise_hu=80, seed=9), phantoms.geometry((0.8, 0.8, 2.5)))
        )
        forged = make_forger("splice", donor=donor).forge(scan, site("remove", 12), np.random.default_rng(0))
        middle = (slice(10, 15), slice(123, 134), slice(69, 80))
        self.assertGreater(level_and_noise(forged.hu[middle].astype(float))[1], 35)
        self.assertLess(level_and_noise(scan.hu[middle].astype(float))[1], 30)


class Refusals(unittest.TestCase):
    def test_places_and_kinds(self) -> None:
        scan = volume()
        for name in IN_BALL:
            forger = make_forger(name)
            for ijk in ((74, 128, 1), (2, 128, 12), (74, 300, 12), (-5, 128, 12)):
                with self.assertRaisesRegex(InputError, "too near its border"):
                    forger.forge(scan, Site("x", ijk, 9, "remove"), np.random.default_rng(0))
            with self.assertRaisesRegex(InputError, "diameter of 0 mm"):
                forger.forge(scan, site("remove", 0), np.random.default_rng(0))
            with self.assertRaisesRegex(InputError, "does not know the kind 'lung'"):
                forger.forge(scan, site("lung"), np.random.default_rng(0))
        with self.assertRaisesRegex(InputError, "spacing of 3 mm"):
            make_forger("published_pasting").forge(
                volume((0.7, 0.7, 3.0), 40), Site("x", (74, 128, 20), 9, "remove"), np.random.default_rng(0)
            )

    def test_no_lung_to_take(self) -> None:
        with self.assertRaisesRegex(InputError, "more lung"):
            lung_place(np.zeros((9, 64, 64), np.int16), (1, 1, 1), Box((2, 4, 4)), np.random.default_rng(0))

    def test_names_and_weights(self) -> None:
        with self.assertRaisesRegex(InputError, "there is no forger 'gan'; choose one of copy_move"):
            make_forger("gan")
        with self.assertRaisesRegex(InputError, "needs no weights"):
            make_forger("splice", Path("x"))
        for name in set(NAMES) - set(UNTRAINED):
            with self.assertRaisesRegex(InputError, "needs weights and none were given"):
                make_forger(name)
            with self.assertRaisesRegex(InputError, "there is no file"):
                make_forger(name, Path("no-such.safetensors"))


if __name__ == "__main__":
    unittest.main()
