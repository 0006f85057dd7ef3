"""What trainings read: single slices with what is known of them.

Nothing here says where they come from: ``data`` reads the data folder, ``slice_set`` what was made from other sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SliceSite:
    """A forged place in a slice: centre (x, y) in pixels (column, row) and side of CT-GAN's touched block in pixels.

    ``offset_mm`` is the distance between this slice and the slice the site was forged in; 0 for the site's own.
    """

    x: float
    y: float
    block: int
    offset_mm: float
    kind: str
    """"inject", "remove" or, for a slice that was denoised as a whole, "cyclegan"."""


@dataclass(frozen=True)
class Slice:
    """One slice [j, i] in HU with what is known of it."""

    name: str
    patient: str
    series: str
    k: int
    hu: NDArray[np.int16]
    spacing_mm: float
    """Side of a pixel."""
    between_mm: float = 0.0
    """Distance to the next slice of the series; 0 for a slice that came alone."""
    forged: tuple[SliceSite, ...] = ()
    """All sites that may have changed this slice, its own first; empty for an untouched slice."""
    lesions: tuple[tuple[float, float], ...] = ()
    """Centres (x, y) of real nodules and tumours that readers marked here."""
    hot: tuple[tuple[float, float], ...] = ()
    """Centres (x, y) of places that a detector takes for forged and that are not (``hard_places``)."""

    twin: NDArray[np.int16] | None = None
    """The same slice [j, i] before it was forged, where that is known: in what our own forgers made."""

    @property
    def kind(self) -> str:
        """The kind of its own site for a forged slice, else "untouched"."""
        return self.forged[0].kind if self.forged else "untouched"
