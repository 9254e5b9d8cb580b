"""
The engine process: jobs in, progress and results out, cancel at any time.

Started in the plugin's folder as `python -s -B -X utf8 -m core.engine`; speaks the protocol of `core.contract.job`, one
message a line, on its standard input and output. The main thread works; another one listens, so that a cancel is heard
while the main thread computes, and so that the process ends, with its work folder, as soon as its input does: when QGIS
goes, however it goes, the engine goes too.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from .contract.errors import Cancelled, EngineError, JobError, OadgError
from .contract.job import PROTOCOL_VERSION, WORK_FOLDER_PREFIX
from .contract.requests import REQUESTS, remedy_of
from .machine.memory import return_freed_memory

OLDEST_PYTHON = (3, 10)
"""What torch asks for, and all of core but the contract."""
OLDEST_TORCH = (2, 6)
"""Before it, a pickle that is read could run programs for all that `weights_only` says (CVE-2025-32434)."""
TRACEBACK_LINES = 8
"""How many lines of a traceback are told when an error is not one of ours."""

Progress = Callable[[float, str], None]
Runner = Callable[[Any, Progress], Any]
"""Works on a job, tells its progress, and returns a result of the contract."""


class Engine:
    """
    The engine's side of the conversation.

    Parameters
    ----------
    incoming, outgoing : binary file
        Where messages come from and go to.
    """

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._work_folder = ""
        self._writing = threading.Lock()

    def send(self, message_type: str, job_id: str | None = None, **content: Any) -> None:
        """Send one message; end the process when nobody listens any more."""
        line = json.dumps({"type": message_type, "job_id": job_id, **content}).encode("ascii") + b"\n"
        try:
            with self._writing:
                self._outgoing.write(line)
                self._outgoing.flush()
        except OSError:
            self.end()

    def listen(self) -> None:
        """Take in messages until there are no more, then end the process; runs in a thread of its own."""
        for line in self._incoming:
            try:
                message = json.loads(line)
                kind, job_id = message["type"], message["job_id"]
            except (ValueError, TypeError, KeyError):
                self.send("error", kind="EngineError", message=f"The engine cannot read the message {line[:200]!r}.")
                continue
            if kind == "cancel":
                self._cancelled.add(job_id)
            else:
                self._requests.put(message)
        self.end()

    def end(self) -> None:
        """Delete the work folder and end the process at once, whatever its main thread does."""
        self._delete_work_folder()
        os._exit(0)

    def serve(self, runners: Mapping[str, Runner]) -> None:
        """Answer requests, one after the other, for ever; the runners are those of the types in `REQUESTS`."""
        while True:
            message = self._requests.get()
            self._answer(message, runners)

    def _answer(self, message: dict[str, Any], runners: Mapping[str, Runner]) -> None:
        job_id = message["job_id"]
        try:
            if message["type"] == "status":
                self.send("status", job_id, status=describe_engine())
            elif message["type"] in runners:
                result = self._work(message, runners[message["type"]])
                self.send("result", job_id, result=result.to_dict())
            else:
                raise JobError(f"The engine does not know requests of the type {message['type']!r}.")
        except Cancelled:
            self.send("cancelled", job_id)
        except OadgError as error:
            self.send("error", job_id, kind=type(error).__name__, message=str(error))
        except OSError as error:  # a full disk, a model file that vanished
            self.send("error", job_id, kind="JobError", message=f"The engine could not read or write a file: {error}.")
        except Exception as error:  # the process boundary: whatever it is, the user gets to know
            if is_out_of_memory(error):
                self.send("error", job_id, kind="DeviceError", message=describe_shortage(message, error))
            else:
                lines = traceback.format_exc().strip().split("\n")
                self.send("error", job_id, kind="unexpected", message="\n".join(lines[-TRACEBACK_LINES:]))
        self._cancelled.discard(job_id)
        return_freed_memory()

    def _work(self, message: dict[str, Any], run: Runner) -> Any:
        job_id = message["job_id"]
        job = REQUESTS[message["type"]].job.from_dict(message.get("job", {}))
        self._work_folder = job.work_folder

        def progress(fraction: float, text: str) -> None:
            if job_id in self._cancelled:
                raise Cancelled("The run was cancelled; nothing is kept.")
            self.send("progress", job_id, fraction=float(fraction), text=text)

        progress(0.0, "Reading the job")
        result = run(job, progress)
        progress(1.0, "Done")
        return result

    def _delete_work_folder(self) -> None:
        """Delete the work folder of the last job; the client has usually done so before."""
        if os.path.basename(self._work_folder).startswith(WORK_FOLDER_PREFIX):
            shutil.rmtree(self._work_folder, ignore_errors=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of Python, numpy or torch means that memory did not suffice."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text))
        or (isinstance(error, RuntimeError) and "not enough memory" in text)
    )


def describe_shortage(message: dict[str, Any], error: BaseException) -> str:
    """Say in a sentence that the memory did not suffice, for what, and what can be done."""
    job = message.get("job", {})
    grid = job.get("grid", {})
    words = str(error).strip().split("\n")[0]
    realizations = f"{job['n_realizations']} realizations of " if "n_realizations" in job else ""
    needed = f" for {realizations}{grid['n_rows']} x {grid['n_cols']} cells" if grid else ""
    remedy, whose = remedy_of(message["type"]).capitalize(), "the computer"
    if "device" in job:
        remedy, whose = f"{remedy}, or another device", f"the device '{job['device']}'"
    return f"The memory of {whose} does not suffice{needed}. {remedy}." + (f" ({words})" if words else "")


def describe_engine() -> dict[str, Any]:
    """Return the interpreter, the versions, the devices and the memory of this process, JSON-ready."""
    import numpy
    import torch

    from .machine.device import describe_devices

    return {
        "interpreter": sys.executable,
        "python_version": platform.python_version(),
        "torch_version": torch.__version__,
        "numpy_version": numpy.__version__,
        "platform": platform.platform(),
        "pid": os.getpid(),
        "memory_mb": resident_memory_mb(),
        "devices": describe_devices(),
    }


def resident_memory_mb() -> float | None:
    """Return how much memory this process occupies, in MB (10^6 bytes); its peak where only that is told, else None."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)  # bytes on macOS


def load_runners() -> Mapping[str, Runner]:
    """
    Import torch and all that works on jobs; return the runner of each type in `REQUESTS`.

    Raises
    ------
    EngineError
        When a package is missing, too old or broken.
    """
    # Threads that wait for one on a busy core sleep instead of spinning: 40 times faster when QGIS draws meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    remedy = "Run 'Set up engine' from the Processing toolbox (oadg:setupengine), or choose another interpreter."
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise EngineError(
            f"The engine's interpreter {sys.executable} is Python {platform.python_version()}; "
            f"it must be {oldest} or newer. {remedy}"
        )
    try:
        import torch

        from .evaluation.crossvalidation import run_cross_validation
        from .evaluation.model_evaluation import run_evaluation
        from .evaluation.side_by_side_run import run_simulation_comparison
        from .hub.install import install_model
        from .machine.device import prepare_process
        from .sampling.indicator_run import run_indicator_simulation
        from .sampling.scoring import run_scoring
        from .sampling.simulation import run_simulation
        from .training.image_training import run_training
    except (ImportError, OSError) as error:  # OSError: a library of torch's cannot be loaded
        raise EngineError(
            f"The engine's interpreter {sys.executable} lacks what it needs: {error}. {remedy}"
        ) from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise EngineError(
            f"The engine's interpreter {sys.executable} has torch {torch.__version__}; "
            f"it must be {oldest} or newer. {remedy}"
        )
    prepare_process()
    return {
        "simulate": run_simulation,
        "crossvalidate": run_cross_validation,
        "train": run_training,
        "evaluate": run_evaluation,
        "score": run_scoring,
        "simulate_indicators": run_indicator_simulation,
        "compare": run_simulation_comparison,
        "install": install_model,
    }


def take_over_streams() -> tuple[BinaryIO, BinaryIO]:
    """
    Return this process's standard input and output as the protocol's own, and point the public ones elsewhere.

    A library that prints then prints to standard error, and one that looks at standard input (on Windows that would
    wait for the thread that reads it) finds it empty.
    """
    incoming, outgoing = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb")


def main(load: Callable[[], Mapping[str, Runner]] = load_runners) -> int:
    """
    Run the engine until its input ends.

    Parameters
    ----------
    load : callable
        Returns the runners by type of request; called when the engine listens, for importing torch takes a while.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for QGIS, whose end is ours too
    engine = Engine(*take_over_streams())
    threading.Thread(target=engine.listen, name="listen", daemon=True).start()
    try:
        runners = load()
    except OadgError as error:
        engine.send("error", kind=type(error).__name__, message=str(error))
        return 1
    os.chdir(tempfile.gettempdir())  # Windows cannot replace or remove a plugin whose folder is in use
    engine.send("ready", pid=os.getpid(), protocol=PROTOCOL_VERSION)
    engine.serve(runners)
    return 0


if __name__ == "__main__":
    sys.exit(main())
