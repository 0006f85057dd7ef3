"""The shipped model end to end: the bundled sample, golden numbers, both doors, real CT where it is at hand."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk

import CTForgeryScanLib
import golden
import phantoms
from CTForgeryScanLib.__main__ import main
from CTForgeryScanLib.assessable import Assessment
from CTForgeryScanLib.cards import DEFAULT_MODEL, list_models, models_folder
from CTForgeryScanLib.cascade import Progress, ScanResult, SliceResult, _unjudged
from CTForgeryScanLib.errors import ModelError, ScanCancelled
from CTForgeryScanLib.heatmap import Heatmap, Sweeper
from CTForgeryScanLib.models import load_model
from CTForgeryScanLib.picture import _View, draw, heatmap_on_pixels, overlay
from CTForgeryScanLib.regions import CASCADE, Region
from CTForgeryScanLib.volume import Volume, load_volume
from CTForgeryScanLib.windows import CENTRE, STRIDE
from small_models import write_model
from support import ROOT, SAMPLE, needs_shared_data, real_data

REAL_CT = ROOT / ".cache" / "lung1_image.nrrd"


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    provenance = {k: v for k, v in result["provenance"].items() if k != "seconds"}
    return json.loads(json.dumps(result | {"provenance": provenance}))


class Sample(unittest.TestCase):
    result: ScanResult

    @classmethod
    def setUpClass(cls) -> None:
        cls.result = CTForgeryScanLib.scan(SAMPLE, device="cpu")

    def test_what_was_not_judged_is_not_called_clean(self) -> None:
        whole = load_volume(SAMPLE)
        # So small a field of view about the site that the detector takes nothing in it for a chest.
        crop = replace(whole, hu=whole.hu[:, 148:276, 46:174])
        result = CTForgeryScanLib.scan(crop, device="cpu", evidence=False)
        self.assertEqual((result.verdict, result.probability), ("not_assessable", None))
        self.assertIn("too_little_lung", [reason.code for reason in result.assessment.reasons])
        self.assertIsNone(result.heatmap)

    def test_finds_the_forged_site_and_nothing_else(self) -> None:
        (site,) = json.loads(sitk.ReadImage(str(SAMPLE)).GetMetaData("CTForgeryScan_forged"))
        self.assertEqual(self.result.verdict, "suspicious")
        self.assertEqual([region.source for region in self.result.regions], ["cascade", "copied_noise"])
        for region in self.result.regions:
            distance = np.subtract(region.center_ras, site["ras"])
            self.assertLess(np.linalg.norm(distance[:2]), 24 * self.result.volume.spacing_mm[0])
            self.assertLessEqual(region.slices[0], site["ijk"][2])
            self.assertGreaterEqual(region.slices[1], site["ijk"][2])

    def test_golden_numbers(self) -> None:
        written = json.loads(golden.FILE.read_text(encoding="utf-8"))
        found = golden.numbers_of(self.result.to_dict())
        for exact in ("model_sha256", "flagged"):
            self.assertEqual(found[exact], written[exact])
        # bfloat16, float16 and float32 may differ by 0.02.
        for near in ("peak_score", "probability"):
            np.testing.assert_allclose(found[near], written[near], atol=0.02)
        for region, expected in zip(found["regions"], written["regions"], strict=True):
            self.assertEqual((region["source"], region["slices"]), (expected["source"], expected["slices"]))
            np.testing.assert_allclose(region["center_ijk"], expected["center_ijk"], atol=1)
            self.assertAlmostEqual(region["score"], expected["score"], delta=0.001)

    def test_console_and_command_line_give_the_same_numbers(self) -> None:
        with tempfile.TemporaryDirectory() as out:
            status = main(["scan", str(SAMPLE), "-o", out, "--device", "cpu", "--progress", "none"])
            written = json.loads((Path(out) / SAMPLE.stem / "result.json").read_text(encoding="utf-8"))
            heatmap = sitk.GetArrayFromImage(sitk.ReadImage(f"{out}/{SAMPLE.stem}/heatmap.nrrd"))
        self.assertEqual(status, 0)
        self.assertEqual(without_time(written), without_time(self.result.to_dict()))
        assert self.result.heatmap is not None
        np.testing.assert_array_equal(heatmap, self.result.heatmap.p)

    def test_bfloat16_stays_close_to_float32(self) -> None:
        volume, detector = load_volume(SAMPLE), load_model().detector
        middle = volume.hu[12:14]
        exact = np.stack(list(Sweeper(detector, "cpu", "float32").sweep(middle)))
        rounded = np.stack(list(Sweeper(detector, "cpu", "bfloat16").sweep(middle)))
        np.testing.assert_allclose(rounded, exact, atol=0.02)


class Doors(unittest.TestCase):
    """What any model does, on a phantom."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.model = load_model(write_model(Path(folder.name)))
        hu = phantoms.chest(slices=10, size=192)
        hu[2:9, 100:112, 100:112] = 1000
        self.source = (hu, phantoms.geometry())

    def test_array_image_and_file_give_the_same_result(self) -> None:
        image = sitk.GetImageFromArray(self.source[0])
        image.SetSpacing([0.7, 0.7, 2.5])
        image.SetOrigin([-120.0, -110.0, -300.0])
        with tempfile.TemporaryDirectory() as folder:
            sitk.WriteImage(image, f"{folder}/ct.nrrd")
            results = [
                CTForgeryScanLib.scan(s, model=self.model, device="cpu").to_dict()
                for s in (self.source, image, f"{folder}/ct.nrrd")
            ]
        for result in results:
            del result["input"]["path"]
        self.assertEqual(*map(without_time, results[:2]))
        self.assertEqual(*map(without_time, results[1:]))
        self.assertEqual(len(results[0]["regions"]), 1)

    def test_progress_tells_every_slice_and_cancel_stops(self) -> None:
        seen: list[Progress] = []
        result = CTForgeryScanLib.scan(
            self.source, model=self.model, device="cpu", on_progress=seen.append, slices=(1, 5)
        )
        self.assertEqual([(p.k, p.done, p.of) for p in seen], [(k, k, 4) for k in range(1, 5)])
        np.testing.assert_array_equal(np.stack([p.heatmap for p in seen]), result.heatmap.p)  # type: ignore[union-attr]
        self.assertEqual(seen[-1].seconds_left, 0)
        with self.assertRaises(ScanCancelled):
            CTForgeryScanLib.scan(self.source, model=self.model, should_cancel=lambda: True)

    def test_an_operating_point_changes_what_is_flagged_and_no_probability(self) -> None:
        self.model.card["operating_points"]["standard"] |= {"slice_threshold": 1.1, "region_score": 1.1}
        standard, sensitive = (
            CTForgeryScanLib.scan(
                self.source, model=self.model, operating_point=point, device="cpu", evidence=False
            )
            for point in (None, "sensitive")
        )
        self.assertEqual([s.probability for s in standard.slices], [s.probability for s in sensitive.slices])
        self.assertEqual((standard.verdict, len(standard.regions)), ("no_tampering_found", 0))
        self.assertEqual((sensitive.verdict, len(sensitive.regions)), ("suspicious", 1))
        self.assertFalse([s.k for s in standard.slices if s.flagged])
        self.assertLessEqual({*range(2, 9)}, {s.k for s in sensitive.slices if s.flagged})
        self.assertEqual(sensitive.parameters["operating_point"], "sensitive")
        with self.assertRaisesRegex(ModelError, "'loud': give one of standard, sensitive"):
            CTForgeryScanLib.scan(self.source, model=self.model, operating_point="loud")

    def test_importing_the_package_does_not_import_torch(self) -> None:
        import subprocess
        import sys

        code = (
            "import CTForgeryScanLib.cards, sys; print(CTForgeryScanLib.__version__, 'torch' in sys.modules)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        self.assertEqual(out.stdout.split(), [CTForgeryScanLib.__version__, "False"])


class Cards(unittest.TestCase):
    def test_every_shipped_model_can_scan(self) -> None:
        hu = load_volume(SAMPLE).hu[15:16]
        for card in list_models():
            with self.subTest(card["name"]):
                (p,) = Sweeper(load_model(card["name"]).detector, "cpu").sweep(hu)
                self.assertGreater(p.max(), 0.5)

    def test_the_card_says_what_a_user_asks(self) -> None:
        for card in list_models():
            for field in (
                "description",
                "intended_use",
                "training_data",
                "limits",
                "summary",
                "results",
                "validated",
            ):
                self.assertTrue(card[field], field)
        out, said = io.StringIO(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            # One's own model whose card is not complete yet hides none of the others.
            for name in ("ctgan-v1", DEFAULT_MODEL):
                (Path(folder) / name).symlink_to(models_folder() / name)
            own = write_model(Path(folder) / "own") / "model.json"
            card = json.loads(own.read_text())
            del card["validated"], card["description"]
            own.write_text(json.dumps(card))
            with (
                mock.patch("CTForgeryScanLib.cards.models_folder", lambda: Path(folder)),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(said),
            ):
                self.assertEqual(main(["models"]), 0)
                self.assertEqual([card["name"] for card in list_models()], ["ctgan-v1", DEFAULT_MODEL])
        self.assertIn("complete it with training.evaluate", said.getvalue())
        for words in ("ctgan-v1", DEFAULT_MODEL, "trained on:", "limits:", "untouched series with a region"):
            self.assertIn(words, out.getvalue())


class Shown(unittest.TestCase):
    def test_the_picture_is_hot_where_the_window_is(self) -> None:
        p = np.zeros((41, 41), np.float32)
        p[22, 29] = 1
        on_pixels = heatmap_on_pixels(p, (192, 192))
        y, x = (np.average(grid, weights=on_pixels) for grid in np.indices(on_pixels.shape))
        np.testing.assert_allclose((y, x), (4 * 22 + 15.5, 4 * 29 + 15.5), atol=1e-4)
        hu = np.full((192, 192), -850, np.int16)
        rows, columns = np.nonzero((overlay(hu, p) != overlay(hu, 0 * p)).any(axis=2))
        np.testing.assert_allclose((rows.mean(), columns.mean()), (4 * 22 + 15.5, 4 * 29 + 15.5), atol=1e-6)

    def test_the_picture_looks_the_same_however_the_slices_are_stored(self) -> None:
        rng = np.random.default_rng(0)
        hu = rng.integers(-900, 200, (1, 192, 192)).astype(np.int16)
        p = np.full((1, 41, 41), 0.05, np.float32)
        p[0, 5:12, 20:30] = 0.9
        pictures = []
        for i, j in (
            (1, 1),
            (-1, 1),
            (1, -1),
            (-1, -1),
        ):  # i to the left and j to posterior, or the other way
            columns, rows = (95, 134) if i > 0 else (57, 96), (35, 62) if j > 0 else (129, 156)
            extent = (columns, rows, (0, 0))
            region = Region(1, CASCADE, 0.999, (0, 0, 0), (0, 0, 0), extent, (1, 1, 1), (0, 0), 0, True)
            turned = np.s_[:, ::j, ::i]
            matrix = np.diag([-0.7 * i, -0.7 * j, 2.5, 1.0])
            result = ScanResult(
                volume=Volume(np.ascontiguousarray(hu[turned]), matrix, "test"),
                assessment=Assessment(True, ()),
                verdict="suspicious",
                probability=0.999,
                regions=(region,),
                slices=(SliceResult(0, 0.999, True, 0.9, None),),
                heatmap=Heatmap(np.ascontiguousarray(p[turned]), np.eye(4)),
                labels=None,
                parameters={"slice_threshold": 0.5},
                provenance={},
                slices_of_input=1,
            )
            pictures.append(np.asarray(draw(result)))
        for picture in pictures[1:]:
            np.testing.assert_array_equal(picture, pictures[0])
        # A slice that is not turned has its first column on the left: the patient's right.
        self.assertEqual(_View.of(np.diag([-1.0, -1.0, 1.0, 1.0])), _View(False, False, "R", "L", "A"))
        coronal = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
        self.assertEqual(_View.of(coronal), _View(False, False, "R", "L", "S"))

    def test_slices_that_were_passed_over_are_said(self) -> None:
        volume = load_volume((phantoms.chest(10, 192), phantoms.geometry()))
        p = np.zeros((10, 41, 41), np.float32)
        p[:4, 10:30, 10:30] = 0.1
        said = _unjudged(volume, Heatmap(p, np.eye(4)))
        assert said is not None
        self.assertEqual((said.code, said.severity), ("mostly_unjudged", "warn"))
        self.assertIn("judged 4 and passed over 6", said.text)
        p[4] = p[0]
        self.assertIsNone(_unjudged(volume, Heatmap(p, np.eye(4))))


class RealCT(unittest.TestCase):
    @unittest.skipUnless(REAL_CT.is_file(), "the public CT is not here: make demo fetches it")
    def test_an_untouched_ct_with_a_tumour_is_clean(self) -> None:
        result = CTForgeryScanLib.scan(REAL_CT, device="cpu", precision="float32")  # as make demo
        self.assertEqual((result.verdict, result.regions), ("no_tampering_found", ()))

    @needs_shared_data
    def test_genuine_forged_slices_are_hot_at_their_sites(self) -> None:
        # These slices trained the shipped weights: this tests that the program runs them, not how good they are.
        data = real_data()
        rows = list(csv.DictReader((data / "ctgan" / "labels.csv").read_text(encoding="utf-8").splitlines()))[
            ::9
        ]
        sweeper = Sweeper(load_model().detector, "cpu")
        on_site = 0
        for row in rows:
            (p,) = sweeper.sweep(load_volume(data / "ctgan" / row["file"]).hu)
            r, c = np.unravel_index(np.argmax(p), p.shape)
            place = (STRIDE * c + CENTRE, STRIDE * r + CENTRE)
            on_site += bool(np.hypot(place[0] - float(row["x"]), place[1] - float(row["y"])) < 24)
        self.assertGreaterEqual(on_site, len(rows) - 1)


if __name__ == "__main__":
    unittest.main()
