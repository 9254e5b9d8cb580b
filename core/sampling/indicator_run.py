"""One sequential indicator simulation from job to arrays: what the engine runs."""

from __future__ import annotations

import os
import time
from typing import Callable, Dict, List

import numpy as np

from ..contract.ensemble import OUTSIDE
from ..contract.indicator_job import IndicatorJob
from ..contract.job import SimulationResult
from ..contract.job_arrays import read_maps, save_probability_maps
from ..kriging.indicators import LEAST_NUGGET, Covariance, choose_by_leave_one_out, fit_class_by_class, leave_one_out
from ..kriging.neighbourhood import Estimator, probabilities_from_data
from ..measures.scores import log_loss_nats
from .indicator_simulation import simulate_indicators

MOST_FITTED = 1000
"""Observations that a covariance is fitted to; of more, a random part."""
_FITTING, _KRIGING = 0.05, 0.15  # of the progress


def run_indicator_simulation(job: IndicatorJob, progress: Callable[[float, str], None]) -> SimulationResult:
    """
    Simulate, and write the arrays into the job's work folder.

    Parameters
    ----------
    job : IndicatorJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done; what it raises (`Cancelled`) ends the run.

    Raises
    ------
    OadgError
        For a job that does not fit.
    """
    began = time.monotonic()
    progress(0.0, "Fitting covariances")
    maps = read_maps(job)
    estimator = _estimator(job, lambda: progress(0.0, "Fitting covariances"))
    from_data = probabilities_from_data(
        maps.known,
        estimator,
        job.n_neighbours,
        on_part=lambda fraction: progress(_FITTING + (_KRIGING - _FITTING) * fraction, "Facies probabilities"),
    )
    paths, mean_entropy_bits = save_probability_maps(job.work_folder, maps.of_grid(from_data, np.nan))
    realizations_path = None
    if job.n_realizations:
        text = f"Realizations 1 to {job.n_realizations}"
        simulated = simulate_indicators(
            maps.known,
            maps.inside,
            estimator,
            job.n_realizations,
            seed=job.seed,
            n_neighbours=job.n_neighbours,
            on_part=lambda fraction: progress(_KRIGING + (1 - _KRIGING) * fraction, text),
        )
        realizations_path = os.path.join(job.work_folder, "realizations.npy")
        np.save(realizations_path, maps.of_grid(simulated.view(np.uint8), OUTSIDE))
    return SimulationResult(
        **paths,
        realizations_path=realizations_path,
        mean_entropy_bits=mean_entropy_bits,
        device="cpu",
        model_id=_describe(estimator, job),
        seed=job.seed,
        batch_size=max(1, job.n_realizations),
        seconds=time.monotonic() - began,
        precision="float64",
    )


def _estimator(job: IndicatorJob, on_part: Callable[[], None]) -> Estimator:
    """Return what is given, or what fits the observations best: class by class, or one covariance for all."""
    class_index, n_facies = np.array(job.class_index, dtype=np.int64), len(job.facies)
    n_observations = max(1, len(class_index))  # without any, kriging refuses
    proportions = np.bincount(class_index, minlength=n_facies) / n_observations
    is_ordinary = job.kriging == "ordinary"
    if job.covariance is not None and job.range is not None:
        nugget = max(job.nugget, LEAST_NUGGET[job.covariance])
        given = Covariance(job.covariance, job.range / job.grid.cell_size, nugget)
        return Estimator((given,) * n_facies, proportions, is_ordinary)
    places = np.stack([job.row, job.col], axis=1).astype(float)
    chosen = np.random.default_rng([job.seed, 2]).permutation(len(places))[:MOST_FITTED]
    sample = places[chosen], class_index[chosen]
    candidates = [
        choose_by_leave_one_out(*sample, n_facies, on_part=on_part),
        fit_class_by_class(*sample, n_facies),
    ]
    losses = [log_loss_nats(leave_one_out(*sample, each, n_facies), sample[1]).mean() for each in candidates]
    return Estimator(candidates[int(np.argmin(losses))], proportions, is_ordinary)


def _describe(estimator: Estimator, job: IndicatorJob) -> str:
    """Return the method and its covariances in a line, with the facies of each where they differ."""
    names: Dict[Covariance, List[str]] = {}
    for covariance, name in zip(estimator.covariances, job.facies.names):
        names.setdefault(covariance, []).append(name)
    told = []
    for c, of_facies in names.items():
        correlated = f"{c.kind} range {c.range * job.grid.cell_size:.4g} nugget {c.nugget:.2g}"
        words = correlated if c.nugget < 1 else "pure nugget"  # its range says nothing
        told.append(words if len(names) == 1 else f"{', '.join(of_facies)}: {words}")
    return f"SIS, {job.kriging} kriging, {'; '.join(told)}"
