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

from ..kriging.kriging_features import SurveyKriging
from ..model.prediction import Predictor, look_around, predict
from ..model.schedule import Schedule
from .area import Area, around, whole
from .start import hard_data, lattice_of
from .visits import Stream, Visit, rounds

Choose = Callable[[Tensor, Visit], Tensor]
"""
Facies probabilities (n_cells, n_facies) of the cells of a pass, and the pass, to their class indices. Where a part of
the grid is asked for, rows and columns are counted from where the pass' lattice begins.
"""


@torch.inference_mode()
def sample(
    predictor: Predictor,
    known: Tensor,
    inside: Tensor,
    streams: list[Stream],
    *,
    n_facies: int,
    schedule: Schedule,
    level: int,
    until: int = 0,
    asked: Area | None = None,
    survey: SurveyKriging | None = None,
    choose: Choose = lambda probability, visited: draw_facies(probability, visited.uniform),
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Simulate a batch of realizations.

    Parameters
    ----------
    predictor : Predictor
        Network that gives facies logits from known cells.
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere. They are never resampled.
    inside : bool Tensor, shape (n_rows, n_cols)
        Cells to simulate; the others stay -1.
    streams : list of Stream
        One per realization.
    n_facies : int
        Number of facies.
    schedule : Schedule
        Passes per level.
    level : int
        Level of the coarsest lattice, from `level_of`.
    until : int
        Level of the finest lattice that is simulated; by default all cells are. Other cells stay -1.
    asked : Area, optional
        Part of the grid that is wanted, by default all of it: of the rest each lattice is simulated near it only.
    survey : SurveyKriging, optional
        What kriging reads from the hard data, from `read_survey`; told to the network on the coarsest lattice.
    choose : callable
        Who chooses the facies of the cells of each pass; by default chance, at the probabilities that they have.
    on_pass : callable
        Called before each pass; what it raises ends the simulation.

    Returns
    -------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index of what is wanted, -1 outside.
    """
    simulated = known.expand(len(streams), -1, -1).clone()
    turns = [stream.turns for stream in streams]
    wanted = asked or whole(known.shape)
    started = level + predictor.config.n_started
    for drawn in range(started, until - 1, -1):
        # The network sees the lattice of its level also while it draws only some of the nodes.
        seen, refines = (level, False) if drawn == started else (drawn, True)
        area = around(wanted, known.shape, 2**seen) if refines else whole(known.shape)
        maps, of_data, cells = simulated[:, area[0], area[1]], known[area], inside[area]
        paths = [stream.within(area) for stream in streams]
        lattice = lattice_of(predictor, of_data.shape, 2**seen, [path.offset for path in paths], known.device)
        told = (lattice.gather(maps)[1], lattice.attach(*hard_data(of_data, len(streams))), n_facies)
        has_features = survey is not None and not refines
        features = lattice.kriging_features([survey] * len(streams), n_facies) if has_features else None
        ask = partial(predict, predictor, level=seen, features=features, turns=turns)
        split = partial(schedule.split, level=drawn, is_coarsest=not refines)
        n_corrections = schedule.n_corrections(seen) if seen == drawn else 0
        for kept, visits in rounds(maps, of_data, cells, lattice, paths, split, 2**drawn, n_corrections):
            class_index, _ = lattice.gather(maps)
            stays = class_index if kept is None else torch.where(kept, class_index, -1)
            context = look_around(predictor, stays, *told, level=seen, turns=turns) if refines else None
            for visited in visits:
                on_pass()
                batch, row, col, _ = visited
                node = (batch, *lattice.node_of(batch, row, col))
                class_index[node] = -1
                logits = ask(class_index, *told, context=context)
                probability = logits[node[0], :, node[1], node[2]].float().softmax(dim=1)  # (n_cells, n_facies)
                maps[batch, row, col] = class_index[node] = choose(probability, visited)
    return simulated[:, wanted[0], wanted[1]]


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
