"""Slicer's modules: the manager that knows them, and what loads a scripted one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import Signal

from .pythonqt import qt, stands_in
from .qmrmlwidgets import qSlicerWidget


class qSlicerCoreModule:
    """A module of Slicer's own: here it is its logic and has no panel."""

    __slots__ = ("_logic", "name", "path")

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self.path, self._logic = name, "", logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


@stands_in(slicer)
class qSlicerScriptedLoadableModule:
    """The C++ half of a scripted module; the Python half fills in its title and texts."""

    __slots__ = (
        "_widget",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path, self.title = name, path, name
        self.categories: list[str] = []
        self.contributors: list[str] = []
        self.dependencies: list[str] = []
        self.associatedNodeTypes: list[str] = []
        self.helpText = self.acknowledgementText = ""
        self.icon = qt.QIcon()
        self.index, self.hidden, self.widgetRepresentationCreationEnabled = -1, False, True
        self._widget: Any = None

    def logic(self) -> None:
        """A scripted module's logic is in Python: see ``slicer.util.getModuleLogic``."""

    def widgetRepresentation(self) -> Any:
        """The module's panel, made when it is first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        widget = qSlicerScriptedLoadableModuleWidget()
        widget._make(self.name)
        return widget


@stands_in(slicer)
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel of a scripted module: a frame for its Python widget."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setLayout(qt.QVBoxLayout())
        self._module_name = ""
        self._python: Any = None
        self._entered = False

    def _make(self, module_name: str) -> None:
        self._module_name = module_name
        self.setMRMLScene(slicer.mrmlScene)
        self._python = getattr(sys.modules[module_name], f"{module_name}Widget")(self)
        setattr(slicer.modules, f"{module_name}Widget", self._python)
        self._python.setup()
        self.layout().addStretch(1)

    def reload(self) -> None:
        """Makes the Python widget anew, from the module's code as it is now; like Slicer's, it does not enter it."""
        self._make(self._module_name)

    def self(self) -> Any:
        return self._python

    @property
    def isEntered(self) -> bool:
        return self._entered

    def enter(self) -> None:
        self._entered = True
        self._python.enter()

    def exit(self) -> None:
        self._entered = False
        self._python.exit()


@stands_in(slicer)
class qSlicerModuleFactoryManager(qt.QObject):
    """Registers and loads modules."""

    def __init__(self, manager: Any) -> None:
        super().__init__()
        self._manager = manager
        self._registered: dict[str, str] = {}

    def registerModule(self, file: Any) -> None:
        """Makes a module's file, a ``qt.QFileInfo``, known."""
        self._registered[file.completeBaseName()] = file.absoluteFilePath()

    def registeredModuleNames(self) -> tuple[str, ...]:
        return tuple(self._registered)

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._manager._modules)

    def isLoaded(self, name: str) -> bool:
        return name in self._manager._modules

    def loadModules(self, names: list[str]) -> bool:
        """Loads registered modules as Slicer does: the file is run and its class of that name is made.

        :raises AttributeError: if the file has no class of its own name
        """
        for name in names:
            path = self._registered[name]
            folder = str(Path(path).parent)
            if folder not in sys.path:
                sys.path.insert(0, folder)
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None and spec.loader is not None
            python = importlib.util.module_from_spec(spec)
            sys.modules[name] = python
            spec.loader.exec_module(python)
            module = qSlicerScriptedLoadableModule(name, path)
            setattr(slicer.modules, f"{name}Instance", getattr(python, name)(module))
            self._manager._add(module)
        return True


@stands_in(slicer)
class qSlicerModuleManager(qt.QObject):
    """Knows the modules by name and tells when they go."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}
        self._factory = qSlicerModuleFactoryManager(self)

    def _add(self, module: Any) -> None:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        self.moduleLoaded.emit(module.name)

    def _unload_all(self) -> None:
        """What quitting does: panels clean up."""
        for name in self._modules:
            self.moduleAboutToBeUnloaded.emit(name)

    def factoryManager(self) -> Any:
        return self._factory

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)
