"""The stand-in for Slicer itself: what it offers behaves as in Slicer, what Slicer does not have raises."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from SlicerHost.requirements import missing_display, missing_requirement
from SlicerHost.testcase import HostTestCase
from support import ROOT, SAMPLE

MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *


class HostExample(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Host example"


class HostExampleWidget(ScriptedLoadableModuleWidget):
    cleanups = 0

    def setup(self):
        super().setup()
        widget = slicer.util.loadUI(self.resourcePath("UI/HostExample.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.events = []
        self.ui.runButton.connect("clicked(bool)", lambda checked: self.events.append("run"))
        self.ui.table.connect("cellClicked(int,int)", lambda row, column: self.events.append((row, column)))

    def enter(self):
        self.events.append("enter")

    def cleanup(self):
        print("cleaned up")


class HostExampleTest(ScriptedLoadableModuleTest):
    def runTest(self):
        slicer.modules.HostExampleWidget.events.append("tested")
"""

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>HostExample</class>
 <widget class="qMRMLWidget" name="HostExample">
  <layout class="QVBoxLayout" name="verticalLayout">
   <item><widget class="qMRMLNodeComboBox" name="selector">
    <property name="nodeTypes"><stringlist notr="true"><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
    <property name="SlicerParameterName" stdset="0"><string>volume</string></property>
   </widget></item>
   <item><widget class="ctkCollapsibleButton" name="section">
    <property name="text"><string>Section</string></property>
    <layout class="QFormLayout" name="formLayout">
     <item row="0" column="1"><widget class="ctkSliderWidget" name="slider">
      <property name="singleStep"><double>0.01</double></property>
      <property name="SlicerParameterName" stdset="0"><string>threshold</string></property>
     </widget></item>
     <item row="1" column="1"><widget class="QComboBox" name="colors">
      <property name="SlicerParameterName" stdset="0"><string>color</string></property>
     </widget></item>
    </layout>
   </widget></item>
   <item><widget class="QPushButton" name="runButton">
    <property name="text"><string>Run</string></property>
   </widget></item>
   <item><widget class="QTableWidget" name="table">
    <property name="rowCount"><number>40</number></property><property name="columnCount"><number>2</number></property>
   </widget></item>
   %s
  </layout>
 </widget>
 <connections><connection>
  <sender>HostExample</sender><signal>%s</signal>
  <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
 </connection></connections>
</ui>
"""


def write_module(folder: Path) -> Path:
    """A small scripted module; its file."""
    interface = folder / "Resources" / "UI" / "HostExample.ui"
    interface.parent.mkdir(parents=True)
    interface.write_text(UI % ("", "mrmlSceneChanged(vtkMRMLScene*)"), encoding="utf-8")
    (folder / "HostExample.py").write_text(MODULE, encoding="utf-8")
    return folder / "HostExample.py"


def run_program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``python -m SlicerHost`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "SlicerHost", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "Testing")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def volume(name: str = "CT", shape: tuple[int, int, int] = (6, 40, 50)) -> Any:
    """A volume node with IJK-to-RAS the usual LPS to RAS."""
    import slicer

    return slicer.util.addVolumeFromArray(np.zeros(shape, np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]), name)


class PythonQtTest(HostTestCase):
    """Qt by PythonQt's rules."""

    def test_a_property_is_an_attribute_and_setters_stay(self) -> None:
        import qt

        button = qt.QPushButton("Scan")
        self.assertEqual(button.text, "Scan")
        button.text = "Cancel"
        button.setCheckable(True)
        button.name = "scanButton"
        self.assertEqual((button.text, button.checkable, button.objectName), ("Cancel", True, "scanButton"))

    def test_what_a_widget_does_not_have_raises(self) -> None:
        import ctk
        import qt
        import slicer

        for widget in (qt.QLabel(), ctk.ctkSliderWidget(), slicer.qMRMLNodeComboBox(), slicer.app):
            with self.subTest(widget.className()):
                with self.assertRaises(AttributeError):
                    _ = widget.texd
                with self.assertRaises(AttributeError):
                    widget.texd = "x"
        with self.assertRaises(AttributeError):
            qt.QLabel().setText = print
        with self.assertRaises(AttributeError):
            qt.QTableWidgetItem("1").row = 1

    def test_what_pythonqt_does_not_have_is_not_there(self) -> None:
        import ctk
        import qt
        import slicer

        for module, name in (
            (qt, "Signal"),
            (qt, "QSignalBlocker"),
            (ctk, "ctkNoWidget"),
            (slicer, "arrayFromVolume"),
        ):
            with self.subTest(name), self.assertRaises(AttributeError):
                getattr(module, name)
        with self.assertRaises(TypeError):
            qt.QLabel("text").setText(text="keyword")

    def test_signals_connect_by_signature_and_by_name(self) -> None:
        import qt

        seen: list[Any] = []
        box = qt.QCheckBox("x")
        box.connect("toggled(bool)", seen.append)
        box.stateChanged.connect(lambda state: seen.append("state"))
        box.checked = True
        self.assertCountEqual(seen, [True, "state"])
        with self.assertRaisesRegex(ValueError, "toggledd"):
            box.connect("toggledd(bool)", print)

    def test_what_qt_made_itself_follows_the_rules(self) -> None:
        import qt

        table = qt.QTableWidget(2, 2)
        header = table.horizontalHeader()
        header.visible = False
        self.assertFalse(header.visible)
        self.assertIsInstance(header, qt.QHeaderView)
        with self.assertRaises(AttributeError):
            header.visibel = True

    def test_an_item_cannot_be_sorted_by_a_python_method(self) -> None:
        import qt

        with self.assertRaisesRegex(TypeError, "__lt__"):
            type("Item", (qt.QTableWidgetItem,), {"__lt__": lambda self, other: True})


class UiFileTest(HostTestCase):
    """.ui files: what Qt passes over is an error."""

    def load(self, extra: str = "", signal: str = "mrmlSceneChanged(vtkMRMLScene*)") -> Any:
        import slicer

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.ui")
            path.write_text(UI % (extra, signal), encoding="utf-8")
            return slicer.util.loadUI(str(path))

    def test_widgets_get_their_names_properties_and_connections(self) -> None:
        import slicer

        root = self.load()
        ui = slicer.util.childWidgetVariables(root)
        node = volume()
        root.setMRMLScene(slicer.mrmlScene)
        self.assertEqual(ui.slider.singleStep, 0.01)
        self.assertEqual(ui.slider.property("SlicerParameterName"), "threshold")
        self.assertIs(ui.selector.currentNode(), node)

    def test_an_unknown_class_property_or_signal_raises(self) -> None:
        item = '<item><widget class="{}" name="w"><property name="{}"><string>x</string></property></widget></item>'
        with self.assertRaisesRegex(RuntimeError, "ctkNoWidget"):
            self.load(item.format("ctkNoWidget", "text"))
        with self.assertRaisesRegex(RuntimeError, "texd"):
            self.load(item.format("QLabel", "texd"))
        with self.assertRaisesRegex(ValueError, "sceneChanged"):
            self.load(signal="sceneChanged(vtkMRMLScene*)")


class WidgetTest(HostTestCase):
    """The stand-ins for CTK's and Slicer's widgets."""

    def test_a_node_selector_follows_the_scene(self) -> None:
        import slicer

        selector = slicer.qMRMLNodeComboBox()
        seen: list[Any] = []
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False
        selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
        selector.setMRMLScene(slicer.mrmlScene)
        first, second = volume("first"), volume("second")
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        self.assertEqual((selector.nodeCount(), selector.currentNode()), (2, first))
        second.SetName("renamed")
        self.assertEqual(selector.findChild("QComboBox").itemText(1), "renamed")
        slicer.mrmlScene.RemoveNode(first)
        slicer.mrmlScene.Clear()
        self.assertEqual(seen, [first, second, None])
        selector.setMRMLScene(None)

    def test_a_section_folds_and_hides_only_what_it_showed(self) -> None:
        import ctk
        import qt

        from SlicerHost import hands

        section = ctk.ctkCollapsibleButton("Section")
        layout = qt.QVBoxLayout(section)
        shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
        layout.addWidget(shown)
        layout.addWidget(hidden)
        hidden.hide()
        section.show()
        hands.click(section)
        self.assertTrue(section.collapsed)
        self.assertFalse(shown.visible)
        section.collapsed = False
        self.assertEqual((shown.visible, hidden.visible), (True, False))
        section.hide()

    def test_slider_and_range(self) -> None:
        import ctk

        seen: list[Any] = []
        slider = ctk.ctkSliderWidget()
        slider.minimum, slider.maximum, slider.singleStep, slider.decimals = 0.0, 1.0, 0.05, 2
        slider.connect("valueChanged(double)", seen.append)
        slider.value = 0.35
        both = ctk.ctkRangeWidget()
        both.connect("valuesChanged(double,double)", lambda low, high: seen.append((low, high)))
        both.setValues(10, 20)
        self.assertEqual(seen, [0.35, (10.0, 20.0)])


class ParameterNodeTest(HostTestCase):
    """``slicer.parameterNodeWrapper``."""

    def wrap(self) -> Any:
        import enum
        import pathlib

        import slicer
        from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

        color: Any = enum.Enum("color", "RED GREEN")
        fields = {
            "volume": slicer.vtkMRMLScalarVolumeNode,
            "threshold": Annotated[float, WithinRange(0, 1)],
            "color": color,
            "path": pathlib.Path,
            "shown": bool,
        }
        wrapper = parameterNodeWrapper(type("Parameters", (), {"__annotations__": fields, "threshold": 0.25}))
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")
        return wrapper(node), color

    def test_fields_have_types_and_defaults_and_live_in_the_node(self) -> None:
        parameters, color = self.wrap()
        self.assertEqual((parameters.threshold, parameters.color, parameters.volume), (0.25, color.RED, None))
        parameters.volume, parameters.color, parameters.shown = volume(), color.GREEN, True
        again = type(parameters)(parameters.parameterNode)
        self.assertEqual((again.volume.GetName(), again.color, again.shown), ("CT", color.GREEN, True))
        for name, value, error in (
            ("threshold", 2.0, ValueError),
            ("threshold", "0.5", TypeError),
            ("volume", parameters.parameterNode, TypeError),
            ("treshold", 0.5, AttributeError),
        ):
            with self.subTest(name, value=value), self.assertRaises(error):
                setattr(parameters, name, value)

    def test_widgets_and_fields_follow_each_other(self) -> None:
        import slicer
        import vtk

        root = UiFileTest.load(UiFileTest())
        ui = slicer.util.childWidgetVariables(root)
        root.setMRMLScene(slicer.mrmlScene)
        parameters, color = self.wrap()
        tag = parameters.connectGui(ui)
        self.assertEqual((ui.slider.value, ui.slider.maximum, ui.colors.count), (0.25, 1.0, 2))
        changes: list[str] = []
        parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: changes.append(event))
        ui.slider.value = 0.75
        ui.colors.currentIndex = 1
        self.assertEqual((parameters.threshold, parameters.color), (0.75, color.GREEN))
        self.assertEqual(len(changes), 2)
        node = volume()
        self.assertIs(parameters.volume, node)
        parameters.threshold = 0.5
        self.assertEqual(ui.slider.value, 0.5)
        parameters.disconnectGui(tag)
        ui.slider.value = 0.1
        self.assertEqual(parameters.threshold, 0.5)

    def test_a_widget_that_cannot_show_its_field_raises(self) -> None:
        import qt

        parameters, _ = self.wrap()
        for name, widget in (
            ("threshold", qt.QLineEdit()),
            ("shown", qt.QGroupBox()),
            ("volume", qt.QComboBox()),
        ):
            with self.subTest(name), self.assertRaises(RuntimeError):
                parameters.connectParametersToGui({name: widget})


class ModuleTest(HostTestCase):
    """A scripted module, its panel and the hands that use it."""

    folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.module = write_module(Path(cls.folder.name))
        super().setUpClass()

    def test_it_is_listed_opened_and_reloaded(self) -> None:
        import slicer

        self.assertEqual(slicer.util.selectedModule(), "HostExample")
        self.assertEqual(slicer.modules.hostexample.title, "Host example")
        self.assertEqual(self.widget.events, [], "like Slicer, a reload does not enter")
        self.widget.parent.exit()
        self.widget.parent.enter()
        self.assertEqual(self.widget.events, ["enter"])
        self.assertIs(slicer.util.getModuleWidget("HostExample"), self.widget)
        slicer.util.reloadScriptedModule("HostExample")
        self.assertIsNot(slicer.util.getModuleWidget("HostExample"), self.widget)
        slicer.selfTests["HostExample"]()
        self.assertIn("tested", slicer.modules.HostExampleWidget.events)

    def test_hands_click_and_press(self) -> None:
        from SlicerHost import hands

        self.widget.events.clear()
        hands.click(self.widget.ui.runButton)
        hands.press(self.widget.ui.runButton, "Space")
        hands.click_cell(self.widget.ui.table, 39, 1)
        self.assertEqual(self.widget.events, ["run", "run", (39, 1)])
        hands.press(self.widget.ui.table, "Up")
        self.assertEqual(self.widget.ui.table.currentRow(), 38)

    def test_hands_choose(self) -> None:
        from SlicerHost import hands

        volume("first")
        volume("second")
        hands.choose(self.widget.ui.selector, "second")
        self.assertEqual(self.widget.ui.selector.currentNode().GetName(), "second")

    def test_hands_do_not_reach_what_a_person_could_not(self) -> None:
        from SlicerHost import hands

        ui = self.widget.ui
        ui.runButton.enabled = False
        ui.section.collapsed = True
        for widget in (ui.runButton, ui.slider):
            with self.subTest(widget.name), self.assertRaises(hands.CannotReach):
                hands.click(widget)
        with self.assertRaises(hands.CannotReach):
            hands.click_cell(ui.table, 40)

    def test_message_boxes_are_answered(self) -> None:
        import slicer

        from SlicerHost import hands

        with hands.answering("Cancel", "OK") as texts:
            self.assertFalse(slicer.util.confirmOkCancelDisplay("really?"))
            slicer.util.errorDisplay("it failed")
        self.assertEqual(texts, ["really?", "it failed"])

    def test_a_shortcut_reacts_wherever_the_focus_is(self) -> None:
        import qt
        import slicer

        from SlicerHost import hands

        seen: list[str] = []
        shortcut = qt.QShortcut(slicer.util.mainWindow())
        shortcut.setKey(qt.QKeySequence("Ctrl+J"))
        shortcut.connect("activated()", lambda: seen.append("jump"))
        hands.press(self.widget.ui.table, "Ctrl+J")
        self.assertEqual(seen, ["jump"])
        shortcut.delete()


class SceneTest(HostTestCase):
    """Scene, logics and files: Slicer's own."""

    def test_a_scene_is_saved_and_loaded(self) -> None:
        import slicer

        hierarchy = slicer.vtkMRMLSubjectHierarchyNode
        node = volume()
        slicer.util.arrayFromVolume(node)[2, 3, 4] = 99
        items = hierarchy.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = items.CreateFolderItem(items.GetSceneItemID(), "Patient")
        items.SetItemParent(items.GetItemByDataNode(node), folder)
        del items
        with tempfile.TemporaryDirectory() as place:
            path = str(Path(place, "scene.mrb"))
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            slicer.util.loadScene(path)
        node = slicer.util.getNode("CT")
        items = hierarchy.GetSubjectHierarchyNode(slicer.mrmlScene)
        self.assertEqual(slicer.util.arrayFromVolume(node)[2, 3, 4], 99)
        parent = items.GetItemParent(items.GetItemByDataNode(node))
        self.assertEqual(items.GetItemName(parent), "Patient")

    def test_what_cannot_be_loaded_raises(self) -> None:
        import slicer

        with self.assertRaisesRegex(RuntimeError, "not found"):
            slicer.util.loadVolume("no such file.nrrd")

    def test_colours_legend_tables_and_plots_are_there(self) -> None:
        import slicer

        node = volume()
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileInferno.txt")
        self.assertEqual(node.GetDisplayNode().GetColorNode().GetNumberOfColors(), 256)
        legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
        self.assertTrue(legend.GetVisibility())
        chart = slicer.util.plot(np.eye(3), 0, title="p")
        self.assertEqual(chart.GetNumberOfPlotSeriesNodes(), 2)

    def test_sample_data_are_registered_and_loaded(self) -> None:
        import SampleData
        import slicer

        register = SampleData.SampleDataLogic.registerCustomSampleDataSource
        register(
            category="Host", sampleName="One", uris=SAMPLE.as_uri(), fileNames="one.nrrd", nodeNames="One"
        )
        self.addCleanup(slicer.modules.sampleDataSources.pop, "Host")
        self.assertEqual(SampleData.downloadSample("One").GetName(), "One")
        with self.assertRaises(TypeError):
            register(category="Host", description="no such argument")


class SliceViewTest(HostTestCase):
    """Slice views draw what the scene holds, where it lies."""

    def view(self, name: str = "Red") -> Any:
        import slicer

        return slicer.app.layoutManager().sliceWidget(name).sliceView()

    def picture(self) -> Any:
        """The red view as RGB, ``[y, x, 3]``, y downwards."""
        from PySide6.QtGui import QImage
        from PySide6.QtWidgets import QWidget

        from SlicerHost import hands

        hands.process_events()
        image = QWidget.grab(self.view()).toImage().convertToFormat(QImage.Format.Format_RGB888)
        rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
        return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)

    def show_block(self) -> Any:
        import slicer

        node = volume()
        slicer.util.arrayFromVolume(node)[:, 10:20, 30:40] = 1000
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevelMinMax(0, 1000)
        node.GetDisplayNode().InterpolateOff()
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        return node

    def test_a_voxel_is_drawn_where_the_coordinates_say_to_half_a_pixel(self) -> None:
        self.show_block()
        bright = np.argwhere(self.picture()[:, :, 0] > 128)
        lowest, highest = bright.min(0), bright.max(0) + 1  # y downwards, x
        view = self.view()
        # The block's corners in RAS: half a voxel outside its outer voxel centres, R = -i, A = -j.
        for (i, j), corner in (((29.5, 9.5), lowest), ((39.5, 19.5), highest)):
            x, y, _ = view.convertRASToXYZ((-i, -j, 4.0))
            self.assertAlmostEqual(x + 0.5, corner[1], delta=0.51)
            self.assertAlmostEqual(view.height - (y + 0.5), corner[0], delta=0.51)

    def test_a_segment_is_drawn_over_it(self) -> None:
        import slicer

        node = self.show_block()
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        segment = segmentation.GetSegmentation().AddEmptySegment("r1", "r1", [1, 0, 0])
        mask = np.zeros((6, 40, 50), np.uint8)
        mask[:, 10:20, 30:40] = 1
        before = self.picture()
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, node)
        red, _, blue = np.moveaxis(self.picture(), 2, 0)
        self.assertGreater(np.count_nonzero(red - blue > 64), 1000)
        self.assertEqual(np.count_nonzero(before[:, :, 0] != before[:, :, 2]), 0)

    def test_wheel_and_keys_move_the_slice_and_a_drag_zooms(self) -> None:
        import slicer
        from PySide6.QtCore import Qt

        from SlicerHost import hands

        self.show_block()
        logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
        start = logic.GetSliceOffset()
        hands.turn_wheel(self.view(), 1)
        self.assertAlmostEqual(logic.GetSliceOffset(), start + 2.0)
        hands.press(self.view(), "b")
        self.assertAlmostEqual(logic.GetSliceOffset(), start)
        slice_node = self.view().mrmlSliceNode()
        width = slice_node.GetFieldOfView()[0]
        x, y = self.view().width // 2, self.view().height // 2
        hands.drag(self.view(), (x, y), (x, y + 80), button=Qt.MouseButton.RightButton)
        self.assertNotAlmostEqual(slice_node.GetFieldOfView()[0], width)

    def test_a_jump_moves_every_view(self) -> None:
        import slicer

        self.show_block()
        mode = slicer.vtkMRMLSliceNode.OffsetJumpSlice
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, -12.0, -9.0, 6.0, mode)
        layouts = slicer.app.layoutManager()
        for name, axis, expected in (("Red", 2, 6.0), ("Yellow", 0, -12.0), ("Green", 1, -9.0)):
            with self.subTest(name):
                matrix = layouts.sliceWidget(name).mrmlSliceNode().GetSliceToRAS()
                self.assertAlmostEqual(matrix.GetElement(axis, 3), expected)

    def test_the_theme_changes_the_panel(self) -> None:
        import qt
        import slicer

        from SlicerHost import hands
        from SlicerHost.theme import apply_theme

        self.addCleanup(apply_theme, slicer.app, "light")
        for theme, dark in (("dark", True), ("light", False)):
            apply_theme(slicer.app, theme)
            hands.process_events()
            color = slicer.util.mainWindow().palette.color(qt.QPalette.Window)
            self.assertEqual(color.lightness() < 128, dark)


class ErrorTest(HostTestCase):
    """Whatever Qt and VTK only print fails the test."""

    def outcome(self, body: Any) -> str:
        """What a test with that body is reported with; empty if it passes."""
        case = type("Inner", (HostTestCase,), {"test": lambda self: body()})("test")
        result = unittest.TestResult()
        HostTestCase.run(case, result)
        return "\n".join(text for _, text in [*result.failures, *result.errors])

    def test_a_clean_test_passes(self) -> None:
        self.assertEqual(self.outcome(lambda: None), "")

    def test_an_exception_in_a_slot_fails_it(self) -> None:
        import qt

        self.assertIn("ZeroDivisionError", self.outcome(lambda: qt.QTimer.singleShot(0, lambda: 1 // 0)))

    def test_an_exception_in_an_observer_fails_it(self) -> None:
        import slicer

        def observe() -> None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
            node.AddObserver("ModifiedEvent", lambda caller, event: [][1])
            node.Modified()

        self.assertIn("IndexError", self.outcome(observe))

    def test_an_error_of_vtk_fails_it(self) -> None:
        import vtk

        self.assertIn("ERROR", self.outcome(lambda: vtk.vtkImageResize().Update()))

    def test_a_warning_of_qt_fails_it(self) -> None:
        import qt

        self.assertIn("QPainter", self.outcome(lambda: qt.QPainter(qt.QPixmap()).drawPoint(0, 0)))


@unittest.skipIf(missing_requirement(), missing_requirement() or "")
class ProgramTest(unittest.TestCase):
    """``python -m SlicerHost``, and what ends with a process."""

    def test_without_main_window_there_are_no_views(self) -> None:
        code = (
            "import slicer; print(slicer.util.mainWindow(), slicer.app.layoutManager()); slicer.util.exit(3)"
        )
        done = run_program("--no-main-window", "--python-code", code)
        self.assertEqual((done.returncode, done.stdout.strip()), (3, "None None"), done.stderr)

    def test_a_script_gets_its_arguments_and_its_failure_is_the_status(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "script.py")
            script.write_text("import sys; print(sys.argv[1:]); raise RuntimeError('no')", encoding="utf-8")
            done = run_program("--no-main-window", "--python-script", script, "a", "--b")
        self.assertEqual(done.stdout.strip(), "['a', '--b']")
        self.assertEqual(done.returncode, 1)
        self.assertIn("RuntimeError: no", done.stderr)

    def test_a_panel_cleans_up_when_the_application_quits(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_module(Path(folder))
            options = ("--additional-module-paths", folder, "--select", "HostExample")
            done = run_program(*options, "--picture", Path(folder, "window.png"))
            self.assertTrue(Path(folder, "window.png").is_file(), done.stderr)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "cleaned up"), done.stderr)

    def test_python_slicer_is_a_launcher_in_the_path(self) -> None:
        code = (
            "import os, slicer\n"
            "child = 'import os; print(os.getppid())'\n"
            "process = slicer.util.launchConsoleProcess(['PythonSlicer', '-c', child], useStartupEnvironment=False)\n"
            "slicer.util.logProcessOutput(process)\n"
            "print(os.getpid())\n"
            "slicer.util.exit(0)"
        )
        done = run_program("--no-main-window", "--python-code", code)
        parent, own = done.stdout.split()
        self.assertNotEqual(parent, own, "the interpreter is a grandchild, as in Slicer")

    @unittest.skipUnless(missing_display(), "there is a display, on which a window would come up")
    def test_without_a_display_one_sentence_says_so(self) -> None:
        done = run_program()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\A[^\n]*(display|apt-get)[^\n]*\n\Z")


if __name__ == "__main__":
    unittest.main()
