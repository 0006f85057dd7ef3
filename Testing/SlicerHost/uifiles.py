"""``qt.QUiLoader``: reads Qt Designer's files with the stand-ins for CTK's and Slicer's widgets.

Stricter than Qt's, which passes over what it does not know: a class, a property, a signal or a slot that does not
exist is an error here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools

from .pythonqt import STAND_INS, PythonQtObject, properties, qt, raw_class, raw_named


def widget_class(name: str) -> Any:
    """The class that a .ui file names.

    :raises RuntimeError: if there is none (Slicer would put a plain QWidget in its place)
    """
    if name in STAND_INS:
        return STAND_INS[name]
    if issubclass(raw_named(name) or object, QtCore.QObject):
        return getattr(qt, name)
    raise RuntimeError(f"the .ui file names the widget class {name}, for which there is no stand-in")


def has_property(cls: type, name: str) -> bool:
    """Whether Qt knows the property: a PySide6 one, one that a stand-in declares, or Designer's own of a label."""
    if name == "buddy":
        return issubclass(cls, qt.QLabel)
    return name in properties(raw_class(cls)) or any(
        isinstance(vars(base).get(name), QtCore.Property) for base in cls.__mro__
    )


def check_properties(tree: ElementTree.Element) -> None:
    """:raises RuntimeError: if a widget is given a property that its class does not have."""
    for widget in tree.iter("widget"):
        name = widget.get("class", "")
        if name == "Line":
            continue
        for entry in widget.findall("property"):
            if entry.get("stdset") != "0" and not has_property(widget_class(name), entry.get("name", "")):
                raise RuntimeError(f"'{widget.get('name')}': {name} has no property '{entry.get('name')}'")


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file by PythonQt's rules."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._made: list[Any] = []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name == "Line":
            widget = qt.QFrame(parent)
            widget.setFrameShape(qt.QFrame.HLine)
        else:
            widget = widget_class(class_name)(parent)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def load(self, device: Any, parent: Any = None) -> Any:
        """The root widget of the file; its connections are made here, for Qt does not see a stand-in's slots."""
        self._made = []
        tree = ElementTree.fromstring(device.readAll().data())
        check_properties(tree)
        connections = tree.find("connections")
        wanted = list(connections.iter("connection")) if connections is not None else []
        if connections is not None:
            connections.clear()

        source = QtCore.QBuffer()
        source.setData(ElementTree.tostring(tree))
        source.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        PythonQtObject._loading_ui = True
        try:
            super().load(source, parent)
        finally:
            PythonQtObject._loading_ui = False

        by_name = {widget.name: widget for widget in self._made}
        for entry in wanted:
            sender, signal, receiver, slot = (
                entry.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")
            )
            by_name[sender].connect(signal, by_name[receiver], slot)
        root = self._made[0]
        root._made = self._made  # a Python object whose C++ half Qt owns must outlive the loader
        return root


qt.QUiLoader = QUiLoader
