"""The sweep: geometry, devices, memory, progress and cancel."""

from __future__ import annotations

import unittest
from collections.abc import Iterable
from concurrent.futures import Executor
from unittest import mock

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import phantoms
from CTForgeryScanLib import heatmap
from CTForgeryScanLib.errors import DeviceError, ScanCancelled
from CTForgeryScanLib.heatmap import (
    Sweeper,
    choose_device,
    choose_precision,
    is_out_of_memory,
    sweep_volume,
)
from CTForgeryScanLib.volume import load_volume
from CTForgeryScanLib.windows import asked_mask, heatmap_ijk_to_ras
from small_models import bright_detector
from test_detector import random_detector


class Geometry(unittest.TestCase):
    @given(st.integers(0, 120), st.integers(0, 120), st.integers(0, 50), st.integers(0, 10**6))
    def test_a_heatmap_voxel_lies_at_its_windows_centre(self, r: int, c: int, k: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        ct = np.eye(4)
        ct[:3] = rng.normal(size=(3, 4)) * [1, 1, 2, 100]
        in_ct = ct @ [4 * c + 15.5, 4 * r + 15.5, k, 1]
        np.testing.assert_allclose(heatmap_ijk_to_ras(ct) @ [c, r, k, 1], in_ct)

    def test_a_marked_place_is_hot_at_that_place(self) -> None:
        hu = phantoms.chest(slices=3, size=256)
        hu[1, 140:156, 96:112] = 1000
        volume = load_volume((hu, phantoms.geometry()))
        heatmap = sweep_volume(volume, Sweeper(bright_detector(), "cpu", "float32"))
        weights = np.where(heatmap.p[1] > 0.5 * heatmap.p[1].max(), heatmap.p[1], 0)
        r, c = (np.average(grid, weights=weights) for grid in np.indices(weights.shape))
        marked = volume.ijk_to_ras @ [103.5, 147.5, 1, 1]
        np.testing.assert_allclose((heatmap.ijk_to_ras @ [c, r, 1, 1])[:3], marked[:3], atol=0.5 * 0.7)


class Sweep(unittest.TestCase):
    def test_only_what_is_near_lung_is_swept_and_the_part_is_exact(self) -> None:
        hu = phantoms.chest(slices=1, size=200)
        sweeper = Sweeper(random_detector(5), "cpu", "float32")
        (p,) = sweeper.sweep(hu)
        whole = sweeper.probabilities(hu)[0]
        asked = asked_mask(hu[0])
        self.assertTrue(asked.any() and not asked.all())
        np.testing.assert_allclose(p[asked], whole[asked], atol=1e-5)
        self.assertTrue((p[~asked] == 0).all())

    def test_same_numbers_run_after_run_and_in_any_batch(self) -> None:
        hu = phantoms.chest(slices=5, size=128)
        sweeper = Sweeper(random_detector(6), "cpu", "float32")
        first = np.stack(list(sweeper.sweep(hu)))
        np.testing.assert_array_equal(first, np.stack(list(sweeper.sweep(hu))))
        threads = torch.get_num_threads()
        for batch in (1, 3):
            sweeper._batch = batch
            np.testing.assert_array_equal(first, np.stack(list(sweeper.sweep(hu))))
        self.assertEqual(torch.get_num_threads(), threads)

    def test_air_is_not_swept(self) -> None:
        (p,) = Sweeper(random_detector(0), "cpu").sweep(np.full((1, 96, 96), -1000, np.int16))
        self.assertFalse(p.any())

    def test_out_of_memory_halves_the_batch_and_loses_nothing(self) -> None:
        hu = phantoms.chest(slices=7, size=128)
        sweeper = Sweeper(random_detector(6), "cpu", "float32")
        expected = np.stack(list(sweeper.sweep(hu)))
        sweeper._batch, whole = 6, sweeper._judge

        def small_memory(slices: np.ndarray, pool: Executor) -> Iterable[np.ndarray]:
            if len(slices) > 2:
                raise torch.OutOfMemoryError("too much")
            return whole(slices, pool)

        with mock.patch.object(sweeper, "_judge", small_memory):
            np.testing.assert_allclose(np.stack(list(sweeper.sweep(hu))), expected, atol=1e-5)
        self.assertEqual(sweeper._batch, 1)
        self.assertEqual(len(sweeper.ran.notes), 2)

    def test_out_of_memory_is_known_on_the_cpu_too(self) -> None:
        with self.assertRaises(RuntimeError) as caught:
            torch.empty(2**58, dtype=torch.uint8)
        self.assertTrue(is_out_of_memory(caught.exception))
        self.assertFalse(is_out_of_memory(RuntimeError("shapes do not fit")))

    def test_progress_and_cancel(self) -> None:
        volume = load_volume((phantoms.chest(slices=6, size=128), phantoms.geometry()))
        seen: list[int] = []
        sweeper = Sweeper(random_detector(0), "cpu")
        with self.assertRaises(ScanCancelled):
            sweep_volume(
                volume,
                sweeper,
                on_slice=lambda k, p, left: seen.append(k),
                should_cancel=lambda: len(seen) == 2,
            )
        self.assertEqual(seen, [0, 1])

    def test_absent_device_and_unknown_precision(self) -> None:
        for device in ("cuda:9", "nonsense", "meta"):  # the last is there and computes nothing
            with self.subTest(device), self.assertRaisesRegex(DeviceError, "--device auto or cpu"):
                choose_device(device)
        with self.assertRaisesRegex(DeviceError, "float32, bfloat16"):
            choose_precision("float64", torch.device("cpu"))

    def test_a_gpu_that_computes_nothing_is_passed_over(self) -> None:
        with mock.patch.object(heatmap, "_gpus", return_value=["meta"]):
            sweeper = Sweeper(random_detector(0))
        self.assertEqual(sweeper.ran.device, "cpu")
        self.assertIn("cannot compute", " ".join(sweeper.ran.notes))

    def test_a_torch_without_onednn_computes_in_float32(self) -> None:
        """That of macOS, which has not even the operator that says so."""
        with (
            mock.patch("torch.backends.mkldnn.is_available", return_value=False),
            mock.patch("torch.ops.mkldnn"),
        ):
            self.assertEqual(choose_precision("auto", torch.device("cpu")), "float32")

    @unittest.skipUnless(torch.cuda.is_available(), "no CUDA device here")
    def test_gpu_agrees_with_cpu(self) -> None:
        hu = phantoms.chest(slices=3, size=256)
        detector = random_detector(7, width=8)
        cpu = np.stack(list(Sweeper(detector, "cpu", "float32").sweep(hu)))
        np.testing.assert_allclose(np.stack(list(Sweeper(detector, "cuda").sweep(hu))), cpu, atol=0.02)


if __name__ == "__main__":
    unittest.main()
