"""The measures, against values worked out by hand, and the pictures drawn."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import phantoms

try:
    import matplotlib  # noqa: F401
    import sklearn  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: evaluation needs the extra 'train'") from error

from CTForgeryScanLib.errors import InputError
from training.evaluation import plots
from training.evaluation.calibration import brier, reliability
from training.evaluation.counts import Counts
from training.evaluation.froc import NO_SITE, RATES, ProposedPlaces, froc, hits, sensitivity_interval
from training.evaluation.resampling import patient_interval
from training.evaluation.scans import TamperedArea, counts_2d, counts_3d
from training.evaluation.slices import (
    auc,
    auc_interval,
    auc_within,
    counts_by_kind,
    detection_rate,
    slice_counts,
)
from training.evaluation.voxels import mean_f1, voxel_counts

# Ten slices: scores fall, forged ones are F.          F    F    u    F    u    u    F    u    u    u
SCORES = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
FORGED = np.array([True, True, False, True, False, False, True, False, False, False])

scored = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(forged for forged, _ in rows) < len(rows)
)


class Slices(unittest.TestCase):
    def test_the_papers_figures(self) -> None:
        counts = slice_counts(FORGED, SCORES >= 0.55)
        self.assertEqual(counts, Counts(3, 2, 1, 4))
        self.assertEqual((counts.accuracy, counts.precision, counts.recall), (0.7, 0.6, 0.75))
        self.assertAlmostEqual(counts.f1, 2 / 3)

    def test_classes_weighing_the_same(self) -> None:
        # Recall 3/4 and false alarms 2/6, each class weighing ½: P = 0.375 / (0.375 + 1/6), F1 = 0.75 / 1.0416…
        counts = slice_counts(FORGED, SCORES >= 0.55, balanced=True)
        self.assertAlmostEqual(counts.accuracy, (3 / 4 + 4 / 6) / 2)
        self.assertAlmostEqual(counts.precision, 9 / 13)
        self.assertAlmostEqual(counts.f1, 18 / 25)

    def test_what_the_paper_reports_of_its_own_counts(self) -> None:
        # Table 4, INJ1 and REM1, Ours-2D.
        self.assertEqual(round(Counts(43, 9, 33, 182).f1, 4), 0.6719)
        self.assertEqual(round(Counts(42, 0, 24, 90).accuracy, 4), 0.8462)

    def test_figures_without_a_meaning(self) -> None:
        untouched = Counts(0, 3, 0, 97)
        self.assertEqual(untouched.accuracy, 0.97)
        self.assertTrue(np.isnan([untouched.precision, untouched.recall, untouched.f1]).all())
        self.assertTrue(np.isnan(Counts(1, 0, 0).accuracy), "areas left alone cannot be counted")
        silent = Counts(0, 0, 4, 6)
        self.assertEqual((silent.precision, silent.recall, silent.f1), (0, 0, 0))

    def test_by_kind(self) -> None:
        kinds = ["inject", "remove", "untouched", "untouched", "inject"]
        found = counts_by_kind(kinds, [True, False, True, False, True])
        self.assertEqual(found, {"inject": Counts(2, 1, 0, 1), "remove": Counts(0, 1, 1, 1)})

    def test_auc_and_detection_at_a_false_alarm_rate(self) -> None:
        # Untouched slices below each forged one: 6, 6, 5, 3 of 6.
        self.assertAlmostEqual(auc(FORGED, SCORES), 20 / 24)
        self.assertEqual(detection_rate(FORGED, SCORES), (0.5, 0.9))
        self.assertEqual(detection_rate(FORGED, SCORES, 1 / 6), (0.75, 0.7))
        self.assertEqual(detection_rate([True, False], [0.1, 0.9])[0], 0)

    def test_interval(self) -> None:
        # Judge a orders its pairs wrongly in 1 of 4 and b in 0 of 2; c has no pair.
        judged = [True, True, False, False, True, False, False, True]
        scores, judges = [5, 8, 7, 3, 0.2, 0.1, 0.1, 9], list("aaaabbbc")
        self.assertAlmostEqual(auc_within(judged, scores, judges), 5 / 6)
        self.assertAlmostEqual(auc_within(judged, scores, ["one"] * 8), auc(judged, scores))
        low, high = auc_interval(FORGED, SCORES, np.arange(10), bootstraps=200)
        self.assertLess(low, 20 / 24)
        self.assertGreater(high, 20 / 24)
        # With one patient every draw is the whole set.
        self.assertEqual(auc_interval(FORGED, SCORES, ["one"] * 10, 5), (auc(FORGED, SCORES),) * 2)

    @settings(max_examples=50, deadline=None)
    @given(scored)
    def test_only_the_order_of_scores_matters(self, rows: list[tuple[bool, int]]) -> None:
        forged, scores = np.array(rows).T
        for monotone in (np.exp(scores / 4), scores**3 - 7.0):
            self.assertAlmostEqual(auc(forged, monotone), auc(forged, scores))
            self.assertEqual(detection_rate(forged, monotone, 0.2)[0], detection_rate(forged, scores, 0.2)[0])
        self.assertAlmostEqual(auc(forged, -scores), 1 - auc(forged, scores))

    @settings(max_examples=50, deadline=None)
    @given(scored, st.floats(0, 1))
    def test_detection_keeps_its_false_alarm_rate(self, rows: list[tuple[bool, int]], rate: float) -> None:
        forged, scores = (np.array(column) for column in zip(*rows, strict=True))
        found, threshold = detection_rate(forged, scores, rate)
        self.assertEqual(found, (scores[forged] >= threshold).mean())
        self.assertLessEqual((scores[~forged] >= threshold).mean(), rate)


class Scans(unittest.TestCase):
    def flagged(self, *ranges: tuple[int, int], slices: int = 60) -> NDArray[np.bool_]:
        said = np.zeros(slices, bool)
        for first, last in ranges:
            said[first : last + 1] = True
        return said

    def test_nine_of_ten_about_the_centre(self) -> None:
        area = TamperedArea(center=30, first=15, last=44)
        for said, found in (
            (self.flagged((22, 30)), 1),
            (self.flagged((30, 38)), 1),
            (self.flagged((25, 29), (31, 34)), 1),
            (self.flagged((22, 29)), 0),
            (self.flagged((15, 24)), 0),  # ten in a row, but none of their windows holds the centre
            (self.flagged((32, 44)), 0),
        ):
            self.assertEqual(counts_3d(60, [area], said).true_positives, found)

    def test_the_central_slice_itself_may_be_missed(self) -> None:
        area = TamperedArea(30, 15, 44)
        self.assertEqual(counts_3d(60, [area], self.flagged((21, 29))).true_positives, 1)

    def test_untouched_runs(self) -> None:
        area = TamperedArea(30, 20, 40)
        said = self.flagged((0, 8), (20, 40), (41, 48))
        self.assertEqual(counts_3d(60, [area], said), Counts(1, 1, 0))
        # A run that begins inside the tampered slices needs nine of its own outside them.
        self.assertEqual(counts_3d(60, [area], self.flagged((35, 48))).false_positives, 0)
        self.assertEqual(counts_3d(60, [area], self.flagged((41, 59))).false_positives, 1)
        self.assertEqual(counts_3d(60, [], self.flagged((0, 9), (30, 40))), Counts(0, 2, 0))
        # Nine consecutive ones are enough where the volume has no tenth.
        self.assertEqual(counts_3d(60, [TamperedArea(9, 9, 50)], self.flagged((0, 8))).false_positives, 1)

    def test_an_area_too_thin_for_the_rule_is_missed(self) -> None:
        thin = TamperedArea(10, 8, 12)
        self.assertEqual(counts_3d(60, [thin], np.ones(60, bool)).false_negatives, 1)
        nine = TamperedArea(10, 6, 14)
        self.assertEqual(counts_3d(60, [nine], self.flagged((6, 14))).true_positives, 1)

    def test_slice_by_slice(self) -> None:
        areas = [TamperedArea(10, 5, 15), TamperedArea(14, 10, 20)]
        self.assertEqual(
            counts_2d(30, areas, self.flagged((5, 9), (21, 22), slices=30)), Counts(5, 2, 11, 12)
        )

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.booleans(), min_size=31, max_size=31), st.integers(0, 30))
    def test_flagging_more_finds_no_less(self, said: list[bool], more: int) -> None:
        area = TamperedArea(15, 8, 25)
        wider = [*said[:more], True, *said[more + 1 :]]
        before, after = counts_3d(31, [area], said), counts_3d(31, [area], wider)
        self.assertGreaterEqual(after.true_positives, before.true_positives)
        self.assertEqual(before.positives, 1)
        # A scan turned round is judged alike.
        turned = counts_3d(31, [TamperedArea(15, 5, 22)], said[::-1])
        self.assertEqual(turned, before)


class FrocCurve(unittest.TestCase):
    def scans(self) -> list[ProposedPlaces]:
        return [
            ProposedPlaces("a", np.array([0.9, 0.8, 0.7, 0.2]), np.array([0, NO_SITE, 0, 1]), 2),
            ProposedPlaces("b", np.array([0.6, 0.5]), np.array([NO_SITE, 0]), 2),
            ProposedPlaces("c", np.array([0.4]), np.array([NO_SITE]), 0),
            ProposedPlaces("d", np.array([]), np.array([], int), 0),
        ]

    def test_hand_made_case(self) -> None:
        curve = froc(self.scans())
        np.testing.assert_array_equal(curve.thresholds, [np.inf, 0.9, 0.8, 0.6, 0.5, 0.4, 0.2])
        np.testing.assert_array_equal(curve.false_positives, [0, 0, 0.25, 0.5, 0.5, 0.75, 0.75])
        # Of four sites one is never proposed; the second place on a's first site adds nothing.
        np.testing.assert_array_equal(curve.sensitivity, [0, 0.25, 0.25, 0.25, 0.5, 0.5, 0.75])
        np.testing.assert_array_equal(curve.at(), [0.25, 0.25, 0.5, 0.75, 0.75, 0.75, 0.75])

    def test_ties_are_not_broken_in_the_detectors_favour(self) -> None:
        tied = [ProposedPlaces("a", np.array([0.5, 0.5]), np.array([0, NO_SITE]), 1)]
        self.assertEqual(froc(tied).at([0.5])[0], 0)
        self.assertEqual(froc(tied).at([1])[0], 1)

    def test_interval_is_over_patients(self) -> None:
        low, high = sensitivity_interval(self.scans(), bootstraps=200)
        self.assertEqual(low.shape, (len(RATES),))
        self.assertTrue((low <= froc(self.scans()).at()).all() and (froc(self.scans()).at() <= high).all())
        same = [ProposedPlaces("a", s.scores, s.hits, s.sites) for s in self.scans()]
        np.testing.assert_array_equal(sensitivity_interval(same, bootstraps=3), [froc(same).at()] * 2)

    def test_hits(self) -> None:
        sites = [(0, 0, 0), (10, 0, 0)]
        places = [(1, 0, 0), (6, 0, 0), (10, 0, 5.5), (50, 0, 0)]
        np.testing.assert_array_equal(hits(places, sites, 5.0), [0, 1, NO_SITE, NO_SITE])
        np.testing.assert_array_equal(hits(places, [], 5.0), [NO_SITE] * 4)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 2)), min_size=1, max_size=30))
    def test_curve_rises(self, places: list[tuple[int, int]]) -> None:
        scores, on = np.array(places).T
        curve = froc(
            [
                ProposedPlaces("a", scores.astype(float), on, 3),
                ProposedPlaces("b", np.empty(0), np.empty(0, int), 0),
            ]
        )
        for values in (curve.false_positives, curve.sensitivity, -curve.thresholds[1:]):
            self.assertTrue((np.diff(values) >= 0).all())
        self.assertEqual(curve.sensitivity[-1], len(set(on.tolist()) - {NO_SITE}) / 3)


class Calibration(unittest.TestCase):
    def test_brier(self) -> None:
        self.assertAlmostEqual(brier([True, False, False, False], [0.9, 0.2, 0.2, 0.4]), (0.01 + 0.24) / 4)
        self.assertAlmostEqual(
            brier([True, False, False, False], [0.9, 0.2, 0.2, 0.4], balanced=True), (0.01 + 0.08) / 2
        )

    def test_reliability_table(self) -> None:
        p = [0.05, 0.15, 0.15, 0.95, 1.0]
        table = reliability([False, False, True, True, True], p)
        self.assertEqual([b.examples for b in table], [1, 2, 2])
        np.testing.assert_allclose([b.predicted for b in table], [0.05, 0.15, 0.975])
        np.testing.assert_allclose([b.forged for b in table], [0, 0.5, 1])
        self.assertAlmostEqual(table[-1].low, 0.9)
        balanced = reliability([False, False, True, True, True], p, balanced=True)
        # One untouched slice of two weighs ¼, one forged slice of three 1/6.
        self.assertAlmostEqual(balanced[1].forged, (1 / 6) / (1 / 6 + 1 / 4))

    @settings(max_examples=50, deadline=None)
    @given(scored)
    def test_no_example_is_lost(self, rows: list[tuple[bool, int]]) -> None:
        forged, scores = np.array(rows).T
        table = reliability(forged, scores / 20, bins=7)
        self.assertEqual(sum(b.examples for b in table), len(rows))
        self.assertAlmostEqual(sum(b.examples * b.forged for b in table), forged.sum())


class Voxels(unittest.TestCase):
    def test_hand_made_case(self) -> None:
        changed = np.zeros((2, 4, 4), bool)
        changed[0, :2, :2] = True
        score = np.where(changed, 0.9, 0.1)
        score[0, 0, 0], score[1, 3, 2:] = 0.4, 0.5
        counts = voxel_counts(changed, score, 0.5)
        self.assertEqual(counts, Counts(3, 2, 1, 26))
        self.assertAlmostEqual(mean_f1([counts, Counts(1, 0, 0)]), (6 / 9 + 1) / 2)


class BadInput(unittest.TestCase):
    def test_each_gets_a_sentence(self) -> None:
        nan = [0.1, float("nan")]
        area = TamperedArea(5, 4, 10)
        for words, wrong in (
            ("no forged example among 2", lambda: auc([False, False], [0.1, 0.2])),
            ("no untouched example among 2", lambda: slice_counts([True, True], [True, False])),
            ("no forged example among 0", lambda: auc([], [])),
            ("1 of 2 scores are not finite", lambda: auc([True, False], nan)),
            ("2 'forged', 3 'scores'", lambda: auc([True, False], [1, 2, 3])),
            ("No judge scored both", lambda: auc_within([True, False], [1, 2], ["a", "b"])),
            ("3 'patients'", lambda: auc_interval([True, False], [1, 2], ["a", "b", "c"])),
            ("'scores' has 2 axes", lambda: auc([True, False], np.zeros((2, 2)))),
            ("false-alarm rate of 1.5", lambda: detection_rate([True, False], [0, 1], 1.5)),
            ("more patients are needed", lambda: patient_interval(lambda _: np.nan, ["a"], 3)),
            ("no patient to draw", lambda: patient_interval(lambda _: 0.0, [], 3)),
            ("between 0 and 1", lambda: brier([True, False], [0.5, 1.2])),
            ("between 0 and 1", lambda: reliability([True, False], [-0.5, 0.2])),
            ("10 slices", lambda: counts_3d(10, [area], [True] * 10)),
            ("one answer a slice", lambda: counts_2d(12, [area], [True] * 10)),
            ("no forged site in 0 scans", lambda: froc([])),
            ("on site 2, but 2", lambda: ProposedPlaces("a", np.ones(1), np.array([2]), 2)),
            ("not finite", lambda: ProposedPlaces("a", np.array([np.nan]), np.array([0]), 2)),
            ("one grid", lambda: voxel_counts(np.ones((1, 2, 2), bool), np.ones((1, 2, 3)), 0.5)),
            ("No voxel", lambda: voxel_counts(np.zeros((1, 2, 2), bool), np.ones((1, 2, 2)), 0.5)),
            ("no forged scan", lambda: mean_f1([])),
            ("no curve", lambda: plots.plot_roc({}, Path("none.png"))),
            ("no slice", lambda: plots.plot_heatmaps([], Path("none.png"))),
        ):
            with self.subTest(words), self.assertRaisesRegex(InputError, words):
                wrong()


class Pictures(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_each_is_drawn(self) -> None:
        curve = froc(FrocCurve().scans())
        hu = phantoms.chest(1, 128)[0]
        heatmap = np.zeros((25, 25), np.float32)
        heatmap[10, 12] = 0.9
        shown = plots.ShownSlice("slice 3", hu, {"a": heatmap, "b": 0 * heatmap}, [(63.5, 55.5)])
        plots.plot_roc({"a": (FORGED, SCORES), "b": (FORGED, -SCORES)}, self.folder / "roc.png")
        plots.plot_froc({"a": curve}, self.folder / "froc.png", {"a": np.array([curve.at(), curve.at()])})
        plots.plot_reliability({"a": reliability(FORGED, SCORES)}, self.folder / "reliability.png")
        plots.plot_training({"a": ([1, 2], [0.5, 0.4])}, self.folder / "training.png", "epoch", "loss")
        plots.plot_heatmaps([shown, shown], self.folder / "deeper" / "heatmaps.png")
        drawn = sorted(self.folder.rglob("*.png"))
        self.assertEqual(len(drawn), 5)
        for path in drawn:
            with Image.open(path) as image:
                self.assertGreater(len(image.convert("RGB").getcolors(1 << 20) or []), 20, path.name)

    def test_the_heat_lies_on_its_windows_centre(self) -> None:
        hu = np.full((128, 128), -1000, np.int16)
        heatmap = np.zeros((25, 25), np.float32)
        heatmap[4:7, 15:18] = 1
        site = (4 * 16 + 15.5, 4 * 5 + 15.5)
        plots.plot_heatmaps([plots.ShownSlice("", hu, {"a": heatmap}, [site])], self.folder / "h.png")
        with Image.open(self.folder / "h.png") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        right = pixels[:, pixels.shape[1] // 2 :]
        ring = np.argwhere((right[..., 2] > 200) & (right[..., 0] < 120))
        (top, left), (bottom, end) = ring.min(axis=0), ring.max(axis=0)
        inside = right[top:bottom, left:end]
        heat = np.argwhere(inside[..., 0] > inside[..., 2] + 20)
        # A pixel of the slice is 2.4 of the picture's; half of one is too much.
        np.testing.assert_allclose(heat.mean(axis=0), [(bottom - top) / 2, (end - left) / 2], atol=1.0)


if __name__ == "__main__":
    unittest.main()
