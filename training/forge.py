"""Forge scans of a source: NRRD volumes marked as forged, their masks of change, and a table of them.

    python -m training.forge --source luna16 DIR --forger NAME --sites N --out DIR [--seed S]

Scan by scan, injecting and removing in turn; what is there already is skipped, so a run that was stopped goes on when
the same command is given again, and a larger N adds to it. A removal takes a real nodule where the source knows one.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import Volume, load_volume
from training.command import run_command
from training.forged_file import SiteRecord, mask_path, read_sites, site_record, write_forged
from training.forgers.forger import ForgedVolume, Forger
from training.forgers.registry import NAMES, identity_of, make_forger, patients_seen
from training.lung_sites import forged_at_random, lung_place_away
from training.output_folder import check_settings
from training.sites import Site, SiteKind
from training.sources.catalogue import SOURCE_HELP, UNSEEN_HELP, of_unseen, read_untouched
from training.sources.scan import Scan
from training.whole_file import whole

NODULE_MM = (4.0, 40.0)
"""Real nodules that are removed; readers' smaller marks are points."""

DRAWN_MM = (8.0, 16.0)
"""Diameters of what is injected, and of what is covered where no nodule is known."""

_APART_MM = 10.0  # between the surfaces of an injected nodule and of any other site
_COLUMNS = ("volume", "patient", "kind", "i", "j", "k", "diameter_mm", "forger", "seed")


@dataclass(frozen=True)
class Job:
    """Forged volume number ``number`` of a run."""

    number: int
    scan: Scan
    kinds: tuple[SiteKind, ...]
    """Of its sites, in order."""
    seed: int
    path: Path


def plan(scans: Sequence[Scan], forger: Forger, sites: int, each: int, seed: int, out: Path) -> list[Job]:
    """Jobs for so many sites or, to fill the last volume, some more; ``each`` to a volume, dealt round the scans.

    A smaller plan is part of a larger one.
    """
    jobs = []
    for number in range(-(-sites // each)):
        scan = scans[number % len(scans)]
        turn = number % len(scans) + number // len(scans)  # so that a scan's own forgeries alternate too
        kinds = tuple(forger.kinds[(turn + n) % len(forger.kinds)] for n in range(each))
        name = f"{scan.name}-{forger.name}-{number:04d}.nrrd"
        jobs.append(Job(number, scan, kinds, seed, out / name))
    return jobs


def forge(job: Job, volume: Volume, forger: Forger) -> tuple[Volume, list[SiteRecord]]:
    """The volume with all sites of the job forged, and their records. Raises InputError where no place will do."""
    rng = np.random.default_rng([job.seed, job.number])
    records: list[SiteRecord] = []
    taken = list(job.scan.sites)
    for kind in job.kinds:
        forged = _forge_one(volume, forger, kind, taken, rng)
        record = site_record(volume.ijk_to_ras, forged)
        i, j, k = record["ijk"]
        taken = [site for site in taken if site.voxel != (i, j, k)]
        taken.append(Site(job.scan.name, (i, j, k), max(record["diameter_mm"], DRAWN_MM[1]), kind))
        records.append(record | {"forger": forger.name, "seed": [job.seed, job.number]})
        volume = Volume(forged.hu, volume.ijk_to_ras, volume.source)
    return volume, records


def _forge_one(
    volume: Volume, forger: Forger, kind: SiteKind, taken: Sequence[Site], rng: np.random.Generator
) -> ForgedVolume:
    """A real nodule removed if there is one that the forger takes, else a random place away from what is taken."""
    nodules = [s for s in taken if s.kind == "nodule" and NODULE_MM[0] <= s.diameter_mm <= NODULE_MM[1]]
    for n in rng.permutation(len(nodules)) if kind == "remove" else ():
        try:
            site = Site(nodules[n].volume, nodules[n].ijk, nodules[n].diameter_mm, "remove")
            return forger.forge(volume, site, rng)
        except InputError:
            # Too near the border, most often: the next.
            continue

    place = partial(lung_place_away, volume, taken, DRAWN_MM[1] / 2 + _APART_MM, rng)
    return forged_at_random(volume, forger, kind, rng, place, DRAWN_MM)[0]


def run(jobs: Sequence[Job], forger: Forger, out: Path) -> list[str]:
    """Do what is not done yet, say how far it is, keep the table; returns a sentence for each volume left out."""
    done: dict[int, list[SiteRecord]] = {}
    refused = []
    jobs_of_scan: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.path.exists() and mask_path(job.path).exists():
            done[job.number] = read_sites(job.path)
        else:
            jobs_of_scan[job.scan.name].append(job)
    there, started = len(done), time.monotonic()
    if there:
        _say(f"{there} of {len(jobs)} volumes are there already.")
    for finished, (job, volume) in enumerate(_loaded(jobs_of_scan), 1):
        try:
            if isinstance(volume, InputError):
                raise volume
            forged, records = forge(job, volume, forger)
        except InputError as error:
            refused.append(f"{job.scan.name}: {error}")
            _say(f"Left out: {refused[-1]}")
        else:
            write_forged(job.path, volume, forged.hu, records)
            done[job.number] = records
            _write_table(out / "manifest.csv", jobs, done)
        left = (time.monotonic() - started) / finished * (len(jobs) - there - finished)
        _say(f"[{there + finished}/{len(jobs)}] {job.path.name}, about {_minutes(left)} left")
    _write_table(out / "manifest.csv", jobs, done)
    return refused


def _loaded(jobs_of_scan: dict[str, list[Job]]) -> Iterator[tuple[Job, Volume | InputError]]:
    """Jobs scan by scan, so that each is loaded once; with the reason where it cannot be."""
    for of_scan in jobs_of_scan.values():
        try:
            volume: Volume | InputError = of_scan[0].scan.load()
        except InputError as error:
            volume = error
        yield from ((job, volume) for job in of_scan)


def _write_table(path: Path, jobs: Sequence[Job], done: dict[int, list[SiteRecord]]) -> None:
    """One row a forged site; written anew each time."""
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for job in jobs:
            for site in done.get(job.number, ()):
                about = [site[key] for key in ("diameter_mm", "forger")]
                writer.writerow(
                    [
                        job.path.name,
                        job.scan.patient,
                        site["kind"],
                        *site["ijk"],
                        *about,
                        f"{job.seed}/{job.number}",
                    ]
                )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.forge", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--source", nargs=2, required=True, metavar=("NAME", "WHERE"), help=SOURCE_HELP)
    parser.add_argument("--forger", required=True, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--sites", type=_positive, required=True, help="how many sites to forge in all")
    parser.add_argument("--each", type=_positive, default=1, help="sites in a volume (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the forged volumes")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="of a trained forger, as its training wrote them")
    parser.add_argument("--unseen", action="store_true", help=UNSEEN_HELP)
    parser.add_argument(
        "--donor", type=Path, help="a CT that splice takes its patches from (default: the scan itself)"
    )
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number of at least 1")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: 0 when all was forged, 1 when something was left out. Raises InputError when it cannot begin."""
    args = _arguments(argv)
    source, where = args.source
    if args.donor and args.forger != "splice":
        raise InputError("only splice takes a donor; leave out --donor")
    donor = load_volume(args.donor) if args.donor else None
    forger = make_forger(args.forger, args.weights, donor)
    scans = read_untouched(source, where)
    if args.weights:
        scans = of_unseen(scans, patients_seen([f"{args.forger}={args.weights}"]), leave_out=args.unseen)
    settings = {
        "source": source,
        "where": where if source == "simulated" else str(Path(where).resolve()),
        "scans": len(scans),
        "forger": args.forger,
        "weights": args.weights and identity_of(f"{args.forger}={args.weights}"),
        "unseen": args.unseen,
        "donor": donor and donor.sha256,
        "each": args.each,
        "seed": args.seed,
    }
    check_settings(args.out, "forge.json", settings)
    jobs = plan(scans, forger, args.sites, args.each, args.seed, args.out)
    refused = run(jobs, forger, args.out)
    print(
        f"{len(jobs) - len(refused)} of {len(jobs)} volumes forged; the table is {args.out / 'manifest.csv'}"
    )
    return 1 if refused else 0


if __name__ == "__main__":
    run_command(main)
