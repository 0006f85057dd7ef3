"""Where to cut the cubes that CT-GAN learns from: nodules and other bright knots in lung, or lung without any.

CT-GAN learnt to inject from the nodules of 888 scans. Few scans hold few nodules, so here the brightest compact
structures in lung (knots and ends of vessels) stand beside the nodules that readers marked, and large nodules are
also shown smaller. The generator's card counts what was used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.evidence.noise import body_of
from CTForgeryScanLib.volume import Volume
from training.forgers.ctgan.cubes import Place, Singles
from training.sites import Site

_GRID_MM = 2.0
_KNOT_MM = 3.0
_COMPACT = 0.12  # least part of the steepest curvature that the flattest may be
_SHRINKS = (1.0, 1.4, 2.0)
_NODULE_MM = (10.0, 24.0)  # what CT-GAN injects, and what the middle of its cube can hold
_MARGIN_MM = 12.0  # a place is at least so far from the first and last slice


def nodule_places(sites: tuple[Site, ...]) -> list[Place]:
    """The nodules among the sites, each at every size between 10 and 24 mm that shrinking it by 1, 1.4 or 2 gives."""
    low, high = _NODULE_MM
    return [
        Place(site.ijk, shrink)
        for site in sites
        for shrink in _SHRINKS
        if site.kind == "nodule" and low <= site.diameter_mm / shrink <= high
    ]


def knot_places(volume: Volume, count: int) -> list[Place]:
    """The ``count`` structures in lung that stand out most and are about as long as they are wide, brightest first."""
    grid, body = _on_grid(volume)
    core = ndimage.gaussian_filter(grid, _KNOT_MM / _GRID_MM)
    around = ndimage.gaussian_filter(grid, 3 * _KNOT_MM / _GRID_MM)
    rise = core - around
    peaks = (rise == ndimage.maximum_filter(rise, 5)) & body & (around < -500) & (rise > 100)
    found = np.argwhere(peaks)
    found = found[_compact(grid, found)]
    order = np.argsort(-rise[tuple(found.T)])
    return _off_the_ends(volume, found[order])[:count]


def lung_places(volume: Volume, count: int, rng: np.random.Generator) -> list[Place]:
    """Up to ``count`` random places whose middle is lung without anything larger than a small vessel."""
    grid, body = _on_grid(volume)
    core = ndimage.gaussian_filter(grid, 4.0 / _GRID_MM)
    found = np.argwhere((core > -960) & (core < -780) & body)
    return _off_the_ends(volume, rng.permutation(found))[:count]


def _compact(grid: Singles, places: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether the brightness at a place falls in every direction; along a vessel it hardly does."""
    curvature = np.empty((len(places), 3, 3))
    for a in range(3):
        for b in range(a, 3):
            order = np.bincount([a, b], minlength=3)
            second = ndimage.gaussian_filter(grid, _KNOT_MM / _GRID_MM, order=order)[tuple(places.T)]
            curvature[:, a, b] = curvature[:, b, a] = second
    steepest, _, flattest = np.linalg.eigvalsh(curvature).T
    return np.asarray(flattest < _COMPACT * steepest)


def _on_grid(volume: Volume) -> tuple[Singles, NDArray[np.bool_]]:
    """HU at 2 mm, clipped to what matters, and whether it is in the body, both [k, j, i]."""
    zoom = np.array(volume.spacing_mm[::-1]) / _GRID_MM
    hu = np.clip(volume.hu, -1000, 200).astype(np.float32)
    # The foam of cushions has the density of lung.
    body = np.stack([body_of(plane) for plane in volume.hu])
    return ndimage.zoom(hu, zoom, order=1), ndimage.zoom(body, zoom, order=0)


def _off_the_ends(volume: Volume, on_grid: NDArray[np.intp]) -> list[Place]:
    """These places in the volume's own voxels, but for those near its first and last slices."""
    step = _GRID_MM / np.array(volume.spacing_mm[::-1])
    margin = _MARGIN_MM / volume.spacing_mm[2]
    places = (Place((float(i), float(j), float(k))) for k, j, i in np.round(on_grid * step))
    return [place for place in places if margin <= place.ijk[2] < volume.shape[0] - margin]
