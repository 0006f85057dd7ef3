"""What is packaged, for Slicer (CMakeLists.txt) and for pip (pyproject.toml), is what the tree holds."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

import CTForgeryScanLib
from support import ROOT

LISTED = re.compile(r"^\s+((?:CTForgeryScanLib|Resources)/\S+)$", re.MULTILINE)


def files_under(folder: str, pattern: str) -> list[str]:
    """Paths below a top-level folder, as CMakeLists.txt writes them; caches, hidden files and READMEs left out."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return sorted(
        path.as_posix()
        for path in found
        if path.name != "README.md" and not any(part.startswith((".", "__pycache__")) for part in path.parts)
    )


class CMakeListsTest(unittest.TestCase):
    """Slicer packages only what is listed, and says nothing of the rest."""

    def listed(self, folder: str) -> list[str]:
        text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
        return [path for path in LISTED.findall(text) if path.startswith(f"{folder}/")]

    def test_every_file_of_the_library_is_listed_once(self) -> None:
        self.assertEqual(self.listed("CTForgeryScanLib"), files_under("CTForgeryScanLib", "*.py"))

    def test_every_resource_is_listed_once(self) -> None:
        self.assertEqual(self.listed("Resources"), files_under("Resources", "*"))

    def test_every_file_of_the_module_is_listed_once(self) -> None:
        text = (ROOT / "CTForgeryScan" / "CMakeLists.txt").read_text(encoding="utf-8")
        listed = [f"CTForgeryScan/{path}" for path in re.findall(r"^\s+(\S+\.py)$", text, re.MULTILINE)]
        self.assertEqual(listed, files_under("CTForgeryScan", "*.py"))
        self.assertFalse((ROOT / "CTForgeryScan" / "__init__.py").exists(), "Slicer would not see the module")
        self.assertFalse((ROOT / "CTForgeryScan" / "CTForgeryScan.py").read_bytes().startswith(b"#!"))

    def test_the_folders_that_are_added_have_a_list_and_the_tests_exist(self) -> None:
        for folder in ("", "Testing"):
            text = (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")
            for added in re.findall(r"add_subdirectory\((\S+)\)", text):
                self.assertTrue((ROOT / folder / added / "CMakeLists.txt").is_file(), added)
        text = (ROOT / "Testing" / "Python" / "CMakeLists.txt").read_text(encoding="utf-8")
        for script in re.findall(r"SCRIPT (\S+)\)", text):
            self.assertTrue((ROOT / "Testing" / "Python" / script).is_file(), script)

    def test_the_index_entry_agrees_with_the_extension(self) -> None:
        text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
        entry = json.loads((ROOT / "CTForgeryScan.json").read_text(encoding="utf-8"))
        self.assertIn(f'set(EXTENSION_CATEGORY "{entry["category"]}")', text)
        self.assertIn(f'set(EXTENSION_DEPENDS "{" ".join(entry["build_dependencies"])}")', text)
        self.assertIn(entry["scm_url"].removesuffix(".git"), text)
        for url in re.findall(r"https://raw\S+?/main/([^\s\"]+)", text):
            self.assertTrue((ROOT / url).is_file(), url)


class VersionTest(unittest.TestCase):
    """The version is written in the library; the texts that repeat it agree."""

    def test_citation_and_changelog_name_it(self) -> None:
        version = re.escape(CTForgeryScanLib.__version__)
        for name, line in (
            ("CITATION.cff", rf"^version: {version}$"),
            ("CHANGELOG.md", rf"^## \[{version}\]"),
        ):
            with self.subTest(name):
                self.assertRegex((ROOT / name).read_text(encoding="utf-8"), re.compile(line, re.MULTILINE))


@unittest.skipUnless(
    importlib.util.find_spec("setuptools"), "setuptools, which builds the wheel, is not installed"
)
class WheelTest(unittest.TestCase):
    """What pip installs: the library with its models and its sample inside, and the console script."""

    @classmethod
    def setUpClass(cls) -> None:
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        # Built from a copy, for setuptools leaves its traces where it builds.
        source = cls.folder / "source"
        for name in ("CTForgeryScanLib", "Resources"):
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
            shutil.copy(ROOT / name, source)
        build = "import setuptools.build_meta as backend; backend.build_wheel('..')"
        cls.run_python(build, cwd=source)
        cls.wheel = next(cls.folder.glob("*.whl"))
        with zipfile.ZipFile(cls.wheel) as wheel:
            cls.names = wheel.namelist()
            wheel.extractall(cls.folder / "installed")

    folder: Path
    wheel: Path
    names: list[str]

    @staticmethod
    def run_python(code: str, cwd: Path) -> str:
        """What a new interpreter in ``cwd`` prints; its complaint becomes the test's."""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout

    def info(self, name: str) -> str:
        version = CTForgeryScanLib.__version__
        return (self.folder / "installed" / f"ctforgeryscan-{version}.dist-info" / name).read_text(
            encoding="utf-8"
        )

    def test_it_holds_the_library_the_models_and_the_sample_and_nothing_else(self) -> None:
        resources = [
            f"CTForgeryScanLib/{path}"
            for folder in ("Evidence", "Models", "SampleData")
            for path in files_under(f"Resources/{folder}", "*")
        ]
        content = [name for name in self.names if ".dist-info/" not in name]
        self.assertEqual(sorted(content), sorted(files_under("CTForgeryScanLib", "*.py") + resources))
        self.assertIn("CTForgeryScanLib/Resources/SampleData/CTForgeryScanSample.nrrd", content)

    def test_it_has_the_version_the_licence_and_the_command(self) -> None:
        metadata = self.info("METADATA")
        self.assertIn(f"\nVersion: {CTForgeryScanLib.__version__}\n", metadata)
        self.assertIn("\nLicense-Expression: Apache-2.0\n", metadata)
        self.assertIn("Apache License", self.info("licenses/LICENSE.txt"))
        self.assertIn("ctforgeryscan = CTForgeryScanLib.__main__:main", self.info("entry_points.txt"))

    def test_it_needs_no_package_that_only_training_and_tests_need(self) -> None:
        needed = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==).*$", self.info("METADATA"), re.MULTILINE)
        expected = ["numpy", "pillow", "safetensors", "scikit-image", "scipy", "SimpleITK", "torch"]
        self.assertEqual(sorted(needed, key=str.lower), expected)

    def test_the_installed_library_finds_its_models(self) -> None:
        code = (
            "from CTForgeryScanLib.cards import list_models, models_folder\n"
            "print(models_folder(), *[card['name'] for card in list_models()], sep='\\n')"
        )
        folder, *names = self.run_python(code, cwd=self.folder / "installed").splitlines()
        inside = self.folder / "installed" / "CTForgeryScanLib" / "Resources" / "Models"
        self.assertEqual(Path(folder).resolve(), inside.resolve())
        self.assertIn("ctgan-v1", names)


if __name__ == "__main__":
    unittest.main()
