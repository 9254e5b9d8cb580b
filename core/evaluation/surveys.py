"""
The evaluation protocol: a survey of a map whose truth is known, and what a method is worth there.

All methods see the same data, are asked at the same points and are scored alike. Places are (row, col) in cells from
the north-west corner of the grid, so that the centre of its first cell lies at (.5, .5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch

from ..measures import scores
from ..model.facies_model import FaciesModel
from ..sampling.probability import facies_probability_from_data


@dataclass(frozen=True)
class Survey:
    """
    Observations of a map, and points where its truth is known but hidden.

    Parameters
    ----------
    places : array, shape (n, 2)
        Where the observations are.
    class_index : int array, shape (n,)
        Observed facies, 0 … n_facies - 1.
    targets : array, shape (m, 2)
        Where methods are asked.
    truth : int array, shape (m,)
        Facies there.
    known : int64 array, shape (n_rows, n_cols)
        The observations on the grid: class index, -1 elsewhere.
    n_facies : int
        Number of facies, of which some may not have been observed.
    corner : (int, int)
        Row and column of the grid's first cell in the map that it is a piece of.
    """

    places: np.ndarray
    class_index: np.ndarray
    targets: np.ndarray
    truth: np.ndarray
    known: np.ndarray
    n_facies: int
    corner: tuple[int, int] = (0, 0)


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
    brier, accuracy : float
        As in `scores`, means over targets.
    reliability : Reliability
        In ten bins.
    """

    loss: np.ndarray
    brier: float
    accuracy: float
    reliability: scores.Reliability

    @property
    def mean_loss(self) -> float:
        """Mean log loss over targets, nats."""
        return float(self.loss.mean())


def probability_map(model: FaciesModel, survey: Survey) -> np.ndarray:
    """Return the model's facies probabilities from a survey at every cell, (n_facies, n_rows, n_cols)."""
    return facies_probability_from_data(model, torch.as_tensor(survey.known), survey.n_facies)


def model_method(model: FaciesModel) -> Method:
    """Return the model as a method: the probability of the cell that a target lies in."""

    def ask(survey: Survey) -> np.ndarray:
        row, col = np.floor(survey.targets).astype(int).T
        return probability_map(model, survey)[:, row, col]

    return ask


def score(probability: np.ndarray, truth: np.ndarray) -> MethodScores:
    """Score facies probabilities (n_facies, m) by the truth (m,)."""
    return MethodScores(
        loss=scores.log_loss_nats(probability, truth),
        brier=float(scores.brier(probability, truth).mean()),
        accuracy=scores.accuracy(probability, truth),
        reliability=scores.reliability(probability, truth),
    )
