"""The train × test matrix: rows, equal batches, and when a site counts as found."""

from __future__ import annotations

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import phantoms

try:
    import matplotlib  # noqa: F401
    import sklearn  # noqa: F401
    import tensorboard  # noqa: F401
    import yaml  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: training needs the extra 'train'") from error

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.heatmap import Sweeper
from CTForgeryScanLib.places import place_logits
from CTForgeryScanLib.windows import CENTRE, STRIDE
from training.config import Config
from training.crops import Mix
from training.forger_matrix import Share, mix_for, rows_of, shares_of, write_matrix
from training.slices import Slice, SliceSite


class Matrix(unittest.TestCase):
    def test_each_forger_is_alone_once_and_left_out_once(self) -> None:
        names = ["genuine", "splice", "ctgan"]
        rows = rows_of(names)
        self.assertEqual(len({row.name for row in rows}), 2 * len(names) + 1)
        for name in names:
            self.assertIn((name,), [row.trained_on for row in rows])
            self.assertEqual(sum(name not in row.trained_on for row in rows), len(names))

    def test_every_row_sees_as_many_forged_and_untouched_crops(self) -> None:
        mix = Mix(genuine=6, genuine_elsewhere=2, made=6, twins=2)
        for row in rows_of(["genuine", "splice"]):
            of_row = mix_for(mix, row)
            self.assertEqual(of_row.genuine + of_row.made, 12)
            self.assertEqual(of_row.total, mix.total)
            self.assertEqual(of_row.genuine > 0, "genuine" in row.trained_on)
            self.assertEqual(of_row.made > 0, "splice" in row.trained_on)

    def test_a_site_is_found_where_it_is_hotter_than_the_untouched(self) -> None:
        torch.manual_seed(0)
        sweeper = Sweeper(LocalDetector(16).eval(), "cpu")
        planes = phantoms.chest(slices=4, size=128)
        maps = [place_logits(p) for p in sweeper.sweep(planes)]
        order = np.argsort([m.max() for m in maps])
        untouched = [Slice(str(k), "p", "p", k, planes[k], 0.7) for k in order]

        def forged(k: int) -> Slice:
            r, c = np.unravel_index(np.argmax(maps[k]), maps[k].shape)
            site = SliceSite(float(STRIDE * c + CENTRE), float(STRIDE * r + CENTRE), 41, 0.0, "inject")
            return replace(untouched[0], hu=planes[k], forged=(site,))

        hot, cold = forged(order[-1]), forged(order[0])
        shares = shares_of(sweeper, {"hot": [hot], "both": [hot, cold]}, untouched[:-1])
        self.assertEqual(shares, {"hot": Share(1.0, 1.0), "both": Share(0.5, 1.0)})
        self.assertEqual(shares_of(sweeper, {"hot": [hot]}, untouched), {"hot": Share(0.0, 1.0)})
        own = hot.forged[0]
        far = replace(hot, forged=(replace(own, x=own.x + (60 if own.x < 64 else -60)),))
        self.assertEqual(shares_of(sweeper, {"far": [far]}, untouched)["far"].peak_on_site, 0.0)

    def test_rows_that_are_done_are_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            runs = Path(folder)
            shares = {"genuine": (0.5, 0.75), "splice": (0.25, 0.5), "diffusion": (0.125, 0.25)}
            row = {name: {"found": found, "peak_on_site": peak} for name, (found, peak) in shares.items()}
            (runs / "all.json").write_text(json.dumps(row))
            counts = {"genuine": 22, "splice": 40}
            asked = {**counts, "diffusion": 32}
            config = Config("matrix", "", never_train=("TCGA-17-Z013",), steps=600)
            write_matrix(rows_of(list(counts)), runs, asked, ["diffusion"], config, runs / "FORGERS.md")
            text = (runs / "FORGERS.md").read_text(encoding="utf-8")
            self.assertIn("| trained on | genuine (22) | splice (40) | diffusion (32) |", text)
            self.assertIn("| all | 0.50 | 0.25 | 0.12 |", text)
            self.assertIn("| all | 0.75 | 0.50 | 0.25 |", text)
            self.assertIn("600 steps", text)
            self.assertIn("No row is trained on diffusion.", text)
            self.assertIn("Left out altogether: TCGA-17-Z013.", text)
            self.assertTrue((runs / "results" / "forger-matrix.png").exists())


if __name__ == "__main__":
    unittest.main()
