"""Where a simulation starts: on what grid, how coarse its first lattice is, and what is told of the hard data."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kriging.kriging_features import FEWEST_DATA, SurveyKriging
from ..machine.device import one_thread
from ..model.facies_model import FaciesModel
from ..model.network_config import NetworkConfig
from ..model.prediction import Predictor
from ..model.schedule import Leg
from .area import Area, around, part_in_the_middle, whole

_FEWEST_NODES = 576
"""Nodes that the coarsest lattice has at least, where the grid has as many."""
_NODES_PER_DATUM = 1
"""And at least so many for each datum."""
_NODES_PER_DENSE_DATUM = 32
"""Of the coarsest lattice, at most, where data are dense: a finer one costs four times as much, and tells little more
far from data."""
_DATA_FOR_THREADS = 1_500
"""What so many data tell is computed in several threads; with fewer, threads would wait for each other."""


@dataclass(frozen=True)
class Start:
    """
    What a simulation starts from.

    A model of an image draws its large structures on the coarsest lattice that it has learnt. A grid that shows too few
    nodes of that is simulated as the middle part of one that shows enough, as it would be a crop of the image.

    Parameters
    ----------
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data on the grid that is simulated: class index, -1 elsewhere.
    inside : bool Tensor, shape (n_rows, n_cols)
        Cells to simulate; the others stay -1.
    n_facies : int
        Number of facies.
    level : int
        Of the lattice that the network sees first: spacing 2^level.
    survey : SurveyKriging, optional
        What all hard data together tell; the network is told while it draws from the data alone.
    asked : Area, optional
        Part of the grid that is wanted, by default all of it: of the rest each lattice is simulated near it only.
    """

    known: Tensor
    inside: Tensor
    n_facies: int
    level: int
    survey: SurveyKriging | None = None
    asked: Area | None = None

    @classmethod
    def of(
        cls,
        model: FaciesModel,
        known: Tensor,
        n_facies: int,
        inside: Tensor | None = None,
        *,
        for_marginal: bool = False,
        widens: bool = True,
        like: Start | None = None,
        on_part: Callable[[], None] = lambda: None,
    ) -> Start:
        """
        Return where a model starts.

        Parameters
        ----------
        model : FaciesModel
            Which simulates.
        known : int64 Tensor, shape (n_rows, n_cols)
            Hard data on the grid that is wanted: class index, -1 elsewhere.
        n_facies : int
            Number of facies.
        inside : bool Tensor, shape (n_rows, n_cols)
            Cells to simulate; all by default.
        for_marginal : bool
            Whether to start on the lattice that the model is asked on for probabilities, if data are dense.
        widens : bool
            Whether a wider grid than this may be simulated.
        like : Start, optional
            With the same data: what these tell is not read again where the grid that is simulated is the same.
        on_part : callable
            As `read_survey` takes it.
        """
        config, shape = model.network.config, (known.shape[0], known.shape[1])
        inside = torch.ones_like(known, dtype=torch.bool) if inside is None else inside
        level, wide = level_of(config, known), shape
        if widens and model.learnt_crops:
            n_data, level = int((known >= 0).sum()), config.n_levels - 1
            is_dense = n_data * _NODES_PER_DENSE_DATUM * 4**level >= known.numel()
            if for_marginal and model.marginal_level is not None and is_dense:
                level = model.marginal_level
            while level and _NODES_PER_DATUM * n_data * 4**level > known.numel():
                level -= 1
            least = math.isqrt(_FEWEST_NODES) * 2**level
            wide = max(shape[0], least), max(shape[1], least)
        asked = part_in_the_middle(wide, shape)
        rows, cols = asked
        around_it = cols.start, wide[1] - cols.stop, rows.start, wide[0] - rows.stop
        known, inside = F.pad(known, around_it, value=-1), F.pad(inside, around_it, value=True)
        if like is not None and like.shape == wide:
            survey = like.survey
        else:
            survey = read_survey(model.network, known, n_facies, on_part)
        return cls(known, inside, n_facies, level, survey, asked)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid that is simulated."""
        return self.known.shape[0], self.known.shape[1]

    @property
    def wanted(self) -> Area:
        """Rows and columns of the part of the grid that is wanted."""
        return self.asked or whole(self.shape)

    @property
    def n_fine_cells(self) -> int:
        """Cells that are simulated on the finest lattice."""
        return self.known[around(self.wanted, self.shape, 1)].numel()

    def area_of(self, leg: Leg) -> Area:
        """Return rows and columns of what a leg simulates: all of the grid at first, then what is near the wanted."""
        return around(self.wanted, self.shape, 2**leg.seen) if leg.refines else whole(self.shape)

    def within(self, area: Area) -> Start:
        """Return what an area of the grid starts from."""
        return replace(self, known=self.known[area], inside=self.inside[area], asked=None)


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
