"""Jobs on the engine: what an algorithm needs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import numpy as np

from ..core.contract.errors import EngineError
from ..core.contract.job import WORK_FOLDER_PREFIX, Job
from ..core.contract.requests import REQUESTS, request_of
from .engine_client import EngineClient, delete_work_folder
from .engine_process import Progress

_PATHS = ("model_path", "start_path", "source", "model_folder")
"""Fields of jobs that name files. The engine works elsewhere, where a relative path would mean another file."""


@contextlib.contextmanager
def run_job(
    job: Job,
    *,
    arrays: Mapping[str, Optional[np.ndarray]] = {},
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[Any]:
    """
    Let the engine work on a job; the result's files exist until the block is left.

        with run_job(job, arrays={"mask_path": mask}, is_cancelled=feedback.isCanceled) as result:
            entropy = np.load(result.entropy_path)

    Parameters
    ----------
    job : Job
        What to do; `work_folder` is filled in here: a private one, which is deleted when the block is left, so arrays
        are read inside it, and not memory-mapped.
    arrays : mapping of str to array or None
        What the job's files hold, by the field that names the file, which is filled in here where there is an array.
    on_progress : callable
        Called in this thread with the fraction done, 0 to 1, and what is being done.
    is_cancelled : callable
        Asked in this thread, every `POLL_S`; `QgsFeedback.isCanceled` fits.
    client : EngineClient, optional
        Which engine; the one that is set up by default.

    Yields
    ------
    Result
        Of the kind that `REQUESTS` names for the job.

    Raises
    ------
    OadgError
        With a message for the user: `Cancelled` within a moment of `is_cancelled()` turning true, `EngineError` when
        the engine is missing, crashed or was killed, and whatever the engine itself objects to (`ModelError`,
        `DeviceError`, `JobError` …).
    """
    request = request_of(job)
    with _work_folder() as folder:
        given: Dict[str, Any] = {name: os.path.abspath(path) for name in _PATHS if (path := getattr(job, name, ""))}
        for name, cells in arrays.items():
            if cells is not None:
                given[name] = _save(cells, folder, f"{name}.npy")
        job = dataclasses.replace(job, work_folder=folder, **given)
        message = {"type": request, "job": job.to_dict()}
        answer = (client or EngineClient()).run(message, on_progress, is_cancelled)
        yield REQUESTS[request].result.from_dict(answer)


def _save(cells: np.ndarray, folder: str, name: str) -> str:
    """Save an array into a work folder, and return the file."""
    path = os.path.join(folder, name)
    try:
        np.save(path, cells)
    except OSError as error:
        raise _cannot_work_in(folder, error) from error
    return path


def _cannot_work_in(folder: str, error: OSError) -> EngineError:
    return EngineError(
        f"The temporary folder {folder} cannot be written: {error.strerror or error}. Is the disk full? Make space "
        "there, or name another folder in the environment variable TMPDIR (TEMP on Windows) and start QGIS again."
    )


@contextlib.contextmanager
def _work_folder() -> Iterator[str]:
    """Make a work folder, and delete it afterwards."""
    try:
        folder = os.path.realpath(tempfile.mkdtemp(prefix=WORK_FOLDER_PREFIX))
    except OSError as error:
        raise _cannot_work_in(tempfile.gettempdir(), error) from error
    try:
        yield folder
    finally:
        delete_work_folder(folder)
