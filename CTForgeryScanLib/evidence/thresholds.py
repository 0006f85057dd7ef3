"""Where the evidence tests' thresholds lie, and how unlikely a score is in an untouched scan."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from CTForgeryScanLib.cards import models_folder
from CTForgeryScanLib.errors import ModelError

FILE = "thresholds.json"


@dataclass(frozen=True)
class Threshold:
    """From which score a test has found something, and the distribution (Gumbel) of untouched scans' highest scores."""

    threshold: float
    beside: float
    """The threshold for copies at the same place of another slice, where rings resemble themselves."""
    location: float
    scale: float
    false_share: float
    """How often an untouched scan reaches the threshold, by the same distribution."""

    def probability_untouched(self, score: float) -> float:
        """How likely an untouched scan reaches this score, 0...1, by the fit to the worst untouched patient."""
        return -math.expm1(-math.exp(-(score - self.location) / self.scale))

    def in_words(self, limit: str) -> str:
        """What it means to reach ``limit``, the threshold as the test says it."""
        return f"about 1 untouched scan in {1 / self.false_share:,.0f} is expected to reach {limit}"


def thresholds_file() -> Path:
    """The shipped thresholds; ``training/fit_evidence_thresholds.py`` makes them and says how."""
    return models_folder().parent / "Evidence" / FILE


def load_threshold(test: str) -> Threshold:
    """A test's threshold. Raises ModelError when the file is missing or damaged."""
    path = thresholds_file()
    try:
        given = json.loads(path.read_text(encoding="utf-8"))[test]
        fields = ("threshold", "beside", "location", "scale", "false_share_of_searches")
        return Threshold(*(float(given[field]) for field in fields))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The thresholds in '{path}' are missing or damaged: install ctforgeryscan again."
        ) from error
