"""Make the paper's data set from any source: slices about a forged site, and the same slices before (Section 4.1).

    python -m training.slice_set --source luna16 DIR [--source …] --forger NAME[=WEIGHTS] [--forger …] --out SLICES

The folder is given to every training as ``--data``. Each scan is forged at ``--sites`` places, forgers and kinds by
turns; five slices of each are taken and, as in the paper, as many untouched ones, half of them the forged ones' own
before, the others from anywhere in the scan. Of a scan that somebody forged before (the genuine CT-GAN set's) the five
slices about each of its sites are taken, and nothing else. Of ``--whole`` scans every untouched slice is taken: the
series on which region rules are fitted and false alarms are counted. A run that was stopped goes on when the same
command is given again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume
from training.command import run_command
from training.evaluate_volumes import FROM_THE_ENDS
from training.forgers.forger import Forger
from training.forgers.registry import NAMES, forger_of, identity_of, patients_seen
from training.lung_sites import DIAMETER_MM, forged_at_random, random_place
from training.made_slices import block_side
from training.output_folder import check_settings
from training.sites import FORGED, SiteKind
from training.slices import Slice, SliceSite
from training.sources.catalogue import SOURCE_HELP, UNSEEN_HELP, of_unseen, read_sources, was_forged
from training.sources.scan import Scan
from training.stored_slices import SETTINGS, mark_finished, records_path, store_slices
from training.touched_block import sites_reaching

AROUND = 2
"""Slices before and after the site's own that are taken: five in all."""

Turn = tuple[Forger, SiteKind]


def untouched_slices(scan: Scan, volume: Volume) -> list[Slice]:
    """Every slice of a scan, with the nodules that its source knows."""
    of = partial(
        Slice,
        patient=scan.patient,
        series=scan.name,
        spacing_mm=volume.spacing_mm[0],
        between_mm=volume.spacing_mm[2],
    )
    nodules = [site for site in scan.sites if site.kind == "nodule"]
    found = []
    for k, hu in enumerate(volume.hu):
        here = [
            s.ijk[:2]
            for s in nodules
            if abs(s.ijk[2] - k) * volume.spacing_mm[2] <= max(s.diameter_mm / 2, 1)
        ]
        found.append(of(name=f"{scan.name}/{k:03d}", k=k, hu=hu, lesions=tuple((i, j) for i, j in here)))
    return found


def forged_before(scan: Scan, volume: Volume) -> list[Slice]:
    """The slices about each place where the scan was forged before, which stand alone, not in a series."""
    pixel, _, between = volume.spacing_mm
    sites = [site for site in scan.sites if site.kind in FORGED]
    return [
        Slice(
            name=f"{scan.name}/{own.kind}-{n}/{k:03d}",
            patient=scan.patient,
            series=scan.name,
            k=k,
            hu=volume.hu[k],
            spacing_mm=pixel,
            forged=sites_reaching(k, own, sites, pixel, between),
        )
        for n, own in enumerate(sites)
        for k in range(max(own.voxel[2] - AROUND, 0), min(own.voxel[2] + AROUND + 1, len(volume.hu)))
    ]


def paired_slices(scan: Scan, volume: Volume, turns: Sequence[Turn], rng: np.random.Generator) -> list[Slice]:
    """Up to five forged slices of each turn's site and as many untouched ones, which stand alone, not in a series.

    A slice that the forger left as it was is no forged one.

    A turn for which no place of the scan will do is left out, and said.
    """
    untouched = untouched_slices(scan, volume)
    nodules = [site.voxel for site in scan.sites if site.kind == "nodule"]
    pairs: list[Slice] = []
    for n, (forger, kind) in enumerate(turns):
        place = partial(random_place, volume, kind, nodules, rng, off_the_ends=FROM_THE_ENDS, inside=True)
        try:
            forged, site = forged_at_random(volume, forger, kind, rng, place, DIAMETER_MM)
        except InputError as error:
            _say_left_out(scan, error)
            continue
        i, j, k = site.voxel
        for before in untouched[max(k - AROUND, 0) : k + AROUND + 1]:
            if not forged.changed_mask[before.k].any():
                continue  # thick slices: the site ends before
            name = f"{scan.name}/{forger.name}-{n}/{before.k:03d}"
            reach = abs(before.k - k) * before.between_mm
            alone = partial(Slice, patient=scan.patient, series=scan.name, spacing_mm=before.spacing_mm)
            hu = forged.hu[before.k].copy()  # a view would keep the whole volume
            own = SliceSite(i, j, block_side(forged.changed_mask[before.k], i, j), reach, kind)
            pairs.append(alone(name=f"{name}/forged", k=before.k, hu=hu, forged=(own,)))
            other = replace(before, lesions=((i, j),))
            if rng.random() < 0.5:
                other = untouched[rng.integers(len(untouched))]
            pairs.append(alone(name=f"{name}/untouched", k=other.k, hu=other.hu, lesions=other.lesions))
    return pairs


def _say_left_out(scan: Scan, error: InputError) -> None:
    print(f"Left out: {scan.name}: {error}", file=sys.stderr, flush=True)


def make(
    scans: Sequence[Scan],
    forged: Sequence[Scan],
    forgers: Sequence[Forger],
    sites: int,
    whole: int,
    seed: int,
    out: Path,
) -> None:
    """Store the slices of every scan that are not there yet, and say how far it is; ``forged`` are those that were
    forged before."""
    turns = [(forger, kind) for forger in forgers for kind in forger.kinds]
    taken_whole = set(np.random.default_rng(seed).permutation(len(scans))[:whole].tolist())
    every = list(enumerate([*scans, *forged]))
    missing = [(n, scan) for n, scan in every if not records_path(out, scan.name).exists()]
    started = time.monotonic()
    for done, (n, scan) in enumerate(missing, 1):
        own = [turns[(n * sites + of) % len(turns)] for of in range(sites)] if turns else []
        slices: list[Slice] = []
        try:
            volume = scan.load()
            if n in taken_whole:
                slices += untouched_slices(scan, volume)
            if n < len(scans):
                slices += paired_slices(scan, volume, own, np.random.default_rng([seed, n]))
            else:
                slices += forged_before(scan, volume)
        except InputError as error:
            _say_left_out(scan, error)
        if slices:
            store_slices(slices, out, scan.name)
        left = (time.monotonic() - started) / done * (len(missing) - done)
        print(f"[{done}/{len(missing)}] {scan.name}, about {left / 60:.0f} min left", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.slice_set",
        description="Make forged slices and the same slices before, to train on, from any source.",
    )
    parser.add_argument(
        "--source", nargs=2, action="append", required=True, metavar=("NAME", "WHERE"), help=SOURCE_HELP
    )
    parser.add_argument(
        "--forger", action="append", default=[], metavar="NAME[=WEIGHTS]", help=", ".join(NAMES)
    )
    parser.add_argument("--sites", type=int, default=4, help="forged places of each scan (default: 4)")
    parser.add_argument(
        "--whole", type=int, default=40, help="scans of which all untouched slices are taken (default: 40)"
    )
    parser.add_argument("--unseen", action="store_true", help=UNSEEN_HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder of the slices")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    forgers = [forger_of(word) for word in args.forger]
    every = read_sources(args.source)
    forged = [scan for scan in every if was_forged(scan)]
    scans: Sequence[Scan] = [scan for scan in every if not was_forged(scan)]
    if not forgers and not forged:
        raise InputError("None of the scans was forged before: name a --forger for them.")
    if scans:
        scans = of_unseen(scans, patients_seen(args.forger), leave_out=args.unseen)
    check_settings(
        args.out,
        SETTINGS,
        {
            "sources": [name for name, _ in args.source],
            "scans": len(scans),
            "forged_before": len(forged),
            "forgers": [identity_of(word) for word in args.forger],
            "unseen": args.unseen,
            "sites": args.sites,
            "whole": args.whole,
            "seed": args.seed,
        },
    )
    make(scans, forged, forgers, args.sites, args.whole, args.seed, args.out)
    mark_finished(args.out)
    print(f"The slices are in {args.out}: give it to the trainings as --data.")


if __name__ == "__main__":
    run_command(main)
