"""The Setup section: what a scan needs, what of it is installed, and the button that installs the rest."""

import hashlib
import html
import importlib.metadata
import importlib.util
import inspect
import shutil
import sys

import qt
import slicer
from slicer.i18n import tr as _

from CTForgeryScanLib import cards
from CTForgeryScanLib.environment import find_packages
from CTForgeryScanLib.errors import ModelError
from CTForgeryScanLib.process import Worker, make_folder

EXTENSION = "PyTorch"


class SetupSection:
    """Says in words what is there; installs on request only, after asking; looks for devices in a child process."""

    def __init__(self, ui, onChange):
        """``onChange()`` is called when what is installed may have changed."""
        self._ui = ui
        self._onChange = onChange
        self._packages = []
        self._devices = None
        self._failure = ""
        self._worker = None
        self._timer = qt.QTimer()
        self._timer.setInterval(200)
        self._timer.connect("timeout()", self._listen)
        ui.installButton.connect("clicked(bool)", self.install)
        ui.checkButton.connect("clicked(bool)", self.check)

    @property
    def missing(self):
        """Names of the packages that are absent or too old."""
        return [found.package.name for found in self._packages if not found.good]

    def refresh(self):
        """Look again, without importing anything, and unfold the section if something is missing."""
        self._packages = find_packages()
        self._show()
        self._ui.setupSection.collapsed = not self.missing
        self._onChange()

    def check(self, _checked=False):
        """Look again, and ask a child process which devices torch finds: that takes seconds and blocks nothing."""
        self.refresh()
        if self._worker is None and not self.missing:
            python = shutil.which("PythonSlicer") or sys.executable
            self._worker = Worker(["check", "--progress", "json"], make_folder(), python=python)
            self._timer.start()
            self._show()

    def stop(self):
        """End the child process, if there is one."""
        self._timer.stop()
        if self._worker is not None:
            self._worker.stop()
            self._forget()

    def install(self, _checked=False):
        """Ask, then install what is missing: torch by the PyTorch extension, the rest by pip."""
        missing = [found.package for found in find_packages() if not found.good]
        question = _("This installs into this Slicer: {names}. Go on?").format(
            names=", ".join(p.name for p in missing)
        )
        if not missing or not slicer.util.confirmOkCancelDisplay(question, parent=slicer.util.mainWindow()):
            return
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
            if any(package.name == "torch" for package in missing):
                _installTorch(next(package.at_least for package in missing if package.name == "torch"))
            _pipInstall([f"{p.name}>={p.at_least}" for p in missing if p.name != "torch"])
        self.refresh()

    def _listen(self):
        for event in self._worker.poll():
            if event["event"] == "check":
                self._devices = event["devices"]
        outcome = self._worker.outcome
        if outcome is not None:
            self._failure = outcome.message if outcome.status == "failed" else ""
            self._timer.stop()
            self._forget()
            self._show()

    def _forget(self):
        shutil.rmtree(self._worker.folder, ignore_errors=True)
        self._worker = None

    def _show(self):
        lines = [
            *(_line(found.good, _packageText(found)) for found in self._packages),
            _modelLine(),
            self._deviceLine(),
        ]
        self._ui.setupLabel.text = "<br>".join(line for line in lines if line)
        self._ui.installButton.visible = bool(self.missing)
        self._ui.checkButton.enabled = self._worker is None

    def _deviceLine(self):
        if self.missing:
            return ""
        if self._worker is not None:
            return _line(None, _("Devices: looking…"))
        if self._failure:
            return _line(False, self._failure)
        if self._devices is None:
            return _line(None, _("Devices: press Check again to see which there are"))
        names = "; ".join(f"{name} ({text})" for name, text in self._devices)
        return _line(True, _("Devices: {names}").format(names=names))


def _packageText(found):
    name, needed = found.package.name, found.package.at_least
    if found.version is None:
        return _("{name} is not installed").format(name=name)
    if not found.good:
        return _("{name} {version} is too old: {needed} or newer").format(
            name=name, version=found.version, needed=needed
        )
    return _("{name} {version} is installed").format(name=name, version=found.version)


def _modelLine():
    """Whether the default model's files are those of its card, by their hash."""
    try:
        folder = cards.find_model(cards.DEFAULT_MODEL)
        sums = cards.read_card(folder)["sha256"]
        whole = all(
            hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha for file, sha in sums.items()
        )
    except (ModelError, OSError) as error:
        return _line(False, str(error))
    if not whole:
        return _line(
            False, _("The files of the model {name} are damaged: install again").format(name=folder.name)
        )
    sha = next(iter(sums.values()))[:12]
    return _line(True, _("Model {name} is whole (SHA-256 {sha}…)").format(name=folder.name, sha=sha))


def _line(good, text):
    """A line with a mark that does not depend on colour alone."""
    mark = {True: "✓", False: "✗", None: "·"}[good]
    return f"{mark} {html.escape(text)}"


def _installTorch(atLeast):
    """Raises RuntimeError where the PyTorch extension is absent: it alone knows which build fits the computer."""
    if importlib.util.find_spec("PyTorchUtils") is None:
        raise RuntimeError(
            _(
                "Install the extension {name} in the Extensions Manager, restart Slicer, and try again."
            ).format(name=EXTENSION)
        )
    import PyTorchUtils

    logic = PyTorchUtils.PyTorchUtilsLogic()
    # Which arguments there are differs between versions of that extension.
    known = inspect.signature(logic.installTorch).parameters
    wanted = {"askConfirmation": False, "torchVersionRequirement": f">={atLeast}"}
    if logic.installTorch(**{name: value for name, value in wanted.items() if name in known}) is None:
        raise RuntimeError(_("PyTorch was not installed; the log of Slicer says why."))


def _pipInstall(requirements):
    """Install by pip with the versions of Slicer's own packages held, so that none of them is replaced."""
    if not requirements:
        return
    folder = make_folder()
    held = folder / "constraints.txt"
    brought = ("numpy", "scipy", "SimpleITK", "pydicom", "requests", "pillow")
    versions = {
        name: importlib.metadata.version(name) for name in brought if importlib.util.find_spec(_module(name))
    }
    held.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
    try:
        if importlib.util.find_spec("slicer.packaging") is not None:  # since Slicer 5.12
            from slicer.packaging import pip_ensure

            pip_ensure(requirements, constraints=held, prompt_install=False, requester="CTForgeryScan")
        else:
            slicer.util.pip_install([*requirements, "-c", str(held)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _module(package):
    return "PIL" if package == "pillow" else package
