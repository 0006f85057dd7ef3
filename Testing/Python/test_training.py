"""The offline side: folds by patient, crops and their targets, training that learns and resumes, honest figures."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import tempfile
import unittest
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.stats import gumbel_r

import phantoms
from support import ROOT, needs_shared_data, real_data

try:
    import sklearn  # noqa: F401
    import tensorboard  # noqa: F401
    import yaml  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: training needs the extra 'train'") from error

from CTForgeryScanLib.cards import OperatingPoint
from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.places import place_logits
from CTForgeryScanLib.regions import RegionRule
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.blending import blend_site, splice, starve, window_distance
from training.config import Config, FalseAlarms, read_config
from training.crops import BLENDED, CROP, GENUINE, CropSampler, Mix
from training.data import read_slices
from training.evaluate import Judged, peak_on_site, point_costs, series_regions, slice_scores
from training.experiment import training_of
from training.fit_slice_classifier import _widening
from training.hard_places import OF_A_PATIENT, mark_hard_places
from training.made_slices import made_slices, pastings
from training.out_of_fold import load_detector, out_of_fold_heatmaps
from training.progress import progress
from training.slices import Slice, SliceSite
from training.splits import check_folds, make_folds, read_folds
from training.train_detector import train

RULE = RegionRule(location=2.0, scale=0.5)


def slices(patients: int = 4, size: int = 256) -> list[Slice]:
    """Per patient one untouched slice and one whose site at (x 80, y 128) is plainly repainted."""
    found = []
    for n in range(patients):
        hu = phantoms.chest(slices=2, size=size, seed=n)
        hu[1, 112:145, 64:97] = -860
        site = SliceSite(80, 128, 41, 0.0, "remove" if n % 2 else "inject")
        found.append(Slice(f"a{n}", f"clean-{n}", f"a{n}", 0, hu[0], 0.7, lesions=((170.0, 128.0),)))
        found.append(Slice(f"b{n}", f"forged-{n}", f"b{n}", 0, hu[1], 0.7, forged=(site,)))
    return found


class Folds(unittest.TestCase):
    def test_every_patient_has_one_fold_and_forgeries_are_spread(self) -> None:
        fold_of = make_folds(slices(10), folds=5, seed=3)
        self.assertEqual(len(fold_of), 20)
        forged = [fold_of[f"forged-{n}"] for n in range(10)]
        self.assertEqual(sorted(forged), sorted([*range(5), *range(5)]))

    def test_same_seed_same_folds(self) -> None:
        self.assertEqual(make_folds(slices(6), 3, 0), make_folds(slices(6), 3, 0))

    @needs_shared_data
    def test_the_checked_in_file_holds_every_patient(self) -> None:
        data = real_data()
        checked_in = read_folds(ROOT / "training" / "configs" / "five-folds.csv")
        untouched = {
            row["patient"]
            for table in ("ct/cases.csv", "pristine_slices/slices.csv")
            for row in csv.DictReader((data / table).read_text(encoding="utf-8").splitlines())
        }
        self.assertEqual({p for p in checked_in if not p.startswith("ctgan-")}, untouched)
        self.assertEqual(len(checked_in) - len(untouched), 33)


class MadeSites(unittest.TestCase):
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10**6))
    def test_blending_and_splicing_leave_the_rest_alone(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        crop = phantoms.chest(1, 256, seed=1)[0, 72:184, 20:132].astype(np.float32)
        y, x = np.indices(crop.shape)
        far = np.maximum(abs(y - 50), abs(x - 50)) > 1.3 * 15 + 1
        for changed in (
            blend_site(crop, 15, (50, 50), rng),
            splice(crop, crop[::-1], 15, (50, 50), rng),
        ):
            np.testing.assert_array_equal(changed[far], crop[far])
            self.assertTrue((changed != crop).any())

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6))
    def test_streaks_of_starvation_are_long_along_the_rows(self, seed: int) -> None:
        noise = starve(np.zeros((5, 96, 96), np.float32), np.random.default_rng(seed))
        self.assertTrue(10 <= noise.std() <= 60.1)
        grain = {axis: float((noise * np.roll(noise, 2, axis)).mean() / noise.var()) for axis in (0, 1, 2)}
        self.assertGreater(grain[2], 0.25)
        self.assertLess(max(abs(grain[0]), abs(grain[1])), 0.15)

    def test_window_distance(self) -> None:
        distance = window_distance((21, 21), (15.5, 35.5))
        self.assertEqual(distance[0, 5], 0)
        self.assertEqual(distance[2, 5], 8)
        self.assertEqual(distance[0, 0], 20)


class MadeSlices(unittest.TestCase):
    def test_sites_of_a_series_are_forged_beside_their_twins(self) -> None:
        hu = phantoms.chest(slices=30, size=256)
        nodule = (80.0, 128.0)
        series = [Slice(f"a/{k}", "a", "a", k, s, 0.7, 2.5, lesions=(nodule,)) for k, s in enumerate(hu)]
        alone = Slice("b", "b", "b", 0, hu[0], 0.7)
        made = made_slices([*series, alone], pastings(None), sites=8, seed=0)
        self.assertEqual({s.patient for s in made}, {"a"})
        self.assertEqual({s.kind for s in made}, {"inject", "remove"})
        for s in made:
            twin = series[s.k].hu
            np.testing.assert_array_equal(s.twin, twin)
            (site,) = s.forged
            far = np.hypot(*np.ogrid[-site.y : 256 - site.y, -site.x : 256 - site.x]) > site.block
            np.testing.assert_array_equal(s.hu[far], twin[far])
            self.assertTrue((s.hu != twin).any())
            # A slice beside the site's own counts as forged only where that can be seen.
            x, y = int(site.x), int(site.y)
            about = np.s_[y - 10 : y + 11, x - 10 : x + 11]
            change = np.abs(s.hu[about].astype(float) - twin[about]).mean()
            self.assertTrue(site.offset_mm == 0 or change >= 20, (s.name, change))
        removed = {(s.forged[0].x, s.forged[0].y) for s in made if s.kind == "remove"}
        self.assertIn(nodule, removed)

    def test_a_starved_series_is_forged_in_its_noise(self) -> None:
        hu = phantoms.chest(slices=30, size=256)
        series = [Slice(f"a/{k}", "a", "a", k, s, 0.7, 2.5) for k, s in enumerate(hu)]
        made = made_slices(series, pastings(None), sites=4, seed=0, starved=1.0)
        self.assertTrue(made)
        for s in made:
            assert s.twin is not None
            (site,) = s.forged
            far = np.hypot(*np.ogrid[-site.y : 256 - site.y, -site.x : 256 - site.x]) > site.block
            np.testing.assert_array_equal(s.hu[far], s.twin[far])
            added = s.twin.astype(float) - hu[s.k]
            self.assertGreater(np.std(added), 9)


class HardPlaces(unittest.TestCase):
    def test_the_hottest_untouched_places_of_a_patient_are_marked(self) -> None:
        torch.manual_seed(0)
        detector = LocalDetector(16).eval()
        volume = phantoms.chest(slices=OF_A_PATIENT + 4, size=128)
        series = [Slice(f"a/{k}", "a", "a", k, hu, 0.7, 2.5) for k, hu in enumerate(volume)]
        site = SliceSite(64, 64, 41, 0.0, "inject")
        marked = mark_hard_places(
            [*series, Slice("b", "b", "b", 0, volume[0], 0.7, forged=(site,))], detector
        )
        self.assertFalse(marked[-1].hot)
        self.assertEqual([s.name for s in marked], [*(s.name for s in series), "b"])
        heat = {s.name: place_logits(next(Sweeper(detector).sweep(s.hu[None]))) for s in series}
        colder = [heat[s.name].max() for s in marked[:-1] if not s.hot]
        self.assertEqual(len(colder), 4)
        for s in marked[:-1]:
            for x, y in s.hot:
                at = heat[s.name][round((y - CENTRE) / STRIDE), round((x - CENTRE) / STRIDE)]
                self.assertEqual(at, heat[s.name].max())
                self.assertGreaterEqual(at, max(colder))

    def test_crops_show_them(self) -> None:
        hu = phantoms.chest(slices=1, size=256)[0]
        hu[60:64, 180:184] = 2500
        none = {f.name: 0 for f in fields(Mix)}
        marked = [Slice("a", "a", "a", 0, hu, 0.7, hot=((182.0, 62.0),)), *slices()]
        crops, target = CropSampler(marked, Mix(**none | {"hard": 4}), seed=0).batch(0)
        self.assertTrue((crops.max(axis=(1, 2, 3)) > 2400).all())
        self.assertFalse(target.any())


class Crops(unittest.TestCase):
    def test_targets_mark_the_site_and_nothing_near_it_is_called_untouched(self) -> None:
        mix = Mix(
            genuine=4,
            genuine_elsewhere=0,
            spliced=0,
            blended=0,
            lesions=0,
            untouched=4,
            treated=0,
            floor=0,
        )
        hu, target = CropSampler(slices(), mix, seed=0).batch(0)
        self.assertEqual(hu.shape, (8, 1, CROP, CROP))
        self.assertEqual(target.shape, (8, 2, 21, 21))
        self.assertTrue((target[:4, GENUINE] == 1).any(axis=(1, 2)).all())
        self.assertFalse((target[:4, BLENDED] == 1).any())
        self.assertTrue((target[4:] == 0).all())
        for crop, wanted in zip(hu[:4, 0], target[:4, GENUINE], strict=True):
            for r, c in np.argwhere(wanted == 1):
                flat = crop[4 * r + 12 : 4 * r + 20, 4 * c + 12 : 4 * c + 20]
                self.assertLess(flat.std(), 12, "a positive window's centre is not in the repainted square")

    def test_a_forged_slice_of_a_series_that_is_there_as_a_whole_is_never_averaged_with_it(self) -> None:
        none = {f.name: 0 for f in fields(Mix)}
        mix = replace(Mix(**none), genuine=40, untouched=1, thick=1.0)
        untouched = phantoms.chest(slices=6, size=256)
        series = [Slice(f"s/{k}", "s", "s", k, hu, 0.7, 2.5) for k, hu in enumerate(untouched)]
        hu = np.full_like(untouched[2], -860)
        forged = Slice("s/forged", "s", "s", 2, hu, 0.7, forged=(SliceSite(80, 128, 41, 0.0, "inject"),))
        crops, _ = CropSampler([*series, forged], mix, seed=0).batch(0)
        for crop in crops[:40, 0]:
            self.assertEqual(crop.std(), 0)

    def test_every_kind_of_crop_is_drawn(self) -> None:
        mix = Mix()
        hu, target = CropSampler(slices(), mix, seed=1).batch(0)
        self.assertEqual(len(hu), mix.total)
        self.assertTrue(np.isfinite(hu).all())
        self.assertTrue(((target == 1).sum(axis=(2, 3)) > 0).any(axis=0).all())


class Training(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        mix = Mix(genuine=3, genuine_elsewhere=1, spliced=1, blended=1, lesions=1, untouched=2, treated=0)
        # Narrower ones crash torch 2.13's CPU convolutions in the backward pass.
        self.config = Config("test", "none", width=16, steps=60, learning_rate=1e-2, mix=mix)

    def test_it_learns_what_is_plain(self) -> None:
        train(slices(), self.config, self.folder)
        with (self.folder / "metrics.csv").open() as file:
            (row,) = csv.DictReader(file)
        self.assertLess(float(row["genuine_positive"]), 0.6)
        self.assertLess(float(row["genuine_negative"]), 0.6)

    def test_a_killed_training_goes_on_and_another_configuration_is_refused(self) -> None:
        config = replace(self.config, steps=4, average_after=0.25)
        unbroken = train(slices(), config, self.folder / "unbroken")
        draw, steps = CropSampler.batch, list[int]()

        def killed_at_the_last(sampler: CropSampler, step: int) -> Any:
            steps.append(step)
            if steps == [0, 1, 2, 3]:
                raise KeyboardInterrupt
            return draw(sampler, step)

        with (
            mock.patch("training.train_detector._CHECKPOINT_EVERY", 2),
            mock.patch.object(CropSampler, "batch", killed_at_the_last),
        ):
            with self.assertRaises(KeyboardInterrupt):
                train(slices(), config, self.folder)
            finished = train(slices(), config, self.folder)
        self.assertEqual(steps[:6], [0, 1, 2, 3, 2, 3])
        torch.testing.assert_close(finished.state_dict(), unbroken.state_dict(), rtol=0, atol=0)
        self.assertFalse(finished.training)
        with self.assertRaisesRegex(InputError, "another configuration"):
            train(slices(), replace(config, width=8), self.folder)
        checkpoint = self.folder / "checkpoint.safetensors"
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
        with self.assertRaisesRegex(InputError, "is damaged .*: remove it"):
            train(slices(), config, self.folder)

    def test_the_weights_of_the_last_steps_are_averaged(self) -> None:
        config = replace(self.config, steps=4, average_after=0.5)
        after = {}
        for steps in (3, 4):
            with mock.patch("training.train_detector._CHECKPOINT_EVERY", steps):
                trained = train(slices(), config, self.folder / str(steps))
            after[steps] = load_file(self.folder / str(steps) / "checkpoint.safetensors")
        name = "trunk.0.0.weight"
        third, last = (of["network/" + name] for of in after.values())
        self.assertGreater((third - last).abs().max().item(), 0)
        torch.testing.assert_close(trained.state_dict()[name], (third + last) / 2)
        # Batch norms are of the averaged weights: measured anew, not of any step.
        name = "trunk.0.1.running_mean"
        self.assertFalse(torch.equal(trained.state_dict()[name], after[4]["network/" + name]))

    def test_it_begins_with_the_detector_that_it_is_given(self) -> None:
        rng = np.random.default_rng(4)
        start = {
            name: torch.from_numpy(rng.normal(size=tuple(v.shape))).to(v.dtype)
            for name, v in LocalDetector(self.config.width).state_dict().items()
        }
        unchanged = train(slices(), replace(self.config, steps=0), self.folder, start=start)
        torch.testing.assert_close(unchanged.state_dict(), start)
        with self.assertRaisesRegex(InputError, "another shape"):
            train(slices(), replace(self.config, half_turn=True, width=32), self.folder / "wide", start=start)

    def test_configuration_files(self) -> None:
        config = read_config(ROOT / "training" / "configs" / "ctgan-v1.yaml")
        self.assertIn("TCGA-17-Z013", config.never_train)
        wrong = self.folder / "wrong.yaml"
        wrong.write_text("name: x\nfolds: y\nlerning_rate: 1\nmix: {genuin: 2}\n")
        with self.assertRaisesRegex(InputError, "lerning_rate, mix.genuin"):
            read_config(wrong)
        with self.assertRaisesRegex(InputError, "cannot be read"):
            read_config(self.folder / "none.yaml")
        for text, words in (
            ("name: [", "is no YAML"),
            ("", "holds no settings"),
            ("name: x", "missing settings .folds"),
        ):
            wrong.write_text(text)
            with self.assertRaisesRegex(InputError, words):
                read_config(wrong)
        for setting, words in (
            ("learning_rate: 1e-3", "learning_rate is '1e-3', not a number"),
            ("steps: 1.5", "steps is 1.5, not a whole number"),
            ("half_turn: 1", "half_turn is 1, not true or false"),
            ("mix: {made: true}", "made is True, not a whole number"),
            ("mix:", "mix is None, not a table of settings"),
            ("never_train: TCGA-17-Z013", "never_train is 'TCGA-17-Z013', not a list of texts"),
            ("false_alarms: {strict: {in_100_scans: 1}}", "missing settings .in_100_slices"),
        ):
            wrong.write_text(f"name: x\nfolds: y\n{setting}\n")
            with self.assertRaisesRegex(InputError, words):
                read_config(wrong)
        wrong.write_text("name: x\nfolds: y\nfalse_alarms: {strict: {in_100_scans: 1, in_100_slices: 0.5}}\n")
        self.assertEqual(read_config(wrong).false_alarms, {"strict": FalseAlarms(1, 0.5)})
        table = self.folder / "folds.csv"
        with self.assertRaisesRegex(InputError, "cannot be read"):
            read_folds(table)
        table.write_text("patient,fold\nclean-0,0.7\n")
        with self.assertRaisesRegex(InputError, "whole numbers"):
            read_folds(table)
        table.write_text("patient,fold\nclean-0,0\n")
        with self.assertRaisesRegex(InputError, "no fold for .* training.splits"):
            check_folds(read_folds(table), slices(), table)
        nothing = Mix(genuine=0, genuine_elsewhere=0, spliced=0, blended=0, lesions=0, untouched=1)
        for mix in (replace(nothing, genuine=1), replace(nothing, spliced=1)):
            with self.assertRaisesRegex(InputError, "no forged slices"):
                CropSampler([s for s in slices() if not s.forged], mix, 0)
        with self.assertRaisesRegex(InputError, r"ctgan/labels.csv"):
            read_slices(self.folder)


class Progress(unittest.TestCase):
    def test_it_tells_how_far_it_is(self) -> None:
        with mock.patch("training.progress._EVERY_S", 0), contextlib.redirect_stdout(io.StringIO()) as said:
            self.assertEqual(list(progress("abc", "sweeping")), ["a", "b", "c"])
        self.assertRegex(said.getvalue(), r"\Asweeping: 1/3, about 0.0 min left\nsweeping: 2/3, .*\n\Z")


class OutOfFold(unittest.TestCase):
    def test_the_folds_that_are_checked_in_are_of_their_configuration(self) -> None:
        (folds,) = (ROOT / "training" / "folds").iterdir()
        path = ROOT / "training" / "configs" / f"{folds.name}.yaml"
        config = read_config(path)
        training = training_of(config, read_folds(path.parent / config.folds))
        for fold in folds.glob("fold-*"):
            self.assertTrue(load_detector(fold / "detector.safetensors", training).half_turn)
            with self.assertRaisesRegex(InputError, "another configuration"):
                load_detector(fold / "detector.safetensors", replace(training, seed=0))

    def test_kept_heatmaps_are_of_the_detector_that_is_there(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            slices = [Slice("a", "a", "a", 0, phantoms.chest(1, 160)[0], 0.7)]
            maps: list[Any] = []
            for seed, hu in ((0, 0), (0, 0), (1, 0), (1, 5)):
                slices[0].hu[0, 0] = hu
                torch.manual_seed(seed)
                detector = LocalDetector(8)
                path = Path(folder, "fold-0", "detector.safetensors")
                path.parent.mkdir(exist_ok=True)
                if len(maps) in (
                    0,
                    2,
                ):  # the order of a file's facts, and so its checksum, is not always the same
                    facts = {"config": json.dumps(detector.config), "training": "{}"}
                    save_file(detector.state_dict(), path, facts)
                kept = path.with_name("heatmaps.safetensors")
                before = kept.stat().st_mtime_ns if kept.exists() else 0
                maps.append(out_of_fold_heatmaps(slices, {"a": 0}, Path(folder))["a"])
                self.assertEqual(kept.stat().st_mtime_ns == before, len(maps) == 2)
            with self.assertRaisesRegex(InputError, "another configuration or other folds"):
                out_of_fold_heatmaps(slices, {"a": 0}, Path(folder), Config("x", "y"))
            np.testing.assert_array_equal(maps[0], maps[1])
            self.assertTrue((maps[1] != maps[2]).any())


class RegionScores(unittest.TestCase):
    def test_the_rule_of_few_patients_holds_for_the_next(self) -> None:
        fitted = [gumbel_r.fit(values) for values in gumbel_r.rvs(size=(2000, 9), random_state=1)]
        location, scale = np.transpose(fitted)
        following = gumbel_r.rvs(size=2000, random_state=2)
        below = {
            widening: np.mean(following < location + widening * scale * gumbel_r.ppf(0.99))
            for widening in (1, _widening(9))
        }
        self.assertLess(below[1], 0.98)
        self.assertAlmostEqual(below[_widening(9)], 0.99, delta=0.007)


class Figures(unittest.TestCase):
    def judged(self, name: str, peak_at: tuple[int, int], p: float, *, forged: bool, flagged: bool) -> Judged:
        site = (SliceSite(4 * 30 + 15.5, 4 * 20 + 15.5, 59, 0.0, "inject"),) if forged else ()
        heatmap = np.zeros((121, 121), np.float32)
        heatmap[peak_at] = p
        empty = np.zeros((512, 512), np.int16)
        point = OperatingPoint("test", slice_threshold=p if flagged else 1.1, region_score=0.99)
        return Judged(Slice(name, name, name, 0, empty, 0.7, forged=site), heatmap, p, "0", point, RULE)

    def test_hand_made_case(self) -> None:
        judged = [
            self.judged("hit", (20, 30), 0.9, forged=True, flagged=True),
            self.judged("near", (20, 36), 0.8, forged=True, flagged=False),
            self.judged("miss", (20, 37), 0.4, forged=True, flagged=False),
            self.judged("clean", (5, 5), 0.5, forged=False, flagged=False),
            self.judged("false", (5, 5), 0.85, forged=False, flagged=True),
        ]
        peak = peak_on_site(judged)
        self.assertEqual((peak["on_own_site"], peak["of"], peak["not_on_own_site_px"]), (2, 3, {"miss": 28}))
        scores = slice_scores(judged)
        # Pairs ranked rightly: 0.9 over both, 0.8 over one, 0.4 over none: 3 of 6.
        self.assertAlmostEqual(scores["auc"], 0.5)
        self.assertEqual((scores["untouched_flagged"], scores["untouched"]), (1, 2))
        self.assertAlmostEqual(scores["inject"]["f1"], 0.4)
        self.assertEqual((scores["inject"]["found"], scores["inject"]["of"]), (1, 3))
        costs = point_costs(scores, {"series": 4, "series_with_region": ["s"]})
        self.assertEqual((costs["forged_flagged"], costs["forged"]), (1, 3))
        self.assertEqual((costs["untouched_flagged"], costs["untouched"]), (1, 2))
        self.assertEqual((costs["series_with_region"], costs["series"]), (1, 4))

    def test_untouched_series(self) -> None:
        cold = np.full((121, 121), 0.05, np.float32)
        warm = cold.copy()
        warm[16:25, 26:35] = 0.95
        point = OperatingPoint("test", slice_threshold=0.95, region_score=0.99)
        members = []
        for k in range(40):
            hot = 3 <= k < 13
            of_slice = Slice(
                f"s/{k}",
                "s",
                "s",
                k,
                np.zeros((512, 512), np.int16),
                0.7,
                2.5,
                lesions=((139.5, 99.5),) if k == 5 else (),
            )
            members.append(Judged(of_slice, warm if hot else cold, 0.97 if k == 5 else 0.1, "0", point, RULE))
        found = series_regions(members)
        self.assertEqual(
            (found["series_with_region"], found["slices"], found["slices_flagged"]), (["s"], 40, 10)
        )
        self.assertEqual(found["lesion_slices_called_forged"], 1)


if __name__ == "__main__":
    unittest.main()
