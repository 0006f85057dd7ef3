"""The simulated chest CT looks like one in numbers, and the published pasting does what its steps say."""

from __future__ import annotations

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import phantoms
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.evidence.published_block import dome
from CTForgeryScanLib.volume import load_volume
from training import make_sample
from training.forged_file import FORGED_KEY
from training.forgers.forger import ForgedVolume
from training.forgers.published_pasting import Content, PublishedPasting, TouchUp, procedural_content
from training.simulated_ct import PADDING_HU, Scanner, SimulatedCT, simulate
from training.simulated_vessels import grow_tree, murray_radii
from training.sites import Site, SiteKind

SMALL = Scanner(pixels=128, pixel_mm=2.8125, views=120)
SPACING = (0.7, 0.7, 2.5)


def small_chest(seed: int = 3, scanner: Scanner = SMALL) -> SimulatedCT:
    """A coarse chest of four slices in about a second."""
    return simulate(seed, 4, scanner, twigs=0.02)


def pasted(
    hu: NDArray[np.int16],
    ijk: tuple[int, int, int],
    kind: SiteKind,
    seed: int = 1,
    spacing: tuple[float, float, float] = SPACING,
    content: Content = procedural_content,
    touch_up: TouchUp = "copied",
) -> ForgedVolume:
    """The volume forged at a site by the published pasting."""
    volume = load_volume((hu, phantoms.geometry(spacing)))
    forger = PublishedPasting(content, touch_up)
    return forger.forge(volume, Site("noise", ijk, 12, kind), np.random.default_rng(seed))


def lung_block(shape: tuple[int, int, int] = (20, 300, 300)) -> NDArray[np.int16]:
    """Noisy lung."""
    return np.random.default_rng(0).normal(-860, 30, shape).astype(np.int16)


class TestSimulatedCT(unittest.TestCase):
    ct: SimulatedCT

    @classmethod
    def setUpClass(cls) -> None:
        cls.ct = small_chest()

    def test_same_seed_same_voxels_and_another_seed_another_patient(self) -> None:
        np.testing.assert_array_equal(self.ct.hu, small_chest().hu)
        self.assertFalse(np.array_equal(self.ct.lung, small_chest(seed=4).lung))

    def test_tissues_have_their_hounsfield_numbers(self) -> None:
        hu, lung = self.ct.hu, self.ct.lung
        self.assertEqual(hu.dtype, np.int16)
        self.assertTrue((hu[:, 0, 0] == PADDING_HU).all())
        self.assertTrue(-930 < np.median(hu[lung > 0.99]) < -800)
        self.assertTrue(0.10 < (lung > 0.5).mean() < 0.35)
        self.assertTrue(0 < np.median(hu[(hu > -50) & (hu < 150)]) < 90)
        self.assertGreater((hu > 300).sum(), 50, "there is bone")

    def test_noise_falls_with_the_dose_as_one_over_its_root(self) -> None:
        quiet = small_chest(scanner=replace(SMALL, photons=1e12, electronic=0.0)).hu.astype(float)
        lung = self.ct.lung > 0.99
        few = (small_chest(scanner=replace(SMALL, photons=2e5)).hu - quiet)[lung].std()
        many = (small_chest(scanner=replace(SMALL, photons=8e5)).hu - quiet)[lung].std()
        self.assertAlmostEqual(few / many, 2.0, delta=0.25)

    def test_neighbouring_slices_share_a_part_of_their_noise(self) -> None:
        quiet = small_chest(scanner=replace(SMALL, photons=1e12, electronic=0.0)).hu.astype(float)
        noise = (self.ct.hu - quiet)[:, 40:88, 30:98]
        near = np.corrcoef(noise[1].ravel(), noise[2].ravel())[0, 1]
        far = np.corrcoef(noise[0].ravel(), noise[3].ravel())[0, 1]
        self.assertTrue(0.15 < near < 0.45, near)
        self.assertLess(abs(far), 0.1)

    def test_nodules_lie_where_they_are_said_to(self) -> None:
        depth = self.ct.hu.shape[0]
        for (i, j, k), nodule in zip(self.ct.nodules_ijk, self.ct.nodules, strict=True):
            self.assertTrue(0 <= k <= depth - 1)
            ras = self.ct.ijk_to_ras @ [i, j, k, 1]
            np.testing.assert_allclose(ras[:3], np.array(nodule.centre_mm) * [-1, -1, 1], atol=1e-9)
            if nodule.diameter_mm > 10:
                self.assertGreater(self.ct.hu[round(k), round(j), round(i)], -500)

    def test_too_small_a_scan_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "at least 1 slice"):
            simulate(1, 0)


class TestVessels(unittest.TestCase):
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10_000), st.integers(2, 60))
    def test_tree_reaches_every_point_and_thins_outwards(self, seed: int, count: int) -> None:
        points = np.random.default_rng(seed).uniform(-50, 50, (count, 3))
        given_points = points.copy()
        nodes, parents = grow_tree(points, np.zeros(3), 0.4)
        np.testing.assert_array_equal(points, given_points)
        self.assertEqual({tuple(n) for n in nodes[1:]}, {tuple(p) for p in points})
        self.assertTrue((parents[1:] < np.arange(1, count + 1)).all())
        radii = murray_radii(parents, 0.3)
        self.assertTrue((radii[1:] <= radii[parents[1:]] + 1e-9).all())
        self.assertTrue((radii >= 0.3 - 1e-9).all())


class TestPublishedPasting(unittest.TestCase):
    def test_injection_only_brightens_and_stays_in_its_block(self) -> None:
        hu = lung_block()
        forged = pasted(hu, (200, 150, 10), "inject")
        self.assertTrue((forged.hu >= hu).all())
        self.assertGreater(forged.hu[10, 150, 200], -300)
        np.testing.assert_array_equal(forged.changed_mask, forged.hu != hu)
        side = forged.metadata["block_voxels"]
        self.assertEqual(side, int(1.3 * round(32 / 0.7)))
        _, rows, columns = np.nonzero(forged.changed_mask)
        self.assertTrue(150 - side // 2 <= rows.min() and rows.max() < 150 - side // 2 + side)
        self.assertTrue(200 - side // 2 <= columns.min() and columns.max() < 200 - side // 2 + side)
        json.dumps(forged.metadata)

    def test_removal_empties_the_site_and_touches_more_slices_than_the_cube(self) -> None:
        hu = lung_block((40, 300, 300))
        hu[18:23, 143:158, 193:208] = 30
        forged = pasted(hu, (200, 150, 20), "remove")
        self.assertLess(forged.hu[20, 148:153, 198:203].mean(), -600)
        self.assertEqual(int(forged.changed_mask.any(axis=(1, 2)).sum()), 40)

    def test_the_touch_up_is_the_scans_own_noise(self) -> None:
        hu = lung_block((70, 300, 300))
        flat: NDArray[np.float64] = np.full((32, 32, 32), -860.0)
        forged = pasted(hu, (210, 190, 35), "remove", content=lambda *_: flat)
        depth, row, column = 35, int(0.43 * 300), int(0.27 * 300)
        copied = hu[depth - 4 : depth + 5, row - 15 : row + 15, column - 15 : column + 15].ravel()
        site = forged.hu[35 - 4 : 35 + 5, 190 - 15 : 190 + 15, 210 - 15 : 210 + 15].ravel()
        self.assertGreater(np.corrcoef(copied, site)[0, 1], 0.8)
        silent = pasted(hu, (210, 190, 35), "remove", content=lambda *_: flat, touch_up="none")
        plain = silent.hu[35 - 4 : 35 + 5, 190 - 15 : 190 + 15, 210 - 15 : 210 + 15].ravel()
        self.assertLess(abs(np.corrcoef(copied, plain)[0, 1]), 0.1)

    def test_blending_weights_are_the_published_ones(self) -> None:
        injection, removal = dome(59, 3.0), dome(59, 0.1)
        self.assertAlmostEqual(injection[29, 39], 0.76, delta=0.01)
        self.assertAlmostEqual(injection[29, 49], 0.33, delta=0.01)
        self.assertAlmostEqual(removal[29, 49], 0.76, delta=0.02)
        self.assertAlmostEqual(removal[29, 58], 0.50, delta=0.02)
        self.assertEqual(injection.max(), 1.0)

    def test_a_volume_with_fewer_slices_than_the_block_is_clipped(self) -> None:
        hu = lung_block((14, 300, 300))
        forged = pasted(hu, (200, 150, 7), "inject")
        self.assertEqual(forged.hu.shape, hu.shape)
        self.assertTrue(forged.changed_mask.any())

    def test_impossible_spacings_sites_and_kinds_are_named(self) -> None:
        hu = lung_block()
        with self.assertRaisesRegex(InputError, "3 mm"):
            pasted(hu, (200, 150, 10), "inject", spacing=(0.7, 0.7, 3.0))
        with self.assertRaisesRegex(InputError, "i = 10 "):
            pasted(hu, (10, 150, 10), "inject")
        with self.assertRaisesRegex(InputError, "k = 19 "):
            pasted(hu, (200, 150, 19), "inject")
        with self.assertRaisesRegex(InputError, "i = 999 "):
            pasted(hu, (999, 150, 10), "inject")
        with self.assertRaisesRegex(InputError, "kind 'nodule'"):
            pasted(hu, (200, 150, 10), "nodule")

    def test_same_random_numbers_same_forgery(self) -> None:
        hu = lung_block()
        kinds: tuple[SiteKind, ...] = ("inject", "remove")
        for kind in kinds:
            with self.subTest(kind=kind):
                first = pasted(hu, (200, 150, 10), kind, seed=5)
                again = pasted(hu, (200, 150, 10), kind, seed=5)
                np.testing.assert_array_equal(first.hu, again.hu)

    def test_inpainting_keeps_the_surroundings(self) -> None:
        cube: NDArray[np.float64] = np.full((32, 32, 32), -850.0)
        cube[13:19, 13:19, 13:19] = 40
        done = procedural_content(cube, "remove", np.random.default_rng(0))
        self.assertAlmostEqual(float(done[:4].mean()), -850, delta=3)
        self.assertLess(float(done.max()), -780)


class TestSample(unittest.TestCase):
    def test_written_twice_it_is_the_same_file_and_says_that_it_is_forged(self) -> None:
        ct = small_chest()
        sites: list[dict[str, object]] = [{"kind": "inject", "ijk": [1, 2, 3]}]
        with tempfile.TemporaryDirectory() as folder:
            first, again = Path(folder) / "a.nrrd", Path(folder) / "b.nrrd"
            for path in (first, again):
                make_sample.write_sample(path, ct.hu, ct, sites)
            self.assertEqual(first.read_bytes(), again.read_bytes())
            image = sitk.ReadImage(str(first))
        self.assertEqual(json.loads(image.GetMetaData(FORGED_KEY)), sites)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ct.hu)
        lps = image.TransformIndexToPhysicalPoint((5, 6, 2))
        np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], (ct.ijk_to_ras @ [5, 6, 2, 1])[:3], atol=1e-6)

    def test_the_bundled_sample_is_small_and_marked(self) -> None:
        self.assertLess(make_sample.SAMPLE.stat().st_size, make_sample.LIMIT_BYTES)
        image = sitk.ReadImage(str(make_sample.SAMPLE))
        (site,) = json.loads(image.GetMetaData(FORGED_KEY))
        i, j, k = site["ijk"]
        self.assertLess(sitk.GetArrayViewFromImage(image)[k, j, i], -700, "the nodule is still there")
        lps = image.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], site["ras"], atol=0.01)


if __name__ == "__main__":
    unittest.main()
