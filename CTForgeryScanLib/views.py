"""Slicer's slice views: a CT under its heatmap, with outlines, markers and legend, and the jump to a place of it.

A view shows the result of one CT. What a result is and which nodes it has says ``scene.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from CTForgeryScanLib.scene import (
    HEATMAP,
    MARKERS,
    SEGMENTATION,
    from_world,
    ijk_to_ras,
    is_heatmap,
    node_of,
    result_node,
    to_world,
)

# --- Showing -------------------------------------------------------------------------------------------------------


def show(volume: Any, heatmap: Any, *, opacity: float, threshold: float) -> None:
    """The CT under a heatmap, which is transparent below ``threshold``; None removes one, and nothing else.

    In the slice views that show the CT already; in all where none does. So a comparison with another CT stays.
    """
    everywhere = _composite_nodes()
    for view in [v for v in everywhere if v.GetBackgroundVolumeID() == volume.GetID()] or everywhere:
        changed = view.GetBackgroundVolumeID() != volume.GetID()
        view.SetBackgroundVolumeID(volume.GetID())
        if heatmap is not None or _is_under_heatmap(view):
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
    keep_parts_to_views_of(volume)


def keep_parts_to_views_of(volume: Any) -> None:
    """Draw outlines and markers only where their CT is: over another one beside it they would be that one's.

    Everywhere, in views to come too, while no slice view shows another CT.
    """
    shown = {
        logic.GetSliceNode(): logic.GetSliceCompositeNode().GetBackgroundVolumeID()
        for logic in _slice_logics()
    }
    wanted: list[str] = []
    if any(other not in (None, "", volume.GetID()) for other in shown.values()):
        wanted = [node.GetID() for node, of in shown.items() if of == volume.GetID()]
        wanted += [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLViewNode")]
    for role in (SEGMENTATION, MARKERS):
        node = node_of(volume, role)
        display = node.GetDisplayNode() if node is not None else None
        if display is None or list(display.GetViewNodeIDs() or ()) == wanted:
            continue
        display.RemoveAllViewNodeIDs()
        for view in wanted:
            display.AddViewNodeID(view)


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


def _is_under_heatmap(view: Any) -> bool:
    """Whether a heatmap of a scan is in the foreground, and not an image that the user put there."""
    over = slicer.mrmlScene.GetNodeByID(view.GetForegroundVolumeID() or "")
    return over is not None and is_heatmap(over)


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
            _turn(node, volume, world)
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
    """Which slice k of the CT the views show; None where no view of the present layout shows one."""
    for node in _slice_nodes(volume):
        if node.IsMappedInLayout() and _shows_slices(node, volume):
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
    i, j, _, middle = _directions(volume)
    matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    return bool(np.abs(np.stack([i, j, middle]) @ normal).max() < 1e-3)


def _directions(volume: Any) -> NDArray[np.float64]:
    """Unit vectors in the world [4, 3]: along the edges i, j, k of the CT, and to the middle of its first slice.

    The last lies in the plane of the first two unless the parent transform bends the slices.
    """
    i, j, k = np.maximum(np.subtract(volume.GetImageData().GetDimensions(), 1), 1)
    places = [(0, 0, 0), (i, 0, 0), (0, j, 0), (0, 0, k), (i / 2, j / 2, 0)]
    at, *ends = (to_world(volume, (ijk_to_ras(volume) @ [*ijk, 1.0])[:3]) for ijk in places)
    ways: NDArray[np.float64] = np.subtract(ends, at)
    return ways / np.linalg.norm(ways, axis=1, keepdims=True)


def _turn(node: Any, volume: Any, world: Sequence[float]) -> None:
    """Turn a view to that plane of the CT's voxels, through a place, which is nearest to its own."""
    transform = volume.GetParentTransformNode()
    if transform is None or transform.IsTransformToWorldLinear():
        node.RotateToVolumePlane(volume)
        return
    # Slicer's own function refuses transforms such as that of its DICOM reader for a tilted gantry.
    ways = _directions(volume)[:3]
    ways = np.vstack([ways, -ways])
    right, up = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, :2].T
    x = ways[np.argmax(ways @ right)]
    others = ways[(ways != x).any(axis=1) & (ways != -x).any(axis=1)]
    y = others[np.argmax(others @ up)]
    node.SetSliceToRASByNTP(*np.cross(x, y), *x, *world, 0)


def _in_sight(node: Any, world: Sequence[float]) -> bool:
    to_xy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), to_xy)
    x, y, *_ = to_xy.MultiplyPoint((*world, 1.0))
    width, height, *_ = node.GetDimensions()
    return bool(0 <= x < width and 0 <= y < height)
