"""One cell: a method trained and judged on one set of slices with one split, fold by fold.

Everything is kept in the folder of the runs: detectors and their checkpoints, heatmaps, and one JSON file a fold, which
holds what was said of each slice. A killed command goes on from there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.windows import CENTRE, STRIDE, circle_mask, grid_shape
from training.config import as_json
from training.detectors.dct import fit_dct
from training.detectors.networks import load_scorer, read_trained_config, save_network
from training.detectors.scorers import (
    SliceNetwork,
    WindowNetwork,
    cut_windows,
    forged_logits,
    probability,
)
from training.detectors.second_stage import PaperSecondStage, fit_second_stage
from training.distributed import Group
from training.evaluate import SITE_PX
from training.slices import Slice
from training.tables.methods import Method
from training.tables.scale import Scale
from training.tables.sets import Parts
from training.tensor_file import read_arrays
from training.train_windows import train
from training.whole_file import whole
from training.windows_config import WindowsConfig
from training.windows_dataset import TrainingSamples

_KEPT_TOGETHER = 16
_LINEAR_MOST = 200_000  # windows that it is fitted on, all in memory at once
_LINEAR_EPOCHS = 6  # epochs of windows that the linear model is fitted on; a network sees up to 30


@dataclass(frozen=True)
class Said:
    """What a method said of a slice; the higher the score, the likelier forged."""

    score: float
    flagged: bool
    peak: float | None = None
    """p(forged) of its hottest sub-image, which is the first stage's alone; None for methods on whole slices."""
    peak_on_site: bool | None = None
    """Whether that lies on a forged site; None also for untouched slices."""


@dataclass(frozen=True)
class JudgedSlice(Said):
    """What was said of a test slice, with what has to be known of it."""

    _: KW_ONLY
    name: str
    patient: str
    series: str
    kind: str
    leaked: bool
    """Whether other slices of its scan were learnt from."""


@dataclass(frozen=True)
class JudgedFold:
    """A fold's result, with how many forged slices the detector learnt from and how long all of it took."""

    slices: list[JudgedSlice]
    learnt_forged: int
    seconds: float
    recipe: dict[str, Any]
    """The configuration of its training; empty for the dense detector, which is not trained here."""


WindowLogits = Callable[[NDArray[np.int16]], NDArray[np.float32]]
"""Windows [N, 32, 32] in HU → log(p/(1−p)), [N]: the first stage of every method but those of whole slices."""


def slices_of(folds: Sequence[JudgedFold]) -> list[JudgedSlice]:
    """The test slices of all folds."""
    return [s for fold in folds for s in fold.slices]


def judge_fold(method: Method, parts: Parts, scale: Scale, folder: Path, group: Group) -> JudgedFold:
    """Train what is not trained yet and judge the test slices; ``folder`` is the fold's, and keeps it all.

    Raises InputError for parts that lack a class.
    """
    started = time.monotonic()
    config = method.config(scale)
    own = folder / "detectors" / method.detector
    if config.whole:
        scorer = load_scorer(_trained(config, parts, own, group), group.device)
        assert isinstance(scorer, SliceNetwork)
        scores = [scorer.score_slice(s.hu) for s in parts.test]
        said = [Said(score, score >= 0.5) for score in scores]
    else:
        logits = (
            _linear_dct(parts.training, config) if method.linear_dct else _network(config, parts, own, group)
        )
        second = _second_stage(method, logits, parts.second_stage, scale, own)
        heatmaps = swept(logits, parts.test, scale.every, own / "heatmaps")
        said = [
            Said(second.score(h), second.is_forged(h), float(h.max()), _peak_on_site(s, h, scale.every))
            for s, h in zip(parts.test, heatmaps, strict=True)
        ]
    return judged_fold(parts, said, time.monotonic() - started, as_json(config))


def judged_fold(parts: Parts, said: Sequence[Said], seconds: float, recipe: dict[str, Any]) -> JudgedFold:
    """What was said of the test slices, with what has to be known of them."""
    leaked = parts.scans_on_both_sides()
    return JudgedFold(
        slices=[
            JudgedSlice(
                **asdict(of),
                name=s.name,
                patient=s.patient,
                series=s.series,
                kind=s.kind,
                leaked=s.series in leaked,
            )
            for s, of in zip(parts.test, said, strict=True)
        ],
        learnt_forged=sum(bool(s.forged) for s in parts.training),
        seconds=round(seconds, 1),
        recipe=recipe,
    )


def _peak_on_site(s: Slice, heatmap: NDArray[np.float32], every: int) -> bool | None:
    if not s.forged:
        return None
    r, c = np.unravel_index(np.argmax(heatmap), heatmap.shape)
    x, y = (every * STRIDE * int(n) + CENTRE for n in (c, r))
    return any(np.hypot(x - site.x, y - site.y) <= SITE_PX for site in s.forged)


def keep(fold: JudgedFold, path: Path) -> None:
    """Write a fold's result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_text(json.dumps(asdict(fold), indent=1) + "\n", encoding="utf-8")


def read_fold(path: Path) -> JudgedFold:
    """What ``keep`` wrote."""
    fold = json.loads(path.read_text(encoding="utf-8"))
    return JudgedFold(**fold | {"slices": [JudgedSlice(**s) for s in fold["slices"]]})


def _second_stage(
    method: Method, logits: WindowLogits, slices: Sequence[Slice], scale: Scale, folder: Path
) -> PaperSecondStage:
    heatmaps = swept(logits, slices, scale.every, folder / "heatmaps")
    forged, patients = [bool(s.forged) for s in slices], [s.patient for s in slices]
    try:
        return fit_second_stage(heatmaps, forged, patients, glcm=method.glcm)
    except ValueError as error:
        raise InputError(f"The second stage of '{method.name}' cannot be fitted: {error}.") from error


def _network(config: WindowsConfig, parts: Parts, folder: Path, group: Group) -> WindowLogits:
    scorer = load_scorer(_trained(config, parts, folder, group), group.device)
    assert isinstance(scorer, WindowNetwork)
    return partial(forged_logits, scorer.network, precision=scorer.precision)


def _trained(config: WindowsConfig, parts: Parts, folder: Path, group: Group) -> Path:
    path = folder / "detector.safetensors"
    if path.exists() and read_trained_config(path) != config:
        raise InputError(
            f"'{path}' was trained by another configuration: give another --runs, or remove the folder of its fold."
        )
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "heatmaps", ignore_errors=True)  # of a detector that was removed
        best = train(parts.training, parts.validation, config, folder, group)
        save_network(best, config, path)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return path


def _linear_dct(training: Sequence[Slice], config: WindowsConfig) -> WindowLogits:
    samples = TrainingSamples(
        training,
        whole=False,
        site_negatives=config.site_negatives,
        passes=config.passes,
        seed=config.seed,
    )
    drawn = np.concatenate([samples.epoch(n) for n in range(_LINEAR_EPOCHS)])
    if len(drawn) > _LINEAR_MOST:
        drawn = np.random.default_rng(config.seed).choice(drawn, _LINEAR_MOST, replace=False)
    windows, labels = samples.cut(drawn)
    return fit_dct(windows, labels == 1).logits


def swept(
    logits: WindowLogits, slices: Sequence[Slice], every: int, folder: Path
) -> list[NDArray[np.float32]]:
    """Heatmaps [r, c] of the slices; kept in ``folder``, so that a slice is swept once."""
    maps = kept_heatmaps(folder)
    missing = [s for s in slices if s.name not in maps]
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    for start in range(0, len(missing), _KEPT_TOGETHER):
        new = {s.name: heatmap(logits, s.hu, every) for s in missing[start : start + _KEPT_TOGETHER]}
        number = len(list(folder.glob("*.safetensors")))
        with whole(folder / f"{number:05d}.safetensors") as part:
            save_file(new, part)
        maps |= new
        done = start + len(new)
        left = (time.monotonic() - started) / done * (len(missing) - done)
        print(
            f"{folder.parent.name}: swept {done}/{len(missing)} slices, {left / 60:.1f} min left", flush=True
        )
    return [maps[s.name] for s in slices]


def kept_heatmaps(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Slice name → heatmap [r, c] of every slice that ``swept`` kept there."""
    maps: dict[str, NDArray[np.float32]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        maps |= read_arrays(path)
    return maps


def heatmap(logits: WindowLogits, hu: NDArray[np.int16], every: int) -> NDArray[np.float32]:
    """p(forged) of every ``every``-th window down and across a slice [j, i] in HU; 0 outside the circle (Eq. 4–7)."""
    asked = np.zeros(grid_shape(*hu.shape), bool)
    asked[::every, ::every] = True
    asked &= circle_mask(*hu.shape)
    p = np.zeros(asked.shape, np.float32)
    p[asked] = probability(logits(cut_windows(hu, asked)))
    return np.ascontiguousarray(p[::every, ::every])
