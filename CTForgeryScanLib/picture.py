"""The picture: the most suspicious slice beside itself under its heatmap, and the slices' probabilities below.

Slices are shown as radiologists see them, whatever the order in which they are stored: the patient's right on the left,
anterior on top. Letters say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from CTForgeryScanLib.cascade import ScanResult
from CTForgeryScanLib.evidence.finding import Exhibit
from CTForgeryScanLib.formats import rounded
from CTForgeryScanLib.windows import CENTRE, STRIDE

VERDICTS = {
    "no_tampering_found": "No tampering found",
    "suspicious": "Suspicious",
    "not_assessable": "Not assessable",
}
DISCLAIMER = "Research software for integrity triage: not a diagnosis, and no proof that a scan is untouched."

_LUNG_WINDOW = (-1000, 300)
_SIDE = 512
_MARGIN = 16
_EXHIBITS = 3  # findings shown; all are in result.json
_TILE = 195
_EXHIBIT_HEIGHT = _TILE + 62
_TEXT, _GREY, _BACKGROUND, _MARK = (235, 235, 235), (150, 150, 150), (20, 20, 24), (80, 200, 255)
# Dark violet to light yellow with rising lightness, so that it reads in grey and for the colour-blind.
_COLOURS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], float)


def heatmap_on_pixels(heatmap: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """p(forged) [r, c] interpolated at the pixel centres of a slice [j, i]; 0 beyond the outermost windows."""
    y, x = ((np.arange(n) - CENTRE) / STRIDE for n in shape)
    grid = np.meshgrid(y, x, indexing="ij")
    values: NDArray[np.float32] = ndimage.map_coordinates(heatmap, grid, order=1, mode="constant", cval=0)
    return values


def overlay(hu: NDArray[np.int16], heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The slice [j, i] in the lung window under its heatmap, RGB uint8 [j, i, 3]."""
    grey = _grey(hu).astype(float)[..., None]
    p = heatmap_on_pixels(heatmap, hu.shape)
    steps = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(p, steps, channel) for channel in _COLOURS.T], axis=-1)
    alpha = np.clip((p - 0.15) / 0.35, 0, 0.7)[..., None]
    return (grey * (1 - alpha) + colour * alpha).astype(np.uint8)


@dataclass(frozen=True)
class _View:
    """Whether rows and columns are turned round to be seen, and what the sides then are."""

    rows: bool
    columns: bool
    left: str
    right: str
    top: str

    @classmethod
    def of(cls, ijk_to_ras: NDArray[np.float64]) -> _View:
        """The usual view of slices that lie so in the patient."""
        right, bottom = (_letter(axis) for axis in ijk_to_ras[:3, :2].T)
        # Right to left and anterior to posterior; in slices that are not axial anterior to posterior, superior on top.
        columns, rows = right in "RA", bottom in "AS"
        if columns:
            right = _OPPOSITE[right]
        return cls(rows, columns, _OPPOSITE[right], right, bottom if rows else _OPPOSITE[bottom])

    def turned(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """A slice, or a part of it, [j, i, …] as it is seen."""
        return pixels[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def box(self, i: tuple[int, int], j: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, ...]:
        """First and last column, first and last row of pixels i, j of a slice of that shape, as they are seen."""
        if self.columns:
            i = (shape[1] - 1 - i[1], shape[1] - 1 - i[0])
        if self.rows:
            j = (shape[0] - 1 - j[1], shape[0] - 1 - j[0])
        return *i, *j


_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


def _letter(axis: NDArray[np.float64]) -> str:
    """To which side of the patient a direction in RAS points most."""
    n = int(np.argmax(np.abs(axis)))
    return "RAS"[n] if axis[n] > 0 else "LPI"[n]


def draw(result: ScanResult) -> Image.Image:
    """The whole picture. Raises ValueError for a result without a heatmap."""
    if result.heatmap is None:
        raise ValueError("a volume that was not swept has no heatmap to show")
    # Region peak first: in a scan with a region the single hottest slice may be elsewhere.
    worst = max(result.slices, key=lambda s: (s.probability, s.peak_score))
    first, last = result.slices[0].k, result.slices[-1].k
    k = next((r.peak_slice for r in result.regions if first <= r.peak_slice <= last), worst.k)
    index = k - first
    hu, p = result.volume.hu[index], result.heatmap.p[index]
    plot_height = 130 if len(result.slices) > 1 else 0
    exhibits = [f.place.exhibit for f in result.findings if f.place is not None][:_EXHIBITS]
    shown_below = len(exhibits) * _EXHIBIT_HEIGHT
    height = _SIDE + 108 + plot_height
    canvas = Image.new("RGB", (2 * _SIDE + 3 * _MARGIN, height + shown_below), _BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    view = _View.of(result.volume.ijk_to_ras)
    _heading(pen, result, k)
    for at, pixels in enumerate((np.repeat(_grey(hu)[..., None], 3, axis=2), overlay(hu, p))):
        left = _MARGIN + at * (_SIDE + _MARGIN)
        shown = _square(view.turned(pixels))
        canvas.paste(shown, (left, 62))
        _letters(pen, view, (left, 62, left + shown.width, 62 + shown.height))
    _mark(pen, result, k, hu.shape, view)
    if plot_height:
        _profile(pen, result, (_MARGIN, 62 + _SIDE + 14, 2 * _SIDE + 2 * _MARGIN, 62 + _SIDE + plot_height))
    for n, exhibit in enumerate(exhibits):
        _show_exhibit(canvas, pen, exhibit, height - 30 + n * _EXHIBIT_HEIGHT, view)
    pen.text((_MARGIN, canvas.height - 22), DISCLAIMER, _GREY, font=_font(13))
    return canvas


def _grey(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = _LUNG_WINDOW
    return (np.clip((hu.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _scale(shape: tuple[int, ...]) -> float:
    return _SIDE / max(shape)


def _square(pixels: NDArray[np.uint8]) -> Image.Image:
    scale = _scale(pixels.shape[:2])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)


def _heading(pen: ImageDraw.ImageDraw, result: ScanResult, k: int) -> None:
    flagged = sum(s.flagged for s in result.slices)
    verdict = VERDICTS[result.verdict]
    if result.regions:
        verdict += f": {len(result.regions)} region{'s' if len(result.regions) > 1 else ''}"
    pen.text((_MARGIN, 8), verdict, _TEXT, font=_font(22))
    shown = next(s for s in result.slices if s.k == k)
    facts = f"slice {k}, p(forged) {rounded(shown.probability)}, highest window {rounded(shown.peak_score)}"
    pen.text(
        (_MARGIN, 38), f"{facts}; {flagged} of {len(result.slices)} slices flagged", _GREY, font=_font(14)
    )


def _letters(pen: ImageDraw.ImageDraw, view: _View, box: tuple[int, int, int, int]) -> None:
    """Name the sides of the patient at the edges of a slice."""
    x0, y0, x1, y1 = box
    for anchor, at, letter in (
        ("lm", (x0 + 5, (y0 + y1) / 2), view.left),
        ("rm", (x1 - 5, (y0 + y1) / 2), view.right),
        ("ma", ((x0 + x1) / 2, y0 + 5), view.top),
    ):
        pen.text(at, letter, _TEXT, font=_font(16), anchor=anchor, stroke_width=2, stroke_fill=_BACKGROUND)


def _mark(pen: ImageDraw.ImageDraw, result: ScanResult, k: int, shape: tuple[int, ...], view: _View) -> None:
    """Outline the regions that reach the slice, on both images."""
    scale = _scale(shape)
    for region in result.regions:
        if region.slices[0] <= k <= region.slices[1]:
            i0, i1, j0, j1 = view.box(*region.extent_ijk[:2], shape)
            for left in (_MARGIN, 2 * _MARGIN + _SIDE):
                box = [left + i0 * scale, 62 + j0 * scale, left + (i1 + 1) * scale, 62 + (j1 + 1) * scale]
                pen.rectangle(box, outline=_MARK)
            pen.text((box[2] + 4, box[1]), str(region.id), _MARK, font=_font(16))


def _show_exhibit(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, exhibit: Exhibit, top: int, view: _View
) -> None:
    """An exhibit's sentence, and its tiles below it."""
    pen.text((_MARGIN, top), exhibit.title, _TEXT, font=_font(14))
    for n, tile in enumerate(exhibit.tiles):
        left = _MARGIN + n * (_TILE + _MARGIN)
        pen.text((left, top + 22), tile.words, _GREY, font=_font(12))
        # Nearest, so that each voxel can be compared with its copy.
        grey = view.turned(_GREYS[tile.kind](tile.values))
        shown = Image.fromarray(grey).resize((_TILE, _TILE), Image.Resampling.NEAREST)
        canvas.paste(shown.convert("RGB"), (left, top + 42))
        if tile.marked:
            row, column, side = tile.marked
            scale = _TILE / len(grey)
            x0, x1, y0, y1 = view.box((column, column + side - 1), (row, row + side - 1), grey.shape)
            corners = [(x0, y0), (x1 + 1, y1 + 1)]
            pen.rectangle([(left + x * scale, top + 42 + y * scale) for x, y in corners], outline=_MARK)


def _noise_grey(noise: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey = np.clip(144 + 55 * noise / max(float(noise.std()), 1e-6), 33, 255)
    return np.where(noise == 0, 0, grey).astype(np.uint8)


def _strength_grey(strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (255 * np.clip(strength / max(float(strength.max()), 1e-6), 0, 1)).astype(np.uint8)


def _profile(pen: ImageDraw.ImageDraw, result: ScanResult, box: tuple[int, int, int, int]) -> None:
    """p(slice forged) over the slices as bars, flagged ones marked, with the threshold."""
    x0, y0, x1, y1 = box[0], box[1] + 16, box[2], box[3] - 8
    first, last = result.slices[0].k, result.slices[-1].k
    title = f"p(forged) of slices {first} to {last}; the line is the threshold of a slice alone"
    pen.text((x0, box[1] - 4), title, _GREY, font=_font(13))
    width = (x1 - x0) / len(result.slices)
    for n, s in enumerate(result.slices):
        left, top = x0 + n * width, y1 - max(s.probability, 0.01) * (y1 - y0)
        pen.rectangle(
            [left, top, max(left + width - 1, left), y1], fill=(249, 142, 9) if s.flagged else (95, 95, 105)
        )
    line = y1 - result.parameters["slice_threshold"] * (y1 - y0)
    pen.line([x0, line, x1, line], fill=_TEXT)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


_GREYS = {"hu": _grey, "noise": _noise_grey, "strength": _strength_grey}
