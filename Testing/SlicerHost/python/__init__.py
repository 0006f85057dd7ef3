"""Python modules of Slicer's that slicer-core leaves out, written from Slicer's public documentation.

``startup`` makes each of them importable under its name in Slicer.
"""
