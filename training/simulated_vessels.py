"""Branching tubes of a simulated lung: how they grow, how thick they are, and how they are drawn into a voxel grid.

A tree is a greedy spanning tree that trades wire length against path length (the balance of Cuntz et al., 2010), which
is what makes it look like a vessel rather than like a net; its radii follow Murray's law from the twigs to the root.
Lengths are in mm, points are (x, y, z) with x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Voxel centres of a simulated volume [plane, row, column]: ``origin_mm`` (x, y, z) of the first, and spacing."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    def axis(self, which: int) -> Floats:
        """Positions in mm along x (0), y (1) or z (2)."""
        steps = np.arange(self.shape[2 - which], dtype=np.float64)
        return np.asarray(self.origin_mm[which] + self.spacing_mm[which] * steps, dtype=np.float64)


@dataclass(frozen=True)
class Tubes:
    """Straight tapering tubes: ``start`` and ``end`` [n, 3] and the radius at each end [n], all in mm."""

    start: Floats
    end: Floats
    radius_start: Floats
    radius_end: Floats

    def moved(self, direction: Floats, radii: float) -> Tubes:
        """The tubes beside these: each end shifted along ``direction`` by ``radii`` times its own radius."""
        return Tubes(
            self.start + direction * (radii * self.radius_start)[:, None],
            self.end + direction * (radii * self.radius_end)[:, None],
            self.radius_start,
            self.radius_end,
        )

    def thicker_than(self, radius_mm: float) -> Tubes:
        """Only the tubes that are at least this thick at both ends."""
        keep = np.minimum(self.radius_start, self.radius_end) >= radius_mm
        return Tubes(self.start[keep], self.end[keep], self.radius_start[keep], self.radius_end[keep])

    def resized(self, factor: float, extra_mm: float = 0.0) -> Tubes:
        """The same centre lines with radius · factor + extra."""
        return Tubes(
            self.start, self.end, self.radius_start * factor + extra_mm, self.radius_end * factor + extra_mm
        )


def grow_tree(points: Floats, root: Floats, balance: float) -> tuple[Floats, NDArray[np.int64]]:
    """Connect ``points`` [n, 3] to ``root``, cheapest first, where cost = length + balance · path length to the root.

    Returns the nodes [n + 1, 3] (root first, parents always before their children) and each node's parent (-1: root).
    """
    count = len(points)
    path, parents = np.zeros(count + 1), np.full(count + 1, -1, dtype=np.int64)
    nodes = np.vstack([root[None], np.zeros((count, 3))])
    left = np.ascontiguousarray(points.T)  # the points not yet connected, each with its cheapest way in
    cost = (1 + balance) * np.sqrt(((left - root[:, None]) ** 2).sum(axis=0))
    best = np.zeros(count, dtype=np.int64)
    for new in range(1, count + 1):
        chosen = int(np.argmin(cost))
        parent = int(best[chosen])
        nodes[new], parents[new] = left[:, chosen], parent
        path[new] = path[parent] + np.linalg.norm(nodes[new] - nodes[parent])
        # The last point takes the chosen one's place, so that the work shrinks as the tree grows.
        last = count - new
        left[:, chosen], cost[chosen], best[chosen] = left[:, last], cost[last], best[last]
        left, cost, best = left[:, :last], cost[:last], best[:last]
        dx, dy, dz = left[0] - nodes[new, 0], left[1] - nodes[new, 1], left[2] - nodes[new, 2]
        through = np.sqrt(dx * dx + dy * dy + dz * dz) * (1 + balance) + balance * path[new]
        nearer = through < cost
        cost[nearer], best[nearer] = through[nearer], new
    return nodes, parents


def murray_radii(parents: NDArray[np.int64], twig_mm: float, exponent: float = 2.7) -> Floats:
    """Radius of every node in mm: twigs have ``twig_mm``, and r_parent^e is the sum of its children's r^e."""
    power = np.zeros(len(parents))
    for node in range(len(parents) - 1, -1, -1):
        power[node] = max(power[node], twig_mm**exponent)
        if parents[node] >= 0:
            power[parents[node]] += power[node]
    return np.asarray(power ** (1 / exponent))


def tree_tubes(nodes: Floats, parents: NDArray[np.int64], radii: Floats, rng: np.random.Generator) -> Tubes:
    """The tree's edges as tubes, each bent once at its middle by about a twentieth of its length."""
    child = np.flatnonzero(parents >= 0)
    start, end = nodes[parents[child]], nodes[child]
    # A branch starts at its own radius, not at its parent's: twigs leave a trunk as twigs.
    first, last = np.minimum(radii[parents[child]], 1.15 * radii[child]), radii[child]
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    middle = (start + end) / 2 + rng.normal(0, 0.05, start.shape) * length
    between = (first + last) / 2
    return Tubes(
        np.vstack([start, middle]),
        np.vstack([middle, end]),
        np.concatenate([first, between]),
        np.concatenate([between, last]),
    )


def draw_tubes(fill: NDArray[np.float32], grid: Grid, tubes: Tubes) -> None:
    """Raise ``fill`` [plane, row, column], the fraction of each voxel that is tube (0…1), where the tubes run.

    A tube thinner than a voxel keeps its cross-section: it is drawn a voxel wide and as much paler.
    """
    pixel = grid.spacing_mm[0]
    for start, end, r0, r1 in zip(tubes.start, tubes.end, tubes.radius_start, tubes.radius_end, strict=True):
        reach = max(r0, r1, pixel) + pixel
        box = box_of(grid, np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if box is None:
            continue
        x, y, z = (grid.axis(n)[box[2 - n]] for n in range(3))
        along = end - start
        dx, dy, dz = x[None, None, :] - start[0], y[None, :, None] - start[1], z[:, None, None] - start[2]
        t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / max(float(along @ along), 1e-9), 0, 1)
        distance = np.sqrt((dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dz - t * along[2]) ** 2)
        radius = r0 + (r1 - r0) * t
        drawn = np.maximum(radius, 0.5 * pixel)
        part = np.clip((drawn - distance) / pixel + 0.5, 0, 1) * (radius / drawn) ** 2
        fill[box] = np.maximum(fill[box], part)


def box_of(grid: Grid, low: Floats, high: Floats) -> tuple[slice, slice, slice] | None:
    """The index box [plane, row, column] that covers low…high (x, y, z in mm), None where it misses the grid."""
    slices = []
    for which in (2, 1, 0):
        first = int(np.floor((low[which] - grid.origin_mm[which]) / grid.spacing_mm[which]))
        last = int(np.ceil((high[which] - grid.origin_mm[which]) / grid.spacing_mm[which])) + 1
        first, last = max(first, 0), min(last, grid.shape[2 - which])
        if first >= last:
            return None
        slices.append(slice(first, last))
    return slices[0], slices[1], slices[2]
