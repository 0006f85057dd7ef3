"""The scene, the application logic and the modules' logics: all of it is Slicer's own C++."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

from .colorfiles import write_color_files
from .subjecthierarchy import SubjectHierarchyPlugins

SHARE = "share/Slicer-5.13"
LOGICS = {
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}
"""Slicer's modules whose logic slicer-core has and that run here. Terminologies wants files that it does not ship."""


class Core:
    """What Slicer has without its windows.

    :ivar scene: the scene
    :ivar application_logic: its application logic
    :ivar logics: module name -> logic
    """

    def __init__(self, home: Path) -> None:
        """:param home: an empty folder, which becomes Slicer's home directory"""
        write_color_files(home / SHARE / "ColorFiles")
        temporary = home / "tmp"
        temporary.mkdir()

        self.scene: Any = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

        self.application_logic: Any = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetMRMLScene(self.scene)
        self.application_logic.SetHomeDirectory(str(home))
        self.application_logic.SetShareDirectory(SHARE)
        self.application_logic.SetTemporaryPath(str(temporary))
        for factory in (
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(self.application_logic)

        self.logics: dict[str, Any] = {}
        for name, class_name in LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(self.application_logic)
            logic.SetMRMLScene(self.scene)
            self.application_logic.SetModuleLogic(name, logic)
            self.logics[name] = logic

        self._plugins = SubjectHierarchyPlugins(self.scene)
        self._connect_data_io(temporary)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def _connect_data_io(self, temporary: Path) -> None:
        """The scene reads .mrb files only when it knows a cache and a data manager."""
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.SetMRMLScene(self.scene)
        self._remote_io.SetMRMLApplicationLogic(self.application_logic)
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(str(temporary))
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(self.scene)
        self._data_io.SetMRMLApplicationLogic(self.application_logic)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self._remote_io.AddDataIOToScene()

    def lay_out_views(self) -> None:
        """Makes the nodes of the slice views, and the list for their logics; without a main window there are none."""
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLScene(self.scene)
