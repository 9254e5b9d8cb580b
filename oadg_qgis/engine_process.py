"""
One engine process: its pipes, its messages and its last words.

Two threads carry the messages, so neither a large job nor a stuck engine ever blocks the caller.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess  # nosec B404
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Optional, Sequence, Union

from ..core.contract import errors
from ..core.contract.errors import Cancelled, EngineError, OadgError
from ..core.contract.job import PROTOCOL_VERSION
from ..core.contract.requests import remedy_of
from .environment import PLUGIN_FOLDER, REMEDY, SETTING, engine_environment

POLL_S = 0.05
"""How often a waiting caller looks whether it is cancelled."""
CANCEL_GRACE_S = 2.0
"""How long a cancelled engine may take to answer before it is killed."""
START_LIMIT_S = 300.0
"""How long an engine may take to get ready; importing torch from a slow disk takes its time."""
LAST_WORDS = 3
"""How many lines of the engine's error output are quoted."""
UNSETTLING = (errors.DeviceError, EngineError)
"""After these errors an engine is ended at once: its memory or its state may have suffered."""
_ENDS = ("cancelled", "result", "status", "error")
"""Messages after which an engine has let go of a job."""

Message = Dict[str, Any]
Progress = Callable[[float, str], None]


class EngineGone(EngineError):
    """The engine ended, or stopped talking sense, before it answered."""


class Engine:
    """
    One engine process, with its pipes and its last words.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    folder : path, optional
        Where it starts: the plugin's folder, which holds `core`.

    Raises
    ------
    EngineError
        When the program cannot be started.
    """

    def __init__(self, command: Sequence[str], folder: Union[str, Path] = PLUGIN_FOLDER) -> None:
        self.command = tuple(command)
        self.has_answered = False  # whether anything came back since the last request
        self.is_free = False  # whether it waits for the next request
        self._is_ready = False
        self._ending = threading.Lock()
        self._last_words = ""
        self._remedy = ""  # when memory does not suffice for the last request
        self._inbox: queue.SimpleQueue[Union[Message, str, None]] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Optional[Message]] = queue.SimpleQueue()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        try:
            # The user's own interpreter and a fixed module, never through a shell.
            self._process = subprocess.Popen(  # nosec B603
                self.command,
                cwd=folder,
                env=engine_environment(self.command[0]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            self._errors.close()
            raise EngineError(
                f"The engine could not be started with the interpreter {self.command[0]}: {error.strerror or error}. "
                f"{REMEDY}, or name another interpreter in the setting {SETTING}."
            ) from error
        for work, pipe in ((self._write, self._process.stdin), (self._read, self._process.stdout)):
            threading.Thread(target=work, args=(pipe,), name=f"oadg-engine-{work.__name__}", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Send a message; never blocks."""
        self._outbox.put(message)

    def kill(self) -> None:
        """End the process now, wait until it is gone, and keep its last words."""
        with self._ending:
            if self._errors.closed:
                return
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            self._outbox.put(None)
            self._last_words = last_lines(self._errors)
            self._errors.close()

    def ask(self, request: Message, on_progress: Progress, is_cancelled: Callable[[], bool]) -> Message:
        """
        Send a request and wait for its result.

        Parameters
        ----------
        request : dict
            A message of `core.contract.job` with its `job_id`.
        on_progress, is_cancelled : callable
            Called in this thread, the latter every `POLL_S`.

        Returns
        -------
        dict
            The `result` or `status` message.

        Raises
        ------
        Cancelled
            As soon as `is_cancelled()`; the engine does not know yet (see `let_go`).
        OadgError
            What the engine objects to, or an `EngineError` when it ended or broke the protocol. After an unsettling
            one it is gone, with the memory that it held, before a next attempt asks for that.
        """
        self.has_answered = self.is_free = False
        self._remedy = remedy_of(request["type"])
        self.send(request)
        started = time.monotonic()
        while True:
            if is_cancelled():
                raise Cancelled("The run was cancelled; nothing is kept.")
            message = self._next_message(POLL_S)
            if message is None:
                if not self._is_ready and time.monotonic() - started > START_LIMIT_S:
                    raise self._gone(f"did not get ready within {START_LIMIT_S:.0f} seconds, so it was ended")
            elif message.get("job_id") not in (None, request["job_id"]):
                continue  # a late word about an earlier job
            elif message["type"] == "progress":
                on_progress(float(message["fraction"]), str(message["text"]))
            elif message["type"] == "error":
                objection = self._objection(message)
                self.is_free = message.get("job_id") is not None and not isinstance(objection, UNSETTLING)
                if not self.is_free:
                    self.kill()
                raise objection
            elif message["type"] in ("result", "status"):
                self.is_free = True
                return message

    def let_go(self, job_id: str) -> None:
        """
        Cancel a job and wait until the engine has let go of it.

        It is killed when that takes over `CANCEL_GRACE_S`, or when the job ends in an error that it may suffer from.
        """
        deadline = time.monotonic() + CANCEL_GRACE_S
        with contextlib.suppress(EngineGone):
            if self._is_ready:
                self.send({"type": "cancel", "job_id": job_id})
            while self._is_ready and time.monotonic() < deadline:
                message = self._next_message(POLL_S)
                if message and message.get("job_id") == job_id and message["type"] in _ENDS:
                    is_error = message["type"] == "error"
                    self.is_free = not (is_error and isinstance(self._objection(message), UNSETTLING))
                    break
        if not self.is_free:
            self.kill()

    def _next_message(self, timeout: float) -> Optional[Message]:
        """Return the next message, None when there is none in time; raise `EngineGone` when there will be none."""
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if message is None:
            raise self._gone()
        if isinstance(message, str):
            raise self._gone(f"broke the protocol with {message[:200]!r}, so it was ended")
        self.has_answered = True
        if message["type"] == "ready":
            if message.get("protocol") != PROTOCOL_VERSION:
                raise self._gone(
                    f"speaks protocol {message.get('protocol')}, this plugin {PROTOCOL_VERSION}; restart QGIS"
                )
            self._is_ready = True
            return None
        return message

    def _objection(self, message: Message) -> OadgError:
        """Return the engine's error as the exception it was there."""
        kind, text = str(message.get("kind")), str(message.get("message"))
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, OadgError):
            return known(text)
        return EngineError(f"The engine met an unexpected error, which is a bug in OADG; please report it:\n{text}")

    def _gone(self, what: str = "") -> EngineGone:
        """Kill what may be left of the process and return a sentence about its end."""
        remedy = ""
        if what:
            self.kill()
        else:  # its output has ended; the exit code follows in a moment
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
            what = describe_exit(self._process.poll(), self._remedy)
            self.kill()
            if not self._is_ready:
                remedy = f" It did not get as far as to start: is its Python damaged? {REMEDY}."
        words = f" Its last words: {self._last_words}" if self._last_words else ""
        return EngineGone(f"The engine {what}.{words}{remedy}")

    def _write(self, pipe: BinaryIO) -> None:
        """Carry messages to the engine until there are no more or the engine is gone."""
        with contextlib.suppress(OSError):
            for message in iter(self._outbox.get, None):
                pipe.write(json.dumps(message).encode("ascii") + b"\n")
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _read(self, pipe: BinaryIO) -> None:
        """Carry messages from the engine until its output ends; a line that is no message goes on as text."""
        with pipe:
            for line in pipe:
                try:
                    message = json.loads(line)
                    self._inbox.put(message if isinstance(message["type"], str) else repr(message))
                except (ValueError, TypeError, KeyError):
                    self._inbox.put(line.decode("utf-8", "replace"))
        self._inbox.put(None)


def last_lines(file: BinaryIO) -> str:
    """Return the last lines of a file of text, in one line."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 4000))
    lines = file.read().decode("utf-8", "replace").split("\n")
    return " / ".join([line.strip() for line in lines if line.strip()][-LAST_WORDS:])


def describe_exit(code: Optional[int], remedy: str) -> str:
    """Say how a process ended, as the rest of a sentence that begins 'The engine'; with a remedy where it needs one."""
    if code is None:
        return "closed its output, so it was ended"
    if code == -getattr(signal, "SIGKILL", 9):
        return f"was killed (signal 9), most likely by the system because the computer ran out of memory; {remedy}"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name})"
        return f"crashed (signal {-code})"
    if code > 255:  # Windows: the exception is the exit code
        return f"crashed (code 0x{code:08X})"
    return f"ended with exit code {code} before it had a result"
