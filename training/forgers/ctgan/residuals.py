"""How a forged slice's noise differs inside the site from around it: by HU band, and by spatial frequency.

All figures are ratios inside / around within one slice, so that slices of any scanner and kernel can be compared.
Slices are HU [j, i]; a site is (x, y), column and row in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.evidence.noise import body_of
from training.forgers.ball import Floats

BANDS_HU = ((-1000, -900), (-900, -800), (-800, -600), (-600, -200), (-200, 200))
FREQUENCIES = np.linspace(0.05, 0.5, 10)
"""Edges in cycles/mm; the cube was painted at 1 mm, which holds nothing above 0.5."""

_INSIDE_MM = 11.0  # the cube's own half is 16, the hidden part's 10
_AROUND_MM = (30.0, 60.0)  # the touched block's corner lies at 29.4
_FEWEST = 40  # voxels that make a noise level
_PATCH_MM = 22.0
_SECOND = (1.0, -2.0, 1.0)


@dataclass(frozen=True)
class SiteNoise:
    """Noise inside / around a site: ``bands`` [5] of standard deviations (NaN where either has too few voxels),
    ``spectrum`` [9] of powers in lung (NaN where no patch around is lung)."""

    bands: Floats
    spectrum: Floats


def residual(hu: NDArray[np.int16]) -> Floats:
    """Second differences along both axes, of the noise's own size where it is white; blind to levels and slopes.

    J. Immerkær, "Fast noise variance estimation", 1996.
    """
    along_rows = ndimage.correlate1d(hu.astype(np.float64), _SECOND, axis=0)
    return ndimage.correlate1d(along_rows, _SECOND, axis=1) / 6


def site_noise(hu: NDArray[np.int16], site: tuple[float, float], pixel_mm: float) -> SiteNoise:
    """Measure one site of a slice."""
    j, i = np.indices(hu.shape)
    distance = np.hypot(j - site[1], i - site[0]) * pixel_mm
    inside = distance < _INSIDE_MM
    around = (distance > _AROUND_MM[0]) & (distance < _AROUND_MM[1]) & body_of(hu)
    noise, level = residual(hu), ndimage.uniform_filter(hu.astype(float), 5)
    bands = [_deviation(noise, level, inside, b) / _deviation(noise, level, around, b) for b in BANDS_HU]
    return SiteNoise(np.array(bands), _spectrum_ratio(hu, around, site, pixel_mm))


def _deviation(noise: Floats, level: Floats, where: NDArray[np.bool_], band: tuple[int, int]) -> float:
    """Standard deviation, by the median of absolute values, where the local mean lies in the band."""
    values = noise[where & (level >= band[0]) & (level < band[1])]
    deviation = 1.4826 * float(np.median(np.abs(values))) if len(values) >= _FEWEST else 0.0
    return deviation or np.nan  # lung that is clipped at -1000 HU has none


def _spectrum_ratio(
    hu: NDArray[np.int16], around: NDArray[np.bool_], site: tuple[float, float], pixel_mm: float
) -> Floats:
    half = round(_PATCH_MM / 2 / pixel_mm)
    centres = [(round(site[1]), round(site[0]))]
    centres += [tuple(c) for c in np.argwhere(around)[:: 4 * half]]
    spectra = [_spectrum(hu, centre, half, pixel_mm) for centre in centres]
    reference = [spectrum for spectrum in spectra[1:] if spectrum is not None]
    if spectra[0] is None or not reference:
        return np.full(len(FREQUENCIES) - 1, np.nan)
    return spectra[0] / np.mean(reference, axis=0)


def _spectrum(hu: NDArray[np.int16], centre: tuple[int, int], half: int, pixel_mm: float) -> Floats | None:
    """Mean power by frequency of a patch of lung, without what is denser than −700 HU; None where there is little."""
    patch = hu[centre[0] - half : centre[0] + half, centre[1] - half : centre[1] + half].astype(float)
    lung = patch < -700
    if patch.shape != (2 * half, 2 * half) or lung.mean() < 0.7 or patch.mean() < -980:
        return None
    patch = np.where(lung, patch - patch[lung].mean(), 0.0)
    window = np.outer(np.hanning(2 * half), np.hanning(2 * half))
    power = np.abs(np.fft.fft2(patch * window)) ** 2 / (window[lung] ** 2).sum()
    frequency = np.fft.fftfreq(2 * half, pixel_mm)
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    rings = np.digitize(radius, FREQUENCIES) - 1
    return np.array([power[rings == ring].mean() for ring in range(len(FREQUENCIES) - 1)])
