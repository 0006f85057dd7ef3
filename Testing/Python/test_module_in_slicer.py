"""For ctest: the module's self-test in 3D Slicer itself. Elsewhere test_slicer_scan.py runs it in the stand-in."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import unittest

IN_SLICER = "slicer" in sys.modules and "SlicerHost.startup" not in sys.modules


@unittest.skipUnless(
    IN_SLICER, "this is not 3D Slicer; test_slicer_scan.py runs the self-test in the stand-in"
)
class ModuleInSlicer(unittest.TestCase):
    def test_the_module_tests_itself(self) -> None:
        test = importlib.import_module("CTForgeryScan").CTForgeryScanTest()
        test.messageDelay = 0
        test.runTest()


if __name__ == "__main__":
    unittest.main()
