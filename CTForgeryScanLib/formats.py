"""File formats of a result that the command line and Slicer both write. Nothing here imports torch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULT_FILES = ("result.json", "slices.csv", "heatmap.nrrd", "regions.seg.nrrd", "picture.png")
"""What a scan leaves in its folder."""

SEGMENT_COLOUR = (0.31, 0.78, 1.0)
"""Light blue, which stands out from every colour of the heatmap."""


def rounded(p: float) -> str:
    """A probability or a score in two digits; nothing is certain."""
    return f"{p:.2f}" if p < 0.995 else "> 0.99"


def write_slices(slices: Sequence[dict[str, Any]], path: Path) -> None:
    """The slices of ``result.json`` as CSV, one row a slice."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["k", "probability", "flagged", "peak_score", "peak_i", "peak_j"])
        for s in slices:
            i, j = s["peak_ij"] or ("", "")
            writer.writerow(
                [s["k"], f"{s['probability']:.6f}", int(s["flagged"]), f"{s['peak_score']:.6f}", i, j]
            )


def segment_fields(regions: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The NRRD header fields by which Slicer reads a label volume as a segmentation, one segment a region."""
    fields: dict[str, str] = {}
    for n, region in enumerate(regions):
        fields |= {
            f"Segment{n}_ID": f"TamperedRegion_{region['id']}",
            f"Segment{n}_Name": f"Suspicious region {region['id']}",
            f"Segment{n}_LabelValue": str(region["id"]),
            f"Segment{n}_Layer": "0",
            f"Segment{n}_Color": " ".join(f"{c:g}" for c in SEGMENT_COLOUR),
        }
    return fields
