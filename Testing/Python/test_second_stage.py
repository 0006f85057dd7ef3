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
from CTForgeryScanLib.regions import FoundRegions, RegionRule, find_regions, hottest_rise
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


RULE = RegionRule(location=2.0, scale=0.5)


def find(p: NDArray[np.float32], spacing: tuple[float, float, float]) -> FoundRegions:
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = (100, 120, -50)
    volume = Volume(np.zeros((len(p), 256, 256), np.int16), matrix, "test")
    return find_regions(volume, Heatmap(p, heatmap_ijk_to_ras(matrix)), RULE, 0.99)


def hot(slices: range, count: int = 60, side: int = 9, at: int = 20, p: float = 0.95) -> NDArray[np.float32]:
    """A heatmap at even odds of 1 : 19 everywhere, with one square of ``side`` windows that is hot in some slices."""
    heatmap = np.full((count, 57, 57), 0.05, np.float32)
    heatmap[slices.start : slices.stop, at : at + side, at : at + side] = p
    return heatmap


class Regions(unittest.TestCase):
    def test_one_site_is_one_region_at_its_place(self) -> None:
        (region,) = find(hot(range(18, 34)), (0.7, 0.7, 2.5)).regions
        self.assertEqual(region.slices, (18, 33))
        # Windows 20…28 have their middle at window 24: 4·24 + 15.5.
        np.testing.assert_allclose(region.center_ijk[:2], (111.5, 111.5), atol=1e-6)
        self.assertAlmostEqual(region.center_ijk[2], 25.5, delta=0.5)
        self.assertAlmostEqual(region.center_ras[0], 100 - 111.5 * 0.7, places=4)
        self.assertAlmostEqual(region.center_ras[2], -50 + region.center_ijk[2] * 2.5)
        self.assertEqual(region.extent_ijk[0], (94, 129))
        np.testing.assert_allclose(region.extent_mm, (25.2, 25.2, 40))
        # From 1 : 19 to 19 : 1 is a rise of 2·ln 19.
        self.assertAlmostEqual(region.score, RULE.score(2 * np.log(19)), places=5)
        self.assertTrue(region.paper_rule)

    def test_too_few_slices_are_no_region(self) -> None:
        for spacing, stretch in [(0.7, 14), (1.0, 10), (2.5, 6), (5.0, 6), (8.0, 6)]:
            with self.subTest(spacing=spacing):
                self.assertEqual(RULE.stretch(spacing), stretch)
                self.assertEqual(len(find(hot(range(5, 5 + stretch)), (0.7, 0.7, spacing)).regions), 1)
                self.assertEqual(len(find(hot(range(5, 5 + stretch // 2)), (0.7, 0.7, spacing)).regions), 0)

    def test_one_window_is_no_place(self) -> None:
        self.assertEqual(find(hot(range(5, 30), side=2), (0.7, 0.7, 2.5)).regions, ())

    @settings(max_examples=20, deadline=None)
    @given(st.floats(0.01, 0.4))
    def test_a_scan_that_is_warmer_all_over_scores_the_same(self, usual: float) -> None:
        """What counts is the rise: the odds of the whole scan may be any."""
        odds = usual / (1 - usual) * 200
        heatmap = hot(range(18, 34), p=odds / (1 + odds))
        heatmap[heatmap == np.float32(0.05)] = usual
        (region,) = find(heatmap, (0.7, 0.7, 2.5)).regions
        self.assertAlmostEqual(region.score, RULE.score(np.log(200)), places=4)

    def test_two_sites_are_two_regions_best_first(self) -> None:
        p = np.maximum(hot(range(3, 20), at=3), hot(range(30, 50), at=40, p=0.99))
        found = find(p, (0.7, 0.7, 2.5))
        self.assertEqual([r.id for r in found.regions], [1, 2])
        self.assertGreater(found.regions[0].slices[0], found.regions[1].slices[1])
        self.assertEqual(found.score, found.regions[0].score)
        self.assertEqual(set(np.unique(found.labels)), {0, 1, 2})
        self.assertEqual(found.labels[40, 44, 44], 1)

    def test_two_sites_of_one_column_are_two_regions(self) -> None:
        apart = np.maximum(hot(range(5, 20), count=60), hot(range(40, 56), count=60, p=0.99))
        found = find(apart, (0.7, 0.7, 2.5))
        self.assertEqual([region.slices for region in found.regions], [(40, 55), (5, 19)])
        self.assertLess(found.regions[1].score, found.score)
        # One long site is one region.
        (region,) = find(hot(range(5, 56), count=60), (0.7, 0.7, 2.5)).regions
        self.assertEqual(region.slices, (5, 55))

    def test_sites_that_share_their_slices_do_not_hide_one_another(self) -> None:
        """None of them is what is usual in the scan, though they fill most of it."""
        long, short = hot(range(3, 24), count=30, at=4), hot(range(12, 18), count=30, at=40, p=0.97)
        found = find(np.maximum(long, short), (0.7, 0.7, 2.5))
        self.assertEqual([region.slices for region in found.regions], [(12, 17), (3, 23)])
        self.assertEqual(found.score, found.regions[0].score)
        three = np.full((20, 90, 90), 0.05, np.float32)
        for at, p in ((4, 0.95), (34, 0.96), (64, 0.97)):
            three[2:18, at : at + 9, at : at + 9] = p
        regions = find(three, (0.7, 0.7, 2.5)).regions
        np.testing.assert_allclose(
            [region.center_ijk[0] for region in regions], [287.5, 167.5, 47.5], atol=0.1
        )

    def test_a_wide_place_that_is_no_region_hides_no_score(self) -> None:
        wide = np.full((60, 90, 90), 0.05, np.float32)
        wide[20:40, 2:42, 2:42], wide[20:40, 75:84, 75:84] = 0.4, 0.3
        found = find(wide, (0.7, 0.7, 2.5))
        self.assertEqual((found.regions, found.too_wide), ((), 0))
        self.assertAlmostEqual(found.score, RULE.score(np.log(0.3 / 0.7 * 19)), places=5)
        matrix = np.diag([0.7, 0.7, 2.5, 1.0])
        volume = Volume(np.zeros((60, 384, 384), np.int16), matrix, "test")
        rise = hottest_rise(volume, Heatmap(wide, heatmap_ijk_to_ras(matrix)), RULE)
        self.assertAlmostEqual(rise, np.log(0.3 / 0.7 * 19), places=4)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def test_no_region_takes_in_another(self, seed: int) -> None:
        """A tall site whose slices differ is one region, or several, each with its own part."""
        heatmap = hot(range(0), count=80)
        logits = np.random.default_rng(seed).normal(1.5, 0.7, 17)
        for k, logit in enumerate(logits, 30):
            heatmap[k, 20:29, 20:29] = 1 / (1 + np.exp(-logit))
        found = find(heatmap, (0.7, 0.7, 2.5))
        self.assertEqual(set(np.unique(found.labels)) - {0}, {region.id for region in found.regions})

    def test_a_place_with_no_lung_beside_it_is_compared_with_nothing(self) -> None:
        alone = hot(range(60), p=0.2)
        alone[alone == np.float32(0.05)] = 0  # not judged
        found = find(alone, (0.7, 0.7, 2.5))
        self.assertEqual((found.regions, found.score, found.enough_lung), ((), 0.0, False))
        self.assertFalse(find(np.zeros_like(alone), (0.7, 0.7, 2.5)).enough_lung)
        self.assertTrue(find(hot(range(18, 34)), (0.7, 0.7, 2.5)).enough_lung)

    def test_slices_without_lung_do_not_say_what_is_usual(self) -> None:
        whole = hot(range(5, 12), count=20, p=0.3)
        beside_abdomen = np.concatenate([np.zeros((60, 57, 57), np.float32), whole])
        expected, found = (find(p, (0.7, 0.7, 2.5)) for p in (whole, beside_abdomen))
        self.assertAlmostEqual(found.score, expected.score, places=5)
        self.assertLess(found.score, 0.99)
        nothing = find(np.zeros((60, 57, 57), np.float32), (0.7, 0.7, 2.5))
        self.assertEqual((nothing.regions, nothing.score), ((), 0))

    def test_what_is_hot_everywhere_is_no_small_region(self) -> None:
        found = find(hot(range(3, 20), side=50, at=2), (0.7, 0.7, 2.5))
        self.assertEqual((found.regions, found.too_wide), ((), 1))

    def test_an_even_scan_and_one_too_short_have_no_region(self) -> None:
        self.assertLess(find(hot(range(0)), (0.7, 0.7, 2.5)).score, 1e-6)
        self.assertEqual(find(hot(range(5), count=5), (0.7, 0.7, 2.5)).score, 0)


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
