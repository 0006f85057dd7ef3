"""Every command of the trainings says what is missing in a sentence."""

from __future__ import annotations

import contextlib
import importlib
import io
import tempfile
import unittest
from pathlib import Path

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


if __name__ == "__main__":
    unittest.main()
