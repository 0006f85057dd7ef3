"""``slicer.app``: the application object, and what ``start`` needs to put a Slicer together."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import QProcessEnvironment, QSettings, Signal

from .files import qSlicerCoreIOManager
from .mainwindow import qSlicerLayoutManager, qSlicerMainWindow
from .modules import qSlicerCoreModule, qSlicerModuleManager
from .pythonqt import qt, stands_in
from .scene import Core


class qSlicerCoreCommandOptions:
    """``slicer.app.commandOptions()``."""

    __slots__ = ("noMainWindow", "runPythonAndExit")

    def __init__(self) -> None:
        self.noMainWindow = self.runPythonAndExit = False


@stands_in(slicer)
class qSlicerApplication(qt.QApplication):
    """``slicer.app``: a QApplication that knows the scene, the logics, the modules and the views."""

    startupCompleted = Signal()
    applicationVersion = "5.13.0-host"
    majorVersion, minorVersion, revision = 5, 13, "31053"
    os, arch = sys.platform, "amd64"

    def __init__(self, home: Path) -> None:
        """:param home: an empty folder that becomes Slicer's home directory"""
        super().__init__(["Slicer"])
        self._startup_environment = QProcessEnvironment.systemEnvironment()
        self._home = home
        self._options = qSlicerCoreCommandOptions()
        self._testing = False
        self._renders_paused = 0
        self._layout_manager: Any = None
        QSettings.setPath(QSettings.Format.NativeFormat, QSettings.Scope.UserScope, str(home / "settings"))
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")

    def _populate(self) -> None:
        """Makes the scene, the logics and the modules of the core; ``slicer.app`` is this object by now."""
        self._core = Core(self._home)
        self._io_manager = qSlicerCoreIOManager(self._core.logics["Volumes"])
        self._module_manager = qSlicerModuleManager()
        for name, logic in self._core.logics.items():
            self._module_manager._add(qSlicerCoreModule(name, logic))
        self.aboutToQuit.connect(self._module_manager._unload_all)

    def _open_main_window(self, size: tuple[int, int]) -> None:
        self._core.lay_out_views()
        self._main_window = qSlicerMainWindow()
        slice_widgets = self._main_window._add_slice_views(self._core.application_logic, self._core.scene)
        self._layout_manager = qSlicerLayoutManager(slice_widgets)
        self._module_manager.moduleLoaded.connect(self._main_window._selector._list)
        self._main_window.resize(*size)

    def _complete_startup(self) -> None:
        """Tells who waits for it that Slicer has started, each once, though modules may be loaded later too.

        :raises Exception: what a slot raises, which Qt only prints
        """
        raised: list[BaseException] = []
        former, sys.excepthook = sys.excepthook, lambda kind, error, trace: raised.append(error)
        try:
            self.startupCompleted.emit()
        finally:
            sys.excepthook = former
            self.disconnect("startupCompleted()")
        if raised:
            raise raised[0]

    def _shut_down(self) -> None:
        """Takes all apart in order; left to the interpreter, VTK complains of what is already gone."""
        if self._layout_manager:
            for name in self._layout_manager.sliceViewNames():
                self._layout_manager.sliceWidget(name).sliceView()._close()
            self._main_window.hide()
        slicer.mrmlScene.Clear()

    # The scene and its logics

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._core.application_logic

    def coreIOManager(self) -> Any:
        return self._io_manager

    ioManager = coreIOManager

    def moduleManager(self) -> Any:
        return self._module_manager

    # The windows

    def layoutManager(self) -> Any:
        """The slice views; None when there is no main window."""
        return self._layout_manager

    def pauseRender(self) -> None:
        self._renders_paused += 1

    def resumeRender(self) -> None:
        self._renders_paused -= 1
        if not self._renders_paused and self._layout_manager:
            for name in self._layout_manager.sliceViewNames():
                self._layout_manager.sliceWidget(name).sliceView().scheduleRender()

    def pythonConsole(self) -> None:
        """There is no console."""

    # The installation and the settings

    @property
    def slicerHome(self) -> str:
        return str(self._home)

    @property
    def temporaryPath(self) -> str:
        return str(self._home / "tmp")

    def settings(self) -> Any:
        return qt.QSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> Any:
        """The environment as it was before Slicer's launcher changed it."""
        return self._startup_environment

    def commandOptions(self) -> Any:
        return self._options

    def testingEnabled(self) -> bool:
        """Whether message boxes are passed over, as with ``Slicer --testing``."""
        return self._testing


def put_python_slicer_on_path(home: Path) -> None:
    """Makes ``PythonSlicer``: as in Slicer a launcher that waits for the interpreter, which is its child."""
    folder = home / "bin"
    folder.mkdir()
    if os.name == "nt":
        launcher = folder / "PythonSlicer.bat"
        launcher.write_text(f'@"{sys.executable}" %*\n', encoding="utf-8")
    else:
        launcher = folder / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', encoding="utf-8")
        launcher.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
