"""The CT-GAN of our own: its cubes, its networks, a training that is killed and goes on, and what it forges."""

from __future__ import annotations

import csv
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

import phantoms
from CTForgeryScanLib.errors import InputError, ModelError
from CTForgeryScanLib.volume import Volume
from training.forgers.ctgan.centre_slices import GENUINE, OURS, ForgedSlice
from training.forgers.ctgan.compare import draw, measure
from training.forgers.ctgan.cubes import Place, Scale, Singles, condition_of, cut_base, varied_cubes
from training.forgers.ctgan.forger import ctgan, load_forger
from training.forgers.ctgan.moved_nodules import moved_nodules
from training.forgers.ctgan.networks import Discriminator, Generator, UpConv
from training.forgers.ctgan.places import knot_places, lung_places, nodule_places
from training.forgers.ctgan.residuals import residual, site_noise
from training.forgers.ctgan.train import Config, CubeSet, _Pair, cube_set, kept_cubes, train
from training.forgers.published_pasting import PublishedPasting
from training.forgers.registry import make_forger
from training.forgers.weights import load_weights, save_weights
from training.sites import Site
from training.sources.scan import StoredScan

_NODULE = Site("phantom", (60.0, 64.0, 20.0), 12.0, "nodule")


def _phantom() -> Volume:
    """An ellipse of tissue with noisy lung in it and one ball of 12 mm, 1 × 1 × 2 mm."""
    k, j, i = np.mgrid[:40, :128, :128].astype(float)
    hu = np.where(((j - 64) / 60) ** 2 + ((i - 64) / 60) ** 2 < 1, 40.0, -1000.0)
    lung = ((j - 64) / 48) ** 2 + ((i - 64) / 48) ** 2 < 1
    hu[lung] = -850
    hu[np.sqrt((2 * (k - 20)) ** 2 + (j - 64) ** 2 + (i - 60) ** 2) < 6] = 30
    hu += np.random.default_rng(0).normal(0, 20, hu.shape)
    return Volume(hu.astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]), "phantom")


class CubesTest(unittest.TestCase):
    def test_restoring_undoes_equalising_and_the_levels_are_equally_frequent(self) -> None:
        rng = np.random.default_rng(0)
        cubes = rng.gamma(2, 100, (8, 32, 32, 32)).astype(np.float32) - 1000
        scale = Scale.of(cubes)
        bin_hu = float(np.ptp(cubes)) / len(scale.hu)
        levels = scale.equalise(cubes)
        low, high = np.percentile(cubes, [1, 99])  # beyond, bins may be empty
        common = (cubes > low) & (cubes < high)
        np.testing.assert_allclose(scale.restore(levels)[common], cubes[common], atol=2 * bin_hu)
        np.testing.assert_allclose(np.quantile(levels, [0.25, 0.5, 0.75]), [8192, 16384, 24576], atol=60)
        seen = scale.to_network(cubes)
        self.assertLess(abs(float(seen.mean())), 1e-3)
        self.assertLess(abs(float(np.median(seen))), 0.01)
        self.assertEqual(scale.level[-1], 32768)
        np.testing.assert_allclose(scale.to_hu(seen)[common], cubes[common], atol=2 * bin_hu)

    def test_a_cube_is_1_mm_and_centred_on_its_place(self) -> None:
        volume = _phantom()
        base = cut_base(volume, Place(_NODULE.ijk))
        self.assertEqual(base.shape, (40, 40, 40))
        bright = np.argwhere(base > -400)
        ball = bright[np.linalg.norm(bright - 20, axis=1) < 12]
        np.testing.assert_allclose(ball.mean(axis=0), 20, atol=1)
        np.testing.assert_allclose(np.ptp(ball, axis=0), 10, atol=1)  # within 6 mm of a voxel
        smaller = cut_base(volume, Place(_NODULE.ijk, shrink=1.4))
        self.assertLess((smaller[10:30, 10:30, 10:30] > -400).sum(), 0.6 * len(ball))

    def test_outside_the_volume_is_air_and_a_place_beyond_it_is_refused(self) -> None:
        base = cut_base(_phantom(), Place((5.0, 64.0, 20.0)))
        self.assertLess(base[:, :, :8].max(), -990)
        with self.assertRaisesRegex(InputError, "lies outside"):
            cut_base(_phantom(), Place((5.0, 64.0, 90.0)))

    def test_variants_differ_and_keep_the_middle(self) -> None:
        cubes = varied_cubes([cut_base(_phantom(), Place(_NODULE.ijk))], 6, np.random.default_rng(0))
        self.assertEqual(cubes.shape, (6, 32, 32, 32))
        for cube in cubes:
            self.assertGreater(cube[10:22, 10:22, 10:22].max(), 0)
        self.assertEqual(len(np.unique(cubes.reshape(6, -1), axis=0)), 6)

    def test_the_condition_hides_the_middle_only(self) -> None:
        cubes = np.ones((2, 32, 32, 32), np.float32)
        hidden = condition_of(cubes) == 0
        self.assertEqual(hidden.sum(), 2 * 20**3)
        self.assertTrue(hidden[:, 6:26, 6:26, 6:26].all())
        self.assertTrue(cubes.all())

    def test_places_are_what_they_are_called(self) -> None:
        volume = _phantom()
        self.assertEqual(
            [p.shrink for p in nodule_places((replace(_NODULE, diameter_mm=22.0),))], [1.0, 1.4, 2.0]
        )
        self.assertEqual(nodule_places((replace(_NODULE, diameter_mm=4.0),)), [])
        (knot,) = knot_places(volume, 1)
        np.testing.assert_allclose(knot.ijk, _NODULE.ijk, atol=2)
        for place in lung_places(volume, 20, np.random.default_rng(0)):
            i, j, k = (int(n) for n in place.ijk)
            self.assertLess(volume.hu[k, j - 2 : j + 3, i - 2 : i + 3].mean(), -700)


class NetworksTest(unittest.TestCase):
    def test_the_published_width_has_the_published_parameters(self) -> None:
        with torch.device("meta"):
            networks = Generator(100), Discriminator(100)
        counts = [sum(p.numel() for p in network.parameters()) / 1e6 for network in networks]
        self.assertEqual([round(count, 1) for count in counts], [162.6, 26.9])

    def test_shapes(self) -> None:
        cube = torch.zeros(2, 1, 32, 32, 32)
        self.assertEqual(Generator(16).eval()(cube).shape, cube.shape)
        self.assertEqual(Discriminator(16).eval()(cube, cube).shape, (2, 1, 2, 2, 2))

    def test_the_short_cut_equals_doubling_and_convolving(self) -> None:
        torch.manual_seed(0)
        layer, x = UpConv(16, 3), torch.randn(2, 16, 4, 5, 6)
        doubled = functional.pad(functional.interpolate(x, scale_factor=2), (1, 2) * 3)
        wanted = functional.conv3d(doubled, layer.weight, layer.bias)
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)


class ResidualsTest(unittest.TestCase):
    def test_noise_inside_a_site_is_told_from_around(self) -> None:
        rng = np.random.default_rng(0)
        j, i = np.mgrid[:256, :256]
        plane = np.where((j - 128) ** 2 + (i - 128) ** 2 < 120**2, 40.0, -1000.0)
        plane[(j - 128) ** 2 + (i - 128) ** 2 < 100**2] = -850
        noise = rng.normal(0, 20, plane.shape) * np.where(np.hypot(j - 120, i - 140) < 30, 2, 1)
        measured = site_noise((plane + noise).astype(np.int16), (140, 120), 0.8)
        self.assertAlmostEqual(measured.bands[1], 2.0, delta=0.15)
        self.assertTrue(np.isnan(measured.bands[4]))
        self.assertAlmostEqual(float(np.exp(np.log(measured.spectrum[2:]).mean())), 4.0, delta=1.0)

    def test_groups_are_measured_and_drawn(self) -> None:
        hu = phantoms.chest(1, 256)[0].astype(float)
        y, x = np.mgrid[:256, :256]
        inside = np.hypot(x - 176, y - 128) < 25
        slices = []
        for group, times in ((GENUINE, 2), (OURS, 1)):
            # More noise inside, about the lung's -850 HU.
            plane = np.where(inside, -850 + times * (hu + 850), hu)
            slices.append(ForgedSlice(group, "P", "remove", plane.astype(np.int16), (176, 128), 0.8))
        with TemporaryDirectory() as folder:
            measure(slices, Path(folder))
            draw(slices, "remove", Path(folder, "remove.png"))
            with Path(folder, "residuals.csv").open() as file:
                rows = list(csv.DictReader(file))
            with Image.open(Path(folder, "remove.png")) as picture:
                self.assertGreater(np.asarray(picture.convert("L")).std(), 10)
        self.assertEqual(
            [(row["kind"], row["group"]) for row in rows], [("remove", GENUINE), ("remove", OURS)]
        )
        twice, once = (float(row["noise -900 to -800 HU"]) for row in rows)
        self.assertAlmostEqual(once, 1, delta=0.15)
        self.assertAlmostEqual(twice / once, 2, delta=0.3)

    def test_a_slope_has_no_residual(self) -> None:
        slope = np.arange(64)[:, None] * 5 + np.arange(64) * 3
        np.testing.assert_array_equal(residual(slope.astype(np.int16))[1:-1, 1:-1], 0)


def _killed_at(call: int) -> Callable[[_Pair, Singles], dict[str, float]]:
    """A training step that is interrupted when it is called for this time."""
    step, calls = _Pair.step, count(1)

    def interrupted(pair: _Pair, cubes: Singles) -> dict[str, float]:
        if next(calls) == call:
            raise KeyboardInterrupt
        return step(pair, cubes)

    return interrupted


class MovedNodulesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.rng = np.random.default_rng(0)
        self.lung = self.rng.normal(-850, 20, (40, 40, 40)).astype(np.float32)
        k, j, i = np.ogrid[-20:20, -20:20, -20:20]
        self.distance = np.sqrt(k**2 + j**2 + i**2)
        self.nodule = np.where((self.distance < 6) | (i > 14), 30, self.lung[::-1]).astype(np.float32)

    def test_the_nodule_comes_alone_and_the_lung_around_it_stays(self) -> None:
        for cube in moved_nodules([self.nodule, self.lung], [self.lung], 8, self.rng):
            self.assertGreater(cube[self.distance < 4].min(), -100)
            np.testing.assert_allclose(cube[self.distance > 13], self.lung[self.distance > 13], atol=1)

    def test_nothing_to_move_is_refused(self) -> None:
        for nodules, lung in (([self.lung], [self.lung]), ([self.nodule], [])):
            with self.assertRaisesRegex(InputError, "no nodule can be set into other lung"):
                moved_nodules(nodules, lung, 1, self.rng)

    def test_a_part_that_is_none_is_refused(self) -> None:
        with self.assertRaisesRegex(InputError, "--moved is 2: give a part between 0 and 1"):
            cube_set([], Config("inject", moved=2))

    def test_a_training_set_counts_them(self) -> None:
        scans = [StoredScan("phantom", "P", _phantom, (_NODULE,))]
        with mock.patch("builtins.print"):
            cubes = cube_set(scans, Config("inject", cubes=12, moved=0.5))
        self.assertEqual((cubes.facts["moved"], cubes.hu.shape), (5, (12, 32, 32, 32)))
        middle = cubes.hu[:, 14:18, 14:18, 14:18].mean(axis=(1, 2, 3))
        self.assertGreater(middle[5:10].min(), -100)  # never shifted, so always in the middle


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


class TrainingTest(unittest.TestCase):
    cubes: CubeSet
    trained: Path
    config = Config("inject", steps=4, batch=2, cubes=6, every=2)

    @classmethod
    def setUpClass(cls) -> None:
        quiet = mock.patch("builtins.print")
        quiet.start()
        cls.addClassCleanup(quiet.stop)
        cls.trained = cls.enterClassContext(_temporary_folder())
        cls.cubes = cube_set([StoredScan("phantom", "P", _phantom, (_NODULE,))], cls.config)
        (cls.trained / "inject").mkdir()
        train(cls.cubes, cls.config, cls.trained / "inject")

    def setUp(self) -> None:
        self.folder = self.enterContext(_temporary_folder())

    def test_a_killed_training_goes_on_as_if_unbroken(self) -> None:
        broken = self.folder
        with mock.patch.object(_Pair, "step", _killed_at(4)), self.assertRaises(KeyboardInterrupt):
            train(self.cubes, self.config, broken)
        for name in ("generator.safetensors", "checkpoint.safetensors", "samples-000002.png"):
            self.assertTrue((broken / name).exists(), name)
        with self.assertRaisesRegex(InputError, "another configuration"):
            train(self.cubes, replace(self.config, seed=1), broken)
        train(self.cubes, self.config, broken)
        for name, values in load_file(self.trained / "inject" / "generator.safetensors").items():
            torch.testing.assert_close(
                load_file(broken / "generator.safetensors")[name], values, atol=0, rtol=0
            )
        steps = [
            row.split(",")[0] for row in (broken / "metrics.csv").read_text(encoding="utf-8").splitlines()
        ]
        self.assertEqual(steps, ["step", "2", "4"])

    def test_a_loss_that_is_not_finite_is_a_sentence(self) -> None:
        with self.assertRaisesRegex(InputError, "not finite at step 1: lower --generator-rate"):
            train(self.cubes, replace(self.config, generator_rate=1e30), self.folder)

    def test_cubes_are_cut_once(self) -> None:
        scans = [StoredScan("phantom", "P", _phantom, (_NODULE,))]
        with TemporaryDirectory() as folder:
            cut = kept_cubes(scans, self.config, Path(folder))
            with mock.patch("training.forgers.ctgan.train.cube_set", side_effect=AssertionError("cut again")):
                kept = kept_cubes(scans, replace(self.config, steps=99), Path(folder))
                with self.assertRaisesRegex(InputError, "another configuration or other scans"):
                    kept_cubes(scans, replace(self.config, seed=7), Path(folder))
        np.testing.assert_array_equal(kept.hu, cut.hu)
        np.testing.assert_array_equal(kept.hu, self.cubes.hu)
        self.assertEqual(kept.facts, self.cubes.facts)

    def test_scans_without_a_place_are_refused(self) -> None:
        air = Volume(np.full((20, 64, 64), -1000, np.int16), np.eye(4), "air")
        with self.assertRaisesRegex(InputError, "no place to learn from"):
            cube_set([StoredScan("air", "P", lambda: air)], self.config)
        with self.assertRaisesRegex(InputError, "no patient NOBODY: correct --without"):
            cube_set([StoredScan("air", "P", lambda: air)], replace(self.config, without=("NOBODY",)))

    def test_the_forger_changes_its_block_and_nothing_else(self) -> None:
        train(self.cubes, replace(self.config, kind="remove"), self.folder / "remove")
        forger = ctgan(self.folder)
        self.assertEqual((forger.name, forger.kinds), ("ctgan", ("remove",)))
        self.assertEqual(load_forger(self.folder / "remove" / "generator.safetensors").kinds, ("remove",))
        white = make_forger("white_ctgan", self.folder / "remove" / "generator.safetensors")
        assert isinstance(white, PublishedPasting)
        self.assertEqual((white.name, white.touch_up, white.kinds), ("white_ctgan", "white", ("remove",)))
        volume, site = _phantom(), Site("phantom", (70.0, 60.0, 20.0), 12.0, "remove")
        forged = forger.forge(volume, site, np.random.default_rng(0))
        changed = np.argwhere(forged.changed_mask)
        half = 1 + int(1.3 * 32) // 2
        self.assertGreater(len(changed), 1000)
        self.assertLessEqual(np.abs(changed[:, 1:] - (60, 70)).max(), half)
        self.assertEqual(forged.metadata["forger"], "ctgan")
        with self.assertRaisesRegex(InputError, "does not know the kind 'inject'"):
            forger.forge(volume, replace(site, kind="inject"), np.random.default_rng(0))

    def test_an_injection_without_a_nodule_is_no_forgery(self) -> None:
        site = Site("phantom", (70.0, 60.0, 20.0), 12.0, "inject")
        with self.assertRaisesRegex(InputError, "painted no nodule"):
            ctgan(self.trained).forge(_phantom(), site, np.random.default_rng(0))

    def test_missing_and_damaged_generators_are_sentences(self) -> None:
        with self.assertRaisesRegex(ModelError, "neither inject/ nor remove/"):
            ctgan(self.folder)
        folder = self.folder / "inject"
        folder.mkdir()
        with self.assertRaisesRegex(ModelError, "no weights .*train the forger"):
            ctgan(self.folder)
        (folder / "generator.safetensors").write_bytes(b"damaged")
        with self.assertRaisesRegex(ModelError, "damaged or no forger's weights"):
            ctgan(self.folder)
        tensors, card = load_weights(self.trained / "inject" / "generator.safetensors", "ctgan")
        save_weights(folder / "generator.safetensors", tensors, {**card, "width": 2 * card["width"]})
        with self.assertRaisesRegex(ModelError, "no generator of this program"):
            ctgan(self.folder)
