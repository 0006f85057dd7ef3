"""Fields of a parameter node: their types, how they are kept as text, and what their annotations forbid."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import typing
from typing import Any

import slicer


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


class Parameter:
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
        return self.kind()

    def isIn(self, node: Any) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        node.SetParameter(self.name, self._text(value))

    def read(self, node: Any) -> Any:
        # A node into which a scene is being loaded tells of a change while it is still empty.
        if not self.isIn(node):
            self.write(node, self.default)
        return self._value(node.GetParameter(self.name))

    def _text(self, value: Any) -> str:
        return str(self.kind(value))

    def _value(self, text: str) -> Any:
        return self.kind(text)


class BoolParameter(Parameter):
    def _value(self, text: str) -> bool:
        return text == "True"


class EnumParameter(Parameter):
    def _type_default(self) -> Any:
        return next(iter(self.kind))

    def _text(self, value: Any) -> str:
        return str(value.name)

    def _value(self, text: str) -> Any:
        return self.kind[text]


class RangeParameter(Parameter):
    def _type_default(self) -> FloatRange:
        return FloatRange(0.0, 0.0)

    def _text(self, value: FloatRange) -> str:
        return f"{value.minimum},{value.maximum}"

    def _value(self, text: str) -> FloatRange:
        return FloatRange(*map(float, text.split(",")))


class NodeParameter(Parameter):
    """A node, kept as a node reference; it may be None."""

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"'{self.name}' takes {self.kind.__name__}, not {value!r}")

    def _type_default(self) -> None:
        return None

    def write(self, node: Any, value: Any) -> None:
        node.SetParameter(self.name, "")  # says that it is there, for None leaves no reference
        node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def read(self, node: Any) -> Any:
        return node.GetNodeReference(self.name)


def make_parameter(name: str, annotated: Any, default: Any) -> Parameter:
    """:raises TypeError: for a type that there is none for"""
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
        return BoolParameter(name, kind, annotations, default)
    if kind in (int, float, str) or (isinstance(kind, type) and issubclass(kind, pathlib.PurePath)):
        return Parameter(name, kind, annotations, default)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return EnumParameter(name, kind, annotations, default)
    if kind is FloatRange:
        return RangeParameter(name, kind, annotations, default)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeParameter(name, kind, annotations, default)
    raise TypeError(f"'{name}': the stand-in for Slicer has no parameters of type {kind}")
