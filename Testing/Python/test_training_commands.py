"""Every command of the trainings says what is missing in a sentence."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import shlex
import tempfile
import unittest
from pathlib import Path
from typing import NoReturn
from unittest import mock

try:
    import tensorboard  # noqa: F401
    import yaml  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: training needs the extra 'train'") from error

from support import ROOT
from training.command import run_command

CONFIG = str(ROOT / "training" / "configs" / "ctgan-v2.yaml")


class Missing(unittest.TestCase):
    def setUp(self) -> None:
        self.empty = self.enterContext(tempfile.TemporaryDirectory())
        self.out = str(Path(self.empty) / "out")

    def test_a_folder_without_data_is_named(self) -> None:
        data = ["--data", self.empty]
        experiment = ["--config", CONFIG, *data, "--runs", self.empty]
        for command, arguments in {
            "evaluate": experiment,
            "evaluate_evidence": data,
            "evaluate_header_hints": [self.empty],
            "evaluate_volumes": experiment,
            "fit_evidence_thresholds": data,
            "fit_slice_classifier": experiment,
            "forgers.ctgan.train": ["--kind", "remove", "--source", "data", self.empty, "--out", self.out],
            "measure_added_noise": data,
            "measure_local_traces": data,
            "measure_processing": [self.empty],
            "splits": [*data, "--out", self.out],
            "train_detector": experiment,
        }.items():
            with self.subTest(command), contextlib.redirect_stderr(io.StringIO()) as said:
                module = importlib.import_module(f"training.{command}")
                with self.assertRaises(SystemExit) as ended:
                    run_command(lambda main=module.main, given=arguments: main(given))  # type: ignore[misc]
                self.assertEqual(ended.exception.code, 2)
                self.assertRegex(said.getvalue(), rf"\AError: .*{self.empty}.*\n\Z")


class Documented(unittest.TestCase):
    """The commands of the guides are understood as they are written there."""

    def test_every_command_is_understood(self) -> None:
        guides = ("README.md", "CONTRIBUTING.md", "training/README.md", "training/EVALUATION.md")
        text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in guides)
        in_blocks = re.findall(r"^\.venv/bin/python -m (training\.\S+) ([^#\n]*)", text, re.MULTILINE)
        in_sentences = re.findall(r"`python -m (training\.\S+)\s(--[^`…]*)`", text)
        self.assertGreater(len(in_blocks), 20)
        self.assertGreater(len(in_sentences), 4)
        commands = [*in_blocks, *in_sentences]
        parse = argparse.ArgumentParser.parse_args

        def understand(parser: argparse.ArgumentParser, given: list[str] | None = None) -> NoReturn:
            parse(parser, given)
            raise Understood

        for module, arguments in commands:
            main = importlib.import_module(module).main
            with (
                self.subTest(f"{module} {arguments}"),
                mock.patch.object(argparse.ArgumentParser, "parse_args", understand),
                contextlib.redirect_stderr(io.StringIO()) as said,
            ):
                try:
                    main(shlex.split(arguments))
                except Understood:
                    continue
                except SystemExit:
                    pass
                self.fail(said.getvalue())


class Understood(Exception):
    """The arguments were parsed: nothing else is to happen."""


if __name__ == "__main__":
    unittest.main()
