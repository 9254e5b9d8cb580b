"""
Finds the engine's Python interpreter and gives it a clean environment.

The interpreter is the first of: the plugin setting `oadg/engine_python`, the environment variable
`OADG_ENGINE_PYTHON`, the private environment that `oadg:setupengine` makes in the user's data folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import quote

from qgis.core import QgsSettings

from ..core.contract.errors import EngineError

PLUGIN_FOLDER = Path(__file__).resolve().parents[1]
SETTING = "oadg/engine_python"
VARIABLE = "OADG_ENGINE_PYTHON"
REMEDY = "Run 'Set up engine' from the Processing toolbox (oadg:setupengine)"

PASSED_ON = {
    *("HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "PATH", "TMPDIR", "TEMP", "TMP", "OMP_NUM_THREADS"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "USERNAME", "APPDATA"),
    *("LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
}
"""Variables that the engine inherits."""
PASSED_ON_PREFIXES = (
    *("LC_", "XDG_", "OADG_", "CUDA", "NVIDIA", "NCCL_", "MKL_", "TORCH_", "PYTORCH_", "SSL_CERT_"),
    *("HF_", "HUGGING_FACE_HUB_", "HUGGINGFACE_HUB_"),  # the hub's address, token, cache, time limits
)
"""How the names of further variables begin that the engine inherits."""


OWN = {"OPENBLAS_NUM_THREADS": "1"}
"""What the engine gets besides: numpy's matrices are small, and threads that wait for each other on a busy machine made
an indicator simulation of 3 s take 273 s. PyTorch's threads are its own."""


class Interpreter(NamedTuple):
    """The engine's Python, and what chose it."""

    path: str
    origin: str


def engine_folder() -> Path:
    """Return the folder of the private environment in the user's data folder, whether it is there or not."""
    home = Path.home()
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return data / "oadg" / "engine"


def interpreter_in(folder: Path) -> Path:
    """Return where the interpreter of a virtual environment lies."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def find_interpreter() -> Interpreter:
    """
    Return the engine's interpreter.

    Raises
    ------
    EngineError
        When none is set up, or the one that is named is not there; it says what was looked at, and what to do.
    """
    private = interpreter_in(engine_folder())
    named = (
        (str(QgsSettings().value(SETTING, "") or "").strip(), f"the setting {SETTING}"),
        (os.environ.get(VARIABLE, "").strip(), f"the environment variable {VARIABLE}"),
    )
    for text, origin in named:
        if text:
            path = os.path.expanduser(text)
            if not os.path.isfile(path):
                raise EngineError(
                    f"The engine's Python interpreter {path}, named by {origin}, does not exist. "
                    f"Correct or clear it. {REMEDY} to get an environment of OADG's own."
                )
            return Interpreter(os.path.abspath(path), origin)
    if not private.is_file():
        raise EngineError(
            f"The engine is not set up: no interpreter is named by the setting {SETTING} or the environment variable "
            f"{VARIABLE}, and there is none at {private}. {REMEDY}; it needs to be done once."
        )
    return Interpreter(str(private), "OADG's own environment")


def engine_command(python: Optional[str] = None) -> Tuple[str, ...]:
    """
    Return the command that starts the engine in the plugin's folder.

    Parameters
    ----------
    python : str, optional
        The interpreter; that of `find_interpreter` by default, which raises `EngineError` when none is set up.
    """
    return (python or find_interpreter().path, "-s", "-B", "-X", "utf8", "-m", "core.engine")


def engine_environment(python: str, inherited: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
    """
    Return the environment variables for a process of another Python than QGIS's.

    It is made of what is known to be harmless: QGIS's own variables (PYTHONHOME, PYTHONPATH, PYTHONEXECUTABLE, library
    paths …) poison other interpreters.

    Parameters
    ----------
    python : str
        The interpreter.
    inherited : mapping, optional
        Where from; this process's environment by default.
    """
    inherited = os.environ if inherited is None else inherited
    chosen = {
        name: value
        for name, value in inherited.items()
        if name.upper() in PASSED_ON or name.upper().startswith(PASSED_ON_PREFIXES)
    }
    driver = _driver_folders(inherited.get("LD_LIBRARY_PATH", ""))
    if driver:
        chosen["LD_LIBRARY_PATH"] = driver
    if sys.platform == "win32":
        chosen["PATH"] = _windows_path(python, inherited)
    _add_proxy(chosen)
    return {**chosen, **OWN}


def _add_proxy(variables: Dict[str, str]) -> None:
    """Add QGIS's proxy where none is set yet."""
    settings = QgsSettings()
    host = str(settings.value("proxy/proxyHost", "") or "")
    enabled = str(settings.value("proxy/proxyEnabled", "")).lower() in ("true", "1")
    if enabled and host and str(settings.value("proxy/proxyType", "")).startswith("Http"):
        user = quote(str(settings.value("proxy/proxyUser", "") or ""), safe="")
        password = quote(str(settings.value("proxy/proxyPassword", "") or ""), safe="")
        port = str(settings.value("proxy/proxyPort", "") or "8080")
        address = f"http://{f'{user}:{password}@' if user else ''}{host}:{port}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            if name not in variables and name.lower() not in variables:
                variables[name] = address


def _driver_folders(library_path: str) -> str:
    """Return those folders of a library path that hold NVIDIA's driver; others may hold QGIS's own libraries."""
    folders = [folder for folder in library_path.split(":") if folder]
    return ":".join(folder for folder in folders if os.path.exists(os.path.join(folder, "libcuda.so.1")))


def _windows_path(python: str, inherited: Mapping[str, str]) -> str:
    """Return a search path of the interpreter's and Windows' folders: QGIS's holds libraries that torch might load."""
    system = inherited.get("SYSTEMROOT") or inherited.get("SystemRoot") or "C:\\Windows"
    return ";".join([os.path.dirname(python), f"{system}\\System32", system, f"{system}\\System32\\Wbem"])
