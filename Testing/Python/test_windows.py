"""Where the sub-images lie (Eq. 4–7)."""

from __future__ import annotations

import unittest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from CTForgeryScanLib.volume import load_volume
from CTForgeryScanLib.windows import (
    STRIDE,
    WINDOW,
    asked_mask,
    body_mask,
    centres,
    circle_mask,
    grid_shape,
    near_lung_mask,
)
from support import SAMPLE


class Windows(unittest.TestCase):
    def test_the_papers_counts(self) -> None:
        self.assertEqual(grid_shape(512, 512), (121, 121))
        self.assertEqual(int(circle_mask(512, 512).sum()), 12477)

    @given(rows=st.integers(32, 700), columns=st.integers(32, 700))
    def test_every_window_lies_in_the_slice_and_no_further_one_fits(self, rows: int, columns: int) -> None:
        for size, count in zip((rows, columns), grid_shape(rows, columns), strict=True):
            self.assertLessEqual(STRIDE * (count - 1) + WINDOW, size)
            self.assertGreater(STRIDE * count + WINDOW, size)

    def test_centre_is_the_middle_of_the_covered_pixels(self) -> None:
        y, x = centres(64, 512)
        self.assertEqual(y[1], np.arange(4, 36).mean())
        self.assertEqual(x[120], np.arange(480, 512).mean())

    def test_circle_keeps_both_halves(self) -> None:
        circle = circle_mask(512, 512)
        np.testing.assert_array_equal(circle, circle[:, ::-1])
        np.testing.assert_array_equal(circle, circle[::-1])
        self.assertFalse(circle[0, 0])
        self.assertTrue(circle[60, 0] and circle[0, 60])

    def test_too_small(self) -> None:
        with self.assertRaises(ValueError):
            grid_shape(31, 100)

    def test_body_has_its_lungs_but_not_the_table(self) -> None:
        j, i = np.ogrid[:256, :256]
        hu = np.full((256, 256), -1000, np.int16)
        hu[np.hypot((j - 110) / 80, (i - 128) / 110) < 1] = 40
        hu[np.hypot((j - 110) / 50, (i - 90) / 30) < 1] = -860
        hu[225:232, 20:236] = 60
        body = body_mask(hu)
        for place, inside in {(110, 128): True, (110, 90): True, (228, 128): False, (20, 20): False}.items():
            r, c = (round((p - 15.5) / 4) for p in place)
            self.assertEqual(body[r, c], inside, place)

    def test_lung_that_the_field_of_view_cuts_open_is_body(self) -> None:
        j, i = np.ogrid[:256, :256]
        hu = np.full((256, 256), -1000, np.int16)
        hu[np.hypot((j - 110) / 80, (i - 100) / 140) < 1] = 40
        hu[np.hypot((j - 110) / 50, (i + 4) / 40) < 1] = -860  # its chest wall lies beyond column 0
        body = body_mask(hu)
        for place, inside in {(110, 20): True, (110, 100): True, (20, 20): False, (225, 128): False}.items():
            r, c = (round((p - 15.5) / 4) for p in place)
            self.assertEqual(body[r, c], inside, place)

    def test_near_lung_is_what_holds_lung_and_not_bowel_gas(self) -> None:
        j, i = np.ogrid[:256, :256]
        hu = np.full((256, 256), -1000, np.int16)
        hu[np.hypot(j - 128, i - 128) < 110] = 40
        hu[np.hypot(j - 128, i - 80) < 24] = -860
        hu[np.hypot(j - 128, i - 180) < 24] = -1000
        blurred = ndimage.gaussian_filter(hu.astype(float), 1.5).astype(np.int16)
        near = near_lung_mask(blurred)
        for column, inside in {
            36: False,
            64: True,
            80: True,
            104: True,
            116: True,
            124: False,
            180: False,
        }.items():
            self.assertEqual(near[round((128 - 15.5) / 4), round((column - 15.5) / 4)], inside, column)

    def test_the_circle_counts_in_whole_images_only(self) -> None:
        hu = load_volume(SAMPLE).hu[12]
        np.testing.assert_array_equal(asked_mask(hu), near_lung_mask(hu) & circle_mask(512, 512))
        cropped = hu[96:404, 44:468]  # to the lungs
        near = near_lung_mask(cropped)
        self.assertGreater(
            np.count_nonzero(near & ~circle_mask(*cropped.shape)), 0.1 * np.count_nonzero(near)
        )
        np.testing.assert_array_equal(asked_mask(cropped), near)

    def test_air_alone_is_no_body(self) -> None:
        air = np.full((128, 128), -1000, np.int16)
        self.assertFalse(body_mask(air).any() or near_lung_mask(air).any())


if __name__ == "__main__":
    unittest.main()
