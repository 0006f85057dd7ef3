"""A procedural chest between the aortic arch and the heart's chambers, in HU, without a scanner's blur or noise.

Everything is a smooth implicit shape (signed distance in mm, negative inside) evaluated plane by plane in gently warped
coordinates, so that no two seeds have the same outline. x runs to the patient's left, y to the back, z to the head, all
from the middle of the slab. The anatomy needs to be plausible to a network that looks at texture, not to an anatomist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.simulated_vessels import Grid, Tubes, box_of, draw_tubes, grow_tree, murray_radii, tree_tubes

Floats = NDArray[np.floating[Any]]

AIR, FAT, MUSCLE, BLOOD, SKIN = -1000.0, -102.0, 55.0, 150.0, 25.0
EDGE_MM = 0.7  # width over which a surface's voxels are shared between both sides


@dataclass(frozen=True)
class Nodule:
    """A real (not forged) nodule of the simulated patient: centre (x, y, z) and diameter in mm, and how it looks."""

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    look: str  # "smooth", "lobulated" or "spiculated"


@dataclass(frozen=True)
class Chest:
    """Noise-free anatomy: ``hu`` and ``lung`` (fraction 0…1) [plane, row, column] on ``grid``, and the nodules."""

    hu: NDArray[np.float32]
    lung: NDArray[np.float32]
    grid: Grid
    nodules: tuple[Nodule, ...]


# ------------------------------------------------------------------------------------------------------------ shapes


def _ellipse(x: Floats, y: Floats, cx: float, cy: float, a: float, b: float, power: float = 2.0) -> Floats:
    """Radial distance in mm to a superellipse (negative inside); exact along the axes, close enough elsewhere."""
    dx, dy = x - cx, y - cy
    level = ((np.abs(dx) / a) ** power + (np.abs(dy) / b) ** power) ** (1 / power)
    level = np.maximum(level, 1e-3)
    return np.asarray(np.hypot(dx, dy) * (1 - 1 / level))


def _capsule(
    x: Floats, y: Floats, start: tuple[float, float], end: tuple[float, float], radius: float
) -> Floats:
    """Distance in mm to a line with round ends and this radius (negative inside)."""
    ax, ay = end[0] - start[0], end[1] - start[1]
    t = np.clip(((x - start[0]) * ax + (y - start[1]) * ay) / (ax * ax + ay * ay), 0, 1)
    return np.asarray(np.hypot(x - start[0] - t * ax, y - start[1] - t * ay) - radius)


def _joined(distances: list[Floats], round_mm: float = 6.0) -> Floats:
    """Union of shapes with the corners between them rounded by about ``round_mm``."""
    total = distances[0]
    for other in distances[1:]:
        h = np.clip(0.5 + 0.5 * (other - total) / round_mm, 0, 1)
        total = other * (1 - h) + total * h - round_mm * h * (1 - h)
    return total


def _inside(distance: Floats) -> Floats:
    """How much of a voxel lies inside (0…1)."""
    return np.asarray(np.clip(0.5 - distance / EDGE_MM, 0, 1))


def _mix(hu: Floats, fill: Floats, value: Floats | float) -> Floats:
    """``hu`` with the share ``fill`` replaced by ``value``."""
    return hu + fill * (value - hu)


def _ramp(z: float, low: float, high: float) -> float:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = float(np.clip((z - low) / (high - low), 0, 1))
    return t * t * (3 - 2 * t)


class Thorax:
    """The implicit shapes of one seeded patient. ``place`` warps coordinates; every other method takes warped ones."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._waves = [
            (
                rng.uniform(-1, 1, 3) * 2 * np.pi / rng.uniform(60, 160),
                rng.uniform(0, 2 * np.pi),
                rng.normal(0, 1.1, 2),
            )
            for _ in range(8)
        ]
        self._fat_mm = rng.uniform(6, 9)
        self._rib_phase = rng.uniform(0, 24)
        self._disc_phase = rng.uniform(0, 25)
        self._folds = [
            (n, rng.uniform(0, 2 * np.pi), rng.normal(0, 6.5 / n))
            for n in (2, 3, 4, 5, 7, 9, 11, 14, 17, 23, 31)
        ]

    def place(self, x: Floats, y: Floats, z: Floats | float) -> tuple[Floats, Floats]:
        """(x, y) moved by a few mm of smooth waves in all three directions."""
        px, py = x, y
        for k, phase, size in self._waves:
            wave = np.sin(k[0] * x + k[1] * y + k[2] * z + phase)
            px, py = px + size[0] * wave, py + size[1] * wave
        return px, py

    def body(self, x: Floats, y: Floats) -> Floats:
        """Distance to the skin."""
        return _ellipse(x, y, 0, 0, 164, 110, 2.35)

    def cavity(self, x: Floats, y: Floats) -> Floats:
        """Distance to the inner chest wall."""
        return _ellipse(x, y, 0, -3, 127, 86, 2.4)

    def mediastinum(self, x: Floats, y: Floats, z: Floats | float) -> Floats:
        """Distance to the parts of the cavity that are not lung."""
        return _joined(
            [
                self.heart(x, y, z),
                _ellipse(x, y, 0, 50, 26, 33),
                _ellipse(x, y, 0, 86, 46, 24),
                _ellipse(x, y, 1, 10, 25, 32),
                _ellipse(x, y, 25, 34, 14, 14),
                _ellipse(x, y, 0, -84, 9, 24),
            ]
        )

    def heart(self, x: Floats, y: Floats, z: Floats | float) -> Floats:
        """Distance to the heart with its great vessels: wider, and further to the left, towards the feet."""
        low = 1 - np.clip((np.asarray(z, dtype=float) + 30) / 55, 0, 1)
        scale = 1 + 0.38 * low
        inner = _ellipse((x - 5 - 13 * low) / scale, y + 29 - 3 * low, 0, 0, 39, 40)
        return np.asarray(inner)

    def lung(self, x: Floats, y: Floats, z: Floats | float) -> Floats:
        """Distance to the lungs' surface, negative inside."""
        return np.maximum(self.cavity(x, y), -self.mediastinum(x, y, z))

    # -------------------------------------------------------------------------------------------------------- a plane

    def plane(self, x: Floats, y: Floats, z: float, texture: Floats) -> tuple[Floats, Floats]:
        """HU of the plane at ``z`` and the fraction of lung; ``texture`` is a unit-variance field for the tissues."""
        px, py = self.place(x, y, z)
        body, cavity, lung = self.body(px, py), self.cavity(px, py), self.lung(px, py, z)
        hu = np.full(x.shape, AIR)
        hu = self._table_and_clothes(hu, x, y, body)
        hu = _mix(hu, _inside(body), SKIN)
        hu = _mix(hu, _inside(body + 1.8), FAT + 7 * texture)
        hu = self._wall(hu, px, py, cavity, body, texture)
        hu = self._ribs(hu, px, py, z, cavity, texture)
        hu = _mix(hu, _inside(cavity), FAT + 12 * texture)
        hu = self._organs(hu, px, py, z, texture)
        hu = self._bones(hu, px, py, z, texture)
        share = _inside(lung)
        height = py / 86  # gravity: the back of a lying patient's lung is denser
        density = -903 + 32 * height + 11 * height**2
        return _mix(hu, share, density), share

    def _table_and_clothes(self, hu: Floats, x: Floats, y: Floats, body: Floats) -> Floats:
        """A shirt's folds a few mm above the skin, the mattress, and the table's two shells."""
        angle = np.arctan2(y, x)
        lift = 3.0 + np.zeros_like(x)
        for turns, phase, size in self._folds:
            lift = lift + size * np.sin(turns * angle + phase)
        cloth = np.abs(body - np.maximum(lift, 0.8)) - 0.35
        hu = _mix(hu, 0.45 * _inside(cloth) * (y < 60), -120.0)
        top = y - (116.5 - 15 * (x / 130) ** 2)
        hu = _mix(hu, _inside(np.abs(top + 3) - 3.0), -930.0)
        hu = _mix(hu, _inside(np.abs(top - 0.8) - 0.8), -280.0)
        hu = _mix(hu, _inside(np.abs(top - 9) - 7.5), -955.0)
        return _mix(hu, _inside(np.abs(top - 17.5) - 1.0), 60.0)

    def _wall(
        self, hu: Floats, x: Floats, y: Floats, cavity: Floats, body: Floats, texture: Floats
    ) -> Floats:
        """The chest wall's muscles with fat between their layers, thick at the back and under the arms."""
        angle = np.arctan2(y + 3, x)
        thick = (
            12 + 7 * np.cos(angle) ** 2 + 9 * np.maximum(np.sin(angle), 0) ** 3 + 3 * np.sin(5 * angle + 1)
        )
        outer = np.maximum(cavity - thick, body + self._fat_mm * (0.6 + 0.4 * np.cos(angle) ** 2))
        hu = _mix(hu, _inside(outer), MUSCLE + 6 * texture)
        for depth in (11.5, 18.0):  # fat planes between the layers
            gap = np.abs(cavity - depth - 1.6 * np.sin(4 * angle + depth)) - 0.7
            hu = _mix(hu, 0.8 * _inside(gap) * _inside(outer + 1.5), FAT)
        for side in (-1, 1):  # shoulder blades
            bow = 4 * np.cos((np.abs(x) - 98) / 16)
            blade = _capsule(x, y + bow, (side * 76, 91), (side * (118 + 3 * side), 60), 2.4)
            hu = _mix(hu, _inside(blade - 4), MUSCLE + 6 * texture)
            hu = _mix(hu, _inside(blade), 520.0 + 30 * texture)
            hu = _mix(hu, _inside(blade + 1.6), 240.0 + 30 * texture)
        return hu

    def _ribs(self, hu: Floats, x: Floats, y: Floats, z: float, cavity: Floats, texture: Floats) -> Floats:
        """Ribs: bands around the cavity that fall from the spine to the breastbone; cartilage in front."""
        around = np.abs(np.arctan2(np.abs(x), y + 3))  # 0 at the back, π in front
        fall = 78 * around / 2.6
        level = (z + self._rib_phase + fall + 12) % 24 - 12
        size = np.hypot(level / 6.3, (cavity - 6.5) / 3.4)
        distance = (size - 1) * 3.4
        bone = (around > 0.30) & (around < 2.75)
        front = np.clip((around - 2.25) / 0.15, 0, 1)
        shell, core = 640 * (1 - front) + 130 * front, 200 * (1 - front) + 90 * front
        hu = _mix(hu, _inside(distance) * bone, shell + 15 * texture)
        return _mix(hu, _inside(distance + 1.3) * bone, core + 25 * texture)

    def _organs(self, hu: Floats, x: Floats, y: Floats, z: float, texture: Floats) -> Floats:
        """Heart chambers, great vessels and oesophagus in the mediastinal fat."""
        upper = _ramp(z, -4, 12)
        heart = self.heart(x, y, z)
        muscle = _inside(heart + 4) * (1 - upper)
        hu = _mix(hu, muscle, MUSCLE + 25 + 6 * texture)
        for cx, cy, a, b, value in (
            (-14, -34, 19, 21, 150),
            (24, -40, 18, 15, 165),
            (36, -16, 20, 17, 175),
            (4, -6, 26, 11, 170),
        ):
            hu = _mix(hu, _inside(_ellipse(x, y, cx, cy, a, b)) * muscle, value + 5 * texture)
        for cx, cy, radius, value in ((-7, -32, 15.5, 175), (21, -39, 13, 165), (-27, -24, 8.5, 190)):
            hu = _mix(hu, _inside(_ellipse(x, y, cx, cy, radius + 1, radius + 1)) * upper, MUSCLE)
            hu = _mix(hu, _inside(_ellipse(x, y, cx, cy, radius, radius)) * upper, value + 5 * texture)
        aorta = _ellipse(x, y, 25, 34, 12.6, 12.6)
        hu = _mix(hu, _inside(aorta), MUSCLE)
        hu = _mix(hu, _inside(aorta + 1.3), 172 + 5 * texture)
        gullet = _ellipse(x, y, 6, 21, 8, 5.5)
        hu = _mix(hu, _inside(gullet), 40 + 6 * texture)
        return _mix(hu, 0.7 * _inside(gullet + 4), -500.0)

    def _bones(self, hu: Floats, x: Floats, y: Floats, z: float, texture: Floats) -> Floats:
        """A vertebra or disc with its arch, and the breastbone."""
        level = (z + self._disc_phase) % 25 - 12.5
        disc = 1 - _ramp(abs(level), 8.5, 10.5)  # 1 inside the vertebra, 0 inside the disc
        body = _ellipse(x, y, 0, 42, 18.5, 15, 2.3)
        hu = _mix(hu, _inside(body), 90 + disc * 270 + 10 * texture)
        hu = _mix(hu, _inside(body + 1.3), 85 + disc * 105 + 30 * texture)
        arch = _joined(
            [_ellipse(x, y, 0, 64, 15, 12.5), _capsule(x, y, (0, 74), (0, 91), 3.6)]
            + [_capsule(x, y, (s * 12, 67), (s * 36, 74), 4.2) + 5 * (1 - disc) for s in (-1, 1)],
            3.0,
        )
        hu = _mix(hu, _inside(arch), 470 + 20 * texture)
        hu = _mix(hu, _inside(arch + 1.7), 230 + 40 * texture)
        hu = _mix(hu, _inside(_ellipse(x, y, 0, 64, 10.5, 8.5)), 20.0)
        hu = _mix(hu, _inside(_ellipse(x, y, 0, 63.5, 5.5, 4.5)), 45.0)
        breast = _ellipse(x, y, 0, -97, 18, 5.2, 2.6)
        hu = _mix(hu, _inside(breast), 330 + 20 * texture)
        return _mix(hu, _inside(breast + 1.2), 95 + 40 * texture)


# ------------------------------------------------------------------------------------------------------------- chest


def build_chest(grid: Grid, seed: int, twigs: float = 1.0) -> Chest:
    """The whole anatomy on ``grid``: tissues, lung texture, vessels, airways and nodules; the same for the same seed.

    ``twigs`` scales how many vessels the lungs have; a coarse or hasty chest needs few.
    """
    rng = np.random.default_rng([seed, 1])
    thorax = Thorax(rng)
    texture = _texture(grid, rng, (1.0, 3.0), (0.8, 0.6))
    hu, lung = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
    x, y = np.meshgrid(grid.axis(0), grid.axis(1))
    for n, z in enumerate(grid.axis(2)):
        hu[n], lung[n] = thorax.plane(x, y, float(z), texture[n])
    hu += lung * _lung_texture(grid, rng)
    vessels, bronchi = _lung_trees(thorax, rng, twigs)
    _draw_vessels(hu, lung, grid, vessels)
    nodules = _place_nodules(thorax, grid, rng)
    for nodule in nodules:
        _draw_nodule(hu, lung, grid, nodule, rng)
    _draw_airways(hu, grid, bronchi)
    return Chest(hu, lung, grid, nodules)


def _texture(
    grid: Grid, rng: np.random.Generator, widths_mm: tuple[float, ...], shares: tuple[float, ...]
) -> NDArray[np.float32]:
    """A random field of unit variance with structure of these widths."""
    total = np.zeros(grid.shape, np.float32)
    for width, share in zip(widths_mm, shares, strict=True):
        field = rng.standard_normal(grid.shape, dtype=np.float32)
        sigma = [width / 2 / s for s in reversed(grid.spacing_mm)]
        field = ndimage.gaussian_filter(field, sigma, truncate=3.0)
        total += np.float32(share) * field / field.std()
    return total


def _lung_texture(grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """What lung holds below the size of a drawn vessel, in HU: lobules and twigs, brighter more often than darker."""
    field = _texture(grid, rng, (1.3, 3.0, 7.0, 18.0), (0.62, 0.48, 0.45, 0.42))
    return 18 * field + 5 * (field * field - 1)


def _lung_trees(thorax: Thorax, rng: np.random.Generator, twigs: float) -> tuple[list[Tubes], list[Tubes]]:
    """Arteries and veins of both lungs, and the airways that run beside the arteries, down from the windpipe."""
    vessels: list[Tubes] = []
    bronchi: list[Tubes] = []
    for side in (-1, 1):
        hilum = np.array([side * 40.0, 2.0, 4.0 + 4 * side])
        for count, twig, shift in ((5600, 0.25, (0.0, 0.0, 0.0)), (3800, 0.26, (0.0, 10.0, -14.0))):
            targets = _points_in_lung(thorax, side, max(round(count * twigs), 50), rng)
            nodes, parents = grow_tree(targets, hilum + np.array(shift), 0.45)
            radii = np.minimum(murray_radii(parents, twig), 6.5)
            tubes = tree_tubes(nodes, parents, radii, rng)
            vessels.append(tubes)
            if shift == (0.0, 0.0, 0.0):
                beside = np.array([-0.55 * side, -0.65, 0.52])
                bronchi.append(tubes.thicker_than(1.35).moved(beside, 2.1))
        vessels.append(_tube((side * 6, -22, 8), tuple(hilum), 9.0, 7.0))
        bronchi.append(_tube((0, 11, 16), tuple(hilum + np.array([-4 * side, 8, -2])), 7.0, 5.5))
    bronchi.append(_tube((0, 11, 16), (-1, 9, 70), 8.5, 8.5))
    return vessels, bronchi


def _tube(start: tuple[float, ...], end: tuple[float, ...], first: float, last: float) -> Tubes:
    """One tube."""
    return Tubes(np.array([start], float), np.array([end], float), np.array([first]), np.array([last]))


def _points_in_lung(thorax: Thorax, side: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random points [count, 3] at least 1.5 mm inside one lung (-1 right, 1 left), reaching beyond the slab's ends."""
    found: list[NDArray[np.float64]] = []
    while sum(len(f) for f in found) < count:
        points = rng.uniform([0, -95, -52], [135, 95, 52], (count, 3)) * [side, 1, 1]
        px, py = thorax.place(points[:, 0], points[:, 1], points[:, 2])
        found.append(points[thorax.lung(px, py, points[:, 2]) < -1.5])
    return np.vstack(found)[:count]


def _draw_vessels(
    hu: NDArray[np.float32], lung: NDArray[np.float32], grid: Grid, vessels: list[Tubes]
) -> None:
    """Blood where the tubes run; inside the mediastinum only the thick ones show."""
    fill = np.zeros(grid.shape, np.float32)
    for tubes in vessels:
        draw_tubes(fill, grid, tubes)
    hu += fill * lung * (np.float32(BLOOD - 45) - hu)
    thick = np.zeros(grid.shape, np.float32)
    for tubes in vessels:
        draw_tubes(thick, grid, tubes.thicker_than(3.5))
    soft = thick * (1 - lung) * (hu < 60)
    hu += soft * (np.float32(BLOOD) - hu)


def _draw_airways(hu: NDArray[np.float32], grid: Grid, bronchi: list[Tubes]) -> None:
    """Airways: a wall brighter than lung, then air."""
    wall, lumen = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    for tubes in bronchi:
        draw_tubes(wall, grid, tubes.resized(0.9, 0.6))
        draw_tubes(lumen, grid, tubes.resized(0.9))
    hu += wall * (np.maximum(hu, np.float32(-30)) - hu)
    hu += lumen * (np.float32(-985) - hu)


def _place_nodules(thorax: Thorax, grid: Grid, rng: np.random.Generator) -> tuple[Nodule, ...]:
    """Four nodules of 6 to 18 mm at least 35 mm apart, one of them at the pleura."""
    wanted = (
        (18.0, "spiculated", 15.0),
        (12.5, "lobulated", 16.0),
        (9.0, "smooth", 3.5),
        (6.0, "smooth", 12.0),
    )
    reach = grid.shape[0] * grid.spacing_mm[2] / 2
    reach = max(reach - 12, 0.2 * reach)
    placed: list[Nodule] = []
    while len(placed) < len(wanted):
        diameter, look, depth = wanted[len(placed)]
        side = 1 if len(placed) % 2 else -1
        p = rng.uniform([50, -75, -reach], [125, 70, reach]) * [side, 1, 1]
        px, py = thorax.place(p[:1], p[1:2], p[2:])
        inside = -float(thorax.lung(px, py, p[2:])[0])
        near = any(np.linalg.norm(p - np.array(n.centre_mm)) < 35 for n in placed)
        if not near and depth <= inside <= depth + 8:
            placed.append(Nodule((float(p[0]), float(p[1]), float(p[2])), diameter, look))
    return tuple(placed)


def _draw_nodule(
    hu: NDArray[np.float32], lung: NDArray[np.float32], grid: Grid, nodule: Nodule, rng: np.random.Generator
) -> None:
    """A soft-tissue mass with an uneven surface; a spiculated one sends thin strands into the lung."""
    radius, centre = nodule.diameter_mm / 2, np.array(nodule.centre_mm)
    box = box_of(grid, centre - 1.6 * radius, centre + 1.6 * radius)
    if box is None:
        return
    away = [grid.axis(2 - n)[box[n]] - centre[2 - n] for n in range(3)]
    z, y, x = np.meshgrid(*away, indexing="ij", sparse=True)
    near = np.sqrt(x * x + y * y + z * z)
    uneven = {"smooth": 0.05, "lobulated": 0.13, "spiculated": 0.11}[nodule.look]
    surface = np.ones(near.shape)
    for _ in range(7):
        direction = rng.normal(size=3)
        direction *= rng.uniform(2, 5) / np.linalg.norm(direction) / radius
        surface += (
            uneven
            * np.sin(direction[0] * x + direction[1] * y + direction[2] * z + rng.uniform(0, 6.3))
            / 1.6
        )
    fill, core = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    fill[box], core[box] = _inside((near - radius * surface) * 0.8), near < radius * 0.6
    if nodule.look == "spiculated":
        rays = rng.normal(size=(16, 3))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        length = radius * rng.uniform(1.3, 2.1, (16, 1))
        strands = Tubes(
            centre + rays * radius * 0.7, centre + rays * length, np.full(16, 1.1), np.full(16, 0.25)
        )
        draw_tubes(fill, grid, strands)
    value = np.float32(rng.uniform(20, 45))
    hu += fill * np.maximum(lung, core) * (np.maximum(hu, value) - hu)
