"""Hands for tests: clicks, keys and drags as a person makes them, waiting, and pictures.

Everything goes through Qt's event queue to the widget that is really there: a click on a hidden, disabled or covered
place fails instead of calling a slot by a back door.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import qt
import slicer
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QKeySequence, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QMessageBox, QWidget

from .pythonqt import unwrap


class CannotReach(AssertionError):
    """A person could not have done that."""


def process_events(turns: int = 3) -> None:
    """Lets Qt do what is due, drawing included."""
    for _ in range(turns):
        QApplication.processEvents()


def wait_until(condition: Callable[[], Any], timeout: float = 30.0, what: str = "") -> Any:
    """Runs the event loop until ``condition()`` is true; what it returned.

    :raises TimeoutError: if it is not true within ``timeout`` seconds
    """
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s: {what or condition}")
        QApplication.processEvents()
        time.sleep(0.005)
    return value


def longest_pause(action: Callable[[], Any]) -> tuple[Any, float]:
    """What ``action`` returned, and the longest time in seconds that the event loop stood still meanwhile.

    The action has to run the event loop itself, as ``wait_until`` does.
    """
    ticks = [time.monotonic()]
    timer = qt.QTimer()
    timer.setInterval(0)
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start()
    result = action()
    timer.stop()
    ticks.append(time.monotonic())
    return result, max(later - earlier for earlier, later in itertools.pairwise(ticks))


def _reach(widget: Any, place: QPoint | None = None) -> tuple[QWidget, QPoint]:
    """The widget and a place in it that a person can click, scrolled into view.

    :raises CannotReach: if the widget is hidden or disabled, or lies outside its window
    """
    raw = unwrap(widget)
    process_events()
    name = QWidget.objectName(raw) or type(raw).__name__
    if not QWidget.isVisible(raw):
        raise CannotReach(f"'{name}' is hidden")
    if not QWidget.isEnabled(raw):
        raise CannotReach(f"'{name}' is disabled")
    panel = slicer.util.mainWindow()
    area = panel.findChild("qSlicerModulePanel") if panel else None
    if area and QWidget.isAncestorOf(area, raw):
        area.ensureWidgetVisible(raw, 0, 20)
        process_events()
    place = QWidget.rect(raw).center() if place is None else place
    window = QWidget.window(raw)
    hit = QWidget.childAt(window, QWidget.mapTo(raw, window, place)) or window
    if hit is not raw and not QWidget.isAncestorOf(raw, hit):
        raise CannotReach(f"'{name}' is not visible at {place.x()}, {place.y()}")
    return raw, place


def click(widget: Any, *, button: Any = Qt.MouseButton.LeftButton, at: tuple[int, int] | None = None) -> None:
    """Clicks a widget, in the middle or at a place in its pixels.

    :raises CannotReach: if a person could not
    """
    raw, place = _reach(widget, _default_place(widget) if at is None else QPoint(*at))
    QTest.mouseClick(raw, button, Qt.KeyboardModifier.NoModifier, place)
    process_events()


def _default_place(widget: Any) -> QPoint | None:
    """Where to click a widget of which only a part reacts."""
    raw = unwrap(widget)
    if isinstance(widget, qt.QCheckBox | qt.QRadioButton):
        return QPoint(8, QWidget.height(raw) // 2)
    if widget.className() == "ctkCollapsibleButton":
        return QPoint(QWidget.width(raw) // 2, 8)
    return None


def press(widget: Any, keys: str) -> None:
    """Presses keys while a widget has the focus: ``"Down"``, ``"Ctrl+S"``, ``"Space"``; shortcuts react too.

    :raises CannotReach: if a person could not
    """
    raw, _ = _reach(widget)
    QWidget.activateWindow(QWidget.window(raw))  # shortcuts are the active window's
    QWidget.setFocus(raw)
    process_events()
    for index in range(QKeySequence(keys).count()):
        combination = QKeySequence(keys)[index]
        QTest.keyClick(raw, combination.key(), combination.keyboardModifiers())
        process_events()


def type_text(widget: Any, text: str) -> None:
    """Types a text into a widget."""
    raw, _ = _reach(widget)
    QWidget.setFocus(raw)
    QTest.keyClicks(raw, text)
    process_events()


def choose(combo_box: Any, text: str) -> None:
    """Chooses an entry of a combo box, a qMRMLNodeComboBox too, with the keys a person would use.

    :raises CannotReach: if there is no such entry
    """
    box = combo_box if isinstance(combo_box, qt.QComboBox) else combo_box.findChild("QComboBox")
    raw, _ = _reach(box)
    wanted = box.findText(text)
    if wanted < 0:
        raise CannotReach(f"'{combo_box.name}' has no entry '{text}'")
    QWidget.setFocus(raw)
    while box.currentIndex != wanted:
        before = box.currentIndex
        QTest.keyClick(raw, Qt.Key.Key_Down if before < wanted else Qt.Key.Key_Up)
        if box.currentIndex == before:
            raise CannotReach(f"'{combo_box.name}' does not let go of '{box.currentText}'")
    process_events()


def click_cell(table: Any, row: int, column: int = 0) -> None:
    """Clicks a cell of a table, scrolled into view.

    :raises CannotReach: if there is no such cell or a person could not reach it
    """
    index = table.model().index(row, column)
    if not index.isValid():
        raise CannotReach(f"'{table.name}' has no cell {row}, {column}")
    table.scrollTo(index)
    process_events()
    click(table.viewport(), at=table.visualRect(index).center().toTuple())


def click_header(table: Any, column: int) -> None:
    """Clicks the header of a column, which sorts a sortable table."""
    header = table.horizontalHeader()
    x = header.sectionViewportPosition(column) + header.sectionSize(column) // 2
    click(header.viewport(), at=(x, header.height // 2))


def drag(
    view: Any,
    start: tuple[int, int],
    end: tuple[int, int],
    *,
    button: Any = Qt.MouseButton.LeftButton,
    steps: int = 10,
) -> None:
    """Drags the mouse over a widget, a slice view say, from place to place in its pixels, y downwards."""
    raw, place = _reach(view, QPoint(*start))
    _move(raw, place, Qt.MouseButton.NoButton)
    QTest.mousePress(raw, button, Qt.KeyboardModifier.NoModifier, place)
    for step in range(1, steps + 1):
        x, y = (round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))
        _move(raw, QPoint(x, y), button)
        process_events(1)
    QTest.mouseRelease(raw, button, Qt.KeyboardModifier.NoModifier, QPoint(*end))
    process_events()


def _move(raw: QWidget, place: QPoint, button: Any) -> None:
    """A move with a button held, which QTest.mouseMove does not do."""
    where = QPointF(place)
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        where,
        QPointF(raw.mapToGlobal(place)),
        button,
        button,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(raw, event)


def turn_wheel(view: Any, notches: int) -> None:
    """Turns the mouse wheel in the middle of a widget: forward is positive."""
    raw, place = _reach(view)
    for _ in range(abs(notches)):
        event = QWheelEvent(
            QPointF(place),
            QPointF(raw.mapToGlobal(place)),
            QPoint(0, 0),
            QPoint(0, 120 if notches > 0 else -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(raw, event)
    process_events()


@contextlib.contextmanager
def answering(*buttons: str) -> Iterator[list[str]]:
    """While it lasts message boxes come up and are answered, one button's text after the other.

    :yields: the texts of the boxes, as they come
    :raises AssertionError: at the end, if another number of boxes came up than buttons were given
    """
    seen: list[str] = []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox) or len(seen) >= len(buttons):
            return
        wanted = buttons[len(seen)]
        texts = {_text_of(button): button for button in QMessageBox.buttons(box)}
        seen.append(QMessageBox.text(box))
        if wanted not in texts:
            QMessageBox.done(box, 0)
            raise CannotReach(f"the box '{seen[-1]}' has no button '{wanted}' but {', '.join(texts)}")
        QTest.mouseClick(texts[wanted], Qt.MouseButton.LeftButton)

    timer = qt.QTimer()
    timer.setInterval(20)
    timer.timeout.connect(answer)
    timer.start()
    testing, slicer.app._testing = slicer.app._testing, False
    try:
        yield seen
    finally:
        slicer.app._testing = testing
        timer.stop()
    if len(seen) != len(buttons):
        raise AssertionError(f"{len(buttons)} message boxes were expected and {len(seen)} came: {seen}")


def _text_of(button: Any) -> str:
    """A button's text without the mark of its mnemonic."""
    return QAbstractButton.text(button).replace("&", "")


def grab(path: Path | str, widget: Any = None) -> Path:
    """Saves a picture of a widget, or of the main window, as PNG."""
    process_events()
    target = unwrap(widget if widget is not None else slicer.util.mainWindow())
    QWidget.grab(target).save(str(path))
    return Path(path)
