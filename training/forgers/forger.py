"""What every forger is: something that changes a volume at a site and says which voxels it changed.

Forged data are for training and tests: they are marked as such, and never written as DICOM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.sites import Site, SiteKind


@dataclass(frozen=True)
class ForgedVolume:
    """A forged CT: ``hu`` int16 and ``changed_mask`` bool, both [k, j, i]; ``metadata``: the record, JSON-ready."""

    hu: NDArray[np.int16]
    changed_mask: NDArray[np.bool_]
    metadata: dict[str, Any]


class Forger(Protocol):
    """Changes one site of a volume."""

    @property
    def name(self) -> str:
        """The word by which commands and records call it."""

    @property
    def kinds(self) -> tuple[SiteKind, ...]:
        """What it can do: "inject", "remove" or both."""

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """Forge ``site`` and return a new volume; the given one stays as it was.

        Raises InputError for a kind that it cannot do, a site outside the volume or nearer to its border than the
        forger needs, and a spacing it cannot work at.
        """


def forged_volume(volume: Volume, hu: NDArray[np.int16], site: Site, record: dict[str, Any]) -> ForgedVolume:
    """``hu`` as a forgery of ``volume``: what changed, and the site beside the forger's own record."""
    made = {"kind": site.kind, "ijk": list(site.voxel), "diameter_mm": round(site.diameter_mm, 1)}
    return ForgedVolume(hu, hu != volume.hu, made | record)


def check_kind(forger: Forger, site: Site) -> None:
    """Raises InputError when the forger cannot do what the site asks for."""
    if site.kind not in forger.kinds:
        raise InputError(
            f"the forger {forger.name} does not know the kind {site.kind!r}; choose {' or '.join(forger.kinds)}"
        )
