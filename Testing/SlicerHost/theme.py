"""Light and dark: the palettes between which a Slicer user chooses."""

from __future__ import annotations

from typing import Any

from PySide6.QtGui import QColor, QPalette

LIGHT = {
    "Window": "#efefef",
    "WindowText": "#000000",
    "Base": "#ffffff",
    "AlternateBase": "#f5f5f5",
    "Text": "#000000",
    "Button": "#efefef",
    "ButtonText": "#000000",
    "BrightText": "#ffffff",
    "ToolTipBase": "#ffffdc",
    "ToolTipText": "#000000",
    "PlaceholderText": "#808080",
    "Highlight": "#308cc6",
    "HighlightedText": "#ffffff",
    "Link": "#0057ae",
}
DARK = {
    "Window": "#2b2d30",
    "WindowText": "#e6e6e6",
    "Base": "#1e1f22",
    "AlternateBase": "#26282b",
    "Text": "#e6e6e6",
    "Button": "#3a3d41",
    "ButtonText": "#e6e6e6",
    "BrightText": "#ffffff",
    "ToolTipBase": "#3a3d41",
    "ToolTipText": "#e6e6e6",
    "PlaceholderText": "#8c8c8c",
    "Highlight": "#3d7ab8",
    "HighlightedText": "#ffffff",
    "Link": "#6cb2f7",
}
DISABLED = {"light": "#9a9a9a", "dark": "#7a7a7a"}
THEMES = {"light": LIGHT, "dark": DARK}


def apply_theme(application: Any, name: str) -> None:
    """Gives the application the colours of ``light`` or ``dark``."""
    palette = QPalette()
    for role, color in THEMES[name].items():
        palette.setColor(QPalette.ColorRole[role], QColor(color))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(QPalette.ColorGroup.Disabled, QPalette.ColorRole[role], QColor(DISABLED[name]))
    application.setStyle("Fusion")
    application.setPalette(palette)
