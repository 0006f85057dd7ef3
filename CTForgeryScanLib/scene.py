"""A scan in Slicer's scene: handing a CT over, its result as nodes, showing them, and jumping to a place.

The only file of the library that imports slicer. A CT points to its result (a text node that holds ``result.json``) by
a node reference, and the result to its CT, heatmap, regions, markers and tables: so all of it is saved and restored
with the scene, several CTs keep their results apart, and a rescan finds the nodes that it has to update. A copy of a
CT (cropped, masked, cloned) takes the reference with it, but the result does not point back to it.

Positions are kept as voxels of the CT: its present matrix and parent transform bring them into the world, whatever
became of either since the scan.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from CTForgeryScanLib.formats import SEGMENT_COLOUR, segment_fields, write_slices
from CTForgeryScanLib.windows import grid_shape, heatmap_ijk_to_ras

RESULT, CT = "CTForgeryScanResult", "CTForgeryScanCT"
HEATMAP, SEGMENTATION, MARKERS = "CTForgeryScanHeatmap", "CTForgeryScanSegmentation", "CTForgeryScanMarkers"
REGION_TABLE, SLICE_TABLE = "CTForgeryScanRegions", "CTForgeryScanSlices"
"""Roles of the node references: RESULT leads from the CT to its result, the others from there to the other nodes."""

_MADE = (HEATMAP, SEGMENTATION, MARKERS, REGION_TABLE, SLICE_TABLE)

HEATMAP_COLORS = "vtkMRMLColorTableNodeFileInferno.txt"

_CHUNK_BYTES = 1 << 25
_NRRD_TYPES = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32"} | {
    "f4": "float",
    "f8": "double",
}


# --- Handing a CT over ---------------------------------------------------------------------------------------------


def check_scannable(volume: Any) -> None:
    """Raises ValueError where the node is no volume with one grey value a voxel."""
    if volume is None or not volume.IsA("vtkMRMLScalarVolumeNode") or volume.GetImageData() is None:
        raise ValueError("There is no CT to scan: select a volume that holds an image.")
    if is_heatmap(volume):
        raise ValueError(f"'{volume.GetName()}' is the heatmap of a scan, not a CT: select the CT.")
    if volume.GetImageData().GetNumberOfScalarComponents() != 1:
        raise ValueError(
            f"'{volume.GetName()}' is a colour image, not a CT: select a volume with one grey value."
        )


def write_volume(volume: Any, path: Path) -> Iterator[float]:
    """Write a volume node as uncompressed NRRD in its own geometry, piece by piece; yields the share that is written.

    In pieces, so that Slicer's window can live between them.
    """
    return _write_nrrd(slicer.util.arrayFromVolume(volume), ijk_to_ras(volume), path, {})


def _write_nrrd(
    voxels: NDArray[Any], matrix: NDArray[np.float64], path: Path, fields: dict[str, str]
) -> Iterator[float]:
    """Write an array [k, j, i] with its IJK-to-RAS and header fields of its own."""
    kind = voxels.dtype.str[1:]
    if kind not in _NRRD_TYPES:
        raise ValueError(f"The volume holds {voxels.dtype}, not Hounsfield units: select a CT.")
    columns = " ".join(f"({','.join(repr(float(x)) for x in column)})" for column in matrix[:3, :3].T)
    header = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[kind]}",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(str(n) for n in voxels.shape[::-1])}",
        f"space directions: {columns}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: ({','.join(repr(float(x)) for x in matrix[:3, 3])})",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    step = max(1, _CHUNK_BYTES // voxels[0].nbytes)
    with path.open("wb") as file:
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        for k in range(0, len(voxels), step):
            file.write(np.ascontiguousarray(voxels[k : k + step], voxels.dtype.newbyteorder("<")).tobytes())
            yield min(1.0, (k + step) / len(voxels))


def dicom_file(volume: Any) -> Path | None:
    """A file of the DICOM series that the volume was loaded from; None where it was not, or the file is gone."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return None
    path = Path(database.fileForInstance(uids[0]) or "-")
    return path if path.is_file() else None


# --- Geometry ------------------------------------------------------------------------------------------------------


def ijk_to_ras(volume: Any) -> NDArray[np.float64]:
    """4x4, voxel (i, j, k) to the volume's own RAS in mm, without its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix), np.float64)


def to_world(volume: Any, ras: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """Where a point of the volume's own RAS lies in the world, by its parent transform."""
    return _transformed(volume.GetParentTransformNode(), None, ras)


def from_world(volume: Any, ras: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """The inverse of ``to_world``."""
    return _transformed(None, volume.GetParentTransformNode(), ras)


def centre_ras(volume: Any, place: dict[str, Any]) -> NDArray[np.float64]:
    """The centre of a region or a piece of evidence in the CT's own RAS as it is now.

    ``center_ras`` is where it was at the scan.
    """
    centre: NDArray[np.float64] = ijk_to_ras(volume) @ [*place["center_ijk"], 1.0]
    return centre[:3]


def _transformed(
    source: Any, target: Any, ras: Sequence[float] | NDArray[np.float64]
) -> tuple[float, float, float]:
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    r, a, s = transform.TransformPoint(ras)
    return float(r), float(a), float(s)


# --- The result's nodes --------------------------------------------------------------------------------------------


def result_node(volume: Any) -> Any:
    """The text node that holds the result of a CT; None where it has none of its own."""
    node = volume.GetNodeReference(RESULT) if volume is not None else None
    return node if node is not None and node.GetNodeReferenceID(CT) == volume.GetID() else None


def read_result(volume: Any) -> dict[str, Any] | None:
    """The result of a CT as ``result.json`` has it; None where there is none that can be read."""
    node = result_node(volume)
    try:
        result = json.loads(node.GetText()) if node is not None else None
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def fits(volume: Any, result: dict[str, Any]) -> bool:
    """Whether the CT still has the voxels that were scanned, as far as their number and size tell."""
    size = volume.GetImageData().GetDimensions() if volume.GetImageData() else (0, 0, 0)
    scanned = result["input"]
    return list(size[::-1]) == scanned["shape"] and bool(
        np.allclose(volume.GetSpacing(), scanned["spacing_mm"], rtol=1e-3)
    )


def is_heatmap(volume: Any) -> bool:
    """Whether a volume node is the heatmap of a scan: it is a scalar volume, as a CT is."""
    return bool(volume.GetAttribute(HEATMAP) == "true")


def node_of(volume: Any, role: str) -> Any:
    """The node of a CT's result that has a role (HEATMAP, …); None where there is none."""
    node = result_node(volume)
    return node.GetNodeReference(role) if node is not None else None


def store_result(
    volume: Any, text: str, heatmap: NDArray[np.float32] | None, labels: NDArray[np.uint8] | None
) -> dict[str, Any]:
    """Make or update the nodes of a CT's result, and return it.

    Args:
        volume: the CT's node.
        text: what ``result.json`` holds.
        heatmap: p(forged) [k, r, c]; None, like ``labels``, where the CT was not assessable.
        labels: region ids [k, r, c].
    """
    result: dict[str, Any] = json.loads(text)
    node = result_node(volume)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", _name(volume, "forgery scan"))
        volume.SetNodeReferenceID(RESULT, node.GetID())
        node.SetNodeReferenceID(CT, volume.GetID())
    node.SetText(text)
    if heatmap is None or labels is None:
        for role in _MADE:
            remove_node(node.GetNodeReference(role))
    else:
        first = int(result["parameters"]["slices"][0])
        _fill_volume(_ensure(volume, HEATMAP, "vtkMRMLScalarVolumeNode", "heatmap"), volume, heatmap, first)
        _fill_segmentation(volume, labels, result["regions"])
        _fill_markers(volume, result["regions"])
        _fill_tables(volume, result)
    follow(volume)
    _arrange(volume)
    return result


def remove_result(volume: Any) -> None:
    """Remove a CT's result and all that was made of it."""
    result = result_node(volume)
    for role in _MADE:
        remove_node(node_of(volume, role))
    remove_node(result)


def remove_node(node: Any) -> None:
    """Remove a node from the scene, if there is one and it is still there."""
    if node is not None and node.GetScene() is not None:
        slicer.mrmlScene.RemoveNode(node)


def follow(volume: Any) -> None:
    """Put a result where its CT is now: under its parent transform, and moved as its voxels were.

    "Harden transform" and "Center volume" move a CT's own voxels.
    """
    result, heatmap = read_result(volume), node_of(volume, HEATMAP)
    if result is None or heatmap is None:
        return
    for role in (HEATMAP, SEGMENTATION, MARKERS):
        node = node_of(volume, role)
        if node is not None and node.GetTransformNodeID() != volume.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    matrix, before = _heatmap_matrix(volume, int(result["parameters"]["slices"][0])), ijk_to_ras(heatmap)
    if not fits(volume, result) or np.allclose(matrix, before, atol=1e-4):
        return
    heatmap.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    moved = slicer.util.vtkMatrixFromArray(matrix @ np.linalg.inv(before))
    for role in (SEGMENTATION, MARKERS):
        node = node_of(volume, role)
        if node is not None:
            node.ApplyTransformMatrix(moved)


def _name(volume: Any, what: str) -> str:
    return f"{volume.GetName()} {what}"


def _ensure(volume: Any, role: str, class_name: str, what: str) -> Any:
    """The node of a role, made where there is none yet."""
    node = node_of(volume, role)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(class_name, _name(volume, what))
        result_node(volume).SetNodeReferenceID(role, node.GetID())
    if node.IsA("vtkMRMLDisplayableNode") and node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node


def _fill_volume(node: Any, ct: Any, heatmap: NDArray[np.float32], first: int) -> None:
    """Give a volume node the heatmap's voxels and place: slice 0 of the heatmap is slice ``first`` of the CT."""
    node.SetAttribute(HEATMAP, "true")
    slicer.util.updateVolumeFromArray(node, heatmap)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(_heatmap_matrix(ct, first)))
    node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(HEATMAP_COLORS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1)


def _heatmap_matrix(ct: Any, first: int) -> NDArray[np.float64]:
    """IJK-to-RAS of a heatmap that begins with slice ``first`` of the CT."""
    matrix = heatmap_ijk_to_ras(ijk_to_ras(ct))
    matrix[:3, 3] += first * matrix[:3, 2]
    return matrix


def _fill_segmentation(volume: Any, labels: NDArray[np.uint8], regions: Sequence[dict[str, Any]]) -> None:
    node = _ensure(volume, SEGMENTATION, "vtkMRMLSegmentationNode", "forged regions")
    heatmap = node_of(volume, HEATMAP)
    node.GetSegmentation().RemoveAllSegments()
    # Before it is filled: a labelmap is brought in from the heatmap, through the transform between the two.
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(heatmap)
    for region in regions:
        segment = node.GetSegmentation().AddEmptySegment("", f"Region {region['id']}", SEGMENT_COLOUR)
        mask = (labels == region["id"]).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, heatmap)


def _fill_markers(volume: Any, regions: Sequence[dict[str, Any]]) -> None:
    node = _ensure(volume, MARKERS, "vtkMRMLMarkupsFiducialNode", "forged region markers")
    node.SetLocked(False)
    node.RemoveAllControlPoints()
    for region in regions:
        label = f"{region['id']} ({region['score']:.2f})"
        node.AddControlPoint(vtk.vtkVector3d(*centre_ras(volume, region)), label)
    node.SetLocked(True)
    node.GetDisplayNode().SetSelectedColor(*SEGMENT_COLOUR)


def _fill_tables(volume: Any, result: dict[str, Any]) -> None:
    regions, slices = result["regions"], result["slices"]
    _fill_table(
        _ensure(volume, REGION_TABLE, "vtkMRMLTableNode", "forged regions table"),
        {
            "Region": [r["id"] for r in regions],
            "Found by": [r["source"] for r in regions],
            "Score": [r["score"] for r in regions],
            **{f"{axis} (mm)": [r["center_ras"][n] for r in regions] for n, axis in enumerate("RAS")},
            **{f"Size {axis} (mm)": [r["extent_mm"][n] for r in regions] for n, axis in enumerate("ijk")},
            "First slice": [r["slices"][0] for r in regions],
            "Last slice": [r["slices"][1] for r in regions],
        },
    )
    _fill_table(
        _ensure(volume, SLICE_TABLE, "vtkMRMLTableNode", "forgery scan of slices table"),
        {
            "Slice": [s["k"] for s in slices],
            "Probability": [s["probability"] for s in slices],
            "Flagged": [int(s["flagged"]) for s in slices],
            "Peak": [s["peak_score"] for s in slices],
        },
    )


def _fill_table(node: Any, columns: dict[str, list[Any]]) -> None:
    node.RemoveAllColumns()
    for name, values in columns.items():
        kinds = {type(v) for v in values}
        array = (
            vtk.vtkStringArray()
            if kinds == {str}
            else vtk.vtkIntArray()
            if kinds <= {int}
            else vtk.vtkDoubleArray()
        )
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value)
        node.AddColumn(array)
    node.Modified()


def _arrange(volume: Any) -> None:
    """Put the result's nodes into a folder beside the CT in the subject hierarchy."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    result = result_node(volume)
    parent = tree.GetItemParent(tree.GetItemByDataNode(volume))
    folder = tree.GetItemParent(tree.GetItemByDataNode(result))
    if folder in (tree.GetSceneItemID(), parent):
        folder = tree.CreateFolderItem(parent, _name(volume, "forgery scan"))
    for node in (result, *(node_of(volume, role) for role in _MADE)):
        if node is not None:
            tree.SetItemParent(tree.GetItemByDataNode(node), folder)


def export_result(volume: Any, folder: Path) -> None:
    """Write a CT's result from its nodes: the files of the command line but for the picture.

    Raises OSError where the folder cannot be written.
    """
    result = read_result(volume)
    if result is None:
        raise ValueError(f"'{volume.GetName()}' has no result: scan it first.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(result_node(volume).GetText(), encoding="utf-8")
    heatmap, segmentation = node_of(volume, HEATMAP), node_of(volume, SEGMENTATION)
    if heatmap is None or segmentation is None:
        return
    write_slices(result["slices"], folder / "slices.csv")
    p, matrix = slicer.util.arrayFromVolume(heatmap), ijk_to_ras(heatmap)
    labels = np.zeros(p.shape, np.uint8)
    for n, region in enumerate(result["regions"]):
        segment = segmentation.GetSegmentation().GetNthSegmentID(n)
        labels[slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, heatmap) > 0] = region["id"]
    for name, voxels, fields in (
        ("heatmap.nrrd", p, {}),
        ("regions.seg.nrrd", labels, segment_fields(result["regions"])),
    ):
        deque(_write_nrrd(voxels, matrix, folder / name, fields), maxlen=0)


# --- The heatmap that grows while a scan runs ----------------------------------------------------------------------


def begin_live_heatmap(ct: Any, first: int, count: int) -> Any:
    """A heatmap of zeros over slices first ... first + count - 1, to be filled; not saved with the scene."""
    columns, rows, _ = ct.GetImageData().GetDimensions()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _name(ct, "heatmap (scanning)"))
    node.SetSaveWithScene(False)
    _fill_volume(node, ct, np.zeros((count, *grid_shape(rows, columns)), np.float32), first)
    return node


def fill_live_heatmap(node: Any, index: int, maps: NDArray[np.float32]) -> None:
    """Put maps [n, r, c] into slices index ... index + n - 1."""
    slicer.util.arrayFromVolume(node)[index : index + len(maps)] = maps
    slicer.util.arrayFromVolumeModified(node)


# --- Showing -------------------------------------------------------------------------------------------------------


def show(volume: Any, heatmap: Any, *, opacity: float, threshold: float) -> None:
    """The CT under a heatmap in all slice views; the heatmap is transparent below ``threshold``."""
    for view in _composite_nodes():
        changed = view.GetBackgroundVolumeID() != volume.GetID()
        view.SetBackgroundVolumeID(volume.GetID())
        view.SetForegroundVolumeID(heatmap.GetID() if heatmap is not None else None)
        view.SetForegroundOpacity(opacity)
        if changed:
            _fit(view)
    if heatmap is not None:
        display = heatmap.GetDisplayNode()
        display.SetThreshold(threshold, 1.0)
        display.ApplyThresholdOn()


def is_in_view(volume: Any) -> bool:
    """Whether a slice view has the CT as its background."""
    return any(view.GetBackgroundVolumeID() == volume.GetID() for view in _composite_nodes())


def is_shown(volume: Any) -> bool:
    """Whether a slice view has the CT as its background, under its heatmap where it has one."""
    heatmap = node_of(volume, HEATMAP)
    return any(
        view.GetBackgroundVolumeID() == volume.GetID()
        and (heatmap is None or view.GetForegroundVolumeID() == heatmap.GetID())
        for view in _composite_nodes()
    )


def show_parts(volume: Any, *, legend: bool, outlines: bool, markers: bool) -> None:
    """Show or hide the colour legend of a CT's heatmap, the outlines of its regions and their markers."""
    heatmap = node_of(volume, HEATMAP)
    if heatmap is not None:
        colors = slicer.modules.colors.logic()
        node = colors.GetColorLegendDisplayNode(heatmap)
        if node is None and legend:
            node = colors.AddDefaultColorLegendDisplayNode(heatmap)
            node.SetTitleText("p(forged)")
            node.SetNumberOfLabels(3)
            node.SetLabelFormat("%.1f")
            node.SetSize(0.07, 0.25)
            node.SetPosition(0.98, 0.05)
            node.GetTitleTextProperty().SetFontSize(12)
            node.GetLabelTextProperty().SetFontSize(12)
        if node is not None:
            node.SetVisibility(legend)
    segmentation = node_of(volume, SEGMENTATION)
    if segmentation is not None:
        display = segmentation.GetDisplayNode()
        display.SetVisibility(outlines)
        display.SetVisibility2DFill(False)
    node = node_of(volume, MARKERS)
    if node is not None:
        node.GetDisplayNode().SetVisibility(markers)


def hide_parts_of_others(volume: Any) -> None:
    """Let the views show one result: hide the parts of the other CTs' ones, and their heatmaps over this CT."""
    for other in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if other is volume or result_node(other) is None:
            continue
        show_parts(other, legend=False, outlines=False, markers=False)
        heatmap = node_of(other, HEATMAP)
        for view in _composite_nodes() if heatmap is not None else ():
            if (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (
                volume.GetID(),
                heatmap.GetID(),
            ):
                view.SetForegroundVolumeID(None)


def _composite_nodes() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def _slice_logics() -> list[Any]:
    """None where there are no views, as with --no-main-window."""
    logics = slicer.app.applicationLogic().GetSliceLogics()
    return [logics.GetItemAsObject(n) for n in range(logics.GetNumberOfItems())] if logics else []


def _fit(view: Any) -> None:
    for logic in _slice_logics():
        if logic.GetSliceCompositeNode() is view:
            logic.FitSliceToBackground()
            logic.SnapSliceOffsetToIJK()


# --- Jumping -------------------------------------------------------------------------------------------------------


def jump_to(volume: Any, ras: Sequence[float] | NDArray[np.float64]) -> None:
    """Move all views that show the CT to a place of its own RAS, on the middle of a slice, and mark it.

    Pan and zoom stay where the place is in sight. Where the CT is oblique or tilted, the views turn to its planes:
    the axial view would not show a slice of it.
    """
    matrix = ijk_to_ras(volume)
    ijk = np.linalg.solve(matrix, [*ras, 1.0])
    ijk[2] = np.clip(np.rint(ijk[2]), 0, volume.GetImageData().GetDimensions()[2] - 1)
    world = to_world(volume, (matrix @ ijk)[:3])
    nodes = _slice_nodes(volume)
    if nodes and not any(_shows_slices(node, volume) for node in nodes):
        for node in nodes:
            node.RotateToVolumePlane(volume)
    for node in nodes:
        node.JumpSliceByOffsetting(*world)
        if not _in_sight(node, world):
            node.JumpSliceByCentering(*world)
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if crosshair is not None:
        if crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair:
            crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
        crosshair.SetCrosshairRAS(*world)


def slice_in_view(volume: Any) -> int | None:
    """Which slice k of the CT the views show; None where no view shows one."""
    for node in _slice_nodes(volume):
        if _shows_slices(node, volume):
            matrix = node.GetSliceToRAS()
            local = from_world(volume, [matrix.GetElement(row, 3) for row in range(3)])
            k = round(float(np.linalg.solve(ijk_to_ras(volume), [*local, 1.0])[2]))
            return k if 0 <= k < volume.GetImageData().GetDimensions()[2] else None
    return None


def _slice_nodes(volume: Any) -> list[Any]:
    """The slice nodes of the views that have the CT as background."""
    return [
        logic.GetSliceNode()
        for logic in _slice_logics()
        if logic.GetSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
    ]


def _shows_slices(node: Any, volume: Any) -> bool:
    """Whether the view's plane is that of the CT's slices: its normal is perpendicular to both their axes."""
    at, *ends = (
        to_world(volume, (ijk_to_ras(volume) @ [*ijk, 1.0])[:3])
        for ijk in np.vstack([np.zeros(3), np.eye(3)[:2]])
    )
    axes = np.subtract(ends, at)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    return bool(np.abs(axes @ normal).max() < 1e-3)


def _in_sight(node: Any, world: Sequence[float]) -> bool:
    to_xy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), to_xy)
    x, y, *_ = to_xy.MultiplyPoint((*world, 1.0))
    width, height, *_ = node.GetDimensions()
    return bool(0 <= x < width and 0 <= y < height)
