"""Set our CT-GAN's forgeries beside genuine ones: pictures, noise by HU band, spectrum.

``python -m training.forgers.ctgan.compare --generators DIR --data DIR --series LIDC-IDRI-0002 ... --out DIR``

Forges sites on series that the generators never saw and measures the slice of each site's centre, which is also what
the genuine set holds. Writes ``residuals.csv``, ``residuals.png`` and, to be looked at, ``inject.png`` and
``remove.png``: genuine sites above ours, touched up as published and with white noise, and the places before, each
over its residual. With ``--config`` and ``--runs`` the detectors of ``training.train_detector`` are tried on the same
slices: ``detected.csv``.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.models import DETECTOR
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.command import run_command
from training.config import read_config
from training.evaluate import SITE_PX
from training.experiment import training_of
from training.forgers.ball import Floats
from training.forgers.ctgan.centre_slices import GROUPS, ForgedSlice, genuine, ours
from training.forgers.ctgan.forger import GeneratedContent, ctgan
from training.forgers.ctgan.residuals import BANDS_HU, FREQUENCIES, residual, site_noise
from training.forgers.published_pasting import PublishedPasting
from training.out_of_fold import load_detector
from training.sites import SiteKind
from training.sources import shared_data
from training.splits import read_folds

_KINDS: tuple[SiteKind, ...] = ("inject", "remove")
_CROP_MM = 60.0
_SHOWN = 8
_LUNG_WINDOW = (-1350, 150)
_RESIDUAL_HU = 40


def measure(slices: Sequence[ForgedSlice], folder: Path) -> None:
    """``residuals.csv`` and ``residuals.png``: medians over sites of the ratios inside / around."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    middles = (FREQUENCIES[1:] + FREQUENCIES[:-1]) / 2
    names = [f"{low} to {high}" for low, high in BANDS_HU]
    with (folder / "residuals.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "kind",
                "group",
                "sites",
                *(f"noise {n} HU" for n in names),
                *(f"power {m:.3f}/mm" for m in middles),
            ]
        )
        for row, kind in enumerate(_KINDS):
            for group in GROUPS:
                of_group = [s for s in slices if (s.kind, s.group) == (kind, group)]
                if not of_group:
                    continue
                noise = [site_noise(s.hu, s.site, s.pixel_mm) for s in of_group]
                bands = np.array([n.bands for n in noise])
                spectra = np.array([n.spectrum for n in noise])
                medians = [_median(values) for values in (*bands.T, *spectra.T)]
                writer.writerow([kind, group, len(of_group), *(f"{m:.2f}" for m in medians)])
                axes[row, 0].plot(names, medians[: len(names)], "o-", label=f"{group} ({len(of_group)})")
                axes[row, 1].semilogy(middles, medians[len(names) :], "o-", label=group)
            axes[row, 0].set(title=f"{kind}: noise inside / around", xlabel="HU band")
            axes[row, 1].set(title=f"{kind}: power in lung inside / around", xlabel="cycles/mm")
            for axis in axes[row]:
                axis.axhline(1, color="grey", linewidth=0.5)
                if axis.lines[1:]:  # a set may have one kind alone
                    axis.legend()
    figure.savefig(folder / "residuals.png", dpi=90)
    plt.close(figure)


def draw(slices: Sequence[ForgedSlice], kind: SiteKind, path: Path) -> None:
    """Lung windows of the first sites of each group, their residuals below."""
    figure, axes = plt.subplots(
        2 * len(GROUPS), _SHOWN, figsize=(2 * _SHOWN, 4 * len(GROUPS)), layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, group in enumerate(GROUPS):
        of_group = [s for s in slices if (s.kind, s.group) == (kind, group)]
        chosen = of_group[:: max(len(of_group) // _SHOWN, 1)][:_SHOWN]
        for column, s in enumerate(chosen):
            above, below = axes[2 * row, column], axes[2 * row + 1, column]
            above.imshow(_crop(s.hu.astype(float), s), "gray", vmin=_LUNG_WINDOW[0], vmax=_LUNG_WINDOW[1])
            below.imshow(_crop(residual(s.hu), s), "gray", vmin=-_RESIDUAL_HU, vmax=_RESIDUAL_HU)
            above.set_title(f"{group}, {s.patient}", fontsize=8)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def detect(slices: Sequence[ForgedSlice], config: Path, runs: Path, path: Path) -> None:
    """A row a slice: whether the highest window lies on the site, and p(forged) there and elsewhere in the slice.

    By the detector of the fold that never saw the patient (``training.train_detector``). Raises InputError for a
    patient without a fold.
    """
    experiment = read_config(config)
    fold_of = read_folds(config.parent / experiment.folds)
    if unknown := {s.patient for s in slices} - fold_of.keys():
        raise InputError(f"'{config}' has no fold for {', '.join(sorted(unknown))}: give another --config.")
    training = training_of(experiment, fold_of)
    sweepers = {
        fold: Sweeper(load_detector(runs / f"fold-{fold}" / DETECTOR, training))
        for fold in {fold_of[s.patient] for s in slices}
    }
    on_site: dict[tuple[str, str], list[bool]] = defaultdict(list)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "group", "patient", "x", "y", "peak_on_site", "p_on_site", "p_elsewhere"])
        for s in slices:
            p = next(sweepers[fold_of[s.patient]].sweep(s.hu[None]))
            y, x = np.indices(p.shape) * STRIDE + CENTRE
            near = np.hypot(x - s.site[0], y - s.site[1]) < SITE_PX
            here, elsewhere = float(p[near].max()), float(p[~near].max())
            on_site[s.kind, s.group].append(here > elsewhere)
            writer.writerow(
                [s.kind, s.group, s.patient, *s.site, here > elsewhere, f"{here:.4f}", f"{elsewhere:.4f}"]
            )
    for (kind, group), found in sorted(on_site.items()):
        print(f"{kind}, {group}: highest window on the site in {sum(found)} of {len(found)} slices")


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def _crop(plane: Floats, s: ForgedSlice) -> Floats:
    half = round(_CROP_MM / 2 / s.pixel_mm)
    x, y = (round(at) for at in s.site)
    return plane[max(y - half, 0) : y + half, max(x - half, 0) : x + half]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Set our CT-GAN's forgeries beside genuine ones.")
    parser.add_argument("--generators", type=Path, required=True, help="folder with inject/ and remove/")
    parser.add_argument("--data", type=Path, required=True, help="folder with ctgan/ and ct/")
    parser.add_argument(
        "--series", nargs="+", required=True, help="series in ct/ to forge; unknown to the generators"
    )
    parser.add_argument("--config", type=Path, help="of detectors to try on them, with --runs")
    parser.add_argument("--runs", type=Path, help="folder of the detectors' folds")
    parser.add_argument("--per-kind", type=int, default=8, help="sites a series and kind (default: 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    mpl.use("Agg")
    forger = ctgan(args.generators)
    patients = {scan.name: scan.patient for scan in shared_data.read(str(args.data)).scans}
    if unknown := set(args.series) - patients.keys():
        raise InputError(f"The data hold no series {', '.join(sorted(unknown))}: correct --series.")
    _check_unseen(forger, {patients[series] for series in args.series})
    slices = list(genuine(args.data / "ctgan"))
    for series in args.series:
        slices += ours(forger, args.data / "ct" / series, patients[series], args.per_kind, args.seed)
        print(f"forged {series}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    measure(slices, args.out)
    for kind in forger.kinds:
        draw(slices, kind, args.out / f"{kind}.png")
    if args.config and args.runs:
        detect(slices, args.config, args.runs, args.out / "detected.csv")
    print((args.out / "residuals.csv").read_text(encoding="utf-8"))


def _check_unseen(forger: PublishedPasting, patients: set[str]) -> None:
    content = forger.content
    assert isinstance(content, GeneratedContent)
    for kind, trained in content.generators.items():
        seen = sorted(patients & set(trained.card["patients"]))
        if seen:
            raise InputError(
                f"the generator of {kind} was trained on {', '.join(seen)}: name series of others."
            )


if __name__ == "__main__":
    run_command(main)
