"""
Starts, feeds, watches, cancels and ends the engine process. Everything here may be called from any thread.

`EngineClient` runs requests; `engine_jobs` makes them of an algorithm's jobs. `engine_status()` asks the engine about
itself. `shut_down()` belongs into the plugin's `unload`, and `start_up()` where it is loaded.

An engine that has finished waits, warm, in one slot; the next run takes it, or starts its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import threading
import uuid
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ..core.contract.job import WORK_FOLDER_PREFIX
from .engine_process import Engine, EngineGone, Message, Progress
from .environment import engine_command

IDLE_LIMIT_S = 600.0
"""How long an idle engine is kept warm."""


class _IdleSlot:
    """Room for one warm engine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Optional[Engine] = None
        self._timer: Optional[threading.Timer] = None
        self.is_open = True  # whether engines are kept at all

    def take(self, command: Sequence[str]) -> Optional[Engine]:
        """Return the warm engine if it lives and was started by the same command; another one is ended."""
        engine = self._empty()
        if engine is not None and engine.command == tuple(command) and engine.is_alive:
            return engine
        if engine is not None:
            engine.kill()
        return None

    def offer(self, engine: Engine) -> None:
        """Keep the engine warm when there is room, else end it."""
        with self._lock:
            has_room = self._engine is None and self.is_open
            if has_room:
                self._engine = engine
                self._timer = threading.Timer(IDLE_LIMIT_S, self._expire, (engine,))
                self._timer.daemon = True
                self._timer.start()
        if not has_room:
            engine.kill()

    def close(self) -> None:
        """End the engine that waits, if any."""
        engine = self._empty()
        if engine is not None:
            engine.kill()

    def _empty(self, only: Optional[Engine] = None) -> Optional[Engine]:
        """Take the engine, or nothing if it is not `only`, out of the slot."""
        with self._lock:
            engine = self._engine
            if engine is None or (only is not None and engine is not only):
                return None
            if self._timer is not None:
                self._timer.cancel()
            self._engine = self._timer = None
            return engine

    def _expire(self, engine: Engine) -> None:
        if self._empty(only=engine) is not None:
            engine.kill()


_IDLE = _IdleSlot()


def close_idle_engines() -> None:
    """End the engine that waits for more work."""
    _IDLE.close()


def shut_down() -> None:
    """End the engine that waits for more work, and from now on those at work, too, as soon as their run does."""
    _IDLE.is_open = False
    _IDLE.close()


def start_up() -> None:
    """Let engines wait for more work again, after `shut_down`."""
    _IDLE.is_open = True


atexit.register(shut_down)


class EngineClient:
    """
    Runs requests on an engine: the warm one, or one of its own.

    Parameters
    ----------
    command : sequence of str, optional
        How the engine is started; the interpreter of `environment.find_interpreter` by default.

    Raises
    ------
    EngineError
        When no interpreter is set up.
    """

    def __init__(self, command: Optional[Sequence[str]] = None) -> None:
        self.command = tuple(command or engine_command())

    def run(
        self,
        request: Mapping[str, Any],
        on_progress: Progress = lambda fraction, text: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Message:
        """
        Send a request to an engine and return its result.

        Parameters
        ----------
        request : dict
            A message to the engine of `core.contract.job`, without `job_id`.
        on_progress : callable
            Called in this thread with the fraction done, 0 to 1, and what is being done.
        is_cancelled : callable
            Asked in this thread, every `POLL_S`.

        Returns
        -------
        dict
            The answer's `result` or `status`.

        Raises
        ------
        Cancelled, EngineError, OadgError
            See `engine_jobs.run_job`. After `Cancelled`, a thread in the background watches that the engine lets go of
            the job, and deletes what it may still have written into the work folder.
        """
        message = {**request, "job_id": uuid.uuid4().hex}
        engine = _IDLE.take(self.command)
        if engine is not None:
            try:
                return _run_on(engine, message, on_progress, is_cancelled)
            except EngineGone:
                if engine.has_answered:
                    raise
        on_progress(0.0, "Starting the engine")
        return _run_on(Engine(self.command), message, on_progress, is_cancelled)


def _run_on(engine: Engine, request: Message, on_progress: Progress, is_cancelled: Callable[[], bool]) -> Message:
    """Run a request on this engine, and see to it that the engine is free, or ends, afterwards."""
    try:
        answer = engine.ask(request, on_progress, is_cancelled)
        return answer[answer["type"]]
    finally:
        if engine.is_free:
            _IDLE.offer(engine)
        elif engine.is_alive:
            # Not a daemon: at the end of QGIS the engine is ended and its folder deleted first.
            threading.Thread(target=_retire, args=(engine, request), name="oadg-engine-retire").start()
        else:
            engine.kill()  # it is dead already; this ends its threads and closes its files


def _retire(engine: Engine, request: Message) -> None:
    """Let an engine finish with a job that nobody waits for any more."""
    engine.let_go(request["job_id"])
    delete_work_folder(request.get("job", {}).get("work_folder", ""))
    if engine.is_free:
        _IDLE.offer(engine)


def delete_work_folder(folder: str) -> None:
    """Delete a work folder and what is in it; anything that is not one of ours stays."""
    if os.path.basename(folder).startswith(WORK_FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def engine_status(
    is_cancelled: Callable[[], bool] = lambda: False, client: Optional[EngineClient] = None
) -> Dict[str, Any]:
    """
    Ask the engine about itself; it is started when none is warm.

    Returns
    -------
    dict
        `interpreter`, `python_version`, `torch_version`, `numpy_version`, `platform`, `pid`, `memory_mb` (the process's
        own, or None where it cannot be told), and `devices`: a list of dicts with `name`, `kind`, `memory_total_mb`,
        `memory_free_mb`.

    Raises
    ------
    Cancelled, EngineError
        See `engine_jobs.run_job`.
    """
    return (client or EngineClient()).run({"type": "status"}, is_cancelled=is_cancelled)
