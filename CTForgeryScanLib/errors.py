"""What can go wrong, one exception type per cause; each message is one sentence naming what, why and the remedy."""

from __future__ import annotations


class CTForgeryScanError(Exception):
    """Base of every error that is the input's, the machine's or the user's, not the program's."""


class InputError(CTForgeryScanError, ValueError):
    """The given file, folder, image or array is missing, damaged or not a CT volume that can be scanned."""


class ModelError(CTForgeryScanError, ValueError):
    """The model is missing, damaged, or its files do not match their card."""


class DeviceError(CTForgeryScanError, RuntimeError):
    """The asked-for device is not there or cannot do the work."""


class OutputError(CTForgeryScanError, OSError):
    """The results cannot be written where they were asked for."""


class ScanCancelled(CTForgeryScanError):
    """The caller's ``should_cancel`` said so; nothing was written."""
