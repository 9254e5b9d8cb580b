"""Where a simulation starts: how coarse its first lattice is, and what is told of the hard data."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Callable

import torch
from torch import Tensor

from ..kriging.kriging_features import FEWEST_DATA, SurveyKriging
from ..machine.device import one_thread
from ..model.lattice import Lattice
from ..model.network import NetworkConfig
from ..model.prediction import Predictor

_FEWEST_NODES = 576
"""Nodes that the coarsest lattice has at least, where the grid has as many."""
_NODES_PER_DATUM = 1
"""And at least so many for each datum."""
_DATA_FOR_THREADS = 1_500
"""What so many data tell is computed in several threads; with fewer, threads would wait for each other."""


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


def least_side(config: NetworkConfig) -> int:
    """Return the rows and columns of a square grid that starts on the coarsest lattice that a network has learnt."""
    return math.isqrt(_FEWEST_NODES) * 2 ** (config.n_levels - 1)


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
