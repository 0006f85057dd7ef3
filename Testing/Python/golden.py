"""Golden numbers: what the shipped model says of the bundled sample.

``.venv/bin/python Testing/Python/golden.py demo-results/CTForgeryScanSample/result.json`` writes ``golden.json`` from
what ``make demo`` left, to be looked at and checked in when the model is another one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("golden.json")


def numbers_of(result: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a ``result.json``."""
    slices = result["slices"]
    return {
        "model_sha256": result["provenance"]["model_sha256"],
        "flagged": [s["k"] for s in slices if s["flagged"]],
        "peak_score": [round(s["peak_score"], 4) for s in slices],
        "probability": [round(s["probability"], 4) for s in slices],
        "regions": [
            {
                "source": region["source"],
                "slices": list(region["slices"]),
                "center_ijk": [round(c, 1) for c in region["center_ijk"]],
                "score": round(region["score"], 4),
            }
            for region in result["regions"]
        ],
    }


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    FILE.write_text(json.dumps(numbers_of(found), indent=1) + "\n", encoding="utf-8")
