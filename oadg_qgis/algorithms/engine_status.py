"""Tells what the engine is, and what it can do."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ...core.contract.errors import Cancelled, OadgError
from ..engine_client import engine_status
from ..environment import find_interpreter
from .base import OadgAlgorithm, errors_for_qgis, tr

_HELP = """
<p>Starts the engine, when it does not run already, and asks it for its Python interpreter, the versions of its
packages, its devices (processor, graphics cards) and its memory. Use it to see whether a graphics card is used, and
attach its log to reports of problems.</p>
"""
_OUTPUTS = (
    ("STATE", "Whether the engine is 'ready', 'missing' (not set up) or 'broken' (it does not start)"),
    ("MESSAGE", "What is wrong, and what to do; empty when nothing is"),
    ("INTERPRETER", "Python interpreter"),
    ("ORIGIN", "What chose the interpreter"),
    ("PYTHON_VERSION", "Version of Python"),
    ("TORCH_VERSION", "Version of PyTorch"),
    ("NUMPY_VERSION", "Version of NumPy"),
    ("PLATFORM", "Operating system"),
    ("DEVICES", "Devices"),
)


def describe_devices(devices: Sequence[Mapping[str, Any]]) -> str:
    """Return the devices of an engine's status in a line: what to enter as DEVICE, name, memory."""
    lines = []
    for device in devices:
        total, free = device.get("memory_total_mb"), device.get("memory_free_mb")
        memory = f", {free:,.0f} of {total:,.0f} MB free" if total and free is not None else ""
        lines.append(f"{device.get('device', device['kind'])} ({device['name']}{memory})")
    return "; ".join(lines)


class EngineStatus(OadgAlgorithm):
    """The engine's own account of itself."""

    ID = "enginestatus"
    NAME = "Engine status"
    SUMMARY = "Reports the engine's interpreter, versions, devices and memory."
    HELP = _HELP
    GROUP_ID = "engine"
    GROUP = "Engine"
    TAGS = ("version", "diagnosis", "pytorch", "torch", "gpu", "cuda", "device", "memory", "interpreter")

    def initAlgorithm(self, configuration=None) -> None:
        """Declare the outputs; there are no parameters."""
        for name, description in _OUTPUTS:
            self.addOutput(QgsProcessingOutputString(name, tr(description)))
        self.addOutput(
            QgsProcessingOutputNumber("MEMORY_MB", tr("Memory of the engine's process in MB; 0 when unknown"))
        )

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Ask the engine; a missing or broken one is an answer, not a failure."""
        answer: Dict[str, Any] = {**{name: "" for name, _ in _OUTPUTS}, "STATE": "missing", "MEMORY_MB": 0.0}
        try:
            chosen = find_interpreter()
            answer.update(STATE="broken", INTERPRETER=chosen.path, ORIGIN=chosen.origin)
            status = engine_status(feedback.isCanceled)
        except Cancelled:
            with errors_for_qgis():
                raise
        except OadgError as error:
            answer["MESSAGE"] = str(error)
            feedback.reportError(str(error))
            return answer
        answer.update(
            {name: status[name.lower()] for name, _ in _OUTPUTS if name.lower() in status},
            STATE="ready",
            DEVICES=describe_devices(status["devices"]),
            MEMORY_MB=status["memory_mb"] or 0.0,
        )
        for name, _ in _OUTPUTS:
            if answer[name]:
                feedback.pushInfo(f"{name}: {answer[name]}")
        feedback.pushInfo(f"MEMORY_MB: {answer['MEMORY_MB']:g}")
        return answer
