"""The command line: ``ctforgeryscan scan IN [IN …] -o OUT``, ``ctforgeryscan models``, ``ctforgeryscan check``."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from CTForgeryScanLib import __version__
from CTForgeryScanLib.cards import DEFAULT_MODEL
from CTForgeryScanLib.errors import CTForgeryScanError, InputError, ModelError, OutputError, ScanCancelled
from CTForgeryScanLib.formats import rounded
from CTForgeryScanLib.process import end_with

DONE, BAD_INPUT, SOME_FAILED, CANCELLED, READER_GONE = 0, 2, 3, 130, 141

_DESCRIPTION = """\
Tells whether, and where, a chest CT was tampered with by a generative network such as CT-GAN.
Research software for integrity triage: not a diagnosis, and no proof that a scan is untouched."""

_SCAN_HELP = """\
Each input gets a folder of its own under OUT with
  result.json       verdict, regions, evidence, slices, parameters and provenance (schema in the README)
  slices.csv        one row a slice
  heatmap.nrrd      p(forged) of every 32x32 sub-image, in its own geometry: any viewer lays it over the CT
  regions.seg.nrrd  the tampered regions as a segmentation
  picture.png       the most suspicious slice beside itself under its heatmap, and what the evidence shows

exit status
  0    every input was scanned, whatever the verdict
  2    bad input or arguments
  3    some of several inputs failed; the others are done
  130  cancelled (Ctrl-C); the input being scanned left nothing, earlier ones are done
  141  whoever read the output closed it

examples
  ctforgeryscan scan /data/CT0042 -o results
  ctforgeryscan scan *.nrrd -o results --progress none
  ctforgeryscan scan /data/study -o results --series 1.3.6.1.4.1.14519.5.2.1.6279.6001.1"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is no reason to end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args(argv)
    # On a busy computer, threads that spin while they wait keep those from running that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # A service manager's stop is the user's Ctrl-C: clean up and say so.
    signal.signal(signal.SIGTERM, _interrupt)
    if args.parent is not None:
        end_with(args.parent)
    try:
        status = int(args.run(args))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does: there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (KeyboardInterrupt, ScanCancelled):
        _report_error(args, None, ScanCancelled("The scan was cancelled; nothing half-done was left."))
        return CANCELLED
    except CTForgeryScanError as error:
        _report_error(args, None, error)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ctforgeryscan", description=_DESCRIPTION, formatter_class=_Formatter)
    parser.add_argument("--version", action="version", version=f"ctforgeryscan {__version__}")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when the process PID has ended")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    scan = commands.add_parser(
        "scan", help="scan CTs", description=_DESCRIPTION, epilog=_SCAN_HELP, formatter_class=_Formatter
    )
    scan.add_argument("inputs", nargs="+", metavar="IN", help="DICOM folder or file, NRRD, NIfTI, MHD or MHA")
    scan.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results"
    )
    scan.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="shipped model by name, or a model's folder (default: %(default)s)",
    )
    scan.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    scan.add_argument(
        "--precision", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    scan.add_argument(
        "--operating-point",
        metavar="NAME",
        help="how sensitive: one of those that 'ctforgeryscan models' lists (default: the model's own)",
    )
    scan.add_argument(
        "--series", help="which series of a folder with several: UID, number or a part that only one has"
    )
    scan.add_argument("--slices", type=_slices, metavar="A:B", help="only slices A to B-1, counted from 0")
    scan.add_argument(
        "--no-evidence",
        action="store_true",
        help="skip the tests that need no training (copied and added noise, copy-move, header)",
    )
    scan.add_argument(
        "--progress",
        choices=["bar", "json", "none"],
        default="bar",
        help="bar on stderr, JSON lines on stdout, or none (default: bar)",
    )
    scan.add_argument("--debug", action="store_true", help="show the traceback of errors")
    callers = scan.add_argument_group("for programs that run this one")
    callers.add_argument(
        "--live",
        type=Path,
        metavar="FILE",
        help="append each slice's heatmap as raw little-endian float32 [r, c] before its JSON line is printed",
    )
    callers.add_argument(
        "--header",
        type=Path,
        metavar="FILE",
        help="a DICOM file of the series that the input was made of, or a text file with the path of one in each line: "
        "their header is judged with the input's voxels",
    )
    scan.set_defaults(run=_scan)

    models = commands.add_parser(
        "models",
        help="list the shipped models",
        description="List the shipped models: what each was trained on and how well it does.",
        formatter_class=_Formatter,
    )
    models.set_defaults(run=_models, progress="none", debug=False)

    check = commands.add_parser(
        "check",
        help="say what is installed",
        description="Say which of the packages that a scan needs are installed, and which devices it can run on.",
        formatter_class=_Formatter,
    )
    check.add_argument(
        "--progress", choices=["json", "none"], default="none", help="a JSON line, or words (default: none)"
    )
    check.set_defaults(run=_check, debug=False)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the texts above."""


def _slices(text: str) -> tuple[int | None, int | None]:
    first, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        a, b = (int(part) if part else None for part in (first, stop))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a range: give A:B, for example 40:80 or :80"
        ) from None
    return a, b


def _scan(args: argparse.Namespace) -> int:
    # Imported here, so that --help and argument errors do not wait for torch.
    from CTForgeryScanLib.environment import load_torch

    load_torch()
    from CTForgeryScanLib.cards import choose_operating_point
    from CTForgeryScanLib.cascade import scan
    from CTForgeryScanLib.heatmap import choose_device, choose_precision
    from CTForgeryScanLib.hu import too_large
    from CTForgeryScanLib.models import load_model
    from CTForgeryScanLib.report import check_replaceable, check_writable, write_results

    model = load_model(args.model)
    # What is wrong for all inputs is said before the first is scanned.
    choose_operating_point(model.card, args.operating_point)
    choose_precision(args.precision, choose_device(args.device))
    check_writable(args.output)
    failed, written = 0, list[Path]()
    for source in args.inputs:
        try:
            place = args.output / _result_name(source)
            check_replaceable(place)
            result = scan(
                source if args.header is None else _with_header(source, args.series, args.header),
                model=model,
                device=args.device,
                precision=args.precision,
                operating_point=args.operating_point,
                series=args.series,
                slices=args.slices,
                evidence=not args.no_evidence,
                on_progress=partial(_show_progress, args, source),
                on_evidence=partial(_show_evidence_progress, args, source),
            )
            folder = write_results(result, place, written)
            written.append(folder)
        except ScanCancelled:
            raise
        except (CTForgeryScanError, MemoryError) as error:
            said = error if isinstance(error, CTForgeryScanError) else too_large(source)
            _report_error(args, source, said)
            failed += 1
            continue
        _show_result(args, source, folder, result)
    if failed == 0:
        return DONE
    return SOME_FAILED if failed < len(args.inputs) else BAD_INPUT


def _with_header(source: str, series: str | None, header: Path) -> Any:
    """The volume of a file, judged by the header of the DICOM series that it was made of."""
    from CTForgeryScanLib.dicom import looks_like_dicom, read_headers
    from CTForgeryScanLib.volume import load_volume

    paths = [header]
    if not looks_like_dicom(header):
        try:
            paths = [Path(line) for line in header.read_text(encoding="utf-8").splitlines() if line]
        except (OSError, ValueError) as error:
            raise InputError(
                f"{header}: this is no DICOM file of an image and no list of such files."
            ) from error
    return replace(load_volume(source, series=series), header=read_headers(paths))


def _result_name(source: str) -> str:
    """What an input's folder of results is called: as the input, without the ending of a known kind of file.

    A link gives its own name: what it leads to may be called by a checksum. Raises InputError for a name that cannot
    be one.
    """
    from CTForgeryScanLib.hu import check_name
    from CTForgeryScanLib.volume import VOLUME_SUFFIXES

    path = Path(os.path.abspath(source))  # noqa: PTH100  # Path.resolve() follows links
    check_name(path)
    endings = (
        () if path.is_dir() else (*sorted(VOLUME_SUFFIXES, key=len, reverse=True), ".dcm", ".ima", ".dicom")
    )
    ending = next((e for e in endings if path.name.lower().endswith(e)), "")
    return path.name[: len(path.name) - len(ending)] or "scan"


def _models(args: argparse.Namespace) -> int:
    from CTForgeryScanLib.cards import model_folders, models_folder, read_card

    folders = model_folders()
    if not folders:
        raise InputError(f"No model lies in '{models_folder()}': install ctforgeryscan again.")
    for folder in folders:
        try:
            card = read_card(folder)
        except ModelError as error:
            print(error, file=sys.stderr)
            continue
        print(f"{card['name']}: {card['description']}")
        print("  operating points:")
        for name, point in card["operating_points"].items():
            default = " (default)" if name == card["default_operating_point"] else ""
            print(f"    {name}{default}: {point['text']}")
        for title, field in (("how well", "summary"), ("trained on", "training_data"), ("limits", "limits")):
            print(f"  {title}:")
            for line in card.get(field, ()):
                print(f"    {line}")
    return DONE


def _check(args: argparse.Namespace) -> int:
    from CTForgeryScanLib.environment import find_devices, find_packages

    packages = find_packages()
    missing = [found.package for found in packages if not found.good]
    if args.progress != "json":
        for found in packages:
            name, state = found.package.name, found.version or "not installed"
            print(f"{name}: {state}{'' if found.good else f' (needed: {found.package.at_least} or newer)'}")
    devices = [] if any(package.name == "torch" for package in missing) else find_devices()
    if args.progress == "json":
        _print_json({"event": "check", "missing": [p.name for p in missing], "devices": devices})
    else:
        for device, description in devices:
            print(f"device {device}: {description}")
    return BAD_INPUT if missing else DONE


def _show_progress(args: argparse.Namespace, source: str, progress: Any) -> None:
    if args.live is not None:
        _append(args.live, progress.heatmap)
    if args.progress == "json":
        _print_json(
            {
                "event": "slice",
                "input": source,
                "k": progress.k,
                "done": progress.done,
                "of": progress.of,
                "peak": round(progress.peak, 6),
                "seconds_left": round(progress.seconds_left, 1),
            }
        )
    else:
        _show_bar(
            args,
            progress.done / progress.of,
            f"{progress.done}/{progress.of} slices",
            progress.seconds_left,
        )


def _show_evidence_progress(args: argparse.Namespace, source: str, progress: Any) -> None:
    if args.progress == "json":
        _print_json(
            {
                "event": "evidence",
                "input": source,
                "done": round(progress.done, 3),
                "seconds_left": round(progress.seconds_left, 1),
            }
        )
    else:
        _show_bar(args, progress.done, "evidence", progress.seconds_left)


_CLEARED = "\r\033[K"


def _has_bar(args: argparse.Namespace) -> bool:
    return args.progress == "bar" and sys.stderr.isatty()


def _show_bar(args: argparse.Namespace, share: float, words: str, seconds_left: float) -> None:
    if not _has_bar(args):
        return
    filled = int(30 * share)
    minutes, seconds = divmod(round(seconds_left), 60)
    end = _CLEARED if share >= 1 else ""
    line = f"{_CLEARED}[{'#' * filled}{'.' * (30 - filled)}] {words}, {minutes}:{seconds:02d} left "
    print(line + end, end="", file=sys.stderr, flush=True)


def _append(path: Path, heatmap: Any) -> None:
    try:
        with path.open("ab") as file:
            file.write(heatmap.astype("<f4").tobytes())
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror}): free space or give another --live."
        ) from error


def _show_result(args: argparse.Namespace, source: str, folder: Path, result: Any) -> None:
    if args.progress == "json":
        _print_json(
            {
                "event": "result",
                "input": source,
                "folder": str(folder),
                "verdict": result.verdict,
                "probability": result.probability,
                "regions": len(result.regions),
                "evidence": [f.evidence.test for f in result.findings if f.evidence.found],
            }
        )
        return
    from CTForgeryScanLib.picture import DISCLAIMER, VERDICTS

    print(f"{source}: {VERDICTS[result.verdict]}")
    for sentence in (
        *result.volume.notes,
        *result.provenance["notes"],
        *(r.text for r in result.assessment.reasons),
    ):
        print(f"  note: {sentence}")
    if result.slices:
        flagged = [s.k for s in result.slices if s.flagged]
        print(
            f"  {len(flagged)} of {len(result.slices)} slices flagged{': ' if flagged else ''}{_runs(flagged)}"
        )
    for region in result.regions:
        r, a, s = region.center_ras
        size = " x ".join(f"{mm:.0f}" for mm in region.extent_mm)
        print(
            f"  region {region.id} ({region.source}): slices {region.slices[0]}-{region.slices[1]}, "
            f"score {rounded(region.score)}, centre RAS ({r:.1f}, {a:.1f}, {s:.1f}) mm, size {size} mm"
        )
    _show_evidence([f.evidence for f in result.findings])
    print(f"  results in {folder} ({result.provenance['seconds']:.1f} s on {result.provenance['device']})")
    print(f"  {DISCLAIMER}", flush=True)


def _show_evidence(evidence: Sequence[Any]) -> None:
    """What was found in words; of the tests that found nothing or could not be made only how many they are."""
    for e in evidence:
        if e.found:
            print(f"  evidence ({e.test}): {e.text}")
    quiet = sum(e.applicable and not e.found for e in evidence)
    lacking = sum(not e.applicable for e in evidence)
    if evidence:
        nothing = f"{quiet} test{'s' * (quiet != 1)} found nothing"
        print(f"  evidence: {nothing}, {lacking} could not be made (result.json says of each why)")


def _runs(numbers: Sequence[int]) -> str:
    """[3, 4, 5, 9] → "3-5, 9"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _report_error(args: argparse.Namespace, source: str | None, error: CTForgeryScanError) -> None:
    if args.progress == "json":
        _print_json({"event": "error", "input": source, "type": type(error).__name__, "message": str(error)})
    print(f"{_CLEARED * _has_bar(args)}ctforgeryscan: {error}", file=sys.stderr, flush=True)
    if args.debug:
        traceback.print_exception(error, file=sys.stderr)


def _print_json(event: dict[str, Any]) -> None:
    print(json.dumps(event, ensure_ascii=False), flush=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
