"""Runs programs other than the engine (pip, venv): their lines are handed on, and a cancel ends them at once."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess  # nosec B404
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..core.contract.errors import Cancelled, EngineError
from .environment import engine_environment


@dataclass(frozen=True)
class Feedback:
    """
    Where news goes, and who says that it is enough; all are called in the caller's thread.

    Parameters
    ----------
    on_progress : callable
        Takes the fraction done, 0 to 1, and what is being done.
    on_line : callable
        Takes each line that a program prints.
    is_cancelled : callable
        Asked every 50 ms.
    """

    on_progress: Callable[[float, str], None]
    on_line: Callable[[str], None]
    is_cancelled: Callable[[], bool]


def run_program(
    command: Sequence[str],
    what: str,
    feedback: Feedback,
    *,
    remedy: str = "",
    environment: Optional[Dict[str, str]] = None,
    every_second: Optional[Callable[[], None]] = None,
) -> None:
    """Run a program to its end; raise `EngineError` with its own error text, and the remedy, when it fails."""
    code, lines = watch_program(command, feedback, environment=environment, every_second=every_second)
    if code != 0:
        words = "\n".join(essence(lines))
        raise EngineError(f"{what} failed (exit code {code}); nothing was changed. {remedy}\n{words}".strip())


def essence(lines: Sequence[str]) -> List[str]:
    """Return what a failed program's output says about the reason: why the network failed, and its errors."""
    errors = [line for line in lines if line.startswith("ERROR")]
    network = [line for line in lines if line.startswith("WARNING") and "connection" in line]
    return network[-1:] + errors if errors else list(lines[-5:])


def watch_program(
    command: Sequence[str],
    feedback: Feedback,
    *,
    environment: Optional[Dict[str, str]] = None,
    every_second: Optional[Callable[[], None]] = None,
    quiet: bool = False,
) -> Tuple[int, List[str]]:
    """Run a program, hand on its lines, and kill it with all its children on cancel; return exit code and lines."""
    # A list of arguments, never through a shell.
    process = subprocess.Popen(  # nosec B603
        command,
        env=environment or engine_environment(command[0]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        start_new_session=True,
    )
    output: queue.SimpleQueue[Optional[str]] = queue.SimpleQueue()

    def read() -> None:
        with process.stdout as pipe:
            for line in pipe:
                output.put(line.rstrip())
        output.put(None)

    threading.Thread(target=read, name="oadg-setup-output", daemon=True).start()
    lines: List[str] = []
    measured = time.monotonic()
    try:
        while True:
            if feedback.is_cancelled():
                raise Cancelled("The setup was cancelled; the engine is as it was before.")
            with contextlib.suppress(queue.Empty):
                line = output.get(timeout=0.05)
                if line is None:
                    return process.wait(), lines
                if line:
                    lines.append(line)
                    if not quiet:
                        feedback.on_line(line)
            if every_second and time.monotonic() - measured > 1:
                every_second()
                measured = time.monotonic()
    finally:
        _kill_tree(process)


def _kill_tree(process: subprocess.Popen) -> None:
    """End a program and its children, if they still run."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
