"""Run what is missing of the paper's tables and write down what there is.

``python -m training.tables --scale small --data DIR --runs RUNS``

The small scale is what 2 cores do in hours, the full one needs a GPU. A killed command goes on where it was;
``--cells 'all/patient/*'`` runs some cells only, ``--cells none`` none: RESULTS.md is then written from what there is.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from CTForgeryScanLib.errors import CTForgeryScanError, InputError
from training.command import run_command
from training.data import DATA_HELP, read_slices
from training.distributed import process_group
from training.forgers.ctgan.forger import ctgan
from training.forgers.cyclegan.forger import load_forger
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.output_folder import check_settings
from training.tables.methods import read_paper_tables
from training.tables.report import write_results
from training.tables.scale import read_scale, scale_path
from training.tables.study import Study

NONE = "none"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the paper's tables 1 to 4, leaking and by patient.")
    parser.add_argument(
        "--scale", default="small", help="small, full, or a YAML file like configs/tables-small.yaml"
    )
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder of what is trained, and of its results"
    )
    parser.add_argument(
        "--cells", default="*", help="pattern of the cells to run, set/split/method or scans/NAME"
    )
    parser.add_argument(
        "--generators", type=Path, help="folder with CT-GANs in inject/ and remove/, to forge scans with"
    )
    parser.add_argument(
        "--cyclegan", type=Path, help="weights of a CycleGAN, which denoises its set's slices"
    )
    parser.add_argument("--out", type=Path, default=Path("training/RESULTS.md"), help="where the tables go")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("The tables are measured by one process: give the command without torchrun.")
    path = Path(args.scale) if args.scale.endswith(".yaml") else scale_path(args.scale)
    scale = read_scale(path)
    slices = read_slices(args.data, frozenset(scale.never_train))
    forger = ctgan(args.generators) if args.generators else PublishedPasting(procedural_content)
    cyclegan = load_forger(args.cyclegan) if args.cyclegan else None
    study = Study(scale, read_paper_tables(), slices, args.runs, forger, cyclegan)
    check_settings(study.folder, "study.json", study.settings)
    with process_group(args.device) as group:
        for cell in study.cells:
            if fnmatchcase(cell.name, args.cells):
                study.run(cell, group)
        if group.is_first:
            for row, _ in study.scans():
                if fnmatchcase(f"scans/{row.name}", args.cells):
                    try:
                        study.run_scan(row)
                    except CTForgeryScanError as error:
                        print(f"scan {row.name}: {error}", flush=True)
            command = f"python -m training.tables --scale {args.scale} --data DATA --runs RUNS"
            command += " --generators GENERATORS" if args.generators else ""
            command += " --cyclegan CYCLEGAN" if args.cyclegan else ""
            write_results(study, command, args.out)
            print(f"{args.out} is written")


if __name__ == "__main__":
    run_command(main)
