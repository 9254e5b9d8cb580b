"""One simulation from job to arrays: what the engine runs."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from ..contract.ensemble import OUTSIDE
from ..contract.job import SimulationJob, SimulationResult
from ..contract.job_arrays import JobMaps, read_maps, save_probability_maps
from ..kriging.kriging_features import SurveyKriging
from ..machine.device import batch_size, choose_device
from ..model.facies_model import FaciesModel
from ..model.lattice import Lattice
from ..model.precision import precision_of
from .marginal import marginal, marginal_batches
from .realizations import simulate_in_batches
from .start import level_of, read_survey


def run_simulation(job: SimulationJob, progress: Callable[[float, str], None]) -> SimulationResult:
    """
    Simulate, and write the arrays into the job's work folder.

    Parameters
    ----------
    job : SimulationJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done, before each pass; what it raises (`Cancelled`) ends the run.

    Returns
    -------
    SimulationResult
        Where the arrays lie, and the numbers that users are told.

    Raises
    ------
    OadgError
        For a model, device or job that does not fit.
    """
    began = time.monotonic()
    progress(0.0, "Reading the model")
    device = choose_device(job.device)
    model = _fitting_model(job, device)
    maps = read_maps(job)
    known = torch.as_tensor(maps.known, device=device)
    level = level_of(model.network.config, known)
    at_once = batch_size(known.numel(), len(job.facies), device)
    schedule = model.schedules[job.quality]
    n_passes = schedule.n_passes(level, model.network.config.n_started)
    n_batches = -(-job.n_realizations // at_once)
    positions_at_once = _positions_at_once(model, known, len(job.facies))
    report = _PassCounter(progress, len(marginal_batches(level, positions_at_once, model.turns)) + n_passes * n_batches)

    report.text = "Facies probabilities"
    reading = partial(progress, 0.0, "Reading the observations")
    survey = read_survey(model.network, known, len(job.facies), reading)
    from_data = facies_probability_from_data(model, known, len(job.facies), survey=survey, on_pass=report)
    paths, mean_entropy_bits = save_probability_maps(job.work_folder, maps.of_grid(from_data, np.nan))
    realizations_path = None
    if job.n_realizations:
        report.text = "Realizations"
        realizations_path = _simulate_ensemble(job, model, maps, known, survey, report)
    return SimulationResult(
        **paths,
        realizations_path=realizations_path,
        mean_entropy_bits=mean_entropy_bits,
        device=str(device),
        model_id=model.model_id,
        seed=job.seed,
        batch_size=at_once,
        seconds=time.monotonic() - began,
        precision=precision_of(model.network, device),
    )


def facies_probability_from_data(
    model: FaciesModel,
    known: torch.Tensor,
    n_facies: int,
    *,
    survey: SurveyKriging | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """
    Facies probabilities given hard data, before anything is simulated: what the probability layer shows.

    Parameters
    ----------
    model : FaciesModel
        What predicts.
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere; on the model's device.
    n_facies : int
        Number of facies.
    survey : SurveyKriging, optional
        What kriging reads from the hard data; it is read where none is given.
    on_pass : callable
        Called before each pass; what it raises ends the computation.

    Returns
    -------
    float32 array, shape (n_facies, n_rows, n_cols)
        Certain at hard data.
    """
    probability = marginal(
        model.network,
        known,
        n_facies=n_facies,
        level=level_of(model.network.config, known),
        positions_at_once=_positions_at_once(model, known, n_facies),
        survey=survey or read_survey(model.network, known, n_facies, on_pass),
        turns=model.turns,
        on_pass=on_pass,
    )
    return probability.cpu().numpy()


def _positions_at_once(model: FaciesModel, known: torch.Tensor, n_facies: int) -> int:
    """Return how many positions of the coarsest lattice go through the network together."""
    shape, spacing = (known.shape[0], known.shape[1]), 2 ** level_of(model.network.config, known)
    n_rows, n_cols = Lattice.at(shape, spacing, known.new_zeros(1, 2), model.network.config.total_stride).shape
    return batch_size(n_rows * n_cols, n_facies, known.device)


def _fitting_model(job: SimulationJob, device: torch.device) -> FaciesModel:
    """Load the job's model and check that it takes the job."""
    model = FaciesModel.load(Path(job.model_path), device)
    model.check_takes(job.facies, job.grid.shape)
    model.schedule_of(job.quality)  # there has to be one
    return model


def _simulate_ensemble(
    job: SimulationJob,
    model: FaciesModel,
    maps: JobMaps,
    known: torch.Tensor,
    survey: SurveyKriging | None,
    report: _PassCounter,
) -> str:
    """Simulate the realizations, straight into their file, and return its path."""
    path = os.path.join(job.work_folder, "realizations.npy")
    shape = (job.n_realizations, *job.grid.shape)
    realizations = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)  # type: ignore[no-untyped-call]
    batches = simulate_in_batches(
        model,
        known,
        torch.as_tensor(maps.inside, device=known.device),
        job.n_realizations,
        n_facies=len(job.facies),
        quality=job.quality,
        seed=job.seed,
        survey=survey,
        on_pass=report,
    )
    done = 0
    for batch in batches:
        realizations[done : done + len(batch)] = maps.of_grid(batch.cpu().numpy(), OUTSIDE)
        done += len(batch)
        report.text = f"Realizations: {done} of {job.n_realizations} are done"
    realizations.flush()
    return path


class _PassCounter:
    """Tells the progress callback how far the passes have come, those of all threads."""

    def __init__(self, progress: Callable[[float, str], None], n_passes: int):
        self.progress, self.n_passes, self.done, self.text = progress, n_passes, 0, ""
        self.telling = threading.Lock()

    def __call__(self) -> None:
        with self.telling:
            self.progress(min(1.0, self.done / self.n_passes), self.text)
            self.done += 1
