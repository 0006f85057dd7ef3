"""``python -m SlicerHost``: the stand-in as a program, with the options of Slicer's own command line.

python -m SlicerHost --no-main-window --python-script script.py arguments
python -m SlicerHost --additional-module-paths CTForgeryScan --select CTForgeryScan --load ct.nrrd
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

from .requirements import missing_display, missing_requirement


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what follows a script's name is the script's own."""
    parser = argparse.ArgumentParser(prog="python -m SlicerHost", description="A stand-in for 3D Slicer.")
    parser.add_argument("--no-main-window", action="store_true", help="run without a window")
    parser.add_argument("--additional-module-paths", nargs="+", default=[], metavar="FOLDER", type=Path)
    parser.add_argument("--python-code", metavar="CODE", help="Python to run once the modules are there")
    parser.add_argument("--exit-after-startup", action="store_true", help="quit when script or code has run")
    parser.add_argument("--testing", action="store_true", help="pass over message boxes")
    own = parser.add_argument_group("options that Slicer does not have")
    own.add_argument("--load", metavar="VOLUME", type=Path, help="a volume to load")
    own.add_argument("--select", metavar="MODULE", help="the module to open")
    own.add_argument("--theme", choices=("light", "dark"), default="light")
    own.add_argument("--picture", metavar="PNG", type=Path, help="save a picture of the window and quit")
    parser.add_argument(
        "--python-script", nargs=argparse.REMAINDER, metavar="SCRIPT", help="script and its arguments"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the stand-in until its window is closed; the exit status."""
    options = parse(arguments)
    on_screen = not (options.no_main_window or options.picture)
    missing = missing_requirement() or (missing_display() if on_screen else None)
    if missing:
        print(missing, file=sys.stderr)
        return 1
    from .startup import load_module, start

    app = start(main_window=not options.no_main_window, off_screen=not on_screen, testing=options.testing)
    if not options.no_main_window:
        from .theme import apply_theme

        apply_theme(app, options.theme)
    for folder in options.additional_module_paths:
        for path in sorted(folder.glob("*.py")):
            load_module(path)
    return _run(app, options)


def _run(app: Any, options: argparse.Namespace) -> int:
    """Runs the event loop, and in it, as in Slicer, what is asked for."""
    import qt
    import slicer

    quits = options.exit_after_startup or options.picture

    def begin() -> None:
        try:
            _begin(options)
        except SystemExit as status:
            app.exit(status.code if isinstance(status.code, int) else bool(status.code))
        except Exception:
            sys.excepthook(*sys.exc_info())
            if quits or options.no_main_window:
                app.exit(1)
        else:
            if quits:
                app.exit(0)

    if not options.no_main_window:
        slicer.util.mainWindow().show()
    qt.QTimer.singleShot(0, begin)
    return int(app.exec_())


def _begin(options: argparse.Namespace) -> None:
    """What is asked for once the modules are there."""
    import slicer

    if options.load:
        slicer.util.loadVolume(options.load)
    if options.select:
        slicer.util.selectModule(options.select)
    if options.python_script:
        sys.argv = list(options.python_script)
        runpy.run_path(options.python_script[0], run_name="__main__")
    if options.python_code:
        exec(options.python_code, {"__name__": "__main__"})
    if options.picture:
        from .hands import grab

        grab(options.picture)


if __name__ == "__main__":
    sys.exit(main())
