"""Fetch a real, untouched chest CT with a real tumour, for demonstration and tests that want real tissue.

``python -m training.fetch_real_ct .cache/lung1_image.nrrd``

It is TCGA-17-Z013 (48 slices of 512×512, 5 mm apart), which the source package of pyradiomics 3.0.1 (BSD-3-Clause)
carries. The shipped model never saw it. The package comes from the registry that pip is set up with; nothing of it
but the CT is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from training.command import run_command
from training.whole_file import whole

# What its setup.py imports besides NumPy and setuptools; kept out of the environment.
TOOLS = ("cython==3.3.1", "versioneer==0.29")
# With its hash: pip runs the package's setup.py to learn its name, so it must be the one that is meant.
REQUIREMENT = (
    "pyradiomics==3.0.1 --hash=sha256:47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5\n"
)
MEMBER = "pyradiomics-3.0.1/data/lung1_image.nrrd"
TIMEOUT_S = 600


def fetch(path: Path) -> None:
    """Write the CT to ``path``. Raises RuntimeError with pip's own words when the package cannot be had."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "requirements.txt").write_text(REQUIREMENT, encoding="ascii")
        tools = work / "tools"
        _pip("install", "--no-deps", "--target", str(tools), *TOOLS)
        options = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes"]
        _pip("download", *options, "-d", scratch, "-r", str(work / "requirements.txt"), tools=tools)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(next(work.glob("pyradiomics-*.tar.gz"))) as archive:
            member = archive.extractfile(MEMBER)
            if member is None:
                raise RuntimeError(f"the package holds no file {MEMBER}")
            with member, whole(path) as part, part.open("wb") as file:
                shutil.copyfileobj(member, file)


def _pip(command: str, *arguments: str, tools: Path | None = None) -> None:
    """Run pip with ``tools`` on the import path. Raises RuntimeError with the line in which pip says what failed."""
    python = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    path = {"PYTHONPATH": str(tools)} if tools else {}
    try:
        done = subprocess.run(
            [*python, command, "--quiet", *arguments],
            env={**os.environ, **path},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"pip took longer than {TIMEOUT_S} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.lower().startswith("error")] or [
            "pip failed"
        ]
        raise RuntimeError(said[0])


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the CT is at the given path, 1 with one sentence on stderr when it cannot be had."""
    parser = argparse.ArgumentParser(description="Fetch a real, untouched chest CT with a real tumour.")
    parser.add_argument("path", type=Path, help="where to write it, as NRRD; kept when it is there already")
    path: Path = parser.parse_args(argv).path
    if path.is_file():
        return 0
    print("Fetching a real chest CT (34 MB, once) ...", flush=True)
    try:
        fetch(path)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        print(
            f"The real CT cannot be fetched now ({error}); try again when the registry is reachable.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
