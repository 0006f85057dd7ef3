"""``slicer.ScriptedLoadableModule``: the four classes that a scripted module is built on."""

from __future__ import annotations

import logging
import unittest
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


def _resources(moduleName: str) -> Path:
    return Path(slicer.util.modulePath(moduleName)).parent / "Resources"


class ScriptedLoadableModule:
    """What a module says of itself: title, categories, contributors, help."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = self.__class__.__name__
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return (
            f'<p>For more information see the <a href="{docPage}">online documentation</a>.</p>'
            if docPage
            else ""
        )

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Runs the module's own test, its class ``<moduleName>Test``."""
        module = __import__(self.moduleName)
        test = getattr(module, f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = self.__class__.__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def setup(self) -> None:
        """Makes the panel's widgets; a subclass calls this first."""
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        """In developer mode: buttons that reload the module and test it."""
        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton("Reload && Test")
        self.layout.addWidget(self.reloadCollapsibleButton)
        layout = qt.QHBoxLayout(self.reloadCollapsibleButton)
        self.reloadButton = qt.QPushButton("Reload")
        self.reloadButton.connect("clicked()", self.onReload)
        layout.addWidget(self.reloadButton)
        self.reloadAndTestButton = qt.QPushButton("Reload and Test")
        self.reloadAndTestButton.connect("clicked()", self.onReloadAndTest)
        layout.addWidget(self.reloadAndTestButton)

    def cleanup(self) -> None:
        """Called before the panel goes: on reload and when Slicer quits."""

    def enter(self) -> None:
        """Called when the module is opened."""

    def exit(self) -> None:
        """Called when another module is opened."""

    def resourcePath(self, filename: str) -> str:
        return str(_resources(self.moduleName) / filename)

    def onReload(self) -> None:
        """Reads the module's file again and makes its panel anew."""
        logging.debug(f"Reloading scripted module {self.moduleName}")
        slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            module = __import__(self.moduleName)
            getattr(module, f"{self.moduleName}Test")().runTest(**kwargs)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )


class ScriptedLoadableModuleLogic:
    """What a module does, without its panel."""

    def __init__(self, parent: Any = None) -> None:
        self.mrmlScene: Any = None
        self.moduleName = self.__class__.__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def resourcePath(self, filename: str) -> str:
        return str(_resources(self.moduleName) / filename)

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return slicer.mrmlScene.AddNode(node)

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetModuleName() == self.moduleName]

    def getParameterNode(self) -> Any:
        """The module's parameter node, made if the scene has none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        return node or self.createParameterNode()


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's own test: Slicer's "Reload and Test" calls ``runTest``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messageDelay = 1000

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Shows a message for a moment, so that a person can follow the test."""
        delay = requestedDelay if requestedDelay is not None else msec
        slicer.util.delayDisplay(
            message, self.messageDelay if delay is None else min(delay, self.messageDelay)
        )

    def runTest(self) -> None:
        """Runs the test; Slicer's does nothing either."""
        logging.warning("No test is defined in ScriptedLoadableModuleTest")
