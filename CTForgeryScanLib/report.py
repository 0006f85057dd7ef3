"""What a scan leaves on disk: result.json, slices.csv, heatmap.nrrd, regions.seg.nrrd and picture.png."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from CTForgeryScanLib.cascade import ScanResult
from CTForgeryScanLib.errors import OutputError
from CTForgeryScanLib.formats import segment_fields, write_slices
from CTForgeryScanLib.picture import draw


def write_results(result: ScanResult, folder: Path) -> None:
    """Write all files of a scan to ``folder``, whole or not at all; an earlier result there is replaced.

    A volume that was not assessable leaves ``result.json`` only. Raises OutputError when the place is read-only, full,
    or holds something that is not a result.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if (
            folder.exists()
            and not (folder / "result.json").is_file()
            and (not folder.is_dir() or any(folder.iterdir()))
        ):
            raise OutputError(
                f"'{folder}' exists and holds no result of a scan: give another -o, or remove it."
            )
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write_files(result, part)
            # mkdtemp made it private; results are for whoever may read what lies beside them.
            part.chmod(folder.parent.stat().st_mode & 0o777)
            _replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OutputError):
            raise
        cause = getattr(error, "strerror", None) or "the disk may be full"
        raise OutputError(
            f"The results cannot be written to '{folder}' ({cause}): free space or give another -o."
        ) from error


def _replace(part: Path, folder: Path) -> None:
    """Put the finished folder in its place by renaming; if that fails, the earlier result stays."""
    if not folder.exists():
        part.rename(folder)
        return
    earlier = part.with_name(f"{part.name}-earlier")
    folder.rename(earlier)
    try:
        part.rename(folder)
    except OSError:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


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
