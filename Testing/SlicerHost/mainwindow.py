"""The main window: the panel of the selected module beside three slice views."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property, Signal

from .ctkwidgets import ctkCollapsibleButton
from .modules import qSlicerScriptedLoadableModule
from .pythonqt import qt, stands_in
from .sliceviews import make_slice_widget

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
PANEL_WIDTH = 480


class qSlicerLayoutManager:
    """``slicer.app.layoutManager()``: the slice views; there are no others, and setting a layout moves nothing."""

    __slots__ = ("_slice_widgets", "layout")
    threeDViewCount = tableViewCount = plotViewCount = 0

    def __init__(self, slice_widgets: dict[str, Any]) -> None:
        self._slice_widgets = slice_widgets
        self.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slice_widgets)

    def sliceWidget(self, name: str) -> Any:
        return self._slice_widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._slice_widgets.values():
            widget.fitSliceToBackground()

    def setLayout(self, layout: int) -> None:
        self.layout = layout


@stands_in(slicer)
class qSlicerModulePanel(qt.QScrollArea):
    """The left side: help and acknowledgement, and below it the module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.name = "ModulePanel"
        self.setWidgetResizable(True)
        self.setMinimumWidth(PANEL_WIDTH)
        self.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        content = qt.QWidget()
        self._layout = qt.QVBoxLayout(content)
        self._layout.setContentsMargins(4, 4, 4, 4)
        self._help = ctkCollapsibleButton("Help & Acknowledgement")
        self._help_text = qt.QTextBrowser()
        self._help_text.setOpenExternalLinks(True)
        qt.QVBoxLayout(self._help).addWidget(self._help_text)
        self._help.collapsed = True
        self._layout.addWidget(self._help, 0, qt.Qt.AlignTop)
        self.setWidget(content)
        self._module: Any = None

    def _help_visible(self) -> bool:
        return not self._help.isHidden()

    def _set_help_visible(self, visible: bool) -> None:
        self._help.setVisible(visible)

    helpAndAcknowledgmentVisible = Property(bool, _help_visible, _set_help_visible)

    def setModule(self, name: str) -> None:
        """Leaves the module that is shown and enters another."""
        if self._module is not None:
            widget = self._module.widgetRepresentation()
            widget.exit()
            widget.hide()
        self._module = slicer.app.moduleManager().module(name)
        widget = self._module.widgetRepresentation()
        if widget.parent() != self._layout.parent():
            self._layout.addWidget(widget, 1)
        self._help_text.setHtml(f"{self._module.helpText}<p>{self._module.acknowledgementText}</p>")
        widget.show()
        widget.enter()


@stands_in(slicer)
class qSlicerModuleSelectorToolBar(qt.QToolBar):
    """The list of modules that have a panel."""

    moduleSelected = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._combo_box = qt.QComboBox()
        self.addWidget(qt.QLabel("Modules: "))
        self.addWidget(self._combo_box)
        self._combo_box.activated.connect(self._activated)
        self._selected = ""

    def _activated(self, index: int) -> None:
        self.selectModule(self._combo_box.itemData(index))

    def _list(self, name: str) -> None:
        module = slicer.app.moduleManager().module(name)
        if isinstance(module, qSlicerScriptedLoadableModule) and not module.hidden:
            self._combo_box.addItem(module.icon, module.title, name)

    def selectModule(self, name: str) -> None:
        """Shows a module's panel; an unknown name changes nothing, as in Slicer."""
        if name == self._selected or self._combo_box.findData(name) < 0:
            return
        self._selected = name
        self._combo_box.setCurrentIndex(self._combo_box.findData(name))
        self.moduleSelected.emit(name)

    def _selected_module(self) -> str:
        return self._selected

    selectedModule = Property(str, _selected_module)


@stands_in(slicer)
class qSlicerMainWindow(qt.QMainWindow):
    """Slicer's window, without its menus, its console and its error log."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.name = "qSlicerMainWindow"
        self.setWindowTitle("Stand-in for 3D Slicer")
        self._panel = qSlicerModulePanel()
        self._selector = qSlicerModuleSelectorToolBar()
        self._selector.moduleSelected.connect(self._panel.setModule)
        self.addToolBar(self._selector)
        self._splitter = qt.QSplitter()
        self._splitter.addWidget(self._panel)
        self.setCentralWidget(self._splitter)
        self.statusBar()

    def _add_slice_views(self, application_logic: Any, scene: Any) -> dict[str, Any]:
        """Axial on top, sagittal and coronal below, as in Slicer's conventional layout without its 3-D view."""
        views = qt.QWidget()
        grid = qt.QGridLayout(views)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        widgets = {
            name: make_slice_widget(application_logic, scene, name, orientation)
            for name, orientation in ORIENTATIONS.items()
        }
        grid.addWidget(widgets["Red"], 0, 0, 1, 2)
        grid.addWidget(widgets["Yellow"], 1, 0)
        grid.addWidget(widgets["Green"], 1, 1)
        grid.setRowStretch(0, 3)
        grid.setRowStretch(1, 2)
        self._splitter.addWidget(views)
        self._splitter.setStretchFactor(1, 1)
        return widgets

    def moduleSelector(self) -> Any:
        return self._selector
