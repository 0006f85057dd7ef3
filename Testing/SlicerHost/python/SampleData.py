"""``SampleData``: the module in which others register their sample data."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer


def _as_list(value: Any, count: int = 1) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


def _check(path: Path, checksum: str | None) -> None:
    """:raises ValueError: if the file's checksum, written ``algorithm:digest``, is another."""
    if checksum:
        algorithm, digest = slicer.util.extractAlgoAndDigest(checksum)
        if slicer.util.computeChecksum(algorithm, str(path)) != digest:
            raise ValueError(f"{path.name} does not have the checksum {checksum}")


class SampleDataSource:
    """One data set: where its files are and how they are loaded."""

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = "VolumeFile",
        loadFileProperties: Any = None,
    ) -> None:
        self.sampleName, self.sampleDescription = sampleName, sampleDescription
        self.uris, self.fileNames = _as_list(uris), _as_list(fileNames)
        self.nodeNames, self.checksums = _as_list(nodeNames), _as_list(checksums, len(self.uris))
        self.loadFiles = _as_list(loadFiles, len(self.uris))
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileType = _as_list(loadFileType, len(self.uris))
        self.loadFileProperties = loadFileProperties or {}
        lengths = {len(self.uris), len(self.fileNames), len(self.nodeNames), len(self.loadFileType)}
        if len(lengths) > 1:
            raise ValueError(f"{sampleName}: uris, fileNames, nodeNames and loadFileType differ in length")


class SampleDataLogic:
    """Registers data sets, fetches and loads them."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = "VolumeFile",
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Shows a data set in Sample Data, under the category; a second one of the same name is passed over."""
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileType=loadFileType,
            loadFileProperties=loadFileProperties,
        )
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if all(other.sampleName != sampleName for other in sources):
            sources.append(source)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        sources = (source for sources in slicer.modules.sampleDataSources.values() for source in sources)
        return next((source for source in sources if source.sampleName == sampleName), None)

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        """Loads a data set; only ``file:`` addresses are fetched, for the stand-in works offline.

        :raises RuntimeError: for another address
        :raises ValueError: if a file is not the one that its checksum names
        """
        if source.customDownloader is not None:
            return [source.customDownloader(source)]
        loaded = []
        for uri, file_name, node_name, kind, checksum in zip(
            source.uris,
            source.fileNames,
            source.nodeNames,
            source.loadFileType,
            source.checksums,
            strict=True,
        ):
            if not uri.startswith("file:"):
                raise RuntimeError(f"the stand-in for Slicer fetches nothing from the net: {uri}")
            path = Path(slicer.app.temporaryPath) / file_name
            urllib.request.urlretrieve(uri, path)
            _check(path, checksum)
            properties = {"name": node_name, **source.loadFileProperties}
            loaded.append(slicer.util.loadNodeFromFile(path, kind, properties))
        return loaded

    def downloadSamples(self, sampleName: str) -> list[Any]:
        """:raises ValueError: if no data set has that name"""
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise ValueError(f"there is no sample data '{sampleName}'")
        return self.downloadFromSource(source)

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


def downloadSample(sampleName: str) -> Any:
    """Loads a data set; its first node."""
    return SampleDataLogic().downloadSample(sampleName)
