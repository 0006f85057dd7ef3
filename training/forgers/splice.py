"""Splice: a patch of another scan, or of another place, set in by Poisson blending.

The patch's gradients are kept and its level is bent until it meets what is around it (Pérez et al., 2003): no seam, but
the noise and the grid of somewhere else. Arrays are [k, j, i]; lengths in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Ball, Floats, ball_about
from training.forgers.content import with_nodule
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.forgers.lung import Box, lung_place, noise_in, without_noise
from training.sites import Site, SiteKind

_CANDIDATES = 6
_BORDER_MM = 1.0
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Splice:
    """Replaces a site by lung from ``donor``, or from elsewhere in the scan, with a nodule drawn in to inject one.

    Of a few random places the one that fits the rim of the site best is taken, mirrored half of the time. ``forge``
    raises InputError where the ball to forge in leaves the volume or the donor holds no patch of lung so large.
    """

    donor: Volume | None = None
    name: str = "splice"
    kinds: tuple[SiteKind, ...] = ("inject", "remove")

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        ball = ball_about(volume, site, context_mm=2 * max(volume.spacing_mm))
        before = ball.cut(volume.hu)
        spared = ball.spared(before, site.kind)
        inside = (ball.distance_mm <= ball.radius_mm) & ~spared
        patch, source = self._patch(volume, site, ball, spared, rng)
        content = poisson_blended(before, patch, inside, spared, ball.spacing_mm)
        if site.kind == "inject":
            content = with_nodule(content, ball.offsets_mm, rng, site.diameter_mm, noise_in(patch))
        hu = ball.laid(volume.hu, content, _BORDER_MM, site.kind)
        record = {
            "forger": self.name,
            "source": "another scan" if self.donor else "the scan",
            "source_ijk": [int(n) for n in reversed(source)],
        }
        return forged_volume(volume, hu, site, record)

    def _patch(
        self,
        volume: Volume,
        site: Site,
        ball: Ball,
        spared: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[Floats, tuple[int, int, int]]:
        """The candidate that fits the ball's rim best, and where [k, j, i] it came from."""
        donor = self.donor or volume
        k, j, i = (int(ball.radius_mm / mm) + 1 for mm in reversed(donor.spacing_mm))
        distance = ball.distance_mm
        rim = (distance <= ball.radius_mm + 1) & (distance > ball.radius_mm - 3) & ~spared
        wanted = without_noise(ball.cut(volume.hu))
        best, found = np.inf, None
        for _ in range(_CANDIDATES):
            away = None if self.donor else site.voxel[::-1]
            place = lung_place(
                donor.hu, donor.spacing_mm, Box((k, j, i)), rng, away, away_mm=2.2 * ball.radius_mm
            )
            patch = _sampled(donor, place, ball, mirrored=bool(rng.integers(2)))
            misfit = float(np.abs(without_noise(patch) - wanted)[rim].sum())
            if found is None or misfit < best:
                best, found = misfit, (patch, place)
        assert found
        return found


def poisson_blended(
    before: Floats,
    patch: Floats,
    inside: NDArray[np.bool_],
    free: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> Floats:
    """``before`` with the gradients of ``patch`` inside: the solution f of ∇²f = ∇²patch, f = before outside.

    Where the inside meets what is ``free`` (a wall), f need not equal what is there: a wall must not glow into the
    lung. The inside must not touch the faces of the box. ``spacing_mm`` is along k, j and i: gradients are per mm.
    """
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(np.count_nonzero(inside))
    gap = np.where(inside, 0.0, before - patch)
    own = number[inside]
    diagonal, right = np.zeros(own.size), np.zeros(own.size)
    rows, columns, values = [], [], []
    for axis, mm in enumerate(spacing_mm):
        for step in (-1, 1):
            neighbour = np.roll(number, step, axis)[inside]
            pull = np.where(np.roll(free, step, axis)[inside], 0.0, 1 / mm**2)
            diagonal += pull
            right += pull * np.roll(gap, step, axis)[inside]
            within = neighbour >= 0
            rows.append(own[within])
            columns.append(neighbour[within])
            values.append(-pull[within])
    # What is solved for is the harmonic difference from the patch: smooth, so that few steps reach it.
    off_diagonal = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    laplacian = sparse.coo_array(off_diagonal, shape=(own.size, own.size)).tocsr() + sparse.diags_array(
        diagonal
    )
    bend, failed = cg(laplacian, right, rtol=_TOLERANCE)
    if failed:
        raise ArithmeticError("the Poisson equation of a patch was not solved")
    blended = before.copy()
    blended[inside] = patch[inside] + bend
    return blended


def _sampled(donor: Volume, place: tuple[int, int, int], ball: Ball, *, mirrored: bool) -> Floats:
    """The donor around a place on the grid of the ball's box, cubic where the grids differ."""
    steps = [
        offset * (-1 if mirrored and axis == 2 else 1) / mm
        for axis, (offset, mm) in enumerate(zip(ball.offsets_mm, reversed(donor.spacing_mm), strict=True))
    ]
    at = np.broadcast_arrays(*(centre + step for centre, step in zip(place, steps, strict=True)))
    whole = all(np.allclose(step, np.rint(step), atol=1e-6) for step in steps)
    low = [max(int(axis.min()) - 8, 0) for axis in at]
    high = [int(axis.max()) + 9 for axis in at]
    box = donor.hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float64)
    local = [axis - first for axis, first in zip(at, low, strict=True)]
    return np.asarray(ndimage.map_coordinates(box, local, order=0 if whole else 3, mode="nearest"))
