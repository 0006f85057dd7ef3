"""What became of the sites of forged volumes: volume by volume, summed up, and kept for the model's card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.froc import NO_SITE, RATES, ProposedPlaces, froc, sensitivity_interval
from training.out_of_fold import FOLDS_JSON, detector_sha256
from training.sites import SiteKind
from training.whole_file import whole

VOLUMES = "volumes.json"


@dataclass(frozen=True)
class SiteOutcome:
    """One forged site: whether the highest window of its slice is on it (or on another site), the score of its place,
    0 where none that rises is on it, and whether that is a region at the default operating point."""

    ijk: tuple[int, int, int]
    peak_on_site: bool
    score: float
    found: bool


@dataclass(frozen=True)
class Outcome:
    """One forged volume: its sites, the scores of the places elsewhere, and how many of those are regions."""

    patient: str
    forger: str
    kind: SiteKind
    sites: tuple[SiteOutcome, ...]
    elsewhere: tuple[float, ...]
    false_regions: int

    @property
    def places(self) -> ProposedPlaces:
        """For FROC."""
        on_site = [(n, site.score) for n, site in enumerate(self.sites) if site.score]
        hits = [n for n, _ in on_site] + [NO_SITE] * len(self.elsewhere)
        scores = [*(score for _, score in on_site), *self.elsewhere]
        return ProposedPlaces(self.patient, np.array(scores), np.array(hits, int), len(self.sites))


def summary(made: Sequence[Outcome]) -> dict[str, Any]:
    """What was found in some volumes; sensitivity is that at no more than one wrong place in eight scans."""
    scans = [outcome.places for outcome in made]
    sites = [site for outcome in made for site in outcome.sites]
    low, high = sensitivity_interval(scans, RATES[:1])[:, 0]
    return {
        "volumes": len(made),
        "sites": len(sites),
        "found": sum(site.found for site in sites),
        "peak_on_site": sum(site.peak_on_site for site in sites),
        "false_regions": sum(o.false_regions for o in made),
        "sensitivity_at_1_8": round(float(froc(scans).at(RATES[:1])[0]), 4),
        "sensitivity_at_1_8_95": [round(float(low), 4), round(float(high), 4)],
    }


def keep_outcomes(made: Mapping[str, Sequence[Outcome]], runs: Path) -> None:
    """Write into ``volumes.json`` what was found, beside what is there of other forgers and of the same judges."""
    path = runs / VOLUMES
    rows = _kept(runs) | {
        name: summary(outcomes) | {"outcomes": [asdict(outcome) for outcome in outcomes]}
        for name, outcomes in made.items()
    }
    content = {"judges": _judges(runs), "forgers": rows}
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_summaries(runs: Path) -> dict[str, dict[str, Any]]:
    """By "forger, kind" the ``summary`` that was kept; nothing where none was, or of other judges."""
    return {
        name: {key: value for key, value in row.items() if key != "outcomes"}
        for name, row in _kept(runs).items()
    }


def _kept(runs: Path) -> dict[str, dict[str, Any]]:
    path = runs / VOLUMES
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Any]] = content["forgers"]
    return rows if content.get("judges") == _judges(runs) else {}


def _judges(runs: Path) -> dict[str, str]:
    """Of what the outcomes are: each fold's detector, and the rules and thresholds of all."""
    folds = sorted(path.name.removeprefix("fold-") for path in runs.glob("fold-[0-9]*"))
    rules = hashlib.sha256((runs / FOLDS_JSON).read_bytes()).hexdigest()
    return {FOLDS_JSON: rules} | {fold: detector_sha256(runs, fold) for fold in folds}
