"""The whole cascade on one CT: heatmap → flagged slices → tampered regions → verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from CTForgeryScanLib import __version__
from CTForgeryScanLib.assessable import Assessment, Reason, assess, has_lung
from CTForgeryScanLib.cards import DEFAULT_MODEL, choose_operating_point
from CTForgeryScanLib.errors import ScanCancelled
from CTForgeryScanLib.evidence import examine_header, examine_voxels
from CTForgeryScanLib.evidence.copy_move import candidates
from CTForgeryScanLib.evidence.finding import Finding
from CTForgeryScanLib.evidence.places import regions_of_findings, with_evidence
from CTForgeryScanLib.heatmap import Heatmap, Sweep, Sweeper, sweep_volume
from CTForgeryScanLib.models import Model, load_model
from CTForgeryScanLib.regions import Region, find_regions
from CTForgeryScanLib.volume import Source, Volume, load_volume
from CTForgeryScanLib.windows import CENTRE, STRIDE

SCHEMA_VERSION = 1

Verdict = Literal["no_tampering_found", "suspicious", "not_assessable"]


@dataclass(frozen=True)
class Progress:
    """One finished slice: ``done`` of ``of`` slices, slice ``k`` of the volume, its highest p(forged), its map
    [r, c], and the seconds that are left at this pace."""

    k: int
    done: int
    of: int
    peak: float
    heatmap: NDArray[np.float32]
    seconds_left: float


@dataclass(frozen=True)
class EvidenceProgress:
    """How far the tests that need no training are, after the sweep: the share done, 0…1, and the seconds left."""

    done: float
    seconds_left: float


@dataclass(frozen=True)
class SliceResult:
    """One slice: calibrated p(forged), whether it is flagged, and its highest window with that window's centre
    (i, j) in CT voxels; None where no window of the slice lies near lung."""

    k: int
    probability: float
    flagged: bool
    peak_score: float
    peak_ij: tuple[float, float] | None


@dataclass(frozen=True)
class ScanResult:
    """What a scan found, with all that is needed to show it and to repeat it."""

    volume: Volume
    assessment: Assessment
    verdict: Verdict
    probability: float | None
    regions: tuple[Region, ...]
    slices: tuple[SliceResult, ...]
    heatmap: Heatmap | None
    """None, like ``probability`` and ``labels``, when the volume is not assessable and was therefore not swept."""
    labels: NDArray[np.uint8] | None
    """Region ids, uint8 [k, r, c], in the heatmap's geometry."""
    parameters: dict[str, Any]
    provenance: dict[str, Any]
    slices_of_input: int
    """How many slices the input has; ``volume`` holds those that were scanned."""
    findings: tuple[Finding, ...] = ()
    """What the tests that need no training say, with what a picture shows of it; empty where they were skipped."""

    def to_dict(self) -> dict[str, Any]:
        """The object that ``result.json`` holds; its fields are documented in the README."""
        volume = self.volume
        return {
            "schema_version": SCHEMA_VERSION,
            "input": {
                "path": volume.source,
                "series_uid": volume.header.series_uid,
                "shape": [self.slices_of_input, *volume.shape[1:]],
                "spacing_mm": list(volume.spacing_mm),
                "sha256": self.provenance["input_sha256"],
                "notes": list(volume.notes),
            },
            "assessable": self.assessment.assessable,
            "reasons": [asdict(reason) for reason in self.assessment.reasons],
            "verdict": self.verdict,
            "probability": self.probability,
            "regions": [asdict(region) for region in self.regions],
            "evidence": [asdict(finding.evidence) for finding in self.findings],
            "slices": [asdict(s) for s in self.slices],
            "parameters": self.parameters,
            "provenance": self.provenance,
        }


def scan(
    source: Source,
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    device: str = "auto",
    precision: str = "auto",
    operating_point: str | None = None,
    series: str | None = None,
    slices: tuple[int | None, int | None] | None = None,
    evidence: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    on_evidence: Callable[[EvidenceProgress], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> ScanResult:
    """Scan a CT for regions that a generative network repainted.

    ``source`` is what ``load_volume`` takes. ``operating_point`` names one of the model's operating points, otherwise
    its default is taken. ``slices`` = (a, b) scans slices a … b−1 only, numbered as in the whole volume. ``evidence``
    makes the tests that need no training, always on the whole volume (copy-move at the most conspicuous places of the
    slices that were swept): a place that they find becomes a region of its own and makes the verdict suspicious, but
    no slice's probability changes. The same input gives the same numbers through every door.

    Raises InputError, ModelError, DeviceError, or ScanCancelled once ``should_cancel()`` is true.
    """
    started = time.monotonic()
    whole = load_volume(source, series=series)
    first, stop = _range(whole, slices)
    part = whole.slices(first, stop)
    loaded = model if isinstance(model, Model) else load_model(model)
    point = choose_operating_point(loaded.card, operating_point)
    sweeper = Sweeper(loaded.detector, device, precision)
    parameters = {
        "slices": [first, stop],
        "operating_point": operating_point or loaded.card["default_operating_point"],
        "slice_threshold": point.slice_threshold,
        "region_score": point.region_score,
        "region_rule": asdict(loaded.rule),
        "evidence": evidence,
    }
    assessment = assess(whole, loaded.card["validated"])
    findings = examine_header(whole) if evidence else []

    def not_assessable() -> ScanResult:
        return ScanResult(
            volume=whole,
            assessment=assessment,
            verdict="not_assessable",
            probability=None,
            regions=(),
            slices=(),
            heatmap=None,
            labels=None,
            parameters=parameters,
            provenance=_provenance(loaded, sweeper.ran, whole, (first, stop), started),
            slices_of_input=len(whole.hu),
            findings=tuple(findings),
        )

    if not assessment.assessable:
        return not_assessable()

    def on_slice(k: int, of_slice: NDArray[np.float32], seconds_left: float) -> None:
        if on_progress is not None:
            on_progress(
                Progress(first + k, k + 1, len(part.hu), float(of_slice.max()), of_slice, seconds_left)
            )

    heatmap = sweep_volume(part, sweeper, on_slice=on_slice, should_cancel=should_cancel)
    probability = loaded.classifier.probability(heatmap.p)
    found = find_regions(part, heatmap, loaded.rule, point.region_score)
    # A slice is flagged for itself or because its neighbours agree with it.
    flagged = probability >= point.slice_threshold
    for region in found.regions:
        flagged[region.slices[0] : region.slices[1] + 1] = True
    if found.too_wide:
        assessment = assessment.with_reason(_PROCESSED_WHOLE)
    if (unjudged := _unjudged(part, heatmap)) is not None:
        assessment = assessment.with_reason(unjudged)
    # Too few slices for regions: each is judged alone.
    alone = len(flagged) < loaded.rule.fewest_slices
    if evidence:
        step = _evidence_step(on_evidence, should_cancel)
        places = candidates(heatmap, first)
        findings += examine_voxels(whole, places, torch.device(sweeper.ran.device), step)
    regions = (*(_in_whole(region, first) for region in found.regions),)
    regions += regions_of_findings(whole, findings, len(regions))
    if not found.enough_lung:
        # What the evidence found stands nevertheless.
        assessment = assessment.with_reason(
            replace(_TOO_LITTLE_LUNG, severity="warn" if regions else "refuse")
        )
        if not regions:
            return not_assessable()
    suspicious = bool(regions) or (alone and bool(flagged.any()))
    return ScanResult(
        volume=part,
        assessment=assessment,
        verdict="suspicious" if suspicious else "no_tampering_found",
        probability=max([float(probability.max()) if alone else found.score, *(r.score for r in regions)]),
        regions=regions,
        slices=_slice_results(heatmap, probability, flagged, first),
        heatmap=heatmap,
        labels=with_evidence(found.labels, regions, first),
        parameters=parameters,
        provenance=_provenance(loaded, sweeper.ran, whole, (first, stop), started),
        slices_of_input=len(whole.hu),
        findings=tuple(findings),
    )


def _evidence_step(
    on_evidence: Callable[[EvidenceProgress], None] | None, should_cancel: Callable[[], bool] | None
) -> Callable[[float], None]:
    started, told = time.monotonic(), 0.0

    def step(share: float) -> None:
        nonlocal told
        if should_cancel is not None and should_cancel():
            raise ScanCancelled("The scan was cancelled during the tests of the evidence.")
        if on_evidence is not None and (share >= told + 0.02 or share == 1 > told):
            told = share
            on_evidence(EvidenceProgress(share, (time.monotonic() - started) * (1 - share) / share))

    return step


_PROCESSED_WHOLE = Reason(
    code="hot_everywhere",
    severity="warn",
    text=(
        "Large parts of whole slices look unlike an untouched reconstruction: rather a processed image or a scanner "
        "that the model does not know than a small forged region."
    ),
)


def _unjudged(volume: Volume, heatmap: Heatmap) -> Reason | None:
    """A warning where more slices with lung were passed over than judged, as in a small field of view."""
    lung = np.array([has_lung(plane.astype(np.float32), volume.spacing_mm) for plane in volume.hu])
    judged = heatmap.p.any(axis=(1, 2))
    passed_over = int((lung & ~judged).sum())
    if passed_over <= judged.sum() or not judged.any():
        return None  # where none was judged, ``_TOO_LITTLE_LUNG`` says so
    text = (
        f"Of the slices that hold lung the detector judged {int(judged.sum())} and passed over {passed_over}, for it "
        "knows lung within a chest only; scan the whole field of view."
    )
    return Reason("mostly_unjudged", "warn", text)


_TOO_LITTLE_LUNG = Reason(
    code="too_little_lung",
    severity="refuse",
    text=(
        "The slices hold too little lung for the detector: nothing was judged, or what was judged has no lung beside "
        "it to be compared with; scan the whole chest in its whole field of view."
    ),
)


def _range(volume: Volume, slices: tuple[int | None, int | None] | None) -> tuple[int, int]:
    first, stop = slices or (None, None)
    return 0 if first is None else first, len(volume.hu) if stop is None else stop


def _in_whole(region: Region, first: int) -> Region:
    """The region with slices numbered as in the whole volume; its RAS coordinates hold already."""
    i, j, k = region.center_ijk
    ei, ej, (k0, k1) = region.extent_ijk
    return replace(
        region,
        center_ijk=(i, j, k + first),
        extent_ijk=(ei, ej, (k0 + first, k1 + first)),
        slices=(region.slices[0] + first, region.slices[1] + first),
        peak_slice=region.peak_slice + first,
    )


def _slice_results(
    heatmap: Heatmap, probability: NDArray[np.float64], flagged: NDArray[np.bool_], first: int
) -> tuple[SliceResult, ...]:
    results = []
    for k, of_slice in enumerate(heatmap.p):
        r, c = np.unravel_index(np.argmax(of_slice), of_slice.shape)
        peak = float(of_slice[r, c])
        place = (float(STRIDE * c + CENTRE), float(STRIDE * r + CENTRE)) if peak > 0 else None
        results.append(SliceResult(first + k, float(probability[k]), bool(flagged[k]), peak, place))
    return tuple(results)


def _provenance(
    model: Model, ran: Sweep, volume: Volume, slices: tuple[int, int], started: float
) -> dict[str, Any]:
    """``volume`` is the whole one, ``started`` what ``time.monotonic`` said."""
    notes = list(ran.notes)
    (first, stop), count = slices, len(volume.hu)
    if stop - first < count:
        only = (
            f"Only slices {first} to {stop - 1} of {count} were scanned; the model has not seen the others."
        )
        notes.insert(0, only)
    return {
        "version": __version__,
        "torch": torch.__version__,
        "model": model.name,
        "model_sha256": model.card["sha256"],
        "input_sha256": volume.sha256,
        "device": ran.device,
        "precision": ran.precision,
        "notes": notes,
        "seconds": round(time.monotonic() - started, 3),
        "cpus": os.cpu_count(),
    }
