"""The likelihood of a map, from job to array: what the engine runs."""

from __future__ import annotations

import math
import os
import time
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from ..contract.errors import JobError
from ..contract.score_job import ScoreJob, ScoreResult
from ..machine.device import batch_size, choose_device
from ..measures.scores import reach_of_another
from ..model.facies_model import FaciesModel
from ..model.schedule import Schedule, legs
from .likelihood import surprise_nats
from .path import levels_of_nodes
from .progress import PassCounter
from .sampler import sample
from .start import Start
from .visits import Stream, draw_stream

_REALIZATIONS = 1 << 20
"""The streams of realizations have numbers of their own, from here on."""
_FEWEST_REALIZATIONS = 20
"""That a map is compared with: of a few nobody knows how far others may be off."""
_RISK = 0.01
"""How often a realization of the model may be taken for something else, on any level or in total."""
_LEAST_BITS = 1.0
"""Of the whole map: so much is nothing."""


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
    paths = _Paths(job, model, known, truth >= 0, partial(progress, 0.0, "Reading the observations"))
    n_realizations = max(job.n_paths, _FEWEST_REALIZATIONS)
    n_passes = paths.n_passes(job.n_paths) + paths.n_passes(n_realizations, draws=True)
    report = PassCounter(progress, n_passes)
    of_cells, of_map, typical = np.zeros(truth.shape), [], []
    for start in range(0, job.n_paths, paths.at_once):
        left = min(paths.at_once, job.n_paths - start)
        report.text = f"Paths {start + 1} to {start + left} of {job.n_paths}"
        bits, of_levels = paths.visit(paths.streams(start), truth, report)
        of_cells += bits[:left].sum(axis=0) / job.n_paths
        of_map += of_levels[:left]
    for start in range(0, n_realizations, paths.at_once):
        report.text = f"Realizations to compare with, {start} of {n_realizations}"
        typical += paths.visit_realizations(_REALIZATIONS + start, report)[: n_realizations - start]
    found, expected = np.array(of_map), np.array(typical)  # bits, (n_maps, n_levels)
    totals, typical_totals = found.sum(axis=1), expected.sum(axis=1)
    confidence = 1 - _RISK / (1 + expected.shape[1])  # of the total, and of each level
    reach, *reaches = (max(_LEAST_BITS, reach_of_another(v, confidence)) for v in (typical_totals, *expected.T))
    n_cells = int((paths.visited_on.inside & (known < 0)).sum())
    surprise_path = os.path.join(job.work_folder, "surprise.npy")
    np.save(surprise_path, np.where(paths.visited_on.inside.cpu().numpy(), of_cells, np.nan).astype(np.float32))
    return ScoreResult(
        surprise_path=surprise_path,
        log_likelihood_bits=-float(totals.mean()),
        spread_bits=float(totals.std(ddof=1)),
        bits_per_cell=float(totals.mean() / n_cells),
        typical_bits_per_cell=float(typical_totals.mean() / n_cells),
        typical_spread=float(typical_totals.std(ddof=1) / n_cells),
        typical_reach=reach / n_cells,
        excess_of_levels=((found.mean(axis=0) - expected.mean(axis=0)) / np.array(reaches)).tolist(),
        n_cells=n_cells,
        device=str(device),
        model_id=model.model_id,
        seconds=time.monotonic() - began,
    )


class _Paths:
    """
    A model that visits maps along paths, as it would draw them given the hard data (n_rows, n_cols).

    A map is known on its grid only, so that paths start there, also where realizations come from a wider one.
    """

    def __init__(
        self,
        job: ScoreJob,
        model: FaciesModel,
        known: torch.Tensor,
        inside: torch.Tensor,
        on_part: Callable[[], None],
    ):
        self.model, self.schedule, self.seed = model, model.schedule_of(job.quality), job.seed
        start_of = partial(Start.of, model, known, len(job.facies), inside, on_part=on_part)
        self.visited_on = start_of(widens=False)
        self.drawn_on = start_of(like=self.visited_on) if model.learnt_crops else self.visited_on
        self.at_once = batch_size(self.drawn_on.n_fine_cells, len(job.facies), known.device)

    @property
    def path(self) -> Schedule:
        """The passes of a path: a likelihood is that of nodes drawn once."""
        return self.schedule.drawing_once()

    @property
    def are_drawn_so(self) -> bool:
        """Whether users get realizations that are drawn along a path, as they are visited."""
        return self.path == self.schedule and self.drawn_on.shape == self.visited_on.shape

    def n_passes(self, n_maps: int, *, draws: bool = False) -> int:
        """Return the number of passes that it takes to visit so many maps, and to draw them before."""
        n_started = self.model.network.config.n_started
        n_drawn = 0 if self.are_drawn_so or not draws else self.schedule.n_passes(self.drawn_on.level, n_started)
        return -(-n_maps // self.at_once) * (self.path.n_passes(self.visited_on.level, n_started) + n_drawn)

    def streams(self, first: int, shape: tuple[int, int] | None = None) -> list[Stream]:
        """Return the streams of as many maps as go together, by the number of the first one."""
        shape, turns = shape or self.visited_on.shape, self.model.turns
        return [draw_stream(self.seed, first + k, shape, turns=turns) for k in range(self.at_once)]

    def visit(
        self, streams: list[Stream], maps: torch.Tensor | None, on_pass: Callable[[], None]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """
        Visit maps, or what is drawn along each path.

        Returns
        -------
        bits : array, shape (n_paths, n_rows, n_cols)
            Surprise at each cell.
        of_levels : list of array, shape (n_levels,)
            Its sums over the cells of each level of each path, the finest first.
        """
        nats = surprise_nats(self.model.network, maps, self.visited_on, streams, self.path, on_pass=on_pass)
        bits = nats.cpu().double().numpy() / math.log(2)
        coarsest = legs(self.visited_on.level, self.model.network.config.n_started)[0].drawn
        levels = (levels_of_nodes(self.visited_on.shape, stream.offset, coarsest).ravel() for stream in streams)
        return bits, [np.bincount(level, of_map.ravel(), coarsest + 1) for level, of_map in zip(levels, bits)]

    def visit_realizations(self, first: int, on_pass: Callable[[], None]) -> list[np.ndarray]:
        """Visit realizations as users get them, by the number of the first one, and return their bits of levels."""
        if self.are_drawn_so:
            return self.visit(self.streams(first), None, on_pass)[1]
        streams = self.streams(first, self.drawn_on.shape)
        maps = sample(self.model.network, self.drawn_on, streams, self.schedule, on_pass=on_pass)
        return self.visit(self.streams(_REALIZATIONS + first), maps, on_pass)[1]


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
        names, (easting, northing) = job.facies.names, job.grid.centre_of(row, col)
        there = names[truth[row, col]] if truth[row, col] >= 0 else "nothing"
        raise JobError(
            f"{int(against.sum()):,} of {int((known >= 0).sum()):,} cells with observations contradict the map; in the "
            f"cell around easting {easting:.10g}, northing {northing:.10g} it shows {there} where "
            f"{names[known[row, col]]} was observed. Such a map is impossible given the data: correct it, or leave the "
            "observations out to score the map alone."
        )
    return torch.as_tensor(truth, device=device), torch.as_tensor(known, device=device)
