"""What is said to be needed is what pyproject.toml asks for, and it is found without importing it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path
from unittest import mock

from CTForgeryScanLib import environment
from CTForgeryScanLib.__main__ import main
from CTForgeryScanLib.environment import PACKAGES, Package, find_packages
from support import ROOT


class EnvironmentTest(unittest.TestCase):
    def test_the_packages_are_those_of_the_project(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        needed = {f"{package.name}>={package.at_least}" for package in PACKAGES}
        self.assertEqual(needed, set(project["dependencies"]))

    def test_finding_them_imports_none(self) -> None:
        code = (
            "import sys; from CTForgeryScanLib.environment import find_packages\n"
            "print(all(f.good for f in find_packages()), {'torch', 'skimage', 'numpy'} & set(sys.modules))"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        self.assertEqual(out.stdout, "True set()\n")

    def test_absent_and_old_ones_are_told(self) -> None:
        wanted = (Package("nowhere", "nowhere_at_all", "1"), Package("numpy", "numpy", "99.1"))
        with mock.patch.object(environment, "PACKAGES", wanted):
            absent, old = find_packages()
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                self.assertEqual(main(["check"]), 2)
        self.assertEqual((absent.version, absent.good), (None, False))
        self.assertFalse(old.good)
        self.assertIn("nowhere: not installed (needed: 1 or newer)", out.getvalue())
        self.assertIn("(needed: 99.1 or newer)", out.getvalue())

    def test_a_torch_that_cannot_be_loaded_is_said(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "torch.py").write_text("raise OSError('libgomp.so.1 is missing')")
            for command in (["check"], ["scan", "ct.nrrd", "-o", folder]):
                ran = subprocess.run(
                    [sys.executable, "-m", "CTForgeryScanLib", *command],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": folder},
                    capture_output=True,
                    text=True,
                )
                self.assertNotEqual(ran.returncode, 0)
                self.assertRegex(
                    ran.stderr, r"\Actforgeryscan: .*libgomp.so.1 is missing\): install it again.\n\Z"
                )

    def test_check_names_the_devices(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["check", "--progress", "json"]), 0)
        event = json.loads(out.getvalue())
        self.assertEqual((event["event"], event["missing"]), ("check", []))
        self.assertEqual(event["devices"][-1][0], "cpu")


if __name__ == "__main__":
    unittest.main()
