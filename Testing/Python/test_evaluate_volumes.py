"""Forged volumes: what is on the site and what is elsewhere, summed up and kept with the detectors it is of."""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import phantoms

try:
    import matplotlib  # noqa: F401
    import sklearn  # noqa: F401
    import yaml  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: training needs the extra 'train'") from error

from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.regions import RegionRule
from CTForgeryScanLib.volume import Volume
from CTForgeryScanLib.windows import grid_shape
from small_models import bright_detector
from training.evaluate_volumes import judge, scan_forged
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.sites import Site
from training.volume_outcomes import Outcome, keep_outcomes, read_summaries, summary

RULE = RegionRule(location=2.0, scale=0.5)
FORGER = PublishedPasting(procedural_content)
VOLUME = Volume(np.zeros((60, 256, 256), np.int16), np.diag([0.7, 0.7, 2.5, 1.0]), "folder/series")
CHANGED = np.zeros(VOLUME.hu.shape, bool)
SITE = Site("series", (111, 111, 25), 0, "inject")


def hot(*places: tuple[int, float]) -> NDArray[np.float32]:
    """A heatmap at odds of 1 : 19, with squares of 9×9 windows in slices 18 … 33: (first row and column, p)."""
    p = np.full((60, *grid_shape(256, 256)), 0.05, np.float32)
    for at, value in places:
        p[18:34, at : at + 9, at : at + 9] = value
    return p


def outcome(*places: tuple[int, float], sites: Sequence[Site] = (SITE,)) -> Outcome:
    return judge(VOLUME, "patient", hot(*places), sites, CHANGED, FORGER, RULE, 0.99)


class EvaluateVolumes(unittest.TestCase):
    def test_a_place_is_on_the_site_or_elsewhere(self) -> None:
        on, off, both = outcome((20, 0.95)), outcome((40, 0.95)), outcome((20, 0.95), (40, 0.99))
        self.assertEqual([(s.found, s.peak_on_site) for s in on.sites], [(True, True)])
        self.assertEqual([(s.score, s.found, s.peak_on_site) for s in off.sites], [(0, False, False)])
        self.assertEqual([(s.found, s.peak_on_site) for s in both.sites], [(True, False)])
        self.assertEqual([of.false_regions for of in (on, off, both)], [0, 1, 1])
        # In other slices it is not on the site either.
        p = np.roll(hot((20, 0.95)), 26, axis=0)
        far = judge(VOLUME, "p", p, [SITE], CHANGED, FORGER, RULE, 0.99)
        self.assertEqual((far.sites[0].found, far.false_regions), (False, 1))
        # Nor is it wrong there where the forger changed it too.
        touched = judge(VOLUME, "p", p, [SITE], ~CHANGED, FORGER, RULE, 0.99)
        self.assertEqual((touched.sites[0].found, touched.false_regions, touched.elsewhere), (False, 0, ()))

    def test_a_volume_with_several_sites(self) -> None:
        other = replace(SITE, ijk=(191, 191, 25))
        forged = outcome((20, 0.95), (40, 0.99), sites=[SITE, other])
        self.assertEqual([(s.found, s.peak_on_site) for s in forged.sites], [(True, True)] * 2)
        self.assertEqual((forged.false_regions, forged.elsewhere), (0, ()))
        one = outcome((40, 0.95), sites=[SITE, other])
        self.assertEqual([s.found for s in one.sites], [False, True])
        self.assertEqual((one.places.hits.tolist(), one.places.sites), ([1], 2))
        told = summary([forged, one])
        self.assertEqual((told["volumes"], told["sites"], told["found"]), (2, 4, 3))
        self.assertEqual(told["sensitivity_at_1_8"], 0.75)

    def test_sums_and_sensitivity(self) -> None:
        found, missed, wrong = outcome((20, 0.95)), outcome(), outcome((20, 0.95), (40, 0.99))
        told = summary([found, missed])
        self.assertEqual((told["sites"], told["found"], told["false_regions"]), (2, 1, 0))
        self.assertEqual(told["sensitivity_at_1_8"], 0.5)
        # One wrong place in two scans that is hotter than every site leaves nothing to be found at 1/8.
        self.assertEqual(summary([found, wrong])["sensitivity_at_1_8"], 0)

    def test_what_is_kept_is_of_its_detectors(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            runs = Path(folder)
            self.assertEqual(read_summaries(runs), {})
            detector = runs / "fold-0" / "detector.safetensors"
            detector.parent.mkdir()
            detector.write_bytes(b"one")
            (runs / "folds.json").write_text("{}")
            keep_outcomes({"splice, inject": [outcome((20, 0.95))]}, runs)
            keep_outcomes({"splice, remove": [outcome()]}, runs)
            kept = read_summaries(runs)
            self.assertEqual(
                {name: row["found"] for name, row in kept.items()}, {"splice, inject": 1, "splice, remove": 0}
            )
            (runs / "folds.json").write_text('{"0": "other thresholds"}')
            self.assertEqual(read_summaries(runs), {})
            (runs / "folds.json").write_text("{}")
            self.assertEqual(len(read_summaries(runs)), 2)
            detector.write_bytes(b"another")
            self.assertEqual(read_summaries(runs), {})

    def test_only_what_was_changed_is_swept_again(self) -> None:
        volume = Volume(phantoms.thick_walled_chest(40), np.diag([1.6, 1.6, 2.5, 1.0]), "phantom")
        untouched = np.full((40, *grid_shape(192, 192)), -1, np.float32)
        sites, changed, p = scan_forged(
            volume, untouched, FORGER, ["inject", "inject"], Sweeper(bright_detector(), "cpu"), seed=0
        )
        again = (p != -1).any(axis=(1, 2))
        first, second = (np.array(site.ijk) for site in sites)
        self.assertGreater(np.linalg.norm((first - second) * volume.spacing_mm), 32)
        self.assertTrue(again[[site.voxel[2] for site in sites]].all())
        np.testing.assert_array_equal(again, changed.any(axis=(1, 2)))
        self.assertFalse(again.all())
        self.assertTrue((p[~again] == -1).all() and (p[again] >= 0).all())


if __name__ == "__main__":
    unittest.main()
