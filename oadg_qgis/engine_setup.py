"""
Makes the engine's private Python environment; nothing is ever installed into QGIS's own Python.

It is built in a folder beside the old one, verified with a real forward pass, and only then takes its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..core.contract.errors import EngineError
from .engine_client import EngineClient, close_idle_engines
from .environment import PLUGIN_FOLDER, engine_command, engine_environment, engine_folder, interpreter_in
from .programs import Feedback, run_program, watch_program

REQUIREMENTS = PLUGIN_FOLDER / "resources" / "engine-requirements.txt"
INDEX = "https://download.pytorch.org/whl/"
BUILDS: Dict[str, str] = {"cpu": "cpu", "cuda": "cu130", "cuda-legacy": "cu126", "default": ""}
"""Builds of torch, and their names in PyTorch's own index: cu130 for GPUs since 2018, cu126 for those before."""
DISK_GB: Dict[str, float] = {"cpu": 1.5, "cuda": 9.0, "cuda-legacy": 9.0, "default": 9.0}
"""Disk space that making the environment takes, downloads included."""
OLDEST_PYTHON = (3, 10)
"""What the engine asks for."""
PIP_OPTIONS = (
    *("--no-input", "--no-cache-dir", "--disable-pip-version-check", "--only-binary", ":all:"),
    *("--progress-bar", "off", "--retries", "2", "--timeout", "30"),
)
STALE_S = 86_400.0
"""A half-made environment of this age was left by a QGIS that ended while it was made."""

PROBE = "import json, sys, venv, ensurepip, ssl; print(json.dumps(list(sys.version_info[:2]) + [sys.maxsize > 2**32]))"
FIRST_CONVOLUTION = """
import torch, safetensors.torch, huggingface_hub
for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
    image, weight = torch.ones(1, 1, 5, 5, device=device), torch.ones(2, 1, 3, 3, device=device)
    assert torch.nn.functional.conv2d(image, weight).sum().item() == 162.0, device
"""


def set_up_engine(
    build: str = "cpu",
    *,
    wheels: Optional[str] = None,
    python: Optional[str] = None,
    on_progress: Callable[[float, str], None] = lambda fraction, text: None,
    on_line: Callable[[str], None] = lambda line: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Dict[str, Any]:
    """
    Make the engine's private environment, or make it anew.

    Parameters
    ----------
    build : str
        One of `BUILDS`; 'default' takes torch from the index that pip is configured with. Means nothing with `wheels`.
    wheels : str, optional
        A folder of wheels to install from, without any network.
    python : str, optional
        The interpreter to build on; QGIS's own by default.
    on_progress, on_line : callable
        Called in this thread with the fraction done and what is being done, and with each line that pip prints.
    is_cancelled : callable
        Asked in this thread, often.

    Returns
    -------
    dict
        The new engine's status, as of `engine_client.engine_status`.

    Raises
    ------
    Cancelled
        When `is_cancelled()`; the half-made environment is removed and the old one, if any, stays.
    EngineError
        When it cannot be made; likewise.
    """
    feedback = Feedback(on_progress, on_line, is_cancelled)
    installs = pip_arguments(build, wheels)
    target = engine_folder()
    feedback.on_progress(0.0, "Looking for a Python to build on")
    base = find_base_python(python, feedback)
    needed = _space_for_wheels(wheels) if wheels else DISK_GB[build]
    check_disk_space(target, needed)
    building = _new_sibling(target)
    try:
        python_new = str(interpreter_in(building))
        feedback.on_progress(0.02, f"Making an environment with {base}")
        run_program([base, "-I", "-m", "venv", str(building)], "Making the environment", feedback)
        for arguments in installs:
            _install(python_new, arguments, feedback, building, needed)
        feedback.on_progress(0.93, "Verifying with a forward pass")
        run_program([python_new, "-I", "-c", FIRST_CONVOLUTION], "A first forward pass of the new engine", feedback)
        status = EngineClient(engine_command(python_new)).run({"type": "status"}, is_cancelled=feedback.is_cancelled)
        close_idle_engines()
        feedback.on_progress(0.98, "Putting it in its place")
        _replace(building, target)
    finally:
        _remove(building)
    feedback.on_progress(1.0, "The engine is set up")
    return {**status, "interpreter": str(interpreter_in(target))}


def pip_arguments(build: str, wheels: Optional[str]) -> List[List[str]]:
    """
    Return the arguments of each `pip install` that a build takes.

    Raises
    ------
    EngineError
        For an unknown build.
    """
    torch, others = _requirements()
    if wheels:
        return [["--no-index", "--find-links", wheels, torch, *others]]
    if build not in BUILDS:
        raise EngineError(f"The build {build!r} is unknown; choose one of {', '.join(BUILDS)}.")
    label = BUILDS[build]
    if not label:
        return [[torch, *others]]
    if sys.platform == "darwin":  # one build for all
        return [["--index-url", INDEX + "cpu", torch], others]
    # The label makes sure that nothing but this build is taken, wherever else pip is configured to look.
    return [["--index-url", INDEX + label, f"{torch}+{label}"], others]


def _requirements() -> Tuple[str, List[str]]:
    """Return the requirement of torch, and the others."""
    lines = [line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").split("\n")]
    wanted = [line for line in lines if line and not line.startswith("#")]
    torch = next(line for line in wanted if line.startswith("torch=="))
    return torch, [line for line in wanted if line != torch]


def base_candidates() -> List[str]:
    """Return where the Python that QGIS runs on may lie; never `sys.executable`, which is QGIS itself."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.platform == "win32":
        candidates = [Path(prefix) / "python.exe" for prefix in (sys.prefix, sys.base_prefix)]
    elif sys.platform == "darwin":
        candidates = [Path(prefix) / "bin" / name for prefix in (sys.prefix, sys.base_prefix)]
        candidates += [Path(sys.executable).parent / "bin" / other for other in (name, "python3")]
    else:
        candidates = [Path(sys.base_prefix) / "bin" / name]
    return list(dict.fromkeys(str(candidate) for candidate in candidates if candidate.is_file()))


def find_base_python(named: Optional[str], feedback: Feedback) -> str:
    """
    Return an interpreter that can make environments and is new enough.

    Raises
    ------
    EngineError
        When there is none; it says what was tried, what was wrong with each, and what to do.
    """
    complaints = []
    for candidate in [named] if named else base_candidates():
        complaint = _complaint_about(candidate, feedback)
        if complaint is None:
            return candidate
        complaints.append(f"{candidate} {complaint}")
    tried = "; ".join(complaints) or "there is none where QGIS's own should be"
    oldest = ".".join(map(str, OLDEST_PYTHON))
    raise EngineError(
        f"No Python was found that the engine's environment can be built on: {tried}. "
        f"Name another interpreter (64 bit, Python {oldest} or newer, for instance from python.org) as PYTHON."
    )


def _complaint_about(candidate: str, feedback: Feedback) -> Optional[str]:
    """Return what is wrong with an interpreter, None when nothing is."""
    try:
        code, lines = watch_program([candidate, "-I", "-c", PROBE], feedback, quiet=True)
    except OSError as error:
        return f"cannot be started ({error.strerror or error})"
    if code != 0:
        words = lines[-1] if lines else f"exit code {code}"
        if "ensurepip" in words and sys.platform.startswith("linux"):
            return "lacks a package (on Debian and Ubuntu: sudo apt install python3-venv, then try again)"
        return f"cannot make environments ({words})"
    try:
        major, minor, is_64_bit = json.loads(lines[-1])
    except (ValueError, IndexError, TypeError):
        return "does not answer as a Python interpreter does"
    if (major, minor) < OLDEST_PYTHON:
        return f"is Python {major}.{minor}, which is too old for the engine"
    return None if is_64_bit else "is a 32-bit Python, for which there is no torch"


def check_disk_space(folder: Path, needed_gb: float) -> None:
    """Raise `EngineError`, with the numbers, when less than `needed_gb` is free where a folder is to be made."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < needed_gb:
        raise EngineError(
            f"The engine's environment takes up to {needed_gb:.1f} GB while it is made; {free_gb:.1f} GB are free at "
            f"{place}. Make room, or choose the build 'cpu', which is the smallest."
        )


def _space_for_wheels(wheels: str) -> float:
    """Return the space that installing a folder of wheels may take, in GB; raise `EngineError` when it holds none."""
    sizes = [path.stat().st_size for path in Path(wheels).glob("*.whl")]
    if not sizes:
        raise EngineError(
            f"The folder {wheels} holds no wheels (files *.whl). Fill it on a computer with a network: "
            f"python -m pip download -d FOLDER -r {REQUIREMENTS.name}"
        )
    return 0.2 + 5 * sum(sizes) / 1e9  # torch unpacks to four times its wheel's size


def _new_sibling(target: Path) -> Path:
    """Return a new empty folder beside the target, and clear away what earlier attempts may have left there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f"{target.name}-new-*"):
            if time.time() - left.stat().st_mtime > STALE_S:
                _remove(left)
        return Path(tempfile.mkdtemp(prefix=f"{target.name}-new-", dir=target.parent))
    except OSError as error:
        raise EngineError(
            f"The engine cannot be set up in {target.parent}: {error.strerror or error}. See to it that you may write "
            "into that folder."
        ) from error


def _install(python: str, arguments: Sequence[str], feedback: Feedback, building: Path, expected_gb: float) -> None:
    """Run `pip install`; progress is how much of the expected space is filled."""
    scratch = building / "tmp"
    scratch.mkdir(exist_ok=True)
    # Downloads go beside the environment: a system's /tmp may be small, and its space was not checked.
    variables = {**pip_environment(python), "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    command = [python, "-I", "-m", "pip", "install", *PIP_OPTIONS, *arguments]
    feedback.on_line("pip install " + " ".join(arguments))

    def measure() -> None:
        size_gb = _size_gb(building)
        feedback.on_progress(min(0.05 + 0.85 * size_gb / expected_gb, 0.9), f"Installing: {size_gb:.1f} GB on disk")

    remedy = "Check the network and QGIS's proxy settings, choose another build, or install from a folder of WHEELS."
    if "--no-index" in arguments:
        variables.pop("PIP_FIND_LINKS", None)  # that folder alone
        remedy = "Is there a wheel of each package in that folder, for this Python and this kind of computer?"
    what = f"Installing {', '.join(a for a in arguments if '=' in a)} with pip"
    run_program(command, what, feedback, remedy=remedy, environment=variables, every_second=measure)


def pip_environment(python: str) -> Dict[str, str]:
    """Return the engine's environment variables, and pip's own configuration."""
    variables = engine_environment(python)
    variables.update({name: value for name, value in os.environ.items() if name.upper().startswith("PIP_")})
    return variables


def _size_gb(folder: Path) -> float:
    """Return how much the files of a folder occupy, in GB."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total / 1e9


def _replace(building: Path, target: Path) -> None:
    """Put the new environment in the old one's place; if that cannot be, leave the old one."""
    _remove(building / "tmp")
    old = target.with_name(f"{target.name}-old-{os.getpid()}")
    try:
        if target.exists():
            target.rename(old)
        try:
            building.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        raise EngineError(
            f"The engine's environment at {target} could not be replaced: {error.strerror or error}. "
            "Is it in use? Close other QGIS windows and try again."
        ) from error
    _remove(old)


def _remove(folder: Path) -> None:
    """Delete a folder, with some patience for files that a program that was just ended still holds."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.2)
