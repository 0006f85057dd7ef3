"""The detectors of the paper's tables and their training: its network, ablations, baselines, windows, recipe, DDP."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch
from safetensors.torch import load_file
from scipy import fft

import phantoms
from support import ROOT

try:
    import sklearn  # noqa: F401
    import tensorboard  # noqa: F401
    import yaml
except ImportError as error:
    raise unittest.SkipTest(f"{error.name} is absent: training needs the extra 'train'") from error

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.heatmap import choose_precision
from CTForgeryScanLib.windows import STRIDE, WINDOW, circle_mask
from training import train_detector, train_windows
from training.config import Config
from training.detectors.dct import dct_features, fit_dct
from training.detectors.networks import build_network, load_scorer, save_network
from training.detectors.paper import Dct, PaperNetwork
from training.detectors.scorers import SliceNetwork, WindowNetwork, window_logits
from training.detectors.second_stage import fit_second_stage
from training.distributed import Group
from training.precision import mixed_precision
from training.slices import Slice, SliceSite
from training.windows_config import WindowsConfig, read_windows_config
from training.windows_dataset import TrainingSamples

CPU = torch.device("cpu")

# Narrower networks crash torch 2.13's CPU convolutions in the backward pass.
CONFIG = WindowsConfig(
    "test", "folds.csv", width=16, epochs=2, batch=10, learning_rate=1e-3, batch_norm_decay=0.5, seed=3
)


def slices(patients: int = 1, first: int = 0, size: int = 96) -> list[Slice]:
    """Per patient an untouched slice, and one of another patient with a smooth square about (x 40, y 48)."""
    found = []
    for n in range(first, first + patients):
        hu = phantoms.chest(slices=2, size=size, seed=n)
        hu[1, 32:65, 24:57] = -860
        site = SliceSite(40.2, 47.8, 41, 0.0, "remove")
        found.append(Slice(f"a{n}", f"clean-{n}", f"a{n}", 0, hu[0], 0.7, lesions=((60.0, 48.0),)))
        found.append(Slice(f"b{n}", f"forged-{n}", f"b{n}", 0, hu[1], 0.7, forged=(site,)))
    return found


class Networks(unittest.TestCase):
    def test_the_paper_s_network_has_its_10_86_million_weights(self) -> None:
        network = PaperNetwork()
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        in_norms = sum(p.numel() for norm in norms for p in norm.parameters())
        self.assertEqual(sum(p.numel() for p in network.parameters()) - in_norms, 10_861_765)
        self.assertEqual(in_norms, 19_648)

    def test_window_logits_are_those_of_each_window_alone(self) -> None:
        network = PaperNetwork(16).eval()
        hu = phantoms.chest(1, 64)[0]
        logits = window_logits(network, hu, batch=7)
        circle = circle_mask(64, 64)
        self.assertTrue(np.isneginf(logits[~circle]).all())
        for r, c in np.argwhere(circle)[::11]:
            window = hu[STRIDE * r : STRIDE * r + WINDOW, STRIDE * c : STRIDE * c + WINDOW]
            with torch.inference_mode():
                untouched, forged = network(torch.from_numpy(window).float()[None, None])[0]
            self.assertAlmostEqual(float(logits[r, c]), float(forged - untouched), places=4)
        heatmap = WindowNetwork(network).score_windows(hu)
        np.testing.assert_allclose(heatmap[circle], 1 / (1 + np.exp(-logits[circle])), rtol=1e-5)
        self.assertTrue((heatmap[~circle] == 0).all())

    def test_bfloat16_is_not_imitated(self) -> None:
        layer, x = torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)
        for native, asked, made in (
            ("bfloat16", "bfloat16", torch.bfloat16),
            ("bfloat16", "float32", torch.float32),
            ("float32", "bfloat16", torch.float32),
            ("float32", "float32", torch.float32),
        ):
            with (
                self.subTest(native=native, asked=asked),
                mock.patch("training.precision.choose_precision", return_value=native),
                mixed_precision(CPU, asked),
            ):
                self.assertEqual(layer(x).dtype, made)

    @unittest.skipIf(choose_precision("auto", CPU) == "float32", "this CPU does not compute in bfloat16")
    def test_half_precision_sweeps_differ_by_rounding_alone(self) -> None:
        torch.manual_seed(0)
        network, hu = PaperNetwork(8).eval(), phantoms.chest(1, 64)[0]
        exact = window_logits(network, hu)
        rounded = window_logits(network, hu, precision="bfloat16")
        circle = circle_mask(64, 64)
        self.assertTrue((rounded[circle] != exact[circle]).any())
        spread = float(exact[circle].std())
        self.assertLess(float(np.abs(rounded - exact, where=circle, out=np.zeros_like(exact)).max()), spread)

    def test_every_ablation_and_baseline_is_built_saved_and_judges(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        hu = phantoms.chest(1, 64)[0]
        paper = replace(CONFIG, never_train=("somebody",))
        for config in (
            replace(paper, attention=False),
            replace(paper, selu=False),
            replace(paper, dct=True),
            replace(paper, whole=True),
            replace(paper, network="resnet50", whole=True),
            replace(paper, network="xception", whole=True),
        ):
            with self.subTest(config=config):
                network = build_network(config)
                save_network(network, config, folder / "detector.safetensors")
                scorer = load_scorer(folder / "detector.safetensors", torch.device("cpu"))
                if isinstance(scorer, SliceNetwork):
                    p = scorer.score_slice(hu)
                    self.assertAlmostEqual(p, SliceNetwork(network).score_slice(hu), places=5)
                else:
                    heatmap = scorer.score_windows(hu)
                    np.testing.assert_allclose(heatmap, WindowNetwork(network).score_windows(hu), atol=1e-5)
                    self.assertGreater(heatmap.std(), 0)
                self.assertEqual(
                    {m.momentum for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)}, {0.5}
                )
        kinds = {type(m) for m in build_network(replace(paper, attention=False, selu=False)).modules()}
        self.assertFalse({"SpatialAttention", "ChannelAttention", "SELU"} & {k.__name__ for k in kinds})

    def test_dct(self) -> None:
        rng = np.random.default_rng(0)
        rough = rng.normal(0, 40, (60, WINDOW, WINDOW)).astype(np.int16)
        smooth = (rough[:30] + rough[30:]) // 2
        layer = Dct()(torch.from_numpy(rough).float()[:, None])[:, 0].numpy()
        by_scipy = np.log1p(np.abs(fft.dctn(rough.astype(float), axes=(1, 2), norm="ortho")))
        np.testing.assert_allclose(layer, by_scipy, atol=1e-3)
        np.testing.assert_allclose(dct_features(rough).reshape(layer.shape), by_scipy, atol=1e-3)
        windows = np.concatenate([rough, smooth])
        detector = fit_dct(windows[::2], np.arange(90)[::2] >= 60)
        said = detector.logits(windows[1::2]) > 0
        self.assertGreater((said == (np.arange(90)[1::2] >= 60)).mean(), 0.9)
        self.assertEqual(detector.score_windows(phantoms.chest(1, 64)[0]).shape, (9, 9))


class SecondStage(unittest.TestCase):
    def test_it_tells_heatmaps_with_a_hot_place_wherever_it_lies(self) -> None:
        rng = np.random.default_rng(0)
        heatmaps = [rng.beta(1, 60, (30, 30)).astype(np.float32) for _ in range(60)]
        forged = [n % 2 == 0 for n in range(60)]
        for n in range(0, 60, 2):
            r, c = rng.integers(0, 25, 2)
            heatmaps[n][r : r + 5, c : c + 5] = 1
        patients = [str(n // 4) for n in range(60)]
        stage = fit_second_stage(heatmaps[:40], forged[:40], patients[:40])
        said = [stage.is_forged(h) for h in heatmaps[40:]]
        self.assertGreater(np.mean(np.array(said) == forged[40:]), 0.9)
        without = fit_second_stage(heatmaps[:40], forged[:40], patients[:40], glcm=False)
        self.assertTrue(np.isfinite([without.score(h) for h in heatmaps[40:]]).all())
        with self.assertRaisesRegex(ValueError, "of 3 patients"):
            fit_second_stage(heatmaps[:8], forged[:8], patients[:8])


class Samples(unittest.TestCase):
    def samples(self, of: list[Slice], *, whole: bool = False, passes: int = 1) -> TrainingSamples:
        return TrainingSamples(of, whole=whole, site_negatives=10, passes=passes, seed=0)

    def test_an_epoch_is_the_paper_s(self) -> None:
        samples = self.samples(slices(2))
        rows = samples.epoch(0)
        self.assertEqual(len(rows), 2 * 2 * 25)
        forged = rows[(rows[:, 0] == 1)]
        self.assertEqual(
            {tuple(row[1:]) for row in forged.tolist()},
            {(48 + dy - 16, 40 + dx - 16, 1) for dx in range(-2, 3) for dy in range(-2, 3)},
        )
        untouched = rows[rows[:, 3] == 0][:, 1:3]
        at_lesion = (abs(untouched - [48 - 16, 60 - 16]) <= 2).all(axis=1) & (untouched % STRIDE != 0).any(1)
        on_grid = (untouched % STRIDE == 0).all(axis=1)
        self.assertGreaterEqual(on_grid.sum(), 2 * 15)
        self.assertEqual((at_lesion | on_grid).sum(), 50)
        images, labels = samples.cut(rows[:5])
        self.assertEqual((images.shape, labels.tolist()), ((5, 32, 32), rows[:5, 3].tolist()))
        np.testing.assert_array_equal(samples.epoch(3), self.samples(slices(2)).epoch(3))
        self.assertTrue((samples.epoch(3) != rows).any())
        self.assertEqual(len(self.samples(slices(1), passes=3).epoch(0)), 150)

    def test_whole_slices_and_what_cannot_be_trained_on(self) -> None:
        images, labels = self.samples(slices(2), whole=True).cut(self.samples(slices(2), whole=True).epoch(0))
        self.assertEqual((images.shape, labels.sum()), ((4, 96, 96), 2))
        with self.assertRaisesRegex(InputError, "there are 0 and 1"):
            self.samples(slices(1)[:1])
        with self.assertRaisesRegex(InputError, "same size"):
            self.samples(slices(1) + slices(1, size=100), whole=True)


class Training(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def train(self, config: WindowsConfig = CONFIG, folder: str = "a") -> dict[str, torch.Tensor]:
        (self.folder / folder).mkdir(exist_ok=True)
        best = train_windows.train(slices(1), slices(1, first=9), config, self.folder / folder)
        return best.state_dict()

    def test_it_learns_what_is_plain_logs_and_draws(self) -> None:
        self.train(replace(CONFIG, epochs=4, patience=4))
        with (self.folder / "a" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["step"] for row in rows], ["5", "10", "15", "20"])
        self.assertGreater(max(float(row["accuracy"]) for row in rows), 0.8)
        self.assertLess(float(rows[-1]["training_loss"]), 0.3)
        self.assertTrue(any((self.folder / "a" / "tensorboard").iterdir()))
        self.assertGreater((self.folder / "a" / "curves.png").stat().st_size, 10_000)

    def test_killed_in_an_epoch_it_ends_as_unbroken(self) -> None:
        unbroken = self.train(folder="unbroken")
        cut, calls = TrainingSamples.cut, iter(range(100))

        def until_killed(*args: object) -> object:
            # An epoch cuts 5 batches to train on and 5 to validate on.
            if next(calls) == 12:
                raise KeyboardInterrupt
            return cut(*args)  # type: ignore[arg-type]  # handed on as they came

        with mock.patch.object(TrainingSamples, "cut", until_killed), self.assertRaises(KeyboardInterrupt):
            self.train(folder="killed")
        resumed = self.train(folder="killed")
        for name, value in unbroken.items():
            torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
        logs = [(self.folder / run / "metrics.csv").read_text() for run in ("unbroken", "killed")]
        self.assertEqual(*logs)

    def test_it_stops_when_validation_no_longer_improves(self) -> None:
        with mock.patch.object(train_windows, "_validate", return_value=[0.5, 0.5, 0.5]):
            self.train(replace(CONFIG, epochs=9, patience=1))
        self.assertEqual(len((self.folder / "a" / "metrics.csv").read_text().splitlines()), 1 + 2)

    def test_what_cannot_go_on_says_so_and_overwrites_nothing(self) -> None:
        self.train()
        before = {
            name: (self.folder / "a" / name).read_bytes()
            for name in ("checkpoint.safetensors", "metrics.csv")
        }
        with self.assertRaisesRegex(InputError, "another configuration"):
            self.train(replace(CONFIG, seed=4))
        with self.assertRaisesRegex(InputError, "less than one batch"):
            self.train(replace(CONFIG, batch=60), "b")
        with self.assertRaisesRegex(InputError, "float16 needs CUDA"):
            self.train(replace(CONFIG, precision="float16"), "b")
        with self.assertRaisesRegex(InputError, "cannot be shared by 3 processes"):
            Group(torch.device("cpu"), 0, 3).check(CONFIG.batch)
        Group(torch.device("cpu"), 0, 3).check(35, evenly=False)
        with self.assertRaisesRegex(InputError, "choose fewer"):
            Group(torch.device("cpu"), 0, 3).check(2, evenly=False)
        with self.assertRaisesRegex(InputError, r"not finite at step \d"):
            self.train(replace(CONFIG, learning_rate=1e30), "b")
        for name, content in before.items():
            self.assertEqual((self.folder / "a" / name).read_bytes(), content)

    def test_configuration_files(self) -> None:
        paper = read_windows_config(ROOT / "training" / "configs" / "paper.yaml")
        self.assertEqual(paper, WindowsConfig("paper", "five-folds.csv", ("TCGA-17-Z013",)))
        self.assertAlmostEqual(paper.learning_rate_at(1199), 5e-4 * 0.85)
        read_windows_config(ROOT / "training" / "configs" / "paper-small.yaml")
        wrong = self.folder / "wrong.yaml"
        wrong.write_text("name: x\nfolds: y\nnetwork: alexnet\n")
        with self.assertRaisesRegex(InputError, "unknown network 'alexnet'"):
            read_windows_config(wrong)
        wrong.write_text("name: x\nfolds: y\nbatchsize: 3\n")
        with self.assertRaisesRegex(InputError, "batchsize"):
            read_windows_config(wrong)


class TwoProcesses(unittest.TestCase):
    """The command itself, under torchrun, on a data folder of the published layout."""

    def setUp(self) -> None:
        # The commands set the threads of this process, on which the last digits of other tests depend.
        self.addCleanup(torch.set_num_threads, torch.get_num_threads())
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ("ctgan", "pristine_slices", "ct"):
            (self.folder / name).mkdir()
        labels = ["file,scan,slice,x,y,type,pixel_spacing_mm,slice_spacing_mm"]
        untouched, folds = ["file,patient,pixel_spacing_mm"], ["patient,fold"]
        for n, s in enumerate(slices(3, size=128)):
            fold, file = n // 2, f"{s.name}.nrrd"
            where = "ctgan" if s.forged else "pristine_slices"
            sitk.WriteImage(sitk.GetImageFromArray(s.hu[None]), str(self.folder / where / file))
            if s.forged:
                labels.append(f"{file},{n},5,40,48,FB,0.7,2.5")
                folds.append(f"ctgan-{n},{fold}")
            else:
                untouched.append(f"{file},{s.patient},0.7")
                folds.append(f"{s.patient},{fold}")
        self.write("ctgan/labels.csv", labels)
        self.write("pristine_slices/slices.csv", untouched)
        self.write("folds.csv", folds)
        self.write("ct/cases.csv", ["case,patient,sx_mm,sz_mm"])
        self.write("ct/lidc_nodules.csv", ["case,x,y,k_min,k_max"])
        self.write("ct/tumours.csv", ["case,x_min,x_max,y_min,y_max,k_min,k_max"])
        # Each process draws its own dropout.
        config = asdict(replace(CONFIG, dropout=0.0, epochs=1, norm_batches=2)) | {"never_train": []}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        mix = {"genuine": 3, "genuine_elsewhere": 1, "spliced": 2, "blended": 2, "lesions": 0, "untouched": 2}
        dense = {"name": "test", "folds": "folds.csv", "width": 16, "steps": 3, "mix": mix}
        (self.folder / "dense.yaml").write_text(yaml.safe_dump(dense))

    def write(self, name: str, lines: list[str]) -> None:
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def under_torchrun(self, module: str, config: str, run: str) -> Path:
        """Two processes of a training command; the folder of fold 0."""
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", module]
        done = subprocess.run(
            [sys.executable, *launch, *self.arguments(config, run)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return self.folder / run / "fold-0"

    def arguments(self, config: str, run: str) -> list[str]:
        given = {"--config": self.folder / config, "--data": self.folder, "--runs": self.folder / run}
        return [
            *(str(word) for pair in given.items() for word in pair),
            *("--device", "cpu", "--threads", "1", "--fold", "0"),
        ]

    def apart(self, start: dict[str, torch.Tensor], alone: Path, shared: Path) -> float:
        """How far the weights of both runs are apart, as a part of the way from ``start``; of the worst tensor."""
        one, two = (load_file(folder / "detector.safetensors") for folder in (alone, shared))
        norm = torch.linalg.vector_norm
        return max(
            float(norm((two[name] - value).double()) / norm((value - start[name]).double()))
            for name, value in one.items()
        )

    def test_train_what_one_does(self) -> None:
        two = self.under_torchrun("training.train_windows", "config.yaml", "two")
        train_windows.main(self.arguments("config.yaml", "one"))
        one = self.folder / "one" / "fold-0"
        torch.manual_seed(CONFIG.seed)
        # Adam makes whole steps of the sign of a gradient that is all but zero, which rounding decides: a few weights
        # differ by such a step, though what was learnt does not.
        self.assertLess(self.apart(PaperNetwork(16).state_dict(), one, two), 0.4)
        for name, value in last_row(one).items():
            self.assertAlmostEqual(last_row(two)[name], value, delta=0.02, msg=name)

    def test_train_the_dense_detector_nearly_so(self) -> None:
        two = self.under_torchrun("training.train_detector", "dense.yaml", "two")
        train_detector.main(self.arguments("dense.yaml", "one"))
        torch.manual_seed(1)
        start = train_detector._one_head(
            LocalDetector(16, heads=2), Config("start", "", width=16)
        ).state_dict()
        self.assertLess(self.apart(start, self.folder / "one" / "fold-0", two), 0.5)


def last_row(folder: Path) -> dict[str, float]:
    """The figures that a training logged last."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}


if __name__ == "__main__":
    unittest.main()
