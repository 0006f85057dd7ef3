"""How often the evidence tests find what was forged, and what they find in untouched series.

``python -m training.evaluate_evidence --data DIR [--sites 100] [--first 0] [--conditions NAME …]`` prints the table and
every miss; a part of the sites or of the conditions gives the same outcomes as the whole. Untouched series are forged
by CT-GAN's published pasting rules with made-up content (``training.forgers``), one random lung site at a time, and
changed afterwards as scans are changed on their way. The constants of the tests were chosen on the five patients of
``CHOSEN_ON``; the table counts the others apart.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.evidence import added_noise, copied_noise, copy_move, examine_voxels
from CTForgeryScanLib.evidence.finding import Evidence
from CTForgeryScanLib.volume import Volume, load_volume
from training.command import run_command
from training.forgers.copy_move import CopyMove
from training.forgers.forger import Forger
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.lung_sites import Ijk, forged_at_random, random_lung_place
from training.sites import SiteKind
from training.sources.catalogue import read_source

CHOSEN_ON = frozenset({"LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0314", "RIDER-0117", "R01-001"})
"""Patients on whom the constants of the tests were chosen."""

PASTING, MOVING = PublishedPasting(procedural_content), CopyMove()
INJECT: SiteKind = "inject"
REMOVE: SiteKind = "remove"
WHITE = PublishedPasting(procedural_content, touch_up="white")
PATCH_MM = (20.0, 30.0)
"""Diameter of a patch that is moved; a pasted cube has its own size."""

NEAR = (2, 2, 2)
"""Voxels along i, j and k within which a finding is at the site."""
NEAR_ADDED = (16, 16, 40)
"""The same for added noise, which fills a block of some 60 voxels evenly, along k as far as there is lung."""

Change = Callable[[NDArray[np.int16], Ijk, np.random.Generator], tuple[NDArray[np.int16], tuple[float, ...]]]
"""A forged volume [k, j, i] and its site -> the volume as it was passed on, and where the site is then."""


@dataclass(frozen=True)
class Condition:
    """What is forged, what happened to the scan since, and at one of how many sites it is tried."""

    name: str
    forger: Forger
    kind: SiteKind
    change: Change
    every: int = 1
    test: str = copied_noise.TEST
    near: Ijk = NEAR


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the evidence tests.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ct/")
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first site")
    names = [condition.name for condition in CONDITIONS]
    parser.add_argument("--conditions", nargs="+", metavar="NAME", choices=names, default=names)
    parser.add_argument("--no-untouched", action="store_true", help="leave the untouched series out")
    args = parser.parse_args(argv)
    scans = read_source("data", str(args.data))
    volumes = {scan.name: scan.load() for scan in scans}
    if not args.no_untouched:
        print("untouched series: findings", flush=True)
        for case, volume in volumes.items():
            print(f"  {case}: {findings_in_untouched(volume)}", flush=True)
    forgeable = [(scan.name, scan.patient) for scan in scans if can_be_judged(volumes[scan.name])]
    conditions = [c for c in CONDITIONS if c.name in args.conditions]
    counts: Counter[tuple[str, bool, str]] = Counter()
    for n in range(args.first, args.first + args.sites):
        case, patient = forgeable[n % len(forgeable)]
        for condition in conditions:
            if (n // len(forgeable)) % condition.every == 0:
                outcome, away = forge_and_look(volumes[case], condition, n)
                held_out = patient not in CHOSEN_ON
                counts[condition.name, held_out, outcome] += 1
                counts[condition.name, held_out, "elsewhere"] += len(away)
                print(f"site {n}, {case}, {condition.name}: {outcome}", *away, flush=True)
        if n % 10 == 9:
            print_table(counts)
    print_table(counts)


def findings_in_untouched(volume: Volume) -> str:
    """How many findings each test has, or why none, with random lung places as candidates of copy-move."""
    rng = np.random.default_rng(9)
    places = [random_lung_place(volume, rng)[::-1] for _ in range(copy_move.CANDIDATES)]
    answers = answers_in(volume.hu, volume, places)
    tests = {answer.test: answer for answer in answers}
    return "; ".join(
        f"{test} {answer.reason or sum(e.found for e in answers if e.test == test)}"
        for test, answer in tests.items()
    )


def print_table(counts: Counter[tuple[str, bool, str]]) -> None:
    """Sites found, not found and not judged, and findings elsewhere: held-out patients and the others."""
    print(
        "| forged and changed | patients | sites | found at the site | missed | not applicable | elsewhere |"
    )
    print("|---|---|---|---|---|---|---|")
    for condition in CONDITIONS:
        for held_out in (True, False):
            found, missed, lacking, elsewhere = (
                counts[condition.name, held_out, what]
                for what in ("found", "missed", "not applicable", "elsewhere")
            )
            words = "held out" if held_out else "chosen on"
            sites = found + missed + lacking
            share = f"{found} ({100 * found / max(sites, 1):.0f} %)"
            print(f"| {condition.name} | {words} | {sites} | {share} | {missed} | {lacking} | {elsewhere} |")


def forge_and_look(volume: Volume, condition: Condition, seed: int) -> tuple[str, list[Ijk]]:
    """Forge one random lung site, change the scan, look.

    Returns:
        "found", "missed" or "not applicable"; and by how many voxels (i, j, k) the findings elsewhere are off.
    """
    rng = np.random.default_rng([seed, 6])
    hu, site = forged_in_lung(volume, condition.forger, condition.kind, rng)
    hu, expected = condition.change(hu, site, rng)
    places = [site[::-1]] if condition.test == copy_move.TEST else []
    answers = [e for e in answers_in(hu, volume, places) if e.test == condition.test]
    if not answers[0].applicable:
        return "not applicable", []
    off = [
        np.rint(np.subtract(e.center_ijk, expected)).astype(int) for e in answers if e.center_ijk is not None
    ]
    away = [(int(i), int(j), int(k)) for i, j, k in off if (np.abs((i, j, k)) > condition.near).any()]
    return ("found" if len(away) < len(off) else "missed"), away


def answers_in(hu: NDArray[np.int16], like: Volume, places: list[Ijk]) -> list[Evidence]:
    """The answers of the tests of the voxels for voxels with the geometry of another volume; places are [k, j, i]."""
    volume = load_volume((hu, like.ijk_to_ras))
    findings = examine_voxels(volume, places, torch.device("cpu"), lambda share: None)
    return [f.evidence for f in findings]


def can_be_judged(volume: Volume) -> bool:
    """Whether the published pasting works at this volume's spacing, and copied noise can be looked for in it."""
    try:
        forged_in_lung(volume, PASTING, "remove", np.random.default_rng(0))
    except InputError:
        return False
    return any(e.test == copied_noise.TEST and e.applicable for e in answers_in(volume.hu, volume, []))


def forged_in_lung(
    volume: Volume, forger: Forger, kind: SiteKind, rng: np.random.Generator
) -> tuple[NDArray[np.int16], Ijk]:
    """The volume forged at a random place in lung, which is returned too. Raises InputError where none will do."""
    place = partial(random_lung_place, volume, rng)
    forged, site = forged_at_random(volume, forger, kind, rng, place, PATCH_MM)
    return forged.hu, site.voxel


# --- What happens to a scan afterwards -----------------------------------------------------------------------------


def unchanged(hu: NDArray[np.int16], site: Ijk, rng: np.random.Generator) -> tuple[NDArray[np.int16], Ijk]:
    """As it was forged."""
    return hu, site


def cut(hu: NDArray[np.int16], site: Ijk, rng: np.random.Generator) -> tuple[NDArray[np.int16], Ijk]:
    """Up to a quarter of the slices cut off each end, the site kept."""
    i, j, k = site
    first = int(rng.integers(min(len(hu) // 4, k) + 1))
    last = int(rng.integers(min(len(hu) // 4, len(hu) - 1 - k) + 1))
    return hu[first : len(hu) - last], (i, j, k - first)


def flipped(axes: tuple[int, ...]) -> Change:
    """Flipped along these axes of [k, j, i]."""

    def change(
        hu: NDArray[np.int16], site: Ijk, rng: np.random.Generator
    ) -> tuple[NDArray[np.int16], tuple[float, ...]]:
        return np.ascontiguousarray(np.flip(hu, axes)), tuple(
            size - 1 - at if 2 - n in axes else at
            for n, (at, size) in enumerate(zip(site, reversed(hu.shape), strict=True))
        )

    return change


def offset(by: int) -> Change:
    """All values higher by so many HU."""
    return lambda hu, site, rng: (hu + np.int16(by), site)


def jpeg(quality: int) -> Change:
    """Each slice through an 8-bit JPEG of the lung window, which is how pictures of CT travel."""

    def plane(hu: NDArray[np.int16]) -> NDArray[np.int16]:
        grey = np.clip((hu.astype(np.float32) + 1024) / 1424 * 255, 0, 255).round().astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
        return (np.asarray(Image.open(buffer), np.float32) / 255 * 1424 - 1024).round().astype(np.int16)

    return lambda hu, site, rng: (np.stack([plane(p) for p in hu]), site)


def blurred(sigma: float) -> Change:
    """Each slice filtered by a Gaussian of so many pixels."""
    return lambda hu, site, rng: (
        np.rint(ndimage.gaussian_filter(hu.astype(np.float32), (0, sigma, sigma))).astype(np.int16),
        site,
    )


def shifted(by: float) -> Change:
    """Each slice resampled (cubic) on a grid shifted by so many pixels: its noise is interpolated, its size kept."""
    return lambda hu, site, rng: (
        np.rint(ndimage.shift(hu.astype(np.float32), (0, by, by), order=3, mode="nearest")).astype(np.int16),
        (site[0] + by, site[1] + by, site[2]),
    )


CONDITIONS = (
    Condition("removal", PASTING, "remove", unchanged),
    Condition("removal, slices cut off either end", PASTING, "remove", cut),
    Condition("removal, flipped left-right", PASTING, "remove", flipped((2,)), every=4),
    Condition("removal, flipped front-back and head-foot", PASTING, "remove", flipped((0, 1)), every=4),
    Condition("removal, 20 HU added", PASTING, "remove", offset(20), every=4),
    Condition("removal, 8-bit JPEG, quality 95", PASTING, "remove", jpeg(95), every=5),
    Condition("removal, 8-bit JPEG, quality 75", PASTING, "remove", jpeg(75), every=5),
    Condition("removal, resampled by half a pixel", PASTING, "remove", shifted(0.5), every=5),
    Condition("removal, Gauss 1 px", PASTING, "remove", blurred(1.0), every=5),
    Condition("injection", PASTING, "inject", unchanged, every=3),
    Condition("copy-move, its place among the candidates", MOVING, "remove", unchanged, test=copy_move.TEST),
    *(
        Condition(f"{words}, white noise", WHITE, kind, change, every, added_noise.TEST, NEAR_ADDED)
        for words, kind, change, every in (
            ("removal", REMOVE, unchanged, 1),
            ("removal, slices cut off either end", REMOVE, cut, 2),
            ("removal, 8-bit JPEG, quality 95", REMOVE, jpeg(95), 5),
            ("removal, Gauss 1 px", REMOVE, blurred(1.0), 5),
            ("injection", INJECT, unchanged, 3),
        )
    ),
)


if __name__ == "__main__":
    run_command(main)
