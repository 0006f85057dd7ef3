"""Traces of processing: absent from what a reconstruction leaves, present after filters, resampling and the like."""

from __future__ import annotations

import json
import unittest
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, stats

import phantoms
from CTForgeryScanLib import assessable
from CTForgeryScanLib.processing import ProcessingTraces, grey_level_gaps, measure_processing
from CTForgeryScanLib.volume import Volume, load_volume
from support import ROOT, needs_shared_data, real_data
from training.measure_processing import equalised, fit_maxima, fit_tail, processed, processes

PADDING = -2048


def padded_chest(slices: int = 4, size: int = 320, seed: int = 0) -> NDArray[np.int16]:
    """A chest with one value outside the inscribed circle, as scanners write it."""
    hu = phantoms.chest(slices, size, seed=seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    hu[:, np.hypot(x, y) > size / 2] = PADDING
    return hu


def traces_of(hu: NDArray[Any]) -> ProcessingTraces:
    return measure_processing(load_volume((np.rint(hu), phantoms.geometry())))


def in_plane(hu: NDArray[Any], sigma: float) -> NDArray[Any]:
    return ndimage.gaussian_filter(hu.astype(float), (0, sigma, sigma))


class PhantomTest(unittest.TestCase):
    hu: NDArray[np.int16]

    @classmethod
    def setUpClass(cls) -> None:
        cls.hu = padded_chest()

    def test_a_reconstruction_has_no_trace(self) -> None:
        traces = traces_of(self.hu)
        self.assertGreater(traces.grain, assessable.SMOOTHED_WARN)
        self.assertLess(traces.periodicity, assessable.RESAMPLED_WARN)
        self.assertEqual((traces.padding_edge, traces.grey_level_gaps), (0.0, 0.0))

    def test_rounding_alone_has_no_grain(self) -> None:
        ramp = np.linspace(-900.0, 100.0, 320) + np.linspace(0.0, 77.0, 320)[:, None]
        noise = np.random.default_rng(0).uniform(-20.0, 20.0, (4, 320, 320))
        self.assertLess(traces_of(in_plane(ramp + noise, 2.0)).grain, assessable.SMOOTHED_REFUSE)

    @settings(max_examples=10, deadline=None)
    @given(offset=st.integers(-20, 20), flips=st.tuples(st.booleans(), st.booleans()), turn=st.booleans())
    def test_an_offset_a_flip_and_a_quarter_turn_change_little(
        self, offset: int, flips: tuple[bool, bool], turn: bool
    ) -> None:
        changed = np.flip(self.hu, tuple(axis + 1 for axis, flip in enumerate(flips) if flip)) + offset
        before, after = traces_of(self.hu), traces_of(np.rot90(changed, axes=(1, 2)) if turn else changed)
        self.assertAlmostEqual(after.grain, before.grain, delta=0.1 * before.grain)
        self.assertLess(after.periodicity, assessable.RESAMPLED_WARN)
        self.assertEqual((after.padding_edge, after.grey_level_gaps), (0.0, 0.0))

    @settings(max_examples=10, deadline=None)
    @given(sigma=st.floats(0.5, 2.0))
    def test_smoothing_blurs_the_padding_and_lowers_the_grain(self, sigma: float) -> None:
        before, after = traces_of(self.hu), traces_of(in_plane(self.hu, sigma))
        self.assertLess(after.grain, before.grain)
        self.assertGreater(after.padding_edge, assessable.PADDING_EDGE_REFUSE)

    @settings(max_examples=10, deadline=None)
    @given(factor=st.one_of(st.floats(0.85, 0.94), st.floats(1.06, 1.4)))
    def test_resampling_repeats(self, factor: float) -> None:
        hu = phantoms.chest(4, 320, wide_lungs=True)
        planes = [ndimage.zoom(plane.astype(float), factor, order=1) for plane in hu]
        self.assertGreater(traces_of(np.stack(planes)).periodicity, assessable.RESAMPLED_REFUSE)

    def test_one_forged_region_is_not_a_processed_image(self) -> None:
        hu = self.hu.astype(float)
        hu[:, 120:160, 60:100] = in_plane(hu, 1.0)[:, 120:160, 60:100]
        before, after = traces_of(self.hu), traces_of(hu)
        self.assertAlmostEqual(after.grain, before.grain, delta=0.1 * before.grain)
        self.assertEqual((after.padding_edge, after.grey_level_gaps), (0.0, 0.0))

    def test_equalisation_leaves_gaps(self) -> None:
        changed = np.stack(equalised([plane.astype(np.float32) for plane in self.hu]))
        volume = load_volume((np.rint(changed), phantoms.geometry()))
        self.assertGreater(grey_level_gaps(volume), assessable.GAPS_WARN)
        self.assertEqual(grey_level_gaps(load_volume((self.hu, phantoms.geometry()))), 0.0)

    def test_no_padding_no_body_and_no_lung_are_nan(self) -> None:
        self.assertTrue(np.isnan(traces_of(phantoms.chest(2)).padding_edge))
        nothing = traces_of(np.full((2, 64, 64), -1000))
        self.assertTrue(np.isnan(nothing.grain) and np.isnan(nothing.noise_hu))


class LimitsTest(unittest.TestCase):
    def test_the_limits_are_those_of_the_stored_fit(self) -> None:
        fit = json.loads((ROOT / "training" / "configs" / "processing-limits.json").read_text())
        for name, warn, refuse in (
            ("grain", assessable.SMOOTHED_WARN, assessable.SMOOTHED_REFUSE),
            ("periodicity", assessable.RESAMPLED_WARN, assessable.RESAMPLED_REFUSE),
        ):
            self.assertAlmostEqual(fit[name]["warn"] / warn, 1.0, delta=0.01)
            self.assertAlmostEqual(fit[name]["refuse"] / refuse, 1.0, delta=0.01)
        self.assertLess(fit["padding_edge"]["highest untouched"], assessable.PADDING_EDGE_REFUSE / 4)
        self.assertLess(fit["grey_level_gaps"]["highest untouched"], assessable.GAPS_WARN / 2)

    def test_fits_find_the_quantiles_they_were_drawn_from(self) -> None:
        maxima = stats.gumbel_r.rvs(3.0, 0.5, size=20_000, random_state=0).tolist()
        self.assertAlmostEqual(
            fit_maxima(maxima)["refuse"], float(stats.gumbel_r.isf(0.001, 3.0, 0.5)), delta=0.1
        )
        tail = stats.expon.rvs(0.0, 2.0, size=20_000, random_state=0).tolist()
        self.assertAlmostEqual(fit_tail(tail)["warn"], float(stats.expon.isf(0.01, 0.0, 2.0)), delta=0.3)


def processing_reasons(volume: Volume) -> list[assessable.Reason]:
    """All but the warning of thick slices, which is true of both series as they are."""
    return [r for r in assessable.assess(volume, {}).reasons if r.code != "thick_slices"]


@needs_shared_data
class RealDataTest(unittest.TestCase):
    """All series, slices and processes: ``python -m training.measure_processing``."""

    def test_processed_copies_of_two_series(self) -> None:
        for case, harmless in (
            ("CRLM-CT-1004", {"median 3x3"}),
            ("Lung_Dx-A0002_B40f", {"Gauss 0.5 px", "Lanczos, 0.85 times", "median 3x3"}),
        ):
            volume = load_volume(real_data() / "ct" / case)
            self.assertEqual(processing_reasons(volume), [])
            for process in processes():
                with self.subTest(series=case, process=process[0]):
                    reasons = processing_reasons(processed(volume, process))
                    self.assertEqual(bool(reasons), process[0] not in harmless, reasons)

    def test_the_worst_untouched_slices_keep_their_distance(self) -> None:
        soft = load_volume(real_data() / "pristine_slices" / "slices" / "TCGA-17-Z013_0.dcm")
        self.assertGreater(measure_processing(soft).grain, 2 * assessable.SMOOTHED_WARN)
        rough = load_volume(real_data() / "ctgan" / "slices" / "1535_96.dcm")
        self.assertLess(measure_processing(rough).periodicity, assessable.RESAMPLED_WARN)


if __name__ == "__main__":
    unittest.main()
