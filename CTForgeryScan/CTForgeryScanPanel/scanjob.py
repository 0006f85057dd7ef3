"""One scan of one CT as seen from Slicer: a state machine that is advanced in small steps and never waits."""

import json
import logging
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import numpy as np
import slicer
from slicer.i18n import tr as _

from CTForgeryScanLib import errors, scene
from CTForgeryScanLib.process import Worker, make_folder
from CTForgeryScanLib.windows import grid_shape


class ScanState(Enum):
    """What a scan is doing. IDLE is before it and after it, whether it was done or cancelled."""

    IDLE = "idle"
    STARTING = "starting"
    SCANNING = "scanning"
    IMPORTING = "importing"
    CANCELLING = "cancelling"
    FAILED = "failed"


RUNNING = frozenset({ScanState.STARTING, ScanState.SCANNING, ScanState.IMPORTING, ScanState.CANCELLING})


@dataclass(frozen=True)
class ScanSettings:
    """How to scan. ``slices`` = (a, b) scans slices a … b-1 only; ``operatingPoint`` None is the model's own."""

    model: str
    operatingPoint: str | None = None
    device: str = "auto"
    slices: tuple[int, int] | None = None


class ScanJob:
    """Hands a CT to a background worker, fills a heatmap while it scans, and imports what it found.

    ``advance()`` does one short step; a timer or a waiting loop calls it until ``isRunning`` is false:

    STARTING     the voxels are written piece by piece, then the worker starts and loads the model
    SCANNING     finished slices come in and fill ``liveHeatmap``
    IMPORTING    the result becomes nodes of the scene
    IDLE         done: ``result`` is set; or cancelled: it is None
    FAILED       ``error`` says why; an earlier result of the CT is untouched, as after cancelling
    """

    def __init__(self, volumeNode, settings):
        """Raises ValueError where the node cannot be scanned."""
        scene.check_scannable(volumeNode)
        self.volumeNode = volumeNode
        self.settings = settings
        self.state = ScanState.STARTING
        self.done = 0
        self.evidenceShare = None
        """Once all slices are done: how far the tests that need no training are, 0…1."""
        self.secondsLeft = None
        self.liveHeatmap = None
        self.result = None
        self.error = None
        self.resultFolder = None
        """What the command line wrote; the caller removes it."""
        columns, rows, count = volumeNode.GetImageData().GetDimensions()
        self._grid = grid_shape(rows, columns)
        self.first, stop = settings.slices or (0, count)
        self.of = stop - self.first
        self._volumeID = volumeNode.GetID()
        self._folder = make_folder()
        self._input = self._folder / "ct.nrrd"
        self._headers = self._folder / "headers.txt"
        self._live = self._folder / "live.f32"
        self._writing = scene.write_volume(volumeNode, self._input)
        self._voxels = None
        self._worker = None
        self._answer = None
        self._importing = self._import()

    @property
    def isRunning(self):
        return self.state in RUNNING

    def advance(self):
        """Do the next short step. What goes wrong is in ``error``, not raised."""
        try:
            if slicer.mrmlScene.GetNodeByID(self._volumeID) is not self.volumeNode:
                self.abort()
            elif self.state is ScanState.STARTING and self._worker is None:
                self._handOver()
            elif self.state is ScanState.IMPORTING:
                next(self._importing)
            elif self.isRunning:
                self._listen()
        except Exception as error:
            logging.debug("The scan failed", exc_info=True)
            self._fail(error)

    def cancel(self):
        """Ask the worker to end; the job is idle a moment later, and an earlier result is as it was."""
        if self._worker is None:
            self._end(ScanState.IDLE)
        elif self.state in (ScanState.STARTING, ScanState.SCANNING):
            self._worker.cancel()
            self.state = ScanState.CANCELLING

    def abort(self):
        """End at once, worker and all: the scene is closed, the CT was removed, or Slicer quits."""
        if self._worker is not None:
            self._worker.stop()
        if self.isRunning:
            self._end(ScanState.IDLE)

    # --- The steps -------------------------------------------------------------------------------------------------

    def _handOver(self):
        """Write the next piece of the voxels; after the last one start the worker."""
        if next(self._writing, None) is not None:
            return
        self._voxels = scene.checksum(self.volumeNode)
        settings = self.settings
        arguments = ["scan", self._input.name, "-o", "out", "--progress", "json"]
        arguments += ["--model", settings.model, "--device", settings.device, "--live", self._live.name]
        if settings.operatingPoint is not None:
            arguments += ["--operating-point", settings.operatingPoint]
        if settings.slices is not None:
            arguments += ["--slices", "{}:{}".format(*settings.slices)]
        headers = scene.dicom_files(self.volumeNode)
        if headers:
            self._headers.write_text("\n".join(headers), encoding="utf-8")
            arguments += ["--header", self._headers.name]
        self._worker = Worker(arguments, self._folder, python=shutil.which("PythonSlicer") or sys.executable)

    def _listen(self):
        """Take in what the worker said since the last step."""
        slices = []
        for event in self._worker.poll():
            if event["event"] == "slice":
                slices.append(event)
            elif event["event"] == "evidence":
                self.evidenceShare, self.secondsLeft = event["done"], event["seconds_left"]
            elif event["event"] == "result":
                self._answer = event
        if slices and self.state is not ScanState.CANCELLING:
            self._takeSlices(slices)
        outcome = self._worker.outcome
        if outcome is None:
            return
        if outcome.status == "cancelled":
            self._end(ScanState.IDLE)
        elif outcome.status == "failed" or self._answer is None:
            self._fail(self._asError(outcome))
        else:
            self.state = ScanState.IMPORTING

    def _takeSlices(self, events):
        if self.liveHeatmap is None:
            # The worker holds all voxels by now: no copy of the patient's CT stays on the disk.
            self._input.unlink(missing_ok=True)
            self.liveHeatmap = scene.begin_live_heatmap(self.volumeNode, self.first, self.of)
            self.state = ScanState.SCANNING
        scene.fill_live_heatmap(self.liveHeatmap, self.done, self._maps(self.done, events[-1]["done"]))
        self.done = events[-1]["done"]
        self.secondsLeft = events[-1]["seconds_left"]

    def _maps(self, start, stop):
        """The finished slices start … stop-1 of the scan: p(forged), float32 [n, r, c]."""
        rows, columns = self._grid
        count, size = (stop - start) * rows * columns, 4 * rows * columns
        return np.fromfile(self._live, "<f4", count, offset=start * size).reshape(-1, rows, columns)

    def _import(self):
        """Bring the result into the scene, in short steps."""
        import SimpleITK as sitk

        yield
        folder = self._folder / self._answer["folder"]
        path = folder / "result.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        # The path of the hand-over says nothing to anyone, the name of the CT does.
        result["input"]["path"] = self.volumeNode.GetName()
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")
        heatmap = labels = None
        if (folder / "heatmap.nrrd").is_file():
            heatmap = self._maps(0, self.of)
            labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "regions.seg.nrrd")))
        yield
        self.result = scene.store_result(self.volumeNode, text, self._voxels, heatmap, labels)
        self.resultFolder = folder
        yield
        self._end(ScanState.IDLE)
        yield

    # --- The ends --------------------------------------------------------------------------------------------------

    def _end(self, state):
        scene.remove_node(self.liveHeatmap)
        self.liveHeatmap = None
        self._writing.close()
        for file in (self._input, self._headers, self._live):
            # Windows removes nothing that the worker still has open; the state must be set all the same.
            with suppress(OSError):
                file.unlink(missing_ok=True)
        if self.resultFolder is None and state is not ScanState.FAILED:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.state = state

    def _fail(self, error):
        self.error = error
        if self._worker is not None:
            self._worker.stop()
        self._end(ScanState.FAILED)

    def _asError(self, outcome):
        """The worker's error as the exception that the library would have raised here."""
        kind = getattr(errors, outcome.error, None)
        if kind is not None:
            return kind(outcome.message.replace(self._input.name, self.volumeNode.GetName()))
        message = outcome.message or _("The scan process ended without a result.")
        return RuntimeError(
            _("{message} The log is in '{log}'.").format(message=message, log=self._worker.log)
        )
