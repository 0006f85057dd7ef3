"""Scan CTs without a window, from files or from Slicer's DICOM database.

Slicer --no-main-window --python-script CTForgeryScan_batch.py ct.nrrd [more.nrrd ...] OUT
Slicer --no-main-window --python-script CTForgeryScan_batch.py --dicom OUT

Each CT gets a folder in OUT with what ``ctforgeryscan scan`` writes. The exit status is 0 if every CT was scanned,
whatever the verdicts, and 1 if some could not be.
"""

import argparse
import sys
from pathlib import Path

import slicer

from CTForgeryScan import CTForgeryScanLogic


def files(paths):
    """(name, volume node) of each file."""
    for path in map(Path, paths):
        yield path.stem, slicer.util.loadVolume(str(path))


def dicom_series():
    """(series UID, volume node) of every CT series in Slicer's DICOM database."""
    from DICOMLib import DICOMUtils

    database = slicer.dicomDatabase
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for series in database.seriesForStudy(study):
                if database.fieldForSeries("Modality", series) == "CT":
                    for node in DICOMUtils.loadSeriesByUID([series])[:1]:
                        yield series, slicer.mrmlScene.GetNodeByID(node)


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
    logic, failed = CTForgeryScanLogic(), 0
    for name, volume in dicom_series() if options.dicom else files(paths):
        try:
            logic.scan(volume, options.model, options.operating_point, options.device)
            logic.exportResult(volume, Path(out, name))
            print(logic.summary(volume), flush=True)
        except (ValueError, RuntimeError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed += 1
        # One CT at a time in memory.
        slicer.mrmlScene.Clear()
    logic.cleanup()
    return 1 if failed else 0


if __name__ == "__main__":
    slicer.util.exit(main(sys.argv[1:]))
