"""Where the 32×32 sub-images of a slice lie (Section 3.4, Eq. 4–7).

A sub-image, or window, with index (r, c) covers rows 4r … 4r+31 and columns 4c … 4c+31, so its centre is the point
(column 4c + 15.5, row 4r + 15.5) in pixel centres. The paper's Eq. 4 names the same window by y = 16 + 4r.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

WINDOW = 32
"""Side of a sub-image in pixels."""
STRIDE = 4
"""Distance between neighbouring sub-images in pixels."""
CENTRE = (WINDOW - 1) / 2
"""Offset from a window's first pixel to its centre, in pixels."""

_BODY_HU = -500
_AIR_HU = -1000
_EMPTY_HU = -985  # between air and the most emphysematous lung
_LUNG_HU = (-970, -600)
_CROPPED = 0.02


def grid_shape(rows: int, columns: int) -> tuple[int, int]:
    """Number of windows down and across a slice of that size (Eq. 5); (121, 121) for 512×512.

    Raises ValueError if the slice is smaller than one window.
    """
    if min(rows, columns) < WINDOW:
        raise ValueError(
            f"a slice of {rows}×{columns} pixels is smaller than one {WINDOW}×{WINDOW} sub-image"
        )
    return (rows - WINDOW) // STRIDE + 1, (columns - WINDOW) // STRIDE + 1


def centres(rows: int, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns, in pixels, of the window centres: arrays of shape (R,) and (C,)."""
    r, c = grid_shape(rows, columns)
    return STRIDE * np.arange(r, dtype=np.float64) + CENTRE, STRIDE * np.arange(c, dtype=np.float64) + CENTRE


def heatmap_ijk_to_ras(ct_ijk_to_ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """IJK-to-RAS of the heatmap: the CT's · translate(15.5, 15.5, 0) · scale(4, 4, 1)."""
    window_to_ijk = np.diag([STRIDE, STRIDE, 1.0, 1.0])
    window_to_ijk[:2, 3] = CENTRE
    return ct_ijk_to_ras @ window_to_ijk


def circle_mask(rows: int, columns: int) -> NDArray[np.bool_]:
    """Windows, bool [r, c], whose centre lies on or inside the inscribed circle (Eq. 6–7).

    Eq. 6–7 as printed give only the right half, with the row measured from 0; meant, and built by the authors'
    program, are both halves with the row measured from the image's middle. Their centres are the paper's,
    (16 + 4c, 16 + 4r). 12,477 windows at 512×512. Outside, the paper sets the probability to 0.
    """
    r, c = grid_shape(rows, columns)
    y = WINDOW / 2 + STRIDE * np.arange(r) - rows / 2
    x = WINDOW / 2 + STRIDE * np.arange(c) - columns / 2
    return x[None, :] ** 2 + y[:, None] ** 2 <= (min(rows, columns) / 2) ** 2


def body_mask(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Windows, bool [r, c], whose centre lies in the patient: the slice's largest object, lungs included.

    The patient table and most clothes fall away. ``hu`` is one slice [j, i] in HU. If nothing in the slice is denser
    than air, no window is in the body. Lung that a small field of view cuts open belongs to it.
    """
    return _body(_smooth(hu))


def near_lung_mask(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Windows, bool [r, c], in the body that hold lung, be it at their edge. ``hu`` is one slice [j, i] in HU.

    The only forgeries that the detector knows are nodules in lung. Elsewhere, in bowel gas above all, it would guess.
    """
    smooth = _smooth(hu)
    body = _body(smooth)
    # Air that borders on tissue has the density of lung in a rim, which the opening removes.
    lung = ndimage.binary_opening(body & (smooth > _LUNG_HU[0]) & (smooth < _LUNG_HU[1]), np.ones((3, 3)))
    across = WINDOW // STRIDE + 1
    near: NDArray[np.bool_] = body & ndimage.binary_dilation(lung, np.ones((across, across)))
    return near


def asked_mask(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Windows, bool [r, c], that are judged: near lung and, as in the paper, in the inscribed circle.

    Outside the circle a whole reconstruction shows no patient, in a tight field of view next to nothing of him. An
    image that was cropped does: where more than 2 % of what is near lung lies there, the circle means nothing.
    """
    near, circle = near_lung_mask(hu), circle_mask(*hu.shape)
    cropped = np.count_nonzero(near & ~circle) > _CROPPED * np.count_nonzero(near)
    return near if cropped else near & circle


def _smooth(hu: NDArray[np.int16]) -> NDArray[np.float32]:
    """HU about the window centres [r, c]: smoothed before they are sampled, so that noise opens no outline."""
    y, x = centres(*hu.shape)
    at_centre = np.ix_(np.floor(y).astype(int), np.floor(x).astype(int))
    return ndimage.uniform_filter(np.maximum(hu, _AIR_HU).astype(np.float32), STRIDE)[at_centre]


def _body(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    dense = smooth > _BODY_HU
    parts, count = ndimage.label(ndimage.binary_opening(dense, np.ones((3, 3))))
    if count == 0:
        return np.zeros(dense.shape, bool)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    # The outermost windows may cut the body open (a field of view smaller than the patient): close it along the edge.
    closed = ndimage.binary_closing(np.pad(largest, 8), np.ones((5, 5)))[8:-8, 8:-8]
    body: NDArray[np.bool_] = ndimage.binary_fill_holes(closed)
    edge = np.ones(dense.shape, bool)
    edge[1:-1, 1:-1] = False
    if (largest & edge).any():
        # Slicer's panel reads this file before scikit-image is installed.
        from skimage.morphology import convex_hull_image

        # Where the chest wall lies outside, its lung is no hole: it is what reaches the edge within the body's hull.
        opened, _ = ndimage.label(convex_hull_image(largest) & ~body & (smooth > _EMPTY_HU))
        at_edge = np.unique(opened[edge])
        body |= np.isin(opened, at_edge[at_edge > 0])
    return body
