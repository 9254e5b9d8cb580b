"""
Jobs on the engine: what an algorithm needs.

    with simulate(job, mask=mask, on_progress=report, is_cancelled=feedback.isCanceled) as result:
        entropy = np.load(result.entropy_path)

`job` is a `SimulationJob` whose `work_folder` and `mask_path` are left empty: `simulate` makes a private work folder,
saves the mask there, and deletes it all when the block is left, so arrays are read inside it (without `mmap_mode`).
`report(fraction, text)` is called in the caller's thread. Errors are `OadgError`s with a message for the user:
`Cancelled` within a moment of `is_cancelled()` turning true, `EngineError` when the engine is missing, crashed or was
killed, and whatever the engine itself objects to (`ModelError`, `DeviceError`, `JobError` …).

`cross_validate(job)` is its like for a `CrossValidationJob`, and `train(job)` for a `TrainingJob`,
`evaluate(job)` for an `EvaluationJob`, `score(job)` for a `ScoreJob`, `compare(job)` for a
`SimulationComparisonJob`; `install(job)` fetches a model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from typing import Callable, Iterator, Optional, Union

import numpy as np

from ..core.contract.comparison_job import SimulationComparisonJob, SimulationComparisonResult
from ..core.contract.errors import EngineError
from ..core.contract.hub_job import InstallJob, InstallResult
from ..core.contract.indicator_job import IndicatorJob
from ..core.contract.job import (
    WORK_FOLDER_PREFIX,
    CrossValidationJob,
    CrossValidationResult,
    SimulationJob,
    SimulationResult,
)
from ..core.contract.score_job import ScoreJob, ScoreResult
from ..core.contract.training_image import TrainingImage
from ..core.contract.training_job import EvaluationJob, EvaluationResult, TrainingJob, TrainingResult
from .engine_client import EngineClient, delete_work_folder
from .engine_process import Message, Progress


@contextlib.contextmanager
def simulate(
    job: SimulationJob,
    *,
    mask: Optional[np.ndarray] = None,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[SimulationResult]:
    """
    Run a job on the engine; the result's arrays exist until the block is left.

    Parameters
    ----------
    job : SimulationJob
        What to simulate; `work_folder` and `mask_path` are filled in here.
    mask : bool array, shape (n_rows, n_cols), optional
        True where cells are simulated; all of them by default.
    on_progress : callable
        Called in this thread with the fraction done, 0 to 1, and what is being done.
    is_cancelled : callable
        Asked in this thread, every `POLL_S`; `QgsFeedback.isCanceled` fits.
    client : EngineClient, optional
        Which engine; the one that is set up by default.

    Yields
    ------
    SimulationResult
        Paths of arrays in a work folder that is deleted afterwards: read them with `np.load(path)`, not memory-mapped.

    Raises
    ------
    Cancelled, EngineError, ModelError, DeviceError, JobError
        See the module's description.
    """
    with _work_folder() as folder:
        job = dataclasses.replace(job, mask_path=_save_mask(mask, folder))
        yield SimulationResult.from_dict(_work_on("simulate", job, folder, on_progress, is_cancelled, client))


@contextlib.contextmanager
def simulate_indicators(
    job: IndicatorJob,
    *,
    mask: Optional[np.ndarray] = None,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[SimulationResult]:
    """Do as `simulate` does, by sequential indicator simulation."""
    with _work_folder() as folder:
        job = dataclasses.replace(job, mask_path=_save_mask(mask, folder))
        answer = _work_on("simulate_indicators", job, folder, on_progress, is_cancelled, client)
        yield SimulationResult.from_dict(answer)


def _save_mask(mask: Optional[np.ndarray], folder: str) -> Optional[str]:
    """Save a mask into a work folder, and return the file; None when there is no mask."""
    if mask is None:
        return None
    return _save(np.asarray(mask, dtype=bool), folder, "mask.npy")


@contextlib.contextmanager
def cross_validate(
    job: CrossValidationJob,
    *,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[CrossValidationResult]:
    """
    Run a cross-validation on the engine; the result's files exist until the block is left.

    Parameters and errors are those of `simulate`; `work_folder` is filled in here.

    Yields
    ------
    CrossValidationResult
        Paths of an array and a page in a work folder that is deleted afterwards.
    """
    with _work_folder() as folder:
        yield CrossValidationResult.from_dict(_work_on("crossvalidate", job, folder, on_progress, is_cancelled, client))


def train(
    job: TrainingJob,
    *,
    image: TrainingImage,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> TrainingResult:
    """
    Train a model on the engine; it is where the job says, from the first checkpoint on, cancelled or not.

    Parameters
    ----------
    job : TrainingJob
        What to train; `work_folder` and `image_path` are filled in here.
    image : TrainingImage
        What it learns.
    on_progress, is_cancelled, client
        As `simulate` takes them, and with its errors.
    """
    with _work_folder() as folder:
        job = dataclasses.replace(
            job, image_path=_save(image.class_index, folder), start_path=os.path.abspath(job.start_path)
        )
        return TrainingResult.from_dict(_work_on("train", job, folder, on_progress, is_cancelled, client))


@contextlib.contextmanager
def evaluate(
    job: EvaluationJob,
    *,
    image: TrainingImage,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[EvaluationResult]:
    """
    Evaluate a model on the engine; the result's page exists until the block is left.

    Parameters
    ----------
    job : EvaluationJob
        What to evaluate; `work_folder` and `image_path` are filled in here.
    image : TrainingImage
        What it should look like.
    on_progress, is_cancelled, client
        As `simulate` takes them, and with its errors.
    """
    with _work_folder() as folder:
        job = dataclasses.replace(job, image_path=_save(image.class_index, folder))
        yield EvaluationResult.from_dict(_work_on("evaluate", job, folder, on_progress, is_cancelled, client))


@contextlib.contextmanager
def score(
    job: ScoreJob,
    *,
    class_index: np.ndarray,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[ScoreResult]:
    """
    Score a map on the engine; the result's array exists until the block is left.

    Parameters
    ----------
    job : ScoreJob
        What to score; `work_folder` and `map_path` are filled in here.
    class_index : int16 array, shape (n_rows, n_cols)
        The map, -1 where it holds nothing.
    on_progress, is_cancelled, client
        As `simulate` takes them, and with its errors.
    """
    with _work_folder() as folder:
        job = dataclasses.replace(job, map_path=_save(class_index, folder))
        yield ScoreResult.from_dict(_work_on("score", job, folder, on_progress, is_cancelled, client))


@contextlib.contextmanager
def compare(
    job: SimulationComparisonJob,
    *,
    mask: Optional[np.ndarray] = None,
    reference: Optional[np.ndarray] = None,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> Iterator[SimulationComparisonResult]:
    """
    Compare the model with SIS on the engine; the result's page exists until the block is left.

    Parameters
    ----------
    job : SimulationComparisonJob
        What to compare; `work_folder`, `mask_path` and `reference_path` are filled in here.
    reference : int16 array, shape (n_rows, n_cols), optional
        The reference, -1 where it holds nothing.
    mask, on_progress, is_cancelled, client
        As `simulate` takes them, and with its errors.
    """
    with _work_folder() as folder:
        reference_path = None if reference is None else _save(reference, folder)
        job = dataclasses.replace(job, mask_path=_save_mask(mask, folder), reference_path=reference_path)
        yield SimulationComparisonResult.from_dict(_work_on("compare", job, folder, on_progress, is_cancelled, client))


def install(
    job: InstallJob,
    *,
    on_progress: Progress = lambda fraction, text: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    client: Optional[EngineClient] = None,
) -> InstallResult:
    """Fetch a model on the engine; parameters and errors are those of `simulate`, and `HubError`."""
    with _work_folder() as folder:
        source = os.path.abspath(job.source) if job.source else ""
        job = dataclasses.replace(job, source=source, model_folder=os.path.abspath(job.model_folder))
        return InstallResult.from_dict(_work_on("install", job, folder, on_progress, is_cancelled, client))


def _save(cells: np.ndarray, folder: str, name: str = "map.npy") -> str:
    """Save a map into a work folder, and return the file."""
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


def _work_on(
    request: str,
    job: Union[SimulationJob, CrossValidationJob, TrainingJob, EvaluationJob, ScoreJob, IndicatorJob, InstallJob],
    folder: str,
    on_progress: Progress,
    is_cancelled: Callable[[], bool],
    client: Optional[EngineClient],
) -> Message:
    """Let the engine work on a job in a work folder, and return its result."""
    # The engine works elsewhere, so a relative path would mean another file there.
    job = dataclasses.replace(job, work_folder=folder)
    if not isinstance(job, (IndicatorJob, InstallJob)):
        job = dataclasses.replace(job, model_path=os.path.abspath(job.model_path))
    client = client or EngineClient()
    return client.run({"type": request, "job": job.to_dict()}, on_progress, is_cancelled)
