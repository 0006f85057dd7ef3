"""Programs that forge CT volumes, to train and test the detector. They write arrays and marked NRRD, never DICOM."""
