"""Count on how many untouched and forged files each hint of `CTForgeryScanLib.evidence.header` fires, as Markdown.

Run from the repository: ``python -m training.evaluate_header_hints DATA`` (a minute). A single slice is one
case, a series of ``ct/`` is one, and the forged slices of one scan, which are a series too, are once more one together.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from CTForgeryScanLib.evidence.finding import Evidence
from CTForgeryScanLib.evidence.header import header_hints
from CTForgeryScanLib.volume import Volume, load_volume
from training.command import run_command
from training.data import forged_files
from training.sources.catalogue import read_source
from training.sources.scan import read_table


def cases(folder: Path) -> Iterator[tuple[str, str, Volume]]:
    """Group, name and volume of every case of the data folder."""
    forged = forged_files(folder / "ctgan")
    for path in forged:
        yield "CT-GAN, slices", path.name, load_volume(path)
    for scan, paths in _scans(forged).items():
        with tempfile.TemporaryDirectory() as together:
            for path in paths:
                (Path(together) / path.name).symlink_to(path.resolve())
            yield "CT-GAN, scans of several slices", scan, load_volume(together)
    for row in read_table(folder / "pristine_slices" / "slices.csv", ("file", "patient")):
        yield _collection(row["patient"]), row["file"], load_volume(folder / "pristine_slices" / row["file"])
    for series in read_source("data", str(folder)):
        yield "untouched series", series.name, series.load()


def _scans(slices: list[Path]) -> dict[str, list[Path]]:
    scans: dict[str, list[Path]] = defaultdict(list)
    for path in slices:
        scans[path.stem.split("_")[0]].append(path)
    return {scan: paths for scan, paths in scans.items() if len(paths) > 1}


def _collection(patient: str) -> str:
    """The collection of an untouched slice: TCGA's own sites are LUAD and LUSC mixed, the others are numbered."""
    return "TCGA-LUAD and LUSC, slices" if patient.startswith("TCGA") else "COVID-19-NY-SBU, slices"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, the highest untouched score of each hint, and each untouched case on which one fires."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with ct/, pristine_slices/ and ctgan/")
    folder: Path = parser.parse_args(argv).data
    answers: dict[str, list[tuple[str, list[Evidence]]]] = defaultdict(list)
    for group, name, volume in cases(folder):
        answers[group].append((name, [hint(volume) for hint in header_hints()]))
    tests = [evidence.test for evidence in next(iter(answers.values()))[0][1]]
    print(f"| hint | {' | '.join(answers)} |\n|---|{'---|' * len(answers)}")
    for n, test in enumerate(tests):
        cells = [_cell([evidences[n] for _, evidences in of_group]) for of_group in answers.values()]
        print(f"| `{test}` | {' | '.join(cells)} |")
    any_found = [
        f"{sum(any(e.found for e in evidences) for _, evidences in of_group)} of {len(of_group)}"
        for of_group in answers.values()
    ]
    print(f"| any | {' | '.join(any_found)} |\n")
    highest: Counter[str] = Counter()
    for group, of_group in answers.items():
        for name, evidences in of_group if not group.startswith("CT-GAN") else []:
            for evidence in evidences:
                if evidence.found:
                    print(f"- {group}, {name}: {evidence.text}")
                elif evidence.threshold is not None:
                    highest[evidence.test] = max(highest[evidence.test], evidence.score or 0.0)  # type: ignore[assignment]
    for test, score in highest.items():
        print(f"- highest score of an untouched case that is not found, {test}: {score:.4g}")


def _cell(evidences: list[Evidence]) -> str:
    """How many fire of those where the hint applies."""
    applicable = [evidence for evidence in evidences if evidence.applicable]
    return f"{sum(e.found for e in applicable)} of {len(applicable)}" if applicable else "–"


if __name__ == "__main__":
    run_command(main)
