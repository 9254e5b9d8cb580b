"""The likelihood of a map, from job to array: what the engine runs."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch

from ..contract.errors import JobError
from ..contract.score_job import ScoreJob, ScoreResult
from ..machine.device import batch_size, choose_device
from ..measures.scores import reach_of_another
from ..model.facies_model import FaciesModel
from .likelihood import surprise_nats
from .start import level_of, read_survey
from .visits import draw_stream

_REALIZATIONS = 1 << 20
"""The streams of realizations have numbers of their own, from here on."""
_CONFIDENCE = 0.998
"""How sure one may be that a realization of the model is not taken for something else."""


def run_scoring(job: ScoreJob, progress: Callable[[float, str], None]) -> ScoreResult:
    """
    Score a map, and write the surprise of its cells into the job's work folder.

    Parameters
    ----------
    job : ScoreJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done, before each pass; what it raises (`Cancelled`) ends the run.

    Raises
    ------
    OadgError
        For a model, device or map that does not fit.
    """
    began = time.monotonic()
    progress(0.0, "Reading the model")
    device = choose_device(job.device)
    model = FaciesModel.load(Path(job.model_path), device)
    model.check_takes(job.facies, job.grid.shape)
    truth, known = _read_map(job, device)
    inside = truth >= 0
    n_facies, shape = len(job.facies), job.grid.shape
    schedule = replace(model.schedule_of(job.quality), corrections=())  # the likelihood is that of a path
    level = level_of(model.network.config, known)
    survey = read_survey(model.network, known, n_facies, partial(progress, 0.0, "Reading the observations"))
    at_once = batch_size(job.grid.n_cells, n_facies, device)
    n_passes = schedule.n_passes(level, model.network.config.n_started)
    done, text = 0, ""

    def on_pass() -> None:
        nonlocal done
        progress(min(1.0, done / (2 * n_passes * -(-job.n_paths // at_once))), text)
        done += 1

    def surprise_bits(of: torch.Tensor | None, first: int) -> torch.Tensor:
        """Return the surprise along as many paths as go together, (at_once, n_rows, n_cols)."""
        paths = [draw_stream(job.seed, first + k, shape, turns=model.turns) for k in range(at_once)]
        how: dict[str, Any] = {"n_facies": n_facies, "schedule": schedule, "level": level, "survey": survey}
        return surprise_nats(model.network, of, known, inside, paths, on_pass=on_pass, **how).double() / math.log(2)

    of_cells, totals, typical = np.zeros(shape), np.zeros(0), np.zeros(0)
    for start in range(0, job.n_paths, at_once):
        left = job.n_paths - start
        text = f"Paths {start + 1} to {start + min(at_once, left)} of {job.n_paths}"
        bits = surprise_bits(truth, start)[:left]
        of_cells += bits.sum(dim=0).cpu().numpy() / job.n_paths
        totals = np.append(totals, bits.sum(dim=(1, 2)).cpu())
        text = "Realizations to compare with"
        typical = np.append(typical, surprise_bits(None, _REALIZATIONS + start)[:left].sum(dim=(1, 2)).cpu())
    n_cells = int((inside & (known < 0)).sum())
    path = os.path.join(job.work_folder, "surprise.npy")
    np.save(path, np.where(inside.cpu().numpy(), of_cells, np.nan).astype(np.float32))
    return ScoreResult(
        surprise_path=path,
        log_likelihood_bits=-float(totals.mean()),
        spread_bits=float(totals.std(ddof=1)),
        bits_per_cell=float(totals.mean() / n_cells),
        typical_bits_per_cell=float(typical.mean() / n_cells),
        typical_spread=float(typical.std(ddof=1) / n_cells),
        typical_reach=reach_of_another(typical / n_cells, _CONFIDENCE),
        n_cells=n_cells,
        device=str(device),
        model_id=model.model_id,
        seconds=time.monotonic() - began,
    )


def _read_map(job: ScoreJob, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the map (n_rows, n_cols) and its hard data (-1 elsewhere); raise `JobError` when they contradict."""
    truth = np.load(job.map_path, allow_pickle=False).astype(np.int64)
    if truth.shape != job.grid.shape:
        raise JobError(f"The map has the shape {truth.shape}; the grid has {job.grid.shape}.")
    known = np.full(truth.shape, -1, dtype=np.int64)
    known[list(job.row), list(job.col)] = job.class_index
    if not ((truth >= 0) & (known < 0)).any():
        raise JobError("The map holds no cell to be scored: check its nodata value, and whether data cover it all.")
    against = (known >= 0) & (known != truth)
    if against.any():
        row, col = np.argwhere(against)[0]
        names = job.facies.names
        there = names[truth[row, col]] if truth[row, col] >= 0 else "nothing"
        raise JobError(
            f"{int(against.sum()):,} of {int((known >= 0).sum()):,} cells with observations contradict the map; at row "
            f"{row}, col {col} it shows {there} where {names[known[row, col]]} was observed. Such a map is impossible "
            "given the data: correct it, or leave the observations out to score the map alone."
        )
    return torch.as_tensor(truth, device=device), torch.as_tensor(known, device=device)
