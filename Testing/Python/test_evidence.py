"""Copied noise and copy-move: found where they were forged, in whatever became of the scan since; not in untouched."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import CTForgeryScanLib
import phantoms
from CTForgeryScanLib.errors import ScanCancelled
from CTForgeryScanLib.evidence import TESTS, copied_noise, copy_move, examine_voxels
from CTForgeryScanLib.evidence.exhibit import as_copied, exhibit
from CTForgeryScanLib.evidence.finding import Evidence, Step
from CTForgeryScanLib.evidence.noise import LungNoise, lung_noise
from CTForgeryScanLib.evidence.published_block import Column, block_side, dome, source_slice
from CTForgeryScanLib.evidence.thresholds import load_threshold
from CTForgeryScanLib.heatmap import Heatmap
from CTForgeryScanLib.models import load_model
from CTForgeryScanLib.picture import draw
from CTForgeryScanLib.volume import Volume, load_volume
from small_models import write_model
from support import needs_shared_data, real_data
from training.forgers.copy_move import CopyMove
from training.forgers.forger import ForgedVolume, Forger
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.sites import Site

SPACING = (1.0, 1.0, 1.0)  # at which the block of 41 voxels is lower than the scan
SITE = (225, 160, 26)  # (i, j, k), in the lung that the touch-up does not copy from
CPU = torch.device("cpu")
PASTING = PublishedPasting(procedural_content)


def silent(share: float) -> None:
    """Nobody looks at the progress."""


def volume_of(hu: NDArray[np.int16]) -> Volume:
    return load_volume((hu, phantoms.geometry(SPACING)))


def removed(
    hu: NDArray[np.int16], ijk: tuple[int, int, int], forger: Forger, rng: np.random.Generator
) -> ForgedVolume:
    """The volume with what is at a site removed; the diameter only says how large a moved patch is."""
    return forger.forge(volume_of(hu), Site("chest", ijk, rng.uniform(20, 28), "remove"), rng)


def answers(
    hu: NDArray[np.int16], test: str, places: list[tuple[int, int, int]] | None = None, step: Step = silent
) -> list[Evidence]:
    findings = examine_voxels(volume_of(hu), places or [], CPU, step)
    return [f.evidence for f in findings if f.evidence.test == test]


class CopiedNoise(unittest.TestCase):
    untouched: NDArray[np.int16]
    forged: NDArray[np.int16]

    @classmethod
    def setUpClass(cls) -> None:
        cls.untouched = phantoms.chest(slices=60, size=320)
        rng = np.random.default_rng(0)
        cls.forged = removed(cls.untouched, SITE, PASTING, rng).hu

    def test_what_a_device_cannot_do_is_done_on_the_cpu(self) -> None:
        volume = volume_of(self.forged)
        findings = examine_voxels(volume, [], torch.device("meta"), silent)
        self.assertTrue(next(f.evidence for f in findings if f.evidence.test == "copied_noise").found)

    def assert_found(self, hu: NDArray[np.int16], site: tuple[int, ...]) -> None:
        (answer,) = answers(hu, copied_noise.TEST)
        self.assertTrue(answer.found, answer.text)
        assert answer.center_ijk is not None and answer.score is not None and answer.threshold is not None
        np.testing.assert_allclose(answer.center_ijk, site, atol=2)
        self.assertGreater(answer.score, answer.threshold)
        np.testing.assert_allclose(answer.center_ras or (), volume_of(hu).ijk_to_ras_point(answer.center_ijk))

    def test_an_untouched_scan_has_none(self) -> None:
        (answer,) = answers(self.untouched, copied_noise.TEST)
        self.assertEqual((answer.applicable, answer.found), (True, False), answer.text)

    def test_a_removal_is_found_at_its_site(self) -> None:
        self.assert_found(self.forged, SITE)

    def test_slices_cut_off_since_do_not_hide_it(self) -> None:
        self.assert_found(self.forged[6:], (SITE[0], SITE[1], SITE[2] - 6))
        self.assert_found(self.forged[:52], SITE)

    def test_a_flip_does_not_hide_it(self) -> None:
        i, j, k = SITE
        self.assert_found(self.forged[:, :, ::-1].copy(), (319 - i, j, k))
        self.assert_found(self.forged[:, ::-1].copy(), (i, 319 - j, k))
        self.assert_found(self.forged[::-1].copy(), (i, j, 59 - k))

    def test_an_offset_does_not_hide_it(self) -> None:
        self.assert_found(self.forged + np.int16(15), SITE)

    def test_all_sites_are_found_and_no_echo_of_them(self) -> None:
        hu = self.untouched
        sites = [(205, 130, 22), (240, 190, 38)]
        for n, site in enumerate(sites):
            rng = np.random.default_rng(n)
            hu = removed(hu, site, PASTING, rng).hu
        found = [e.center_ijk for e in answers(hu, copied_noise.TEST)]
        self.assertEqual(len(found), 2, found)
        for site in sites:
            self.assertLessEqual(min(np.abs(np.subtract(place or (), site)).max() for place in found), 2)

    def test_it_says_why_it_cannot_be_looked_for(self) -> None:
        noisy = phantoms.chest(slices=10, size=320, noise_hu=100)
        clipped = np.maximum(noisy - 100, -1000).astype(np.int16)
        smooth = np.rint(ndimage.gaussian_filter(self.untouched.astype(float), (0, 3, 3))).astype(np.int16)
        solid = np.maximum(self.untouched, 0)
        for words, hu in {
            "cut off at -1000": clipped,
            "smoothed away": smooth,
            "no even lung": solid,
            "at least 5 slices": self.untouched[:2],
        }.items():
            with self.subTest(words):
                (answer,) = answers(hu, copied_noise.TEST)
                self.assertEqual((answer.applicable, answer.found), (False, False))
                self.assertIn(words, answer.reason or "")

    def test_too_little_memory_leaves_the_sweeps_result(self) -> None:
        for error, where in (
            (MemoryError(), "lung_noise"),
            (
                RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                "copied_noise.copied_noise",
            ),
        ):
            with mock.patch(f"CTForgeryScanLib.evidence.{where}", side_effect=error):
                (answer,) = answers(self.untouched, copied_noise.TEST)
            self.assertFalse(answer.applicable)
            self.assertIn("memory is too small", answer.reason or "")

    def test_progress_rises_to_the_end_and_cancel_stops(self) -> None:
        shares: list[float] = []
        answers(self.forged, copied_noise.TEST, step=shares.append)
        self.assertEqual(shares, sorted(shares))
        self.assertEqual(shares[-1], 1)

        def cancel(share: float) -> None:
            if share > 0.5:
                raise ScanCancelled

        with self.assertRaises(ScanCancelled):
            answers(self.forged, copied_noise.TEST, step=cancel)

    def test_a_finding_becomes_a_region_and_leaves_the_cascade_alone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = load_model(write_model(Path(folder) / "m"))
        source = (self.forged, phantoms.geometry(SPACING))
        told: list[float] = []
        result, without = (
            CTForgeryScanLib.scan(
                source, model=model, device="cpu", evidence=e, on_evidence=lambda p: told.append(p.done)
            )
            for e in (True, False)
        )
        self.assertEqual((result.verdict, without.verdict), ("suspicious", "no_tampering_found"))
        self.assertEqual(told[-1], 1)
        self.assertEqual((without.findings, without.regions), ((), ()))
        self.assertEqual(result.slices, without.slices)
        self.assertLess(without.probability or 0, 0.5)
        self.assertEqual(result.probability, max(region.score for region in result.regions))
        (region,) = result.regions
        self.assertEqual((region.id, region.source), (1, "copied_noise"))
        self.assertGreater(region.score, 0.999)
        np.testing.assert_allclose(region.center_ijk, SITE, atol=2)
        assert result.labels is not None
        self.assertEqual(set(np.unique(result.labels)), {0, 1})
        r, c = (round((at - 15.5) / 4) for at in (SITE[1], SITE[0]))
        self.assertEqual(result.labels[SITE[2], r, c], 1)
        self.assertGreater(draw(result).height, draw(without).height)


class Search(unittest.TestCase):
    @settings(max_examples=15, deadline=None)
    @given(
        shift=st.tuples(st.integers(-12, 7), st.integers(-40, 40), st.integers(12, 60)),
        seed=st.integers(0, 1000),
    )
    def test_a_copy_is_found_at_exactly_its_shift(self, shift: tuple[int, int, int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        white = rng.normal(size=(40, 112, 128)).astype(np.float32)
        side, (k, j, i) = 20, (13, 45, 20)
        block = white[k : k + side, j : j + side, i : i + side].copy()
        dk, dj, di = shift
        white[k + dk : k + dk + side, j + dj : j + dj + side, i + di : i + di + side] += 0.7 * block
        noise = LungNoise(np.clip(white, -3, 3), (0, 0, 0), 30.0, 0.3, 0.0)
        hu = np.full(white.shape, -850, np.int16)
        spacing = 32 / 16  # a block of int(1.3 · 16) = 20 voxels
        volume = Volume(hu, np.diag([spacing] * 3 + [1]), "made")
        self.assertEqual(block_side(volume.spacing_mm), side)
        best, *_ = copied_noise.find_copies(volume, noise, [(j, i)], 4.0, CPU, silent)
        self.assertEqual(best.shift_kji, shift)


class BlockAlongK(unittest.TestCase):
    @settings(max_examples=25, deadline=None)
    @given(
        slices=st.integers(26, 40),  # the block of 60 about slice 10 or a later one reaches beyond
        source=st.integers(8, 17),
        shift=st.integers(-8, 8),
        seed=st.integers(0, 1000),
    )
    def test_the_cube_shows_where_a_block_lies_that_is_higher_than_the_scan(
        self, slices: int, source: int, shift: int, seed: int
    ) -> None:
        """Noise of its own about the repainted cube, a third of it in the cube, the copied noise on both."""
        side, cube = 60, (10, 46, 46)
        site = min(max(source + shift, cube[0]), slices - cube[0])
        rng = np.random.default_rng(seed)
        block, own = rng.normal(size=(2, slices, side, side)).astype(np.float32)
        own[site - cube[0] // 2 : site + cube[0] // 2, 7:53, 7:53] /= 3
        there = np.zeros_like(block)
        by = site - source
        there[max(by, 0) : slices + min(by, 0)] = block[max(-by, 0) : slices - max(by, 0)]
        touched = own + there * dome(side, 0.1).astype(np.float32)
        of_block, of_site = (Column((20 * noise - 900).astype(np.int16), noise) for noise in (block, touched))
        self.assertAlmostEqual(source_slice(of_block, of_site, by, cube), source, delta=1)


class Candidates(unittest.TestCase):
    def test_the_hottest_places_in_voxels_of_the_whole_volume_best_first(self) -> None:
        p = np.full((12, 41, 41), 0.02, np.float32)
        places = {(2, 8, 30): 0.6, (6, 20, 12): 0.95, (9, 33, 33): 0.8, (5, 33, 6): 0.9, (9, 8, 8): 0.4}
        for (k, r, c), heat in places.items():
            p[k - 1 : k + 2, r - 2 : r + 3, c - 2 : c + 3] = heat
        best = copy_move.candidates(Heatmap(p, np.eye(4)), first=3, count=4)
        hottest = sorted(places, key=lambda at: -places[at])[:4]
        self.assertEqual(best, [(k + 3, 4 * r + 15, 4 * c + 15) for k, r, c in hottest])


class MovedPatches(unittest.TestCase):
    @settings(max_examples=20, deadline=None)
    @given(
        symmetry=st.integers(0, 7),
        source=st.tuples(st.integers(1, 10), st.integers(12, 40), st.integers(12, 40)),
        flips=st.sets(st.sampled_from((0, 1, 2))),
        seed=st.integers(0, 1000),
    )
    def test_a_patch_is_found_at_its_source_in_each_symmetry_and_flip(
        self, symmetry: int, source: tuple[int, int, int], flips: set[int], seed: int
    ) -> None:
        white = np.random.default_rng(seed).normal(size=(12, 110, 120)).astype(np.float32)
        place, half = (6, 80, 90), 9
        (k, j, i), (sk, sj, si) = place, source
        patch = white[sk - 1 : sk + 2, sj - half : sj + half + 1, si - half : si + half + 1]
        white[k - 1 : k + 2, j - half : j + half + 1, i - half : i + half + 1] += as_copied(patch, symmetry)
        ends = np.array(white.shape) - 1

        def flipped(at: tuple[int, int, int]) -> tuple[int, int, int]:
            k, j, i = (int(ends[n] - x) if n in flips else x for n, x in enumerate(at))
            return k, j, i

        noise = LungNoise(np.flip(white, tuple(flips)).copy(), (0, 0, 0), 30.0, 0.3, 0.0)
        match = copy_move.MatchSearch(noise, half, CPU).best(flipped(place))
        assert match is not None
        self.assertEqual(match.source_kji, flipped(source))
        if not flips & {1, 2}:
            self.assertEqual(match.symmetry, symmetry)

    def test_a_moved_patch_is_found_in_each_symmetry(self) -> None:
        untouched = phantoms.chest(slices=30, size=320)
        seen = set()
        for seed in range(6):
            rng = np.random.default_rng(seed)
            forged = removed(untouched, (225, 160, 15), CopyMove(), rng)
            (answer,) = answers(forged.hu, copy_move.TEST, [(15, 160, 225)])
            self.assertTrue(answer.found, (forged.metadata, answer.text))
            self.assertEqual(answer.center_ijk, (225, 160, 15))
            i, j, k = forged.metadata["source_ijk"]
            self.assertIn(f"slice {k}, pixel ({i}, {j})", answer.text)
            seen.add(forged.metadata["symmetry"])
        self.assertGreater(len(seen), 3)

    def test_an_untouched_scan_has_none(self) -> None:
        (answer,) = answers(
            phantoms.chest(slices=30, size=320), copy_move.TEST, [(15, 160, 225), (5, 150, 90)]
        )
        self.assertEqual((answer.applicable, answer.found), (True, False), answer.text)

    def test_outside_lung_it_is_not_applicable(self) -> None:
        (answer,) = answers(phantoms.chest(slices=30, size=320), copy_move.TEST, [(15, 160, 160)])
        self.assertFalse(answer.applicable)


class Shown(unittest.TestCase):
    def test_site_and_source_look_alike_and_agree_at_one_shift(self) -> None:
        rng = np.random.default_rng(3)
        for symmetry in range(8):
            with self.subTest(symmetry):
                white = rng.normal(size=(8, 90, 90)).astype(np.float32)
                patch = white[1:4, 10:31, 10:31]
                white[4:7, 55:76, 50:71] = as_copied(patch, symmetry) + 0.5 * white[4:7, 55:76, 50:71]
                noise = LungNoise(white, (0, 0, 0), 30.0, 0.3, 0.0)
                volume = volume_of(np.full(white.shape, -850, np.int16))
                shown = exhibit(volume, noise, (5, 65, 60), (2, 20, 20), 21, symmetry)
                site, source, site_noise, source_noise, agreement = shown.tiles
                k = next(k for k in (4, 5, 6) if site.words == f"site: slice {k}, pixel (60, 65)")
                self.assertTrue(source.words.endswith(f"from: {k - 3}, (20, 20)"))
                alike = np.corrcoef(site_noise.values.ravel(), source_noise.values.ravel())[0, 1]
                self.assertGreater(alike, 0.7)
                values = agreement.values.ravel()
                self.assertEqual(int(values.argmax()), values.size // 2)
                self.assertGreater(values.max(), 3 * np.delete(values, values.size // 2).max())


@needs_shared_data
class RealSeries(unittest.TestCase):
    """A real series of 40 slices of 1 mm, the smallest to which the tests apply."""

    def test_untouched_it_has_no_finding_and_forged_it_has_one_at_its_site(self) -> None:
        untouched = load_volume(real_data() / "ct" / "R01-001")
        ijk = (291, 303, 19)
        rng = np.random.default_rng(1)
        pasted = PASTING.forge(untouched, Site("R01-001", ijk, 20.0, "remove"), rng)
        moved = CopyMove().forge(untouched, Site("R01-001", ijk, 28.0, "remove"), rng)
        for test, forged in ((copied_noise.TEST, pasted), (copy_move.TEST, moved)):
            with self.subTest(test):
                quiet, found = (
                    [
                        f.evidence
                        for f in examine_voxels(
                            load_volume((hu, untouched.ijk_to_ras)),
                            [ijk[::-1]] if test == copy_move.TEST else [],
                            CPU,
                            silent,
                        )
                        if f.evidence.test == test
                    ]
                    for hu in (untouched.hu, forged.hu)
                )
                self.assertEqual([(e.applicable, e.found) for e in quiet], [(True, False)])
                (answer,) = found
                self.assertTrue(answer.found, answer.text)
                np.testing.assert_allclose(answer.center_ijk or (), ijk, atol=2)


class Noise(unittest.TestCase):
    def test_it_is_white_and_only_in_flat_lung(self) -> None:
        hu = phantoms.chest(slices=10, size=320)
        noise = lung_noise(volume_of(hu), silent)
        assert noise is not None
        k0, j0, i0 = noise.first_kji
        _, rows, columns = noise.white.shape
        there = hu[k0:, j0 : j0 + rows, i0 : i0 + columns]
        self.assertTrue(np.all((there < -500)[noise.white != 0]))
        flat = noise.white
        self.assertLess(abs(float((flat[:, :, 2:] * flat[:, :, :-2]).mean())), 0.1)


class Thresholds(unittest.TestCase):
    def test_each_test_has_one_at_one_false_finding_in_a_thousand(self) -> None:
        shares = dict.fromkeys(TESTS, 1 / 1000) | {copy_move.TEST: 1 / 1000 / copy_move.CANDIDATES}
        for test, share in shares.items():
            threshold = load_threshold(test)
            # The stored numbers are rounded.
            self.assertAlmostEqual(threshold.probability_untouched(threshold.threshold) / share, 1, delta=0.1)
            self.assertEqual(threshold.false_share, share)
            self.assertGreaterEqual(threshold.beside, threshold.threshold)

    def test_a_copy_in_another_slice_of_its_own_place_has_the_threshold_of_such_copies(self) -> None:
        threshold = load_threshold(copied_noise.TEST)
        for source, least in (((10, 50, 60), threshold.beside), ((10, 80, 60), threshold.threshold)):
            self.assertEqual(copied_noise.Copy(9.0, (40, 52, 60), source, 20).least(threshold), least)


if __name__ == "__main__":
    unittest.main()
