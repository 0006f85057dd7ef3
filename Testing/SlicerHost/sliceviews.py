"""Slice views: Slicer's slice logic and displayable managers draw off-screen, a widget paints the picture.

So a view is seen with any Qt platform, and ``QWidget.grab()`` sees it too.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property
from PySide6.QtGui import QImage

from .pythonqt import qt, stands_in

DISPLAYABLE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)

COLORS = {"Red": (0.953, 0.290, 0.200), "Yellow": (0.929, 0.835, 0.298), "Green": (0.431, 0.690, 0.294)}
"""View name -> colour of its bar and its slice, RGB."""

BUTTONS = {
    qt.Qt.LeftButton: "LeftButton",
    qt.Qt.MiddleButton: "MiddleButton",
    qt.Qt.RightButton: "RightButton",
}
KEYS = {qt.Qt.Key_Left: "Left", qt.Qt.Key_Right: "Right", qt.Qt.Key_Up: "Up", qt.Qt.Key_Down: "Down"}


@stands_in(slicer)
class qMRMLSliceView(qt.QWidget):
    """The picture of a slice, and the mouse and keys in it."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setFocusPolicy(qt.Qt.StrongFocus)
        self.setMinimumSize(80, 80)
        self._rendering_scheduled = False
        self._pixels = vtk.vtkUnsignedCharArray()

        self._renderer = vtk.vtkRenderer()
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())

        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._image)

    def _show(self, logic: Any, node: Any) -> None:
        """Joins the view with a slice logic and its slice node, once."""
        self._logic, self._node = logic, node
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        for name in DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self._renderer)
        self._managers.Initialize(factory, self._renderer)
        self._managers.SetMRMLDisplayableNode(node)
        self._managers.AddObserver(vtk.vtkCommand.UpdateEvent, self.scheduleRender)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(logic)
        self._style.SetDisplayableManagers(self._managers)
        self._style.SetInteractor(self._interactor)
        self._logic_observer = logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update_image)
        self._update_image()

    def _update_image(self, *_event: Any) -> None:
        source = self._logic.GetImageDataConnection()
        self._image.GetMapper().SetInputConnection(source)
        self._image.SetVisibility(source is not None)
        self.scheduleRender()

    def _close(self) -> None:
        """Lets go of the scene, so that it can be emptied without being drawn."""
        self._logic.RemoveObserver(self._logic_observer)
        self._managers.SetMRMLDisplayableNode(None)

    # What a module may call

    def mrmlSliceNode(self) -> Any:
        return self._node

    def renderWindow(self) -> Any:
        return self._window

    def interactor(self) -> Any:
        return self._interactor

    def interactorStyle(self) -> Any:
        return self._style

    def scheduleRender(self, *_event: Any) -> None:
        if not self._rendering_scheduled and not slicer.app._renders_paused:
            self._rendering_scheduled = True
            qt.QTimer.singleShot(0, self._flush)

    def _flush(self) -> None:
        self._rendering_scheduled = False
        self.update()

    def forceRender(self) -> None:
        self.repaint()

    def convertDeviceToXYZ(self, position: Any) -> tuple[float, float, float]:
        """View coordinates, whose y goes up, of a place in the widget's pixels."""
        return (position[0], self.height - position[1] - 1, 0)

    def convertXYZToRAS(self, xyz: Any) -> tuple[float, ...]:
        return tuple(self._node.GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])

    def convertRASToXYZ(self, ras: Any) -> tuple[float, ...]:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return tuple(inverse.MultiplyPoint((*ras, 1.0))[:3])

    # Qt's events

    def resizeEvent(self, event: Any) -> None:
        width, height = max(2, event.size().width()), max(2, event.size().height())
        self._window.SetSize(width, height)
        self._interactor.SetSize(width, height)
        self._interactor.ConfigureEvent()
        self._logic.ResizeSliceNode(width, height)

    def paintEvent(self, event: Any) -> None:
        self._window.Render()
        width, height = self._window.GetSize()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, self._pixels)
        image = QImage(memoryview(self._pixels), width, height, QImage.Format.Format_RGBX8888)
        painter = qt.QPainter(self)
        painter.drawImage(0, 0, image.flipped(qt.Qt.Vertical))
        painter.end()

    def _tell_interactor(self, event: Any) -> None:
        place, keys = event.position(), event.modifiers()
        control, shift = bool(keys & qt.Qt.ControlModifier), bool(keys & qt.Qt.ShiftModifier)
        self._interactor.SetEventInformationFlipY(
            int(place.x()), int(place.y()), int(control), int(shift), chr(0), 0, None
        )

    def mousePressEvent(self, event: Any) -> None:
        self._tell_interactor(event)
        self._button_event(event, "PressEvent")

    def mouseReleaseEvent(self, event: Any) -> None:
        self._tell_interactor(event)
        self._button_event(event, "ReleaseEvent")

    def _button_event(self, event: Any, kind: str) -> None:
        button = BUTTONS.get(event.button())
        if button:
            getattr(self._interactor, button + kind)()

    def mouseMoveEvent(self, event: Any) -> None:
        self._tell_interactor(event)
        self._interactor.MouseMoveEvent()

    def wheelEvent(self, event: Any) -> None:
        self._tell_interactor(event)
        if event.angleDelta().y() > 0:
            self._interactor.MouseWheelForwardEvent()
        else:
            self._interactor.MouseWheelBackwardEvent()

    def enterEvent(self, event: Any) -> None:
        self._interactor.EnterEvent()

    def leaveEvent(self, event: Any) -> None:
        self._interactor.LeaveEvent()

    def keyPressEvent(self, event: Any) -> None:
        symbol = KEYS.get(event.key(), event.text())
        keys = event.modifiers()
        self._interactor.SetKeyEventInformation(
            int(bool(keys & qt.Qt.ControlModifier)),
            int(bool(keys & qt.Qt.ShiftModifier)),
            event.text()[:1] or chr(0),
            1,
            symbol,
        )
        self._interactor.KeyPressEvent()
        self._interactor.CharEvent()


@stands_in(slicer)
class qMRMLSliceController(qt.QWidget):
    """The bar over a view: its name, a slider over the slices, the offset."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._label = qt.QLabel()
        self._slider = qt.QSlider(qt.Qt.Horizontal)
        self._offset = qt.QLabel()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        for widget in (self._label, self._slider, self._offset):
            layout.addWidget(widget)
        layout.setStretch(1, 1)
        self.setFixedHeight(24)
        self._lowest, self._resolution = 0.0, 1.0

    def _show(self, logic: Any, node: Any) -> None:
        self._logic, self._node = logic, node
        red, green, blue = (round(255 * value) for value in node.GetLayoutColor())
        self.setAutoFillBackground(True)
        palette = self.palette
        palette.setColor(qt.QPalette.Window, qt.QColor(red, green, blue))
        palette.setColor(qt.QPalette.WindowText, qt.QColor(0, 0, 0))
        self.setPalette(palette)
        self._label.setText(node.GetLayoutLabel())
        self._slider.valueChanged.connect(self._slid)
        for subject in (logic, node):
            subject.AddObserver(vtk.vtkCommand.ModifiedEvent, self._follow)
        self._follow()

    def _slid(self, step: int) -> None:
        self._logic.SetSliceOffset(self._lowest + step * self._resolution)

    def _follow(self, *_event: Any) -> None:
        """Puts the slider where the slice is."""
        span, resolution = [0.0, 0.0], vtk.reference(1.0)
        offset = self._logic.GetSliceOffset()
        self._offset.setText(f"{offset:.2f} mm")
        if not self._logic.GetSliceOffsetRangeResolution(span, resolution) or resolution.get() <= 0:
            return
        self._lowest, self._resolution = span[0], resolution.get()
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, round((span[1] - span[0]) / self._resolution))
        self._slider.setValue(round((offset - self._lowest) / self._resolution))
        self._slider.blockSignals(blocked)

    def mrmlSliceNode(self) -> Any:
        return self._node

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@stands_in(slicer)
class qMRMLSliceWidget(qt.QWidget):
    """A slice view with its bar: what ``layoutManager().sliceWidget(name)`` returns."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._controller = qMRMLSliceController()
        self._view = qMRMLSliceView()
        layout = qt.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)

    def _make_logic(self, application_logic: Any, scene: Any, name: str, orientation: str) -> None:
        """The slice logic of the node that the layout made, entered where the application looks for it."""
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        self._logic.SetSliceNode(node)
        node.SetOrientation(orientation)
        node.SetLayoutColor(*COLORS[name])
        node.SetLayoutLabel(name[0])
        node.SetMappedInLayout(1)
        node.SetInteractionNode(application_logic.GetInteractionNode())
        self._view._show(self._logic, node)
        self._controller._show(self._logic, node)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> Any:
        return self._view

    def sliceController(self) -> Any:
        return self._controller

    def interactorStyle(self) -> Any:
        return self._view.interactorStyle()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def _orientation(self) -> str:
        return str(self.mrmlSliceNode().GetOrientation())

    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    sliceOrientation = Property(str, _orientation, setSliceOrientation)


def make_slice_widget(application_logic: Any, scene: Any, name: str, orientation: str) -> Any:
    """A slice view of the scene, ``name`` being one of ``COLORS``."""
    widget = qMRMLSliceWidget()
    widget._make_logic(application_logic, scene, name, orientation)
    return widget
