"""How long Slicer's window stands still while the panel scans, in the stand-in for Slicer.

PYTHONPATH=Testing .venv/bin/python Testing/benchmarks/panel.py [CT] [--model FOLDER] [--pictures FOLDER]

Prints the longest pause of the event loop while the CT is handed over and scanned, and while the result is imported and
first shown: as the clock says, and as processor time of the window's own thread, which is what counts on a machine that
is busy with other things. The slice views are drawn in software here, which a graphics card does faster; so the
module's own share, without the drawing, is told apart. ``--pictures`` saves the window in each state.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SlicerHost import load_module, start
from SlicerHost.theme import apply_theme

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"


@dataclass(frozen=True)
class Tick:
    """The event loop turned: the job's state, the clock and the thread's processor time in seconds."""

    state: str
    clock: float
    work: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument(
        "--model", default="", help="a shipped model by name, or a folder (default: the default model)"
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    options = parser.parse_args()
    app = start()
    apply_theme(app, options.theme)
    load_module(ROOT / "CTForgeryScan" / "CTForgeryScan.py")
    import qt

    def run() -> None:
        try:
            measure(options)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            app.exit(1)
        else:
            app.exit(0)

    qt.QTimer.singleShot(0, run)
    return int(app.exec_())


def measure(options: argparse.Namespace) -> None:
    import qt
    import slicer

    from SlicerHost import hands

    def picture(name: str) -> None:
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            hands.grab(options.pictures / f"{name}-{options.theme}.png")

    slicer.util.mainWindow().show()
    slicer.util.selectModule("CTForgeryScan")
    widget = slicer.util.getModuleWidget("CTForgeryScan")
    picture("empty")
    node = widget.logic.getParameterNode()
    node.inputVolume = slicer.util.loadVolume(str(options.ct))
    node.model = options.model
    hands.process_events(10)
    picture("idle")
    hands.click(widget.ui.scanButton)
    job = widget.logic.job
    pictured: set[str] = set()
    ticks: list[Tick] = []

    def tick() -> None:
        ticks.append(Tick(job.state.value, time.monotonic(), time.thread_time()))

    own: dict[str, float] = {}

    def timed(step: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            state, begun = job.state.value, time.thread_time()
            step(*arguments)
            own[state] = max(own.get(state, 0.0), time.thread_time() - begun)

        return run

    job.advance = timed(job.advance)
    widget.logic._onChange = timed(widget.logic._onChange)
    clock = qt.QTimer()
    clock.setInterval(0)
    clock.connect("timeout()", tick)
    clock.start()
    started = time.monotonic()
    while job.isRunning:
        slicer.app.processEvents()
        state = job.state.value
        half = state != "scanning" or job.done * 2 > job.of
        if options.pictures and half and state not in pictured:
            pictured.add(state)
            picture(state)
    hands.process_events(10)
    tick()
    clock.stop()
    picture("result")
    if job.error:
        raise job.error
    print(f"{options.ct.name}: {job.of} slices, {time.monotonic() - started:.1f} s in all")
    if options.pictures:
        return  # taking a picture is no pause of the panel
    for state in dict.fromkeys(tick.state for tick in ticks):
        pairs = [(a, b) for a, b in itertools.pairwise(ticks) if a.state == state]
        wall = 1000 * max(b.clock - a.clock for a, b in pairs)
        work = 1000 * max(b.work - a.work for a, b in pairs)
        print(
            f"longest pause while {state}: {wall:.0f} ms by the clock, {work:.0f} ms of work, "
            f"of which the module's longest step {1000 * own.get(state, 0):.0f} ms"
        )


if __name__ == "__main__":
    sys.exit(main())
