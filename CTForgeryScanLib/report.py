"""What a scan leaves on disk: result.json, slices.csv, heatmap.nrrd, regions.seg.nrrd and picture.png."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from CTForgeryScanLib.cascade import ScanResult
from CTForgeryScanLib.errors import OutputError
from CTForgeryScanLib.formats import segment_fields, write_slices
from CTForgeryScanLib.hu import check_name
from CTForgeryScanLib.picture import draw
from CTForgeryScanLib.result_folder import is_replaceable, place_for

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


def check_writable(folder: Path) -> None:
    """Raises OutputError where no folder can be made at that place, InputError where its name is no text.

    Leaves nothing there.
    """
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(prefix=".scan-", dir=there):
            pass
    except OSError as error:
        raise _cannot_write(folder, error) from error
    check_name(folder)


def write_results(result: ScanResult, folder: Path, others: Collection[Path] = ()) -> Path:
    """Write all files of a scan, whole or not at all; returns where they are.

    That is ``folder``, where an earlier result of the same CT is replaced, or, where that holds the result of another
    CT or is one of ``others``, the first of ``folder-2``, ``folder-3`` … that does not. A volume that was not
    assessable leaves ``result.json`` only. Raises OutputError when the place is read-only, full, or holds files that
    are no result.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write_files(result, part)
            # mkdtemp made it private; results are for whoever may read what lies beside them.
            part.chmod(folder.parent.stat().st_mode & 0o777)
            return _put(part, result, folder, others)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OutputError):
            raise
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: Exception) -> OutputError:
    cause = getattr(error, "strerror", None) or "the disk may be full"
    return OutputError(
        f"The results cannot be written to '{folder}' ({cause}): free space or give another -o."
    )


def check_replaceable(place: Path) -> None:
    """Raises OutputError where a file or a folder with files that no scan wrote is there: they would be lost."""
    try:
        replaceable = is_replaceable(place)
    except OSError as error:
        raise _cannot_write(place, error) from error
    if not replaceable:
        raise OutputError(
            f"'{place}' exists and holds other things than a result of a scan: give another -o, or move them."
        )


def _put(part: Path, result: ScanResult, folder: Path, others: Collection[Path]) -> Path:
    """Rename the finished folder to its place; if that fails, the earlier result stays.

    Another process may take the place meanwhile: then it is looked for again.
    """
    while True:
        check_replaceable(folder)
        place, replaced = place_for(folder, result.provenance["input_sha256"], others)
        try:
            with _moved_aside(place, part.with_name(f"{part.name}-earlier")) if replaced else nullcontext():
                part.rename(place)
            return place
        except OSError as error:
            if error.errno not in _TAKEN:
                raise


@contextmanager
def _moved_aside(place: Path, aside: Path) -> Iterator[None]:
    """The earlier result is elsewhere meanwhile, and back again if nothing took its place."""
    with suppress(FileNotFoundError):  # another process does the same
        place.rename(aside)
    try:
        yield
    except BaseException:
        if aside.exists() and not place.exists():
            aside.rename(place)
        raise
    finally:
        if place.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _write_files(result: ScanResult, folder: Path) -> None:
    fields = result.to_dict()
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    if result.heatmap is None or result.labels is None:
        return
    write_slices(fields["slices"], folder / "slices.csv")
    _write_nrrd(result.heatmap.p, result.heatmap.ijk_to_ras, folder / "heatmap.nrrd", {})
    _write_nrrd(
        result.labels,
        result.heatmap.ijk_to_ras,
        folder / "regions.seg.nrrd",
        segment_fields(fields["regions"]),
    )
    draw(result).save(folder / "picture.png")


def _write_nrrd(
    array: NDArray[np.float32] | NDArray[np.uint8],
    ijk_to_ras: NDArray[np.float64],
    path: Path,
    fields: dict[str, str],
) -> None:
    """An array [k, j, i] with its geometry, which NRRD keeps in LPS."""
    image = sitk.GetImageFromArray(array)
    ijk_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    for key, value in fields.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=True)
