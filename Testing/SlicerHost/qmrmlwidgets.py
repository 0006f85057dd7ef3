"""Stand-ins for Slicer's own widgets in a panel, bound to the real scene: only what stands here exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from PySide6.QtCore import Property, Signal
from shiboken6 import isValid

from .ctkwidgets import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from .pythonqt import qt, stands_in

SCENE_CHANGED = "mrmlSceneChanged(vtkMRMLScene*)"
EXACT_EVENTS = (
    "NodeAddedEvent",
    "NodeRemovedEvent",
    "EndCloseEvent",
    "EndImportEvent",
    "EndBatchProcessEvent",
)


@stands_in(slicer)
class qMRMLWidget(qt.QWidget):
    """The top of a panel: hands the scene to the widgets below it."""

    mrmlSceneChanged = Signal(object)
    VTK_SIGNALS = (SCENE_CHANGED,)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@stands_in(slicer)
class qSlicerWidget(qMRMLWidget):
    """A qMRMLWidget of Slicer's own library."""


@stands_in(slicer)
class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that knows the scene; Slicer's takes units from it."""

    mrmlSceneChanged = Signal(object)
    VTK_SIGNALS = (SCENE_CHANGED,)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@stands_in(slicer)
class qMRMLSpinBox(ctkDoubleSpinBox):
    """A spin box that knows the scene; Slicer's takes units from it."""

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


@stands_in(slicer)
class qMRMLRangeWidget(ctkRangeWidget):
    """A range that knows the scene; Slicer's takes units from it."""

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


class qMRMLSortFilterProxyModel:
    """What filters the nodes of a combo box; Slicer's is a model of Qt."""

    __slots__ = ("_hidden", "_refresh")

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._hidden: tuple[str, ...] = ()
        self._refresh = refresh

    @property
    def hiddenNodeIDs(self) -> tuple[str, ...]:
        return self._hidden

    @hiddenNodeIDs.setter
    def hiddenNodeIDs(self, ids: Any) -> None:
        if tuple(ids) != self._hidden:
            self._hidden = tuple(ids)
            self._refresh()


@stands_in(slicer)
class qMRMLNodeComboBox(qt.QWidget):
    """A combo box of the scene's nodes of given classes; it follows the scene and the nodes' names."""

    mrmlSceneChanged = Signal(object)
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    VTK_SIGNALS = (
        SCENE_CHANGED,
        "currentNodeChanged(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeActivated(vtkMRMLNode*)",
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._combo_box = qt.QComboBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box)
        self.setFocusProxy(self._combo_box)
        self._combo_box.activated.connect(self._activated)
        self._scene: Any = None
        self._scene_observers: list[int] = []
        self._node_observers: list[tuple[Any, int]] = []
        # The scene's observers outlive the widget, and Qt deletes it without Python's knowing.
        self._combo_box.destroyed.connect(lambda *_: self._forget())
        self._current: str = ""
        self._attributes: dict[tuple[str, str], str | None] = {}
        self._filter = qMRMLSortFilterProxyModel(self._refresh)
        self._options: dict[str, Any] = {
            "nodeTypes": [],
            "hideChildNodeTypes": [],
            "baseName": "",
            "noneDisplay": "None",
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
        }

    @staticmethod
    def _option(name: str, kind: Any) -> Any:
        """A Qt property that is kept in ``_options``."""

        def get(self: Any) -> Any:
            return self._options[name]

        def put(self: Any, value: Any) -> None:
            self._options[name] = list(value) if kind == "QStringList" else value
            self._refresh()

        return Property(kind, get, put)

    nodeTypes = _option("nodeTypes", "QStringList")
    hideChildNodeTypes = _option("hideChildNodeTypes", "QStringList")
    baseName = _option("baseName", str)
    noneDisplay = _option("noneDisplay", str)
    noneEnabled = _option("noneEnabled", bool)
    addEnabled = _option("addEnabled", bool)
    removeEnabled = _option("removeEnabled", bool)
    editEnabled = _option("editEnabled", bool)
    renameEnabled = _option("renameEnabled", bool)
    showHidden = _option("showHidden", bool)
    showChildNodeTypes = _option("showChildNodeTypes", bool)
    selectNodeUponCreation = _option("selectNodeUponCreation", bool)

    def addAttribute(self, nodeType: str, attributeName: str, attributeValue: Any = None) -> None:
        """Only nodes with that attribute are shown."""
        self._attributes[nodeType, attributeName] = None if attributeValue is None else str(attributeValue)
        self._refresh()

    def removeAttribute(self, nodeType: str, attributeName: str) -> None:
        self._attributes.pop((nodeType, attributeName), None)
        self._refresh()

    def sortFilterProxyModel(self) -> Any:
        return self._filter

    # The scene

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._forget()
        self._scene = scene
        self._scene_observers = [
            scene.AddObserver(getattr(scene, event), self._refresh) for event in EXACT_EVENTS if scene
        ]
        self._refresh()
        self.mrmlSceneChanged.emit(scene)

    def _accepts(self, node: Any) -> bool:
        types, children = self._options["nodeTypes"], self._options["showChildNodeTypes"]
        if node.GetClassName() not in types and not (children and any(node.IsA(kind) for kind in types)):
            return False
        if node.GetID() in self._filter.hiddenNodeIDs:
            return False
        if node.GetHideFromEditors() and not self._options["showHidden"]:
            return False
        if node.GetClassName() in self._options["hideChildNodeTypes"]:
            return False
        return all(
            not node.IsA(kind)
            or (node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name)))
            for (kind, name), value in self._attributes.items()
        )

    def _nodes(self) -> list[Any]:
        count = self._scene.GetNumberOfNodes() if self._scene else 0
        nodes = (self._scene.GetNthNode(index) for index in range(count))
        return [node for node in nodes if self._accepts(node)]

    def _forget(self) -> None:
        """Stops following the scene."""
        for tag in self._scene_observers:
            self._scene.RemoveObserver(tag)
        for node, tag in self._node_observers:
            node.RemoveObserver(tag)
        self._scene_observers, self._node_observers = [], []

    def _is_gone(self) -> bool:
        """Whether Qt deleted the widget, which the scene's observers outlive."""
        if isValid(self) and isValid(self._combo_box):
            return False
        self._forget()
        return True

    def _refresh(self, *_event: Any) -> None:
        if self._is_gone():
            return
        if self._scene and (self._scene.IsBatchProcessing() or self._scene.IsClosing()):
            return  # one refresh follows when it is over
        for node, tag in self._node_observers:
            node.RemoveObserver(tag)
        nodes = self._nodes()
        self._node_observers = [(node, node.AddObserver("ModifiedEvent", self._rename)) for node in nodes]
        blocked = self._combo_box.blockSignals(True)
        self._combo_box.clear()
        if self._options["noneEnabled"] or not nodes:
            self._combo_box.addItem(self._options["noneDisplay"], "")
        for node in nodes:
            self._combo_box.addItem(node.GetName(), node.GetID())
        self._combo_box.blockSignals(blocked)
        ids = [node.GetID() for node in nodes]
        if self._current in ids:
            self._select(self._current)
        else:
            self._select(ids[0] if ids and not self._options["noneEnabled"] else "")

    def _rename(self, node: Any, _event: str) -> None:
        if self._is_gone():
            return
        index = self._combo_box.findData(node.GetID())
        if index >= 0 and self._combo_box.itemText(index) != node.GetName():
            self._combo_box.setItemText(index, node.GetName())

    # The chosen node

    def _activated(self, index: int) -> None:
        self._select(self._combo_box.itemData(index))
        self.nodeActivated.emit(self.currentNode())

    def _select(self, node_id: str) -> None:
        self._combo_box.setCurrentIndex(max(0, self._combo_box.findData(node_id)))
        if node_id != self._current:
            self._current = node_id
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def _current_node_id(self) -> str:
        return self._current

    def setCurrentNodeID(self, node_id: str | None) -> None:
        self._select(node_id if node_id and self._combo_box.findData(node_id) >= 0 else "")

    currentNodeID = Property(str, _current_node_id, setCurrentNodeID)

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node else "")

    def _node_count(self) -> int:
        return len(self._nodes())

    def nodeCount(self) -> int:
        return self._node_count()

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addNode(self, node_type: str = "") -> Any:
        node = self._scene.AddNewNodeByClass(
            node_type or self._options["nodeTypes"][0], self._options["baseName"]
        )
        if self._options["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node
