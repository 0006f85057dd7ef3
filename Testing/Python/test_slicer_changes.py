"""What the panel and the views show when CTs are selected, results come and go, and layouts and ranges change."""

from __future__ import annotations

import gc
import unittest
import weakref
from typing import Any

import numpy as np

import phantoms
from slicer_scenes import SceneCase, add_ct, marked_ct, scan_into_scene


def layers() -> list[tuple[str | None, str | None]]:
    """Names of the CT and of what lies over it, view by view."""
    import slicer

    def name(node_id: str | None) -> str | None:
        return slicer.mrmlScene.GetNodeByID(node_id).GetName() if node_id else None

    return [
        (name(view.GetBackgroundVolumeID()), name(view.GetForegroundVolumeID()))
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ]


def clean_ct(name: str) -> Any:
    return add_ct(phantoms.chest(slices=12, size=192), name=name)


class Views(SceneCase):
    def test_a_ct_that_is_selected_is_not_under_the_heatmap_of_another(self) -> None:
        self.show(add_ct(name="A"))
        self.assertEqual(layers()[0], ("A", "A heatmap"))
        self.logic.getParameterNode().inputVolume = clean_ct("B")
        self.assertEqual(set(layers()), {("B", None)})

    def test_an_overlay_of_the_users_own_stays_over_a_ct_that_has_no_result(self) -> None:
        import slicer

        self.show(add_ct(name="A"))
        volume, pet = clean_ct("B"), clean_ct("PET")
        slicer.util.setSliceViewerLayers(background=volume, foreground=pet, foregroundOpacity=0.5)
        self.logic.getParameterNode().inputVolume = volume
        self.assertEqual(set(layers()), {("B", "PET")})
        self.assertAlmostEqual(self.composite().GetForegroundOpacity(), 0.5)

    def test_a_comparison_stays_whatever_is_set(self) -> None:
        import slicer

        volume, other = add_ct(name="A"), clean_ct("B")
        self.show(volume)
        yellow = slicer.app.layoutManager().sliceWidget("Yellow").sliceLogic().GetSliceCompositeNode()
        yellow.SetBackgroundVolumeID(other.GetID())
        yellow.SetForegroundVolumeID(None)
        before = layers()
        self.assertIn(("B", None), before)
        node = self.logic.getParameterNode()
        node.firstSlice, node.device, node.opacity = 1, "cpu", 0.3
        self.assertEqual(layers(), before)
        self.assertAlmostEqual(self.composite().GetForegroundOpacity(), 0.3)

    def test_outlines_and_markers_lie_over_their_own_ct_alone(self) -> None:
        import slicer

        from CTForgeryScanLib import scene

        volume, other = add_ct(name="A"), clean_ct("B")
        self.show(volume)
        yellow = slicer.app.layoutManager().sliceWidget("Yellow").sliceLogic().GetSliceCompositeNode()

        def shown_in(name: str) -> set[bool]:
            nodes = (scene.node_of(volume, role) for role in (scene.SEGMENTATION, scene.MARKERS))
            return {node.GetDisplayNode().IsDisplayableInView(f"vtkMRMLSliceNode{name}") for node in nodes}

        yellow.SetBackgroundVolumeID(other.GetID())
        self.assertEqual((shown_in("Red"), shown_in("Yellow")), ({True}, {False}))
        yellow.SetBackgroundVolumeID(volume.GetID())
        self.assertEqual((shown_in("Red"), shown_in("Yellow")), ({True}, {True}))

    def test_a_scene_that_is_loaded_while_the_module_is_open_keeps_its_views_and_its_range(self) -> None:
        import slicer

        self.show(add_ct(name="scanned"))
        node = self.logic.getParameterNode()
        node.firstSlice, node.lastSlice = 3, 6
        slicer.util.setSliceViewerLayers(background=clean_ct("PET"), foreground=None)
        slicer.util.saveScene(str(self.folder / "s.mrb"))
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(str(self.folder / "s.mrb"))
        self.assertEqual({background for background, _ in layers()}, {"PET"})
        ui = self.widget.ui
        self.assertEqual((ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value), (3, 6))
        self.widget.parent.exit()
        self.widget.parent.enter()
        self.assertEqual(ui.lastSliceSpinBox.maximum, 11)

    def test_a_view_that_the_layout_does_not_show_shows_no_slice(self) -> None:
        import slicer

        from CTForgeryScanLib import views

        volume = add_ct()
        self.show(volume)
        self.assertIsNotNone(views.slice_in_view(volume))
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.SetMappedInLayout(0)
            self.addCleanup(node.SetMappedInLayout, 1)
        self.assertIsNone(views.slice_in_view(volume))

    def test_the_focus_alone_moves_no_view(self) -> None:
        from CTForgeryScanLib import views
        from SlicerHost import hands

        volume = add_ct()
        result = self.show(volume)
        (last,) = [s["k"] for s in result["slices"]][-1:]
        self.widget.jumpTo(volume, self.local(volume, (96, 96, last)))
        self.widget.ui.slicesTable.setFocus()
        hands.process_events()
        self.assertEqual(views.slice_in_view(volume), last)
        hands.press(self.widget.ui.slicesTable, "Down")
        self.assertEqual(views.slice_in_view(volume), 3)

    def local(self, volume: Any, ijk: tuple[float, float, float]) -> np.ndarray:
        from CTForgeryScanLib import scene

        return (scene.ijk_to_ras(volume) @ [*ijk, 1])[:3]


class Results(SceneCase):
    def test_a_result_that_is_deleted_or_that_a_script_makes_is_followed(self) -> None:
        from CTForgeryScanLib import scene
        from SlicerHost import hands

        volume, ui = add_ct(), self.widget.ui
        self.show(volume)
        for role in (scene.HEATMAP, scene.SEGMENTATION, scene.MARKERS, scene.REGION_TABLE, scene.SLICE_TABLE):
            scene.remove_node(scene.node_of(volume, role))
        scene.remove_node(scene.result_node(volume))
        hands.process_events()
        self.assertTrue(ui.resultSection.isHidden())
        scan_into_scene(volume)
        hands.process_events()
        self.assertFalse(ui.resultSection.isHidden())
        self.assertEqual(ui.verdictLabel.text, "Suspicious: 1 region")
        self.assertEqual(layers()[0], ("CT", "CT heatmap"))

    def test_the_tables_follow_a_transform_that_is_changed(self) -> None:
        import slicer

        volume = add_ct()
        self.show(volume)
        self.put_under(volume, np.eye(4))
        matrix = np.eye(4)
        matrix[:3, 3] = 100, 0, 50
        before = self.said()
        volume.GetParentTransformNode().SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        np.testing.assert_allclose(np.subtract(self.said(), before), (100, 0, 50), atol=0.11)

    def test_the_table_of_regions_says_where_a_hardened_ct_lies(self) -> None:
        from CTForgeryScanLib import scene

        volume, matrix = add_ct(), np.eye(4)
        matrix[:3, 3] = 100, 0, 50
        self.show(volume)
        self.put_under(volume, matrix)
        volume.HardenTransform()
        table = scene.node_of(volume, scene.REGION_TABLE).GetTable()
        node = [table.GetColumnByName(f"{axis} (mm)").GetValue(0) for axis in "RAS"]
        np.testing.assert_allclose(node, self.said(), atol=0.06)

    def said(self) -> list[float]:
        return [float(n) for n in self.widget.ui.regionsTable.item(0, 4).text().split(",")]

    def test_nothing_is_left_of_a_ct_that_is_removed(self) -> None:
        import slicer

        from SlicerHost import hands

        volume = add_ct()
        self.show(volume)
        slicer.mrmlScene.RemoveNode(volume)
        hands.process_events()
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        left = [tree.GetItemName(item) for item in self.items(tree)]
        self.assertEqual([name for name in left if "forgery scan" in name], [])

    def items(self, tree: Any) -> list[int]:
        import vtk

        ids = vtk.vtkIdList()
        tree.GetItemChildren(tree.GetSceneItemID(), ids, True)
        return [ids.GetId(n) for n in range(ids.GetNumberOfIds())]

    def test_a_ct_is_let_go_when_the_scene_is_closed(self) -> None:
        import slicer
        import vtk

        volume = add_ct(marked_ct(6))
        self.scan(volume)
        self.logic.getParameterNode().inputVolume = volume
        weak = vtk.vtkWeakReference()
        weak.Set(volume)
        del volume
        slicer.mrmlScene.Clear()
        gc.collect()
        self.assertIsNone(weak.Get())

    def test_a_parameter_node_is_let_go_when_the_scene_is_closed(self) -> None:
        import slicer

        weak = weakref.ref(self.widget._parameterNode)
        slicer.mrmlScene.Clear()
        gc.collect()
        self.assertIsNone(weak())

    def test_a_failure_is_said_of_its_own_ct_alone(self) -> None:
        from SlicerHost import hands

        volume, ui = add_ct(name="A"), self.widget.ui
        node = self.logic.getParameterNode()
        node.inputVolume, node.device = volume, "cuda:7"
        hands.click(ui.scanButton)
        hands.wait_until(lambda: not self.logic.job.isRunning, 120)
        self.assertIn("cuda:7", ui.statusLabel.text)
        node.inputVolume = clean_ct("B")
        self.assertEqual(ui.statusLabel.text, "Ready.")


if __name__ == "__main__":
    unittest.main()
