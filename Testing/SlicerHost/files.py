"""``slicer.app.coreIOManager()``: loading and saving by the readers and writers that the nodes have themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

FILE_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".nii.gz": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".nii": "VolumeFile",
    ".mha": "VolumeFile",
    ".mhd": "VolumeFile",
    ".tsv": "TableFile",
    ".csv": "TableFile",
    ".ctbl": "ColorTableFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
}
"""End of a file's name -> what Slicer calls its type; longer ends first."""

NODE_CLASSES = {
    "ColorTableFile": "vtkMRMLColorTableNode",
    "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "TableFile": "vtkMRMLTableNode",
}

LABEL_MAP, CENTERED, SINGLE_FILE = 1, 2, 4  # vtkSlicerVolumesLogic's loading options


class qSlicerCoreIOManager:
    """Loads files into the scene and saves from it."""

    __slots__ = ("_volumes_logic",)

    def __init__(self, volumes_logic: Any) -> None:
        self._volumes_logic = volumes_logic

    def fileType(self, path: Any) -> str:
        """Slicer's name for the type of a file, by the end of its name."""
        name = str(path).lower()
        return next((kind for end, kind in FILE_TYPES.items() if name.endswith(end)), "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        """The type that ``saveNodes`` is given for a node, which knows its writer itself."""
        return f"{node.GetClassName()}File"

    def loadNodes(
        self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        """Loads ``properties["fileName"]``; its nodes go into the collection ``loaded``."""
        path = str(properties["fileName"])
        if not Path(path).exists():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {path}")
            return False
        if kind == "SceneFile":
            return _load_scene(path, clear=bool(properties.get("clear")))
        name = properties.get("name") or Path(path).name.partition(".")[0]
        if kind == "VolumeFile":
            node = self._load_volume(path, name, properties)
        elif kind in NODE_CLASSES:
            node = _load_storable(NODE_CLASSES[kind], path, name)
        else:
            return False
        if node and loaded is not None:
            loaded.AddItem(node)
        return bool(node)

    def _load_volume(self, path: str, name: str, properties: dict[str, Any]) -> Any:
        options = (
            (LABEL_MAP if properties.get("labelmap") else 0)
            | (CENTERED if properties.get("center") else 0)
            | (SINGLE_FILE if properties.get("singleFile") else 0)
        )
        node = self._volumes_logic.AddArchetypeVolume(path, name, options)
        if node and properties.get("show", True):
            logic = slicer.app.applicationLogic()
            if node.IsA("vtkMRMLLabelMapVolumeNode"):
                logic.GetSelectionNode().SetActiveLabelVolumeID(node.GetID())
            else:
                logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
            logic.PropagateVolumeSelection()
        return node

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Saves the scene, or the node of ``properties["nodeID"]``, as ``properties["fileName"]``."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return _save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))


def _load_storable(class_name: str, path: str, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    node.AddDefaultStorageNode(path)
    if not node.GetStorageNode().ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        return None
    if node.IsA("vtkMRMLDisplayableNode"):
        node.CreateDefaultDisplayNodes()
    return node


def _load_scene(path: str, *, clear: bool) -> bool:
    scene = slicer.mrmlScene
    scene.SetURL(path)
    if path.lower().endswith(".mrb"):
        return bool(scene.ReadFromMRB(path, clear))
    return bool(scene.Connect() if clear else scene.Import())


def _save_scene(path: str) -> bool:
    scene = slicer.mrmlScene
    scene.SetRootDirectory(str(Path(path).resolve().parent))
    scene.SetURL(path)
    return bool(scene.WriteToMRB(path) if path.lower().endswith(".mrb") else scene.Commit())
