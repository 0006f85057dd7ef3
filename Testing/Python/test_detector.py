"""One pass over a slice gives for every window exactly what the window alone gives."""

from __future__ import annotations

import unittest

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.windows import STRIDE, WINDOW, grid_shape


def random_detector(seed: int, width: int = 4, half_turn: bool = False) -> LocalDetector:
    """Random weights and random batch-norm statistics, so that folding has something to fold."""
    torch.manual_seed(seed)
    detector = LocalDetector(width, half_turn=half_turn)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return detector.eval()


class ExactAndDense(unittest.TestCase):
    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        rows=st.integers(32, 100),
        columns=st.integers(32, 100),
        half_turn=st.booleans(),
    )
    def test_dense_pass_equals_each_window_alone(
        self, seed: int, rows: int, columns: int, half_turn: bool
    ) -> None:
        detector = random_detector(seed, half_turn=half_turn)
        hu = torch.randint(-1100, 1200, (1, 1, rows, columns)).float()
        with torch.inference_mode():
            dense = detector(hu)[0, 0]
            windows = hu.unfold(2, WINDOW, STRIDE).unfold(3, WINDOW, STRIDE).reshape(-1, 1, WINDOW, WINDOW)
            alone = detector(windows).reshape(dense.shape)
        self.assertEqual(tuple(dense.shape), grid_shape(rows, columns))
        torch.testing.assert_close(dense, alone, atol=1e-4, rtol=0)

    def test_holds_at_full_size(self) -> None:
        detector = random_detector(1, width=8)
        hu = torch.randint(-1100, 1200, (1, 1, 512, 512)).float()
        with torch.inference_mode():
            dense = detector(hu)[0, 0]
            for r, c in [(0, 0), (120, 120), (0, 120), (37, 91), (64, 5)]:
                alone = detector(hu[..., 4 * r : 4 * r + 32, 4 * c : 4 * c + 32])[0, 0, 0, 0]
                self.assertAlmostEqual(float(dense[r, c]), float(alone), delta=1e-4)

    def test_a_window_sees_all_its_pixels_and_no_other(self) -> None:
        detector = random_detector(2)
        hu = (torch.rand(1, 1, 40, 40) * 600 - 900).requires_grad_()
        detector(hu)[0, 0, 1, 1].backward()
        assert hu.grad is not None
        seen = hu.grad[0, 0] != 0
        self.assertTrue(
            seen[4, 4:36].any() and seen[35, 4:36].any() and seen[4:36, 4].any() and seen[4:36, 35].any()
        )
        seen[4:36, 4:36] = False
        self.assertFalse(seen.any())

    def test_folding_batch_norm_changes_nothing(self) -> None:
        detector = random_detector(3)
        hu = torch.rand(2, 1, 64, 80) * 1200 - 1000
        with torch.inference_mode():
            torch.testing.assert_close(detector.fused()(hu), detector(hu), atol=1e-4, rtol=1e-4)
        self.assertFalse(any(isinstance(m, nn.BatchNorm2d) for m in detector.fused().modules()))

    def test_with_a_half_turn_it_does_not_matter_which_way_up_the_slice_is(self) -> None:
        detector = random_detector(4, half_turn=True)
        hu = torch.rand(1, 1, 64, 80) * 1200 - 1000
        with torch.inference_mode():
            upside_down = detector(hu.flip(-2, -1)).flip(-2, -1)
            torch.testing.assert_close(detector(hu), upside_down, atol=1e-5, rtol=1e-5)

    def test_smaller_than_a_window_is_an_error(self) -> None:
        with self.assertRaisesRegex(ValueError, "smaller than one"):
            random_detector(0)(torch.zeros(1, 1, 31, 64))


if __name__ == "__main__":
    unittest.main()
