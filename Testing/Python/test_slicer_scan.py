"""Scanning in Slicer with the real worker: the panel's states, the growing heatmap, and every way a scan can end."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk

import phantoms
from CTForgeryScanLib.__main__ import main
from CTForgeryScanLib.cards import DEFAULT_MODEL
from CTForgeryScanLib.environment import Found, Package
from CTForgeryScanLib.process import process_lives
from slicer_scenes import MODULE, add_ct, marked_ct, model_folder
from SlicerHost.testcase import HostTestCase
from support import ROOT, SAMPLE

EXAMPLE = ROOT / "Resources" / "Examples" / "CTForgeryScan_batch.py"


class ScanCase(HostTestCase):
    module = MODULE

    def setUp(self) -> None:
        super().setUp()
        self.logic = self.widget.logic
        self.ui = self.widget.ui
        self.addCleanup(self.logic.cleanup)

    def select(self, volume: Any) -> Any:
        """Select a CT and the small model in the panel."""
        node = self.logic.getParameterNode()
        node.inputVolume, node.model, node.device = volume, str(model_folder()), "cpu"
        return node

    def start(self) -> Any:
        from SlicerHost import hands

        hands.click(self.ui.scanButton)
        return self.logic.job

    def wait_for_slices(self, count: int = 1) -> Any:
        from SlicerHost import hands

        job = self.logic.job
        hands.wait_until(lambda: job.done >= count or not job.isRunning, 180)
        self.assertIsNone(job.error)
        return job

    def wait(self) -> Any:
        from SlicerHost import hands

        hands.wait_until(lambda: not self.logic.job.isRunning, 180)
        return self.logic.job


class Panel(ScanCase):
    def test_a_scan_goes_through_its_states_and_the_heatmap_grows(self) -> None:
        import slicer
        from CTForgeryScanPanel.scanjob import ScanState

        from CTForgeryScanLib import scene, views

        volume = add_ct(marked_ct(40))
        self.select(volume)
        looks: dict[ScanState, tuple[str, bool, bool, bool, str]] = {}
        grown: list[int] = []
        update = self.widget.updateState

        def record() -> None:
            update()
            job, ui = self.logic.job, self.ui
            looks[job.state] = (
                ui.scanButton.text,
                ui.scanButton.enabled,
                ui.inputSelector.enabled,
                not ui.progressBar.isHidden(),
                ui.statusLabel.text,
            )
            if job.state is ScanState.SCANNING and job.liveHeatmap is not None and len(grown) < 3:
                p = slicer.util.arrayFromVolume(job.liveHeatmap)
                self.assertFalse(p[job.done :].any(), "nothing is shown before it is computed")
                grown.append(job.done)
                view = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
                self.assertEqual(view.GetForegroundVolumeID(), job.liveHeatmap.GetID())
                self.assertFalse(job.liveHeatmap.GetSaveWithScene())
                self.assertEqual(ui.inputSelector.nodeCount(), 1, "a heatmap is no CT to select")

        with mock.patch.object(self.widget, "updateState", record):
            job = self.start()
            partial = self.wait_for_slices(8)
            partial_map = slicer.util.arrayFromVolume(partial.liveHeatmap)[:8].copy()
            self.wait()
        self.assertIsNone(job.error)
        self.assertEqual(
            list(looks), [ScanState.STARTING, ScanState.SCANNING, ScanState.IMPORTING, ScanState.IDLE]
        )
        self.assertEqual(looks[ScanState.STARTING][:4], ("Cancel", True, False, True))
        self.assertEqual(looks[ScanState.SCANNING][:4], ("Cancel", True, False, True))
        self.assertEqual(looks[ScanState.IMPORTING][:4], ("Cancel", False, False, True))
        self.assertEqual(looks[ScanState.IDLE][:4], ("Scan", True, True, False))
        self.assertIn("Scanned in", looks[ScanState.IDLE][4])
        self.assertEqual(grown, sorted(grown))
        whole = slicer.util.arrayFromVolume(scene.node_of(volume, scene.HEATMAP))
        np.testing.assert_array_equal(partial_map, whole[:8])
        self.assertEqual(self.ui.verdictLabel.text, "Suspicious: 1 region")
        self.assertEqual(views.slice_in_view(volume), 5, "the first region is shown at once")
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName("CT heatmap (scanning)"))

    def test_every_state_has_its_look(self) -> None:
        from CTForgeryScanPanel import texts
        from CTForgeryScanPanel.scanjob import RUNNING, ScanState

        self.assertEqual(set(texts.STATES), set(ScanState))
        for state, look in texts.STATES.items():
            self.assertTrue(look.words)
            self.assertEqual(look.progressVisible, state in RUNNING)
            self.assertEqual(look.inputsEnabled, state not in RUNNING)

    def test_the_progress_is_told_in_words(self) -> None:
        from CTForgeryScanPanel import texts

        job = types.SimpleNamespace(done=12, of=26, secondsLeft=65.2, evidenceShare=None)
        self.assertEqual(texts.progressText(job), "12 of 26 slices, 1:05 left")
        job.evidenceShare = 0.4
        self.assertEqual(texts.progressText(job), "evidence: 40 %, 1:05 left")

    def test_cancel_ends_the_worker_keeps_the_earlier_result_and_lets_scan_again(self) -> None:
        import slicer
        from CTForgeryScanPanel.scanjob import ScanState

        from CTForgeryScanLib import scene
        from slicer_scenes import scan_into_scene
        from SlicerHost import hands

        volume = add_ct(marked_ct(100))
        earlier = scan_into_scene(volume)
        self.select(volume)
        job = self.start()
        self.wait_for_slices()
        pid, folder = job._worker.pid, job._folder
        # Its path may hold letters that ITK cannot open on Windows.
        self.assertFalse([word for word in job._worker._process.args if str(folder) in word])
        asked = time.monotonic()
        hands.click(self.ui.scanButton)
        self.assertIs(job.state, ScanState.CANCELLING)
        self.assertEqual(self.ui.statusLabel.text, "Cancelling…")
        self.wait()
        self.assertLess(time.monotonic() - asked, 5)
        self.assertFalse(process_lives(pid))
        self.assertFalse(folder.exists())
        self.assertEqual(scene.read_result(volume), earlier)
        view = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
        self.assertEqual(view.GetForegroundVolumeID(), scene.node_of(volume, scene.HEATMAP).GetID())
        self.start()
        self.wait_for_slices()
        # Closing the scene meanwhile ends it too, and leaves the panel as new.
        pid = self.logic.job._worker.pid
        slicer.mrmlScene.Clear()
        self.assertFalse(process_lives(pid))
        hands.process_events()
        self.assertIsNone(self.logic.job)
        self.assertIn("Load a CT", self.ui.statusLabel.text)

    @unittest.skipIf(os.name == "nt", "Windows has no SIGKILL")
    def test_a_killed_worker_is_told_with_the_log(self) -> None:
        from CTForgeryScanPanel.scanjob import ScanState

        self.select(add_ct(marked_ct(400)))
        job = self.start()
        self.wait_for_slices()
        os.killpg(job._worker.pid, signal.SIGKILL)
        self.wait()
        self.assertIs(job.state, ScanState.FAILED)
        self.assertIn("ended unexpectedly", self.ui.statusLabel.text)
        self.assertIn(str(job._worker.log), self.ui.statusLabel.text)
        self.assertTrue(job._worker.log.is_file())
        self.assertFalse((job._folder / "ct.nrrd").exists(), "no CT stays on the disk")
        self.assertTrue(self.ui.scanButton.enabled)
        shutil.rmtree(job._folder)

    def test_a_file_that_is_still_open_does_not_keep_a_scan_from_ending(self) -> None:
        """As on Windows, where the worker may still write what is removed."""
        from CTForgeryScanPanel.scanjob import ScanJob, ScanSettings, ScanState

        job = ScanJob(add_ct(), ScanSettings(str(model_folder())))
        self.addCleanup(shutil.rmtree, job._folder, ignore_errors=True)
        unlink = Path.unlink

        def refuse(path: Path, missing_ok: bool = False) -> None:
            if path.name == "live.f32":
                raise PermissionError(13, "in use", str(path))
            unlink(path, missing_ok=missing_ok)

        with mock.patch.object(Path, "unlink", refuse):
            job.cancel()
        self.assertIs(job.state, ScanState.IDLE)

    def test_a_ct_that_is_removed_meanwhile_ends_the_scan(self) -> None:
        import slicer

        volume = add_ct(marked_ct(400))
        self.select(volume)
        job = self.start()
        self.wait_for_slices()
        slicer.mrmlScene.RemoveNode(volume)
        self.assertFalse(job.isRunning)
        self.assertIsNone(job.result)
        self.assertFalse(process_lives(job._worker.pid))

    def test_it_scans_with_what_the_panel_is_set_to(self) -> None:
        from SlicerHost import hands

        node = self.select(add_ct())
        self.assertEqual(self.ui.modelSelector.currentText, "small")
        hands.choose(self.ui.operatingPointSelector, "sensitive: made by a test")
        hands.click(self.ui.advancedSection)
        node.device = "auto"
        hands.choose(self.ui.deviceSelector, "CPU")
        self.start()
        result = self.wait().result
        self.assertEqual(result["parameters"]["operating_point"], "sensitive")
        self.assertEqual(result["parameters"]["region_score"], 0.5)
        self.assertEqual(result["provenance"]["device"], "cpu")
        hands.choose(self.ui.modelSelector, DEFAULT_MODEL)
        self.assertEqual((node.model, node.operatingPoint), (DEFAULT_MODEL, ""))
        self.assertTrue(self.ui.operatingPointSelector.currentText.startswith("standard: "))

    def test_a_range_of_nothing_and_a_slice_that_is_not_in_view(self) -> None:
        from SlicerHost import hands

        node = self.select(add_ct())
        node.firstSlice, node.lastSlice = 5, 2
        hands.click(self.ui.scanButton)
        self.assertIn("The range of slices is empty", self.ui.statusLabel.text)
        node.visibleSliceOnly = True
        for view in self.composite_nodes():
            view.SetBackgroundVolumeID(None)
        hands.click(self.ui.scanButton)
        self.assertIn("No view shows a slice of the CT", self.ui.statusLabel.text)

    def composite_nodes(self) -> list[Any]:
        import slicer

        return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))

    def test_one_slice_and_a_range(self) -> None:
        from CTForgeryScanLib import scene, views
        from SlicerHost import hands

        volume = add_ct()
        node = self.select(volume)
        hands.click(self.ui.advancedSection)
        self.assertEqual((self.ui.firstSliceSpinBox.value, self.ui.lastSliceSpinBox.value), (0, 11))
        self.ui.lastSliceSpinBox.setValue(3)
        self.assertEqual(self.widget._slices(), (0, 4))
        hands.click(self.ui.allSlicesButton)
        self.assertIsNone(self.widget._slices())
        views.show(volume, None, opacity=0, threshold=0)
        views.jump_to(volume, (scene.ijk_to_ras(volume) @ [90, 90, 4, 1])[:3])
        hands.click(self.ui.visibleSliceCheckBox)
        self.assertTrue(node.visibleSliceOnly)
        self.start()
        job = self.wait()
        self.assertEqual([s["k"] for s in job.result["slices"]], [4])
        self.assertEqual(self.ui.verdictLabel.text, "Suspicious")
        heatmap = scene.node_of(volume, scene.HEATMAP)
        np.testing.assert_allclose(
            scene.ijk_to_ras(heatmap) @ [0, 0, 0, 1], scene.ijk_to_ras(volume) @ [15.5, 15.5, 4, 1]
        )


class Refusals(ScanCase):
    def test_what_is_missing_is_said_and_installed_only_after_asking(self) -> None:
        import slicer.packaging

        from SlicerHost import hands

        self.select(add_ct())
        absent = [Found(Package("scikit-image", "skimage", "0.22"), None, False)]
        with mock.patch("CTForgeryScanPanel.setupsection.find_packages", return_value=absent):
            self.widget.setupSection.refresh()
            self.assertFalse(self.ui.setupSection.collapsed)
            self.assertIn("scikit-image is not installed", self.ui.setupLabel.text)
            self.assertFalse(self.ui.scanButton.enabled)
            self.assertIn("see Setup", self.ui.statusLabel.text)
            with mock.patch.object(slicer.packaging, "pip_ensure") as ensure:
                with hands.answering("Cancel") as questions:
                    hands.click(self.ui.installButton)
                self.assertIn("scikit-image", questions[0])
                ensure.assert_not_called()
                with hands.answering("OK"):
                    hands.click(self.ui.installButton)
                self.assertEqual(ensure.call_args.args[0], ["scikit-image>=0.22"])
        self.widget.setupSection.refresh()
        self.assertTrue(self.ui.setupSection.collapsed)
        self.assertTrue(self.ui.scanButton.enabled)
        with (
            mock.patch("CTForgeryScanLib.environment.find_packages", return_value=absent),
            self.assertRaisesRegex(RuntimeError, "scikit-image"),
        ):
            self.logic.scan(add_ct())

    def test_torch_is_left_to_its_extension_and_slicers_own_packages_are_held(self) -> None:
        import slicer.packaging

        from SlicerHost import hands

        self.select(add_ct())
        absent = [
            Found(Package("torch", "torch", "2.4"), None, False),
            Found(Package("scikit-image", "skimage", "0.22"), None, False),
        ]
        asked: list[str] = []
        held: list[str] = []

        class Logic:
            """The extension's, of a version that does not know ``askConfirmation``."""

            def installTorch(self, torchVersionRequirement: str = "") -> object:  # noqa: N803  # its own name
                asked.append(torchVersionRequirement)
                return object()

        def ensure(requirements: list[str], *, constraints: Path, **_options: Any) -> None:
            self.assertEqual(requirements, ["scikit-image>=0.22"])
            held.append(constraints.read_text(encoding="utf-8"))

        extension = types.ModuleType("PyTorchUtils")
        extension.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)
        extension.PyTorchUtilsLogic = Logic  # type: ignore[attr-defined]
        with (
            mock.patch("CTForgeryScanPanel.setupsection.find_packages", return_value=absent),
            mock.patch.object(slicer.packaging, "pip_ensure", ensure),
        ):
            self.widget.setupSection.refresh()
            with hands.answering("OK", "OK") as said:
                hands.click(self.ui.installButton)
            self.assertIn("Install the extension PyTorch", said[1])
            self.assertEqual((asked, held), ([], []))
            self.assertIn("Install the extension PyTorch", self.errors.pop())  # Slicer's console has it, too
            with mock.patch.dict(sys.modules, PyTorchUtils=extension), hands.answering("OK"):
                hands.click(self.ui.installButton)
        self.assertEqual(asked, [">=2.4"])
        for package in ("numpy", "SimpleITK"):
            self.assertIn(f"{package}=={importlib.metadata.version(package)}", held[0])
        self.widget.setupSection.refresh()

    def test_the_devices_are_asked_for_in_the_background(self) -> None:
        from SlicerHost import hands

        hands.click(self.ui.setupSection)
        self.assertIn(f"Model {DEFAULT_MODEL} is whole", self.ui.setupLabel.text)
        hands.click(self.ui.checkButton)
        self.assertIn("looking", self.ui.setupLabel.text)
        hands.wait_until(lambda: "processor cores" in self.ui.setupLabel.text, 180)

    def test_a_bad_model_is_refused_in_words(self) -> None:
        from SlicerHost import hands

        node = self.select(add_ct())
        node.model = "no such model"
        hands.click(self.ui.scanButton)
        self.assertIn("There is no model 'no such model'", self.ui.statusLabel.text)
        with tempfile.TemporaryDirectory() as folder:
            bad = Path(folder, "bad")
            shutil.copytree(model_folder(), bad)
            (bad / "detector.safetensors").write_bytes(b"damaged")
            with self.assertRaisesRegex(ValueError, "SHA-256"):
                self.logic.scan(node.inputVolume, model=str(bad))
            with self.assertRaisesRegex(ValueError, "operating point"):
                self.logic.scan(node.inputVolume, model=str(model_folder()), operatingPoint="none such")

    def test_no_ct_and_no_second_scan_at_once(self) -> None:
        import slicer

        with self.assertRaisesRegex(ValueError, "no CT"):
            self.logic.scan(None)
        with self.assertRaisesRegex(ValueError, "no CT"):
            self.logic.scan(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
        self.select(add_ct())
        self.start()
        with self.assertRaisesRegex(RuntimeError, "running"):
            self.logic.scan(add_ct())
        self.logic.abort()


class Doors(ScanCase):
    """The bundled sample through every door, and the self-test of the module."""

    def test_the_panels_logic_and_the_command_line_give_the_same_numbers(self) -> None:
        import slicer

        from CTForgeryScanLib import scene

        volume = slicer.util.loadVolume(str(SAMPLE))
        # The forged site and its surroundings, for the whole sample takes long.
        result = self.logic.scan(volume, device="cpu", slices=(9, 19))
        with tempfile.TemporaryDirectory() as out:
            command = [
                "scan",
                str(SAMPLE),
                "-o",
                out,
                "--device",
                "cpu",
                "--slices",
                "9:19",
                "--progress",
                "none",
            ]
            self.assertEqual(main(command), 0)
            written = Path(out) / SAMPLE.stem
            expected = json.loads((written / "result.json").read_text(encoding="utf-8"))
            heatmap = sitk.GetArrayFromImage(sitk.ReadImage(str(written / "heatmap.nrrd")))
            exported = Path(out) / "exported"
            self.logic.exportResult(volume, exported)
            self.assertEqual({p.name for p in exported.iterdir()}, {p.name for p in written.iterdir()})
            self.assertEqual((exported / "slices.csv").read_bytes(), (written / "slices.csv").read_bytes())
        self.assertEqual(result["input"].pop("path"), "CTForgeryScanSample")
        del expected["input"]["path"]
        for one in (result, expected):
            del one["provenance"]["seconds"]
        self.assert_same(result, expected)
        in_scene = slicer.util.arrayFromVolume(scene.node_of(volume, scene.HEATMAP))
        np.testing.assert_array_equal(in_scene, heatmap)

    def assert_same(self, one: Any, other: Any, path: str = "") -> None:
        """Equal but for the last digits of geometry, which pass through Slicer's matrices."""
        if isinstance(other, dict):
            self.assertEqual(set(one), set(other), path)
            for key in other:
                self.assert_same(one[key], other[key], f"{path}.{key}")
        elif isinstance(other, list):
            self.assertEqual(len(one), len(other), path)
            for n, pair in enumerate(zip(one, other, strict=True)):
                self.assert_same(*pair, f"{path}[{n}]")
        elif isinstance(other, float):
            self.assertAlmostEqual(one, other, places=6, msg=path)
        else:
            self.assertEqual(one, other, path)

    def test_the_module_tests_itself(self) -> None:
        test = importlib.import_module("CTForgeryScan").CTForgeryScanTest()
        test.messageDelay = 0
        test.runTest()

    def test_the_sample_is_offered_in_sample_data(self) -> None:
        import SampleData

        volume = SampleData.downloadSample("CTForgeryScanSample")
        self.assertEqual(volume.GetName(), "CTForgeryScanSample")
        self.assertEqual(volume.GetImageData().GetDimensions()[2], 26)


class FromDicom(ScanCase):
    def test_a_ct_from_dicom_is_judged_with_the_headers_of_its_files(self) -> None:
        """The stand-in has no DICOM database; this one knows two of three files, one of them compressed with loss."""
        import slicer

        with tempfile.TemporaryDirectory() as folder:
            hu = phantoms.chest(4, 96)
            (first, *_) = phantoms.save_series(Path(folder, "a"), hu)
            (_, lossy, *_) = phantoms.save_series(Path(folder, "b"), hu, LossyImageCompression="01")
            known = {"1.2.3": str(first), "1.2.4": str(lossy)}
            database = types.SimpleNamespace(isOpen=True, fileForInstance=lambda uid: known.get(uid, ""))
            volume = add_ct(hu)
            volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4 1.2.5")
            with mock.patch.object(slicer, "dicomDatabase", database, create=True):
                result = self.logic.scan(volume, model=str(model_folder()), device="cpu")
        self.assertEqual(result["input"]["series_uid"], phantoms.SERIES_UID)
        self.select(volume)
        self.assertEqual(self.ui.verdictLabel.text, "Not assessable: lossy compression")
        self.assertIn("compressed with loss", self.ui.notesLabel.text)


class FreshSlicer(HostTestCase):
    def test_the_panel_opens_and_says_what_is_missing(self) -> None:
        """Slicer brings neither torch nor scikit-image nor safetensors; nothing is read before the module is opened."""
        code = (
            "import sys; sys.modules.update(torch=None, skimage=None, safetensors=None)\n"
            "from SlicerHost.startup import load_module, start\n"
            "start()\n"
            "import slicer\n"
            f"load_module({str(MODULE)!r})\n"
            "print([name for name in sys.modules if name.startswith('CTForgeryScanLib')])\n"
            "slicer.util.selectModule('CTForgeryScan')\n"
            "ui = slicer.modules.CTForgeryScanWidget.ui\n"
            "print(ui.scanButton.enabled, ui.setupSection.collapsed, ui.setupLabel.text)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "Testing"), str(ROOT)))},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        at_start, opened = done.stdout.strip().split("\n", 1)
        self.assertEqual(at_start, "[]")
        self.assertTrue(opened.startswith("False False"), opened)
        for package in ("torch", "scikit-image", "safetensors"):
            self.assertIn(f"{package} is not installed", opened)


class Batch(ScanCase):
    """The example's functions, and the loop of the module's README, with a DICOM database of three series."""

    def setUp(self) -> None:
        super().setUp()
        spec = importlib.util.spec_from_file_location("batch", EXAMPLE)
        assert spec is not None and spec.loader is not None
        self.batch = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.batch)

    def dicom(self) -> Any:
        """Stands for DICOMLib and the database, whose series "refused" has no chest and "none" no image."""
        import slicer

        def load(uids: list[str]) -> list[str]:
            if uids == ["none"]:
                return []
            hu = np.zeros((6, 96, 96), np.int16) if uids == ["refused"] else phantoms.chest(6, 96)
            transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode")
            return [transform.GetID(), add_ct(hu, name=uids[0]).GetID()]

        library = types.ModuleType("DICOMLib")
        library.DICOMUtils = types.SimpleNamespace(loadSeriesByUID=load)  # type: ignore[attr-defined]
        database = types.SimpleNamespace(
            isOpen=True,
            patients=lambda: ["patient"],
            studiesForPatient=lambda _patient: ["study"],
            seriesForStudy=lambda _study: ["refused", "none", "tilted"],
            fieldForSeries=lambda _field, _series: "CT",
        )
        stack = contextlib.ExitStack()
        stack.enter_context(mock.patch.dict(sys.modules, DICOMLib=library))
        stack.enter_context(mock.patch.object(slicer, "dicomDatabase", database, create=True))
        return stack

    def test_of_a_series_only_the_image_is_scanned(self) -> None:
        with self.dicom():
            self.assertEqual(self.batch.load_series("tilted").GetName(), "tilted")
            with self.assertRaisesRegex(ValueError, "no image"):
                self.batch.load_series("none")

    def test_without_files_it_says_what_to_give(self) -> None:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as stop:
            self.batch.main(["results"])
        self.assertEqual(stop.exception.code, 2)
        self.assertIn("give the volume files, or --dicom", said.getvalue())

    def test_one_ct_at_a_time_is_in_memory(self) -> None:
        import vtk

        loaded: list[Any] = []
        alive: list[int] = []

        def load() -> Any:
            gc.collect()
            alive.append(sum(weak.Get() is not None for weak in loaded))
            volume = add_ct(phantoms.chest(6, 96))
            loaded.append(vtk.vtkWeakReference())
            loaded[-1].Set(volume)
            return volume

        def scan(logic: Any, volume: Any, *_settings: Any) -> None:
            logic.job = types.SimpleNamespace(volumeNode=volume, abort=lambda: None)

        def nothing(*_arguments: Any) -> None:
            """In place of what is not tested."""

        logic = self.batch.CTForgeryScanLogic
        with (
            mock.patch.object(self.batch, "files", lambda _paths: [("a", load), ("b", load)]),
            # Not mocks, which remember what they were called with.
            mock.patch.multiple(logic, scan=scan, exportResult=nothing, summary=nothing),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            self.assertEqual(self.batch.main(["a", "b", "results"]), 0)
        self.assertEqual(alive, [0, 0])

    def test_the_loop_of_the_readme_goes_on_after_a_series_that_is_refused(self) -> None:
        import slicer

        text = (MODULE.parent / "README.md").read_text(encoding="utf-8")
        (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "DICOMUtils" in block]
        exported: list[str] = []

        class Logic:
            def scan(self, volume: Any) -> None:
                if volume.GetName() == "refused":
                    raise ValueError("not a chest")

            def exportResult(self, volume: Any, folder: str) -> None:
                exported.append(folder)

        said = io.StringIO()
        with self.dicom(), contextlib.redirect_stdout(said):
            exec(code, {"CTForgeryScanLogic": Logic, "slicer": slicer})
        self.assertEqual(exported, ["results/tilted-0"])
        self.assertEqual(said.getvalue(), "refused: not a chest\n")


class NoMainWindow(HostTestCase):
    def test_the_batch_example_runs_without_a_window_and_without_torch(self) -> None:
        """The documented command, on a damaged file and two CTs of one name.

        The process that stands for Slicer never imports torch.
        """
        with tempfile.TemporaryDirectory() as folder:
            sources = [Path(folder, name, "ein CT ü.nrrd") for name in ("damaged", "a", "b")]
            for source in sources:
                source.parent.mkdir()
                sitk.WriteImage(sitk.GetImageFromArray(phantoms.chest(slices=6, size=128)), str(source))
            sources[0].write_bytes(b"NRRD0004\n")
            arguments = ["", *map(str, sources), folder, "--model", str(model_folder())]
            code = (
                f"import sys, runpy; sys.argv = {arguments!r}; "
                f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__'); "
                "print('torch is there:', 'torch' in sys.modules)"
            )
            command = [sys.executable, "-m", "SlicerHost", "--no-main-window"]
            command += ["--additional-module-paths", str(MODULE.parent), "--python-code", code]
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT / "Testing")},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,  # it ends by itself
            )
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("torch is there: False", done.stdout)
            self.assertEqual(done.stdout.count("No tampering found"), 2)
            self.assertTrue(Path(folder, "ein CT ü-2", "result.json").is_file())
            self.assertTrue(Path(folder, "ein CT ü-3", "result.json").is_file())


if __name__ == "__main__":
    unittest.main()
