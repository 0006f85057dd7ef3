"""The modules ``qt`` and ``ctk``: PySide6 under PythonQt's rules.

Slicer's Python reaches Qt through PythonQt, whose rules differ from PySide6's:

- a Qt property is an attribute (``button.text``), never a method; setters and slots stay methods;
- ``name`` is ``objectName``;
- what a C++ object does not have can be neither read nor set, nor can its slots be overwritten;
- ``sender.connect("clicked(bool)", function)`` stands beside ``sender.clicked.connect(function)``;
- there are no keyword arguments, no custom signals and no context managers.

PySide6's own ``true_property`` is not usable for this: it removes the setters and accepts misspelt attributes.
"""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

BUILT_IN = ("qt", "ctk", "slicer")
"""Modules whose classes stand for C++ ones."""

# Python conveniences of PySide6 that PythonQt does not have.
ONLY_IN_PYSIDE = frozenset({"QEnum", "QFlag", "QSignalBlocker", "QMutexLocker"})

MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)

SHIBOKEN_TYPE: Any = type(QtCore.QObject)
"""The class of PySide6's classes."""

PYSIDE_NAMES = {"exec_": "exec"}
"""Methods that have another name in PySide6, which warns of the old one."""

ITEMS = ("QListWidgetItem", "QStandardItem", "QTableWidgetItem", "QTreeWidgetItem")


@functools.cache
def raw_named(name: str) -> Any:
    """PySide6's class of that name, None if PythonQt has no such class."""
    if not name.startswith("Q") or name in ONLY_IN_PYSIDE:
        return None
    found = (getattr(module, name, None) for module in MODULES)
    return next((one for one in found if isinstance(one, type)), None)


@functools.cache
def raw_class(cls: Any) -> Any:
    """The PySide6 class that ``cls`` is or is built on."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("PySide6."))


@functools.cache
def properties(raw: Any) -> dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]]:
    """The Qt properties of a PySide6 class: name -> (getter, setter or None)."""
    found: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {}
    for index in range(raw.staticMetaObject.propertyCount()):
        entry = raw.staticMetaObject.property(index)
        name = entry.name()
        capitalized = name[0].upper() + name[1:]
        getter = _method(raw, name, f"is{capitalized}", f"has{capitalized}")
        setter = _method(raw, f"set{capitalized}") or functools.partial(_set_property, name)
        found[name] = (
            getter or functools.partial(_get_property, name),
            setter if entry.isWritable() else None,
        )
    if issubclass(raw, QtCore.QTimer):
        del found["singleShot"]  # in PythonQt, too, the static function of that name hides the property
    return found


def _properties_of(instance: Any) -> dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]]:
    cls: Any = type(instance)
    return properties(raw_class(cls))


def _method(raw: Any, *names: str) -> Callable[..., Any] | None:
    """The first of the methods that the class has; static functions are passed over."""
    found = (getattr(raw, name, None) for name in names)
    return next(
        (one for one in found if callable(one) and not isinstance(one, types.BuiltinFunctionType)), None
    )


def _get_property(name: str, instance: Any) -> Any:
    return QtCore.QObject.property(instance, name)


def _set_property(name: str, instance: Any, value: Any) -> None:
    QtCore.QObject.setProperty(instance, name, value)


@functools.cache
def defined_in_python(cls: Any, name: str) -> Any:
    """What a Python class above the PySide6 one (a stand-in or a module's own subclass) defines as ``name``."""
    for base in cls.__mro__:
        if base.__module__.startswith("PySide6."):
            return None
        if base is not PythonQtObject and name in vars(base):
            return vars(base)[name]
    return None


def unwrap(value: Any) -> Any:
    """What PySide6 is to be given for ``value``."""
    if isinstance(value, type) and value.__module__ == "qt":
        return raw_class(value)
    return value._pq_object if isinstance(value, Adopted) else value


def adopt(value: Any) -> Any:
    """What PySide6 returned, so that PythonQt's rules hold for it."""
    if isinstance(value, QtCore.QObject) and not isinstance(value, PythonQtObject):
        return Adopted(value)
    if isinstance(value, list):
        return [adopt(one) for one in value]
    return value


def adopting(function: Any) -> Any:
    """A method of PySide6 that takes and returns adopted objects; anything else as it is."""
    if not isinstance(function, types.BuiltinMethodType | types.BuiltinFunctionType):
        return function

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return adopt(function(*map(unwrap, arguments)))

    return call


def find_children(parent: Any, kind: Any, name: str | None) -> list[Any]:
    """``QObject::findChildren``, which in PythonQt takes a class or the name of one."""
    if isinstance(kind, str):
        kind = STAND_INS.get(kind) or raw_named(kind)
        if kind is None:
            return []
    found = QtCore.QObject.findChildren(parent, unwrap(kind or QtCore.QObject))
    return [adopt(one) for one in found if name is None or QtCore.QObject.objectName(one) == name]


def _slot(arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """``function``, or ``receiver, "slot(types)"``, as one callable."""
    if len(arguments) == 2:
        receiver, slot = arguments
        return getattr(receiver, slot.partition("(")[0])
    (function,) = arguments
    if not callable(function):
        raise TypeError(f"cannot connect to {function!r}: it is not callable")
    return function


def connect(sender: Any, signal: str, *slot: Any) -> bool:
    """PythonQt's ``sender.connect("signal(types)", function)``.

    :raises ValueError: if the sender has no such signal (PythonQt only prints it)
    """
    bound = _signal(sender, signal)
    function = _slot(slot)
    if bound is not None:
        bound.connect(function)
        return True
    return bool(QtCore.QObject.connect(sender, QtCore.SIGNAL(signal), function))


def disconnect(sender: Any, signal: str, *slot: Any) -> bool:
    """PythonQt's ``sender.disconnect("signal(types)", function)``: whether there was such a connection."""
    bound = _signal(sender, signal)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if bound is not None:
                return bool(bound.disconnect(*([_slot(slot)] if slot else [])))
            if not slot:
                return bool(QtCore.QObject.disconnect(sender, QtCore.SIGNAL(signal), None, None))
            return bool(QtCore.QObject.disconnect(sender, QtCore.SIGNAL(signal), _slot(slot)))
    except (RuntimeError, RuntimeWarning):
        return False


def _signal(sender: Any, signal: str) -> Any:
    """The bound signal of a stand-in that passes VTK objects, None for one that Qt knows by its signature."""
    passes_vtk = getattr(type(sender), "VTK_SIGNALS", ())
    if signal in passes_vtk:
        return QtCore.QObject.__getattribute__(sender, signal.partition("(")[0])
    meta = sender.metaObject()
    normalized = QtCore.QMetaObject.normalizedSignature(signal).data().decode()
    if meta.indexOfSignal(normalized) < 0 or "PyObject" in signal:
        raise ValueError(f"{meta.className()} has no signal '{signal}'")
    return None


class PythonQtObject:
    """Mixed in before a PySide6 class: PythonQt's rules for its instances."""

    VTK_SIGNALS: tuple[str, ...] = ()
    """C++ signatures of a stand-in's signals that pass VTK objects; Qt itself knows them by other names."""
    _loading_ui = False

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in vars(PythonQtObject):
            return object.__getattribute__(self, name)
        cls: Any = type(self)
        if defined_in_python(cls, name) is None:
            entry = _properties_of(self).get("objectName" if name == "name" else name)
            if entry:
                return adopt(entry[0](self))
        # Not object's: shiboken binds overloads here, and QFile crashes without.
        return adopting(super().__getattribute__(PYSIDE_NAMES.get(name, name)))

    def __setattr__(self, name: str, value: Any) -> None:
        cls: Any = type(self)
        defined = defined_in_python(cls, name)
        if name.startswith("_") or isinstance(defined, QtCore.Property | property):
            super().__setattr__(name, value)
            return
        entry = _properties_of(self).get("objectName" if name == "name" else name)
        if entry:
            if entry[1] is None:
                raise AttributeError(f"property '{name}' of {cls.__name__} is not writable")
            entry[1](self, unwrap(value))
        elif cls.__module__ not in BUILT_IN:
            super().__setattr__(name, value)
        elif PythonQtObject._loading_ui:
            return  # PySide6 makes the children in a .ui file attributes of the root; PythonQt does not
        elif hasattr(cls, name):
            raise AttributeError(f"slot '{name}' of {cls.__name__} cannot be overwritten")
        else:
            raise AttributeError(f"{cls.__name__} has no '{name}', and C++ objects take no new attributes")

    def connect(self, signal: str, *slot: Any) -> bool:
        return connect(self, signal, *slot)

    def disconnect(self, signal: str, *slot: Any) -> bool:
        return disconnect(self, signal, *slot)

    def findChildren(self, kind: Any = None, name: str | None = None) -> list[Any]:
        return find_children(self, kind, name)

    def findChild(self, kind: Any, name: str | None = None) -> Any:
        return next(iter(find_children(self, kind, name)), None)

    def className(self) -> str:
        return type(self).__name__

    def delete(self) -> None:
        self.deleteLater()


class Adopted:
    """The same rules for an object that Qt made itself: a header view, a selection model, a layout of a .ui file."""

    def __init__(self, raw: Any) -> None:
        object.__setattr__(self, "_pq_object", raw)

    def __getattr__(self, name: str) -> Any:
        raw: Any = self._pq_object
        entry = _properties_of(raw).get("objectName" if name == "name" else name)
        return adopt(entry[0](raw)) if entry else adopting(getattr(raw, PYSIDE_NAMES.get(name, name)))

    def __setattr__(self, name: str, value: Any) -> None:
        raw: Any = self._pq_object
        _, setter = _properties_of(raw).get("objectName" if name == "name" else name, (None, None))
        if setter is None:
            raise AttributeError(f"{type(raw).__name__} has no writable property '{name}'")
        setter(raw, unwrap(value))

    def connect(self, signal: str, *slot: Any) -> bool:
        return connect(self._pq_object, signal, *slot)

    def disconnect(self, signal: str, *slot: Any) -> bool:
        return disconnect(self._pq_object, signal, *slot)

    def findChildren(self, kind: Any = None, name: str | None = None) -> list[Any]:
        return find_children(self._pq_object, kind, name)

    def findChild(self, kind: Any, name: str | None = None) -> Any:
        return next(iter(find_children(self._pq_object, kind, name)), None)

    def className(self) -> str:
        return type(self._pq_object).__name__

    def __eq__(self, other: object) -> bool:
        return bool(self._pq_object == unwrap(other))

    def __hash__(self) -> int:
        return hash(self._pq_object)


class PythonQtType(SHIBOKEN_TYPE):
    """Makes ``isinstance(anything Qt made, qt.QWidget)`` and ``issubclass(qt.QLabel, qt.QWidget)`` true."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or (
            cls.__module__ == "qt" and isinstance(unwrap(instance), raw_class(cls))
        )

    def __subclasscheck__(cls, subclass: Any) -> bool:
        return type.__subclasscheck__(cls, subclass) or (
            cls.__module__ == "qt" and type.__subclasscheck__(raw_class(cls), subclass)
        )


class Item:
    """Mixed into the item classes, which are no QObjects: they take no new attributes either."""

    def __init_subclass__(cls) -> None:
        if cls.__module__ != "qt" and "__lt__" in vars(cls):
            raise TypeError(
                "Qt does not see __lt__ of an item's Python subclass: give it numbers as its data"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if type(self).__module__ == "qt":
            raise AttributeError(f"{type(self).__name__} takes no attributes: use setData()")
        super().__setattr__(name, value)


def _dialog_function(name: str) -> Any:
    """A function of QFileDialog that in PythonQt returns the path alone, without the filter."""
    raw = getattr(QtWidgets.QFileDialog, name)
    return staticmethod(lambda *arguments: raw(*map(unwrap, arguments))[0])


FILE_DIALOG = {
    name: _dialog_function(name) for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName")
}


class QtModule(types.ModuleType):
    """Makes each class of ``qt`` when it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        raw = raw_named(name)
        if raw is None:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        made: Any = raw
        if issubclass(raw, QtCore.QObject):
            content = {"__module__": "qt", **(FILE_DIALOG if name == "QFileDialog" else {})}
            made = PythonQtType(name, (PythonQtObject, raw), content)
        elif name in ITEMS:
            made = type(raw)(name, (Item, raw), {"__module__": "qt"})
        setattr(self, name, made)
        return made


qt: Any = QtModule("qt", "Qt by PythonQt's rules.")
ctk: Any = types.ModuleType("ctk", "Stand-ins for the CTK widgets that module panels use.")
sys.modules.update(qt=qt, ctk=ctk)

STAND_INS: dict[str, type] = {}
"""Class name -> stand-in for a widget of CTK or Slicer."""


def stands_in(module: types.ModuleType) -> Callable[[type], type]:
    """Decorator: puts a stand-in into ``ctk`` or ``slicer`` and makes it known to .ui files."""

    def register(cls: type) -> type:
        cls.__module__ = module.__name__
        setattr(module, cls.__name__, cls)
        STAND_INS[cls.__name__] = cls
        return cls

    return register
