"""Self-blended sites: a place of an untouched slice replaced by a processed copy of itself, made while training.

No generator is involved. What such a site shares with any in-painted one is that its noise is not the noise of the
tissue around it; every positive stands in the same tissue of the same scan as its negatives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.windows import CENTRE, STRIDE

Image = NDArray[np.float32]


def blend_site(crop: Image, radius: float, centre: tuple[float, float], rng: np.random.Generator) -> Image:
    """``crop`` [j, i] in HU with one self-blended site of that radius (pixels) about ``centre`` (row, column).

    Half of the sites also get a nodule or lose what is denser than lung, as an attacker's would.
    """
    content = processed_copy(crop, rng)
    purpose = rng.choice(["none", "inject", "remove"], p=[0.5, 0.3, 0.2])
    if purpose == "inject":
        content = np.maximum(content, _nodule(crop.shape, radius, centre, rng))
    elif purpose == "remove":
        lung = np.float32(rng.uniform(-900, -780))
        content = np.where(
            ndimage.gaussian_filter(content, 1.5) > -650,
            lung + (content - ndimage.gaussian_filter(content, 2)),
            content,
        )
    mask = _soft_mask(crop.shape, radius, centre, rng) * np.float32(rng.uniform(0.6, 1.0))
    blended = crop * (1 - mask) + content * mask
    if purpose == "inject" and rng.random() < 0.5:
        # CT-GAN's injection only ever brightens.
        blended = np.maximum(blended, crop)
    return np.trunc(blended).astype(np.float32)


def processed_copy(crop: Image, rng: np.random.Generator, noise: np.random.Generator | None = None) -> Image:
    """The crop, or another place of it (shifted round, mirrored), after one to three random treatments.

    ``noise`` draws the noise alone, so that the slices of a volume can be given one treatment and each its own noise.
    """
    return _processed(_source(crop, rng), rng, noise or rng)


def splice(
    crop: Image, other: Image, radius: float, centre: tuple[float, float], rng: np.random.Generator
) -> Image:
    """``crop`` with the surroundings of ``centre`` (row, column) taken from ``other``, softly bordered."""
    mask = _soft_mask(crop.shape, radius, centre, rng)
    return np.trunc(crop * (1 - mask) + other * mask).astype(np.float32)


def process(image: Image, rng: np.random.Generator) -> Image:
    """The whole image after one mild, random treatment that a scanner or an export might have given it."""
    treatment = rng.integers(5)
    if treatment == 0:
        return ndimage.gaussian_filter(image, rng.uniform(0.25, 0.8))
    if treatment == 1:
        return _resampled(image, rng.uniform(0.75, 0.95))
    if treatment == 2:
        return image + _noise(image.shape, rng.uniform(2, 20), rng.uniform(0, 0.8), rng)
    if treatment == 3:
        return _other_kernel(image, rng)
    return image + np.float32(rng.uniform(0.1, 0.6)) * (image - ndimage.gaussian_filter(image, 1.0))


def _other_kernel(image: Image, rng: np.random.Generator) -> Image:
    """The image as a smoother or sharper reconstruction kernel gives it: a gain that depends on frequency."""
    border = 16
    padded = np.pad(image, border, mode="reflect")
    fy, fx = np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1])[None, :]
    radius = np.minimum(np.hypot(fy, fx) / 0.5, 1.0)
    gain = 1 + rng.uniform(-0.8, 2.0) * radius ** rng.uniform(1, 3)
    # Sharp kernels end before the highest frequency that the pixels can hold.
    gain *= 1 / (1 + (radius / rng.uniform(0.6, 1.4)) ** 8)
    filtered = np.fft.irfft2(np.fft.rfft2(padded) * gain, padded.shape)
    return filtered[border:-border, border:-border].astype(np.float32)


def starve(image: Image, rng: np.random.Generator) -> Image:
    """The whole image or volume [..., j, i] with the streaks of photon starvation, as between shoulders and arms.

    Their noise is strong, long along the rows and white across them.
    """
    noise = ndimage.gaussian_filter1d(rng.standard_normal(image.shape, dtype=np.float32), rng.uniform(1, 4))
    if (across := rng.uniform(0, 0.6)) > 0.25:
        noise = ndimage.gaussian_filter1d(noise, across, axis=-2)
    return image + noise * np.float32(rng.uniform(10, 60) / noise.std())


def window_distance(shape: tuple[int, int], centre: tuple[float, float]) -> NDArray[np.float32]:
    """Distance in pixels, [r, c], from each window's centre to ``centre`` (row, column), larger of the two axes."""
    y = np.abs(np.arange(shape[0]) * STRIDE + CENTRE - centre[0])
    x = np.abs(np.arange(shape[1]) * STRIDE + CENTRE - centre[1])
    return np.maximum(y[:, None], x[None, :]).astype(np.float32)


def _source(crop: Image, rng: np.random.Generator) -> Image:
    """What the site is filled from: the crop itself, or another place of it (shifted round, mirrored)."""
    if rng.random() < 0.75:
        return crop
    shift = rng.integers(20, 60, size=2) * rng.choice([-1, 1], size=2)
    return np.roll(crop[:, ::-1] if rng.random() < 0.5 else crop, tuple(shift), axis=(0, 1))


def _processed(image: Image, rng: np.random.Generator, noise: np.random.Generator) -> Image:
    steps = rng.choice(
        ["blur", "resample", "median", "noise", "gain"], size=rng.integers(1, 4), replace=False
    )
    for step in steps:
        if step == "blur":
            image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.6))
        elif step == "resample":
            image = _resampled(image, rng.uniform(0.4, 0.95))
        elif step == "median":
            image = ndimage.median_filter(image, 3)
        elif step == "noise":
            image = image + _noise(image.shape, rng.uniform(4, 35), rng.uniform(0, 1.5), noise)
        else:
            smooth = ndimage.gaussian_filter(image, rng.uniform(0.8, 2.0))
            image = smooth + np.float32(rng.choice([rng.uniform(0.2, 0.8), rng.uniform(1.25, 1.8)])) * (
                image - smooth
            )
    return image + np.float32(rng.normal(0, 8))


def _resampled(image: Image, factor: float) -> Image:
    """Down by ``factor`` and back up, as an export or CT-GAN's change of spacing does."""
    order = 1 if factor > 0.7 else 3
    small = ndimage.zoom(image, factor, order=order, mode="reflect", grid_mode=True)
    back = (image.shape[0] / small.shape[0], image.shape[1] / small.shape[1])
    return ndimage.zoom(small, back, order=order, mode="reflect", grid_mode=True)


def _noise(shape: tuple[int, ...], sd: float, blur: float, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(shape, dtype=np.float32)
    if blur > 0.25:
        noise = ndimage.gaussian_filter(noise, blur)
        noise /= noise.std()
    return noise * np.float32(sd)


def _nodule(
    shape: tuple[int, int], radius: float, centre: tuple[float, float], rng: np.random.Generator
) -> Image:
    """A blurred, slightly lobulated disc of soft tissue on lung, HU."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    dy, dx = y - centre[0] - rng.uniform(-3, 3), x - centre[1] - rng.uniform(-3, 3)
    angle = np.arctan2(dy, dx)
    lobes = 1 + rng.uniform(0, 0.25) * np.cos(rng.integers(2, 6) * angle + rng.uniform(0, 6.3))
    disc = np.hypot(dy, dx * rng.uniform(0.7, 1.4)) < radius * rng.uniform(0.25, 0.7) * lobes
    soft = ndimage.gaussian_filter(disc.astype(np.float32), rng.uniform(0.7, 1.8))
    texture = _noise(shape, rng.uniform(0, 30), rng.uniform(0, 2), rng)
    return np.float32(-870) + soft * (np.float32(rng.uniform(500, 930)) + texture)


def _soft_mask(
    shape: tuple[int, int], radius: float, centre: tuple[float, float], rng: np.random.Generator
) -> Image:
    y, x = np.ogrid[: shape[0], : shape[1]]
    dy, dx = np.abs(y - centre[0]), np.abs(x - centre[1])
    distance = np.hypot(dy, dx) if rng.random() < 0.5 else np.maximum(dy, dx)
    width = rng.uniform(1, 0.6 * radius)
    return np.clip((radius + width / 2 - distance) / width, 0, 1).astype(np.float32)
