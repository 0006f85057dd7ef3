"""The parts of the CT Forgery Scan module: the scan as a job, and the sections of the panel."""
