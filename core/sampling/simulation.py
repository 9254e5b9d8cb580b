"""One simulation from job to arrays: what the engine runs."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from ..contract.ensemble import OUTSIDE
from ..contract.job import SimulationJob, SimulationResult
from ..contract.job_arrays import JobMaps, read_maps, save_probability_maps
from ..machine.device import batch_size, choose_device
from ..model.facies_model import FaciesModel
from ..model.precision import precision_of
from .probability import Question
from .progress import PassCounter
from .realizations import simulate_in_batches
from .start import Start


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
    known, inside = (torch.as_tensor(of_grid, device=device) for of_grid in (maps.known, maps.inside))
    reading = partial(progress, 0.0, "Reading the observations")
    question = Question.of(model, known, len(job.facies), reading)
    start = question.at
    if job.n_realizations:
        like = question.drawn_from or question.at
        start = Start.of(model, known, len(job.facies), inside, like=like, on_part=reading)
    at_once = batch_size(start.n_fine_cells, start.n_facies, device)
    n_passes = model.schedules[job.quality].n_passes(start.level, model.network.config.n_started)
    n_batches = -(-job.n_realizations // at_once)
    report = PassCounter(progress, question.n_passes + n_passes * n_batches)

    report.text = "Facies probabilities"
    from_data = maps.of_grid(question.answer(report), np.nan)
    paths, mean_entropy_bits = save_probability_maps(job.work_folder, from_data)
    realizations_path = None
    if job.n_realizations:
        report.text = "Realizations"
        realizations_path = _simulate_ensemble(job, model, maps, start, report)
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
    start: Start,
    report: PassCounter,
) -> str:
    """Simulate the realizations, straight into their file, and return its path."""
    path = os.path.join(job.work_folder, "realizations.npy")
    shape = (job.n_realizations, *job.grid.shape)
    realizations = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)  # type: ignore[no-untyped-call]
    batches = simulate_in_batches(model, start, job.n_realizations, quality=job.quality, seed=job.seed, on_pass=report)
    done = 0
    for batch in batches:
        realizations[done : done + len(batch)] = maps.of_grid(batch.cpu().numpy(), OUTSIDE)
        done += len(batch)
        report.text = f"Realizations: {done} of {job.n_realizations} are done"
    realizations.flush()
    return path
