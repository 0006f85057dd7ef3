"""How a panel's widgets show the fields of a parameter node."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
import vtk

from .parameters import (
    Choice,
    Decimals,
    EnumParameter,
    FloatRange,
    Maximum,
    Minimum,
    NodeParameter,
    Parameter,
    RangeBounds,
    SingleStep,
    WithinRange,
)


@dataclasses.dataclass(frozen=True)
class Connector:
    """How widgets of some classes, but not of their subclasses, show fields of some kind."""

    widgets: tuple[Any, ...]
    accepts: Callable[[Parameter], bool]
    signal: str
    read: Callable[[Any, Parameter], Any]
    write: Callable[[Any, Any, Parameter], None]
    configure: Callable[[Any, Parameter], None] = lambda widget, parameter: None


def _is(*kinds: type) -> Callable[[Parameter], bool]:
    return lambda parameter: isinstance(parameter.kind, type) and issubclass(parameter.kind, kinds)


def _property(name: str) -> dict[str, Any]:
    """``read`` and ``write`` for a field that is one property of the widget."""
    return {
        "read": lambda widget, parameter: parameter.kind(getattr(widget, name)),
        "write": lambda widget, value, parameter: setattr(
            widget, name, str(value) if isinstance(value, pathlib.PurePath) else value
        ),
    }


def _number_configurer(
    lowest: float, highest: float, bounded: tuple[Any, ...]
) -> Callable[[Any, Parameter], None]:
    """Sets a widget's range: the field's, or the widest; widgets of the classes ``bounded`` need the field's."""

    def configure(widget: Any, parameter: Parameter) -> None:
        low, high = parameter.annotation(WithinRange, Minimum), parameter.annotation(WithinRange, Maximum)
        decimals, step = parameter.annotation(Decimals), parameter.annotation(SingleStep)
        if type(widget) in bounded and not (low and high):
            raise RuntimeError(f"{widget.className()} '{widget.name}': '{parameter.name}' needs a range")
        if decimals:
            widget.decimals = decimals.value
        if step:
            widget.singleStep = step.value
        widget.minimum = low.minimum if low else lowest
        widget.maximum = high.maximum if high else highest

    return configure


def _configure_range(widget: Any, parameter: Parameter) -> None:
    bounds = parameter.annotation(RangeBounds)
    if bounds:
        widget.setRange(bounds.minimum, bounds.maximum)


def _choices(parameter: Parameter) -> list[tuple[str, Any]]:
    """What a combo box lists: text and value."""
    if isinstance(parameter, EnumParameter):
        return [(one.label() if hasattr(one, "label") else one.name, one) for one in parameter.kind]
    return [(str(one), one) for one in parameter.annotation(Choice).choices]


def _configure_choice(widget: Any, parameter: Parameter) -> None:
    widget.clear()
    for text, _ in _choices(parameter):
        widget.addItem(text)


def _read_choice(widget: Any, parameter: Parameter) -> Any:
    return _choices(parameter)[max(0, widget.currentIndex)][1]


def _write_choice(widget: Any, value: Any, parameter: Parameter) -> None:
    widget.setCurrentIndex([one for _, one in _choices(parameter)].index(value))


def _has_choices(parameter: Parameter) -> bool:
    return isinstance(parameter, EnumParameter) or parameter.annotation(Choice) is not None


def connectors() -> tuple[Connector, ...]:
    return (
        Connector(
            (qt.QComboBox,),
            _has_choices,
            "currentIndexChanged(int)",
            _read_choice,
            _write_choice,
            _configure_choice,
        ),
        Connector((qt.QCheckBox, qt.QPushButton), _is(bool), "toggled(bool)", **_property("checked")),
        Connector(
            (qt.QSpinBox, qt.QSlider),
            _is(int),
            "valueChanged(int)",
            configure=_number_configurer(-(2**31), 2**31 - 1, (qt.QSlider,)),
            **_property("value"),
        ),
        Connector(
            (ctk.ctkSliderWidget, qt.QDoubleSpinBox),
            _is(float),
            "valueChanged(double)",
            configure=_number_configurer(-math.inf, math.inf, (ctk.ctkSliderWidget,)),
            **_property("value"),
        ),
        Connector((qt.QLineEdit,), _is(str), "textChanged(QString)", **_property("text")),
        Connector((qt.QTextEdit,), _is(str), "textChanged()", **_property("plainText")),
        Connector(
            (ctk.ctkPathLineEdit,),
            _is(pathlib.PurePath),
            "currentPathChanged(QString)",
            **_property("currentPath"),
        ),
        Connector(
            (ctk.ctkDirectoryButton,),
            _is(pathlib.PurePath),
            "directoryChanged(QString)",
            **_property("directory"),
        ),
        Connector(
            (ctk.ctkRangeWidget, ctk.ctkDoubleRangeSlider, slicer.qMRMLRangeWidget),
            _is(FloatRange),
            "valuesChanged(double,double)",
            lambda widget, parameter: FloatRange(widget.minimumValue, widget.maximumValue),
            lambda widget, value, parameter: widget.setValues(value.minimum, value.maximum),
            _configure_range,
        ),
        Connector(
            (slicer.qMRMLNodeComboBox,),
            lambda parameter: isinstance(parameter, NodeParameter),
            "currentNodeChanged(vtkMRMLNode*)",
            lambda widget, parameter: widget.currentNode(),
            lambda widget, value, parameter: widget.setCurrentNode(value),
            lambda widget, parameter: setattr(widget, "nodeTypes", [parameter.kind.__name__]),
        ),
    )


class Binding:
    """The widgets that ``connectGui`` bound, and the way back."""

    def __init__(self, wrapper: Any, widgets: dict[str, Any]) -> None:
        self._wrapper, self._updating = wrapper, False
        self._bound = []
        for name, widget in widgets.items():
            parameter = wrapper.allParameters[name]
            connector = next(
                (one for one in connectors() if type(widget) in one.widgets and one.accepts(parameter)),
                None,
            )
            if connector is None:
                raise RuntimeError(
                    f"{widget.className()} cannot show '{name}' of type {parameter.kind.__name__}"
                )
            connector.configure(widget, parameter)
            self._bound.append((parameter, widget, connector, self._writer(parameter, widget, connector)))
        self.update()
        for _, widget, connector, write in self._bound:
            widget.connect(connector.signal, write)
        self._tag = wrapper.AddObserver(vtk.vtkCommand.ModifiedEvent, self.update)

    def _writer(self, parameter: Parameter, widget: Any, connector: Connector) -> Callable[..., None]:
        def write(*_arguments: Any) -> None:
            if not self._updating:
                setattr(self._wrapper, parameter.name, connector.read(widget, parameter))

        return write

    def update(self, *_event: Any) -> None:
        """Shows what the node holds."""
        if self._updating:
            return
        self._updating = True
        try:
            for parameter, widget, connector, _ in self._bound:
                value = getattr(self._wrapper, parameter.name)
                if connector.read(widget, parameter) != value:
                    connector.write(widget, value, parameter)
        finally:
            self._updating = False

    def undo(self) -> None:
        self._wrapper.RemoveObserver(self._tag)
        for _, widget, connector, write in self._bound:
            widget.disconnect(connector.signal, write)
