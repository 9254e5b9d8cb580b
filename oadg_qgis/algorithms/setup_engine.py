"""Makes the engine's private Python environment."""

from __future__ import annotations

from typing import Any, Dict

from qgis.core import QgsProcessingOutputString, QgsProcessingParameterEnum, QgsProcessingParameterFile

from ..engine_setup import BUILDS, DISK_GB, OLDEST_PYTHON, set_up_engine
from ..environment import find_interpreter
from .base import OadgAlgorithm, errors_for_qgis, report_to, tr
from .engine_status import describe_devices

_HELP = """
<p>OADG computes with PyTorch in a Python environment of its own, in your user folder. Nothing is installed into QGIS's
own Python, so no other plugin is affected. This needs to be done once, and again to change the build.</p>
<p><b>cpu</b> runs everywhere and is small. <b>cuda</b> uses an NVIDIA graphics card made since 2018 (Turing or newer)
with a current driver, <b>cuda-legacy</b> an older one. <b>default</b> takes what the package index that pip is
configured with offers.</p>
<p>Without a network, fill a folder with wheels on another computer of the same kind and name it below.</p>
<p>The new environment takes the old one's place only after it has proven that it computes; when the setup is
cancelled or fails, everything is as it was before.</p>
"""


class SetupEngine(OadgAlgorithm):
    """The environment that the engine runs in, made by a click."""

    ID = "setupengine"
    NAME = "Set up engine"
    SUMMARY = "Installs PyTorch for OADG into a private environment, apart from QGIS's own Python."
    HELP = _HELP
    GROUP_ID = "engine"
    GROUP = "Engine"
    TAGS = ("install", "installation", "dependencies", "pytorch", "torch", "gpu", "cuda", "offline", "wheels", "pip")

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        build = QgsProcessingParameterEnum(
            "BUILD", tr("Build of PyTorch"), list(BUILDS), defaultValue="cpu", usesStaticStrings=True
        )
        build.setHelp(
            tr(
                "cpu: {cpu:g} GB while installing, runs everywhere. cuda: {cuda:g} GB, NVIDIA cards since 2018. "
                "cuda-legacy: older NVIDIA cards. default: from the index that pip is configured with."
            ).format(cpu=DISK_GB["cpu"], cuda=DISK_GB["cuda"])
        )
        wheels = QgsProcessingParameterFile(
            "WHEELS",
            tr("Folder of wheels (offline)"),
            behavior=QgsProcessingParameterFile.Behavior.Folder,
            optional=True,
        )
        wheels.setHelp(
            tr(
                "Installs from this folder without any network; the build is what the folder holds. Fill it with: "
                "python -m pip download -d FOLDER -r engine-requirements.txt (the file is in the plugin's resources)."
            )
        )
        # QGIS's default filter (*.*) refuses /usr/bin/python3, which has no dot.
        python = QgsProcessingParameterFile(
            "PYTHON", tr("Python interpreter to build on"), optional=True, fileFilter=tr("All files") + " (*)"
        )
        python.setHelp(
            tr(
                "QGIS's own Python by default. Name another one (64 bit, {oldest} or newer) when QGIS's is too old."
            ).format(oldest=".".join(map(str, OLDEST_PYTHON)))
        )
        for parameter in (build, wheels, python):
            self.addParameter(parameter)
        for name, description in (
            ("PYTHON", tr("The engine's interpreter")),
            ("TORCH_VERSION", tr("Version of PyTorch")),
            ("DEVICES", tr("Devices")),
        ):
            self.addOutput(QgsProcessingOutputString(name, description))

    def read(self, parameters, context, feedback) -> None:
        """Read the parameters."""
        self._build = self.parameterAsEnumString(parameters, "BUILD", context)
        self._wheels = self.parameterAsFile(parameters, "WHEELS", context) or None
        self._python = self.parameterAsFile(parameters, "PYTHON", context) or None

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Make the environment and tell what it can do."""
        with errors_for_qgis():
            self.raise_problem()
            status = set_up_engine(
                self._build,
                wheels=self._wheels,
                python=self._python,
                on_progress=report_to(feedback),
                on_line=feedback.pushConsoleInfo,
                is_cancelled=feedback.isCanceled,
            )
            chosen = find_interpreter()
        devices = describe_devices(status["devices"])
        feedback.pushInfo(
            tr("PyTorch {torch} computes on: {devices}").format(torch=status["torch_version"], devices=devices)
        )
        if self._build.startswith("cuda") and "cuda" not in devices:
            feedback.pushWarning(
                tr(
                    "The CUDA build sees no NVIDIA graphics card, so the CPU will compute. Is there one, and is its "
                    "driver current? The build cuda-legacy works with older cards and drivers."
                )
            )
        if chosen.path != status["interpreter"]:
            feedback.pushWarning(
                tr("The engine keeps running with {path}, for {origin} names it.").format(
                    path=chosen.path, origin=chosen.origin
                )
            )
        return {"PYTHON": status["interpreter"], "TORCH_VERSION": status["torch_version"], "DEVICES": devices}
