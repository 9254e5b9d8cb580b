"""
The sampler: positions first, then values at temperature 1.

A realization is simulated coarse to fine on nested lattices. Which cells are visited together is decided by the path
alone, before anything is predicted; their facies are then drawn from the predicted probabilities as they are. Choosing
cells by the network's confidence would sharpen the distribution (arXiv 2510.04525).
"""

from __future__ import annotations

from functools import partial
from typing import Callable

import torch
from torch import Tensor

from ..kriging.kriging_features import KrigingFeatures
from ..model.lattice import Lattice
from ..model.prediction import Predictor, look_around, predict
from ..model.schedule import Leg, Schedule, legs
from .start import Start
from .visits import Stream, Visit, rounds

Choose = Callable[[Tensor, Visit], Tensor]
"""
Facies probabilities (n_cells, n_facies) of the cells of a pass, and the pass, to their class indices. Where a part of
the grid is asked for, rows and columns are counted from where the pass' lattice begins.
"""


@torch.inference_mode()
def sample(
    predictor: Predictor,
    start: Start,
    streams: list[Stream],
    schedule: Schedule,
    *,
    until: int = 0,
    choose: Choose = lambda probability, visited: draw_facies(probability, visited.uniform),
    on_pass: Callable[[], None] = lambda: None,
    on_drawn: Callable[[Leg, Visit, Tensor], None] = lambda leg, visited, maps: None,
) -> Tensor:
    """
    Simulate a batch of realizations.

    Parameters
    ----------
    predictor : Predictor
        Network that gives facies logits from known cells.
    start : Start
        Grid, hard data, which are never resampled, and where to begin.
    streams : list of Stream
        One per realization.
    schedule : Schedule
        Passes per level.
    until : int
        Level of the finest lattice that is simulated; by default all cells are. Other cells stay -1.
    choose : callable
        Who chooses the facies of the cells of each pass; by default chance, at the probabilities that they have.
    on_pass : callable
        Called before each pass; what it raises ends the simulation.
    on_drawn : callable
        Told after each pass its leg, what was visited, and what is returned as it is by then.

    Returns
    -------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index of what is wanted, -1 outside.
    """
    simulated = start.known.expand(len(streams), -1, -1).clone()
    wanted = simulated[:, start.wanted[0], start.wanted[1]]  # a view
    turns = [stream.turns for stream in streams]
    for leg in legs(start.level, predictor.config.n_started, until):
        rows, cols = start.area_of(leg)
        part, maps = start.within((rows, cols)), simulated[:, rows, cols]  # a view, which is written to
        paths = [stream.within((rows, cols)) for stream in streams]
        lattice = lattice_of(leg, predictor, part, paths)
        told = lattice.gather(maps)[1], lattice.hard_data(part.known), start.n_facies
        balance = torch.tensor(schedule.balance_of(leg) or (0.0,), device=maps.device)
        ask = partial(predict, predictor, level=leg.seen, features=features_of(leg, lattice, start), turns=turns)
        for kept, visits in rounds(leg, maps, part, lattice, paths, schedule):
            class_index, _ = lattice.gather(maps)
            stays = class_index if kept is None else torch.where(kept, class_index, -1)
            context = look_around(predictor, stays, *told, level=leg.seen, turns=turns) if leg.refines else None
            for visited in visits:
                on_pass()
                batch, row, col = visited[:3]
                node = (batch, *lattice.node_of(batch, row, col))
                class_index[node] = -1
                logits = ask(class_index, *told, context=context)[node[0], :, node[1], node[2]].float() + balance
                probability = logits.softmax(dim=1)  # (n_cells, n_facies)
                maps[batch, row, col] = class_index[node] = choose(probability, visited)
                on_drawn(leg, visited, wanted)
    return wanted


def lattice_of(leg: Leg, predictor: Predictor, part: Start, paths: list[Stream]) -> Lattice:
    """Return the lattices that the network sees on a leg, of a part of the grid; each path has its own."""
    offsets = [path.offset for path in paths]
    return Lattice.through(part.shape, 2**leg.seen, offsets, predictor.config.total_stride, part.known.device)


def features_of(leg: Leg, lattice: Lattice, start: Start) -> KrigingFeatures | None:
    """Return what kriging tells at the nodes of lattices while nothing but data is known, if it was read."""
    if leg.refines or start.survey is None:
        return None
    return lattice.kriging_features([start.survey] * len(lattice.offset), start.n_facies)


def draw_facies(probability: Tensor, uniform: Tensor) -> Tensor:
    """
    Draw by inverting the cumulative distribution.

    Parameters
    ----------
    probability : float32 Tensor, shape (n_cells, n_facies)
        Probabilities of each cell's facies.
    uniform : float32 Tensor, shape (n_cells,)
        Numbers in [0, 1).

    Returns
    -------
    int64 Tensor, shape (n_cells,)
        Class index, never one of probability 0.
    """
    cumulative = probability.cumsum(dim=1)
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(dim=1)
