"""A place of a volume: a real nodule, healthy lung, or where a forger did or is to do its work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

SiteKind = Literal["nodule", "lung", "inject", "remove"]
"""What is or happens there: a real nodule, untouched lung without one, a nodule injected, or what was there removed."""

KINDS: tuple[SiteKind, ...] = get_args(SiteKind)

FORGED = frozenset[SiteKind]({"inject", "remove"})
"""What somebody did, not what the scanner saw."""


@dataclass(frozen=True)
class Site:
    """A place of one volume.

    Attributes:
        volume: the name of the volume in its source.
        ijk: the centre in voxels (i, j, k); halves are between voxels.
        diameter_mm: of the nodule that is there, is to be there, or is to go; 0 for healthy lung and where nobody
            measured it.
        kind: what is or happens there.
    """

    volume: str
    ijk: tuple[float, float, float]
    diameter_mm: float
    kind: SiteKind

    @property
    def voxel(self) -> tuple[int, int, int]:
        """The voxel (i, j, k) at the centre."""
        i, j, k = (round(at) for at in self.ijk)
        return i, j, k


def ijk_of_lps(
    ijk_to_ras: NDArray[np.float64], lps: tuple[float, float, float]
) -> tuple[float, float, float]:
    """A place in DICOM's and ITK's millimetres (left, posterior, superior) as (i, j, k)."""
    left, posterior, superior = lps
    i, j, k, _ = np.linalg.solve(ijk_to_ras, (-left, -posterior, superior, 1.0))
    return float(i), float(j), float(k)
