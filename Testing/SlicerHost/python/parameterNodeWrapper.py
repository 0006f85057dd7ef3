"""``slicer.parameterNodeWrapper``: a parameter node with typed fields that can be bound to a panel's widgets.

Of Slicer's there are the field types bool, int, float, str, Path, Enum, FloatRange and MRML nodes, and the
annotations of ``parameters``; other types raise.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import slicer

from .parameters import (
    Choice,
    Decimals,
    Default,
    FloatRange,
    Maximum,
    Minimum,
    Parameter,
    RangeBounds,
    SingleStep,
    WithinRange,
    make_parameter,
)
from .parameterwidgets import Binding

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


class _Wrapper:
    """What ``parameterNodeWrapper`` makes of a class."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self._node = parameterNode
        self._bindings: dict[int, Binding] = {}
        self._next_tag = 0
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
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._bindings[tag] = Binding(self, mapping)
        return tag

    def disconnectGui(self, tag: int) -> None:
        if tag in self._bindings:
            self._bindings.pop(tag).undo()


def parameterNodeWrapper(cls: type) -> type:
    """Decorator: makes of a class with annotated fields a typed view of a parameter node."""
    parameters = {
        name: make_parameter(name, kind, vars(cls).get(name, dataclasses.MISSING))
        for name, kind in typing.get_type_hints(cls, include_extras=True).items()
    }
    content = {
        name: value
        for name, value in vars(cls).items()
        if name not in (*parameters, "__dict__", "__weakref__")
    }
    return type(cls.__name__, (_Wrapper,), {**content, "allParameters": parameters})
