"""The plot of p(slice forged) over the slices, painted on a label; a click names a slice."""

import qt

FLAGGED, PLAIN, IN_VIEW = "#e07b00", "#8a919c", "#2f8fd8"
_LEFT, _BOTTOM, _TOP = 26, 16, 4


class ProfilePlot:
    """Bars over the slices, the flagged ones orange, with the threshold as a line and the slice in view marked."""

    def __init__(self, label, onSlice):
        """``onSlice(k)`` is called for a click on slice k."""
        self._label = label
        self._onSlice = onSlice
        self._slices = []
        self._threshold = 0.0
        self._inView = None
        # Kept, for Qt does not own an event filter.
        self._filter = _EventFilter(self)
        label.installEventFilter(self._filter)

    def show(self, slices, threshold):
        """Show the slices of a result; none clears the plot."""
        self._slices, self._threshold = slices, threshold
        self.paint()

    def mark(self, k):
        """Mark the slice that the views show; None marks none."""
        if k != self._inView:
            self._inView = k
            self.paint()

    def click(self, x):
        """A click at pixel column ``x`` of the label."""
        width = self._label.width - _LEFT
        if self._slices and 0 <= x - _LEFT < width:
            self._onSlice(self._slices[int((x - _LEFT) * len(self._slices) / width)]["k"])

    def paint(self):
        width, height = self._label.width, self._label.height
        if not self._slices or width <= _LEFT:
            self._label.clear()
            return
        ratio = self._label.devicePixelRatioF()
        pixmap = qt.QPixmap(int(width * ratio), int(height * ratio))
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter()
        painter.begin(pixmap)
        self._paint(painter, width, height)
        painter.end()
        self._label.setPixmap(pixmap)

    def _paint(self, painter, width, height):
        words = self._label.palette.color(qt.QPalette.WindowText)
        floor, tall = height - _BOTTOM, height - _BOTTOM - _TOP
        painter.setPen(words)
        painter.drawLine(_LEFT, floor, width, floor)
        painter.drawText(2, _TOP + 8, "1")
        painter.drawText(2, floor, "0")
        painter.drawText(_LEFT, height - 3, str(self._slices[0]["k"]))
        last = str(self._slices[-1]["k"])
        painter.drawText(width - 8 * len(last), height - 3, last)
        count, columns = len(self._slices), width - _LEFT
        for x in range(columns):
            # One column may stand for several slices; then the highest counts.
            here = self._slices[
                x * count // columns : max((x + 1) * count // columns, x * count // columns + 1)
            ]
            top = max(s["probability"] for s in here)
            colour = FLAGGED if any(s["flagged"] for s in here) else PLAIN
            bar = max(1, round(top * tall))
            painter.fillRect(_LEFT + x, floor - bar, 1, bar, qt.QColor(colour))
        at = next((n for n, s in enumerate(self._slices) if s["k"] == self._inView), None)
        if at is not None:
            # Over the bars, which it would vanish behind on the very slices that matter.
            middle = _LEFT + round((at + 0.5) * columns / count)
            painter.fillRect(middle - 1, _TOP, 3, tall, qt.QColor(IN_VIEW))
        line = floor - round(self._threshold * tall)
        pen = qt.QPen(words)
        pen.setStyle(qt.Qt.DashLine)
        painter.setPen(pen)
        painter.drawLine(_LEFT, line, width, line)


class _EventFilter(qt.QObject):
    """Hands a label's clicks, resizes and changes of theme to the plot."""

    def __init__(self, plot):
        qt.QObject.__init__(self)
        self._plot = plot

    def eventFilter(self, watched, event):
        kind = event.type()
        if kind == qt.QEvent.MouseButtonPress:
            at = event.position() if hasattr(event, "position") else event.pos()  # Qt 6, Qt 5
            self._plot.click(at.x())
        elif kind in (qt.QEvent.Resize, qt.QEvent.PaletteChange):
            self._plot.paint()
        return False
