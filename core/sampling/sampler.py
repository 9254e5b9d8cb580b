"""
The sampler: positions first, then values at temperature 1.

A realization is simulated coarse to fine on nested lattices. Which cells are visited together is decided by the path
alone, before anything is predicted; their facies are then drawn from the predicted probabilities as they are. Choosing
cells by the network's confidence would sharpen the distribution (arXiv 2510.04525).
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from functools import partial
from typing import Callable

import torch
from torch import Tensor

from ..kriging.kriging_features import FEWEST_DATA, SurveyKriging
from ..machine.device import one_thread
from ..model.lattice import Lattice
from ..model.network import NetworkConfig
from ..model.prediction import Predictor, look_around, predict
from ..model.schedule import Schedule
from .visits import Stream, Visit, corrections, passes

_FEWEST_NODES = 576
"""Nodes that the coarsest lattice has at least, where the grid has as many."""
_NODES_PER_DATUM = 1
"""And at least so many for each datum."""
_DATA_FOR_THREADS = 1_500
"""What so many data tell is computed in several threads; with fewer, threads would wait for each other."""

Choose = Callable[[Tensor, Visit], Tensor]
"""Facies probabilities (n_cells, n_facies) of the cells of a pass, and the pass, to their class indices."""


def coarsest_level(config: NetworkConfig, shape: tuple[int, int], n_data: int) -> int:
    """
    Return the level to start from: spacing 2^level.

    As coarse as possible, so that the network sees far, but with nodes enough to tell the data apart, and, of a network
    that knows its facies one by one, no coarser than it has learnt.

    Parameters
    ----------
    config : NetworkConfig
        The network's.
    shape : (int, int)
        Rows and columns of the grid.
    n_data : int
        Number of hard data.
    """
    n_nodes = max(_FEWEST_NODES, _NODES_PER_DATUM * n_data)
    most = config.n_levels - 1 if config.n_classes else max(shape)
    level = 0
    while level < most and shape[0] * shape[1] >= n_nodes * 4 ** (level + 1) and min(shape) >= 2 ** (level + 2):
        level += 1
    return level


def level_of(config: NetworkConfig, known: Tensor) -> int:
    """
    Return the level to start from, given hard data (n_rows, n_cols), -1 elsewhere.

    Where a square around them is less than half of the grid it may be one level finer: an empty margin is no reason to
    tell them apart less.
    """
    row, col = (known >= 0).nonzero(as_tuple=True)
    level = coarsest_level(config, (known.shape[0], known.shape[1]), len(row))
    if config.n_classes or len(row) < FEWEST_DATA:
        return level
    side = 1 + max(int(axis.max() - axis.min()) for axis in (row, col))
    height, width = (min(side, n_cells) for n_cells in known.shape)
    if 2 * height * width >= known.numel():
        return level
    return max(coarsest_level(config, (height, width), len(row)), level - 1)


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
        Level of the coarsest lattice, from `coarsest_level`.
    until : int
        Level of the finest lattice that is simulated; by default all cells are. Other cells stay -1.
    survey : SurveyKriging, optional
        What kriging reads from the hard data, from `read_survey`; told to the network on the coarsest lattice.
    choose : callable
        Who chooses the facies of the cells of each pass; by default chance, at the probabilities that they have.
    on_pass : callable
        Called before each pass; what it raises ends the simulation.

    Returns
    -------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index, -1 outside.
    """
    maps = known.expand(len(streams), -1, -1).clone()
    turns = [stream.turns for stream in streams]
    started = level + predictor.config.n_started
    for drawn in range(started, until - 1, -1):
        # The network sees the lattice of its level also while it draws only some of the nodes.
        seen, refines = (level, False) if drawn == started else (drawn, True)
        lattice = lattice_of(predictor, known.shape, 2**seen, [s.offset for s in streams], known.device)
        told = (lattice.gather(maps)[1], lattice.attach(*hard_data(known, len(streams))), n_facies)
        has_features = survey is not None and not refines
        features = lattice.kriging_features([survey] * len(streams), n_facies) if has_features else None
        ask, context = partial(predict, predictor, level=seen, features=features, turns=turns), None
        split = partial(schedule.split, level=drawn, is_coarsest=not refines)
        first = passes(maps, inside, lattice, streams, split, spacing=2**drawn)
        again = corrections(known, inside, lattice, streams, schedule.n_corrections(seen) if seen == drawn else 0)
        for kept, visits in itertools.chain([(None, first)], again):
            class_index, _ = lattice.gather(maps)
            if refines and (kept is not None or visits is first):
                stays = class_index if kept is None else torch.where(kept, class_index, -1)
                context = look_around(predictor, stays, *told, level=seen, turns=turns)
            for visited in visits:
                on_pass()
                batch, row, col, _ = visited
                node_row, node_col = lattice.node_of(batch, row, col)
                class_index[batch, node_row, node_col] = -1
                logits = ask(class_index, *told, context=context)
                probability = logits[batch, :, node_row, node_col].float().softmax(dim=1)  # (n_cells, n_facies)
                chosen = choose(probability, visited)
                maps[batch, row, col] = chosen
                class_index[batch, node_row, node_col] = chosen
    return maps


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


def read_survey(
    predictor: Predictor, known: Tensor, n_facies: int, on_part: Callable[[], None] = lambda: None
) -> SurveyKriging | None:
    """
    Return what all hard data (n_rows, n_cols) together tell, if the network takes it and they are fit for it.

    That takes a second or more where they are many; `on_part` is called now and then, and what it raises ends it.
    """
    config = predictor.config
    if not config.reads_kriging:
        return None
    with one_thread() if int((known >= 0).sum()) < _DATA_FOR_THREADS else nullcontext():
        return SurveyKriging.of_map(known, n_facies, reads_order=config.reads_order, on_part=on_part)


def lattice_of(
    predictor: Predictor,
    shape: tuple[int, ...],
    spacing: int,
    offsets: list[tuple[int, int]],
    device: torch.device,
) -> Lattice:
    """Return the lattice of a spacing whose nodes divide row + offset and col + offset."""
    position = -torch.tensor(offsets, device=device)
    return Lattice.at((shape[0], shape[1]), spacing, position, predictor.config.total_stride)


def hard_data(known: Tensor, n_maps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return map, row, column and class index of the hard data, repeated for each map."""
    row, col = (known >= 0).nonzero(as_tuple=True)
    batch = torch.arange(n_maps, device=known.device).repeat_interleave(len(row))
    return batch, row.repeat(n_maps), col.repeat(n_maps), known[row, col].repeat(n_maps)
