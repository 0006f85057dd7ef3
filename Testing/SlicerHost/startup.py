"""Puts the stand-in together: one per process, as Slicer is."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from .requirements import draw_off_screen, missing_requirement


def start(
    *,
    main_window: bool = True,
    off_screen: bool = True,
    testing: bool = True,
    size: tuple[int, int] = (1500, 950),
) -> Any:
    """``slicer.app``, made when it is first asked for.

    :param main_window: False is ``Slicer --no-main-window``: ``slicer.util.mainWindow()`` and
        ``slicer.app.layoutManager()`` are None
    :param off_screen: no window comes up on the screen
    :param testing: ``Slicer --testing``: message boxes are passed over
    :param size: of the main window, in pixels
    :raises RuntimeError: if a package or a library is missing
    """
    if "slicer" in sys.modules and hasattr(sys.modules["slicer"], "app"):
        return sys.modules["slicer"].app
    if missing := missing_requirement():
        raise RuntimeError(missing)
    _keep_none()
    draw_off_screen()
    if off_screen:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    home = Path(tempfile.mkdtemp(prefix="SlicerHost-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    _prepare_slicer_package()
    import slicer

    from . import uifiles  # noqa: F401
    from .application import put_python_slicer_on_path, qSlicerApplication

    _add_python_modules()
    slicer.app = app = qSlicerApplication(home)
    put_python_slicer_on_path(home)
    app._testing = testing
    app._options.noMainWindow = not main_window
    app._populate()
    if main_window:
        app._open_main_window(size)
    atexit.register(app._shut_down)
    return app


def _keep_none() -> None:
    """PySide6 6.12 gives one reference to None away with each call that returns nothing: harmless since Python 3.12,
    where None is immortal; before, the interpreter dies once all are gone.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


def _prepare_slicer_package() -> None:
    """Makes the package ``slicer`` what it is in Slicer before the application is there."""
    import slicer
    import slicer.util

    for name in slicer.util.__all__:
        if vars(slicer).get(name) is getattr(slicer.util, name):
            delattr(slicer, name)  # slicer-core puts them there, Slicer does not
    slicer.modules = types.ModuleType("slicer.modules")
    slicer.moduleNames = types.ModuleType("slicer.moduleNames")
    slicer.modules.sampleDataSources = {}
    slicer.selfTests = {}
    sys.modules["slicer.modules"] = slicer.modules


def _add_python_modules() -> None:
    """Makes importable what slicer-core leaves out of Slicer's Python modules."""
    import slicer

    for name in ("i18n", "packaging", "parameterNodeWrapper", "ScriptedLoadableModule"):
        module = importlib.import_module(f"{__package__}.python.{name}")
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = importlib.import_module(f"{__package__}.python.SampleData")


def load_module(path: Path | str) -> Any:
    """Loads a scripted module from its file, as Slicer does at its start; the Python module.

    :raises Exception: whatever the module raises while it is loaded, or when the application has started
    """
    import qt
    import slicer

    file = qt.QFileInfo(str(path))
    name = file.completeBaseName()
    manager = slicer.app.moduleManager().factoryManager()
    if not manager.isLoaded(name):
        manager.registerModule(file)
        manager.loadModules([name])
        slicer.app._complete_startup()
    return sys.modules[name]
