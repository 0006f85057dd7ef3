"""Added noise: found where white noise was laid over the scan's own, and nowhere in an untouched scan."""

from __future__ import annotations

import unittest
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.evidence import examine_voxels
from CTForgeryScanLib.evidence.added_noise import TEST, added_noise
from CTForgeryScanLib.evidence.finding import Evidence
from CTForgeryScanLib.evidence.noise import LungNoise
from CTForgeryScanLib.evidence.thresholds import load_threshold
from CTForgeryScanLib.volume import Volume, load_volume
from support import needs_shared_data, real_data
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.sites import Site

WHITE = PublishedPasting(procedural_content, touch_up="white")


def silent(share: float) -> None:
    """Nobody looks at the progress."""


def answer_of(volume: Volume) -> Evidence:
    (finding,) = (
        f for f in examine_voxels(volume, [], torch.device("cpu"), silent) if f.evidence.test == TEST
    )
    return finding.evidence


class Phantom(unittest.TestCase):
    @settings(max_examples=15, deadline=None)
    @given(
        row=st.integers(70, 130),
        column=st.integers(70, 130),
        added_hu=st.floats(10, 24),
        seed=st.integers(0, 1000),
    )
    def test_it_is_found_wherever_it_was_added(
        self, row: int, column: int, added_hu: float, seed: int
    ) -> None:
        """Smooth noise of 10 HU, and white noise on a disc of the width of a block."""
        rng = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(rng.normal(size=(6, 200, 200)), (0, 1.5, 1.5))
        hu: NDArray[np.float64] = 10 * smooth / smooth.std() - 850
        volume = Volume(hu.astype(np.int16), np.diag([0.7, 0.7, 2.5, 1]), "made")
        noise = LungNoise(np.ones(hu.shape, np.float32), (0, 0, 0), 10.0, 0.3, 0.0)
        threshold = load_threshold(TEST)
        (finding,) = added_noise(volume, noise, threshold, silent)
        self.assertFalse(finding.evidence.found)
        disc = np.hypot(*np.ogrid[-row : 200 - row, -column : 200 - column]) < 25
        touched = replace(volume, hu=(hu + disc * rng.normal(0, added_hu, hu.shape)).astype(np.int16))
        (finding,) = added_noise(touched, noise, threshold, silent)
        self.assertTrue(finding.evidence.found)
        assert finding.evidence.center_ijk is not None and finding.place is not None
        np.testing.assert_allclose(finding.evidence.center_ijk[:2], (column, row), atol=16)
        self.assertEqual(finding.place.extent_ijk[2], (0, 5))


@needs_shared_data
class RealSeries(unittest.TestCase):
    """A real series of 26 slices of 8 mm."""

    def test_untouched_it_has_no_finding_and_forged_it_has_one_at_its_site(self) -> None:
        volume = load_volume(real_data() / "ct" / "Lung_Dx-A0002_B40f")
        answer = answer_of(volume)
        self.assertTrue(answer.applicable and not answer.found, answer.text)
        site = Site(volume.source, (179, 183, 20), 0.0, "remove")
        forged = WHITE.forge(volume, site, np.random.default_rng(0))
        answer = answer_of(replace(volume, hu=forged.hu))
        self.assertTrue(answer.found, answer.text)
        assert answer.center_ijk is not None
        np.testing.assert_allclose(answer.center_ijk[:2], site.voxel[:2], atol=16)
        self.assertIn("times as strong", answer.text)


if __name__ == "__main__":
    unittest.main()
