"""The diffusion forger: its schedule, a training that resumes exactly, and a forgery that stays in its ball."""

from __future__ import annotations

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import torch

from CTForgeryScanLib.errors import ModelError
from forger_training import assert_changes_its_ball_only, assert_same_training, cut_off, slices
from training.forgers.cyclegan import forger as cyclegan
from training.forgers.diffusion.forger import load_forger
from training.forgers.diffusion.networks import Denoiser
from training.forgers.diffusion.sampling import alpha_sigma, in_paint
from training.forgers.diffusion.train import Settings, train

SETTINGS = Settings(width=16, steps=4, batch=2, checkpoint_every=2)


class Knowing(torch.nn.Module):
    """A denoiser that knows the patch: what the velocity is when nothing is left to learn."""

    def __init__(self, patch: torch.Tensor) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, noised: torch.Tensor, before: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        alpha, sigma = (part[:, None, None, None] for part in alpha_sigma(time))
        return alpha * (noised - alpha * self.patch) / sigma - sigma * self.patch


class Sampling(unittest.TestCase):
    def test_schedule(self) -> None:
        alpha, sigma = alpha_sigma(torch.linspace(0, 1, 11))
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(11))
        self.assertLess(float(sigma[0]), 0.02)
        self.assertLess(float(alpha[-1]), 1e-6)

    def test_a_perfect_denoiser_paints_its_patch_into_what_is_hidden(self) -> None:
        patch, draft = torch.rand(2, 1, 8, 8) * 2 - 1, torch.zeros(2, 1, 8, 8)
        hidden = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
        hidden[..., 2:6, 2:6] = True
        for start in (1.0, 0.4):
            painted = in_paint(Knowing(patch), draft, hidden, draft, torch.Generator(), start=start)
            torch.testing.assert_close(painted[hidden], patch[hidden], atol=1e-4, rtol=0)
            torch.testing.assert_close(painted[~hidden], draft[~hidden], atol=0, rtol=0)

    def test_shapes_and_the_slice_before(self) -> None:
        torch.manual_seed(0)
        network = Denoiser(16)
        noised, before = torch.rand(2, 1, 32, 64), torch.rand(2, 1, 32, 64)
        with torch.inference_mode():
            velocity = network(noised, before, torch.tensor([0.1, 0.9]))
            alone = network(noised, before * 0, torch.tensor([0.1, 0.9]))
        self.assertEqual(velocity.shape, noised.shape)
        self.assertFalse(torch.equal(velocity, alone))


class Training(unittest.TestCase):
    def test_a_killed_training_resumes_to_the_same_weights(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            unbroken, killed = Path(folder, "unbroken"), Path(folder, "killed")
            weights = train(slices(), SETTINGS, unbroken)
            # One draw a step and one a picture: in the last step.
            cut_off(lambda: train(slices(), SETTINGS, killed), draws=5)
            self.assertTrue((killed / "checkpoint.safetensors").exists())
            train(slices(), SETTINGS, killed)
            assert_same_training(unbroken, killed)
            with self.assertRaisesRegex(ModelError, "forger 'diffusion'"):
                cyclegan.load_forger(weights)
            forger = replace(load_forger(weights), steps=3)
            for kind in forger.kinds:
                assert_changes_its_ball_only(forger, kind, diameter_mm=8)


if __name__ == "__main__":
    unittest.main()
