"""Whether a volume can be scanned at all: is it a lung CT whose noise is still the scanner's own?

The detector reads the noise that a reconstruction leaves. Where that is gone (lossy compression, 8-bit pictures,
smoothing, resampling) or was never there (another modality, no lung), its answer would mean nothing, so the volume
is refused with a sentence that says why; what is merely outside the evidence is warned of.

What was measured
-----------------
``python -m training.measure_processing <data folder>`` takes the traces of processing (`processing.py`) on 14 untouched
series and 61 untouched single slices of 48 patients, many scanners and kernels, fits the limits to each patient's
worst value and counts what they find on processed copies of the series; the fit is stored in
``training/configs/processing-limits.json``. One untouched patient in 100 is to be warned of, one in 1,000 refused.

=============  =================================  ===========  ===========
trace          worst untouched patients           warn         refuse
=============  =================================  ===========  ===========
grain          1.15, 1.46, 1.51 (B20f, 0.57 mm)   below 0.474  below 0.114
periodicity    7.7, 7.6, 7.6                      above 11.0   above 20.4
padding edge   0.024; 0.001 or less in the rest                above 0.1
grey levels    0                                  above 0.05   above 0.3
=============  =================================  ===========  ===========

Padding edge and grey levels have no spread to fit: untouched scans lie at 0, processed copies from 0.4 (padding edge)
and from 0.05 on. By arithmetic a stretch by 1.1 leaves 9 % of the levels unused and 1,500 HU in 8 bits 83 %.

What this cannot see: weak smoothing where the field of view is not padded (Gauss up to 0.7 px), median filters,
resampling by 0.96-1.04, and whatever was done along the slice axis alone. A soft kernel with pixels below 0.5 mm may
come near the limit of grain. The one treatment-planning export among the series, 4D-Lung-113, has noise like a
scanner's in every in-plane statistic tried, so only its header gives it away ("Warped").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.processing import ProcessingTraces, measure_processing, sample_slices
from CTForgeryScanLib.volume import Volume

FloatArray = NDArray[np.float32]

# From training/configs/processing-limits.json (a test compares).
SMOOTHED_WARN, SMOOTHED_REFUSE = 0.474, 0.114
RESAMPLED_WARN, RESAMPLED_REFUSE = 11.0, 20.4
PADDING_EDGE_REFUSE = 0.1
GAPS_WARN, GAPS_REFUSE = 0.05, 0.3
NO_NOISE_HU = 1.0
MIN_LUNG_MM2 = 400.0
_THICK_MM = 5.05  # headers round
_PIXEL_MM = (0.1, 5.0)  # micro-CT has smaller pixels, nothing that shows a chest larger ones
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

    def with_reason(self, reason: Reason) -> Assessment:
        """The assessment with one reason more."""
        return Assessment(self.assessable and reason.severity != "refuse", (*self.reasons, reason))


def assess(volume: Volume, validated: Mapping[str, Any]) -> Assessment:
    """Judge whether the detector's answer on this volume can mean anything.

    Args:
        volume: the loaded volume.
        validated: what the model card validates; ``spacing_mm`` is (lowest, highest) in-plane spacing.
    """
    # Below -1024 is padding, not tissue.
    planes = [np.maximum(plane, np.float32(-1024.0)) for plane in sample_slices(volume)]
    reasons = _header_reasons(volume) + _geometry_reasons(volume, validated)
    values = _value_reasons(volume, planes)
    reasons += values
    if not any(reason.severity == "refuse" for reason in values):
        reasons += _processing_reasons(measure_processing(volume))
    return Assessment(all(reason.severity != "refuse" for reason in reasons), tuple(reasons))


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
    if not (_PIXEL_MM[0] <= min(column, row) and max(column, row) <= _PIXEL_MM[1]):
        text = (
            f"Pixels of {column:g} x {row:g} mm are not a CT's, so the file's spacing is wrong or in another unit; "
            "export it with its spacing in mm."
        )
        return [Reason("not_ct", "refuse", text)]
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
    between = volume.spacing_mm[2]
    if between > _THICK_MM and len(volume.hu) > 1:
        text = (
            f"The slices are {between:g} mm apart: a forged site of some 30 mm fills so few of them that it may not "
            "become a region; look at the flagged slices too."
        )
        reasons.append(Reason("thick_slices", "warn", text))
    axis = volume.ijk_to_ras[:3, :2]
    normal = np.cross(axis[:, 0], axis[:, 1])
    upright = float(abs(normal[2]) / np.linalg.norm(normal))
    if upright < 0.9:
        text = "The slices are not axial; the detector knows axial slices only, as the scanner reconstructed them."
        reasons.append(Reason("not_axial", "refuse" if upright < 0.5 else "warn", text))
    return reasons


# --- What the values say -------------------------------------------------------------------------------------------


def _value_reasons(volume: Volume, planes: list[FloatArray]) -> list[Reason]:
    """8-bit or rescaled values, no lung."""
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
    if not any(has_lung(plane, volume.spacing_mm) for plane in planes):
        return [Reason("no_lung", "refuse", "No lung was found; the detector knows lung CT only.")]
    return []


def has_lung(plane: FloatArray, spacing_mm: tuple[float, float, float]) -> bool:
    """Whether a slice [j, i] in HU holds a piece of lung that can be judged."""
    return _lung_mm2(plane, spacing_mm) >= MIN_LUNG_MM2


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


# --- What processing left --------------------------------------------------------------------------------------------


def _processing_reasons(traces: ProcessingTraces) -> list[Reason]:
    reasons: list[Reason] = []
    if traces.grey_level_gaps > GAPS_WARN:
        text = (
            f"{100 * traces.grey_level_gaps:.0f} % of the grey levels of tissue never occur, so the values were "
            "rescaled after reconstruction; scan the original CT."
        )
        severe = traces.grey_level_gaps > GAPS_REFUSE
        reasons.append(Reason("histogram_gaps", "refuse" if severe else "warn", text))
    if traces.noise_hu < NO_NOISE_HU:
        text = (
            f"Lung has a noise of {traces.noise_hu:.1f} HU, less than any scanner leaves; "
            "this is a simulation or was denoised."
        )
        reasons.append(Reason("no_noise", "refuse", text))
    elif traces.grain < SMOOTHED_WARN:
        text = (
            "Neighbouring pixels differ by little more than rounding, smoother than reconstructions leave them, as "
            "after a filter or an export that smooths; scan the series that the scanner wrote."
        )
        reasons.append(Reason("smoothed", "refuse" if traces.grain < SMOOTHED_REFUSE else "warn", text))
    if traces.periodicity > RESAMPLED_WARN:
        text = (
            "The noise repeats in the rhythm of interpolation (or of compressed blocks), so the slices were resampled "
            "after reconstruction; scan the series that the scanner wrote."
        )
        severe = traces.periodicity > RESAMPLED_REFUSE
        reasons.append(Reason("resampled", "refuse" if severe else "warn", text))
    if traces.padding_edge > PADDING_EDGE_REFUSE:
        text = (
            "The border of the scanner's field of view, sharp in a reconstruction, is blurred, so whole slices were "
            "filtered or resampled after it; scan the series that the scanner wrote."
        )
        reasons.append(Reason("blurred_border", "refuse", text))
    return reasons
