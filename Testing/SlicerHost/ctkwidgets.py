"""Stand-ins for the CTK widgets that a module's panel uses: only what stands here exists."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, Signal

from .pythonqt import ctk, qt, stands_in

NO_LIMIT = 16777215  # QWIDGETSIZE_MAX


@stands_in(ctk)
class ctkCollapsibleButton(qt.QAbstractButton):
    """A section with a header that folds its content away: checked is unfolded."""

    contentsCollapsed = Signal(bool)

    def __init__(self, text: Any = "", parent: Any = None) -> None:
        if not isinstance(text, str):
            text, parent = "", text
        super().__init__(parent)
        self._shown: list[Any] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text)
        self.setFocusPolicy(qt.Qt.TabFocus)
        self.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._fold)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _fold(self, unfolded: bool) -> None:
        if unfolded:
            for widget in self._shown:
                widget.show()
        else:
            children = [one for one in self.children() if isinstance(one, qt.QWidget) and not one.isHidden()]
            self._shown = [one for one in children if not one.isWindow()]
            for widget in self._shown:
                widget.hide()
        self.setMaximumHeight(NO_LIMIT if unfolded else self._header_height())
        self.contentsCollapsed.emit(not unfolded)

    def _collapsed(self) -> bool:
        return not self.checked

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, _collapsed, setCollapsed)

    def hitButton(self, position: Any) -> bool:
        return 0 <= position.y() < self._header_height()

    def sizeHint(self) -> Any:
        content, text = super().sizeHint(), self.fontMetrics().horizontalAdvance(self.text)
        return qt.QSize(max(text + 40, content.width()), max(self._header_height(), content.height()))

    def minimumSizeHint(self) -> Any:
        content = super().minimumSizeHint()
        return qt.QSize(content.width(), max(self._header_height(), content.height()))

    def paintEvent(self, event: Any) -> None:
        option = qt.QStyleOptionButton()
        option.initFrom(self)
        option.rect = qt.QRect(0, 0, self.width, self._header_height())
        option.state |= qt.QStyle.State_Sunken if self.down else qt.QStyle.State_Raised
        painter = qt.QPainter(self)
        self.style().drawControl(qt.QStyle.CE_PushButtonBevel, option, painter, self)
        option.rect = qt.QRect(6, 0, 12, self._header_height())
        arrow = qt.QStyle.PE_IndicatorArrowDown if self.checked else qt.QStyle.PE_IndicatorArrowRight
        self.style().drawPrimitive(arrow, option, painter, self)
        font = self.font
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(self.palette.color(qt.QPalette.ButtonText))
        place = qt.QRect(24, 0, self.width - 28, self._header_height())
        painter.drawText(place, qt.Qt.AlignVCenter | qt.Qt.AlignLeft, self.text)
        painter.end()


@stands_in(ctk)
class ctkSliderWidget(qt.QWidget):
    """A slider and a spin box for one number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = qt.QSlider(qt.Qt.Horizontal)
        self._spin_box = qt.QDoubleSpinBox()
        self._single_step = 1.0
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin_box)
        self.setFocusProxy(self._spin_box)
        self._spin_box.setRange(0.0, 99.0)
        self._follow()
        self._spin_box.valueChanged.connect(self._changed)
        self._slider.valueChanged.connect(self._slid)

    def _follow(self) -> None:
        """Puts the slider where the spin box is."""
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, round((self._spin_box.maximum - self._spin_box.minimum) / self._single_step))
        self._slider.setValue(round((self._spin_box.value - self._spin_box.minimum) / self._single_step))
        self._slider.blockSignals(blocked)

    def _changed(self, value: float) -> None:
        self._follow()
        self.valueChanged.emit(value)

    def _slid(self, steps: int) -> None:
        self._spin_box.setValue(self._spin_box.minimum + steps * self._single_step)

    def _value(self) -> float:
        return float(self._spin_box.value)

    def setValue(self, value: float) -> None:
        self._spin_box.setValue(value)

    def _minimum(self) -> float:
        return float(self._spin_box.minimum)

    def setMinimum(self, minimum: float) -> None:
        self._spin_box.setMinimum(minimum)
        self._follow()

    def _maximum(self) -> float:
        return float(self._spin_box.maximum)

    def setMaximum(self, maximum: float) -> None:
        self._spin_box.setMaximum(maximum)
        self._follow()

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spin_box.setRange(minimum, maximum)
        self._follow()

    def _step(self) -> float:
        return self._single_step

    def setSingleStep(self, step: float) -> None:
        self._single_step = step
        self._spin_box.setSingleStep(step)
        self._follow()

    def _page_step(self) -> float:
        return float(self._slider.pageStep * self._single_step)

    def setPageStep(self, step: float) -> None:
        self._slider.setPageStep(round(step / self._single_step))

    def _decimals(self) -> int:
        return int(self._spin_box.decimals)

    def setDecimals(self, decimals: int) -> None:
        self._spin_box.setDecimals(decimals)

    def _suffix(self) -> str:
        return str(self._spin_box.suffix)

    def setSuffix(self, suffix: str) -> None:
        self._spin_box.setSuffix(suffix)

    def _prefix(self) -> str:
        return str(self._spin_box.prefix)

    def setPrefix(self, prefix: str) -> None:
        self._spin_box.setPrefix(prefix)

    def _tracking(self) -> bool:
        return bool(self._slider.tracking)

    def setTracking(self, tracking: bool) -> None:
        self._slider.setTracking(tracking)

    value = Property(float, _value, setValue)
    minimum = Property(float, _minimum, setMinimum)
    maximum = Property(float, _maximum, setMaximum)
    singleStep = Property(float, _step, setSingleStep)
    pageStep = Property(float, _page_step, setPageStep)
    decimals = Property(int, _decimals, setDecimals)
    suffix = Property(str, _suffix, setSuffix)
    prefix = Property(str, _prefix, setPrefix)
    tracking = Property(bool, _tracking, setTracking)


@stands_in(ctk)
class ctkRangeWidget(qt.QWidget):
    """Two spin boxes for a range; the sliders between them that CTK has are left out."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low = qt.QDoubleSpinBox()
        self._high = qt.QDoubleSpinBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._low, 1)
        layout.addWidget(self._high, 1)
        self.setRange(0.0, 99.0)
        self.setValues(0.0, 99.0)
        self._low.valueChanged.connect(self._low_changed)
        self._high.valueChanged.connect(self._high_changed)

    def _low_changed(self, value: float) -> None:
        if value > self._high.value:
            self._high.setValue(value)
        self.minimumValueChanged.emit(value)
        self.valuesChanged.emit(value, self._high.value)

    def _high_changed(self, value: float) -> None:
        if value < self._low.value:
            self._low.setValue(value)
        self.maximumValueChanged.emit(value)
        self.valuesChanged.emit(self._low.value, value)

    def setValues(self, low: float, high: float) -> None:
        if (low, high) == (self._low.value, self._high.value):
            return
        for box, value in ((self._low, min(low, high)), (self._high, max(low, high))):
            blocked = box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(blocked)
        self.valuesChanged.emit(self._low.value, self._high.value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._low.setRange(minimum, maximum)
        self._high.setRange(minimum, maximum)

    def _minimum_value(self) -> float:
        return float(self._low.value)

    def setMinimumValue(self, value: float) -> None:
        self._low.setValue(value)

    def _maximum_value(self) -> float:
        return float(self._high.value)

    def setMaximumValue(self, value: float) -> None:
        self._high.setValue(value)

    def _minimum(self) -> float:
        return float(self._low.minimum)

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, self._low.maximum)

    def _maximum(self) -> float:
        return float(self._low.maximum)

    def setMaximum(self, maximum: float) -> None:
        self.setRange(self._low.minimum, maximum)

    def _step(self) -> float:
        return float(self._low.singleStep)

    def setSingleStep(self, step: float) -> None:
        self._low.setSingleStep(step)
        self._high.setSingleStep(step)

    def _decimals(self) -> int:
        return int(self._low.decimals)

    def setDecimals(self, decimals: int) -> None:
        self._low.setDecimals(decimals)
        self._high.setDecimals(decimals)

    def _suffix(self) -> str:
        return str(self._low.suffix)

    def setSuffix(self, suffix: str) -> None:
        self._low.setSuffix(suffix)
        self._high.setSuffix(suffix)

    minimumValue = Property(float, _minimum_value, setMinimumValue)
    maximumValue = Property(float, _maximum_value, setMaximumValue)
    minimum = Property(float, _minimum, setMinimum)
    maximum = Property(float, _maximum, setMaximum)
    singleStep = Property(float, _step, setSingleStep)
    decimals = Property(int, _decimals, setDecimals)
    suffix = Property(str, _suffix, setSuffix)


@stands_in(ctk)
class ctkComboBox(qt.QComboBox):
    """A combo box that shows ``defaultText`` while nothing is chosen."""

    def _default_text(self) -> str:
        return str(self.placeholderText)

    def setDefaultText(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = Property(str, _default_text, setDefaultText)


@stands_in(ctk)
class ctkCheckBox(qt.QCheckBox):
    """A check box; CTK's adds icons for its indicator."""


@stands_in(ctk)
class ctkDoubleSpinBox(qt.QDoubleSpinBox):
    """A spin box for a number."""


@stands_in(ctk)
class ctkPushButton(qt.QPushButton):
    """A push button; CTK's aligns text and icon."""


@stands_in(ctk)
class ctkMenuButton(qt.QPushButton):
    """A push button with a menu on its right edge: a click there opens it, elsewhere it clicks the button."""

    def __init__(self, text: Any = "", parent: Any = None) -> None:
        if not isinstance(text, str):
            text, parent = "", text
        super().__init__(text, parent)

    def mousePressEvent(self, event: Any) -> None:
        menu = self.menu()
        if menu and event.position().x() < self.width - 20:
            # Without its menu for a moment, else Qt opens it wherever the button is pressed.
            self.setMenu(None)
            super().mousePressEvent(event)
            self.setMenu(menu)
        else:
            super().mousePressEvent(event)


@stands_in(ctk)
class ctkMessageBox(qt.QMessageBox):
    """A message box that can be told not to come again, under a key of the settings."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._key = ""

    def _settings_key(self) -> str:
        return self._key

    def setDontShowAgainSettingsKey(self, key: str) -> None:
        self._key = key
        self.setCheckBox(qt.QCheckBox("Don't show this message again"))

    dontShowAgainSettingsKey = Property(str, _settings_key, setDontShowAgainSettingsKey)

    def exec_(self) -> Any:
        settings = qt.QSettings()
        if self._key and settings.contains(self._key):
            return int(settings.value(self._key))
        answer = self.exec()
        if self._key and self.checkBox().checked:
            settings.setValue(self._key, int(answer))
        return answer


@stands_in(ctk)
class ctkPathLineEdit(qt.QWidget):
    """A line for a path, and a button that opens a file dialog."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    # ctkPathLineEdit::Filters, which are QDir's
    Files, Dirs, Readable, Writable = 0x002, 0x001, 0x010, 0x020

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._filters = self.Files
        self._name_filters: list[str] = []
        self._line = qt.QLineEdit()
        self._button = qt.QToolButton()
        self._button.setText("…")
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line, 1)
        layout.addWidget(self._button)
        self.setFocusProxy(self._line)
        self._line.textChanged.connect(self.currentPathChanged.emit)
        self._button.clicked.connect(self.browse)

    def browse(self, _clicked: bool = False) -> None:
        """Asks for a path; the old one stays if none is chosen."""
        if self._filters & self.Dirs and not self._filters & self.Files:
            path = qt.QFileDialog.getExistingDirectory(self, "Select a directory", self.currentPath)
        else:
            names = ";;".join(self._name_filters)
            choose = (
                qt.QFileDialog.getSaveFileName
                if self._filters & self.Writable
                else qt.QFileDialog.getOpenFileName
            )
            path = choose(self, "Select a file", self.currentPath, names)
        if path:
            self.setCurrentPath(path)

    def _current_path(self) -> str:
        return str(self._line.text)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def _filter_flags(self) -> int:
        return self._filters

    def setFilters(self, filters: int) -> None:
        self._filters = int(filters)

    def _get_name_filters(self) -> list[str]:
        return self._name_filters

    def setNameFilters(self, filters: list[str]) -> None:
        self._name_filters = list(filters)

    currentPath = Property(str, _current_path, setCurrentPath)
    filters = Property(int, _filter_flags, setFilters)
    nameFilters = Property("QStringList", _get_name_filters, setNameFilters)

    def addCurrentPathToHistory(self) -> None:
        """CTK's keeps a list of former paths; this one does not."""


@stands_in(ctk)
class ctkDirectoryButton(qt.QPushButton):
    """A button that shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._path = qt.QDir.currentPath()
        self._caption = "Select directory"
        self.setText(self._path)
        self.clicked.connect(self.browse)

    def browse(self, _clicked: bool = False) -> None:
        """Asks for a folder; the old one stays if none is chosen."""
        path = qt.QFileDialog.getExistingDirectory(self, self._caption, self._path)
        if path:
            self.setDirectory(path)
            self.directorySelected.emit(path)

    def _directory(self) -> str:
        return str(self._path)

    def setDirectory(self, path: str) -> None:
        if path != self._path:
            self._path = path
            self.setText(path)
            self.directoryChanged.emit(path)

    def _get_caption(self) -> str:
        return self._caption

    def setCaption(self, caption: str) -> None:
        self._caption = caption

    directory = Property(str, _directory, setDirectory)
    caption = Property(str, _get_caption, setCaption)


@stands_in(ctk)
class ctkDoubleRangeSlider(ctkRangeWidget):
    """A range; CTK's shows a slider with two handles, this one the two numbers."""
