"""``slicer.parameterNodeWrapper``: a parameter node with typed fields that can be bound to a panel's widgets.

Of Slicer's there are the field types bool, int, float, str, Path, Enum, FloatRange and MRML nodes, and the
annotations below; other types raise.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
import vtk

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "FloatRange",
    "Maximum",
    "Minimum",
    "RangeBounds",
    "SingleStep",
    "WithinRange",
    "parameterNodeWrapper",
]


@dataclasses.dataclass(frozen=True)
class FloatRange:
    """A range of numbers."""

    minimum: float
    maximum: float


# Annotations: what a field may hold beyond its type, and how a widget shows it


@dataclasses.dataclass(frozen=True)
class Default:
    """The value of a field that was never set."""

    value: Any


@dataclasses.dataclass(frozen=True)
class WithinRange:
    """Numbers from ``minimum`` to ``maximum``, both included."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclasses.dataclass(frozen=True)
class Minimum:
    """Numbers from ``minimum`` on."""

    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


@dataclasses.dataclass(frozen=True)
class Maximum:
    """Numbers up to ``maximum``."""

    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is greater than {self.maximum}")


@dataclasses.dataclass(frozen=True)
class RangeBounds:
    """Ranges that lie between ``minimum`` and ``maximum``."""

    minimum: float
    maximum: float

    def validate(self, value: FloatRange) -> None:
        if value.minimum < self.minimum or value.maximum > self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


class Choice:
    """One of the given values."""

    def __init__(self, choices: Any) -> None:
        self.choices = list(choices)

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclasses.dataclass(frozen=True)
class Decimals:
    """How many decimals a widget shows."""

    value: int


@dataclasses.dataclass(frozen=True)
class SingleStep:
    """By how much a widget's arrows change the value."""

    value: float


# Types: how a value is kept in the node


class _Parameter:
    """A field of a simple type, kept as a parameter's text."""

    def __init__(self, name: str, kind: Any, annotations: tuple[Any, ...], default: Any) -> None:
        self.name, self.kind, self.annotations = name, kind, annotations
        self.default = self._type_default() if default is dataclasses.MISSING else default
        self.validate(self.default)

    def annotation(self, *kinds: type) -> Any:
        """The first annotation of one of the classes, or None."""
        return next((one for one in self.annotations if isinstance(one, kinds)), None)

    def validate(self, value: Any) -> None:
        """:raises TypeError: if the value is of another type
        :raises ValueError: if an annotation forbids it
        """
        accepted = (float, int) if self.kind is float else self.kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.kind is not bool):
            raise TypeError(f"'{self.name}' takes {self.kind.__name__}, not {value!r}")
        for one in self.annotations:
            if hasattr(one, "validate"):
                one.validate(value)

    def _type_default(self) -> Any:
        choice, low = self.annotation(Choice), self.annotation(WithinRange, Minimum)
        if choice:
            return choice.choices[0]
        value = self.kind()
        return self.kind(low.minimum) if low and low.minimum > value else value

    def isIn(self, node: Any) -> bool:
        return self.name in node.GetParameterNames()

    def write(self, node: Any, value: Any) -> None:
        node.SetParameter(self.name, self._text(value))

    def read(self, node: Any) -> Any:
        # A node into which a scene is being loaded tells of a change while it is still empty.
        return self._value(node.GetParameter(self.name)) if self.isIn(node) else self.default

    def _text(self, value: Any) -> str:
        return str(self.kind(value))

    def _value(self, text: str) -> Any:
        return self.kind(text)


class _BoolParameter(_Parameter):
    def _value(self, text: str) -> bool:
        return text == "True"


class _EnumParameter(_Parameter):
    def _type_default(self) -> Any:
        return next(iter(self.kind))

    def _text(self, value: Any) -> str:
        return str(value.name)

    def _value(self, text: str) -> Any:
        return self.kind[text]


class _RangeParameter(_Parameter):
    def _type_default(self) -> FloatRange:
        bounds = self.annotation(RangeBounds)
        return FloatRange(bounds.minimum, bounds.maximum) if bounds else FloatRange(0.0, 0.0)

    def _text(self, value: FloatRange) -> str:
        return f"{value.minimum},{value.maximum}"

    def _value(self, text: str) -> FloatRange:
        return FloatRange(*map(float, text.split(",")))


class _NodeParameter(_Parameter):
    """A node, kept as a node reference; it may be None."""

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"'{self.name}' takes {self.kind.__name__}, not {value!r}")

    def _type_default(self) -> None:
        return None

    def isIn(self, node: Any) -> bool:
        return True  # as None

    def write(self, node: Any, value: Any) -> None:
        node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def read(self, node: Any) -> Any:
        return node.GetNodeReference(self.name)


def _parameter(name: str, annotated: Any, default: Any) -> _Parameter:
    """:raises TypeError: for a type that there is none for"""
    if isinstance(annotated, str):
        raise TypeError(f"'{name}': write the type itself, without 'from __future__ import annotations'")
    kind: Any = annotated
    annotations: tuple[Any, ...] = ()
    if typing.get_origin(annotated) is typing.Annotated:
        kind, annotations = annotated.__origin__, annotated.__metadata__
    marked = [one.value for one in annotations if isinstance(one, Default)]
    if marked:
        if default is not dataclasses.MISSING:
            raise ValueError(f"'{name}' has two defaults")
        default = marked[0]
    annotations = tuple(one for one in annotations if not isinstance(one, Default))
    if kind is bool:
        return _BoolParameter(name, kind, annotations, default)
    if kind in (int, float, str) or (isinstance(kind, type) and issubclass(kind, pathlib.PurePath)):
        return _Parameter(name, kind, annotations, default)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _EnumParameter(name, kind, annotations, default)
    if kind is FloatRange:
        return _RangeParameter(name, kind, annotations, default)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return _NodeParameter(name, kind, annotations, default)
    raise TypeError(f"'{name}': the stand-in for Slicer has no parameters of type {kind}")


# Widgets: how a field is shown


@dataclasses.dataclass(frozen=True)
class _Connector:
    """How widgets of some classes show fields of some kind."""

    widgets: tuple[Any, ...]
    accepts: Callable[[_Parameter], bool]
    signal: str
    read: Callable[[Any, _Parameter], Any]
    write: Callable[[Any, Any, _Parameter], None]
    configure: Callable[[Any, _Parameter], None] = lambda widget, parameter: None


def _is(*kinds: type) -> Callable[[_Parameter], bool]:
    return lambda parameter: isinstance(parameter.kind, type) and issubclass(parameter.kind, kinds)


def _property(name: str) -> dict[str, Any]:
    """``read`` and ``write`` for a field that is one property of the widget."""
    return {
        "read": lambda widget, parameter: parameter.kind(getattr(widget, name)),
        "write": lambda widget, value, parameter: setattr(
            widget, name, str(value) if isinstance(value, pathlib.PurePath) else value
        ),
    }


def _configure_number(widget: Any, parameter: _Parameter) -> None:
    low, high = parameter.annotation(WithinRange, Minimum), parameter.annotation(WithinRange, Maximum)
    decimals, step = parameter.annotation(Decimals), parameter.annotation(SingleStep)
    if decimals:
        widget.decimals = decimals.value
    if step:
        widget.singleStep = step.value
    if low:
        widget.minimum = low.minimum
    if high:
        widget.maximum = high.maximum


def _configure_range(widget: Any, parameter: _Parameter) -> None:
    bounds = parameter.annotation(RangeBounds)
    if bounds:
        widget.setRange(bounds.minimum, bounds.maximum)


def _choices(parameter: _Parameter) -> list[tuple[str, Any]]:
    """What a combo box lists: text and value."""
    if isinstance(parameter, _EnumParameter):
        return [(one.label() if hasattr(one, "label") else one.name, one) for one in parameter.kind]
    return [(str(one), one) for one in parameter.annotation(Choice).choices]


def _configure_choice(widget: Any, parameter: _Parameter) -> None:
    widget.clear()
    for text, _ in _choices(parameter):
        widget.addItem(text)


def _read_choice(widget: Any, parameter: _Parameter) -> Any:
    return _choices(parameter)[max(0, widget.currentIndex)][1]


def _write_choice(widget: Any, value: Any, parameter: _Parameter) -> None:
    widget.setCurrentIndex([one for _, one in _choices(parameter)].index(value))


def _has_choices(parameter: _Parameter) -> bool:
    return isinstance(parameter, _EnumParameter) or parameter.annotation(Choice) is not None


def _connectors() -> tuple[_Connector, ...]:
    return (
        _Connector(
            (qt.QComboBox,),
            _has_choices,
            "currentIndexChanged(int)",
            _read_choice,
            _write_choice,
            _configure_choice,
        ),
        _Connector((qt.QCheckBox, qt.QPushButton), _is(bool), "toggled(bool)", **_property("checked")),
        _Connector(
            (qt.QSpinBox, qt.QSlider),
            _is(int),
            "valueChanged(int)",
            configure=_configure_number,
            **_property("value"),
        ),
        _Connector(
            (ctk.ctkSliderWidget, qt.QDoubleSpinBox),
            _is(float),
            "valueChanged(double)",
            configure=_configure_number,
            **_property("value"),
        ),
        _Connector((qt.QLineEdit,), _is(str), "textChanged(QString)", **_property("text")),
        _Connector((qt.QTextEdit, qt.QPlainTextEdit), _is(str), "textChanged()", **_property("plainText")),
        _Connector(
            (ctk.ctkPathLineEdit,),
            _is(pathlib.PurePath),
            "currentPathChanged(QString)",
            **_property("currentPath"),
        ),
        _Connector(
            (ctk.ctkDirectoryButton,),
            _is(pathlib.PurePath),
            "directoryChanged(QString)",
            **_property("directory"),
        ),
        _Connector(
            (ctk.ctkRangeWidget,),
            _is(FloatRange),
            "valuesChanged(double,double)",
            lambda widget, parameter: FloatRange(widget.minimumValue, widget.maximumValue),
            lambda widget, value, parameter: widget.setValues(value.minimum, value.maximum),
            _configure_range,
        ),
        _Connector(
            (slicer.qMRMLNodeComboBox,),
            lambda parameter: isinstance(parameter, _NodeParameter),
            "currentNodeChanged(vtkMRMLNode*)",
            lambda widget, parameter: widget.currentNode(),
            lambda widget, value, parameter: widget.setCurrentNode(value),
        ),
    )


class _Binding:
    """The widgets that ``connectGui`` bound, and the way back."""

    def __init__(self, wrapper: Any, widgets: dict[str, Any]) -> None:
        self._wrapper, self._updating = wrapper, False
        self._bound = []
        for name, widget in widgets.items():
            parameter = wrapper.allParameters[name]
            connector = next(
                (one for one in _connectors() if isinstance(widget, one.widgets) and one.accepts(parameter)),
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

    def _writer(self, parameter: _Parameter, widget: Any, connector: _Connector) -> Callable[..., None]:
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


class _Wrapper:
    """What ``parameterNodeWrapper`` makes of a class."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self._node = parameterNode
        self._bindings: dict[int, _Binding] = {}
        modified = parameterNode.StartModify()
        for parameter in self.allParameters.values():
            if not parameter.isIn(parameterNode):
                parameter.write(parameterNode, parameter.default)
        parameterNode.EndModify(modified)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no '{name}'")
        return self.allParameters[name].read(self._node)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        elif name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no '{name}'")
        else:
            self.allParameters[name].validate(value)
            self.allParameters[name].write(self._node, value)

    @property
    def parameterNode(self) -> Any:
        return self._node

    def getValue(self, name: str) -> Any:
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def StartModify(self) -> int:
        return int(self._node.StartModify())

    def EndModify(self, wasModified: int) -> int:
        return int(self._node.EndModify(wasModified))

    def Modified(self) -> None:
        self._node.Modified()

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        return int(self._node.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        self._node.RemoveObserver(tag)

    def connectGui(self, gui: Any) -> int:
        """Binds each widget whose property ``SlicerParameterName`` names a field; a tag for ``disconnectGui``.

        :raises ValueError: if a widget names a field that there is not
        :raises RuntimeError: if a widget cannot show its field
        """
        widgets = {}
        for widget in slicer.util.findChildren(gui) if hasattr(gui, "children") else vars(gui).values():
            name = widget.property("SlicerParameterName") if hasattr(widget, "property") else None
            if name:
                if name not in self.allParameters:
                    raise ValueError(f"'{widget.name}' names the parameter '{name}', which there is not")
                widgets[name] = widget
        return self.connectParametersToGui(widgets)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Binds fields, by name, to widgets; a tag for ``disconnectGui``."""
        tag = max(self._bindings, default=0) + 1
        self._bindings[tag] = _Binding(self, mapping)
        return tag

    def disconnectGui(self, tag: int) -> None:
        self._bindings.pop(tag).undo()


def parameterNodeWrapper(cls: type) -> type:
    """Decorator: makes of a class with annotated fields a typed view of a parameter node."""
    defaults = {name: vars(cls).get(name, dataclasses.MISSING) for name in cls.__annotations__}
    parameters = {name: _parameter(name, kind, defaults[name]) for name, kind in cls.__annotations__.items()}
    content = {
        name: value
        for name, value in vars(cls).items()
        if name not in (*parameters, "__dict__", "__weakref__")
    }
    return type(cls.__name__, (_Wrapper,), {**content, "allParameters": parameters})
