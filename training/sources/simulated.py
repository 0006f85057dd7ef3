"""Simulated chest CT, nobody's: scan n is the chest of seed n, simulated when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume, load_volume
from training.simulated_ct import Scanner, SimulatedCT, simulate
from training.sites import Site
from training.sources.scan import Listing

_SLICES = 40


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """The chest of a seed."""

    seed: int
    slices: int = _SLICES
    scanner: Scanner | None = None

    @property
    def name(self) -> str:
        """See ``Scan.name``."""
        return f"simulated-{self.seed}"

    @property
    def patient(self) -> str:
        """See ``Scan.patient``."""
        return self.name

    @property
    def sites(self) -> tuple[Site, ...]:
        """Its nodules."""
        ct = self._ct
        return tuple(
            Site(self.name, ijk, nodule.diameter_mm, "nodule")
            for nodule, ijk in zip(ct.nodules, ct.nodules_ijk, strict=True)
        )

    def load(self) -> Volume:
        """See ``Scan.load``."""
        return load_volume((self._ct.hu, self._ct.ijk_to_ras))

    @cached_property
    def _ct(self) -> SimulatedCT:
        return simulate(self.seed, self.slices, self.scanner)


def read(where: str) -> Listing:
    """So many chests as ``where`` says. Raises InputError where it is no such number."""
    if not (where.isdecimal() and int(where) > 0):
        raise InputError(f"'{where}' is not a number of simulated chests; give one such as 3.")
    return Listing(tuple(SimulatedScan(seed) for seed in range(int(where))))
