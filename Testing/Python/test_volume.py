"""Loading: the same voxels at the same places through every door, and one clear sentence for what cannot be read."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless
from scipy.spatial.transform import Rotation

import phantoms
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.volume import list_series, load_volume
from support import ROOT, needs_shared_data, real_data


class InTemporaryFolder(unittest.TestCase):
    """A test with a folder of its own, whose name has a space and letters beyond ASCII."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name) / "Müller 胸 CT"
        self.folder.mkdir()

    def refused(self, source: object, *words: str, series: str | None = None) -> str:
        """Assert that loading fails with one sentence that has all the words."""
        with self.assertRaises(InputError) as caught:
            load_volume(source, series=series)  # type: ignore[arg-type]
        message = str(caught.exception)
        for word in words:
            self.assertIn(word, message)
        self.assertNotIn("\n", message)
        self.assertTrue(message.endswith("."), message)
        return message


def image_of(array: NDArray[np.generic], spacing: tuple[float, ...], origin: tuple[float, ...]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


class GeometryTest(InTemporaryFolder):
    @settings(max_examples=25, deadline=None)
    @given(
        turn=st.tuples(*[st.floats(-180, 180)] * 3),
        spacing=st.tuples(*[st.floats(0.3, 5.0)] * 3),
        origin=st.tuples(*[st.floats(-500, 500)] * 3),
        flip=st.booleans(),
        suffix=st.sampled_from([".nrrd", ".mha", ".nii.gz"]),
    )
    def test_voxels_lie_where_itk_says(
        self,
        turn: tuple[float, ...],
        spacing: tuple[float, ...],
        origin: tuple[float, ...],
        flip: bool,
        suffix: str,
    ) -> None:
        array = np.random.default_rng(0).integers(-1000, 1000, (3, 64, 70)).astype(np.int16)
        image = image_of(array, spacing, origin)
        axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
        if flip:
            axes[:, 2] *= -1
        image.SetDirection(axes.ravel())
        path = self.folder / f"a{suffix}"
        sitk.WriteImage(image, str(path))
        volume = load_volume(path)
        np.testing.assert_array_equal(volume.hu, array)
        np.testing.assert_allclose(volume.spacing_mm, spacing, rtol=1e-4)
        for index in ((0, 0, 0), (69, 63, 2), (5, 40, 1)):
            left, posterior, superior = image.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose(
                volume.ijk_to_ras_point(index), (-left, -posterior, superior), atol=5e-3
            )

    def test_a_dicom_folder_a_nrrd_an_image_and_an_array_are_the_same(self) -> None:
        hu = phantoms.chest(4)
        phantoms.save_series(self.folder / "dicom", hu)
        volume = load_volume(self.folder / "dicom")
        np.testing.assert_array_equal(volume.hu, hu)
        np.testing.assert_allclose(volume.ijk_to_ras, phantoms.geometry())
        image = image_of(hu, (0.7, 0.7, 2.5), (-120, -110, -300))
        prints = {volume.sha256, load_volume(image).sha256, load_volume((hu, phantoms.geometry())).sha256}
        for suffix in (".nrrd", ".mha", ".mhd", ".nii", ".nii.gz"):
            sitk.WriteImage(image, str(self.folder / f"a{suffix}"))
            prints.add(load_volume(str(self.folder / f"a{suffix}")).sha256)
        self.assertEqual(len(prints), 1)
        self.assertNotIn(load_volume((hu + np.int16(1), phantoms.geometry())).sha256, prints)

    def test_slices_stay_where_they_were(self) -> None:
        volume = load_volume((phantoms.chest(6), phantoms.geometry()))
        part = volume.slices(2, 5)
        self.assertEqual(part.shape, (3, 192, 192))
        np.testing.assert_allclose(part.ijk_to_ras_point((7, 9, 1)), volume.ijk_to_ras_point((7, 9, 3)))
        for start, stop in ((3, 3), (-1, 2), (0, 7)):
            with self.assertRaises(InputError):
                volume.slices(start, stop)

    def test_a_volume_is_returned_as_it_is(self) -> None:
        volume = load_volume((phantoms.chest(1), phantoms.geometry()))
        self.assertIs(load_volume(volume), volume)

    def test_a_2d_array_and_a_2d_image_are_one_slice(self) -> None:
        hu = phantoms.chest(1)
        self.assertEqual(load_volume((hu[0], phantoms.geometry())).shape, (1, 192, 192))
        self.assertEqual(load_volume(image_of(hu[0], (0.7, 0.7), (0, 0))).shape, (1, 192, 192))


class ValuesTest(InTemporaryFolder):
    @given(dtype=st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.uint64, np.float32, np.float64]))
    def test_every_number_type_keeps_its_values(self, dtype: type) -> None:
        array = np.arange(64 * 64).reshape(1, 64, 64) % 120
        np.testing.assert_array_equal(load_volume((array.astype(dtype), np.eye(4))).hu, array)

    def test_floats_are_rounded(self) -> None:
        array = np.full((1, 64, 64), -850.6)
        self.assertEqual(int(load_volume((array, np.eye(4))).hu[0, 0, 0]), -851)

    def test_few_values_out_of_range_are_clipped_and_noted(self) -> None:
        for dtype in (np.float64, np.int32):
            array = np.zeros((1, 64, 64), dtype)
            array[0, 0, :2] = 70000, -70000
            volume = load_volume((array, np.eye(4)))
            self.assertEqual(volume.hu[0, 0, :3].tolist(), [32767, -32768, 0])
            self.assertIn("2 values", volume.notes[0])

    def test_values_that_cannot_be_hu_are_refused(self) -> None:
        self.refused((np.full((1, 64, 64), 50000), np.eye(4)), "not Hounsfield units")

    def test_nan_and_infinity_are_refused(self) -> None:
        for bad in (np.nan, np.inf):
            array = np.zeros((2, 64, 64), np.float32)
            array[1, 3, 3] = bad
            sitk.WriteImage(sitk.GetImageFromArray(array), str(self.folder / "nan.nrrd"))
            self.refused(self.folder / "nan.nrrd", "nan.nrrd", "slice 1", "NaN")

    def test_arrays_that_are_no_volume_are_refused(self) -> None:
        hu = phantoms.chest(1)
        self.refused((hu[None], np.eye(4)), "4 dimensions")
        self.refused((hu.astype(bool), np.eye(4)), "bool")
        self.refused((hu, np.zeros((4, 4))), "ijk_to_ras")
        self.refused((hu, np.diag([1, 1, 0, 1])), "ijk_to_ras")
        self.refused((hu[:0], np.eye(4)), "no voxels")


class BadFilesTest(InTemporaryFolder):
    def test_missing_empty_and_unknown(self) -> None:
        self.refused(self.folder / "none.nrrd", "none.nrrd", "no such file")
        self.refused(self.folder, "no DICOM image")
        picture = self.folder / "a.png"
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((64, 64), np.uint8)), str(picture))
        self.refused(picture, "a.png", "not known")

    def test_names_and_files_that_cannot_be_read(self) -> None:
        phantoms.save_series(self.folder / "ct", phantoms.chest(3))
        (self.folder / "ct" / "empty.dcm").touch()
        self.assertIn("slices may be missing", " ".join(load_volume(self.folder / "ct").notes))
        (self.folder / "ct" / "gone.dcm").symlink_to(self.folder / "nowhere")  # as editors and archives leave
        self.assertEqual(len(load_volume(self.folder / "ct").hu), 3)
        (self.folder / "ct" / "loop.dcm").symlink_to("loop.dcm")
        with self.assertRaisesRegex(InputError, "loop.dcm: it cannot be read"):
            load_volume(self.folder / "ct")
        with self.assertRaisesRegex(InputError, "not valid text"):
            load_volume(str(self.folder / "M\udcfcller.nrrd"))

    def test_a_damaged_block_of_a_packed_nifti(self) -> None:
        path = self.folder / "ct.nii.gz"
        sitk.WriteImage(image_of(phantoms.chest(4, 96), (0.7, 0.7, 2.5), (0, 0, 0)), str(path))
        content = bytearray(path.read_bytes())
        content[3000:7000] = b"\xff" * 4000
        path.write_bytes(content)
        self.refused(path, "damaged or cut short")

    def test_a_header_whose_place_is_no_number(self) -> None:
        path = self.folder / "ct.nii"
        sitk.WriteImage(image_of(phantoms.chest(2, 96), (0.7, 0.7, 2.5), (0, 0, 0)), str(path))
        content = bytearray(path.read_bytes())
        for offset in (292, 308, 324):  # the translations of the sform
            content[offset : offset + 4] = struct.pack("<f", float("nan"))
        path.write_bytes(content)
        self.refused(path, "does not say where the voxels lie")

    def test_memory_that_is_too_small_is_not_a_damaged_file(self) -> None:
        path = self.folder / "ct.mhd"
        size = 1_000_000  # of a side: no computer has so much memory
        header = (
            f"NDims = 3\nDimSize = 512 {size} {size}\nElementType = MET_SHORT\nElementDataFile = ct.raw\n"
        )
        path.write_text(header)
        path.with_suffix(".raw").touch()
        self.refused(path, "memory is too small")

    def test_small_colour_and_4d(self) -> None:
        for name, image, word in (
            ("small", sitk.Image(20, 20, 3, sitk.sitkInt16), "20x20"),
            ("rgb", sitk.Image([64, 64, 3], sitk.sitkVectorUInt8, 3), "colour"),
            ("4d", sitk.Image([64, 64, 3, 2], sitk.sitkInt16), "4-dimensional"),
        ):
            path = self.folder / f"{name}.nrrd"
            sitk.WriteImage(image, str(path))
            self.refused(path, name, word)
            self.refused(image, word)

    def test_four_dimensions_of_one_volume_are_read(self) -> None:
        sitk.WriteImage(sitk.Image([64, 65, 3, 1], sitk.sitkInt16), str(self.folder / "a.nii"))
        self.assertEqual(load_volume(self.folder / "a.nii").shape, (3, 65, 64))

    def test_truncated_and_damaged_volume_files(self) -> None:
        image = sitk.GetImageFromArray(phantoms.chest(3))
        for suffix in (".nrrd", ".nii", ".nii.gz", ".mha"):
            for compressed in (False, True):
                path = self.folder / f"cut{suffix}"
                sitk.WriteImage(image, str(path), compressed)
                whole = path.read_bytes()
                for keep in (len(whole) // 2, len(whole) - 50 if not compressed else len(whole) // 3, 20):
                    with self.subTest(suffix=suffix, compressed=compressed, keep=keep):
                        path.write_bytes(whole[:keep])
                        self.refused(path, path.name, "damaged or cut short")
        sitk.WriteImage(image, str(self.folder / "a.mhd"))
        (self.folder / "a.raw").unlink()
        self.refused(self.folder / "a.mhd", "a.mhd", "damaged or cut short")

    def test_truncated_dicom(self) -> None:
        hu = phantoms.chest(3)
        paths = phantoms.save_series(self.folder, hu)
        whole = paths[1].read_bytes()
        for keep in (len(whole) // 2, len(whole) - 100, 600, 180):
            with self.subTest(keep=keep):
                paths[1].write_bytes(whole[:keep])
                self.refused(self.folder, "001.dcm", "damaged or cut short")
                self.refused(paths[1], "001.dcm", "damaged or cut short")

    def test_mixed_sizes(self) -> None:
        phantoms.save_series(self.folder, phantoms.chest(3))
        phantoms.save(phantoms.dicom_slice(phantoms.chest(1, 128)[0], -200, 9), self.folder / "odd.dcm")
        self.refused(self.folder, "different sizes", "128x128", "192x192", "odd.dcm")

    def test_mixed_directions(self) -> None:
        phantoms.save_series(self.folder, phantoms.chest(3))
        odd = phantoms.dicom_slice(phantoms.chest(1)[0], -200, 9, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
        phantoms.save(odd, self.folder / "odd.dcm")
        self.refused(self.folder, "direction", "odd.dcm")

    def test_mr_colour_and_small_dicom(self) -> None:
        hu = phantoms.chest(2)
        phantoms.save_series(self.folder / "mr", hu, Modality="MR")
        self.refused(self.folder / "mr", "MR, not CT")
        self.refused(self.folder / "mr" / "000.dcm", "MR, not CT")
        phantoms.save_series(self.folder / "small", hu[:, :20, :20])
        self.refused(self.folder / "small", "20x20")
        colour = phantoms.dicom_slice(
            hu[0], 0, 1, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
            BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(192 * 192 * 3),
            RescaleSlope=None, RescaleIntercept=None,
        )  # fmt: skip
        phantoms.save(colour, self.folder / "rgb.dcm")
        self.refused(self.folder / "rgb.dcm", "colour")

    def test_no_noise_on_the_terminal(self) -> None:
        image = sitk.GetImageFromArray(phantoms.chest(3))
        for name in ("cut.nii", "cut.nrrd"):  # MetaImage's own printing cannot be turned off
            sitk.WriteImage(image, str(self.folder / name))
            (self.folder / name).write_bytes((self.folder / name).read_bytes()[:-500])
        path = phantoms.save_series(self.folder, phantoms.chest(1), names=["cut.dcm"])[0]
        path.write_bytes(path.read_bytes()[:-500])
        code = (
            "import sys\nfrom CTForgeryScanLib.errors import InputError\n"
            "from CTForgeryScanLib.volume import load_volume\n"
            "for path in sys.argv[1:]:\n try:\n  load_volume(path)\n except InputError:\n  print('refused')\n"
        )
        files = [str(self.folder / name) for name in ("cut.nii", "cut.nrrd", "cut.dcm")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", code, *files], capture_output=True, text=True, env=environment
        )
        self.assertEqual((result.stdout, result.stderr), ("refused\n" * 3, ""))


class DicomTest(InTemporaryFolder):
    def test_slices_are_sorted_by_position_not_by_name(self) -> None:
        hu = phantoms.chest(5)
        phantoms.save_series(self.folder, hu, names=["9", "b.dcm", "a.dcm", "IM0001", "5.dcm"])
        (self.folder / "readme.txt").write_text("not DICOM")
        volume = load_volume(self.folder)
        np.testing.assert_array_equal(volume.hu, hu)
        np.testing.assert_allclose(volume.ijk_to_ras, phantoms.geometry())
        self.assertEqual(volume.notes, ())

    def test_header_facts_without_the_patient(self) -> None:
        phantoms.save_series(
            self.folder, phantoms.chest(2), DerivationDescription="Warped for Nobody, filtered"
        )
        header = load_volume(self.folder).header
        self.assertEqual((header.modality, header.manufacturer, header.kernel), ("CT", "ACME", "STANDARD"))
        self.assertEqual(
            (header.bits_stored, header.lossy, header.derivation), (16, False, ("warp", "filter"))
        )
        self.assertEqual(header.transfer_syntax, "1.2.840.10008.1.2.1")
        self.assertNotIn("Nobody", str(asdict(header)))
        self.assertNotIn("SECRET", str(asdict(header)))

    def test_what_any_slice_says_of_processing_holds_for_the_series(self) -> None:
        hu = phantoms.chest(3)
        phantoms.save_series(self.folder, hu)
        changes = {"DerivationDescription": "Warped", "ImageType": ["DERIVED", "SECONDARY"]}
        phantoms.save(phantoms.dicom_slice(hu[2], -295.0, 3, **changes), self.folder / "002.dcm")
        header = load_volume(self.folder).header
        self.assertEqual((header.derivation, header.image_type), (("warp",), ("DERIVED", "SECONDARY")))

    def test_a_header_of_another_encoding_can_be_written(self) -> None:
        for path in phantoms.save_series(self.folder, phantoms.chest(2), Manufacturer="SIEMENS MED"):
            path.write_bytes(path.read_bytes().replace(b"SIEMENS MED", b"SIEMENS M\xc9D"))
        maker = load_volume(self.folder).header.manufacturer
        assert maker is not None
        self.assertRegex(maker.encode("utf-8").decode("utf-8"), "^SIEMENS M.D$")

    def test_missing_slices_are_noted(self) -> None:
        hu = phantoms.chest(8)
        paths = phantoms.save_series(self.folder, hu)
        paths[3].unlink()
        paths[4].unlink()
        volume = load_volume(self.folder)
        self.assertEqual(volume.shape[0], 6)
        self.assertAlmostEqual(volume.spacing_mm[2], 2.5)
        self.assertIn("2 slices are missing after slice 2", volume.notes[0])

    def test_duplicates_are_dropped_and_noted(self) -> None:
        hu = phantoms.chest(4)
        phantoms.save_series(self.folder, hu)
        copy = phantoms.dicom_slice(hu[0], -297.5, 99)
        phantoms.save(copy, self.folder / "000-copy.dcm")
        volume = load_volume(self.folder)
        np.testing.assert_array_equal(volume.hu, hu)
        self.assertIn("1 slice is at a position that another slice has already", volume.notes[0])
        self.assertIn("000-copy.dcm", volume.notes[0])

    def test_two_phases_do_not_mix(self) -> None:
        first, second = phantoms.chest(4, seed=1), phantoms.chest(4, seed=2)
        phantoms.save_series(self.folder, second, names=[f"a{k}" for k in range(4)], AcquisitionNumber=2)
        phantoms.save_series(self.folder, first, names=[f"b{k}" for k in range(4)], AcquisitionNumber=1)
        volume = load_volume(self.folder)
        np.testing.assert_array_equal(volume.hu, first)
        self.assertIn("several phases", volume.notes[0])

    def test_gantry_tilt_is_kept_and_noted(self) -> None:
        for k, plane in enumerate(phantoms.chest(4)):
            position = [-120.0, -110.0 + 0.5 * k, -300.0 + 2.5 * k]
            phantoms.save(
                phantoms.dicom_slice(plane, 0, k, ImagePositionPatient=position), self.folder / f"{k}.dcm"
            )
        volume = load_volume(self.folder)
        np.testing.assert_allclose(volume.ijk_to_ras_point((0, 0, 3)), (120, 110 - 1.5, -300 + 7.5))
        self.assertIn("tilt of 11.3", volume.notes[0])

    def test_several_series(self) -> None:
        hu = phantoms.chest(3)
        other = phantoms.SERIES_UID + ".7"
        phantoms.save_series(self.folder / "x", hu)
        phantoms.save_series(self.folder / "y", hu[:2], SeriesInstanceUID=other, SeriesNumber=7)
        phantoms.save_series(
            self.folder / "z", hu[:1], SeriesInstanceUID="1.9", Modality="MR", SeriesNumber=1
        )
        message = self.refused(self.folder, "several CT series", "number 7", other)
        self.assertNotIn("SECRET", message)
        self.assertEqual(
            [(info.number, info.files) for info in list_series(self.folder)], [(1, 1), (3, 3), (7, 2)]
        )
        for wanted, count in ((other, 2), ("7", 2), ("999.1.7", 2), ("3", 3), (phantoms.SERIES_UID, 3)):
            self.assertEqual(load_volume(self.folder, series=wanted).shape[0], count)
        self.refused(self.folder, "no series fits '44'", series="44")
        self.refused(next(self.folder.rglob("*.dcm")), "leave the series out", series="44")
        self.refused(self.folder, "fits 2 series", series="999.1")
        self.refused(self.folder, "MR, not CT", series="1.9")

    def test_the_only_ct_is_taken_beside_mr_and_localizer(self) -> None:
        hu = phantoms.chest(3)
        phantoms.save_series(self.folder / "x", hu)
        phantoms.save_series(self.folder / "m", hu[:1], SeriesInstanceUID="1.9", Modality="MR")
        kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        phantoms.save_series(self.folder / "l", hu[:1], SeriesInstanceUID="1.8", ImageType=kind)
        np.testing.assert_array_equal(load_volume(self.folder).hu, hu)

    def test_slices_over_subfolders_are_joined(self) -> None:
        hu = phantoms.chest(4)
        phantoms.save_series(self.folder, hu, names=[f"part{k % 2}/{k}.dcm" for k in range(4)])
        volume = load_volume(self.folder)
        np.testing.assert_array_equal(volume.hu, hu)
        self.assertIn("2 subfolders", volume.notes[0])

    def test_one_file_is_one_slice(self) -> None:
        hu = phantoms.chest(3)
        volume = load_volume(str(phantoms.save_series(self.folder, hu)[1]))
        np.testing.assert_array_equal(volume.hu, hu[1:2])
        np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.7, 2.5))
        np.testing.assert_allclose(volume.ijk_to_ras_point((0, 0, 0)), (120, 110, -297.5))

    def test_all_frames_of_an_enhanced_ct_are_read(self) -> None:
        hu = phantoms.chest(3)
        stored = (hu.astype(int) + 1024).astype("<u2").tobytes()
        changes = {"NumberOfFrames": 3, "PixelData": stored, "SpacingBetweenSlices": 2.5}
        path = phantoms.save(phantoms.dicom_slice(hu[0], -300, 1, **changes), self.folder / "a.dcm")
        volume = load_volume(path)
        np.testing.assert_array_equal(volume.hu, hu)
        np.testing.assert_allclose(volume.ijk_to_ras_point((0, 0, 0)), (120, 110, -300))

    def test_frames_of_an_enhanced_ct_lie_where_it_says_or_are_refused(self) -> None:
        hu = phantoms.chest(4)
        path = phantoms.save_enhanced(self.folder / "even.dcm", hu, [-300, -297.5, -295, -292.5])
        volume = load_volume(path)
        np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.7, 2.5))
        np.testing.assert_allclose(volume.ijk_to_ras_point((0, 0, 3))[2], -292.5)
        for heights in ([-295, -300, -292.5, -297.5], [-300, -297.5, -295, -270]):
            path = phantoms.save_enhanced(self.folder / "odd.dcm", hu, heights)
            with self.assertRaisesRegex(InputError, "where the frames .* lie cannot be told"):
                load_volume(path)

    def test_unknown_pixel_size_is_noted(self) -> None:
        phantoms.save_series(self.folder, phantoms.chest(3), PixelSpacing=None)
        self.assertIn("do not say how large a pixel is", " ".join(load_volume(self.folder).notes))

    def test_rescale_slope_is_applied(self) -> None:
        hu = phantoms.chest(1)
        changes = {
            "RescaleSlope": "0.5",
            "PixelData": (2 * (hu[0].astype(int) + 1024)).astype("<u2").tobytes(),
        }
        path = phantoms.save(phantoms.dicom_slice(hu[0], 0, 1, **changes), self.folder / "a.dcm")
        np.testing.assert_array_equal(load_volume(path).hu, hu)

    def test_files_packed_without_loss_are_read(self) -> None:
        hu = phantoms.chest(1)
        rle = phantoms.dicom_slice(hu[0], 0, 1)
        rle.compress(RLELossless)
        np.testing.assert_array_equal(load_volume(phantoms.save(rle, self.folder / "rle.dcm")).hu, hu)
        image = sitk.GetImageFromArray(hu)
        image.SetSpacing((0.7, 0.7, 2.5))
        image.SetMetaData("0008|0060", "CT")
        for compressor in ("JPEG", "JPEG2000"):
            path = self.folder / f"{compressor}.dcm"
            sitk.WriteImage(image, str(path), useCompression=True, compressor=compressor)
            volume = load_volume(path)
            np.testing.assert_array_equal(volume.hu, hu)
            self.assertFalse(volume.header.lossy, volume.header.transfer_syntax)

    def test_files_packed_with_loss_are_marked(self) -> None:
        hu = phantoms.chest(1)
        said = phantoms.dicom_slice(hu[0], 0, 1, LossyImageCompression="01")
        self.assertTrue(load_volume(phantoms.save(said, self.folder / "said.dcm")).header.lossy)
        # The header need not say so: the transfer syntax does.
        grey, jpeg = ((hu[0] + 1000) / 8).clip(0, 255).astype(np.uint8), io.BytesIO()
        Image.fromarray(grey).save(jpeg, "JPEG", quality=95)
        bits = {
            "BitsAllocated": 8,
            "BitsStored": 8,
            "HighBit": 7,
            "RescaleSlope": 8,
            "RescaleIntercept": -1000,
        }
        silent = phantoms.dicom_slice(hu[0], 0, 1, **bits, PixelData=encapsulate([jpeg.getvalue()]))
        silent.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        silent["PixelData"].VR, silent["PixelData"].is_undefined_length = "OB", True
        volume = load_volume(phantoms.save(silent, self.folder / "silent.dcm"))
        self.assertTrue(volume.header.lossy)
        self.assertLess(np.abs(volume.hu - hu.clip(-1000, 1047)).mean(), 10)


@needs_shared_data
class RealDataTest(unittest.TestCase):
    def test_jpeg_ls_series(self) -> None:
        volume = load_volume(real_data() / "ct" / "CRLM-CT-1004")
        self.assertEqual(volume.shape, (14, 512, 512))
        np.testing.assert_allclose(volume.spacing_mm, (0.796875, 0.796875, 5.0), rtol=1e-3)
        self.assertTrue((volume.header.transfer_syntax or "").startswith("1.2.840.10008.1.2.4.80"))
        lowest, highest = int(volume.hu.min()), int(volume.hu.max())
        self.assertLess(lowest, -1000)
        self.assertGreater(highest, 500)

    def test_series_have_the_slices_of_the_table(self) -> None:
        lines = (real_data() / "ct" / "cases.csv").read_text().splitlines()
        counts = {line.split(",")[0]: int(line.split(",")[3]) for line in lines[1:]}
        for case in ("C3L-00189", "Lung_Dx-A0002_B40f", "ACRIN-NSCLC-042"):
            with self.subTest(case=case):
                (info,) = list_series(real_data() / "ct" / case)
                self.assertEqual(info.files, counts[case])


if __name__ == "__main__":
    unittest.main()
