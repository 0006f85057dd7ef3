"""A scan in Slicer's scene: handing a CT over, its place, and its result as nodes.

Only this file of the library and ``views.py``, which shows what is here, import slicer. A CT points to its result (a
text node that holds ``result.json``) by a node reference, and the result to its CT, heatmap, regions, markers and
tables: so all of it is saved and restored with the scene, several CTs keep their results apart, and a rescan finds the
nodes that it has to update. A copy of a CT (cropped, masked, cloned) takes the reference with it, but the result does
not point back to it.

Positions are kept as voxels of the CT: its present matrix and parent transform bring them into the world, whatever
became of either since the scan.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from CTForgeryScanLib.formats import SEGMENT_COLOUR, rounded, segment_fields, write_slices
from CTForgeryScanLib.windows import grid_shape, heatmap_ijk_to_ras

RESULT, CT = "CTForgeryScanResult", "CTForgeryScanCT"
HEATMAP, SEGMENTATION, MARKERS = "CTForgeryScanHeatmap", "CTForgeryScanSegmentation", "CTForgeryScanMarkers"
REGION_TABLE, SLICE_TABLE = "CTForgeryScanRegions", "CTForgeryScanSlices"
"""Roles of the node references: RESULT leads from the CT to its result, the others from there to the other nodes."""

VOXELS = "CTForgeryScanVoxels"
"""Attribute of a result's node: the ``checksum`` of the voxels that were scanned."""

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


def checksum(volume: Any) -> str:
    """CRC-32 of a volume node's voxels: tells later whether they are the ones that were scanned."""
    return _checksum(volume.GetID(), volume.GetImageData().GetMTime())


@lru_cache(maxsize=8)
def _checksum(node_id: str, _modified: int) -> str:
    """Worked out anew only when the image was modified: a CT that is moved about asks at every step."""
    voxels = slicer.util.arrayFromVolume(slicer.mrmlScene.GetNodeByID(node_id))
    return f"{zlib.crc32(np.ascontiguousarray(voxels).data):08x}"


def dicom_files(volume: Any) -> list[str]:
    """The files of the DICOM series that the volume was loaded from, as Slicer's database knows them."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return []
    # The database knows the path also where the medium or the share is gone.
    return [path for uid in uids if (path := database.fileForInstance(uid)) and Path(path).is_file()]


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


def is_as_scanned(volume: Any) -> bool:
    """Whether a CT with a result still has the voxels that were scanned, wherever they lie now."""
    result, scanned = read_result(volume), result_node(volume).GetAttribute(VOXELS)
    return result is not None and _has_grid(volume, result) and scanned in (None, checksum(volume))


def _has_grid(volume: Any, result: dict[str, Any]) -> bool:
    """Whether the CT has as many voxels as were scanned, of the same size."""
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
    volume: Any,
    text: str,
    voxels: str,
    heatmap: NDArray[np.float32] | None,
    labels: NDArray[np.uint8] | None,
) -> dict[str, Any]:
    """Make or update the nodes of a CT's result, and return it.

    Args:
        volume: the CT's node.
        text: what ``result.json`` holds.
        voxels: ``checksum`` of the CT when it was scanned.
        heatmap: p(forged) [k, r, c]; None, like ``labels``, where the CT was not assessable.
        labels: region ids [k, r, c].
    """
    result: dict[str, Any] = json.loads(text)
    node = result_node(volume)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", _name(volume, "forgery scan"))
        node.SetNodeReferenceID(CT, volume.GetID())
        volume.SetNodeReferenceID(RESULT, node.GetID())
    if heatmap is None or labels is None:
        for role in _MADE:
            remove_node(node.GetNodeReference(role))
    else:
        first = int(result["parameters"]["slices"][0])
        _fill_volume(_ensure(volume, HEATMAP, "vtkMRMLScalarVolumeNode", "heatmap"), volume, heatmap, first)
        _fill_segmentation(volume, labels, result["regions"])
        _fill_markers(volume, result["regions"])
        _fill_region_table(volume, result["regions"])
        _fill_slice_table(volume, result["slices"])
    node.SetText(text)
    node.SetAttribute(VOXELS, voxels)
    follow(volume)
    _arrange(volume)
    volume.Modified()  # whoever shows the CT hears that its result is there, whole
    return result


def result_nodes(volume: Any) -> list[Any]:
    """A CT's result and all that was made of it; empty where it has none."""
    return [
        node for node in (result_node(volume), *(node_of(volume, role) for role in _MADE)) if node is not None
    ]


def remove_result(nodes: Sequence[Any]) -> None:
    """Remove those of a result's ``result_nodes`` that are still there, and the folder that ``store_result`` made.

    Not while another node is being removed: the subject hierarchy may be walking over the same items.
    """
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = [tree.GetItemByDataNode(node) for node in nodes if node.GetScene() is not None]
    folders = {tree.GetItemParent(item) for item in items if item}
    for node in nodes:
        remove_node(node)
    for folder in folders:
        # A folder of the user's own stays, empty or not.
        if tree.GetItemAttribute(folder, RESULT) and not tree.GetNumberOfItemChildren(folder):
            tree.RemoveItem(folder)


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
    if not _has_grid(volume, result) or np.allclose(matrix, before, atol=1e-4):
        return
    heatmap.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    _fill_region_table(volume, result["regions"])
    way = slicer.util.vtkMatrixFromArray(matrix @ np.linalg.inv(before))
    for role in (SEGMENTATION, MARKERS):
        node = node_of(volume, role)
        if node is not None:
            node.ApplyTransformMatrix(way)


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
        segment = node.GetSegmentation().AddEmptySegment(*_segment_names(region), SEGMENT_COLOUR)
        mask = (labels == region["id"]).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, heatmap)


def _segment_names(region: dict[str, Any]) -> tuple[str, str]:
    """The id of a region's segment, and its name."""
    return f"Region_{region['id']}", f"Region {region['id']}"


def _segment_of(segmentation: Any, region: dict[str, Any]) -> str:
    """The id of a region's segment, wherever the user moved it; empty where it was deleted."""
    segment, name = _segment_names(region)
    if segmentation.GetSegment(segment) is not None:
        return segment
    # In the scene of an earlier version only the name is known.
    return str(segmentation.GetSegmentIdBySegmentName(name))


def _fill_markers(volume: Any, regions: Sequence[dict[str, Any]]) -> None:
    node = _ensure(volume, MARKERS, "vtkMRMLMarkupsFiducialNode", "forged region markers")
    node.SetLocked(False)
    node.RemoveAllControlPoints()
    for region in regions:
        label = f"{region['id']} ({rounded(region['score'])})"
        node.AddControlPoint(vtk.vtkVector3d(*centre_ras(volume, region)), label)
    node.SetLocked(True)
    node.GetDisplayNode().SetSelectedColor(*SEGMENT_COLOUR)


def _fill_region_table(volume: Any, regions: Sequence[dict[str, Any]]) -> None:
    """Places are in the CT's own RAS, as its markers are."""
    centres = [centre_ras(volume, region).tolist() for region in regions]
    _fill_table(
        _ensure(volume, REGION_TABLE, "vtkMRMLTableNode", "forged regions table"),
        {
            "Region": [r["id"] for r in regions],
            "Found by": [r["source"] for r in regions],
            "Score": [r["score"] for r in regions],
            **{f"{axis} (mm)": [centre[n] for centre in centres] for n, axis in enumerate("RAS")},
            **{f"Size {axis} (mm)": [r["extent_mm"][n] for r in regions] for n, axis in enumerate("ijk")},
            "First slice": [r["slices"][0] for r in regions],
            "Last slice": [r["slices"][1] for r in regions],
        },
    )


def _fill_slice_table(volume: Any, slices: Sequence[dict[str, Any]]) -> None:
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
        tree.SetItemAttribute(folder, RESULT, "true")
    for node in result_nodes(volume):
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
    for region in result["regions"]:
        segment = _segment_of(segmentation.GetSegmentation(), region)
        if segment:
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, heatmap)
            labels[mask > 0] = region["id"]
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
