"""``slicer.i18n``: texts that can be translated; here they stay as they are."""

from __future__ import annotations

from pathlib import Path


def tr(text: str) -> str:
    """The text in the user's language."""
    return text


def translate(context: str, text: str) -> str:
    """The text in the user's language; the context names where it stands."""
    return text


def getContext(sourceFile: str) -> str:
    """The context that texts of a file have: its name without the ending, after that of its Python package."""
    path = Path(sourceFile)
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem
