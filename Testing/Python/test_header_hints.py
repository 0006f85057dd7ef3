"""Hints of files and headers: silent on what a scanner writes, worded as hints where a program rewrote it."""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import phantoms
from CTForgeryScanLib.evidence.finding import Evidence
from CTForgeryScanLib.evidence.header import (
    differing_headers,
    field_of_view,
    file_identifier,
    header_hints,
    repeated_identifiers,
    rescale,
    slice_location,
)
from CTForgeryScanLib.volume import FileFacts, Header, Volume, load_volume
from support import needs_shared_data, real_data

SCANNER: dict[str, Any] = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ReconstructionDiameter": 192 * 0.7,
    "KVP": 120,
    "SoftwareVersions": "06MW03.5",
}


def answers(volume: Volume) -> dict[str, Evidence]:
    return {evidence.test: evidence for evidence in (hint(volume) for hint in header_hints())}


def found(volume: Volume) -> set[str]:
    return {test for test, evidence in answers(volume).items() if evidence.found}


def of_files(files: Sequence[FileFacts], axes: np.ndarray[Any, Any] | None = None) -> Volume:
    """A volume whose files say so, on slices with the given axes (columns, LPS)."""
    geometry = np.eye(4)
    if axes is not None:
        geometry[:3, :3] = np.diag((-1.0, -1.0, 1.0)) @ axes
    return replace(
        load_volume((np.zeros((1, 64, 64), np.int16), geometry)), header=Header(files=tuple(files))
    )


class WrittenFilesTest(unittest.TestCase):
    """Through DICOM files on disk, as a user has them."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.hu = phantoms.chest(4)

    def write(self, only: int | None = None, **changes: Any) -> Volume:
        """A scanner's series with ``changes`` in all its slices, or in slice ``only``."""
        for k, plane in enumerate(self.hu):
            own = changes if only in (None, k) else {}
            own = {name: value(k) if callable(value) else value for name, value in own.items()}
            media = own.pop("media", None)
            z = -300.0 + 2.5 * k
            data = phantoms.dicom_slice(plane, z, k + 1, **(SCANNER | {"SliceLocation": z} | own))
            if media is not None:
                data.file_meta.MediaStorageSOPInstanceUID = media
            # Without enforcing the format, which would mend the identifier.
            pydicom.dcmwrite(self.folder / f"{k}.dcm", data)
        return load_volume(self.folder)

    def test_a_scanners_series_gives_no_hint_and_every_hint_applies(self) -> None:
        for test, evidence in answers(self.write()).items():
            with self.subTest(test):
                self.assertTrue(evidence.applicable, evidence.reason)
                self.assertFalse(evidence.found, evidence.text)

    def test_a_series_made_from_one_file_as_the_published_forgeries(self) -> None:
        stored: dict[str, Any] = {
            "RescaleIntercept": 0,
            "PixelRepresentation": 1,
            "PixelData": lambda k: self.hu[k].astype("<i2").tobytes(),
        }
        volume = self.write(
            media=f"{phantoms.SERIES_UID}.77",
            SliceLocation=lambda k: k + 1,
            ReconstructionDiameter=349,
            **stored,
        )
        np.testing.assert_array_equal(volume.hu, self.hu)
        expected = {
            "file_identifier",
            "repeated_identifiers",
            "slice_location",
            "field_of_view",
            "rescale",
        }
        self.assertEqual(found(volume), expected)
        alone = load_volume(self.folder / "1.dcm")
        self.assertEqual(found(alone), expected - {"repeated_identifiers"})
        for evidence in (*answers(volume).values(), *answers(alone).values()):
            self.assertIsNone(evidence.center_ijk)
            if evidence.found:
                self.assertRegex(evidence.text, r"^Hint: [^\n]+\.$")
                self.assertNotIn(phantoms.SERIES_UID, evidence.text)

    def test_without_a_pixel_size_the_width_is_not_known(self) -> None:
        volume = self.write(ReconstructionDiameter=349, PixelSpacing=None)
        self.assertFalse(answers(volume)["field_of_view"].applicable)

    def test_one_slice_from_elsewhere(self) -> None:
        volume = self.write(only=2, KVP=140, ConvolutionKernel="LUNG")
        evidence = answers(volume)["differing_headers"]
        self.assertTrue(evidence.found)
        self.assertEqual(evidence.score, 2.0)
        self.assertIn("tube voltage, kernel", evidence.text)
        self.assertEqual(found(volume), {"differing_headers"})

    def test_a_copied_file_repeats_its_identifier_though_its_slice_is_left_out(self) -> None:
        self.write()
        (self.folder / "9.dcm").write_bytes((self.folder / "1.dcm").read_bytes())
        volume = load_volume(self.folder)
        self.assertEqual(volume.shape[0], 4)
        self.assertEqual(found(volume), {"repeated_identifiers"})
        self.assertEqual(answers(volume)["repeated_identifiers"].score, 2.0)

    def test_equalised_grey_levels(self) -> None:
        levels, counts = np.unique(self.hu, return_counts=True)
        share = np.cumsum(counts) / counts.sum()
        self.hu = np.interp(self.hu, levels, np.rint(-1024 + 1500 * share)).astype(np.int16)
        self.assertEqual(found(self.write()), {"grey_levels"})

    def test_nothing_of_the_patient_is_kept(self) -> None:
        header = self.write().header
        self.assertEqual(len(header.files), 4)
        for secret in ("Nobody", "SECRET"):
            self.assertNotIn(secret, str(header))

    def test_files_that_state_little(self) -> None:
        bare = dict.fromkeys(("Manufacturer", "ConvolutionKernel", "SliceThickness"))
        for k, plane in enumerate(self.hu):
            phantoms.save(
                phantoms.dicom_slice(plane, -300.0 + 2.5 * k, k + 1, **bare), self.folder / f"{k}.dcm"
            )
        results = answers(load_volume(self.folder))
        for test in ("slice_location", "field_of_view", "rescale"):
            self.assertFalse(results[test].applicable, test)
            self.assertRegex(results[test].reason or "", r"^The header .*\.$")
        self.assertEqual({test for test, evidence in results.items() if evidence.found}, set())


class WithoutFilesTest(unittest.TestCase):
    def test_a_volume_without_header_says_why_no_hint_applies(self) -> None:
        volume = load_volume((phantoms.chest(2), phantoms.geometry()))
        for evidence in answers(volume).values():
            self.assertFalse(evidence.applicable or evidence.found)
            self.assertIn("did not come as DICOM files", evidence.reason or "")


class PropertyTest(unittest.TestCase):
    @settings(deadline=None)
    @given(
        turn=st.tuples(*[st.floats(-180, 180)] * 3),
        zero=st.floats(-2000, 2000),
        start=st.tuples(*[st.floats(-500, 500)] * 3),
        step=st.floats(0.3, 10.0),
        tilt=st.floats(-20.0, 20.0),
        sign=st.sampled_from([-1.0, 1.0]),
        along_table=st.booleans(),
        count=st.integers(2, 20),
    )
    def test_locations_of_any_zero_direction_and_tilt_agree_and_counts_of_slices_do_not(
        self,
        turn: tuple[float, ...],
        zero: float,
        start: tuple[float, ...],
        step: float,
        tilt: float,
        sign: float,
        along_table: bool,
        count: int,
    ) -> None:
        axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
        lean = np.radians(tilt)
        table = step * (np.cos(lean) * axes[:, 2] + np.sin(lean) * axes[:, 1])
        places = [np.asarray(start) + k * table for k in range(count)]
        between = step if along_table else step * np.cos(lean)

        def located(locations: Sequence[float]) -> Evidence:
            return slice_location(
                of_files(
                    [
                        FileFacts(slice_location_mm=at, position_mm=tuple(place))
                        for at, place in zip(locations, places, strict=True)
                    ],
                    axes,
                )
            )

        honest = located([zero + sign * k * between for k in range(count)])
        self.assertFalse(honest.found, honest)
        if (count - 1) * min(abs(step - 1.0), abs(step * np.cos(lean) - 1.0)) > 1.01:
            self.assertTrue(located([float(k) for k in range(count)]).found)

    @settings(deadline=None)
    @given(diameter=st.floats(50, 700), off=st.floats(-0.3, 0.3))
    def test_field_of_view(self, diameter: float, off: float) -> None:
        evidence = field_of_view(
            of_files([FileFacts(reconstruction_mm=diameter, width_mm=diameter * (1 + off))])
        )
        if abs(abs(off) - 0.01) > 1e-6:
            self.assertEqual(evidence.found, abs(off) > 0.01)

    @settings(deadline=None)
    @given(odd=st.integers(0, 9), total=st.integers(1, 9))
    def test_identifiers_are_counted(self, odd: int, total: int) -> None:
        odd = min(odd, total)
        files = [
            FileFacts(sop_instance_uid=f"1.{n}", media_storage_uid=f"{2 if n < odd else 1}.{n}")
            for n in range(total)
        ]
        evidence = file_identifier(of_files(files))
        self.assertEqual((evidence.score, evidence.found), (odd, odd > 0))
        self.assertFalse(repeated_identifiers(of_files(files)).found)

    @settings(deadline=None)
    @given(
        values=st.lists(st.sampled_from(["100", "120", "140"]), min_size=2, max_size=6),
    )
    def test_headers_differ_where_any_value_does(self, values: list[str]) -> None:
        files = [FileFacts(acquisition=(("tube voltage", value), ("kernel", "B30f"))) for value in values]
        self.assertEqual(differing_headers(of_files(files)).found, len(set(values)) > 1)

    def test_rescale_by_manufacturer(self) -> None:
        for manufacturer, slope, intercept, expected in (
            ("GE MEDICAL SYSTEMS", 1.0, -1024.0, False),
            ("GE MEDICAL SYSTEMS", 1.0, 0.0, True),
            ("SIEMENS", 1.000244, -1024.0, False),
            ("SIEMENS", 1.0, -1000.0, True),
            ("Philips", 1.0, -1000.0, False),
            ("TOSHIBA", 1.0, 0.0, False),
            ("Philips", 0.5, -1024.0, True),
        ):
            with self.subTest(manufacturer=manufacturer, slope=slope, intercept=intercept):
                volume = of_files([FileFacts(rescale=(slope, intercept))])
                volume = replace(volume, header=replace(volume.header, manufacturer=manufacturer))
                self.assertEqual(rescale(volume).found, expected)
        self.assertFalse(rescale(of_files([FileFacts(rescale=(1.0, 5.0))])).applicable)


@needs_shared_data
class RealDataTest(unittest.TestCase):
    def test_every_second_genuine_forgery_is_hinted_at(self) -> None:
        for path in sorted((real_data() / "ctgan" / "slices").iterdir())[::2]:
            with self.subTest(slice=path.name):
                self.assertLessEqual(
                    {"file_identifier", "field_of_view", "rescale"}, found(load_volume(path))
                )

    def test_untouched_files_are_not(self) -> None:
        # Whole series and all slices, with the two whose rescale is unusual: training/evaluate_header_hints.py.
        slices = sorted((real_data() / "pristine_slices" / "slices").iterdir())[::6]
        for path in (*slices, real_data() / "ct" / "CRLM-CT-1004", real_data() / "ct" / "C3L-00189"):
            with self.subTest(path=path.name):
                self.assertEqual(found(load_volume(path)), set())


if __name__ == "__main__":
    unittest.main()
