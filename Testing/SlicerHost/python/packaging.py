"""``slicer.packaging``: installing Python packages, which the stand-in refuses.

A test that means to see an installation patches these; nothing is ever installed into the developer's environment.
"""

from __future__ import annotations

from typing import Any

REFUSED = "the stand-in for Slicer installs nothing: {}"


def pip_install(requirements: str | list[str], **options: Any) -> None:
    """:raises RuntimeError: always"""
    raise RuntimeError(REFUSED.format(requirements))


def pip_uninstall(requirements: str | list[str], **options: Any) -> None:
    """:raises RuntimeError: always"""
    raise RuntimeError(REFUSED.format(requirements))


def pip_ensure(requirements: str | list[str], **options: Any) -> None:
    """:raises RuntimeError: always"""
    raise RuntimeError(REFUSED.format(requirements))
