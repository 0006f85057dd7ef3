"""How far a long step is, told now and then on the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

_EVERY_S = 30.0

Item = TypeVar("Item")


def progress(items: Sequence[Item], words: str) -> Iterator[Item]:
    """The items; every half minute ``words``, how many are done and the minutes left are printed."""
    started = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - told >= _EVERY_S:
            told = now
            left = (now - started) / done * (len(items) - done)
            print(f"{words}: {done}/{len(items)}, about {left / 60:.1f} min left", flush=True)
        yield item
