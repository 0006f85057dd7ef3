"""The command line as a background worker: start it, hear what it says, end it with all that it started.

For callers that must not wait, such as Slicer's window: nothing here blocks, and there is no thread, for Python threads
hardly run in Slicer's event loop. The worker writes its JSON lines to a file of the hand-over folder, and ``poll``
reads what is new in it. Knows neither Qt nor Slicer.

>>> worker = Worker(["scan", "ct.nrrd", "-o", "out", "--progress", "json"], folder)
>>> while worker.outcome is None:      # in Slicer: a QTimer
...     for event in worker.poll():
...         print(event)
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

GRACE_SECONDS = 0.5
"""What a cancelled worker gets to end by itself; then its whole process tree is killed."""

_FOLDER = "CTForgeryScan-"
_EVENTS, _LOG = "events.jsonl", "log.txt"
_LAST_LINES = 3
_WATCH_SECONDS = 0.5
_BURIAL_SECONDS = 0.5
"""How long a killed tree is waited for: where nobody buries orphans, they stay as zombies."""


@dataclass(frozen=True)
class Outcome:
    """How a worker ended. ``error`` is the exception's type where the worker said it itself, else empty."""

    status: Literal["done", "cancelled", "failed"]
    error: str = ""
    message: str = ""


class Worker:
    """One run of ``python -m CTForgeryScanLib ARGUMENTS`` in a process of its own, in the hand-over folder.

    Files there are best given by their names alone: on Windows, ITK in a Python of its own opens no path that holds a
    letter beyond ASCII, such as that of a user's temporary folder.

    It ends with the process that started it, however that ends.

    Attributes:
        folder: the hand-over folder; its ``log.txt`` holds what the worker said beside its events.
        outcome: how it ended; None while it runs.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, *, python: str = sys.executable) -> None:
        """Start it. Raises OSError when ``python`` cannot be started."""
        self.folder = folder
        self.outcome: Outcome | None = None
        self._kill_at: float | None = None
        self._error: dict[str, Any] | None = None
        self._rest = b""
        command = [python, "-m", "CTForgeryScanLib", "--parent", str(os.getpid()), *arguments]
        library = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
        with (folder / _EVENTS).open("wb") as events, (folder / _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=log,
                **_own_group(),
            )
        self._events = (folder / _EVENTS).open("rb")

    @property
    def log(self) -> Path:
        """The file that holds what the worker said beside its events."""
        return self.folder / _LOG

    @property
    def pid(self) -> int:
        """Process id of what was started: in Slicer a launcher, whose child does the work."""
        return self._process.pid

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call, oldest first. Sets ``outcome`` once the worker and all its children ended."""
        if self.outcome is not None:
            return []
        # Asked before reading, so that the last words of a worker that ended meanwhile are read.
        lives = self._tree_lives()
        events = self._read_events()
        self._error = next((e for e in events if e["event"] == "error"), self._error)
        if lives and self._kill_at is not None and time.monotonic() >= self._kill_at:
            _end_tree(self._process, gently=False)
            lives = time.monotonic() < self._kill_at + _BURIAL_SECONDS
        if not lives:
            _end_tree(self._process, gently=False)  # children that outlived a worker that crashed
            self._events.close()
            self.outcome = self._judge()
        return events

    def cancel(self) -> None:
        """Ask it to end; ``poll`` kills what is left after GRACE_SECONDS."""
        if self.outcome is None and self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE_SECONDS
            _end_tree(self._process, gently=True)

    def stop(self) -> None:
        """End it at once and wait until it has ended: for when the caller itself ends."""
        if self.outcome is None:
            self._kill_at = time.monotonic()
            self.wait()

    def wait(self, seconds: float = 3600.0) -> Outcome:
        """Block until it has ended. Raises TimeoutError after ``seconds``; it then still runs."""
        end = time.monotonic() + seconds
        while self.outcome is None:
            if time.monotonic() > end:
                raise TimeoutError(f"The worker has not ended within {seconds:g} s.")
            time.sleep(0.02)
            self.poll()
        return self.outcome

    def _read_events(self) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + self._events.read()).split(b"\n")
        return [event for line in lines if (event := _parse(line)) is not None]

    def _tree_lives(self) -> bool:
        leader_lives = self._process.poll() is None
        if sys.platform == "win32":
            return leader_lives
        # A launcher that was ended does not wait for its child, which may still be cleaning up.
        return leader_lives or (self._kill_at is not None and _group_lives(self._process.pid))

    def _judge(self) -> Outcome:
        if self._kill_at is not None:
            return Outcome("cancelled")
        if self._error is not None:
            return Outcome("failed", str(self._error.get("type", "")), str(self._error.get("message", "")))
        if self._process.returncode == 0:
            return Outcome("done")
        words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
        said = f" Its last words: {' / '.join(line.strip()[:300] for line in words)}" if words else ""
        how = _how_it_ended(self._process.returncode)
        return Outcome("failed", "", f"The scan process ended unexpectedly: {how}.{said}")


# --- The hand-over folder ------------------------------------------------------------------------------------------


def make_folder() -> Path:
    """A new hand-over folder, readable by this user only. Removes those whose program was killed before it could."""
    for old in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = old.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not process_lives(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))


# --- The worker's side ---------------------------------------------------------------------------------------------


def end_with(parent: int) -> None:
    """End this process, children and all, soon after the process ``parent`` has ended."""

    def watch() -> None:
        while process_lives(parent):
            time.sleep(_WATCH_SECONDS)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def process_lives(pid: int) -> bool:
    """Whether there is a process of this id."""
    if sys.platform == "win32":
        synchronize, timeout = 0x00100000, 0x102
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(synchronize, False, pid)
        lives = bool(handle) and kernel.WaitForSingleObject(handle, 0) == timeout
        kernel.CloseHandle(handle)
        return lives
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# --- Process trees -------------------------------------------------------------------------------------------------


def _own_group() -> dict[str, Any]:
    """How to start a process so that it and its children can be ended together, without a console window."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _end_tree(process: subprocess.Popen[bytes], *, gently: bool) -> None:
    if sys.platform == "win32":
        # Windows has no way to ask a process without a window: the tree is ended at once.
        if process.poll() is None:
            command = ["taskkill", "/PID", str(process.pid), "/T", "/F"]
            subprocess.Popen(command, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    # It may have ended; macOS answers PermissionError for a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM if gently else signal.SIGKILL)


def _group_lives(group: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}" if status < 256 else f"exit status {status:#010x}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
    why = ", as happens when the computer's memory runs out" if name == "SIGKILL" else ""
    return f"it was ended by signal {name}{why}"


def _parse(line: bytes) -> dict[str, Any] | None:
    """The event of one line; None for anything else that a library printed."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
