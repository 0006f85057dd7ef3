"""The CycleGAN forger: networks, a training that resumes exactly, and a forgery that stays in its ball."""

from __future__ import annotations

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from CTForgeryScanLib.errors import InputError, ModelError
from forger_training import (
    SITE,
    assert_changes_its_ball_only,
    assert_same_training,
    cut_off,
    slices,
    volume,
)
from training.forgers.cyclegan.forger import CycleGANForger, load_forger
from training.forgers.cyclegan.networks import Discriminator, Generator
from training.forgers.cyclegan.noise import add_noise
from training.forgers.cyclegan.train import CycleGAN, ImagePool, Settings, train
from training.forgers.lung_patches import HU_RANGE, LungPatches, to_hu, to_unit
from training.forgers.training_run import untouched_slices
from training.forgers.weights import MARK, read_card
from training.sites import Site

# Narrower ones crash torch 2.13's CPU convolutions in the backward pass.
SETTINGS = Settings(width=16, steps=4, side=64, checkpoint_every=2)


class Patches(unittest.TestCase):
    def test_units_are_inverted_within_their_range(self) -> None:
        hu = np.linspace(*HU_RANGE, 1000)
        np.testing.assert_allclose(to_hu(to_unit(hu)), hu, atol=1e-3)
        self.assertEqual((float(to_unit(np.array(-3000.0))), float(to_unit(np.array(3000.0)))), (-1.0, 1.0))

    def test_a_patch_and_the_slice_before_it_are_of_the_same_place(self) -> None:
        chest = slices(1)
        shifted = replace(chest[1], hu=(chest[0].hu + 7).astype(np.int16))
        here, before = LungPatches([chest[0], shifted], 64).draw(8, np.random.default_rng(0))
        for one, other in zip(here, before, strict=True):
            if (other > HU_RANGE[0]).any():  # else there is no slice before
                self.assertEqual(set(np.unique(np.abs(one - other))), {7.0})
        self.assertTrue((before > HU_RANGE[0]).any())

    def test_slices_without_lung(self) -> None:
        air = [replace(s, hu=np.full_like(s.hu, -1000)) for s in slices()]
        with self.assertRaisesRegex(InputError, "No slice shows lung"):
            LungPatches(air, 64)


class Networks(unittest.TestCase):
    def test_shapes(self) -> None:
        image = torch.zeros(2, 1, 64, 96)
        with torch.inference_mode():
            self.assertEqual(Generator(16)(image).shape, image.shape)
            self.assertEqual(Discriminator(16)(image).shape, (2, 1, 6, 10))

    def test_noise_is_gaussian_with_impulses(self) -> None:
        noisy = add_noise(np.full((200, 200), -850.0), np.random.default_rng(0))
        struck = np.isin(noisy, HU_RANGE)
        self.assertTrue(0.01 < struck.mean() < 0.05)
        self.assertTrue(20 < noisy[~struck].std() < 80)

    def test_the_pool_gives_back_older_fakes(self) -> None:
        pool, rng = ImagePool(2), np.random.default_rng(0)
        judged = [pool.swap(torch.full((1, 1, 2, 2), float(n)), rng) for n in range(150)]
        self.assertEqual([float(j[0, 0, 0, 0]) for j in judged[:50]], [float(n) for n in range(50)])
        older = sum(float(j[0, 0, 0, 0]) < n for n, j in enumerate(judged))
        self.assertTrue(25 < older < 75)


class Training(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_a_killed_training_resumes_to_the_same_weights(self) -> None:
        unbroken, killed = self.folder / "unbroken", self.folder / "killed"
        weights = train(slices(), SETTINGS, unbroken)
        # Two draws a step and two a picture: in the last step.
        cut_off(lambda: train(slices(), SETTINGS, killed), draws=8)
        self.assertTrue((killed / "checkpoint.safetensors").exists())
        for patients, settings in ((2, replace(SETTINGS, width=32)), (3, SETTINGS)):
            with self.assertRaisesRegex(InputError, "another configuration"):
                train(slices(patients), settings, killed)
        train(slices(), SETTINGS, killed)
        assert_same_training(unbroken, killed)
        self.assertTrue((unbroken / "samples" / "000004.png").exists())
        card = read_card(weights)
        self.assertEqual((card["mark"], card["config"]["patients"]), (MARK, ["p0", "p1"]))
        with mock.patch.object(CycleGAN, "step", side_effect=AssertionError("trained again")):
            self.assertEqual(train(slices(), SETTINGS, unbroken), weights)
            with self.assertRaisesRegex(InputError, "other patients"):
                train(slices(3), SETTINGS, unbroken)
        forger = load_forger(weights)
        for kind in forger.kinds:
            assert_changes_its_ball_only(forger, kind)

    def test_a_loss_that_is_no_number(self) -> None:
        with self.assertRaisesRegex(InputError, "not finite at step .*lower --learning-rate"):
            train(slices(), replace(SETTINGS, learning_rate=1e30), self.folder)
        self.assertFalse((self.folder / "checkpoint.safetensors").exists())

    def test_files_that_are_no_weights(self) -> None:
        with self.assertRaisesRegex(ModelError, "no weights"):
            load_forger(self.folder / "none.safetensors")
        wrong = self.folder / "wrong.safetensors"
        wrong.write_bytes(b"no tensors")
        with self.assertRaisesRegex(ModelError, "damaged"):
            load_forger(wrong)

    def test_a_folder_without_the_data(self) -> None:
        with self.assertRaisesRegex(InputError, "--data"):
            untouched_slices(self.folder, [])


class Forging(unittest.TestCase):
    def test_sites_that_cannot_be_forged(self) -> None:
        forger, rng = CycleGANForger(Generator(16)), np.random.default_rng(0)
        for site, reason in (
            (Site("chest", SITE, 10, "nodule"), "does not know the kind"),
            (Site("chest", (SITE[0], SITE[1], 0), 10, "inject"), "border"),
            (Site("chest", SITE, 0, "inject"), "diameter"),
        ):
            with self.assertRaisesRegex(InputError, reason):
                forger.forge(volume(), site, rng)


if __name__ == "__main__":
    unittest.main()
