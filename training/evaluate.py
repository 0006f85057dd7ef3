"""Judge the cascade out-of-fold, print the table of the README and complete the model's card.

``python -m training.evaluate --config training/configs/ctgan-v2.yaml --data DIR --runs RUNS``

Reads what ``train_detector`` and ``fit_slice_classifier`` left in RUNS: no slice is judged by a detector or a slice
classifier that saw its patient. Misses and false alarms are listed by name, and what ``evaluate_volumes`` found before
stands beside them. Nothing is chosen here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from CTForgeryScanLib.cards import CARD, OperatingPoint, choose_operating_point
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.regions import Region, RegionRule, find_regions
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.command import run_command
from training.config import Config
from training.evaluation.calibration import brier, reliability
from training.evaluation.plots import plot_reliability
from training.evaluation.slices import auc, auc_interval, auc_within, counts_by_kind, detection_rate
from training.experiment import arguments, read_experiment
from training.fit_slice_classifier import OUT_OF_FOLD
from training.out_of_fold import FOLDS_JSON, detector_sha256, out_of_fold_heatmaps, series_heatmaps
from training.slices import Slice
from training.volume_outcomes import read_summaries

TEMPLATE = "training/configs/template.card.yaml"
_TODO = "TODO"

SITE_PX = 24
"""A peak within this distance of a forged site's centre is on the site."""


@dataclass(frozen=True)
class Judged:
    """One slice with what the cascade said of it, out-of-fold."""

    slice: Slice
    heatmap: NDArray[np.float32]
    probability: float
    fold: str
    point: OperatingPoint
    """The operating point of its fold, which judged it and whose is ``rule`` too."""
    rule: RegionRule

    @property
    def flagged(self) -> bool:
        """Whether the slice is flagged for itself."""
        return self.probability >= self.point.slice_threshold

    @property
    def peak(self) -> float:
        """Highest p(forged) of a window."""
        return float(self.heatmap.max())

    def peak_to_site_px(self, *, own: bool = True) -> float:
        """Pixels from the highest window's centre to the slice's own forged site, or to the nearest that reaches it."""
        r, c = np.unravel_index(np.argmax(self.heatmap), self.heatmap.shape)
        x, y = STRIDE * c + CENTRE, STRIDE * r + CENTRE
        sites = self.slice.forged[:1] if own else self.slice.forged
        return float(min(np.hypot(x - s.x, y - s.y) for s in sites))


def peak_on_site(judged: Sequence[Judged]) -> dict[str, Any]:
    """How often the highest window of a forged slice lies on its own site, or on any that reaches it, and where not.

    CT-GAN changes a block about a site that is as many slices high as it is pixels wide: in a scan that was forged at
    several places, a slice shows traces of more than its own site.
    """
    forged = [j for j in judged if j.slice.forged]
    own = {j.slice.name: round(j.peak_to_site_px()) for j in forged if j.peak_to_site_px() > SITE_PX}
    near = [j.slice.name for j in forged if j.peak_to_site_px(own=False) > SITE_PX]
    return {
        "on_own_site": len(forged) - len(own),
        "on_a_site": len(forged) - len(near),
        "of": len(forged),
        "not_on_own_site_px": own,
        "on_no_site": near,
    }


def slice_scores(judged: Sequence[Judged]) -> dict[str, Any]:
    """AUC, recall by kind, untouched slices flagged, F1 as they come and with both classes weighing the same."""
    forged = np.array([bool(j.slice.forged) for j in judged])
    probability = np.array([j.probability for j in judged])
    flagged = np.array([j.flagged for j in judged])
    kinds = [j.slice.kind for j in judged]
    scores: dict[str, Any] = {
        "auc": auc(forged, probability),
        "auc_95": auc_interval(forged, probability, [j.slice.patient for j in judged]),
        "auc_by_fold": _auc_by_fold(judged),
        "auc_within_folds": auc_within(forged, probability, [j.fold for j in judged]),
        "auc_first_stage_peak": auc(forged, [j.peak for j in judged]),
        "found_at_1_percent": detection_rate(forged, probability)[0],
        "brier_balanced": brier(forged, probability, balanced=True),
        "untouched_flagged": int(flagged[~forged].sum()),
        "untouched": int((~forged).sum()),
        "missed": [j.slice.name for j in judged if j.slice.forged and not j.flagged],
    }
    balanced = counts_by_kind(kinds, flagged, balanced=True)
    for kind, counts in counts_by_kind(kinds, flagged).items():
        scores[kind] = {
            "found": counts.true_positives,
            "of": counts.positives,
            "precision": counts.precision,
            "recall": counts.recall,
            "f1": counts.f1,
            "f1_balanced": balanced[kind].f1,
        }
    return scores


def _auc_by_fold(judged: Sequence[Judged]) -> dict[str, float]:
    """Where a fold holds both classes."""
    found = {}
    for fold in sorted({j.fold for j in judged}):
        of_fold = [j for j in judged if j.fold == fold]
        forged = [bool(j.slice.forged) for j in of_fold]
        if 0 < sum(forged) < len(forged):
            found[fold] = round(auc(forged, [j.probability for j in of_fold]), 4)
    return found


def series_regions(judged: Sequence[Judged]) -> dict[str, Any]:
    """Untouched series: score of the hottest place, regions found (all false), slices flagged, lesions in regions."""
    by_name = {j.slice.name: j for j in judged}
    rows: dict[str, Any] = {}
    for series in series_heatmaps([j.slice for j in judged], {j.slice.name: j.heatmap for j in judged}):
        of_series = [by_name[s.name] for s in series.slices]
        rule, point = of_series[0].rule, of_series[0].point
        found = find_regions(series.volume, series.heatmap, rule, point.region_score)
        in_regions = {k for region in found.regions for k in range(region.slices[0], region.slices[1] + 1)}
        rows[series.slices[0].series] = {
            "slices": len(of_series),
            "score": round(found.score, 4),
            "flagged": sorted({j.slice.k for j in of_series if j.flagged} | in_regions),
            "regions": [[round(v) for v in region.center_ijk] for region in found.regions],
            "lesions_called_forged": sum(
                _covers(region, s) for region in found.regions for s in series.slices
            ),
        }
    return {
        "series": len(rows),
        "series_with_region": [name for name, row in rows.items() if row["regions"]],
        "slices": sum(row["slices"] for row in rows.values()),
        "slices_flagged": sum(len(row["flagged"]) for row in rows.values()),
        "lesion_slices_called_forged": sum(row["lesions_called_forged"] for row in rows.values()),
        "by_series": rows,
    }


def point_costs(slices: dict[str, Any], series: dict[str, Any]) -> dict[str, int]:
    """What an operating point finds and what it costs, of ``slice_scores`` and ``series_regions`` at that point."""
    kinds = [slices[kind] for kind in ("inject", "remove") if kind in slices]
    return {
        "forged_flagged": sum(kind["found"] for kind in kinds),
        "forged": sum(kind["of"] for kind in kinds),
        "untouched_flagged": slices["untouched_flagged"],
        "untouched": slices["untouched"],
        "series_with_region": len(series["series_with_region"]),
        "series": series["series"],
    }


def _draw_reliability(judged: Sequence[Judged], path: Path) -> None:
    """How p(slice forged) agrees with how many are, both classes weighing the same, as it is calibrated."""
    forged = [bool(j.slice.forged) for j in judged]
    bins = reliability(forged, [j.probability for j in judged], balanced=True)
    plot_reliability({"slices, out-of-fold": bins}, path)


def _covers(region: Region, s: Slice) -> bool:
    (i0, i1), (j0, j1), (k0, k1) = region.extent_ijk
    return k0 <= s.k <= k1 and any(i0 <= x <= i1 and j0 <= y <= j1 for x, y in s.lesions)


def table(results: dict[str, Any]) -> list[str]:
    """The results as the rows of a Markdown table."""
    peak, scores, series = results["peak_on_site"], results["slices"], results["untouched_series"]
    low, high = scores["auc_95"]
    rows = [
        (
            "highest window on the slice's own forged site (within 24 px)",
            _share(peak["on_own_site"], peak["of"]),
        ),
        (
            "the same, or on another site whose touched block reaches the slice",
            _share(peak["on_a_site"], peak["of"]),
        ),
        (
            "slice AUC, forged against untouched",
            f"{scores['auc']:.4f} (95 % by patient: {low:.4f}–{high:.4f})",
        ),
        (
            "the same, of slices that the same fold judged (by fold)",
            f"{scores['auc_within_folds']:.4f} ({', '.join(f'{a:.3f}' for a in scores['auc_by_fold'].values())})",
        ),
        ("slice AUC of the first stage alone (highest window)", f"{scores['auc_first_stage_peak']:.4f}"),
        (
            "forged slices found where 1 % of the untouched are (threshold chosen on them)",
            f"{scores['found_at_1_percent']:.1%}",
        ),
    ]
    for kind, words in (("inject", "injected"), ("remove", "removed")):
        if kind not in scores:
            continue  # a set with one kind of forgery
        s = scores[kind]
        rows.append((f"{words} nodules: slices flagged", f"{s['found']} of {s['of']}"))
        rows.append(
            (
                f"{words} nodules: F1, classes weighing the same / as they come",
                f"{s['f1_balanced']:.3f} / {s['f1']:.3f}",
            )
        )
    rows += [
        (
            "untouched slices flagged, each judged alone",
            _share(scores["untouched_flagged"], scores["untouched"]),
        ),
        (
            "slices of untouched series flagged, alone or in a region",
            _share(series["slices_flagged"], series["slices"]),
        ),
        ("untouched series with a region", f"{len(series['series_with_region'])} of {series['series']}"),
        (
            "slices of real nodules and tumours inside such a region",
            str(series["lesion_slices_called_forged"]),
        ),
    ]
    for name, costs in results["operating_points"].items():
        shares = (
            f"{_share(costs['forged_flagged'], costs['forged'])}, "
            f"{_share(costs['untouched_flagged'], costs['untouched'])}, "
            f"{costs['series_with_region']} of {costs['series']}"
        )
        rows.append((f"point '{name}': forged, untouched slices flagged, series with a region", shares))
    for name, volumes in results.get("whole_volumes", {}).items():
        found = f"{volumes['found']} of {volumes['sites']}; {volumes['false_regions']} elsewhere"
        rows.append((f"whole volumes, {name}: sites found as a region", found))
    return [
        "| out-of-fold, split by patient | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]


def _share(part: int, of: int) -> str:
    return f"{part} of {of} ({part / of:.1%})"


def read_judges(runs: Path, point: str | None = None) -> dict[str, tuple[OperatingPoint, RegionRule]]:
    """Fold → its operating point (the default one if none is named) and region rule, of ``fit_slice_classifier``.

    Raises InputError when it was not run yet, or before a fold was trained anew.
    """
    if missing := [name for name in (FOLDS_JSON, OUT_OF_FOLD) if not (runs / name).is_file()]:
        raise InputError(
            f"'{runs}' holds no {missing[0]}: run python -m training.fit_slice_classifier first."
        )
    by_fold = json.loads((runs / FOLDS_JSON).read_text(encoding="utf-8"))
    for fold, fitted in by_fold.items():
        if fitted["detector_sha256"] != detector_sha256(runs, fold):
            raise InputError(
                f"'{runs / FOLDS_JSON}' is of another detector than fold {fold} has now: "
                "run python -m training.fit_slice_classifier again."
            )
    return {
        fold: (choose_operating_point(fitted, point), RegionRule(**fitted["region_rule"]))
        for fold, fitted in by_fold.items()
    }


def read_judged(
    slices: Sequence[Slice],
    fold_of: dict[str, int],
    runs: Path,
    point: str | None = None,
    training: Config | None = None,
) -> list[Judged]:
    """What the cascade said of each slice, out-of-fold, as ``fit_slice_classifier`` wrote it.

    It is judged at the named operating point, or the default one. Raises InputError as ``out_of_fold_heatmaps`` and
    ``read_judges``.
    """
    judges = read_judges(runs, point)
    with (runs / OUT_OF_FOLD).open(newline="", encoding="utf-8") as file:
        said = {row["name"]: (row["fold"], float(row["probability"])) for row in csv.DictReader(file)}
    if unknown := [s.name for s in slices if s.name not in said]:
        raise InputError(
            f"'{runs / OUT_OF_FOLD}' lacks {len(unknown)} slices of the data (such as {unknown[0]}): "
            "run python -m training.fit_slice_classifier again."
        )
    maps = out_of_fold_heatmaps(slices, fold_of, runs, training)
    judged = []
    for s in slices:
        fold, probability = said[s.name]
        judged.append(Judged(s, maps[s.name], probability, fold, *judges[fold]))
    return judged


def _card_words(config: Path) -> dict[str, Any]:
    """What the card says beside the numbers; raises InputError where the experiment has no words for it, or not all."""
    path = config.with_suffix(".card.yaml")
    if not path.is_file():
        raise InputError(
            f"'{path}' is missing, the model card's words on what it was trained on: "
            f"copy '{TEMPLATE}' to it and replace every {_TODO}."
        )
    text = path.read_text(encoding="utf-8")
    if _TODO in text:
        raise InputError(f"'{path}' still holds {_TODO}: the model's card is to say what it was trained on.")
    words: dict[str, Any] = yaml.safe_load(text)
    return words


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments("Judge the cascade out-of-fold and complete the model card.").parse_args(argv)
    experiment = read_experiment(args)
    words = _card_words(args.config)
    judged = {
        point: read_judged(experiment.slices, experiment.fold_of, args.runs, point, experiment.training)
        for point in experiment.config.false_alarms
    }
    measured = {
        point: (slice_scores(of_point), series_regions(of_point)) for point, of_point in judged.items()
    }
    default = next(iter(judged))
    slices, series = measured[default]
    results = {
        "peak_on_site": peak_on_site(judged[default]),
        "slices": slices,
        "untouched_series": series,
        "operating_points": {point: point_costs(*of_point) for point, of_point in measured.items()},
    }
    if volumes := read_summaries(args.runs):
        results["whole_volumes"] = volumes
    _draw_reliability(judged[default], args.runs / "reliability.png")
    lines = table(results)
    print("\n".join(lines))
    print(json.dumps(results, indent=1))
    path = args.runs / experiment.config.name / CARD
    if not path.is_file():
        print(f"There is no model in '{path.parent}' whose card is to be completed.")
        return
    card = json.loads(path.read_text(encoding="utf-8"))
    summary = [line.strip("| ").replace(" | ", ": ") for line in lines[2:]]
    card |= {**words, "summary": summary, "results": results, "command": "python -m training.evaluate"}
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
