"""Does a detector find what it was not trained on? The train × test matrix over forgers.

``python -m training.forger_matrix --config training/configs/forger-matrix.yaml --data DIR --runs RUNS
--forger published_pasting splice ctgan=inject/generator.safetensors ctgan=remove/generator.safetensors …
[--ask diffusion=diffusion.safetensors …]``

Small detectors are trained on the sites of one forger alone, of all, and of all but one, and each is asked about the
sites of every forger in the patients of the folds that none of them saw. The genuine CT-GAN slices are a forger among
the others; those of ``--ask`` are asked about and never learnt from. A site counts as found where a place on it is
hotter than the hottest place of all but 1 % of the untouched slices of those patients. FORGERS.md and its picture are
written from the rows that are done; a killed command goes on where it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.places import place_logits
from CTForgeryScanLib.windows import centres
from training.command import run_command
from training.config import Config, as_json
from training.crops import Mix
from training.evaluate import SITE_PX
from training.experiment import arguments, read_experiment
from training.forgers.forger import Forger
from training.forgers.registry import forger_of, identity_of
from training.made_slices import made_slices
from training.output_folder import check_settings
from training.slices import Slice
from training.train_detector import train
from training.whole_file import whole

GENUINE = "genuine"
TEST_FOLDS = (1, 4)
FALSE_ALARM = 0.01
TEST_SITES = 8
"""Sites that each forger forges in a series of the test folds."""

Sites = Mapping[str, Sequence[Slice]]
"""Forger → its forged slices."""


@dataclass(frozen=True)
class Row:
    """A detector by the forgers that it was trained on."""

    name: str
    trained_on: tuple[str, ...]


def rows_of(names: Sequence[str]) -> list[Row]:
    """One forger alone, all of them, all but one."""
    alone = [Row(f"{name} alone", (name,)) for name in names]
    left_out = [Row(f"all but {name}", tuple(n for n in names if n != name)) for name in names]
    return [*alone, Row("all", tuple(names)), *left_out]


def mix_for(mix: Mix, row: Row) -> Mix:
    """As many forged crops and as many untouched ones, whatever the row is trained on."""
    made = tuple(name for name in row.trained_on if name != GENUINE)
    if GENUINE not in row.trained_on:
        return replace(
            mix,
            genuine=0,
            genuine_elsewhere=0,
            made=mix.genuine + mix.made,
            twins=mix.genuine_elsewhere + mix.twins,
        )
    if not made:
        return replace(
            mix,
            genuine=mix.genuine + mix.made,
            genuine_elsewhere=mix.genuine_elsewhere + mix.twins,
            made=0,
            twins=0,
        )
    return mix


@dataclass(frozen=True)
class Share:
    """Of a forger's test slices: how many have a place on the site that is hotter than the hottest of all but
    ``FALSE_ALARM`` of the untouched slices, and in how many no place elsewhere is hotter."""

    found: float
    peak_on_site: float


def shares_of(sweeper: Sweeper, sites: Sites, untouched: Sequence[Slice]) -> dict[str, Share]:
    """What a detector says of every forger's sites."""
    heats = [float(place_logits(p).max()) for p in _sweep(sweeper, untouched)]
    threshold = np.quantile(heats, 1 - FALSE_ALARM, method="higher")
    shares = {}
    for name, slices in sites.items():
        maps = _sweep(sweeper, slices)
        heat = np.array([_heat(s, place_logits(p)) for s, p in zip(slices, maps, strict=True)])
        on_site, elsewhere = heat.T
        shares[name] = Share(float(np.mean(on_site > threshold)), float(np.mean(on_site > elsewhere)))
    return shares


def _sweep(sweeper: Sweeper, slices: Sequence[Slice]) -> list[np.ndarray]:
    return [next(iter(sweeper.sweep(s.hu[None]))) for s in slices]


def _heat(s: Slice, logits: np.ndarray) -> tuple[float, float]:
    """The hottest place whose centre lies within ``SITE_PX`` of a site that reaches the slice, and elsewhere."""
    y, x = centres(*s.hu.shape)
    near = np.logical_or.reduce(
        [np.hypot(y[:, None] - site.y, x[None] - site.x) <= SITE_PX for site in s.forged]
    )
    return float(logits[near].max()), float(logits[~near].max())


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("Train on some forgers and test on all.")
    parser.add_argument("--forger", nargs="+", metavar="NAME[=WEIGHTS]", required=True)
    parser.add_argument(
        "--ask", nargs="+", default=[], metavar="NAME[=WEIGHTS]", help="forgers that no row is trained on"
    )
    parser.add_argument("--only", nargs="+", metavar="ROW", help="names of rows, to share the work")
    parser.add_argument("--out", type=Path, default=Path("training/FORGERS.md"), help="where the table goes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    experiment = read_experiment(args)
    config = experiment.config
    by_name, only_asked = _by_name(args.forger), _by_name(args.ask)
    if both := by_name.keys() & only_asked.keys():
        raise InputError(
            f"{', '.join(sorted(both))} stands under --forger and --ask: name it under one of them."
        )
    rows = rows_of([GENUINE, *by_name])
    unknown = set(args.only or ()) - {row.name for row in rows}
    if unknown:
        raise InputError(
            f"There is no row {', '.join(sorted(unknown))}; rows: {', '.join(r.name for r in rows)}."
        )
    learnt_from = sorted(identity_of(word) for word in args.forger)
    check_settings(args.runs, "matrix.json", {"config": as_json(experiment.training), "forgers": learnt_from})
    kept, held_out = _divided(experiment.slices, experiment.fold_of)
    learnt = {name: made_slices(kept, of, config.made_sites, config.seed) for name, of in by_name.items()}
    asked: dict[str, list[Slice]] = {GENUINE: [s for s in held_out if s.forged]}
    for name, of in {**by_name, **only_asked}.items():
        asked[name] = _nearest_of_each_site(made_slices(held_out, of, TEST_SITES, config.seed + 1))
    print("; ".join(f"{name}: {len(slices)} test slices" for name, slices in asked.items()), flush=True)
    for row in rows:
        path = args.runs / f"{row.name.replace(' ', '-')}.json"
        if (args.only and row.name not in args.only) or path.exists():
            continue
        shares = _trained_and_asked(row, kept, learnt, held_out, asked, config, args.runs)
        with whole(path) as part:
            part.write_text(json.dumps({name: asdict(of) for name, of in shares.items()}), encoding="utf-8")
        print(row.name, shares, flush=True)
    counts = {name: len(slices) for name, slices in asked.items()}
    write_matrix(rows, args.runs, counts, list(only_asked), config, args.out)


def _by_name(words: Sequence[str]) -> dict[str, list[Forger]]:
    """Forgers of a command line by their names: those of one name, say CT-GAN's for both kinds, work by turns."""
    by_name: dict[str, list[Forger]] = defaultdict(list)
    for word in words:
        forger = forger_of(word)
        by_name[forger.name].append(forger)
    return by_name


def _divided(slices: Sequence[Slice], fold_of: Mapping[str, int]) -> tuple[list[Slice], list[Slice]]:
    """What may be learnt from, and what is asked about."""
    kept = [s for s in slices if fold_of[s.patient] not in TEST_FOLDS]
    return kept, [s for s in slices if fold_of[s.patient] in TEST_FOLDS]


def _nearest_of_each_site(made: Sequence[Slice]) -> list[Slice]:
    """Of each site's slices the one nearest to its centre."""
    nearest: dict[str, Slice] = {}
    for s in made:
        if s.series not in nearest or s.forged[0].offset_mm < nearest[s.series].forged[0].offset_mm:
            nearest[s.series] = s
    return list(nearest.values())


def _trained_and_asked(
    row: Row,
    kept: Sequence[Slice],
    learnt: Sites,
    held_out: Sequence[Slice],
    asked: Sites,
    config: Config,
    runs: Path,
) -> dict[str, Share]:
    """Train the row's detector and ask it about every forger's sites."""
    slices = [s for s in kept if not s.forged or GENUINE in row.trained_on]
    for name in row.trained_on:
        slices += learnt.get(name, ())
    folder = runs / row.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    detector = train(slices, replace(config, mix=mix_for(config.mix, row)), folder)
    return shares_of(Sweeper(detector), asked, [s for s in held_out if not s.forged])


def write_matrix(
    rows: Sequence[Row],
    runs: Path,
    counts: Mapping[str, int],
    only_asked: Sequence[str],
    config: Config,
    out: Path,
) -> None:
    """``out`` (Markdown) and its picture, of the rows that are done; ``counts`` are the test slices by forger."""
    done = {
        row.name: _read_row(path, counts)
        for row in rows
        if (path := runs / f"{row.name.replace(' ', '-')}.json").exists()
    }
    found = {row: [shares[name].found for name in counts] for row, shares in done.items()}
    peak = {row: [shares[name].peak_on_site for name in counts] for row, shares in done.items()}
    lines = [
        "# Who finds whose forgeries",
        "",
        "Written by `python -m training.forger_matrix` (its docstring says how). Detectors, a row each, were trained",
        f"for {config.steps} steps on some forgers' sites, with one seed, and asked about every forger's in patients",
        f"that none of them saw (folds {' and '.join(map(str, TEST_FOLDS))}); generators may have seen them (their",
        "cards say whom). The shipped detector trains several times as long and is asked about whole scans, not slices",
        "alone: read the rows against one another.",
        *([f"No row is trained on {' or '.join(only_asked)}."] if only_asked else []),
        *([f"Left out altogether: {', '.join(config.never_train)}."] if config.never_train else []),
        "",
        f"## Sites found at {FALSE_ALARM:.0%} false alarm",
        "",
        "A place on the site is hotter than the hottest place of all but so many of the untouched slices of those",
        "patients.",
        "",
        *_table(counts, found),
        "",
        "![The same as a picture](results/forger-matrix.png)",
        "",
        "## Slices whose hottest place is on the site",
        "",
        *_table(counts, peak),
        "",
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines), encoding="utf-8")
    picture = out.parent / "results" / "forger-matrix.png"
    picture.parent.mkdir(exist_ok=True)
    _draw(list(found), list(counts), list(found.values()), picture)


def _read_row(path: Path, names: Iterable[str]) -> dict[str, Share]:
    """Raises InputError for a row that was not asked about all forgers."""
    shares = {name: Share(**share) for name, share in json.loads(path.read_text(encoding="utf-8")).items()}
    if missing := set(names) - shares.keys():
        raise InputError(
            f"'{path}' was not asked about {', '.join(sorted(missing))}: "
            "leave them out, or remove it to train the row again."
        )
    return shares


def _table(counts: Mapping[str, int], rows: Mapping[str, Sequence[float]]) -> list[str]:
    return [
        f"| trained on | {' | '.join(f'{name} ({count})' for name, count in counts.items())} |",
        f"|---|{'---|' * len(counts)}",
        *(f"| {row} | {' | '.join(f'{share:.2f}' for share in shares)} |" for row, shares in rows.items()),
    ]


def _draw(rows: list[str], names: list[str], shares: list[list[float]], path: Path) -> None:
    figure = Figure(figsize=(2.5 + 0.9 * len(names), 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    values = np.array(shares)
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=f"found at {FALSE_ALARM:.0%} false alarm", ylabel="trained on")
    for (y, x), value in np.ndenumerate(values):
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color="k" if value > 0.6 else "w")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run_command(main)
