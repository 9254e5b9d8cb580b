"""
The realizations of a model, in batches that fill a device.

A graphics card is filled by one batch. The cores of a processor work better on a batch each than together on one.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Collection, Iterator

import numpy as np
import torch
from torch import Tensor

from ..contract.errors import JobError
from ..machine.device import batch_size, batches_at_once, side_by_side
from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from ..model.prediction import Predictor
from ..model.schedule import Leg, Schedule
from .sampler import sample
from .start import Start
from .visits import Stream, Visit, draw_stream


def simulate_in_batches(
    model: FaciesModel,
    start: Start,
    n_realizations: int,
    *,
    quality: str,
    seed: int,
    at_once: int | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """
    Yield realizations, a batch of them at a time.

    Parameters
    ----------
    model : FaciesModel
        On the device of the maps.
    start : Start
        Grid, hard data, and what the model starts from, by `Start.of`.
    n_realizations : int
        How many.
    quality : str
        One of the model's schedules.
    seed : int
        Of all randomness: realization `i` is a function of seed, shape and `i`.
    at_once : int, optional
        Maps of a batch; by default as many as fill the device or one of its cores.
    on_pass : callable
        Called before each pass of each batch, in any thread; what it raises ends the simulation.

    Yields
    ------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index, -1 outside; the last batch may be smaller.
    """
    device = start.known.device
    n_maps = at_once or batch_size(start.n_fine_cells, start.n_facies, device)
    predictor = drawing_predictor(model.network, device)

    def simulate(first: int) -> Tensor:
        """Simulate a batch: the last one in full, too, for a realization must not depend on how many there are."""
        streams = [draw_stream(seed, first + i, start.shape, turns=model.turns) for i in range(n_maps)]
        return sample(predictor, start, streams, model.schedules[quality], on_pass=on_pass)

    firsts = range(0, n_realizations, n_maps)
    n_workers = batches_at_once(n_maps * start.n_fine_cells, start.n_facies, device)
    for first, batch in zip(firsts, side_by_side(simulate, firsts, n_workers)):
        yield batch[: n_realizations - first]


def simulate_lattices(
    predictor: Predictor,
    start: Start,
    streams: list[Stream],
    schedule: Schedule,
    *,
    until: int,
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Simulate the lattices of given streams, in batches.

    Parameters
    ----------
    predictor, start, streams, schedule, until
        As `sampler.sample` takes them.
    on_pass : callable
        Called before each pass of each batch, in any thread; what it raises ends the simulation.

    Returns
    -------
    int64 Tensor, shape (n_streams, n_rows, n_cols)
        Class index at the nodes of each stream's lattice, -1 elsewhere.
    """
    simulate = partial(sample, predictor, start, schedule=schedule, until=until, on_pass=on_pass)
    return torch.cat(_in_batches(simulate, start, streams, until))


def simulate_anew(
    predictor: Predictor,
    start: Start,
    streams: list[Stream],
    schedule: Schedule,
    after: Collection[int],
    *,
    until: int,
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Simulate lattices, and return them as they are after some of the passes that draw their nodes anew.

    Parameters
    ----------
    predictor, start, streams, schedule, until, on_pass
        As `simulate_lattices` takes them.
    after : collection of int
        Numbers of these passes: of those of the schedule, the first one has number 1.

    Returns
    -------
    int64 Tensor, shape (n_after, n_streams, n_rows, n_cols)
        As `simulate_lattices` returns it, after the fewest passes first.
    """

    def simulate(part: list[Stream]) -> Tensor:
        kept: list[Tensor] = []

        def keep(leg: Leg, visited: Visit, maps: Tensor) -> None:
            if leg.drawn == until and visited.correction in after:
                kept.append(maps.clone())

        sample(predictor, start, part, schedule, until=until, on_pass=on_pass, on_drawn=keep)
        return torch.stack(kept)

    return torch.cat(_in_batches(simulate, start, streams, until), dim=1)


def _in_batches(
    simulate: Callable[[list[Stream]], Tensor], start: Start, streams: list[Stream], until: int
) -> list[Tensor]:
    """Simulate as many streams together as go through the network at a time where lattices up to a level are drawn."""
    n_nodes = max(1, start.n_fine_cells >> 2 * until)
    n_maps = batch_size(n_nodes, start.n_facies, start.known.device)
    parts = [streams[first : first + n_maps] for first in range(0, len(streams), n_maps)]
    n_workers = batches_at_once(n_maps * n_nodes, start.n_facies, start.known.device)
    return list(side_by_side(simulate, parts, n_workers))


def simulate_freely(
    model: FaciesModel,
    shape: tuple[int, int],
    n_realizations: int,
    *,
    quality: str = "standard",
    seed: int = 0,
    on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """
    Simulate realizations without data.

    Parameters
    ----------
    model : FaciesModel
        Of a training image.
    shape : (int, int)
        Rows and columns.
    n_realizations, quality, seed
        As `simulate_in_batches` takes them.
    on_batch : callable
        Told how many are done, at the beginning and after each batch.

    Returns
    -------
    uint8 array, shape (n_realizations, n_rows, n_cols)
        Class index.

    Raises
    ------
    JobError
        For a model that has no facies of its own.
    """
    nothing = np.full(shape, -1, dtype=np.int64)
    return simulate_given(model, nothing, n_realizations, quality=quality, seed=seed, on_batch=on_batch)


def simulate_given(
    model: FaciesModel,
    known: np.ndarray,
    n_realizations: int,
    *,
    quality: str = "standard",
    seed: int = 0,
    at_once: int | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """
    Simulate realizations with a model of a training image, given data (n_rows, n_cols), -1 elsewhere.

    Other parameters, results and errors are those of `simulate_freely` and `simulate_in_batches`.
    """
    if model.facies is None:
        raise JobError(f"The model {model.name} has no facies of its own: it fits itself to data, and needs some.")
    start = Start.of(model, torch.from_numpy(known).to(model.device), len(model.facies))
    on_batch(0)
    parts: list[np.ndarray] = []
    for batch in simulate_in_batches(model, start, n_realizations, quality=quality, seed=seed, at_once=at_once):
        parts.append(batch.cpu().numpy().astype(np.uint8))
        on_batch(sum(map(len, parts)))
    return np.concatenate(parts)
