"""The jobs that the engine takes, by the type of the request that asks for them, and what comes back."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Type

from .hub_job import InstallJob, InstallResult
from .indicator_job import IndicatorJob
from .job import Job, Result, SimulationJob, SimulationResult
from .score_job import ScoreJob, ScoreResult
from .side_by_side_job import SimulationComparisonJob, SimulationComparisonResult
from .training_job import EvaluationJob, EvaluationResult, TrainingJob, TrainingResult
from .validation_job import CrossValidationJob, CrossValidationResult


class Request(NamedTuple):
    """What is asked, and what is answered."""

    job: Type[Job]
    result: Type[Result]


REQUESTS: Mapping[str, Request] = {
    "simulate": Request(SimulationJob, SimulationResult),
    "simulate_indicators": Request(IndicatorJob, SimulationResult),
    "crossvalidate": Request(CrossValidationJob, CrossValidationResult),
    "train": Request(TrainingJob, TrainingResult),
    "evaluate": Request(EvaluationJob, EvaluationResult),
    "score": Request(ScoreJob, ScoreResult),
    "compare": Request(SimulationComparisonJob, SimulationComparisonResult),
    "install": Request(InstallJob, InstallResult),
}


def request_of(job: Job) -> str:
    """Return the type of the request that asks for a job."""
    return next(name for name, request in REQUESTS.items() if type(job) is request.job)


def remedy_of(request: str) -> str:
    """Return what users can do, a phrase that begins with a verb, when memory does not suffice for a request."""
    return (REQUESTS[request].job if request in REQUESTS else Job).REMEDY
