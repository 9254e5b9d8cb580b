"""
The evaluation protocol: a survey of a map whose truth is known, and what every method is worth there.

All methods see the same data, are asked at the same points and are scored alike. Places are (row, col) in cells from
the north-west corner of the grid, so that the centre of its first cell lies at (.5, .5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping

import numpy as np
import torch

from ..contract.errors import ConditioningError
from ..kriging.yardsticks import YARDSTICKS, Yardstick
from ..measures import scores
from ..model.facies_model import FaciesModel
from ..sampling.simulation import facies_probability_from_data

_BLOCKS = 5
"""Along each side of the grid."""


@dataclass(frozen=True)
class Survey:
    """
    Observations of a map, and points where its truth is known but hidden.

    Parameters
    ----------
    places : array, shape (n, 2)
        Where the observations are.
    class_index : int array, shape (n,)
        Observed facies, 0 … n_facies - 1; each of them at least once.
    targets : array, shape (m, 2)
        Where methods are asked.
    truth : int array, shape (m,)
        Facies there.
    known : int64 array, shape (n_rows, n_cols)
        The observations on the grid: class index, -1 elsewhere.
    n_facies : int
        Number of observed facies.
    kind, design : str
        What made the map, and how it was surveyed.
    corner : (int, int)
        Row and column of the grid's first cell in the map that it is a piece of.
    """

    places: np.ndarray
    class_index: np.ndarray
    targets: np.ndarray
    truth: np.ndarray
    known: np.ndarray
    n_facies: int
    kind: str = ""
    design: str = ""
    corner: tuple[int, int] = (0, 0)

    def blocks(self) -> np.ndarray:
        """Return the block (m,) of the grid that each target lies in: neighbours resemble each other."""
        cell = np.floor(self.targets * _BLOCKS / np.array(self.known.shape)).astype(int)
        row, col = cell.clip(0, _BLOCKS - 1).T
        return row * _BLOCKS + col


Method = Callable[[Survey], np.ndarray]
"""Facies probabilities (n_facies, m) at a survey's targets."""


@dataclass(frozen=True)
class MethodScores:
    """
    What a method is worth on a survey.

    Parameters
    ----------
    loss : array, shape (m,)
        Log loss at each target, nats, with the floor.
    brier, accuracy, sharpness_bits : float
        As in `scores`, means over targets.
    reliability : Reliability
        In ten bins.
    """

    loss: np.ndarray
    brier: float
    accuracy: float
    sharpness_bits: float
    reliability: scores.Reliability

    @property
    def mean_loss(self) -> float:
        """Mean log loss over targets, nats."""
        return float(self.loss.mean())


def survey_of_map(
    facies: np.ndarray, visited: np.ndarray, *, most_targets: int = 400, kind: str = "", design: str = ""
) -> Survey:
    """
    Make a survey of a map.

    Facies that were not observed are none that a method could name: the others are numbered anew, in their order, and
    no target lies on an unobserved one.

    Parameters
    ----------
    facies : int array, shape (n_rows, n_cols)
        The truth.
    visited : bool array, shape (n_rows, n_cols)
        Observed cells.
    most_targets : int
        Targets, spread evenly over the unvisited cells; all of them where there are fewer.
    kind, design : str
        Are kept.

    Raises
    ------
    ConditioningError
        When fewer than two facies were observed, or there is nowhere left to ask.
    """
    observed = np.unique(facies[visited])
    cells = np.argwhere(~visited & np.isin(facies, observed))
    if observed.size < 2 or not len(cells):
        raise ConditioningError(
            f"The survey {kind!r} observed {observed.size} facies and leaves {len(cells)} cells to predict; methods "
            "are compared where at least two facies were observed and one cell is left. Draw another survey."
        )
    chosen = cells[np.linspace(0, len(cells) - 1, min(most_targets, len(cells))).astype(int)]
    renumbered = np.searchsorted(observed, facies)
    return Survey(
        places=np.argwhere(visited) + 0.5,
        class_index=renumbered[visited],
        targets=chosen + 0.5,
        truth=renumbered[tuple(chosen.T)],
        known=np.where(visited, renumbered, -1),
        n_facies=int(observed.size),
        kind=kind,
        design=design,
    )


def probability_map(model: FaciesModel, survey: Survey) -> np.ndarray:
    """Return the model's facies probabilities from a survey at every cell, (n_facies, n_rows, n_cols)."""
    return facies_probability_from_data(model, torch.as_tensor(survey.known), survey.n_facies)


def model_method(model: FaciesModel) -> Method:
    """Return the model as a method: the probability of the cell that a target lies in."""

    def ask(survey: Survey) -> np.ndarray:
        row, col = np.floor(survey.targets).astype(int).T
        return probability_map(model, survey)[:, row, col]

    return ask


def yardstick_methods() -> dict[str, Method]:
    """Return the simple methods of `yardsticks` by name."""

    def as_method(yardstick: Yardstick) -> Method:
        return lambda survey: yardstick(survey.places, survey.class_index, survey.targets, survey.n_facies)

    return {name: as_method(yardstick) for name, yardstick in YARDSTICKS.items()}


def evaluate(survey: Survey, methods: Mapping[str, Method]) -> dict[str, MethodScores]:
    """
    Score methods on a survey, all at the same points.

    Parameters
    ----------
    survey : Survey
        Data and truth.
    methods : mapping of str to Method
        By name.
    """
    return {name: score(method(survey), survey.truth) for name, method in methods.items()}


def score(probability: np.ndarray, truth: np.ndarray) -> MethodScores:
    """Score facies probabilities (n_facies, m) by the truth (m,)."""
    return MethodScores(
        loss=scores.log_loss_nats(probability, truth),
        brier=float(scores.brier(probability, truth).mean()),
        accuracy=scores.accuracy(probability, truth),
        sharpness_bits=scores.sharpness_bits(probability),
        reliability=scores.reliability(probability, truth),
    )
