"""What the tests of the Slicer module share: a CT with one bright site, its scan, and both in a scene."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import CTForgeryScanLib
import phantoms
from CTForgeryScanLib.cascade import ScanResult
from CTForgeryScanLib.models import Model, load_model
from SlicerHost.testcase import HostTestCase
from small_models import write_model
from support import ROOT

MODULE = ROOT / "CTForgeryScan" / "CTForgeryScan.py"

SITE = (106.0, 130.0, 5.0)
"""Centre (i, j, k) of the bright site."""


@functools.cache
def model_folder() -> Path:
    """A small model, made once."""
    return write_model(Path(_scratch().name) / "small model ä")


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@functools.cache
def _model() -> Model:
    return load_model(model_folder())


@functools.cache
def marked_ct(slices: int = 12) -> NDArray[np.int16]:
    """A phantom [k, j, i] that is bright in slices 2 to 8 around SITE."""
    hu = phantoms.chest(slices=slices, size=192)
    hu[2:9, 124:137, 100:113] = 1000
    return hu


def add_ct(
    hu: NDArray[Any] | None = None, matrix: NDArray[np.float64] | None = None, name: str = "CT"
) -> Any:
    """A volume node of a phantom."""
    import slicer

    ijk_to_ras = slicer.util.vtkMatrixFromArray(phantoms.geometry() if matrix is None else matrix)
    return slicer.util.addVolumeFromArray(marked_ct() if hu is None else hu, ijkToRAS=ijk_to_ras, name=name)


def scanned(volume: Any) -> ScanResult:
    """What the small model says of a volume node's voxels, wherever they lie."""
    import slicer

    hu = slicer.util.arrayFromVolume(volume)
    return _scan(hu.tobytes(), hu.shape)


def scan_into_scene(volume: Any, **changes: Any) -> dict[str, Any]:
    """Scan a volume node with the small model, in this process, and store the result as the panel does.

    ``changes`` are fields of the result that a test wants otherwise.
    """
    from CTForgeryScanLib import scene

    found = scanned(volume)
    result = found.to_dict() | changes
    for region in result["regions"]:
        region["center_ras"] = (scene.ijk_to_ras(volume) @ [*region["center_ijk"], 1])[:3].tolist()
    text = json.dumps(result)
    heatmap = None if found.heatmap is None else found.heatmap.p
    return scene.store_result(volume, text, scene.checksum(volume), heatmap, found.labels)


@functools.cache
def _scan(hu: bytes, shape: tuple[int, ...]) -> ScanResult:
    """Each phantom is scanned once, wherever it lies: only positions in RAS depend on that."""
    source = (np.frombuffer(hu, np.int16).reshape(shape), phantoms.geometry())
    return CTForgeryScanLib.scan(source, model=_model(), device="cpu")


def oblique(matrix: NDArray[np.float64], *degrees: float) -> NDArray[np.float64]:
    """A geometry turned about R, A and S."""
    turned = matrix
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(4)
        i, j = ((1, 2), (2, 0), (0, 1))[axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


class ResultCase(HostTestCase):
    """A test of what the panel shows of results that were stored in the scene."""

    module = MODULE

    def setUp(self) -> None:
        super().setUp()
        import slicer

        # A message box of an earlier test took the keyboard, and without a window manager nobody gives it back.
        slicer.util.mainWindow().activateWindow()

    def show(self, volume: Any, **changes: Any) -> dict[str, Any]:
        """Scan a volume into the scene and select it in the panel."""
        from SlicerHost import hands

        result = scan_into_scene(volume, **changes)
        node = self.widget.logic.getParameterNode()
        node.inputVolume = None
        node.inputVolume = volume
        hands.process_events()
        return result

    def red(self) -> Any:
        import slicer

        return slicer.app.layoutManager().sliceWidget("Red")

    def world(self, volume: Any, ijk: tuple[float, float, float]) -> np.ndarray:
        """Where a voxel lies in the world, told by the transform's matrix alone."""
        from CTForgeryScanLib import scene

        local = scene.ijk_to_ras(volume) @ [*ijk, 1.0]
        if volume.GetParentTransformNode() is None:
            return local[:3]
        import slicer
        import vtk

        matrix = vtk.vtkMatrix4x4()
        volume.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
        return (slicer.util.arrayFromVTKMatrix(matrix) @ local)[:3]


class SceneCase(ResultCase):
    """A test with the panel's logic and a folder of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.logic = self.widget.logic
        self.addCleanup(self.logic.cleanup)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def scan(self, volume: Any, **options: Any) -> dict[str, Any]:
        """By the real worker, as a script does."""
        result: dict[str, Any] = self.logic.scan(volume, model=str(model_folder()), device="cpu", **options)
        return result

    def put_under(self, volume: Any, matrix: np.ndarray) -> None:
        import slicer

        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        volume.SetAndObserveTransformNodeID(transform.GetID())

    def composite(self) -> Any:
        return self.red().sliceLogic().GetSliceCompositeNode()
