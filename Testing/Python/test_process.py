"""The background worker: what it says arrives, and it ends with all its children, whoever ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk

import phantoms
from CTForgeryScanLib.process import Worker, make_folder, process_lives
from small_models import write_model
from support import ROOT

posix_only = unittest.skipIf(os.name == "nt", "Windows has no signals and no scripts that run by themselves")


class WorkerTest(unittest.TestCase):
    """Each test starts real processes; the scan is long enough not to end by itself."""

    model: Path
    long_ct: Path

    @classmethod
    def setUpClass(cls) -> None:
        shared = Path(tempfile.mkdtemp(prefix="Grüße von π "))
        cls.addClassCleanup(shutil.rmtree, shared)
        cls.model = write_model(shared / "Modell ä")
        cls.long_ct = shared / "lange Aufnahme ß.nrrd"
        image = sitk.GetImageFromArray(phantoms.chest(slices=400, size=128))
        image.SetSpacing([0.7, 0.7, 2.5])
        sitk.WriteImage(image, str(cls.long_ct))

    def setUp(self) -> None:
        self.folder = make_folder()
        self.addCleanup(shutil.rmtree, self.folder)

    def scan(
        self, *arguments: str | Path, source: Path | None = None, python: str = sys.executable
    ) -> Worker:
        command = ["scan", source or self.long_ct, "-o", self.folder / "out", "--model", self.model]
        words = [str(a) for a in (*command, "--device", "cpu", "--progress", "json", *arguments)]
        worker = Worker(words, self.folder, python=python)
        self.addCleanup(worker.stop)
        return worker

    def first_slice(self, worker: Worker) -> list[dict[str, Any]]:
        """Wait until the scan proper runs."""
        end = time.monotonic() + 60
        while time.monotonic() < end and worker.outcome is None:
            if events := worker.poll():
                return events
            time.sleep(0.02)
        raise AssertionError(f"no slice was scanned: {worker.outcome} {worker.log.read_text()}")

    def test_events_live_heatmap_and_result_arrive(self) -> None:
        live = self.folder / "live.f32"
        worker = self.scan("--slices", "3:9", "--live", live)
        events: list[dict[str, Any]] = []
        end = time.monotonic() + 120
        while worker.outcome is None and time.monotonic() < end:
            events += worker.poll()
            time.sleep(0.01)
        assert worker.outcome is not None, "it does not end"
        self.assertEqual(worker.outcome.status, "done", worker.log.read_text())
        self.assertEqual([e["k"] for e in events if e["event"] == "slice"], [*range(3, 9)])
        self.assertEqual(events[-1]["event"], "result")
        heatmap = sitk.GetArrayFromImage(sitk.ReadImage(str(Path(events[-1]["folder"]) / "heatmap.nrrd")))
        np.testing.assert_array_equal(np.fromfile(live, "<f4").reshape(heatmap.shape), heatmap)
        self.assertEqual(worker.poll(), [])

    def test_what_the_worker_refuses_is_said_in_its_words(self) -> None:
        outcome = self.scan(source=self.folder / "nowhere.nrrd").wait()
        self.assertEqual((outcome.status, outcome.error), ("failed", "InputError"))
        self.assertIn("nowhere.nrrd", outcome.message)

    def test_a_crash_is_told_with_its_last_words(self) -> None:
        worker = Worker(["scan", "--nonsense"], self.folder)
        outcome = worker.wait()
        self.assertEqual((outcome.status, outcome.error), ("failed", ""))
        self.assertIn("exit status 2", outcome.message)
        self.assertIn("required", outcome.message)
        self.assertIn("usage:", worker.log.read_text())

    def test_a_second_scan_starts_at_once_after_cancel(self) -> None:
        first = self.scan()
        self.first_slice(first)
        self.assert_ends_by_itself(first)
        if os.name != "nt":
            self.assertEqual(first._process.returncode, 130)
        self.assertFalse(process_lives(first.pid))
        self.assertFalse((self.folder / "out").exists())
        self.folder = make_folder()
        self.addCleanup(shutil.rmtree, self.folder)
        self.assertTrue(self.first_slice(self.scan()))

    def test_cancel_while_it_starts(self) -> None:
        worker = self.scan()
        worker.cancel()
        self.assertEqual(worker.wait(30).status, "cancelled")
        self.assertFalse(process_lives(worker.pid))

    @posix_only
    def test_a_killed_worker_is_told(self) -> None:
        worker = self.scan()
        self.first_slice(worker)
        os.kill(worker.pid, signal.SIGKILL)
        outcome = worker.wait(5)
        self.assertEqual(outcome.status, "failed")
        self.assertIn("SIGKILL", outcome.message)
        self.assertIn("memory", outcome.message)

    @posix_only
    def test_the_child_of_a_launcher_ends_too(self) -> None:
        worker = self.scan(python=self.launcher())
        self.first_slice(worker)
        child = int((self.folder / "child.pid").read_text())
        self.assertTrue(process_lives(child))
        self.assert_ends_by_itself(worker)
        self.assert_gone(child)

    @posix_only
    def test_a_worker_that_does_not_listen_is_killed(self) -> None:
        deaf = self.folder / "deaf"
        deaf.write_text(
            f"#!{sys.executable}\nimport signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            'print(\'{"event": "deaf"}\', flush=True)\ntime.sleep(60)\n'
        )
        deaf.chmod(0o700)
        worker = Worker([], self.folder, python=str(deaf))
        self.first_slice(worker)
        with mock.patch("CTForgeryScanLib.process.GRACE_SECONDS", 0.2):
            worker.cancel()
        self.assertEqual(worker.wait(30).status, "cancelled")
        self.assertEqual(worker._process.returncode, -signal.SIGKILL)

    @posix_only
    def test_no_orphan_when_the_caller_is_killed(self) -> None:
        code = f"""
            import sys, time
            from pathlib import Path
            from CTForgeryScanLib.process import Worker
            worker = Worker({["scan", str(self.long_ct), "-o", str(self.folder / "out"), "--progress", "json"]!r}
                            + ["--model", {str(self.model)!r}], Path({str(self.folder)!r}))
            while not worker.poll():
                time.sleep(0.02)
            print(worker.pid, flush=True)
            time.sleep(60)
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as caller:
            assert caller.stdout is not None
            pid = int(caller.stdout.readline())
            self.assertTrue(process_lives(pid))
            caller.kill()
        self.assert_gone(pid)

    def test_folders_of_killed_programs_are_removed_and_ours_is_kept(self) -> None:
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            pass
        left = Path(tempfile.mkdtemp(prefix=f"CTForgeryScan-{ended.pid}-"))
        (left / "ct.nrrd").write_bytes(b"somebody's CT")
        another = make_folder()
        self.addCleanup(shutil.rmtree, another)
        self.assertFalse(left.exists())
        self.assertTrue(self.folder.is_dir())

    def assert_ends_by_itself(self, worker: Worker) -> None:
        """Nobody kills it, for it is given a minute here."""
        with mock.patch("CTForgeryScanLib.process.GRACE_SECONDS", 60):
            worker.cancel()
        self.assertEqual(worker.wait(30).status, "cancelled")

    def launcher(self) -> str:
        """A script that starts Python as Slicer's PythonSlicer does: as a child, whose end it waits for."""
        path = self.folder / "PythonSlicer"
        path.write_text(
            f"#!{sys.executable}\nimport pathlib, subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, *sys.argv[1:]])\n"
            f"pathlib.Path({str(self.folder / 'child.pid')!r}).write_text(str(child.pid))\n"
            "sys.exit(child.wait())\n"
        )
        path.chmod(0o700)
        return str(path)

    def assert_gone(self, pid: int) -> None:
        end = time.monotonic() + 2
        while process_lives(pid) and not _is_zombie(pid):
            self.assertLess(time.monotonic(), end, "the process is still there")
            time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    """Ended, but not yet buried by whoever inherited it."""
    status = Path(f"/proc/{pid}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] == "Z"


if __name__ == "__main__":
    unittest.main()
