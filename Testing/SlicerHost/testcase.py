"""The base of tests that run in the stand-in: each starts with an empty scene, and no error passes unseen."""

from __future__ import annotations

import sys
import traceback
import types
import unittest
from pathlib import Path
from typing import Any, ClassVar

from .requirements import missing_requirement
from .startup import load_module, start

DIALOG_SECONDS = 5
"""A modal dialog that nobody answers for so long fails the test and is closed."""


def reopened(module: str) -> Any:
    """The module's Python widget, made anew.

    Slicer only hides the former panel: its selectors would follow the scene through all later tests.
    """
    import slicer
    from PySide6.QtWidgets import QWidget
    from shiboken6 import delete

    children = QWidget.children(slicer.util.getModuleWidget(module).parent)
    panels = [child for child in children if isinstance(child, QWidget)]
    slicer.util.reloadScriptedModule(module)
    for panel in panels:
        delete(panel)
    return slicer.util.getModuleWidget(module)


@unittest.skipIf(missing_requirement(), missing_requirement() or "")
class HostTestCase(unittest.TestCase):
    """A test in the stand-in for Slicer.

    An exception in a slot or an observer, an error of VTK, and a warning of Qt fail the test, though Qt and VTK only
    print them. ``module`` may name the file of a scripted module: it is loaded, and opened anew for each test as
    ``self.widget``.
    """

    module: ClassVar[Path | None] = None
    widget: Any

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        start()
        if cls.module is not None:
            load_module(cls.module)

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Runs the test inside an event loop, as everything in Slicer: without one Qt deletes at other times."""
        if missing_requirement():
            return super().run(result)  # which skips
        import qt

        finished: list[unittest.TestResult | None] = []
        failed: list[BaseException] = []

        def inside() -> None:
            try:
                finished.append(super(HostTestCase, self).run(result))
            except BaseException as error:
                failed.append(error)
            finally:
                loop.quit()

        loop = qt.QEventLoop()
        qt.QTimer.singleShot(0, inside)
        loop.exec_()
        if failed:
            raise failed[0]
        return finished[0]

    def setUp(self) -> None:
        import slicer

        from .hands import process_events

        self.errors: list[str] = []
        self._watch_exceptions()
        self._watch_vtk()
        self._watch_qt()
        self._watch_dialogs()
        slicer.app._testing = True
        slicer.mrmlScene.Clear()
        window = slicer.util.mainWindow()
        window.show()
        if self.module is not None:
            name = self.module.stem
            slicer.util.selectModule(name)
            self.widget = reopened(name)
        process_events()
        self.addCleanup(self._fail_on_errors)
        self.addCleanup(process_events)

    def _fail_on_errors(self) -> None:
        errors, self.errors = self.errors, []
        if errors:
            self.fail("\n".join(["while the test ran:", *errors]))

    def _watch_exceptions(self) -> None:
        def record(
            kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
        ) -> None:
            self.errors.append("".join(traceback.format_exception(kind, error, trace)))

        former, sys.excepthook = sys.excepthook, record
        self.addCleanup(setattr, sys, "excepthook", former)

    def _watch_vtk(self) -> None:
        import vtk

        window = vtk.vtkOutputWindow()
        former = vtk.vtkOutputWindow.GetInstance()
        window.SetDisplayModeToNever()

        @vtk.calldata_type(vtk.VTK_STRING)
        def record(_caller: Any, _event: str, text: str) -> None:
            self.errors.append(text)

        window.AddObserver(vtk.vtkCommand.ErrorEvent, record)
        vtk.vtkOutputWindow.SetInstance(window)
        self.addCleanup(vtk.vtkOutputWindow.SetInstance, former)

    def _watch_qt(self) -> None:
        from PySide6.QtCore import QtMsgType, qInstallMessageHandler

        def record(kind: Any, context: Any, text: str) -> None:
            if (
                kind in (QtMsgType.QtWarningMsg, QtMsgType.QtCriticalMsg)
                and "This plugin does not support" not in text
            ):
                self.errors.append(f"Qt: {text}")

        former = qInstallMessageHandler(record)
        self.addCleanup(qInstallMessageHandler, former)

    def _watch_dialogs(self) -> None:
        import qt
        from PySide6.QtWidgets import QApplication, QDialog

        waited: dict[Any, int] = {}

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            if not isinstance(dialog, QDialog):
                waited.clear()
                return
            waited[dialog] = waited.get(dialog, 0) + 1
            if waited[dialog] > DIALOG_SECONDS * 4:
                self.errors.append(f"a dialog was left open: {QDialog.windowTitle(dialog)}")
                QDialog.reject(dialog)

        timer = qt.QTimer()
        timer.setInterval(250)
        timer.timeout.connect(look)
        timer.start()
        self.addCleanup(timer.stop)
