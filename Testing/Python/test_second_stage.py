"""Co-occurrence, the slice classifier's arrays against scikit-learn, and the rules that make regions."""

from __future__ import annotations

import tempfile
import unittest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from CTForgeryScanLib.glcm import LEVELS, cooccurrence
from CTForgeryScanLib.heatmap import Heatmap
from CTForgeryScanLib.regions import FoundRegions, RegionRule, find_regions, scan_probability
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import heatmap_ijk_to_ras


def algorithm_1(heatmap: NDArray[np.float32]) -> NDArray[np.int64]:
    """The paper's listing, pair by pair: 0° right, 45° right and up, 90° up, 135° left and up."""
    levels = np.minimum(np.rint(heatmap * 100), LEVELS - 1).astype(int)
    counts = np.zeros((LEVELS, LEVELS, 4), int)
    for angle, (dr, dc) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        for r in range(levels.shape[0]):
            for c in range(levels.shape[1]):
                if 0 <= r + dr < levels.shape[0] and 0 <= c + dc < levels.shape[1]:
                    counts[levels[r, c], levels[r + dr, c + dc], angle] += 1
    return counts


class CoOccurrence(unittest.TestCase):
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6))
    def test_equals_algorithm_1(self, seed: int) -> None:
        heatmap = np.random.default_rng(seed).random((7, 9)).astype(np.float32)
        np.testing.assert_array_equal(cooccurrence(heatmap), algorithm_1(heatmap))

    def test_certainty_has_the_last_level(self) -> None:
        counts = cooccurrence(np.ones((3, 3), np.float32))
        self.assertEqual(counts[LEVELS - 1, LEVELS - 1].tolist(), [6, 4, 6, 4])


RULE = RegionRule(window_threshold=0.5)


def find(
    p: NDArray[np.float32],
    spacing: tuple[float, float, float],
    probability: NDArray[np.float64] | None = None,
) -> FoundRegions:
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = (100, 120, -50)
    volume = Volume(np.zeros((len(p), 256, 256), np.int16), matrix, "test")
    given = np.ones(len(p)) if probability is None else probability
    return find_regions(volume, Heatmap(p, heatmap_ijk_to_ras(matrix)), given, RULE)


def hot(slices: range, count: int = 30, side: int = 3, at: int = 20) -> NDArray[np.float32]:
    p = np.zeros((count, 57, 57), np.float32)
    p[slices.start : slices.stop, at : at + side, at : at + side] = 0.9
    return p


class Regions(unittest.TestCase):
    def test_one_site_is_one_region_at_its_place(self) -> None:
        (region,) = find(hot(range(8, 16)), (0.7, 0.7, 2.5)).regions
        self.assertEqual(region.slices, (8, 15))
        # Windows 20…22 have their middle at window 21: 4·21 + 15.5.
        np.testing.assert_allclose(region.center_ijk, (99.5, 99.5, 11.5))
        np.testing.assert_allclose(region.center_ras, (100 - 99.5 * 0.7, 120 - 99.5 * 0.7, -50 + 11.5 * 2.5))
        self.assertEqual(region.extent_ijk, ((94, 105), (94, 105), (8, 15)))
        np.testing.assert_allclose(region.extent_mm, (8.4, 8.4, 20))
        self.assertAlmostEqual(region.score, 0.9, places=5)

    def test_too_few_slices_are_no_region(self) -> None:
        for spacing, enough in [(0.7, 19), (1.0, 14), (2.5, 6), (5.0, 4), (8.0, 4)]:
            with self.subTest(spacing=spacing):
                self.assertEqual(len(find(hot(range(5, 5 + enough)), (0.7, 0.7, spacing)).regions), 1)
                self.assertEqual(len(find(hot(range(5, 4 + enough)), (0.7, 0.7, spacing)).regions), 0)

    def test_a_missed_slice_is_bridged_where_the_rule_allows(self) -> None:
        p = hot(range(5, 22))
        p[10] = 0
        (region,) = find(p, (0.7, 0.7, 1.0)).regions
        self.assertEqual(region.slices, (5, 21))
        self.assertTrue(region.paper_rule)

    def test_slices_below_even_odds_do_not_count(self) -> None:
        probability = np.where(np.arange(30) % 2, 0.9, 0.4)
        self.assertEqual(find(hot(range(8, 16)), (0.7, 0.7, 2.5), probability).regions, ())

    def test_two_sites_are_two_regions_best_first(self) -> None:
        p = np.maximum(hot(range(3, 9)), 1.1 * hot(range(18, 26), at=40))
        regions = find(p, (0.7, 0.7, 2.5)).regions
        self.assertEqual([r.slices for r in regions], [(18, 25), (3, 8)])
        self.assertEqual([r.id for r in regions], [1, 2])

    def test_what_is_hot_everywhere_is_no_small_region(self) -> None:
        found = find(hot(range(3, 20), side=50, at=2), (0.7, 0.7, 2.5))
        self.assertEqual((found.regions, found.too_wide), ((), 1))

    def test_a_slice_alone_has_no_region(self) -> None:
        self.assertEqual(find(hot(range(1), count=1), (0.7, 0.7, 2.5)).regions, ())

    def test_scan_probability_needs_neighbours(self) -> None:
        p = np.zeros(20)
        p[7] = 0.99
        self.assertEqual(scan_probability(p, 2.5, RULE), 0)
        p[6:12] = 0.8
        self.assertAlmostEqual(scan_probability(p, 2.5, RULE), 0.8)
        self.assertAlmostEqual(scan_probability(np.array([0.7]), 2.5, RULE), 0.7)


class SliceClassifierArrays(unittest.TestCase):
    def test_numpy_equals_scikit_learn(self) -> None:
        try:
            from sklearn.decomposition import PCA
            from sklearn.svm import SVC
        except ImportError:
            self.skipTest("scikit-learn is absent: it fits slice classifiers, the library does without")
        from CTForgeryScanLib.slice_classifier import SliceClassifier, slice_features

        rng = np.random.default_rng(0)
        maps = (rng.random((60, 20, 20)) ** 4).astype(np.float32)
        maps[::3, 5:9, 5:9] = 0.95
        features = np.stack([slice_features(p) for p in maps])
        forged = np.arange(60) % 3 == 0
        pca = PCA(random_state=0).fit(features)
        projected = pca.transform(features)
        svm = SVC(kernel="linear", class_weight="balanced").fit(projected, forged)
        classifier = SliceClassifier(
            mean=pca.mean_.astype(np.float32),
            components=np.asfortranarray(pca.components_, np.float32),
            weights=svm.coef_[0].astype(np.float32),
            intercept=svm.intercept_.astype(np.float32),
            platt=np.array([1, 0], np.float32),
        )
        expected = svm.decision_function(projected)
        np.testing.assert_allclose(classifier.margin(features), expected, atol=1e-4)
        np.testing.assert_allclose(classifier.probability(maps), 1 / (1 + np.exp(-expected)), atol=1e-4)
        # scikit-learn hands out arrays in Fortran order, which must survive the file.
        with tempfile.TemporaryDirectory() as folder:
            save_file(classifier.arrays(), f"{folder}/classifier.safetensors")
            again = SliceClassifier.from_arrays(load_file(f"{folder}/classifier.safetensors"))
        np.testing.assert_allclose(again.probability(maps), classifier.probability(maps), atol=1e-6)


if __name__ == "__main__":
    unittest.main()
