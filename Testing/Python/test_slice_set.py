"""From a LUNA16 folder to a detector: slices forged, stored, read and trained on."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import phantoms

try:
    import tensorboard  # noqa: F401
    import yaml
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: training needs the extra 'train'") from error

from CTForgeryScanLib import scan
from CTForgeryScanLib.errors import InputError, OutputError
from CTForgeryScanLib.models import load_model
from support import ROOT
from training import evaluate, fit_slice_classifier, slice_set, splits, train_detector
from training.data import read_slices
from training.experiment import Experiment
from training.forgers.copy_move import CopyMove
from training.out_of_fold import load_detector
from training.slice_set import Turn, paired_slices
from training.slices import Slice
from training.sources.catalogue import of_unseen, read_sources
from training.sources.luna16 import read
from training.splits import read_folds
from training.stored_slices import records_path

SPACING = (1.6, 1.6, 2.5)
SCANS = 10


class FromGenuineScans(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))  # it says that LUNA16 is not complete
        self.genuine = self.folder / "genuine"
        for uuid in ("1003", "1280"):
            phantoms.save_series(self.genuine / "CT_Scans" / uuid, phantoms.chest(12, 96))
        self.label("FB,1003,5,40,50", "FM,1003,6,60,48", "TM,1003,2,60,48", "TB,1280,7,30,31")
        self.source = ["--source", "genuine_ctgan", str(self.genuine)]

    def label(self, *rows: str) -> None:
        (self.genuine / "labels_exp1.csv").write_text("\n".join(["type,uuid,slice,x,y", *rows]) + "\n")

    def make(self, *more: str) -> list[Slice]:
        slice_set.main([*self.source, "--out", str(self.folder / "slices"), *more])
        return read_slices(self.folder / "slices")

    def test_forged_scans_give_the_slices_about_their_sites_and_untouched_ones_all(self) -> None:
        slices = self.make()
        forged = [s for s in slices if s.forged]
        self.assertEqual([s.k for s in forged], [3, 4, 5, 6, 7, 4, 5, 6, 7, 8])
        self.assertEqual({s.patient for s in forged}, {"ctgan-1003"})
        # Each is of its own site first; the other one reaches it too.
        self.assertEqual([[site.kind for site in s.forged] for s in forged[:5]], [["remove", "inject"]] * 5)
        self.assertEqual([(s.forged[0].x, s.forged[0].y) for s in forged[5:]], [(60, 48)] * 5)
        spacing = read_sources([("genuine_ctgan", str(self.genuine))])[0].load().spacing_mm[2]
        np.testing.assert_allclose([s.forged[0].offset_mm / spacing for s in forged], [2, 1, 0, 1, 2] * 2)
        untouched = [s for s in slices if not s.forged]
        self.assertEqual([(s.patient, s.k) for s in untouched], [("ctgan-1280", k) for k in range(12)])
        splits.main([*self.source, "--out", str(self.folder / "folds.csv"), "--folds", "2"])
        self.assertEqual(set(read_folds(self.folder / "folds.csv")), {"ctgan-1003", "ctgan-1280"})

    def test_beside_scans_of_another_source_that_are_forged_now(self) -> None:
        luna16 = phantoms.save_luna16(self.folder / "LUNA16", 2, SPACING, "1.2.3,72,152,25,10")
        slices = self.make(
            "--source", "luna16", str(luna16), "--forger", "copy_move", "--sites", "1", "--whole", "0"
        )
        forged = {series: sum(s.series == series for s in slices if s.forged) for series in ("1.2.0", "1003")}
        self.assertEqual(forged, {"1.2.0": 5, "1003": 10})

    def test_what_is_refused(self) -> None:
        with self.assertRaisesRegex(InputError, "2 scans in common, such as 1003: give each once"):
            self.make(*self.source)
        self.label("TM,1003,2,60,48", "TB,1280,7,30,31")
        with self.assertRaisesRegex(InputError, "name a --forger"):
            self.make()
        self.assertFalse((self.folder / "slices").exists())


class FromLuna16(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.slices = self.folder / "slices"
        self.luna16 = phantoms.save_luna16(self.folder / "LUNA16", SCANS, SPACING, "1.2.3,72,152,25,10")
        self.source = ["--source", "luna16", str(self.luna16)]
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))  # it says that LUNA16 is not complete

    def make(self, *more: str) -> None:
        forgers = ["--forger", "published_pasting", "--forger", "copy_move"]
        slice_set.main([*self.source, *forgers, "--out", str(self.slices), *more])

    def test_a_slice_that_was_left_as_it_was_is_no_forged_one(self) -> None:
        scan = read(str(self.luna16)).scans[0]
        volume = scan.load()
        matrix = volume.ijk_to_ras.copy()
        matrix[:3, 2] *= 8 / 2.5  # slices 8 mm apart, of which a site touches few
        thick = replace(volume, ijk_to_ras=matrix)
        slices = paired_slices(scan, thick, [(CopyMove(), "remove")] * 3, np.random.default_rng(0))
        forged = [s for s in slices if s.forged]
        self.assertTrue(forged)
        self.assertLess(len(forged), 15)
        for s in forged:
            self.assertTrue((s.hu != thick.hu[s.k]).any(), s.name)

    def test_a_detector_is_trained_on_it(self) -> None:
        self.make("--sites", "2", "--whole", "6")
        splits.main([*self.source, "--out", str(self.folder / "folds.csv")])
        config = self.folder / "mine.yaml"
        mix = {"genuine": 2, "genuine_elsewhere": 1, "spliced": 1, "blended": 1, "lesions": 1, "untouched": 2}
        # Narrower networks crash torch 2.13's CPU convolutions in the backward pass.
        given = {"name": "mine", "folds": "folds.csv", "width": 16, "steps": 2, "mix": mix}
        config.write_text(yaml.safe_dump(given), encoding="utf-8")
        runs = self.folder / "runs"
        places = ["--config", str(config), "--data", str(self.slices), "--runs", str(runs)]
        train_detector.main([*places, "--fold", "0", "--device", "cpu"])
        load_detector(runs / "fold-0" / "detector.safetensors")
        for fold in ("9", "x"):
            with self.assertRaisesRegex(InputError, f"no fold {fold}: give some of 0, "):
                train_detector.main([*places, "--fold", fold])
        folds = self.folder / "folds.csv"
        dealt = folds.read_text()
        with self.assertRaisesRegex(InputError, "another --out"):
            splits.main([*self.source, "--out", str(folds), "--seed", "1"])
        folds.unlink()
        splits.main([*self.source, "--out", str(folds), "--seed", "1"])
        with self.assertRaisesRegex(InputError, "other folds"):
            train_detector.main([*places, "--fold", "0"])
        folds.write_text(dealt)
        with (
            mock.patch.object(Experiment, "data", "of other slices"),
            self.assertRaisesRegex(InputError, "trained on other slices"),
        ):
            train_detector.main([*places, "--fold", "0"])
        config.write_text(config.read_text() + "seed: 9\n")
        with self.assertRaisesRegex(InputError, "trained by another configuration"):
            train_detector.main([*places, "--fold", "0"])
        with self.assertRaisesRegex(InputError, "mine.card.yaml' is missing"):
            evaluate.main(places)

    def test_from_folds_to_a_model_that_scans_and_what_is_refused_on_the_way(self) -> None:
        self.make("--sites", "1", "--whole", str(SCANS))
        splits.main([*self.source, "--out", str(self.folder / "folds.csv"), "--folds", "3"])
        mix = {"genuine": 2, "genuine_elsewhere": 1, "spliced": 1, "blended": 1, "lesions": 0, "untouched": 2}
        given = {"name": "mine", "folds": "folds.csv", "width": 16, "steps": 1, "mix": mix}
        places = self.experiment(given)
        train_detector.main([*places, "--fold", "0", "1", "2", "all", "--device", "cpu"])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            fit_slice_classifier.main(places)
            words = (ROOT / evaluate.TEMPLATE).read_text()
            card = self.folder / "mine.card.yaml"
            card.write_text(words)
            with self.assertRaisesRegex(InputError, "still holds TODO"):
                evaluate.main(places)
            card.write_text(words.replace("[TODO, TODO]", "[0.5, 1.0]").replace("TODO", "some"))
            evaluate.main(places)
        self.assertIn("untouched series with a region", said.getvalue())
        runs = self.folder / "runs" / "mine"
        model = load_model(runs / "mine")
        self.assertEqual(model.card["results"]["slices"]["untouched"], SCANS * (5 + 27))
        self.assertEqual(list(model.card["results"]["operating_points"]), ["standard", "sensitive"])
        chest = (phantoms.thick_walled_chest(), phantoms.geometry((0.9, 0.9, 2.5)))
        self.assertEqual(len(scan(chest, model=model, device="cpu", evidence=False).slices), 27)

        shutil.rmtree(runs / "mine")  # folds alone can be judged, too
        with contextlib.redirect_stdout(io.StringIO()) as said:
            evaluate.main(places)
        self.assertIn("There is no model in", said.getvalue())
        detector = runs / "fold-1" / "detector.safetensors"
        with safe_open(detector, "pt") as file:
            facts = file.metadata()
        save_file({name: 1.01 * values for name, values in load_file(detector).items()}, detector, facts)
        with self.assertRaisesRegex(InputError, "another detector than fold 1 has now"):
            evaluate.main(places)
        detector.write_bytes(b"damaged")
        with self.assertRaisesRegex(InputError, "is damaged .*: remove it"):
            load_detector(detector)
        further = [*self.experiment(given | {"name": "further", "start_from": "mine"}), "--fold", "all"]
        with self.assertRaisesRegex(InputError, "needs --start"):
            train_detector.main(further)
        train_detector.main([*further, "--start", str(runs), "--device", "cpu"])
        other = self.experiment(given | {"name": "other", "start_from": "another"})
        with self.assertRaisesRegex(InputError, "of another model .*: give another --start"):
            train_detector.main([*other, "--start", str(runs)])

    def experiment(self, given: dict[str, Any]) -> list[str]:
        """Write a configuration and return the arguments of its trainings."""
        config = self.folder / f"{given['name']}.yaml"
        config.write_text(yaml.safe_dump(given), encoding="utf-8")
        runs = self.folder / "runs" / given["name"]
        return ["--config", str(config), "--data", str(self.slices), "--runs", str(runs)]

    def test_slices_of_a_set(self) -> None:
        self.make("--sites", "2", "--whole", "3")
        slices = read_slices(self.slices)
        forged = [s for s in slices if s.forged]
        series = [s for s in slices if s.between_mm]
        self.assertEqual((len(forged), len(slices) - len(forged) - len(series)), (2 * 5 * SCANS,) * 2)
        self.assertEqual(len({s.series for s in series}), 3)
        self.assertEqual({s.kind for s in forged}, {"inject", "remove"})
        volumes = {scan.name: scan.load() for scan in read(str(self.luna16)).scans}
        for s in slices:
            self.assertEqual((s.hu != volumes[s.series].hu[s.k]).any(), bool(s.forged), s.name)
        self.assertFalse([s for s in read_slices(self.slices, frozenset({"1.2.3"})) if s.patient == "1.2.3"])

        names = [s.name for s in slices]
        (self.slices / "finished").unlink()
        with self.assertRaisesRegex(InputError, "is not finished: give training.slice_set again"):
            read_slices(self.slices)
        records_path(self.slices, "1.2.4").unlink()
        self.make("--sites", "2", "--whole", "3")
        self.assertEqual([s.name for s in read_slices(self.slices)], names)
        with self.assertRaisesRegex(OutputError, "other settings"):
            self.make("--sites", "3", "--whole", "3")
        (self.slices / "1.2.4.slices.npy").write_bytes(b"damaged")
        with self.assertRaisesRegex(InputError, "give training.slice_set again"):
            read_slices(self.slices)

    def test_a_nodule_that_readers_marked_is_known_in_its_slices(self) -> None:
        (scan,) = [scan for scan in read(str(self.luna16)).scans if scan.sites]
        marked = {s.k: s.lesions for s in slice_set.untouched_slices(scan, scan.load()) if s.lesions}
        np.testing.assert_allclose(list(marked.values()), [[(45, 95)]] * 5, atol=0.5)
        self.assertEqual(sorted(marked), [8, 9, 10, 11, 12])

    def test_every_other_removal_removes_a_nodule_where_there_are_some(self) -> None:
        (scan,) = [scan for scan in read(str(self.luna16)).scans if scan.sites]
        turns: list[Turn] = [(CopyMove(), "remove")] * 12
        pairs = paired_slices(scan, scan.load(), turns, np.random.default_rng(0))
        at = {(s.name.split("/")[1], s.forged[0].x, s.forged[0].y) for s in pairs if s.forged}
        of_nodule = sum((x, y) == scan.sites[0].voxel[:2] for _, x, y in at)
        self.assertIn(of_nodule, range(3, 10))

    def test_patients_whom_a_generator_learnt_from_are_left_out_on_request(self) -> None:
        scans = read(str(self.luna16)).scans
        seen = {scans[0].patient, scans[4].patient}
        self.assertEqual(of_unseen(scans, seen, leave_out=False), scans)
        left = of_unseen(scans, seen, leave_out=True)
        self.assertEqual(len(left), SCANS - 2)
        self.assertFalse(seen & {scan.patient for scan in left})
        with self.assertRaisesRegex(InputError, "every patient"):
            of_unseen(scans[:1], seen, leave_out=True)

    def test_a_site_without_a_place_is_said_and_left_out_alone(self) -> None:
        scan = read(str(self.luna16)).scans[0]
        turns: list[Turn] = [(CopyMove(reach=50), "remove"), (CopyMove(), "remove")]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            pairs = paired_slices(scan, scan.load(), turns, np.random.default_rng(0))
        self.assertRegex(said.getvalue(), r"^Left out: 1\.2\.0: No place to forge was found.*\n$")
        self.assertEqual(sum(bool(s.forged) for s in pairs), 5)


if __name__ == "__main__":
    unittest.main()
