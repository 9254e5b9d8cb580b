"""One simulation from job to arrays: what the engine runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch

from .device import batch_size, choose_device
from .ensemble import OUTSIDE, entropy_bits, most_probable_facies
from .errors import FaciesError, JobError
from .job import SimulationJob, SimulationResult
from .lattice import Lattice
from .model import FaciesModel
from .sampler import coarsest_level, draw_stream, marginal, sample


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
    model = FaciesModel.load(Path(job.model_path), device)
    n_facies = len(job.facies)
    if n_facies > model.max_facies:
        raise FaciesError(
            f"The model {model.name} takes up to {model.max_facies} facies; the observations hold {n_facies}."
        )
    if job.quality not in model.schedules:
        raise JobError(f"The model {model.name} has no schedule for the quality {job.quality!r}.")
    known, inside = _read_data(job, device)
    level = coarsest_level(job.grid.shape, len(job.row))
    schedule = model.schedules[job.quality]
    at_once = batch_size(job.grid.n_cells, n_facies)
    n_batches = -(-job.n_realizations // at_once)
    coarsest = Lattice.at(job.grid.shape, 2**level, known.new_zeros(1, 2), model.network.config.total_stride)
    lattice_nodes = coarsest.shape[0] * coarsest.shape[1]
    positions_at_once = batch_size(lattice_nodes, n_facies)
    passes_each = sum(schedule.n_passes(k, is_coarsest=k == level) for k in range(level + 1))
    report = _PassCounter(progress, -(-(4 ** (level + 1)) // positions_at_once) + passes_each * n_batches)

    report.text = "Facies probabilities"
    probability = marginal(
        model.network, known, n_facies=n_facies, level=level, maps_at_once=positions_at_once, on_pass=report
    )
    probability_of = np.where(inside.cpu().numpy(), probability.cpu().numpy(), np.nan).astype(np.float32)
    entropy = entropy_bits(probability_of)
    arrays: dict[str, Any] = {
        "probability": probability_of,
        "entropy": entropy.astype(np.float32),
        "most_probable": most_probable_facies(probability_of),
    }
    if job.n_realizations:
        realizations = np.empty((job.n_realizations, *job.grid.shape), dtype=np.uint8)
        for start in range(0, job.n_realizations, at_once):
            report.text = (
                f"Realizations {start + 1} to {min(start + at_once, job.n_realizations)} of {job.n_realizations}"
            )
            # The last batch is full too: a realization must not depend on how many there are.
            streams = [draw_stream(job.seed, start + i, job.grid.shape) for i in range(at_once)]
            maps = sample(
                model.network,
                known,
                inside,
                streams,
                n_facies=n_facies,
                schedule=schedule,
                level=level,
                on_pass=report,
            )
            wanted = maps[: job.n_realizations - start].cpu().numpy()
            realizations[start : start + at_once] = np.where(wanted < 0, OUTSIDE, wanted)
        arrays["realizations"] = realizations
    paths = {name: _save(job.work_folder, name, array) for name, array in arrays.items()}
    return SimulationResult(
        probability_path=paths["probability"],
        entropy_path=paths["entropy"],
        most_probable_path=paths["most_probable"],
        realizations_path=paths.get("realizations"),
        mean_entropy_bits=float(np.nanmean(entropy)),
        device=str(device),
        model_id=model.model_id,
        seed=job.seed,
        batch_size=at_once,
        seconds=time.monotonic() - began,
    )


class _PassCounter:
    """Tells the progress callback how far the passes have come."""

    def __init__(self, progress: Callable[[float, str], None], n_passes: int):
        self.progress, self.n_passes, self.done, self.text = progress, n_passes, 0, ""

    def __call__(self) -> None:
        self.progress(min(1.0, self.done / self.n_passes), self.text)
        self.done += 1


def _read_data(job: SimulationJob, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hard data (class index, -1 elsewhere) and the cells to simulate, as maps on the device."""
    shape = job.grid.shape
    inside = np.ones(shape, dtype=bool)
    if job.mask_path:
        inside = np.load(job.mask_path, allow_pickle=False)
        if inside.shape != shape or inside.dtype != np.bool_:
            raise JobError(f"The mask is {inside.dtype} of shape {inside.shape}; it must be bool of shape {shape}.")
    if not inside.any():
        raise JobError("The mask covers no cell of the grid: check that mask and extent overlap.")
    known = np.full(shape, -1, dtype=np.int64)
    known[list(job.row), list(job.col)] = job.class_index
    return torch.as_tensor(known, device=device), torch.as_tensor(inside, device=device)


def _save(folder: str, name: str, array: np.ndarray) -> str:
    """Save an array and return its path."""
    path = os.path.join(folder, f"{name}.npy")
    np.save(path, array)
    return path
