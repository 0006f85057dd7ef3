"""Scan CTs without a window, from files or from Slicer's DICOM database.

Slicer --no-main-window --python-script CTForgeryScan_batch.py ct.nrrd [more.nrrd ...] OUT
Slicer --no-main-window --python-script CTForgeryScan_batch.py --dicom OUT

Each CT gets a folder in OUT with what ``ctforgeryscan scan`` writes. The exit status is 0 if every CT was scanned,
whatever the verdicts, and 1 if some could not be.
"""

import argparse
import sys
import traceback
from functools import partial
from pathlib import Path

import slicer

from CTForgeryScan import CTForgeryScanLogic


def files(paths):
    """(name, function that loads the volume node) of each file."""
    for path in map(Path, paths):
        yield Path(path.name.removesuffix(".gz")).stem, partial(slicer.util.loadVolume, str(path))


def dicom_series():
    """(series UID, function that loads its first volume node) of every CT series in Slicer's DICOM database."""
    database = slicer.dicomDatabase
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for series in database.seriesForStudy(study):
                if database.fieldForSeries("Modality", series) == "CT":
                    yield series, partial(load_series, series)


def load_series(uid):
    from DICOMLib import DICOMUtils

    nodes = map(slicer.mrmlScene.GetNodeByID, DICOMUtils.loadSeriesByUID([uid]))
    # A tilted gantry brings a transform with it.
    volumes = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    if not volumes:
        raise ValueError("the DICOM database has no image of it")
    return volumes[0]


def main(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="volume files, and last the folder for results"
    )
    parser.add_argument("--dicom", action="store_true", help="scan every CT series of the DICOM database")
    parser.add_argument("--model", help="a shipped model by name, or a model's folder")
    parser.add_argument("--operating-point", help="how sensitive, by a name of the model's card")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    *paths, out = options.paths
    if not paths and not options.dicom:
        parser.error("give the volume files, or --dicom, and last the folder for results")
    logic, failed, folders = CTForgeryScanLogic(), 0, set()
    for name, load in dicom_series() if options.dicom else files(paths):
        folder, number = Path(out, name), 2
        while folder in folders:  # another CT of the same name
            folder, number = Path(out, f"{name}-{number}"), number + 1
        folders.add(folder)
        try:
            volume = load()
            logic.scan(volume, options.model, options.operating_point, options.device)
            logic.exportResult(volume, folder)
            print(logic.summary(volume), flush=True)
        except (ValueError, RuntimeError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed += 1
        # One CT at a time in memory: the logic holds the one that it scanned, and so does the name.
        logic.abort()
        volume = None
        slicer.mrmlScene.Clear()
    logic.cleanup()
    return 1 if failed else 0


if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv[1:])
    except SystemExit as stop:  # of argparse
        status = stop.code
    except Exception:
        traceback.print_exc()
    finally:
        # Without this Slicer runs on without a window.
        slicer.util.exit(status)
