"""Whether a volume can be scanned at all: is it a lung CT whose noise is still the scanner's own?

The detector reads the noise that a reconstruction leaves. Where that is gone (lossy compression, 8-bit pictures,
smoothing, resampling) or was never there (another modality, no lung), its answer would mean nothing, so the volume
is refused with a sentence that says why; what is merely outside the evidence is warned of.

What was measured
-----------------
``python -m training.measure_noise <data folder>`` prints `NoiseStatistics` for the 15 untouched series, 61 untouched
and 58 forged single slices of many scanners and kernels, and for the same series after processing:

=====================================  =================  ================
measured on                            sharpness          periodicity
=====================================  =================  ================
15 untouched series                    0.043 ... 3.08     4.7 ... 17.5
61 untouched single slices             0.030 ... 3.70     3.9 ... 19.8
58 forged single slices                0.063 ... 2.83     3.7 ... 22.3
the 15 series: Gauss 1 px              0.0006 ... 0.28    4.7 ... 21
the 15 series: Gauss 1.5 px            0.0002 ... 0.06    7.0 ... 29
the 15 series: median 5x5              0.009 ... 0.16     4.6 ... 14
the 15 series: linear, 1.4 times       0.047 ... 1.5      2,053 ... 46,789
the 15 series: cubic, 1.4 times        0.081 ... 2.6      197 ... 6,899
the 15 series: linear, 0.7 times       0.025 ... 1.7      42 ... 269
the 15 series: cubic, 0.7 times        0.050 ... 4.0      4.4 ... 55
=====================================  =================  ================

The softest untouched ones are GE SOFT at 0.98 mm (0.030 and 0.043) and Toshiba FC17 (0.044); B20f has at least 0.050.
So sharpness below 0.006 (a fifth of the softest) is refused and below 0.012 warned of; periodicity above 100 (4.5 times
the highest) is refused and above 50 warned of. What this cannot see: weak smoothing of a sharp kernel (it looks like a
softer kernel), median filters, cubic shrinking, and resampling along the slice axis. The one treatment-planning export
among the series, 4D-Lung-113, has noise like a scanner's in every in-plane statistic tried (0.172 and 4.7; also its
isotropy and its noise in soft tissue), so only its header gives it away ("Warped"). Sharpness needs 12 flat lung tiles:
7 of the 61 and 6 of the 58 single slices have fewer and are not judged by it.

Unused grey levels: none in any series or single slice but RIDER-0117, which uses every second level ten times as often
as its neighbours (up to 1.9 % unused in one of its slices, 0 in the series); by
arithmetic, a stretch by 1.1 leaves 9 %, and 1,500 HU in 8 bits 83 %.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.volume import Volume

FloatArray = NDArray[np.float32]

MAX_SLICES = 16
"""Slices looked at, spread evenly over the volume: enough for the statistics, and fast for any length."""

SMOOTHED_REFUSE, SMOOTHED_WARN = 0.006, 0.012
RESAMPLED_REFUSE, RESAMPLED_WARN = 100.0, 50.0
GAPS_REFUSE, GAPS_WARN = 0.3, 0.05
NO_NOISE_HU = 1.0
MIN_TILES = 12
"""Flat lung tiles without which the spectrum is not judged."""

MIN_LUNG_MM2 = 400.0
_TILE = 16
_LUNG_HU = (-970, -700)
_BODY_HU = (-950, 200)
# A treatment-planning or image-registration system wrote the file: its voxels may not be the scanner's.
_PLANNING_SYSTEMS = re.compile(
    r"\b(adac|pinnacle\d?|raysearch|raystation|mim ?(vista|software)|xio|oncentra|nucletron|brainlab|varian|elekta)\b",
    re.I,
)


@dataclass(frozen=True)
class Reason:
    """One thing that speaks against scanning: ``warn`` (scanned, with doubt) or ``refuse`` (not scanned)."""

    code: str
    severity: Literal["warn", "refuse"]
    text: str


@dataclass(frozen=True)
class Assessment:
    """Whether the volume can be scanned, and all reasons that speak against it."""

    assessable: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class NoiseStatistics:
    """Noise of a volume; nan where too little of it can be measured.

    Attributes:
        sharpness: power of flat lung at 0.35-0.5 line pairs a millimetre against that at 0.08-0.2.
        periodicity: highest peak of the spectrum of interpolation traces against its median; both halves of the
            rows or columns must show the peak.
        tiles: how many flat lung tiles were measured.
        noise_hu: median standard deviation in those tiles, after removing a quadratic surface.
    """

    sharpness: float
    periodicity: float
    tiles: int
    noise_hu: float


def assess(volume: Volume, validated: Mapping[str, Any]) -> Assessment:
    """Judge whether the detector's answer on this volume can mean anything.

    Args:
        volume: the loaded volume.
        validated: what the model card validates; ``spacing_mm`` is (lowest, highest) in-plane spacing.
    """
    planes = _sample(volume)
    reasons = _header_reasons(volume) + _geometry_reasons(volume, validated)
    values = _value_reasons(volume, planes)
    reasons += values
    if not any(reason.severity == "refuse" for reason in values):
        reasons += _noise_reasons(measure_noise(volume))
    return Assessment(all(reason.severity != "refuse" for reason in reasons), tuple(reasons))


def measure_noise(volume: Volume) -> NoiseStatistics:
    """Noise statistics of evenly spread slices (see the module's text for what they are on real CT)."""
    planes = _sample(volume)
    tiles = _flat_residuals(np.concatenate([_tiles(plane) for plane in planes]))
    periodicity = max(_periodicity(planes, axis) for axis in (0, 1))
    if len(tiles) < MIN_TILES:
        return NoiseStatistics(float("nan"), periodicity, len(tiles), float("nan"))
    noise = float(np.median(tiles.std(axis=(1, 2))))
    spacing = float(np.mean(volume.spacing_mm[:2]))
    return NoiseStatistics(_sharpness(tiles, spacing), periodicity, len(tiles), noise)


def grey_level_gaps(volume: Volume) -> float:
    """Share of the grey levels of tissue that no voxel of evenly spread slices has; 0 where too few to say."""
    return _gap_fraction(_sample(volume))


# --- What the header and geometry say ------------------------------------------------------------------------------


def _header_reasons(volume: Volume) -> list[Reason]:
    header = volume.header
    reasons: list[Reason] = []
    if header.modality not in (None, "CT"):
        text = f"The header says that this is {header.modality}, not CT; the detector knows lung CT only."
        reasons.append(Reason("not_ct", "refuse", text))
    if header.lossy:
        text = (
            "The header says that the image was compressed with loss, which destroys the traces of tampering; "
            "scan the original."
        )
        reasons.append(Reason("lossy", "refuse", text))
    if header.derivation:
        text = (
            f"The header says that the image was processed after reconstruction ({', '.join(header.derivation)}...), "
            "so its noise is not the scanner's; scan the series that the scanner wrote."
        )
        reasons.append(Reason("processed", "refuse", text))
    elif header.image_type and header.image_type[0].upper() == "DERIVED":
        text = (
            "The header calls the image derived, not original; if it was filtered, false alarms are likely."
        )
        reasons.append(Reason("derived", "warn", text))
    if _PLANNING_SYSTEMS.search(f"{header.manufacturer or ''} {header.device or ''}"):
        text = "The file was written by a treatment system, not by a diagnostic scanner; false alarms are likely."
        reasons.append(Reason("export", "warn", text))
    return reasons


def _geometry_reasons(volume: Volume, validated: Mapping[str, Any]) -> list[Reason]:
    reasons: list[Reason] = []
    column, row, _ = volume.spacing_mm
    low, high = validated.get("spacing_mm", (0.0, float("inf")))
    # Half a percent of tolerance: headers round.
    if min(column, row) < 0.995 * low or max(column, row) > 1.005 * high:
        text = (
            f"Pixels of {column:.3f} x {row:.3f} mm are outside the {low:g} to {high:g} mm that the model was "
            "validated with; its figures may not hold."
        )
        reasons.append(Reason("spacing", "warn", text))
    if abs(column / row - 1.0) > 0.02:
        text = f"Pixels are not square ({column:.3f} x {row:.3f} mm), so the slices were probably resampled."
        reasons.append(Reason("not_square", "warn", text))
    axis = volume.ijk_to_ras[:3, :2]
    normal = np.cross(axis[:, 0], axis[:, 1])
    upright = float(abs(normal[2]) / np.linalg.norm(normal))
    if upright < 0.9:
        text = "The slices are not axial; the detector knows axial slices only, as the scanner reconstructed them."
        reasons.append(Reason("not_axial", "refuse" if upright < 0.5 else "warn", text))
    return reasons


# --- What the values say -------------------------------------------------------------------------------------------


def _sample(volume: Volume) -> list[FloatArray]:
    """Up to `MAX_SLICES` slices, evenly spread, float32 [j, i]; below -1024 is padding, not tissue."""
    count = volume.shape[0]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_SLICES)).round().astype(int))
    return [np.maximum(volume.hu[k], -1024).astype(np.float32) for k in chosen]


def _value_reasons(volume: Volume, planes: list[FloatArray]) -> list[Reason]:
    """8-bit or rescaled values, no lung, gaps in the grey levels."""
    low, high = min(float(plane.min()) for plane in planes), max(float(plane.max()) for plane in planes)
    if low == high:
        return [
            Reason("constant", "refuse", f"All voxels have the same value ({low:.0f}); this is not a CT.")
        ]
    if (volume.header.bits_stored or 16) <= 8 or (low >= 0 and high <= 255):
        text = (
            f"Values from {low:.0f} to {high:.0f} are those of an 8-bit picture, not Hounsfield units; "
            "scan the original CT."
        )
        return [Reason("eight_bit", "refuse", text)]
    dark = float(np.mean([np.mean(plane < -500) for plane in planes]))
    if dark < 0.005:
        text = (
            f"No voxel is as dark as air or lung (values from {low:.0f} to {high:.0f}), so these are not "
            "Hounsfield units of a lung CT; export it with rescale slope and intercept applied."
        )
        return [Reason("no_air", "refuse", text)]
    if max(_lung_mm2(plane, volume.spacing_mm) for plane in planes) < MIN_LUNG_MM2:
        return [Reason("no_lung", "refuse", "No lung was found; the detector knows lung CT only.")]
    gaps = _gap_fraction(planes)
    if gaps < GAPS_WARN:
        return []
    text = (
        f"{100 * gaps:.0f} % of the grey levels of tissue never occur, so the values were rescaled after "
        "reconstruction; scan the original CT."
    )
    return [Reason("histogram_gaps", "refuse" if gaps > GAPS_REFUSE else "warn", text)]


def _lung_mm2(plane: FloatArray, spacing_mm: tuple[float, float, float]) -> float:
    """Area of lung in a slice, found on blocks of 4x4 pixels: dark, but neither air nor joined to that outside."""
    rows, columns = plane.shape[0] // 4, plane.shape[1] // 4
    coarse = plane[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4).mean(axis=(1, 3))
    labels, count = ndimage.label(coarse < -600)
    if count == 0:
        return 0.0
    index = np.arange(1, count + 1)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    # Lung that is cut by the edge of a small field of view touches the border too, but is denser than air.
    outside = np.isin(index, border) & (ndimage.median(coarse, labels, index) < -930)
    inside = ~np.concatenate([[True], outside])[labels]
    lung = inside & (coarse > -970) & (coarse < -600)
    return float(np.count_nonzero(lung)) * 16.0 * spacing_mm[0] * spacing_mm[1]


def _gap_fraction(planes: list[FloatArray]) -> float:
    """Share of whole HU between the 10th and 90th percentile of tissue that no voxel has; 0 where too few to say."""
    values = np.concatenate([plane[(plane > -950) & (plane < 300)] for plane in planes])
    low, high = (int(v) for v in np.percentile(values, (10, 90)))
    inside = values[(values >= low) & (values <= high)] - low
    counts = np.bincount(inside.astype(np.int64), minlength=high - low + 1)
    # A level can be a gap only where levels close by on both sides are well filled; between two tissues it is not.
    filled = [ndimage.maximum_filter1d(counts, 21, origin=side) for side in (-10, 10)]
    dense = ndimage.uniform_filter1d(counts.astype(np.float64), 41) >= 15
    expected = dense & (np.minimum(*filled) >= 30)
    return float(np.mean(counts[expected] == 0)) if np.count_nonzero(expected) >= 20 else 0.0


# --- What the noise says -------------------------------------------------------------------------------------------


def _noise_reasons(noise: NoiseStatistics) -> list[Reason]:
    reasons: list[Reason] = []
    if noise.noise_hu < NO_NOISE_HU:
        text = (
            f"Lung has a noise of {noise.noise_hu:.1f} HU, less than any scanner leaves; "
            "this is a simulation or was denoised."
        )
        reasons.append(Reason("no_noise", "refuse", text))
    elif noise.sharpness < SMOOTHED_WARN:
        text = (
            "The noise in the lung is smoother than any reconstruction kernel leaves it, as after a filter or an "
            "export that smooths; scan the series that the scanner wrote."
        )
        reasons.append(Reason("smoothed", "refuse" if noise.sharpness < SMOOTHED_REFUSE else "warn", text))
    if noise.periodicity > RESAMPLED_WARN:
        text = (
            "The noise repeats in the rhythm of interpolation (or of compressed blocks), so the slices were resampled "
            "after reconstruction; scan the series that the scanner wrote."
        )
        reasons.append(
            Reason("resampled", "refuse" if noise.periodicity > RESAMPLED_REFUSE else "warn", text)
        )
    return reasons


def _tiles(plane: FloatArray) -> FloatArray:
    """Tiles [n, 16, 16] of a slice that lie in lung, on two grids half a tile apart."""
    low, high = _LUNG_HU
    found = []
    for shift in (0, _TILE // 2):
        part = plane[shift:, shift:]
        rows, columns = part.shape[0] // _TILE, part.shape[1] // _TILE
        tiles = part[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE).swapaxes(1, 2)
        flat = tiles.reshape(-1, _TILE, _TILE)
        found.append(flat[np.mean((flat > low) & (flat < high), axis=(1, 2)) > 0.95])
    return np.concatenate(found)


def _flat_residuals(tiles: FloatArray) -> FloatArray:
    """The flatter half of the tiles, each less its quadratic surface: noise with few vessels."""
    if len(tiles) == 0:
        return tiles
    y, x = np.mgrid[:_TILE, :_TILE] / (_TILE - 1.0) - 0.5
    surfaces = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).reshape(-1, 6)
    basis = np.linalg.qr(surfaces)[0].astype(np.float32)
    flat = tiles.reshape(len(tiles), -1)
    residual = (flat - (flat @ basis) @ basis.T).reshape(tiles.shape)
    spread = residual.std(axis=(1, 2))
    return residual[spread <= np.median(spread)]


def _sharpness(tiles: FloatArray, spacing_mm: float) -> float:
    """Power near 0.42 line pairs a millimetre against power near 0.14: kernels differ little there, filters much."""
    window = np.hanning(_TILE + 2)[1:-1]
    spectra = np.abs(np.fft.fft2(tiles * np.outer(window, window))) ** 2
    power: NDArray[np.float64] = spectra.mean(axis=0)
    frequency = np.fft.fftfreq(_TILE, spacing_mm)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    high, low = (power[(radius >= a) & (radius < b)] for a, b in ((0.35, 0.5), (0.08, 0.2)))
    return float(high.mean() / max(low.mean(), 1e-9)) if len(high) and len(low) else float("nan")


def _periodicity(planes: list[FloatArray], axis: int) -> float:
    """How strongly the roughness along an axis repeats: interpolated pixels are smoother the farther from a sample.

    The mean absolute second difference is averaged across the axis and over the slices, and the spectrum of its
    logarithm is searched above 0.1 cycles a pixel. Each half of the axis must show the same peak, so that one
    interpolated region (which may be a forgery) does not count as a resampled image.
    """
    total: NDArray[np.float64] | float = 0.0
    count: NDArray[np.int64] | int = 0
    for plane in planes:
        body = (plane > _BODY_HU[0]) & (plane < _BODY_HU[1])
        inner = body.take(range(1, plane.shape[axis] - 1), axis)
        rough = np.minimum(np.abs(np.diff(plane, 2, axis=axis)), 200.0)
        total = total + np.sum(rough * inner, axis=1 - axis, dtype=np.float64)
        count = count + inner.sum(axis=1 - axis)
    used = np.flatnonzero(np.asarray(count) > 20 * len(planes))
    if len(used) < 100:
        return 0.0
    span = slice(used[0], used[-1] + 1)
    profile = np.log(np.asarray(total)[span] / np.maximum(np.asarray(count)[span], 1) + 1e-3)
    profile = profile - ndimage.median_filter(profile, 9)
    profile = np.clip(profile, *np.quantile(profile, (0.03, 0.97)))
    spectra = []
    for half in np.array_split(profile, 2):
        power = np.abs(np.fft.rfft(half * np.hanning(len(half)), 1024))[102:] ** 2
        spectra.append(power / max(float(np.median(power)), 1e-12))
    return float(np.minimum(*spectra).max())
