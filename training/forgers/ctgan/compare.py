"""Set our CT-GAN's forgeries beside genuine ones: pictures, noise by HU band, spectrum.

``python -m training.forgers.ctgan.compare --generators DIR --data DIR --series LIDC-IDRI-0002 ... --out DIR``

Forges sites on series that the generators never saw and measures the slice of each site's centre, which is also what
the genuine set holds. Writes ``residuals.csv``, ``residuals.png`` and, to be looked at, ``inject.png`` and
``remove.png``: genuine sites above ours, each over its residual.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import load_volume
from training.data import forged_slices
from training.forgers.ctgan.forger import GeneratedContent, ctgan
from training.forgers.ctgan.places import knot_places, lung_places
from training.forgers.ctgan.residuals import BANDS_HU, FREQUENCIES, residual, site_noise
from training.forgers.published_pasting import Floats, PublishedPasting
from training.sites import Site, SiteKind

_KINDS: tuple[SiteKind, ...] = ("inject", "remove")
_CROP_MM = 60.0
_SHOWN = 8
_LUNG_WINDOW = (-1350, 150)
_RESIDUAL_WINDOW = (-80, 80)


@dataclass(frozen=True)
class ForgedSlice:
    """The slice [j, i] of a site's centre (x, y); ``group`` is "genuine", "ours" or "ours, before"."""

    group: str
    kind: SiteKind
    hu: NDArray[np.int16]
    site: tuple[float, float]
    pixel_mm: float


def genuine(folder: Path) -> Iterator[ForgedSlice]:
    """The centre slices that the authors' own CT-GAN forged."""
    for s in forged_slices(folder):
        own = s.forged[0]
        yield ForgedSlice(
            "genuine", "inject" if own.kind == "inject" else "remove", s.hu, (own.x, own.y), s.spacing_mm
        )


def ours(forger: PublishedPasting, series: Path, per_kind: int, seed: int) -> Iterator[ForgedSlice]:
    """Sites forged one at a time: injected into healthy lung, removed where knots and nodules are brightest."""
    volume, rng = load_volume(series), np.random.default_rng(seed)
    for kind in forger.kinds:
        places = lung_places(volume, 500, rng) if kind == "inject" else knot_places(volume, 500)
        done = 0
        for place in places:
            site = Site(series.name, place.ijk, 0, kind)
            try:
                forged = forger.forge(volume, site, rng)
            except InputError:
                continue  # too near the border for CT-GAN's cube: another place
            i, j, k = site.voxel
            for group, hu in (("ours", forged.hu), ("ours, before", volume.hu)):
                yield ForgedSlice(group, kind, hu[k], (i, j), volume.spacing_mm[0])
            done += 1
            if done == per_kind:
                break


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
            for group in ("genuine", "ours", "ours, before"):
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
                axis.legend()
    figure.savefig(folder / "residuals.png", dpi=90)
    plt.close(figure)


def draw(slices: Sequence[ForgedSlice], kind: SiteKind, path: Path) -> None:
    """Lung windows of the first sites of each group, their residuals below."""
    groups = ("genuine", "ours", "ours, before")
    figure, axes = plt.subplots(
        2 * len(groups), _SHOWN, figsize=(2 * _SHOWN, 4 * len(groups)), layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, group in enumerate(groups):
        of_group = [s for s in slices if (s.kind, s.group) == (kind, group)]
        chosen = of_group[:: max(len(of_group) // _SHOWN, 1)][:_SHOWN]
        for column, s in enumerate(chosen):
            for line, (plane, window) in enumerate(
                ((s.hu, _LUNG_WINDOW), (residual(s.hu), _RESIDUAL_WINDOW))
            ):
                axis = axes[2 * row + line, column]
                axis.imshow(_crop(plane, s), cmap="gray", vmin=window[0], vmax=window[1])
                axis.set_title(f"{group}{', residual' if line else ''}", fontsize=8)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def _crop(plane: NDArray[np.int16] | Floats, s: ForgedSlice) -> NDArray[np.int16] | Floats:
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
    parser.add_argument("--per-kind", type=int, default=8, help="sites a series and kind (default: 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    mpl.use("Agg")
    forger = ctgan(args.generators)
    _check_unseen(forger, args.series)
    slices = list(genuine(args.data / "ctgan"))
    for series in args.series:
        slices += ours(forger, args.data / "ct" / series, args.per_kind, args.seed)
        print(f"forged {series}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    measure(slices, args.out)
    for kind in forger.kinds:
        draw(slices, kind, args.out / f"{kind}.png")
    print((args.out / "residuals.csv").read_text(encoding="utf-8"))


def _check_unseen(forger: PublishedPasting, series: Sequence[str]) -> None:
    content = forger.content
    assert isinstance(content, GeneratedContent)
    for kind, trained in content.generators.items():
        seen = sorted(set(series) & set(trained.card["patients"]))
        if seen:
            raise InputError(f"the generator of {kind} was trained on {', '.join(seen)}: name other series.")


if __name__ == "__main__":
    main()
