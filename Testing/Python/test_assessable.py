"""What can be scanned and what is refused, and why, in words."""

from __future__ import annotations

import time
import unittest
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import phantoms
from CTForgeryScanLib.assessable import Assessment, assess
from CTForgeryScanLib.processing import MAX_SLICES
from CTForgeryScanLib.volume import Header, Volume, load_volume
from support import needs_shared_data, real_data

VALIDATED = {"spacing_mm": [0.5, 1.0]}


def volume_of(hu: NDArray[np.generic], header: Header | None = None) -> Volume:
    volume = load_volume((hu, phantoms.geometry()))
    return replace(volume, header=header) if header else volume


def codes(assessment: Assessment) -> dict[str, str]:
    return {reason.code: reason.severity for reason in assessment.reasons}


class PhantomTest(unittest.TestCase):
    hu: NDArray[np.int16]

    @classmethod
    def setUpClass(cls) -> None:
        cls.hu = phantoms.chest(6)

    def assert_refused(self, volume: Volume, code: str) -> None:
        result = assess(volume, VALIDATED)
        self.assertFalse(result.assessable)
        self.assertEqual(codes(result).get(code), "refuse", result)
        for reason in result.reasons:
            self.assertTrue(reason.text.endswith("."), reason.text)

    def test_a_chest_is_assessable_without_reasons(self) -> None:
        self.assertEqual(assess(volume_of(self.hu), VALIDATED), Assessment(True, ()))

    def test_a_single_slice_is_assessable(self) -> None:
        self.assertTrue(assess(volume_of(self.hu[:1]), VALIDATED).assessable)

    @settings(max_examples=20, deadline=None)
    @given(slices=st.integers(1, 3), size=st.integers(72, 130), seed=st.integers(0, 99))
    def test_every_size_is_judged(self, slices: int, size: int, seed: int) -> None:
        result = assess(volume_of(phantoms.chest(slices, size, seed=seed)), VALIDATED)
        self.assertTrue(result.assessable, result)

    def test_header_refusals(self) -> None:
        self.assert_refused(volume_of(self.hu, Header(modality="MR")), "not_ct")
        self.assert_refused(volume_of(self.hu, Header(modality="CT", lossy=True)), "lossy")
        self.assert_refused(volume_of(self.hu, Header(derivation=("warp",))), "processed")
        self.assert_refused(volume_of(self.hu, Header(bits_stored=8)), "eight_bit")

    def test_header_warnings(self) -> None:
        for header, code in (
            (Header(image_type=("DERIVED", "SECONDARY")), "derived"),
            (Header(manufacturer="ADAC", device="Pinnacle3"), "export"),
        ):
            result = assess(volume_of(self.hu, header), VALIDATED)
            self.assertTrue(result.assessable)
            self.assertEqual(codes(result), {code: "warn"})
        scanner = Header(
            modality="CT", image_type=("ORIGINAL", "SECONDARY"), manufacturer="SIEMENS", bits_stored=12
        )
        self.assertEqual(assess(volume_of(self.hu, scanner), VALIDATED).reasons, ())

    def test_spacing(self) -> None:
        for lowest, highest, expected in (
            (0.7, 0.7, {}),
            (0.75, 1.0, {"spacing": "warn"}),
            (0.5, 0.6, {"spacing": "warn"}),
        ):
            self.assertEqual(codes(assess(volume_of(self.hu), {"spacing_mm": [lowest, highest]})), expected)
        self.assertEqual(codes(assess(volume_of(self.hu), {})), {})
        oblong = replace(volume_of(self.hu), ijk_to_ras=phantoms.geometry((0.7, 0.8, 2.5)))
        self.assertEqual(codes(assess(oblong, VALIDATED)), {"not_square": "warn"})

    def test_slices_so_far_apart_that_a_site_may_be_no_region(self) -> None:
        for between, expected in ((5.0, {}), (7.5, {"thick_slices": "warn"})):
            far = replace(volume_of(self.hu), ijk_to_ras=phantoms.geometry((0.7, 0.7, between)))
            self.assertEqual(codes(assess(far, VALIDATED)), expected)
            alone = replace(far, hu=far.hu[:1])
            self.assertEqual(codes(assess(alone, VALIDATED)), {})

    def test_pixels_that_are_no_cts_are_refused(self) -> None:
        for mm in (0.0007, 0.05, 70.0, 700.0):
            self.assert_refused(
                replace(volume_of(self.hu), ijk_to_ras=phantoms.geometry((mm, mm, 2.5))), "not_ct"
            )

    def test_slices_that_are_not_axial(self) -> None:
        coronal = phantoms.geometry()
        coronal[[1, 2]] = coronal[[2, 1]]
        self.assert_refused(replace(volume_of(self.hu), ijk_to_ras=coronal), "not_axial")

    def test_values_that_are_not_hu(self) -> None:
        window = np.clip((self.hu + 1000.0) / 1400.0 * 255.0, 0, 255)
        self.assert_refused(volume_of(window.astype(np.uint8)), "eight_bit")
        self.assert_refused(volume_of(window.astype(np.int16)), "eight_bit")
        self.assert_refused(volume_of(self.hu.astype(np.int32) + 1024), "no_air")
        self.assert_refused(volume_of(np.clip(self.hu, -160, 240)), "no_air")
        self.assert_refused(volume_of(np.zeros_like(self.hu)), "constant")

    def test_no_lung(self) -> None:
        belly = np.where((self.hu > -950) & (self.hu < -600), np.int16(50), self.hu)
        belly[:, :, :] = np.where(ndimage.binary_opening(self.hu[0] > -950, iterations=2), belly, -1000)
        self.assert_refused(volume_of(belly), "no_lung")

    def test_gaps_in_the_grey_levels(self) -> None:
        self.assert_refused(volume_of(np.rint(self.hu / 6.0) * 6), "histogram_gaps")
        stretched = assess(volume_of(np.rint(self.hu * 1.1)), VALIDATED)
        self.assertEqual(codes(stretched), {"histogram_gaps": "warn"})

    def test_noise_that_no_scanner_leaves(self) -> None:
        smooth = np.rint(ndimage.gaussian_filter(self.hu.astype(float), (0, 1.8, 1.8)))
        self.assert_refused(volume_of(smooth), "smoothed")
        self.assert_refused(volume_of(phantoms.chest(6, noise_hu=0.01)), "no_noise")
        larger = np.stack([np.rint(ndimage.zoom(plane.astype(float), 1.4, order=1)) for plane in self.hu])
        self.assert_refused(volume_of(larger), "resampled")

    def test_one_interpolated_side_is_not_a_resampled_image(self) -> None:
        larger = np.stack([np.rint(ndimage.zoom(plane.astype(float), 1.4, order=1)) for plane in self.hu])
        mixed = phantoms.chest(6, larger.shape[1], seed=5)
        half = larger.shape[1] // 2
        mixed[:, :half, :half] = larger[:, :half, :half]
        self.assertNotIn("resampled", codes(assess(volume_of(mixed), VALIDATED)))

    def test_long_volumes_cost_no_more_than_short_ones(self) -> None:
        volume = volume_of(np.broadcast_to(phantoms.chest(1, 512), (300, 512, 512)))
        start = time.perf_counter()
        self.assertTrue(assess(volume, VALIDATED).assessable)
        # 1 s where it was measured; the limit leaves room for a busy machine.
        self.assertLess(time.perf_counter() - start, 10.0)
        self.assertGreaterEqual(MAX_SLICES, 8)


@needs_shared_data
class RealDataTest(unittest.TestCase):
    def test_untouched_series_but_the_warped_export_are_assessable(self) -> None:
        # Four files of each series, some of which lie above or below the lungs
        # (whole series: ``python -m training.measure_processing``).
        for path in sorted(path for path in (real_data() / "ct").iterdir() if path.is_dir()):
            files = sorted(path.iterdir())
            with self.subTest(series=path.name):
                results = [assess(load_volume(file), {}) for file in files[:: len(files) // 4]]
                found = set().union(*map(codes, results)) - {"no_lung"}
                self.assertEqual(found, {"processed", "export"} if path.name == "4D-Lung-113" else set())
                self.assertEqual(any(result.assessable for result in results), not found)

    def test_forged_slices_are_assessable(self) -> None:
        for path in sorted((real_data() / "ctgan" / "slices").iterdir())[::2]:
            with self.subTest(slice=path.name):
                self.assertEqual(assess(load_volume(path), {}).reasons, ())


if __name__ == "__main__":
    unittest.main()
