"""The command line as a person meets it: exit statuses, sentences, files, progress and cancel."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk

import phantoms
from CTForgeryScanLib.__main__ import main
from CTForgeryScanLib.cards import DEFAULT_MODEL, find_model, models_folder
from CTForgeryScanLib.cascade import ScanResult, scan
from CTForgeryScanLib.report import write_results
from small_models import write_model
from support import ROOT


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue()


def write_nrrd(path: Path, hu: np.ndarray, *, z_mm: float = 2.5) -> Path:
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing([0.7, 0.7, z_mm][: image.GetDimension()] + [1.0] * (image.GetDimension() - 3))
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


class CommandLine(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.model = write_model(self.folder / "model")
        self.out = self.folder / "out"
        hu = phantoms.chest(slices=10, size=192)
        self.clean = write_nrrd(self.folder / "clean.nrrd", hu)
        hu[2:9, 100:112, 100:112] = 1000
        self.marked = write_nrrd(self.folder / "marked.nrrd", hu)

    def scan(self, *arguments: str | Path) -> tuple[int, str, str]:
        return run("scan", "--model", self.model, "--device", "cpu", "--progress", "none", *arguments)

    def test_two_inputs_two_folders_and_the_verdict_in_words(self) -> None:
        status, out, err = self.scan(self.marked, self.clean, "-o", self.out)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("Suspicious", out)
        self.assertIn("region 1 (cascade): slices 2-8", out)
        self.assertIn("No tampering found", out)
        self.assertIn("not a diagnosis", out)
        for name, verdict in [("marked", "suspicious"), ("clean", "no_tampering_found")]:
            files = sorted(p.name for p in (self.out / name).iterdir())
            self.assertEqual(
                files, ["heatmap.nrrd", "picture.png", "regions.seg.nrrd", "result.json", "slices.csv"]
            )
            self.assertEqual(json.loads((self.out / name / "result.json").read_text())["verdict"], verdict)
        self.assertEqual(sorted(p.name for p in self.out.iterdir()), ["clean", "marked"])

    def test_the_files_agree_with_each_other_and_with_the_ct(self) -> None:
        self.scan(self.marked, "-o", self.out)
        result = json.loads((self.out / "marked" / "result.json").read_text())
        (region,) = result["regions"]
        np.testing.assert_allclose(region["center_ijk"], [105.5, 105.5, 5], atol=1)
        ct = sitk.ReadImage(str(self.marked))
        lps = np.array(ct.TransformContinuousIndexToPhysicalPoint(region["center_ijk"]))
        np.testing.assert_allclose(region["center_ras"], lps * [-1, -1, 1], atol=1e-6)
        heatmap = sitk.ReadImage(str(self.out / "marked" / "heatmap.nrrd"))
        index = heatmap.TransformPhysicalPointToIndex(lps.tolist())
        self.assertGreater(heatmap[index], 0.5)
        labels = sitk.ReadImage(str(self.out / "marked" / "regions.seg.nrrd"))
        self.assertEqual(labels[index], 1)
        self.assertEqual(labels.GetMetaData("Segment0_LabelValue"), "1")
        with (self.out / "marked" / "slices.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([int(r["k"]) for r in rows if r["flagged"] == "1"], [2, 3, 4, 5, 6, 7, 8])
        self.assertEqual(len(result["slices"]), 10)

    def test_a_slice_range_keeps_the_numbers_of_the_whole(self) -> None:
        self.scan(self.marked, "-o", self.folder / "a")
        self.scan(self.marked, "-o", self.folder / "b", "--slices", "1:10")
        whole, part = (json.loads((self.folder / f / "marked" / "result.json").read_text()) for f in "ab")
        self.assertEqual(part["slices"], whole["slices"][1:10])
        (a,), (b,) = part["regions"], whole["regions"]
        for field in ("center_ijk", "center_ras", "extent_ijk", "slices", "peak_slice"):
            # A region is measured against the slices that were scanned, so its outline may move a little.
            np.testing.assert_allclose(a[field], b[field], atol=1, err_msg=field)

    def test_an_operating_point_is_taken(self) -> None:
        card = json.loads((self.model / "model.json").read_text(encoding="utf-8"))
        card["operating_points"]["standard"] |= {"slice_threshold": 1.1, "region_score": 1.1}
        (self.model / "model.json").write_text(json.dumps(card), encoding="utf-8")
        self.assertIn("No tampering found", self.scan(self.marked, "-o", self.out, "--no-evidence")[1])
        _, said, _ = self.scan(
            self.marked,
            "-o",
            self.out,
            "--no-evidence",
            "--operating-point",
            "sensitive",
            "--precision",
            "float32",
        )
        self.assertIn("Suspicious", said)
        result = json.loads((self.out / "marked" / "result.json").read_text(encoding="utf-8"))
        self.assertEqual(result["parameters"]["operating_point"], "sensitive")
        self.assertEqual((result["evidence"], result["provenance"]["precision"]), ([], "float32"))

    def test_ranges_open_at_one_end_and_one_series_of_several(self) -> None:
        hu = phantoms.chest(slices=8, size=192)
        phantoms.save_series(self.folder / "ct" / "x", hu)
        phantoms.save_series(
            self.folder / "ct" / "y", hu, SeriesInstanceUID=phantoms.SERIES_UID + ".7", SeriesNumber=7
        )
        for words, expected in ((":3", [0, 3]), ("6:", [6, 8])):
            status, _, err = self.scan(
                self.folder / "ct", "--series", "7", "--slices", words, "-o", self.out, "--no-evidence"
            )
            self.assertEqual(status, 0, err)
            result = json.loads((self.out / "ct" / "result.json").read_text(encoding="utf-8"))
            self.assertEqual(result["parameters"]["slices"], expected)
            self.assertEqual(result["input"]["series_uid"], phantoms.SERIES_UID + ".7")

    def test_json_lines(self) -> None:
        status, out, _ = run("scan", self.marked, "-o", self.out, "--model", self.model, "--progress", "json")
        events = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(status, 0)
        self.assertEqual(
            [(e["event"], e["k"], e["of"]) for e in events[:10]], [("slice", k, 10) for k in range(10)]
        )
        done = [e["done"] for e in events[10:-1] if e["event"] == "evidence"]
        self.assertEqual((len(done), done), (len(events) - 11, sorted(done)))
        self.assertEqual(done[-1], 1)
        self.assertGreater(events[3]["peak"], 0.9)
        self.assertEqual((events[-1]["event"], events[-1]["verdict"]), ("result", "suspicious"))

    def test_the_header_of_another_file_is_judged(self) -> None:
        """What a program hands over as NRRD is still refused for the compression of the DICOM it came from."""
        lossy = phantoms.save_series(self.folder / "lossy", phantoms.chest(1, 96), LossyImageCompression="01")
        status, out, _ = self.scan(self.clean, "-o", self.out, "--header", lossy[0])
        self.assertEqual(status, 0)
        self.assertIn("Not assessable", out)
        result = json.loads((self.out / "clean" / "result.json").read_text())
        self.assertEqual(result["input"]["series_uid"], phantoms.SERIES_UID)
        self.assertEqual(result["input"]["shape"], [10, 192, 192])
        shutil.rmtree(self.out)
        self.assert_refused([self.clean, "--header", self.clean], "clean.nrrd", "no DICOM")
        self.assert_refused([self.clean, "--header", self.folder / "no.dcm"], "no.dcm", "no DICOM")
        self.assert_refused([self.clean, "--live", self.folder / "no" / "live"], "live")

    def test_the_headers_of_all_files_of_a_series_are_judged(self) -> None:
        files = phantoms.save_series(self.folder / "series", phantoms.chest(10, 192), SOPInstanceUID="1.2.3")
        listing = self.folder / "headers.txt"
        listing.write_text("\n".join(map(str, [*files, self.folder / "gone.dcm"])), encoding="utf-8")
        self.assertEqual(self.scan(self.clean, "-o", self.out, "--header", listing)[0], 0)
        result = json.loads((self.out / "clean" / "result.json").read_text())
        (hint,) = [e for e in result["evidence"] if e["test"] == "repeated_identifiers"]
        self.assertTrue(hint["found"])
        shutil.rmtree(self.out)
        listing.write_text(str(self.clean))
        self.assert_refused([self.clean, "--header", listing], "no DICOM")

    def test_scanning_again_replaces_the_result(self) -> None:
        for _ in range(2):
            self.assertEqual(self.scan(self.clean, "-o", self.out)[0], 0)
            (self.out / "clean" / ".DS_Store").touch()  # a file manager looked at it
        self.assertEqual([p.name for p in self.out.iterdir()], ["clean"])

    def test_same_names_get_numbers(self) -> None:
        other = self.folder / "sub" / "clean.nrrd"
        other.parent.mkdir()
        shutil.copy(self.clean, other)
        self.scan(self.clean, other, "-o", self.out)
        self.assertEqual(sorted(p.name for p in self.out.iterdir()), ["clean", "clean-2"])

    def test_another_ct_of_the_same_name_does_not_replace_the_result(self) -> None:
        other = self.folder / "sub" / "clean.nrrd"
        other.parent.mkdir()
        shutil.copy(self.marked, other)
        for source in (self.clean, other, self.clean):
            self.scan(source, "-o", self.out)
        verdicts = {
            path.name: json.loads((path / "result.json").read_text())["verdict"]
            for path in self.out.iterdir()
        }
        self.assertEqual(verdicts, {"clean": "no_tampering_found", "clean-2": "suspicious"})

    def test_a_name_that_the_terminal_cannot_show_does_not_end_it(self) -> None:
        source = shutil.copy(self.clean, self.folder / "胸部.nrrd")
        raw = io.BytesIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(raw, "ascii")) as out:
            status = main(["scan", str(source), "-o", str(self.out), "--model", str(self.model)])
            out.flush()
        self.assertEqual(status, 0)
        self.assertIn(b"\\u80f8", raw.getvalue())
        self.assertTrue((self.out / "胸部" / "result.json").is_file())

    def test_what_is_wrong_for_all_inputs_is_said_at_once(self) -> None:
        self.assert_refused([self.clean, self.marked, "--operating-point", "loud"], "loud")
        self.assert_refused([self.clean, self.marked, "--device", "cuda:9"], "cuda:9")
        (self.folder / "file").touch()
        with mock.patch("CTForgeryScanLib.cascade.scan", side_effect=AssertionError("it was scanned")):
            status, _, err = self.scan(self.clean, "-o", self.folder / "file" / "out")
        self.assertEqual((status, err.count("\n")), (2, 1), err)

    def test_a_shipped_model_is_meant_whatever_lies_in_the_working_folder(self) -> None:
        own = shutil.copytree(self.model, self.folder / DEFAULT_MODEL)
        with contextlib.chdir(self.folder):
            self.assertEqual(find_model(DEFAULT_MODEL), models_folder() / DEFAULT_MODEL)
            self.assertEqual(find_model(f"./{DEFAULT_MODEL}").resolve(), own.resolve())

    def assert_refused(self, arguments: list[str | Path], *words: str, status: int = 2) -> None:
        """One sentence on stderr with these words, no traceback, nothing left under the output folder."""
        got, _, err = self.scan(*arguments, "-o", self.out)
        self.assertEqual(got, status, err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("ctforgeryscan: "), err)
        for word in words:
            self.assertIn(word, err)
        self.assertFalse(self.out.exists() and any(self.out.iterdir()), "something was left behind")

    def test_bad_inputs(self) -> None:
        empty = self.folder / "empty"
        empty.mkdir()
        cut = self.folder / "cut.nrrd"
        cut.write_bytes(self.clean.read_bytes()[:-50000])
        floats = np.zeros((4, 96, 96), np.float32)
        floats[2, 5, 5] = np.nan
        mr = phantoms.save_series(self.folder / "mr", phantoms.chest(3, 96), Modality="MR")[0].parent
        mixed = self.folder / "mixed"
        phantoms.save_series(mixed, phantoms.chest(3, 96))
        phantoms.save(phantoms.dicom_slice(phantoms.chest(1, 128)[0], -100.0, 9), mixed / "9.dcm")
        dicom = phantoms.save_series(self.folder / "cutdicom", phantoms.chest(3, 96))
        dicom[1].write_bytes(dicom[1].read_bytes()[:5000])
        colour = self.folder / "colour.nrrd"
        sitk.WriteImage(
            sitk.GetImageFromArray(np.zeros((4, 96, 96, 3), np.uint8), isVector=True), str(colour)
        )
        for name, path in {
            "missing": self.folder / "nowhere.nrrd",
            "empty": empty,
            "truncated NRRD": cut,
            "truncated DICOM": dicom[0].parent,
            "MR": mr,
            "colour": colour,
            "4-D": write_nrrd(self.folder / "four.nrrd", np.zeros((2, 3, 96, 96), np.int16)),
            "NaN": write_nrrd(self.folder / "nan.nrrd", floats),
            "mixed sizes": mixed,
            "20×20": write_nrrd(self.folder / "tiny.nrrd", np.zeros((4, 20, 20), np.int16)),
        }.items():
            with self.subTest(name):
                self.assert_refused([path], path.name)

    def test_bad_arguments(self) -> None:
        self.assert_refused([self.clean, "--slices", "5:900"], "5:900", "0:10")
        self.assert_refused([self.clean, "--device", "cuda:7"], "cuda:7", "--device")
        self.assert_refused([self.clean, "--precision", "float8"], "float8")
        self.assertEqual(self.scan(self.clean, "-o", self.out, "--slices", "7")[0], 2)
        self.assertEqual(run("scan", self.clean)[0], 2)

    def test_damaged_swapped_and_missing_models(self) -> None:
        detector = self.model / "detector.safetensors"
        good = detector.read_bytes()
        for name, content in {
            "flipped bit": good[:-1] + bytes([good[-1] ^ 1]),
            "cut": good[:100],
            "empty": b"",
        }.items():
            with self.subTest(name):
                detector.write_bytes(content)
                self.assert_refused([self.clean], "detector.safetensors", "SHA-256")
        shutil.copy(self.model / "classifier.safetensors", detector)
        self.assert_refused([self.clean], "SHA-256")
        (self.model / "model.json").write_text("{")
        self.assert_refused([self.clean], "model.json")
        status, _, err = run("scan", self.clean, "-o", self.out, "--model", "nonsense")
        self.assertEqual(status, 2)
        self.assertIn(DEFAULT_MODEL, err)

    def test_some_of_several_fail(self) -> None:
        status, out, err = self.scan(self.folder / "nowhere.nrrd", self.clean, "-o", self.out)
        self.assertEqual(status, 3)
        self.assertIn("nowhere.nrrd", err)
        self.assertIn("No tampering found", out)
        self.assertTrue((self.out / "clean" / "result.json").is_file())

    def test_a_name_that_can_be_none_ends_only_its_own_scan(self) -> None:
        status, out, err = self.scan("x" * 300, self.clean, "-o", self.out)
        self.assertEqual((status, err.count("\n")), (3, 1), err)
        self.assertIn("No tampering found", out)

    @unittest.skipIf(os.name == "nt", "Windows asks for a privilege to make links")
    def test_a_link_gives_its_own_name(self) -> None:
        link = self.folder / "patient7.nrrd"
        link.symlink_to(self.clean.rename(self.folder / "MD5E-s123--abcdef.nrrd"))
        self.assertEqual(self.scan(link, "-o", self.out)[0], 0)
        self.assertTrue((self.out / "patient7" / "result.json").is_file())

    @unittest.skipIf(os.name == "nt", "Windows has no such names")
    def test_an_output_whose_name_is_no_text(self) -> None:
        status, _, err = self.scan(self.clean, "-o", os.fsdecode(os.fsencode(self.folder) + b"/r\xe9sultats"))
        self.assertEqual(status, 2)
        self.assertIn("not valid text", err)

    def test_processes_that_write_at_once_keep_all_results(self) -> None:
        """Different CTs of one name, as ``xargs -P`` over ``*/CT`` scans them."""
        names = [f"{n}" for n in range(12)]
        results = []
        for n in names:
            found = scan((phantoms.chest(4, 64), phantoms.geometry()), model=self.model, device="cpu")
            results.append(replace(found, provenance={**found.provenance, "input_sha256": n}))
        together = threading.Barrier(len(results))

        def write(result: ScanResult) -> Path:
            together.wait()
            return write_results(result, self.out / "CT")

        with ThreadPoolExecutor(len(results)) as pool:
            places = list(pool.map(write, results))
        kept = [json.loads((p / "result.json").read_text())["input"]["sha256"] for p in places]
        self.assertEqual(kept, names)
        self.assertEqual(len(list(self.out.iterdir())), len(names))

    def test_debug_shows_the_traceback(self) -> None:
        _, _, err = self.scan(self.folder / "nowhere.nrrd", "-o", self.out, "--debug")
        self.assertIn("Traceback", err)

    @unittest.skipUnless(Path("/proc").is_dir(), "no /proc here to play a read-only place")
    def test_output_that_cannot_be_written(self) -> None:
        (self.folder / "file").write_text("not a folder")
        status, _, err = self.scan(self.clean, "-o", self.folder / "file")
        self.assertEqual((status, err.count("\n")), (2, 1), err)
        status, _, err = self.scan(self.clean, "-o", "/proc/nothing")
        self.assertEqual((status, err.count("\n")), (2, 1), err)

    def test_a_folder_that_is_no_result_is_kept(self) -> None:
        mine = self.out / "clean" / "mine.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("keep")
        with mock.patch("CTForgeryScanLib.cascade.scan", side_effect=AssertionError("it was scanned")):
            status, _, err = self.scan(self.clean, "-o", self.out)
        self.assertEqual(status, 2)
        self.assertIn("holds other things than a result", err)
        self.assertEqual(mine.read_text(), "keep")

    def test_pictures_of_ones_own_are_no_result(self) -> None:
        mine = self.out / "clean" / "picture.png"
        mine.parent.mkdir(parents=True)
        mine.write_text("keep")
        self.assertEqual(self.scan(self.clean, "-o", self.out)[0], 2)
        self.assertEqual(mine.read_text(), "keep")

    def test_somebody_elses_folder_is_passed_over_where_names_get_numbers(self) -> None:
        other = self.folder / "sub" / "clean.nrrd"
        other.parent.mkdir()
        shutil.copy(self.marked, other)
        mine = self.out / "clean-2" / "mine.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("keep")
        self.assertEqual(self.scan(self.clean, other, "-o", self.out)[0], 0)
        self.assertEqual(mine.read_text(), "keep")
        self.assertEqual(sorted(p.name for p in self.out.iterdir()), ["clean", "clean-2", "clean-3"])

    def test_what_a_file_manager_leaves_is_no_reason_to_refuse_but_other_hidden_files_are(self) -> None:
        place = self.out / "clean"
        place.mkdir(parents=True)
        (place / ".DS_Store").write_text("")
        self.assertEqual(self.scan(self.clean, "-o", self.out)[0], 0)
        (place / ".git").mkdir()
        self.assertEqual(self.scan(self.clean, "-o", self.out)[0], 2)
        self.assertTrue((place / ".git").is_dir())

    def test_not_assessable_is_said_and_not_scanned(self) -> None:
        folder = self.folder / "lossy"
        phantoms.save_series(folder, phantoms.chest(4, 192), LossyImageCompression="01")
        status, out, _ = self.scan(folder, "-o", self.out)
        self.assertEqual(status, 0)
        self.assertIn("Not assessable", out)
        result = json.loads((self.out / "lossy" / "result.json").read_text())
        self.assertEqual(
            (result["verdict"], result["slices"], result["probability"]), ("not_assessable", [], None)
        )

    def test_a_slice_alone(self) -> None:
        (path, *_) = phantoms.save_series(self.folder / "one", phantoms.chest(1, 192))
        self.assertEqual(self.scan(path, "-o", self.out)[0], 0)
        result = json.loads((self.out / path.stem / "result.json").read_text())
        self.assertEqual((len(result["slices"]), result["regions"]), (1, []))


class Process(unittest.TestCase):
    """What only a real process shows."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "CTForgeryScanLib", *map(str, arguments)]

    @unittest.skipIf(os.name == "nt", "Windows sends no SIGTERM")
    def test_cancel_ends_with_130_and_leaves_nothing(self) -> None:
        source = write_nrrd(self.folder / "long.nrrd", phantoms.chest(slices=200, size=192))
        command = self.command(
            "scan",
            source,
            "-o",
            self.folder / "out",
            "--model",
            write_model(self.folder / "m"),
            "--progress",
            "json",
        )
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        self.assertEqual(json.loads(process.stdout.readline())["k"], 0)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        _, err = process.communicate(timeout=20)
        self.assertLess(time.monotonic() - asked, 5)
        self.assertEqual(process.returncode, 130)
        self.assertIn("cancelled", err)
        self.assertNotIn("Traceback", err)
        self.assertFalse((self.folder / "out").exists())

    @unittest.skipIf(os.name == "nt", "Windows cannot limit what a process writes")
    def test_a_full_disk_leaves_the_earlier_result(self) -> None:
        import resource

        source = write_nrrd(self.folder / "ct.nrrd", phantoms.chest(slices=10, size=192))
        command = self.command(
            "scan",
            source,
            "-o",
            self.folder / "out",
            "--model",
            write_model(self.folder / "m"),
            "--progress",
            "none",
        )
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        before = {p.name: p.read_bytes() for p in (self.folder / "out" / "ct").iterdir()}
        # A process that may write no file above 8 kB stands for a disk that is full.
        full = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
        )
        self.assertEqual(full.returncode, 2, full.stderr)
        self.assertIn("cannot be written", full.stderr)
        self.assertNotIn("Traceback", full.stderr)
        self.assertEqual({p.name: p.read_bytes() for p in (self.folder / "out" / "ct").iterdir()}, before)
        self.assertEqual([p.name for p in (self.folder / "out").iterdir()], ["ct"])

    @unittest.skipIf(os.name == "nt", "Windows says so in another way")
    def test_a_reader_that_goes_away_gets_no_traceback(self) -> None:
        process = subprocess.Popen(
            self.command("models"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), 141)
        self.assertEqual(err, "")

    def test_help_does_not_wait_for_torch(self) -> None:
        code = (
            "import sys, CTForgeryScanLib.__main__ as m\n"
            "try: m.main(['scan', '--help'])\n"
            "except SystemExit: print('torch' in sys.modules)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        self.assertTrue(out.rstrip().endswith("False"))
        self.assertIn("exit status", out)


if __name__ == "__main__":
    unittest.main()
