"""The evaluation as tasks that do not know of each other, for any number of processes."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping, Sequence, Union

import numpy as np
import torch

from benchmarks.jura import jura_job, jura_survey, read_map, read_points
from oadg.core.machine.device import prepare_process
from oadg.core.model.facies_model import FaciesModel

from .measures import Compared, Ensemble, Refined, calibrate, compare, halved, refine, simulate
from .surveys import NamedSurvey, calibration_truth, inside_survey, outside_survey

Found = Union[Compared, Ensemble, Refined]
_N_REALIZATIONS, _N_REALIZATIONS_JURA = 20, 60


@dataclass(frozen=True)
class Context:
    """
    What all tasks share.

    Parameters
    ----------
    seed : int
        From which all surveys and realizations descend.
    model_path : str
        The model file.
    memory : Path
        Folder where the answers of the krigings are kept.
    map_path : Path, optional
        Table of the Jura map's nodes.
    """

    seed: int
    model_path: str
    memory: Path
    map_path: Path | None = None

    @property
    def model(self) -> FaciesModel:
        """The model, read once in each process."""
        return _read_model(self.model_path)


@dataclass(frozen=True)
class Task:
    """One survey of a part."""

    part: str
    number: int


@functools.cache
def _read_model(path: str) -> FaciesModel:
    return FaciesModel.load(Path(path))


def _outside(context: Context, number: int) -> Compared:
    return compare(outside_survey(context.seed, number), context.model, context.memory)


def _inside(context: Context, number: int) -> Compared:
    return compare(inside_survey(context.seed, number), context.model, context.memory)


def _either(context: Context, number: int) -> NamedSurvey:
    """Return surveys outside and inside the prior in turn, of those that are compared."""
    return (inside_survey if number % 2 else outside_survey)(context.seed, number)


def _calibration(context: Context, number: int) -> Ensemble:
    return calibrate(calibration_truth(context.seed, number), context.model_path, context.seed + number)


def _first_pass(context: Context, number: int) -> Ensemble:
    survey = _either(context, number)
    return simulate(survey.known, survey.n_facies, context.model_path, _N_REALIZATIONS, context.seed + number)


def _cell_size(context: Context, number: int) -> Refined:
    survey = _either(context, number)
    fine = halved(survey, context.seed + number)
    return refine(survey.known, fine, survey.n_facies, context.model, survey.kind)


def _jura(context: Context, number: int) -> Compared:
    hidden = read_map(context.map_path) if number and context.map_path else read_points("validation")
    return compare(jura_survey(hidden, ("validation points", "map")[number]), context.model, context.memory)


def _jura_known(cell_size: float) -> np.ndarray:
    job, _ = jura_job("", cell_size)
    known = np.full(job.grid.shape, -1)
    known[job.row, job.col] = job.class_index
    return known


def _jura_first_pass(context: Context, number: int) -> Ensemble:
    known = _jura_known(50.0)
    return simulate(known, int(known.max()) + 1, context.model_path, _N_REALIZATIONS_JURA, context.seed + number)


def _jura_cell_size(context: Context, number: int) -> Refined:
    coarse, fine = (_jura_known(size) for size in (50.0, 25.0))
    return refine(coarse, fine, int(coarse.max()) + 1, context.model, "Jura")


PARTS: Mapping[str, Callable[[Context, int], Found]] = {
    "jura_first_pass": _jura_first_pass,
    "jura_cell_size": _jura_cell_size,
    "jura": _jura,
    "first_pass": _first_pass,
    "outside": _outside,
    "inside": _inside,
    "calibration": _calibration,
    "cell_size": _cell_size,
}
"""What is done for a number, by part."""


def perform(context: Context, task: Task) -> tuple[Task, Found]:
    """Do one task."""
    return task, PARTS[task.part](context, task.number)


def perform_all(context: Context, tasks: Sequence[Task], n_processes: int) -> Iterator[tuple[Task, Found]]:
    """Do tasks in several processes of one thread each, and yield what was found as it comes."""
    # Processes that start anew read these when they import numpy.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with multiprocessing.get_context("spawn").Pool(n_processes, _start) as pool:
        yield from pool.imap_unordered(functools.partial(perform, context), tasks)


def _start() -> None:
    """Begin a process: an interruption is for the one that waits for it."""
    torch.set_num_threads(1)
    prepare_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
