"""CT Forgery Scan: was this chest CT tampered with by a generative network, and where?

The module is thin: the engine is CTForgeryScanLib, run as a background worker. Here are the module's entry in Slicer,
its parameters, its logic for scripts, its panel and its self-test; CTForgeryScanPanel holds the panel's sections.
"""

import contextlib
import hashlib
import shutil
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# In a checkout the library and Resources lie one level above this file; once built, beside it.
ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "CTForgeryScanLib").is_dir())
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

# The library and the panel's parts are imported where they are used: Slicer reads this file at every start, and they
# would cost it time.

SAMPLE = "CTForgeryScanSample"
SITE = "https://github.com/CTForgeryScan/SlicerCTForgeryScan"


def resource(name):
    """The path of a file in Resources/."""
    return str(ROOT / "Resources" / name)


class CTForgeryScan(ScriptedLoadableModule):
    """The module's entry: what Slicer lists, and the sample that it offers in Sample Data."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CT Forgery Scan")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = []
        self.parent.contributors = ["The CTForgeryScan contributors"]
        self.parent.helpText = _(
            "Finds regions of a chest CT that a generative network such as CT-GAN repainted, and shows where. Select a"
            " CT, press Scan, and walk through what was found by clicks or with the arrow keys."
            "<p><b>Research software for integrity triage: not a diagnosis, and no proof that a scan is untouched.</b>"
            " Everything runs on this computer; nothing is sent anywhere.</p>"
            '<p><a href="{site}/blob/main/CTForgeryScan/README.md#tutorial">Tutorial</a>'
            ' · <a href="{site}#troubleshooting">Troubleshooting</a>'
            ' · <a href="{site}#what-it-cannot-tell">What it cannot tell</a></p>'
        ).format(site=SITE)
        self.parent.acknowledgementText = _(
            "The method is the cascade of Zhang et al., PLOS ONE 2024"
            ' (<a href="https://doi.org/10.1371/journal.pone.0290303">doi:10.1371/journal.pone.0290303</a>);'
            " the model was trained on public data, which"
            ' its card names. <a href="{site}#how-to-cite">How to cite</a>.'
        ).format(site=SITE)
        self.parent.icon = qt.QIcon(resource("Icons/CTForgeryScan.png"))
        slicer.app.connect("startupCompleted()", registerSampleData)

    def resourcePath(self, filename):
        return resource(filename)


def registerSampleData():
    """Offer the bundled sample, a simulated CT with one forged site, in Sample Data."""
    import SampleData

    path = Path(resource(f"SampleData/{SAMPLE}.nrrd"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="CTForgeryScan",
        sampleName=SAMPLE,
        thumbnailFileName=resource("Icons/CTForgeryScan.png"),
        uris=path.as_uri(),
        fileNames=path.name,
        nodeNames=SAMPLE,
        checksums=f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
    )


@parameterNodeWrapper
class CTForgeryScanParameterNode:
    """What the panel is set to; saved with the scene.

    ``model`` and ``operatingPoint`` are empty for the default ones; ``lastSlice`` is included.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    operatingPoint: str = ""
    device: str = "auto"
    firstSlice: Annotated[int, Minimum(0)] = 0
    lastSlice: Annotated[int, Minimum(0)] = 0
    visibleSliceOnly: bool = False
    showHeatmap: bool = True
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    threshold: Annotated[float, WithinRange(0, 1)] = 0.3
    showLegend: bool = True
    showOutlines: bool = True
    showMarkers: bool = False


class CTForgeryScanLogic(ScriptedLoadableModuleLogic):
    """Scans CTs in a background process and keeps the results in the scene; needs neither panel nor main window.

    >>> result = CTForgeryScanLogic().scan(slicer.util.getNode("CT"))
    >>> print(result["verdict"], [region["center_ras"] for region in result["regions"]])
    """

    INTERVAL_MS = 100

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.job = None
        self._onChange = None
        self._resultFolders = {}
        # Scripts do not call cleanup(), and the folders hold pictures of the CT.
        self._finalizer = weakref.finalize(self, self._removeFolders, self._resultFolders)
        self._timer = qt.QTimer()
        self._timer.setInterval(self.INTERVAL_MS)

    def getParameterNode(self):
        return CTForgeryScanParameterNode(super().getParameterNode())

    def scan(
        self,
        volumeNode,
        model=None,
        operatingPoint=None,
        device="auto",
        slices=None,
        waitForCompletion=True,
        onChange=None,
    ):
        """Scan a CT and store the result in the scene.

        :param volumeNode: scalar volume node of a chest CT, in Hounsfield units
        :param model: name of a shipped model or folder of another; None is the default one
        :param operatingPoint: how sensitive, by a name of the model's card; None is the model's own
        :param device: "auto", "cpu", "cuda", "cuda:N" or "mps"
        :param slices: (a, b) scans slices a … b-1 only; None is all
        :param waitForCompletion: True: return the result when it is there; Slicer's window lives on meanwhile
        :param onChange: called with the job after each step
        :return: the result, a dict with the fields of ``result.json``; None if the CT was removed meanwhile. Without
            waiting: the ``ScanJob``, whose ``result`` or ``error`` is set when its ``isRunning`` turns false
        :raises ValueError: the CT or the model cannot be used; the message says why
        :raises RuntimeError: something is not installed, the device is absent, a scan is running, or the worker died
        """
        from CTForgeryScanPanel.scanjob import ScanJob, ScanSettings

        from CTForgeryScanLib import cards
        from CTForgeryScanLib.environment import find_packages

        if self.job is not None and self.job.isRunning:
            raise RuntimeError(_("A scan is running: wait for it or cancel it."))
        missing = [found.package.name for found in find_packages() if not found.good]
        if missing:
            raise RuntimeError(
                _(
                    "Not installed or too old: {names}. Open the module CT Forgery Scan and press Install."
                ).format(names=", ".join(missing))
            )
        model = str(model or cards.DEFAULT_MODEL)
        folder = cards.find_model(model)
        cards.choose_operating_point(cards.read_card(folder), operatingPoint or None)
        if folder.parent != cards.models_folder():
            model = str(folder.resolve())  # the worker runs in another folder
        self.job = ScanJob(volumeNode, ScanSettings(model, operatingPoint or None, device, slices))
        self._onChange = onChange
        job = self.job
        if not waitForCompletion:
            # Only while it runs: a connected method keeps its object for good.
            self._timer.connect("timeout()", self._advance)
            self._timer.start()
            return job
        while job.isRunning:
            slicer.app.processEvents()
            self._advance()
            time.sleep(self.INTERVAL_MS / 1000)
        if job.error is not None:
            raise job.error
        return job.result

    def cancel(self):
        """Cancel the scan that runs, if one does; an earlier result is kept."""
        if self.job is not None and self.job.isRunning:
            self.job.cancel()

    def abort(self):
        """End the scan that runs at once, worker and all, and let go of its CT."""
        self._stopTimer()
        if self.job is not None:
            self.job.abort()
            self.job = None

    def cleanup(self):
        """End the worker and remove what it wrote: the logic is not used again."""
        self.abort()
        self._finalizer()

    @staticmethod
    def _removeFolders(folders):
        for folder in folders.values():
            shutil.rmtree(folder.parent.parent, ignore_errors=True)

    def result(self, volumeNode):
        """The result of a CT, from this session or from a scene that was loaded; None where there is none."""
        from CTForgeryScanLib import scene

        return scene.read_result(volumeNode)

    def exportResult(self, volumeNode, folder):
        """Write a CT's result as the command line does, replacing what is in ``folder`` of these files.

        A result that came with a saved scene is written from its nodes, without ``picture.png``.

        :raises ValueError: the CT has no result
        :raises OSError: the folder cannot be written
        """
        from CTForgeryScanLib import formats, scene

        if self.result(volumeNode) is None:
            raise ValueError(_("'{name}' has no result: scan it first.").format(name=volumeNode.GetName()))
        folder, written = Path(folder), self._writtenResult(volumeNode)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".exporting-", dir=folder) as part:
            if written is not None:
                shutil.copytree(written, part, dirs_exist_ok=True)
            else:
                scene.export_result(volumeNode, Path(part))
            # An earlier result may have files that this one has not.
            for name in formats.RESULT_FILES:
                (folder / name).unlink(missing_ok=True)
            for file in Path(part).iterdir():
                file.replace(folder / file.name)

    def _writtenResult(self, volumeNode):
        """Where the scan wrote the result that the scene holds of a CT; None where another scan or scene made it."""
        from CTForgeryScanLib import scene

        folder = self._resultFolders.get(volumeNode.GetID())
        file = folder and folder / "result.json"
        if file is None or not file.is_file():
            return None
        return folder if file.read_text(encoding="utf-8") == scene.result_node(volumeNode).GetText() else None

    def summary(self, volumeNode):
        """The result of a CT as text. Raises ValueError where it has none."""
        from CTForgeryScanPanel import texts

        result = self.result(volumeNode)
        if result is None:
            raise ValueError(_("'{name}' has no result: scan it first.").format(name=volumeNode.GetName()))
        return texts.summary(volumeNode, result)

    def _advance(self):
        job = self.job
        if job is None:
            return  # aborted
        job.advance()
        if not job.isRunning:
            self._stopTimer()
            self._keepFolder(job)
        if self._onChange is not None:
            self._onChange(job)

    def _stopTimer(self):
        self._timer.stop()
        self._timer.disconnect("timeout()", self._advance)

    def _keepFolder(self, job):
        if job.resultFolder is None:
            return
        earlier = self._resultFolders.get(job.volumeNode.GetID())
        if earlier is not None:
            shutil.rmtree(earlier.parent.parent, ignore_errors=True)
        self._resultFolders[job.volumeNode.GetID()] = job.resultFolder


class CTForgeryScanWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. The parameter node says what is set, the scene what was found; the panel shows both.

    A walk through a run: Scan → ``onScan`` starts a job of the logic → the logic's timer advances it and calls
    ``onJobChanged`` → the panel shows the job's state, and the live heatmap once there is one → at the end the result
    is read from the scene like that of any other CT.
    """

    DEVICES = (
        ("auto", _("Automatic")),
        ("cpu", _("CPU")),
        ("cuda", _("GPU (CUDA)")),
        ("mps", _("GPU (Apple)")),
    )

    SHORTCUTS = (
        ("previousSliceButton", "Alt+Up"),
        ("nextSliceButton", "Alt+Down"),
        # Alt+Left and Alt+Right are Slicer's own: the previous and the next module.
        ("previousRegionButton", "Alt+PgUp"),
        ("nextRegionButton", "Alt+PgDown"),
        ("showHeatmapCheckBox", "Alt+T"),
    )

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._parameterTag = None
        self._shownVolume = None
        self._volumeTags = []
        self._displayed = None
        self._unseenJob = None
        self._shortcuts = []

    def resourcePath(self, filename):
        return resource(filename)

    # --- Made, opened, left, closed --------------------------------------------------------------------------------

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        if sys.version_info < (3, 11):  # noqa: UP036  # that of older Slicers
            self.layout.addWidget(qt.QLabel(_("CT Forgery Scan needs Slicer 5.12 or newer.")))
            return
        from CTForgeryScanPanel.resultsection import ResultSection
        from CTForgeryScanPanel.setupsection import SetupSection

        panel = slicer.util.loadUI(self.resourcePath("UI/CTForgeryScan.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.setupSection = SetupSection(self.ui, self.updateState)
        self.resultSection = ResultSection(self.ui, self.jumpTo)
        self.logic = CTForgeryScanLogic()
        self._fillSelectors()
        self._addShortcuts()
        self.ui.scanButton.connect("clicked(bool)", self.onScanOrCancel)
        self.ui.allSlicesButton.connect("clicked(bool)", self.onAllSlices)
        self.ui.modelSelector.connect("activated(int)", self.onModel)
        self.ui.operatingPointSelector.connect("activated(int)", self.onOperatingPoint)
        self.ui.deviceSelector.connect("activated(int)", self.onDevice)
        self.ui.exportButton.connect("clicked(bool)", self.onExport)
        self.ui.tableButton.connect("clicked(bool)", self.onTable)
        self.ui.copyButton.connect("clicked(bool)", self.onCopy)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self._showResult(None)
        self.initializeParameterNode()
        self.setupSection.refresh()
        if self.parent.isEntered:
            self.enter()  # after a reload Slicer does not

    def enter(self):
        if self.logic is None:
            return  # setup() did not come that far
        self.initializeParameterNode()
        self.setupSection.refresh()
        for shortcut in self._shortcuts:
            shortcut.enabled = True
        self._observeViews()
        self._showFinished()

    def exit(self):
        if self.logic is None:
            return
        for shortcut in self._shortcuts:
            shortcut.enabled = False
        self._ignoreViews()

    def cleanup(self):
        if self.logic is None:
            return  # setup() did not come that far
        self.setupSection.stop()
        self.logic.cleanup()
        self._ignoreViews()
        self._observe(None)
        self.setParameterNode(None)
        self.removeObservers()
        for shortcut in self._shortcuts:
            # At once, for two shortcuts with the same keys answer neither.
            shortcut.enabled = False
            shortcut.deleteLater()
        self._shortcuts = []

    def onReload(self):
        """Read the library and the panel's parts again too, not only this file."""
        for name in [n for n in sys.modules if n.split(".")[0] in ("CTForgeryScanLib", "CTForgeryScanPanel")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        self.logic.abort()
        self.setParameterNode(None)
        self._unseenJob = None
        self._showResult(None)
        self.updateState()

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        self.setParameterNode(None)
        self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        """A result goes with its CT: left over, its outlines and heatmap would lie over the next one."""
        from CTForgeryScanLib import scene

        if not slicer.mrmlScene.IsClosing() and node.IsA("vtkMRMLScalarVolumeNode"):
            nodes = scene.result_nodes(node)
            if nodes:
                # Afterwards: the subject hierarchy may be removing a folder of which they are a part, too.
                qt.QTimer.singleShot(0, lambda: scene.remove_result(nodes))
            if self.logic.job is not None and self.logic.job.volumeNode is node:
                self.logic.abort()
                self._unseenJob = None
                self.updateState()

    def _addShortcuts(self):
        owner = slicer.util.mainWindow() or self.parent
        for name, keys in self.SHORTCUTS:
            control = getattr(self.ui, name)
            control.text = f"{control.text} ({keys})"
            control.toolTip = _("{tip}. Shortcut: {keys}").format(tip=control.toolTip, keys=keys)
            shortcut = qt.QShortcut(owner)
            shortcut.setKey(qt.QKeySequence(keys))
            shortcut.connect("activated()", self.onNextSliceKeys if keys == "Alt+Down" else control.click)
            shortcut.enabled = False
            # Kept, or it is gone with this function.
            self._shortcuts.append(shortcut)

    def onNextSliceKeys(self):
        """Alt+Down opens a combo box that has the focus, as elsewhere in Qt; a shortcut comes before the box."""
        focused = qt.QApplication.focusWidget()
        if hasattr(focused, "showPopup"):  # CTK's combo boxes too
            focused.showPopup()
        else:
            self.ui.nextSliceButton.click()

    # --- Parameters ------------------------------------------------------------------------------------------------

    def initializeParameterNode(self):
        """Take the scene's parameter node, and the CT in view, else the scene's first, where none is selected."""
        from CTForgeryScanLib import scene, views

        self._hideHeatmaps()  # those of a former scene no more: a CT may have such an ID now
        node = self._parameterNode or self.logic.getParameterNode()
        if node.inputVolume is None:
            # Label maps and colour images are scalar volumes too.
            cts = [
                volume
                for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                if volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not scene.is_heatmap(volume)
            ]
            node.inputVolume = next(filter(views.is_in_view, cts), next(iter(cts), None))
        if node is not self._parameterNode:
            self.setParameterNode(node)
        self._showResult(node.inputVolume)
        self.updateState()

    def _hideHeatmaps(self):
        """Leave the heatmaps out of the list of CTs: they are scalar volumes too."""
        from CTForgeryScanLib import scene

        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        hidden = [volume.GetID() for volume in volumes if scene.is_heatmap(volume)]
        self.ui.inputSelector.sortFilterProxyModel().hiddenNodeIDs = hidden

    def setParameterNode(self, parameterNode):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterNode.RemoveObserver(self._parameterTag)
        self._parameterNode, self._displayed = parameterNode, None
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self._fitRange(parameterNode.inputVolume, keep=True)
            self._displayed = self._displaySettings()
            # Not the mixin's way, which would keep the node for good.
            self._parameterTag = parameterNode.AddObserver(
                vtk.vtkCommand.ModifiedEvent, self.onParametersChanged
            )
            self._showSelected()

    def onParametersChanged(self, caller=None, event=None):
        """The user set something. The views change only for what is theirs: the CT, and how its result is drawn."""
        if self._parameterNode is None:
            return
        volume = self._parameterNode.inputVolume
        if volume is not self._shownVolume:
            self._showResult(volume)
            self._fitRange(volume)
        self._showSelected()
        self.updateState()
        if self._displaySettings() != self._displayed:
            self._displayed = self._displaySettings()
            self._applyDisplay()

    def _displaySettings(self):
        node = self._parameterNode
        heatmap = (node.showHeatmap, node.opacity, node.threshold, node.showLegend)
        return (node.inputVolume, *heatmap, node.showOutlines, node.showMarkers)

    def _fillSelectors(self):
        from CTForgeryScanLib import cards

        self._cards = {}
        self._defaultModel = cards.DEFAULT_MODEL
        for card in cards.list_models():
            self._offerModel(card["name"], card)
        for name, text in self.DEVICES:
            self.ui.deviceSelector.addItem(text, name)

    def _offerModel(self, model, card):
        """Add a model to the selector: a shipped one by name, or one that a script or a scene names by its folder."""
        self._cards[model] = card
        self.ui.modelSelector.addItem(card["name"], model)
        self.ui.modelSelector.setItemData(
            self.ui.modelSelector.count - 1, card["description"], qt.Qt.ToolTipRole
        )

    def _showSelected(self):
        """Show in the selectors what the parameter node says; the operating points are those of the model."""
        from CTForgeryScanLib import cards, errors

        node, ui = self._parameterNode, self.ui
        model = node.model or self._defaultModel
        if model not in self._cards:
            with contextlib.suppress(errors.ModelError):  # the scan will say what is wrong with it
                self._offerModel(model, cards.read_card(cards.find_model(model)))
        ui.modelSelector.setCurrentIndex(ui.modelSelector.findData(model))
        ui.deviceSelector.setCurrentIndex(ui.deviceSelector.findData(node.device))
        card = self._cards.get(model)
        points = card["operating_points"] if card else {}
        ui.operatingPointSelector.clear()
        for name, point in points.items():
            ui.operatingPointSelector.addItem(f"{name}: {point['text']}", name)
        chosen = node.operatingPoint or (card["default_operating_point"] if card else "")
        ui.operatingPointSelector.setCurrentIndex(ui.operatingPointSelector.findData(chosen))

    def onModel(self, index):
        self._parameterNode.model = self.ui.modelSelector.itemData(index)
        self._parameterNode.operatingPoint = ""

    def onOperatingPoint(self, index):
        self._parameterNode.operatingPoint = self.ui.operatingPointSelector.itemData(index)

    def onDevice(self, index):
        self._parameterNode.device = self.ui.deviceSelector.itemData(index)

    def onAllSlices(self, _checked=False):
        self._fitRange(self._parameterNode.inputVolume)

    def _fitRange(self, volume, keep=False):
        """All slices of a CT, or with ``keep`` those that are set, if it has them; the boxes allow no other."""
        node, count = self._parameterNode, self._count(volume)
        for box in (self.ui.firstSliceSpinBox, self.ui.lastSliceSpinBox):
            box.setMaximum(count - 1)
        # A new parameter node has 0 and 0.
        if not keep or node.lastSlice == 0 or node.lastSlice >= count:
            node.firstSlice = 0
            node.lastSlice = count - 1

    def _count(self, volume):
        return volume.GetImageData().GetDimensions()[2] if volume is not None and volume.GetImageData() else 1

    def _slices(self):
        """(a, b) to scan, or None for all. Raises ValueError where no slice is in view, or the range is empty."""
        from CTForgeryScanLib import scene, views

        node = self._parameterNode
        scene.check_scannable(node.inputVolume)
        if node.visibleSliceOnly:
            k = views.slice_in_view(node.inputVolume)
            if k is None:
                raise ValueError(_("No view shows a slice of the CT: show it, or scan a range."))
            return k, k + 1
        count = node.inputVolume.GetImageData().GetDimensions()[2]
        if node.lastSlice < node.firstSlice:
            raise ValueError(_("The range of slices is empty: the first is above the last."))
        return (
            None
            if (node.firstSlice, node.lastSlice) == (0, count - 1)
            else (node.firstSlice, node.lastSlice + 1)
        )

    # --- Scanning --------------------------------------------------------------------------------------------------

    def onScanOrCancel(self, _checked=False):
        if self.logic.job is not None and self.logic.job.isRunning:
            self.logic.cancel()
            self.updateState()
        else:
            self.startScan()

    def startScan(self):
        """Scan the selected CT in the background, as it is set in the panel."""
        node = self._parameterNode
        self._liveShown = False
        try:
            slices = self._slices()
            if not self._mayReplace(node.inputVolume, slices):
                return
            self.logic.scan(
                node.inputVolume,
                model=node.model or None,
                operatingPoint=node.operatingPoint or None,
                device=node.device,
                slices=slices,
                waitForCompletion=False,
                onChange=self.onJobChanged,
            )
        except (ValueError, RuntimeError, OSError) as error:
            self._say(str(error), failed=True)
            return
        self.updateState()

    def _mayReplace(self, volume, slices):
        """Whether the scan may begin: where it leaves out slices of the CT's result, only if the user says so."""
        earlier = self.logic.result(volume)
        if slices is None or earlier is None or not earlier["slices"]:
            return True
        first, stop = earlier["parameters"]["slices"]
        if slices[0] <= first and stop <= slices[1]:
            return True
        return slicer.util.confirmOkCancelDisplay(
            _("The result of slices {first}–{last} will be replaced by one of slices {a}–{b}.").format(
                first=first, last=stop - 1, a=slices[0], b=slices[1] - 1
            )
        )

    def onJobChanged(self, job):
        if job.liveHeatmap is not None and not self._liveShown and self.parent.isEntered:
            self._liveShown = True
            self._hideHeatmaps()
            self._applyDisplay()
        if not job.isRunning and self._parameterNode is not None:
            self._showResult(self._parameterNode.inputVolume)
            self._unseenJob = job
            if self.parent.isEntered:
                self._showFinished()
            elif job.result is not None:
                self._hideParts(job.volumeNode)
        self.updateState()

    def _hideParts(self, volume):
        """New nodes are visible: over whatever the user looks at in another module."""
        from CTForgeryScanLib import views

        views.show_parts(volume, legend=False, outlines=False, markers=False)

    def _showFinished(self):
        """Let the views show what the last scan found, once; at the latest when the user comes back to the module."""
        job, self._unseenJob = self._unseenJob, None
        if job is None:
            return
        self._applyDisplay()
        if job.result is not None and job.result["regions"] and job.volumeNode is self._shownVolume:
            self.resultSection.jumpToRegion(0)

    def updateState(self):
        """Show the words and enable the widgets of the state that the scan is in."""
        from CTForgeryScanPanel import texts
        from CTForgeryScanPanel.scanjob import ScanState

        job = self.logic.job
        state = job.state if job is not None else ScanState.IDLE
        look = texts.STATES[state]
        ready = self._parameterNode is not None and self._parameterNode.inputVolume is not None
        installed = not self.setupSection.missing
        ui = self.ui
        ui.scanButton.text = look.button
        ui.scanButton.enabled = look.buttonEnabled and ((ready and installed) or not look.inputsEnabled)
        for control in (ui.inputSelector, ui.modelSelector, ui.operatingPointSelector, ui.advancedSection):
            control.enabled = look.inputsEnabled
        ui.installButton.enabled = look.inputsEnabled
        ui.progressBar.visible = look.progressVisible
        if look.progressVisible:
            # A range of nothing shows that something is going on.
            ui.progressBar.setRange(0, 1000 if job.done else 0)
            share = job.done / job.of if job.evidenceShare is None else job.evidenceShare
            ui.progressBar.setValue(round(1000 * share))
            ui.progressBar.setFormat(texts.progressText(job))
        if state is ScanState.FAILED and ready and job.volumeNode is self._parameterNode.inputVolume:
            self._say(str(job.error), failed=True)
        elif not installed:
            self._say(_("Something that a scan needs is not installed: see Setup."))
        elif not ready:
            self._say(_("Load a CT (or the sample from Sample Data) and select it."))
        elif job is not None and job.result is not None and job.volumeNode is self._parameterNode.inputVolume:
            seconds, device = job.result["provenance"]["seconds"], job.result["provenance"]["device"]
            self._say(_("Scanned in {seconds:.1f} s on {device}.").format(seconds=seconds, device=device))
        else:
            self._say(look.words)

    def _say(self, text, failed=False):
        label = self.ui.statusLabel
        label.text = f"✗ {text}" if failed else text  # not by colour alone
        dark = label.palette.color(qt.QPalette.Window).lightness() < 128
        red = "#ff8a80" if dark else "#b3261e"
        label.styleSheet = f"QLabel {{ color: {red}; font-weight: bold; }}" if failed else ""

    # --- The result ------------------------------------------------------------------------------------------------

    def _showResult(self, volume):
        from CTForgeryScanLib import scene

        result = self.logic.result(volume) if volume is not None else None
        if result is not None:
            scene.follow(volume)
        if result is None or volume is not self._shownVolume or result != self.resultSection.result:
            self._observe(volume)
            self.resultSection.show(volume if result else None, result)
            for control in (self.ui.displaySection, self.ui.exportSection):
                control.visible = result is not None
        else:
            self.resultSection.fillPlaces()
            self.resultSection.fillNotes()
        self._hideHeatmaps()

    def _observe(self, volume):
        """Hear what becomes of a CT, and let go of the one before: the mixin's way would keep its voxels for good."""
        if volume is self._shownVolume:
            return
        for tag in self._volumeTags:
            self._shownVolume.RemoveObserver(tag)
        self._shownVolume, self._volumeTags = volume, []
        if volume is not None:
            for event in (
                vtk.vtkCommand.ModifiedEvent,
                volume.TransformModifiedEvent,
                volume.ReferenceAddedEvent,
                volume.ReferenceRemovedEvent,
            ):
                self._volumeTags.append(volume.AddObserver(event, self.onVolumeModified))

    def onVolumeModified(self, caller, event):
        """The CT was moved, by a transform or for good, its voxels were changed, or its result came or went.

        A result goes with its CT, the tables say where that is, and the notes that it was changed.
        """
        before = self.resultSection.result
        self._showResult(caller)
        if self.resultSection.result not in (None, before):
            self._applyDisplay()

    def jumpTo(self, volumeNode, ras):
        """Show the CT with its heatmap where it is not shown yet, and move the views to a place of its own RAS."""
        from CTForgeryScanLib import scene, views

        if not views.is_shown(volumeNode):
            self._applyDisplay()
        scene.follow(volumeNode)
        views.jump_to(volumeNode, ras)
        self.resultSection.markSliceInView()

    def _applyDisplay(self):
        """Let the views show the selected CT's result, or the heatmap that grows, as the Display section says.

        While another module is open, the views are the user's.
        """
        from CTForgeryScanLib import scene, views

        if not self.parent.isEntered:
            return
        self._observeViews()  # a new layout has new ones
        node, job = self._parameterNode, self.logic.job
        volume, heatmap = node.inputVolume, None
        if job is not None and job.isRunning:
            volume, heatmap = job.volumeNode, job.liveHeatmap
            if heatmap is None:
                return
        elif volume is None or volume.GetImageData() is None:
            return
        elif self.logic.result(volume) is None:
            views.show(volume, None, opacity=0.0, threshold=node.threshold)
            views.hide_parts_of_others(volume)
            return
        else:
            heatmap = scene.node_of(volume, scene.HEATMAP)
        opacity = node.opacity if node.showHeatmap else 0.0
        views.show(volume, heatmap, opacity=opacity, threshold=node.threshold)
        views.show_parts(
            volume,
            legend=node.showLegend and node.showHeatmap,
            outlines=node.showOutlines,
            markers=node.showMarkers,
        )
        views.hide_parts_of_others(volume)

    def _observeViews(self):
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if not self.hasObserver(view, vtk.vtkCommand.ModifiedEvent, self.onViewChanged):
                self.addObserver(view, vtk.vtkCommand.ModifiedEvent, self.onViewChanged)
        # Also while another module is open: outlines over a CT that is not theirs would be believed.
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if not self.hasObserver(view, vtk.vtkCommand.ModifiedEvent, self.onViewFilled):
                self.addObserver(view, vtk.vtkCommand.ModifiedEvent, self.onViewFilled)

    def _ignoreViews(self):
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if self.hasObserver(view, vtk.vtkCommand.ModifiedEvent, self.onViewChanged):
                self.removeObserver(view, vtk.vtkCommand.ModifiedEvent, self.onViewChanged)

    def onViewFilled(self, caller, event):
        """A view shows another CT, or the same again."""
        from CTForgeryScanLib import views

        if self.resultSection.result is not None:
            views.keep_parts_to_views_of(self._shownVolume)

    def onViewChanged(self, caller, event):
        self.resultSection.markSliceInView()

    # --- Export ----------------------------------------------------------------------------------------------------

    def onExport(self, _checked=False):
        folder = qt.QFileDialog.getExistingDirectory(self.parent, _("Folder for the result"))
        if folder:
            self.exportTo(Path(folder))

    def exportTo(self, folder):
        """Write the selected CT's result to a folder of its own, named after the CT, in ``folder``."""
        from CTForgeryScanLib import result_folder

        volume = self._parameterNode.inputVolume
        name = "".join("_" if c in '<>:"/\\|?*' else c for c in volume.GetName())
        # Neither the chosen folder itself nor the one above it; and Windows drops dots at the end.
        place = folder / (name.rstrip(". ") or "CT")
        try:
            sha256 = self.logic.result(volume)["provenance"]["input_sha256"]
            place, _replaced = result_folder.place_for(place, sha256)
            self.logic.exportResult(volume, place)
        except ValueError as error:
            self._say(str(error), failed=True)
        except (OSError, RuntimeError) as error:
            text = _("The result cannot be written to '{folder}': {error}")
            self._say(text.format(folder=place, error=error), failed=True)
        else:
            self._say(_("The result is in '{folder}'.").format(folder=place))

    def onTable(self, _checked=False):
        """Show the table of all slices in Slicer's table view."""
        from CTForgeryScanLib import scene

        table = scene.node_of(self._parameterNode.inputVolume, scene.SLICE_TABLE)
        layouts = slicer.app.layoutManager()
        if table is None or layouts is None:
            return
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
        layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        self._say(_("The table of all slices is the node '{name}'.").format(name=table.GetName()))

    def onCopy(self, _checked=False):
        qt.QApplication.clipboard().setText(self.logic.summary(self._parameterNode.inputVolume))
        self._say(_("The summary is on the clipboard."))


class CTForgeryScanTest(ScriptedLoadableModuleTest):
    """What "Reload and Test" runs: the bundled sample from Sample Data to a jump, with the real worker."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.logic = CTForgeryScanLogic()

    def tearDown(self):
        self.logic.cleanup()

    def runTest(self):
        for test in (self.test_sample, self.test_refusals):
            self.setUp()
            try:
                test()
            finally:
                self.tearDown()

    def test_sample(self):
        from CTForgeryScanLib import scene, views
        from CTForgeryScanLib.environment import find_packages

        missing = [found.package.name for found in find_packages() if not found.good]
        if missing:
            self.delayDisplay(f"Not tested, for these are not installed: {', '.join(missing)}")
            return
        self.delayDisplay("Scanning the sample")
        volume = slicer.util.loadVolume(resource(f"SampleData/{SAMPLE}.nrrd"))
        result = self.logic.scan(volume, device="cpu", slices=(9, 19))  # around the forged site
        self.assertEqual(result["verdict"], "suspicious")
        self.assertEqual([region["source"] for region in result["regions"]], ["cascade", "copied_noise"])
        heatmap = slicer.util.arrayFromVolume(scene.node_of(volume, scene.HEATMAP))
        self.assertEqual(len(heatmap), 10)
        self.assertAlmostEqual(float(heatmap.max()), max(s["peak_score"] for s in result["slices"]), places=5)
        views.show(volume, scene.node_of(volume, scene.HEATMAP), opacity=0.6, threshold=0.3)
        views.jump_to(volume, result["regions"][0]["center_ras"])
        if slicer.app.layoutManager() is not None:
            self.assertEqual(views.slice_in_view(volume), round(result["regions"][0]["center_ijk"][2]))
        self.assertIn("Suspicious", self.logic.summary(volume))
        self.delayDisplay("The forged site was found")

    def test_refusals(self):
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        with self.assertRaises((ValueError, RuntimeError)):
            self.logic.scan(empty)
        with self.assertRaises((ValueError, RuntimeError)):
            self.logic.scan(empty, model="no such model")
