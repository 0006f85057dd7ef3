"""CT-GAN's published way of pasting a forged cube into a CT, whatever painted the cube.

The traces that CT-GAN leaves are made as much by its pasting (resampling, a copied noise block, a blended square
dome) as by its generator. Here the pasting is as published (Mirsky et al., 2019), in six steps, numbered below:
1 cut, resample and forge a 32³ cube, 2 resample it back, 3 touch up with the scan's noise, 4 weight, 5 blend,
6 truncate. The cube comes from a ``Content`` function: in-painted lung for a removal, a drawn nodule for an injection.

The touch-up as published copies the scan's own noise. The slices that CT-GAN's authors published show another one: at
removals, white noise in the blending dome, new at every site, of 10 to 24 HU whatever the scan's own noise
(``python -m training.measure_added_noise``). Both are here.

Arrays are [k, j, i]; spacings are (i, j, k) in mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.evidence.published_block import REMOVAL_SIGMAS, dome
from CTForgeryScanLib.volume import Volume
from training.forgers.ball import Floats
from training.forgers.content import filled_from_lung, with_nodule
from training.forgers.forger import ForgedVolume, check_kind, forged_volume
from training.sites import Site, SiteKind

Content = Callable[[Floats, SiteKind, np.random.Generator], Floats]
"""(cube of real HU [32, 32, 32] at 1 mm, "inject" or "remove", random numbers) -> the forged cube in HU, same shape"""

CUBE = 32  # side in mm, and in voxels at 1 mm
CLEARED = slice(6, 26)  # the 20³ that the published program hides from its generator
_RANGE_HU = {
    "inject": (-1438.0, 3363.0),
    "remove": (-3731.0, 5137.0),
}  # what its equalisation tables can express
TouchUp = Literal["copied", "white", "none"]
"""Step 3: noise copied from one place of the scan, fresh white noise, or none."""

_WHITE_HU = (8.0, 26.0)  # standard deviation of white noise before it is blended in
_SIGMAS = {"inject": 3.0, "remove": REMOVAL_SIGMAS}
# HU per hundredth of network output, by HU: why its bright tissue is so much coarser than its lung
_STEP_AT, _STEP_HU = (-1000.0, -812.0, -300.0, 200.0), (6.0, 6.0, 75.0, 75.0)


@dataclass(frozen=True)
class PublishedPasting:
    """Injects a false nodule, or removes what is there, by CT-GAN's published pasting.

    A block that reaches beyond the first or last slice is clipped there. ``forge`` raises InputError where the
    published program could not work: a site whose 32 mm cube leaves the volume or whose block leaves the image, or a
    spacing at which the cube does not resample to 32 voxels and back (3.0 mm is one).
    """

    content: Content
    touch_up: TouchUp = "copied"
    name: str = "published_pasting"
    kinds: tuple[SiteKind, ...] = ("inject", "remove")

    def forge(self, volume: Volume, site: Site, rng: np.random.Generator) -> ForgedVolume:
        """See ``Forger.forge``."""
        check_kind(self, site)
        sides = _cube_sides(volume.spacing_mm)
        side = int(1.3 * max(sides))
        _check_site(volume.shape, site, sides, side)
        i, j, k = site.voxel
        centre = (k, j, i)
        original = _cut(volume.hu, centre, (side,) * 3)
        cube = _forged_cube(_cut(volume.hu, centre, sides), volume.spacing_mm, site.kind, rng, self.content)
        block = original.copy()
        start = [side // 2 - n // 2 for n in sides]
        block[tuple(slice(a, a + n) for a, n in zip(start, sides, strict=True))] = cube
        noise = self._noise(volume.hu, side, rng)
        result = volume.hu.copy()
        _put(result, centre, _blend(block, noise, original, site.kind))
        record = {
            "forger": self.name,
            "cube_voxels_kji": list(sides),
            "block_voxels": side,
            "touch_up": self.touch_up,
        }
        if site.kind == "inject":
            record["diameter_mm"] = 0.0  # the content has a size of its own, which nobody measured
        return forged_volume(volume, result, site, record)

    def _noise(self, hu: NDArray[np.int16], side: int, rng: np.random.Generator) -> Floats:
        """What step 3 adds to the block."""
        if self.touch_up == "copied":
            return _copied_noise(hu, side)
        if self.touch_up == "white":
            return rng.normal(0, rng.uniform(*_WHITE_HU), (side,) * 3)
        return np.zeros((side,) * 3)


# ----------------------------------------------------------------------------------------------------------- geometry


def _cube_sides(spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Voxels (k, j, i) of the 32 mm cube; InputError where it would not resample to 32 voxels and back."""
    sides = []
    for spacing in reversed(spacing_mm):
        voxels = round(CUBE / spacing) if 0 < spacing <= CUBE else 0
        if voxels < 2 or round(voxels * spacing) != CUBE or round(CUBE / spacing) != voxels:
            raise InputError(
                f"CT-GAN's pasting cannot work at a spacing of {spacing:g} mm: its {CUBE} mm cube would not resample "
                f"to {CUBE} voxels and back; resample the volume (for example to 2.5 mm slices) or choose another"
            )
        sides.append(voxels)
    return sides[0], sides[1], sides[2]


def _check_site(shape: tuple[int, int, int], site: Site, sides: tuple[int, int, int], side: int) -> None:
    """InputError when the site is not far enough inside the volume."""
    need = {"i": side, "j": side, "k": sides[0]}  # along k only the cube must fit: the block is clipped
    for name, at, size in zip("ijk", site.voxel, reversed(shape), strict=True):
        low = at - need[name] // 2
        if low < 0 or low + need[name] > size:
            raise InputError(
                f"the site {name} = {at} is too near the border of a volume with {size} voxels along {name}: "
                f"{need[name]} voxels around it must lie inside; choose a site deeper inside"
            )


def _bounds(
    shape: tuple[int, ...], centre: tuple[int, ...], sides: tuple[int, ...]
) -> list[tuple[slice, slice]]:
    """Per axis: the part of the box that lies in the volume, in the volume's and in the box's own indices."""
    pairs = []
    for size, at, side in zip(shape, centre, sides, strict=True):
        low = at - side // 2
        first, last = min(max(low, 0), size), max(min(low + side, size), 0)
        pairs.append((slice(first, last), slice(first - low, last - low)))
    return pairs


def _cut(hu: NDArray[Any], centre: tuple[int, ...], sides: tuple[int, ...]) -> Floats:
    """The box of these sides around ``centre`` [k, j, i] as floats, zero where it leaves the volume."""
    box = np.zeros(sides)
    pairs = _bounds(hu.shape, centre, sides)
    box[tuple(inner for _, inner in pairs)] = hu[tuple(outer for outer, _ in pairs)]
    return box


def _put(hu: NDArray[np.int16], centre: tuple[int, ...], box: Floats) -> None:
    """Write the box back where it came from, truncated to int16 (step 6); what leaves the volume is dropped."""
    pairs = _bounds(hu.shape, centre, box.shape)
    limits = np.iinfo(np.int16)
    whole = np.clip(np.trunc(box), limits.min, limits.max).astype(np.int16)
    hu[tuple(outer for outer, _ in pairs)] = whole[tuple(inner for _, inner in pairs)]


# -------------------------------------------------------------------------------------------------------------- steps


def _forged_cube(
    cut: Floats,
    spacing_mm: tuple[float, float, float],
    kind: SiteKind,
    rng: np.random.Generator,
    content: Content,
) -> Floats:
    """Steps 1 and 2: to 32³, forged, cleaned of impossible values, and back to the volume's own voxels."""
    zyx = np.array(spacing_mm[::-1])
    cube = content(ndimage.zoom(cut, zyx, order=3), kind, rng)
    cube = np.clip(cube, *_RANGE_HU[kind])
    bright = cube > 2000
    cube[bright] = ndimage.uniform_filter(cube, 5)[bright]
    cube[cube < -1000] = -1000
    return np.asarray(ndimage.zoom(cube, 1 / zyx, order=3))


def _copied_noise(hu: NDArray[np.int16], side: int) -> Floats:
    """Step 3: the scan's own lung noise from one fixed place, zero beyond the volume's ends."""
    depth, rows, columns = hu.shape
    noise = _cut(hu, (depth // 2, int(0.43 * rows), int(0.27 * columns)), (side,) * 3)
    dense = noise > -800  # zeros beyond the first and last slice count as dense, so they add nothing
    if dense.all():
        return np.zeros_like(noise)
    noise[dense] = noise[~dense].mean()
    return noise - noise.mean()


def _blend(block: Floats, noise: Floats, original: Floats, kind: SiteKind) -> Floats:
    """Steps 4 and 5: touch up the block and fade it into the original."""
    weight = dome(block.shape[1], _SIGMAS[kind])[None]
    touched = block + noise
    if kind == "remove":
        return touched * weight + original * (1 - weight)
    share = weight / (1 + np.exp(-(block + 700) / 70))
    return np.maximum(touched * share + original * (1 - share), original)


# ------------------------------------------------------------------------------------------------------------ content


def procedural_content(cube: Floats, kind: SiteKind, rng: np.random.Generator) -> Floats:
    """The forged 32³ in HU: real surroundings seen through a generator's loss of detail, a new centre, its texture."""
    hidden = np.zeros(cube.shape, bool)
    hidden[CLEARED, CLEARED, CLEARED] = True
    lung = filled_from_lung(cube, hidden, (1, 1, 1))
    base = lung if kind == "remove" else np.minimum(cube, lung + 250)
    smooth = ndimage.gaussian_filter(base, 0.7)
    if kind == "inject":
        axis = np.arange(CUBE, dtype=np.float64) - (CUBE - 1) / 2
        smooth = with_nodule(smooth, np.ix_(axis, axis, axis), rng)
    texture = ndimage.gaussian_filter(rng.standard_normal(cube.shape), 0.9)
    texture = 0.75 * texture / texture.std() + 0.35 * _checkered(cube.shape, rng)
    return np.asarray(smooth + texture * np.interp(smooth, _STEP_AT, _STEP_HU))


def _checkered(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """What nearest ×2 up-sampling leaves: smoothed noise of half and a quarter of the resolution, unit variance."""
    total = np.zeros(shape)
    for step in (2, 4):
        coarse = rng.standard_normal([n // step for n in shape])
        for axis in range(3):
            coarse = np.repeat(coarse, step, axis=axis)
        total += ndimage.uniform_filter(coarse, 3)
    return np.asarray(total / total.std())
