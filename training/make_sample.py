"""Make the bundled sample: a simulated chest CT from which a forger removed a nodule, marked as forged in its header.

    python -m training.make_sample [--output Resources/SampleData/CTForgeryScanSample.nrrd] [--untouched twin.nrrd]

The same arguments give the same file, byte for byte, with the same library versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CTForgeryScanLib.volume import load_volume
from training.command import run_command
from training.forged_file import FORGED_KEY, SiteRecord, site_record, write_nrrd
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.simulated_ct import SimulatedCT, simulate
from training.sites import Site

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "Resources" / "SampleData" / "CTForgeryScanSample.nrrd"
LIMIT_BYTES = 8_000_000


def write_sample(path: Path, hu: NDArray[np.int16], ct: SimulatedCT, sites: list[SiteRecord]) -> int:
    """Write a simulated CT with the forged mark, as small as it can be; returns its size in bytes."""
    fields = {
        FORGED_KEY: json.dumps(sites),
        "CTForgeryScan_simulated": "a procedural chest and scanner, not a patient",
    }
    write_nrrd(path, hu, ct.ijk_to_ras, fields, compression=9)
    return path.stat().st_size


def make(output: Path, untouched: Path | None, seed: int, slices: int) -> dict[str, object]:
    """Simulate, remove the first nodule, write; returns what was written. ValueError when the file is too large."""
    began = time.monotonic()
    ct = simulate(
        seed, slices, on_slice=lambda done, of: print(f"slice {done}/{of}", file=sys.stderr, flush=True)
    )
    site = Site("simulated", ct.nodules_ijk[0], ct.nodules[0].diameter_mm, "remove")
    volume = load_volume((ct.hu, ct.ijk_to_ras))
    forged = PublishedPasting(procedural_content).forge(volume, site, np.random.default_rng([seed, 3]))
    sites = [site_record(ct.ijk_to_ras, forged)]
    if untouched:
        write_sample(untouched, ct.hu, ct, [])
    size = write_sample(output, forged.hu, ct, sites)
    if size > LIMIT_BYTES:
        raise ValueError(f"{output} has {size} bytes, more than the {LIMIT_BYTES} allowed; make fewer slices")
    difference = np.abs(forged.hu.astype(int) - ct.hu)
    return {
        "output": output.name,
        "bytes": size,
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
        "shape_kji": list(ct.hu.shape),
        "sites": sites,
        "slices_with_forged_tissue": int((difference > 150).any(axis=(1, 2)).sum()),
        "changed_voxels": int(forged.changed_mask.sum()),
        "real_nodules": [
            {"ijk": [round(v, 1) for v in at], "diameter_mm": n.diameter_mm, "look": n.look}
            for n, at in zip(ct.nodules, ct.nodules_ijk, strict=True)
        ],
        "seconds": round(time.monotonic() - began, 1),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line; prints what was written as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m training.make_sample", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--output", type=Path, default=SAMPLE, help="the forged sample (default: %(default)s)"
    )
    parser.add_argument("--untouched", type=Path, help="also write the same scan before it was forged")
    parser.add_argument(
        "--seed", type=int, default=7, help="seed of patient, noise and forgery (default: %(default)s)"
    )
    parser.add_argument(
        "--slices", type=int, default=26, help="axial slices of 2.5 mm (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    print(json.dumps(make(chosen.output, chosen.untouched, chosen.seed, chosen.slices), indent=2))


if __name__ == "__main__":
    run_command(main)
