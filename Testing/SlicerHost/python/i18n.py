"""``slicer.i18n``: texts that can be translated; here they stay as they are."""

from __future__ import annotations

import inspect


def tr(text: str) -> str:
    """The text in the user's language."""
    return text


def translate(context: str, text: str, disambiguation: str | None = None, n: int = -1) -> str:
    """The text in the user's language; the context names where it stands."""
    return text


def getContext(sourceFile: str) -> str:
    """The context that texts of a file have: its base name without the ending."""
    return inspect.getmodulename(sourceFile) or ""
