"""Where CT comes from: each module lists the scans of one kind of folder, all in the form of ``scan.Scan``."""
