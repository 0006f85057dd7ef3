"""A scale's cells and scans: what there is to do, what is done, and doing it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from CTForgeryScanLib.cards import DEFAULT_MODEL
from CTForgeryScanLib.errors import CTForgeryScanError, InputError
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.models import DETECTOR
from training.config import Config, FalseAlarms, as_json
from training.distributed import Group
from training.evaluate import SITE_PX, Judged, read_judged
from training.fit_slice_classifier import fit
from training.forgers.cyclegan.forger import CycleGANForger
from training.forgers.forger import Forger
from training.out_of_fold import (
    detector_sha256,
    load_detector,
    out_of_fold_heatmaps,
    untouched_series,
)
from training.sites import SiteKind
from training.slices import Slice
from training.splits import digest, read_folds
from training.tables.cells import JudgedFold, Said, judge_fold, judged_fold, keep, read_fold
from training.tables.cyclegan_set import cyclegan_set
from training.tables.methods import Method, PaperTables, ScanRow
from training.tables.scale import Scale
from training.tables.scans import JudgedScan, forge_scan, judge_scan, keep_scan, read_scan
from training.tables.sets import CYCLEGAN, SPLITS, Parts, Split, divide, fold_of_slice, of_kind


@dataclass(frozen=True)
class Cell:
    """A method on one set of slices with one split."""

    set: str
    split: Split
    method: Method

    @property
    def name(self) -> str:
        """Set/split/method, by which the command chooses cells."""
        return f"{self.set}/{self.split}/{self.method.name}"


@dataclass(frozen=True)
class Study:
    """A scale on the data at hand. ``slices`` are what ``data.read_slices`` reads; ``runs`` also holds the shipped
    model's runs; what is done here lies in ``runs/tables/<scale>``."""

    scale: Scale
    paper: PaperTables
    slices: list[Slice]
    runs: Path
    forger: Forger
    """What forges the scans of table 4."""
    cyclegan: CycleGANForger | None = None
    """What denoises the slices of the paper's CycleGAN set."""

    @property
    def folder(self) -> Path:
        """Where the results lie."""
        return self.runs / "tables" / self.scale.name

    @property
    def settings(self) -> dict[str, Any]:
        """What all results in ``folder`` have in common, beside each cell's own recipe."""
        scale = as_json(self.scale)
        kept = ("folds", "second_stage_folds", "every", "cyclegan_slices", "never_train", "seed")
        patients = {s.name: s.patient for s in self.slices}
        return {
            **{name: scale[name] for name in kept},
            "patient_folds": digest(self._patient_folds) if self.scale.folds_file else None,
            "slices": hashlib.sha256(json.dumps(sorted(patients.items())).encode()).hexdigest(),
        }

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell of the slice tables, each once."""
        found: dict[tuple[str, str, Split], None] = {}
        for rows in self.paper.slice_tables.values():
            for split in SPLITS:
                found |= dict.fromkeys((row.set, row.method, split) for row in rows)
        return [Cell(of, split, self.paper.methods[method]) for of, method, split in found]

    def done(self, cell: Cell) -> list[JudgedFold]:
        """The folds of a cell that were judged. Raises InputError for one that is of something else."""
        paths = [path for path in self._files(cell, ".json") if path.exists()]
        folds = [read_fold(path) for path in paths]
        for path, fold in zip(paths, folds, strict=True):
            self._check(cell, fold, path)
        return folds

    def fold_folder(self, cell: Cell, fold: int) -> Path:
        """Where everything of a fold lies: detectors in ``detectors/``, results by method."""
        return self.folder / cell.set / cell.split / f"fold-{fold}"

    def why_missing(self, cell: Cell) -> str:
        """Why a cell holds nothing, or not all of its folds."""
        if reason := self._left_out(cell):
            return reason
        failed = [path.read_text(encoding="utf-8") for path in self._files(cell, ".failed") if path.exists()]
        return failed[0] if failed else "not run yet"

    def run(self, cell: Cell, group: Group) -> None:
        """Train and judge the folds that are missing; what cannot be done is said and left out."""
        if reason := self._left_out(cell):
            print(f"{cell.name}: left out, {reason}", flush=True)
            return
        self.done(cell)  # refuses what is of something else
        for fold, (kept, failed) in enumerate(
            zip(self._files(cell, ".json"), self._files(cell, ".failed"), strict=True)
        ):
            if kept.exists():
                continue
            print(f"{cell.name}: fold {fold + 1} of {self.scale.folds_run}", flush=True)
            parts = self._parts(cell, fold)
            try:
                if cell.method.dense:
                    judged = self._dense(parts)
                else:
                    judged = judge_fold(cell.method, parts, self.scale, kept.parent, group)
            except CTForgeryScanError as error:
                print(f"{cell.name}: {error}", flush=True)
                failed.parent.mkdir(parents=True, exist_ok=True)
                failed.write_text(str(error).rstrip("."), encoding="utf-8")
                continue
            if group.is_first:
                keep(judged, kept)
                failed.unlink(missing_ok=True)

    def scans(self) -> Iterator[tuple[ScanRow, JudgedScan | None]]:
        """Table 4, scan by scan, with what was said of each that was judged."""
        for row in self.paper.scans:
            path = self._scan_path(row)
            yield row, read_scan(path) if path.exists() else None

    def run_scan(self, row: ScanRow) -> None:
        """Forge and judge one scan by the shipped model's runs, out-of-fold."""
        path, name = self._scan_path(row), self.scale.scans.get(row.name)
        if path.exists() or name is None:
            return
        series = {s.volume.source: s for s in untouched_series(self.slices)}
        if name not in series:
            raise InputError(f"The series '{name}' of scan {row.name} is not in the data: name another one.")
        print(f"scan {row.name}: {name}", flush=True)
        kind: SiteKind = "inject" if row.kind == "inject" else "remove"
        scan = forge_scan(series[name].volume, [kind] * row.sites, self.forger, self.scale.seed)
        patient = series[name].slices[0].patient
        fold = self._patient_folds[patient]
        others = [s for s in self.slices if self._patient_folds[s.patient] != fold]
        fitted = fit(others, out_of_fold_heatmaps(self.slices, self._patient_folds, self.runs), _DENSE)
        sweeper = Sweeper(load_detector(self.runs / f"fold-{fold}" / DETECTOR), "auto")
        keep_scan(judge_scan(patient, scan, sweeper, fitted), path)

    @cached_property
    def _patient_folds(self) -> dict[str, int]:
        return read_folds(Path(self.scale.folds_file))

    @cached_property
    def _cyclegan_set(self) -> list[Slice]:
        assert self.cyclegan is not None
        return cyclegan_set(self.slices, self.cyclegan, self.scale.cyclegan_slices, self.scale.seed)

    def _parts(self, cell: Cell, fold: int) -> Parts:
        slices = self._cyclegan_set if cell.set == CYCLEGAN else of_kind(self.slices, cell.set)
        known = self._patient_folds if self.scale.folds_file else None
        fold_of = fold_of_slice(slices, cell.split, self.scale.folds, self.scale.seed, known)
        return divide(slices, fold_of, fold, self.scale.folds, self.scale.second_stage_folds, self.scale.seed)

    def _dense(self, parts: Parts) -> JudgedFold:
        """What the shipped model's runs said of the test slices."""
        started = time.monotonic()
        by_name = {j.slice.name: j for j in read_judged(self.slices, self._patient_folds, self.runs)}
        said = [_said(by_name[s.name]) for s in parts.test]
        return judged_fold(parts, said, time.monotonic() - started, self._dense_recipe or {})

    def _check(self, cell: Cell, fold: JudgedFold, kept: Path) -> None:
        """Raises InputError for a result of another configuration, or of detectors that were trained anew since."""
        recipe = self._dense_recipe if cell.method.dense else as_json(cell.method.config(self.scale))
        if recipe is not None and fold.recipe != recipe:
            raise InputError(
                f"'{kept}' is of another configuration: give another --runs, or remove the folder of its fold."
            )

    @cached_property
    def _dense_recipe(self) -> dict[str, Any] | None:
        """Which detectors lie in the shipped model's runs; None where those are elsewhere."""
        folds = sorted(set(self._patient_folds.values())) if self.scale.folds_file else []
        if not all((self.runs / f"fold-{fold}" / DETECTOR).exists() for fold in folds):
            return None
        return {f"fold-{fold}": detector_sha256(self.runs, fold) for fold in folds}

    def _left_out(self, cell: Cell) -> str | None:
        if cell.method.dense and cell.split == "leaking":
            return "its runs are split by patient"
        if cell.set == CYCLEGAN and self.cyclegan is None:
            return "needs a trained CycleGAN (--cyclegan)"
        return self.scale.why_skipped(cell.name)

    def _files(self, cell: Cell, ending: str) -> list[Path]:
        """The cell's file of each fold that is to be run."""
        folders = (self.fold_folder(cell, fold) for fold in range(self.scale.folds_run))
        return [folder / f"{cell.method.name}{ending}" for folder in folders]

    def _scan_path(self, row: ScanRow) -> Path:
        judges = hashlib.sha256(json.dumps(self._dense_recipe).encode()).hexdigest()[:12]
        return self.folder / "scans" / f"{self.forger.name}-{judges}" / f"{row.name}.json"


def _said(judged: Judged) -> Said:
    on_site = judged.peak_to_site_px(own=False) <= SITE_PX if judged.slice.forged else None
    return Said(judged.probability, judged.flagged, judged.peak, on_site)


_DENSE = Config(DEFAULT_MODEL, "", false_alarms={"standard": FalseAlarms(1, 0.5)})
