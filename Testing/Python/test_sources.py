"""Sources of CT on tiny trees of their shape, and the command that forges their scans."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import MediaStorageDirectoryStorage

import phantoms
from CTForgeryScanLib.errors import InputError, OutputError
from CTForgeryScanLib.hu import ras_matrix
from CTForgeryScanLib.volume import load_volume
from support import needs_shared_data, real_data
from training import forge, splits
from training.command import run_command
from training.forged_file import CHANGES_HU, mask_path, read_sites, site_record, write_forged
from training.forgers.registry import make_forger
from training.lung_sites import random_lung_place
from training.simulated_ct import Scanner
from training.sites import Site, ijk_of_lps
from training.sources import dicom_series, genuine_ctgan, luna16, shared_data, simulated
from training.sources.catalogue import read_untouched
from training.sources.simulated import SimulatedScan

SPACING = (0.7, 0.7, 2.5)


class InFolder(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)


class Places(unittest.TestCase):
    @settings(max_examples=50, deadline=None)
    @given(
        st.tuples(*(st.floats(0.4, 5.0),) * 3),
        st.tuples(*(st.floats(-400, 400),) * 3),
        st.tuples(*(st.floats(0, 300),) * 3),
        st.tuples(*(st.sampled_from((-1.0, 1.0)),) * 3),
        st.floats(-0.4, 0.4),
    )
    def test_millimetres_to_voxels_and_back(
        self,
        spacing: tuple[float, float, float],
        origin: tuple[float, float, float],
        ijk: tuple[float, float, float],
        signs: tuple[float, float, float],
        turn: float,
    ) -> None:
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        image = sitk.Image(2, 2, 2, sitk.sitkInt16)
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection((rotation * signs).ravel().tolist())
        lps = image.TransformContinuousIndexToPhysicalPoint(ijk)
        axes = np.reshape(image.GetDirection(), (3, 3)) * spacing
        np.testing.assert_allclose(ijk_of_lps(ras_matrix(axes, np.asarray(origin)), lps), ijk, atol=1e-6)

    def test_random_lung_is_lung(self) -> None:
        volume = load_volume((phantoms.chest(8, 384), phantoms.geometry()))
        rng = np.random.default_rng(0)
        for _ in range(20):
            i, j, k = random_lung_place(volume, rng, off_the_ends=3, inside=True)
            self.assertTrue(2 <= k < 6, "the middle third, for a short scan")
            self.assertLess(volume.hu[k, j - 2 : j + 3, i - 2 : i + 3].mean(), -750)
        with self.assertRaisesRegex(InputError, "No lung"):
            random_lung_place(load_volume((np.zeros((3, 64, 64), np.int16), np.eye(4))), rng, tries=5)


class Luna16Tree(InFolder):
    def scan(
        self,
        subset: int,
        uid: str,
        direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
        size: int = 256,
    ) -> sitk.Image:
        image = sitk.GetImageFromArray(phantoms.chest(20, size, seed=subset))
        image.SetSpacing(SPACING)
        image.SetOrigin((-120.5, 88.25, -300.0))
        image.SetDirection(direction)
        path = self.folder / f"subset{subset}" / f"{uid}.mhd"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(path))
        return image

    def table(
        self, *rows: tuple[object, ...], header: str = "seriesuid,coordX,coordY,coordZ,diameter_mm"
    ) -> None:
        lines = [header, *(",".join(str(value) for value in row) for row in rows)]
        (self.folder / "annotations.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Luna16(Luna16Tree):
    def test_nodules_lie_where_the_millimetres_say_also_in_flipped_scans(self) -> None:
        flipped = self.scan(1, "1.2.2", (-1, 0, 0, 0, -1, 0, 0, 0, 1))
        plain = self.scan(0, "1.2.1")
        ijk = (74, 128, 12)
        self.table(
            *(
                (uid, *image.TransformIndexToPhysicalPoint(ijk), 6.5)
                for uid, image in (("1.2.1", plain), ("1.2.2", flipped))
            ),
            ("1.2.1", 9999, 0, 0, 5),
            ("1.2.9", 0, 0, 0, 5),
        )
        listing = luna16.read(str(self.folder))
        self.assertEqual(
            [(scan.name, scan.patient) for scan in listing.scans], [("1.2.1", "1.2.1"), ("1.2.2", "1.2.2")]
        )
        for scan, image in zip(listing.scans, (plain, flipped), strict=True):
            (site,) = scan.sites
            np.testing.assert_allclose(site.ijk, ijk, atol=1e-6)
            self.assertEqual((site.kind, site.diameter_mm), ("nodule", 6.5))
            volume = scan.load()
            np.testing.assert_array_equal(volume.hu, sitk.GetArrayFromImage(image))
            lps = np.array(image.TransformIndexToPhysicalPoint(ijk))
            np.testing.assert_allclose(volume.ijk_to_ras_point(site.ijk), lps * (-1, -1, 1), atol=1e-6)
        missing, outside = listing.notes
        self.assertRegex(missing, "2 of 888 scans are there; missing altogether: subset2, subset3.*subset9")
        self.assertIn("1 annotated nodules lie outside", outside)

    def test_tables_that_say_whose_a_series_is(self) -> None:
        self.scan(0, "1.2.1")
        self.table()
        (self.folder / "patients.csv").write_text("seriesuid,patient\n1.2.1,LIDC-1\n", encoding="utf-8")
        self.assertEqual(luna16.read(str(self.folder)).scans[0].patient, "LIDC-1")
        (self.folder / "patients.csv").unlink()
        (self.folder / "metadata.csv").write_text(
            "Series UID,Subject ID\n1.2.1,LIDC-IDRI-2\n", encoding="utf-8"
        )
        self.assertEqual(luna16.read(str(self.folder)).scans[0].patient, "LIDC-IDRI-2")

    def test_what_is_wrong_is_said(self) -> None:
        for where, words in (
            (self.folder / "none", "no such folder"),
            (self.folder, "no subset with .mhd files"),
        ):
            with self.assertRaisesRegex(InputError, words):
                luna16.read(str(where))
        self.scan(0, "1.2.1")
        with self.assertRaisesRegex(InputError, "annotations.csv is missing"):
            luna16.read(str(self.folder))
        self.table(header="uid,x,y,z,d")
        with self.assertRaisesRegex(InputError, r"no column seriesuid, coordX.*it has uid, x, y, z, d"):
            luna16.read(str(self.folder))
        self.table(("1.2.1", "left", 0, 0, 5))
        with self.assertRaisesRegex(InputError, "'left' in the column coordX is not a number"):
            luna16.read(str(self.folder))
        self.table()
        self.scan(1, "1.2.2")
        (self.folder / "subset1" / "1.2.2.raw").unlink()
        listing = luna16.read(str(self.folder))
        self.assertEqual(len(listing.scans), 1)
        self.assertIn("1.2.2.mhd: its .raw file is missing", listing.notes[-1])
        self.scan(1, "1.2.2")
        raw = self.folder / "subset1" / "1.2.2.raw"
        raw.write_bytes(raw.read_bytes()[:-1])
        self.assertIn("1.2.2.mhd: its .raw file is cut short", luna16.read(str(self.folder)).notes[-1])


class Dicom(InFolder):
    def test_series_at_any_depth_of_patients_without_names(self) -> None:
        hu = phantoms.chest(12, 96)
        for n, (folder, patient) in enumerate((("a", "P1"), ("b/c/d", "P1"), ("b/e", "P2"))):
            phantoms.save_series(
                self.folder / folder, hu + n, SeriesInstanceUID=f"1.2.3.{n}", PatientID=patient
            )
        phantoms.save_series(self.folder / "scout", hu[:2], SeriesInstanceUID="1.2.3.9")
        (self.folder / "b" / "notes.txt").write_text("no DICOM")
        scans = dicom_series.read(str(self.folder)).scans
        self.assertEqual([int(scan.load().hu[0, 0, 0] - hu[0, 0, 0]) for scan in scans], [0, 1, 2])
        patients = [scan.patient for scan in scans]
        self.assertEqual(patients[0], patients[1])
        self.assertNotEqual(patients[0], patients[2])
        self.assertFalse(any("P1" in text for scan in scans for text in (scan.name, scan.patient)))
        with self.assertRaisesRegex(InputError, "no CT series"):
            dicom_series.read(str(self.folder / "scout"))

    def test_a_folder_of_two_patients_and_other_files(self) -> None:
        hu = phantoms.chest(12, 96)
        for patient in ("P1", "P2"):
            names = [f"{patient}-{k:02d}.dcm" for k in range(12)]
            uid = f"1.2.3.{patient[1]}"
            phantoms.save_series(self.folder / "cd", hu, names, SeriesInstanceUID=uid, PatientID=patient)
        directory = phantoms.dicom_slice(hu[0], 0, 1, Modality=None, PatientID=None)
        directory.file_meta.MediaStorageSOPClassUID = directory.SOPClassUID = MediaStorageDirectoryStorage
        del directory.PixelData
        phantoms.save(directory, self.folder / "cd" / "DICOMDIR")
        alone = [self.folder / name for name in ("a", "b")]
        for folder, patient in zip(alone, ("P1", "P2"), strict=True):
            phantoms.save_series(folder, hu, SeriesInstanceUID=f"1.9.{patient[1]}", PatientID=patient)
        found = {
            scan.load().header.series_uid: scan.patient for scan in dicom_series.read(str(self.folder)).scans
        }
        self.assertEqual(found["1.2.3.1"], found["1.9.1"])
        self.assertEqual(found["1.2.3.2"], found["1.9.2"])
        self.assertNotEqual(found["1.2.3.1"], found["1.2.3.2"])

    def test_the_genuine_set_as_published(self) -> None:
        for uuid in ("1003", "1280"):
            phantoms.save_series(self.folder / "CT_Scans" / "Experiment 1" / uuid, phantoms.chest(12, 96))
        table = self.folder / "labels_exp1.csv"
        table.write_text(
            "type,uuid,slice,x,y\nFB,1003,5,40,50\nTM,1003,2,60,48\nFM,1280,7,30,31\nTB,2000,1,1,1\n"
        )
        listing = genuine_ctgan.read(str(self.folder))
        kinds = {(scan.name, scan.patient): [(s.kind, s.ijk) for s in scan.sites] for scan in listing.scans}
        self.assertEqual(
            kinds,
            {
                ("1003", "ctgan-1003"): [("remove", (40, 50, 5)), ("nodule", (60, 48, 2))],
                ("1280", "ctgan-1280"): [("inject", (30, 31, 7))],
            },
        )
        self.assertEqual(listing.notes, ("1 labelled scans are not there: 2000.",))
        self.assertEqual(listing.scans[0].load().shape, (12, 96, 96))
        table.write_text("type,uuid,slice,x,y\nFB,1003,5,40,50\nTB,1280,7,30,31\n")
        with contextlib.redirect_stderr(io.StringIO()) as said:
            untouched = read_untouched("genuine_ctgan", str(self.folder))
        self.assertEqual([scan.name for scan in untouched], ["1280"])
        self.assertIn("forged already: 1003", said.getvalue())
        table.write_text("type,uuid,slice,x,y\nFB,1003,5,40,50\n")
        with self.assertRaisesRegex(InputError, "every scan .* is forged"):
            read_untouched("genuine_ctgan", str(self.folder))
        table.write_text("type,uuid,slice,x,y\nXX,1003,5,40,50\n")
        with self.assertRaisesRegex(InputError, "type 'XX' is not known"):
            genuine_ctgan.read(str(self.folder))
        table.write_text("kind,scan\n")
        with self.assertRaisesRegex(InputError, "no column type, uuid"):
            genuine_ctgan.read(str(self.folder))


class OtherSources(unittest.TestCase):
    def test_readers_marks_of_one_nodule_are_one_site(self) -> None:
        marks: list[shared_data.Marked] = [
            ((100.0, 100.0, 20.0), 10.0),
            ((150.0, 100.0, 20.0), 6.0),
            ((103.0, 100.0, 20.5), 14.0),
            ((100.0, 100.0, 30.0), 10.0),
        ]
        found = shared_data.merged(marks, (0.7, 0.7, 2.5))
        self.assertEqual(
            found, [((101.5, 100.0, 20.25), 12.0), ((150.0, 100.0, 20.0), 6.0), ((100.0, 100.0, 30.0), 10.0)]
        )

    @needs_shared_data
    def test_the_data_folder(self) -> None:
        scans = {scan.name: scan for scan in shared_data.read(str(real_data())).scans}
        self.assertEqual(len(scans), 15)
        self.assertEqual(len({scan.patient for scan in scans.values()}), 14)
        (nodule,) = scans["LIDC-IDRI-0001"].sites
        self.assertTrue(25 < nodule.diameter_mm < 35)

    def test_simulated_chests_know_their_nodules(self) -> None:
        scan = SimulatedScan(3, 2, Scanner(pixels=64, pixel_mm=5.2, views=30))
        self.assertEqual(scan.load().shape, (2, 64, 64))
        self.assertTrue(scan.sites and all(site.kind == "nodule" for site in scan.sites))
        self.assertEqual([s.name for s in simulated.read("2").scans], ["simulated-0", "simulated-1"])
        for wrong in ("0", "many"):
            with self.assertRaisesRegex(InputError, "number of simulated chests"):
                simulated.read(wrong)


class ForgedFiles(InFolder):
    def test_written_and_read_back_with_mark_mask_and_oblique_geometry(self) -> None:
        matrix = phantoms.geometry() @ np.array(
            [[0.96, -0.28, 0, 3], [0.28, 0.96, 0, -2], [0, 0, -1, 9], [0, 0, 0, 1.0]]
        )
        before = load_volume((phantoms.chest(24, 256), matrix))
        site = Site("x", (74.0, 128.0, 12.0), 9.0, "inject")
        forged = make_forger("renoise").forge(before, site, np.random.default_rng(0))
        path = self.folder / "deep" / "a.nrrd"
        write_forged(path, before, forged.hu, [site_record(matrix, forged)])
        back, mask = load_volume(path), sitk.GetArrayFromImage(sitk.ReadImage(str(mask_path(path))))
        np.testing.assert_array_equal(back.hu, forged.hu)
        np.testing.assert_allclose(back.ijk_to_ras, matrix, atol=1e-9)
        (record,) = read_sites(path)
        self.assertEqual(
            (record["kind"], record["ijk"], record["diameter_mm"]), ("inject", [74, 128, 12], 9.0)
        )
        np.testing.assert_allclose(record["ras"], before.ijk_to_ras_point(site.ijk), atol=0.01)
        difference = np.abs(forged.hu.astype(int) - before.hu)
        np.testing.assert_array_equal(mask, sum((difference >= hu).astype(int) for hu in CHANGES_HU))
        self.assertEqual(set(np.unique(mask)), {0, 1, 2, 3})
        with self.assertRaisesRegex(OutputError, "exists already"):
            write_forged(path, before, forged.hu, [])
        for name in ("a.dcm", "a", "a.nii.gz", "a.seg.nrrd"):
            with self.assertRaisesRegex(OutputError, "NRRD only"):
                write_forged(self.folder / name, before, forged.hu, [])
        with self.assertRaisesRegex(InputError, "not a volume that was marked"):
            read_sites(mask_path(path))


class Forge(Luna16Tree):
    def setUp(self) -> None:
        super().setUp()
        self.image = self.scan(0, "1.2.1", size=384)
        nodule = self.image.TransformIndexToPhysicalPoint((112, 192, 10))
        self.table(("1.2.1", *nodule, 9.0))
        self.out = self.folder / "forged"

    def forge(
        self, *more: str, forger: str = "renoise", source: str = "luna16", sites: int = 2
    ) -> tuple[int, str]:
        """The command's answer and what it said."""
        said = io.StringIO()
        command = ["--source", source, str(self.folder), "--forger", forger, "--sites", str(sites)]
        with (
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(said),
            self.assertRaises(SystemExit) as ended,
        ):
            run_command(lambda: forge.main([*command, "--out", str(self.out), *more]))
        return int(ended.exception.code or 0), said.getvalue()

    def rows(self) -> list[dict[str, str]]:
        with (self.out / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def test_a_run_that_was_stopped_goes_on_and_gives_the_same(self) -> None:
        self.assertEqual(self.forge()[0], 0)
        first, rows = {path.name: path.read_bytes() for path in self.out.iterdir()}, self.rows()
        untouched = sitk.GetArrayFromImage(self.image)
        for row in rows:
            path = self.out / row["volume"]
            forged = load_volume(path)
            (site,) = read_sites(path)
            self.assertEqual([row[axis] for axis in "ijk"], [str(at) for at in site["ijk"]])
            changed = np.argwhere(forged.hu != untouched)[:, ::-1]
            away = np.linalg.norm((changed - site["ijk"]) * SPACING, axis=1)
            self.assertLessEqual(away.max(), 0.75 * site["diameter_mm"] + 2.1)
            if row["kind"] == "remove":
                self.assertEqual((site["ijk"], site["diameter_mm"]), ([112, 192, 10], 9.0), "the real nodule")
        self.assertEqual({row["kind"] for row in rows}, {"inject", "remove"})
        last = self.out / rows[-1]["volume"]
        last.unlink()
        answer, said = self.forge()
        self.assertEqual(answer, 0)
        self.assertIn("1 of 2 volumes are there already", said)
        self.assertEqual({path.name: path.read_bytes() for path in self.out.iterdir()}, first)
        self.assertEqual(self.forge(sites=3)[0], 0)
        self.assertEqual(self.rows()[:2], rows)

    def test_several_sites_in_a_volume_lie_apart(self) -> None:
        self.assertEqual(self.forge("--each", "2", forger="self_blend", sites=3)[0], 0)
        rows = self.rows()
        self.assertEqual([row["volume"][-9:-5] for row in rows], ["0000", "0000", "0001", "0001"])
        first, second = ([int(row[axis]) for axis in "ijk"] for row in rows[:2])
        self.assertGreater(np.linalg.norm(np.subtract(first, second) * SPACING), 15)
        self.assertEqual(len(read_sites(self.out / rows[0]["volume"])), 2)

    def test_what_is_wrong_is_said_and_nothing_is_overwritten(self) -> None:
        self.out.mkdir()
        (self.out / "mine.txt").write_text("mine")
        for source, forger, more, words in (
            ("luna16", "renoise", (), "holds other files"),
            ("luna", "renoise", (), "no source 'luna'; choose one of luna16"),
            ("luna16", "gan", (), "no forger 'gan'"),
            ("luna16", "ctgan", (), "needs weights and none were given"),
            ("luna16", "renoise", ("--donor", "x.nrrd"), "only splice takes a donor"),
        ):
            answer, said = self.forge(*more, source=source, forger=forger)
            self.assertEqual(answer, 2)
            self.assertIn(words, said)
        self.assertEqual([path.name for path in self.out.iterdir()], ["mine.txt"])
        (self.out / "mine.txt").unlink()
        self.assertEqual(self.forge(sites=1)[0], 0)
        answer, said = self.forge("--seed", "7", sites=1)
        self.assertEqual(answer, 2)
        self.assertIn("made with other settings", said)

    def test_a_scan_that_the_forger_cannot_do_is_left_out_with_the_reason(self) -> None:
        self.image.SetSpacing((0.7, 0.7, 3.0))
        sitk.WriteImage(self.image, str(self.folder / "subset0" / "1.2.1.mhd"))
        answer, said = self.forge(forger="published_pasting", sites=1)
        self.assertEqual(answer, 1)
        self.assertRegex(said, r"Left out: 1.2.1: No place .*cannot work at a spacing of 3 mm")
        self.assertIn("0 of 1 volumes forged", said)
        self.assertEqual(self.rows(), [])

    def test_patients_of_a_source_are_dealt_into_folds(self) -> None:
        for n in range(1, 4):
            self.scan(n, f"1.2.1{n}", size=128)
        (self.folder / "patients.csv").write_text(
            "seriesuid,patient\n1.2.1,A\n1.2.11,A\n1.2.12,B\n1.2.13,C\n"
        )
        path = self.folder / "folds.csv"
        command = ["--source", "luna16", str(self.folder), "--out", str(path), "--folds"]
        with contextlib.redirect_stderr(io.StringIO()):  # it says that LUNA16 is not complete
            splits.main([*command, "3"])
            self.assertEqual(set(splits.read_folds(path)), {"A", "B", "C"})
            self.assertEqual(set(splits.read_folds(path).values()), {0, 1, 2})
            path.unlink()
            with self.assertRaisesRegex(InputError, "3 patients cannot be dealt into 5 folds"):
                splits.main([*command, "5"])


if __name__ == "__main__":
    unittest.main()
