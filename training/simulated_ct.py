"""A simulated chest CT: procedural anatomy, seen by a simulated scanner, so that its noise is CT noise.

Every slice is projected (scikit-image's Radon transform), its rays are counted (Poisson photons, electronic noise, a
bow-tie filter's dose profile), and it is reconstructed by filtered back-projection. A slice is the average of thin
planes (partial volume), and its ray noise the average of thin detector rows that it shares with its neighbours, so that
adjacent slices correlate a little, as those of a helical scan do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.transform import iradon, radon

from training.simulated_anatomy import Nodule, build_chest
from training.simulated_vessels import Grid

PADDING_HU = -2000  # outside the reconstruction circle, as several vendors write it
_PLANES = 4  # thin planes per slice
_PROFILE = np.array([0.25, 0.6, 1.0, 1.0, 1.0, 1.0, 0.6, 0.25])  # a slice's sensitivity over its thin planes
_ROWS = np.array([0.12, 0.38, 0.38, 0.12])  # detector rows (half a slice thick) that make up one slice's rays


@dataclass(frozen=True)
class Scanner:
    """The simulated scanner. Lengths in mm; ``photons`` a ray of the beam's middle in air and half a slice thick."""

    pixels: int = 512
    pixel_mm: float = 0.703125
    slice_mm: float = 2.5
    views: int = 800
    photons: float = 4.0e4
    electronic: float = 6.0  # standard deviation of the read-out, in photons
    apodisation: float = 0.75  # the ramp is multiplied by cos(πf/2f_N) to this power: about STANDARD
    water_per_mm: float = 0.0195


@dataclass(frozen=True)
class SimulatedCT:
    """``hu`` int16 [k, j, i], spacing (i, j, k) in mm, IJK-to-RAS 4×4, the untouched nodules' (i, j, k) centres."""

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    ijk_to_ras: NDArray[np.float64]
    nodules: tuple[Nodule, ...]
    nodules_ijk: tuple[tuple[float, float, float], ...]
    lung: NDArray[np.float32]  # fraction of lung [k, j, i]: truth of the simulation


def simulate(
    seed: int,
    slices: int = 24,
    scanner: Scanner | None = None,
    on_slice: Callable[[int, int], None] | None = None,
    twigs: float = 1.0,
) -> SimulatedCT:
    """A chest CT of ``slices`` axial slices, k towards the head, the same for the same arguments.

    ``on_slice(done, of)`` is called after each slice; ``twigs`` scales the number of vessels.
    Raises ValueError for fewer than one slice or 64 pixels.
    """
    scanner = scanner or Scanner()
    if slices < 1 or scanner.pixels < 64:
        raise ValueError(
            f"a simulated CT needs at least 1 slice and 64 pixels, not {slices} and {scanner.pixels}"
        )
    grid = _grid(slices, scanner)
    chest = build_chest(grid, seed, twigs)
    rng = np.random.default_rng([seed, 2])
    integrals = [_project(plane, scanner) for plane in _thick(chest.hu, slices)]
    noise = _ray_noise(integrals, scanner, rng)
    hu = np.empty((slices, scanner.pixels, scanner.pixels), np.int16)
    for k in range(slices):
        hu[k] = _reconstruct(integrals[k] + noise[k], scanner)
        if on_slice:
            on_slice(k + 1, slices)
    lung = np.stack(list(_thick(chest.lung, slices)))
    origin = (grid.origin_mm[0], grid.origin_mm[1], -scanner.slice_mm * (slices - 1) / 2)
    spacing = (scanner.pixel_mm, scanner.pixel_mm, scanner.slice_mm)
    centres = tuple(_to_ijk(n.centre_mm, origin, spacing) for n in chest.nodules)
    to_ras = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    to_ras[:3, 3] = -origin[0], -origin[1], origin[2]
    return SimulatedCT(hu, spacing, to_ras, chest.nodules, centres, lung)


def _to_ijk(
    point: tuple[float, float, float], origin: tuple[float, float, float], spacing: tuple[float, float, float]
) -> tuple[float, float, float]:
    """A point in the anatomy's mm as (i, j, k)."""
    i, j, k = ((p - o) / s for p, o, s in zip(point, origin, spacing, strict=True))
    return i, j, k


def _grid(slices: int, scanner: Scanner) -> Grid:
    """Thin planes for all slices and the half profile beyond the first and last."""
    planes = _PLANES * slices + len(_PROFILE) - _PLANES
    thin = scanner.slice_mm / _PLANES
    half = scanner.pixel_mm * (scanner.pixels - 1) / 2
    return Grid(
        (planes, scanner.pixels, scanner.pixels),
        (scanner.pixel_mm, scanner.pixel_mm, thin),
        (-half, -half, -thin * (planes - 1) / 2),
    )


def _thick(planes: NDArray[np.float32], slices: int) -> list[NDArray[np.float32]]:
    """Thin planes averaged by the slice profile."""
    weights = (_PROFILE / _PROFILE.sum()).astype(np.float32)
    return [np.tensordot(weights, planes[_PLANES * k : _PLANES * k + len(weights)], 1) for k in range(slices)]


def _circle(pixels: int) -> NDArray[np.bool_]:
    """The reconstruction circle [row, column]."""
    offset = np.arange(pixels) - pixels // 2
    return np.asarray(np.hypot(offset[:, None], offset[None, :]) <= pixels // 2 - 1)


def _angles(scanner: Scanner) -> NDArray[np.float64]:
    """View angles in degrees over half a turn."""
    return np.linspace(0.0, 180.0, scanner.views, endpoint=False)


def _project(hu: NDArray[np.float32], scanner: Scanner) -> NDArray[np.float32]:
    """Line integrals [detector, view] of a slice; what lies outside the circle was not in the beam."""
    attenuation = np.where(_circle(scanner.pixels), np.maximum(hu / 1000 + 1, 0), 0) * scanner.water_per_mm
    sinogram = radon(attenuation.astype(np.float32), _angles(scanner), circle=True)
    return np.asarray(sinogram * scanner.pixel_mm, dtype=np.float32)


def _ray_noise(
    integrals: list[NDArray[np.float32]], scanner: Scanner, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """What photon counting adds to each slice's line integrals; neighbours share the detector rows between them."""
    slices = len(integrals)
    rows: list[NDArray[np.float32]] = []
    for n in range(-1, 2 * slices + 1):
        position = min(max((n - 0.5) / 2, 0.0), slices - 1.0)
        below = int(position)
        above, t = min(below + 1, slices - 1), np.float32(position - below)
        rows.append(_count(integrals[below] * (1 - t) + integrals[above] * t, scanner, rng))
    return [
        np.asarray(sum(w * rows[2 * k + m] for m, w in enumerate(_ROWS)), dtype=np.float32)
        for k in range(slices)
    ]


def _count(integral: NDArray[np.float32], scanner: Scanner, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of one detector row's line integrals: -log(counts / expected)."""
    reach = np.linspace(-1, 1, integral.shape[0])[:, None]
    middle = integral[integral.shape[0] // 4 : -integral.shape[0] // 4].mean(axis=0)
    current = np.exp(0.5 * (middle - middle.mean()))  # the tube gives more where the patient is wider
    expected = scanner.photons * current * np.exp(-1.1 * reach**2) * np.exp(-integral.astype(np.float64))
    counts = rng.poisson(expected) + rng.normal(0, scanner.electronic, expected.shape)
    return np.asarray(-np.log(np.maximum(counts, 1.0) / expected), dtype=np.float32)


def _reconstruct(sinogram: NDArray[np.float32], scanner: Scanner) -> NDArray[np.int16]:
    """Filtered back-projection of one slice, in HU, clipped to 12 bits, padding outside the circle."""
    frequency = np.fft.rfftfreq(sinogram.shape[0])[:, None]  # 0.5 = Nyquist
    window = np.cos(np.pi * frequency) ** scanner.apodisation
    smooth = (
        np.fft.irfft(np.fft.rfft(sinogram, axis=0) * window, sinogram.shape[0], axis=0) / scanner.pixel_mm
    )
    attenuation = iradon(smooth, _angles(scanner), filter_name="ramp", circle=True)
    attenuation = _band_limited(attenuation)
    hu = np.clip(np.rint((attenuation / scanner.water_per_mm - 1) * 1000), -1024, 3071)
    return np.where(_circle(scanner.pixels), hu, PADDING_HU).astype(np.int16)


def _band_limited(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image with less of what lies beyond the detector's Nyquist frequency, which only interpolation put there."""
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None, :])
    keep = 0.5 + 0.5 * np.cos(np.pi * np.clip((frequency - 0.47) / 0.2, 0, 1))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * keep, image.shape), dtype=np.float32)
