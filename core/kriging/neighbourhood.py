"""
Indicator kriging from the nearest data, in units of cells: what sequential simulation draws from.

All cells are estimated together, some thousands at a time. Source: Goovaerts 1997, *Geostatistics for Natural Resources
Evaluation*, chapters 5 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

from ..contract.errors import ConditioningError, JobError
from .indicators import Covariance, correct_order_relations, distances

N_NEIGHBOURS = 16
"""Data that an estimate is made of: so many at most, the nearest ones."""
PAIRS_AT_ONCE = 4_000_000
"""Of places whose distances, or covariances, are in memory together."""
_CELLS_AT_ONCE = 4096
_JITTER = 1e-8


@dataclass(frozen=True)
class Estimator:
    """
    How probabilities are estimated from neighbours.

    Parameters
    ----------
    covariances : sequence of Covariance
        One for each facies; ranges in cells.
    proportions : array, shape (n_facies,)
        The means of the indicators.
    is_ordinary : bool
        Ordinary kriging, whose means are those of the neighbourhood, instead of simple kriging.

    Raises
    ------
    JobError
        When there is not one covariance for each facies.
    """

    covariances: Sequence[Covariance]
    proportions: np.ndarray
    is_ordinary: bool = False

    def __post_init__(self) -> None:
        if len(self.covariances) != len(self.proportions):
            raise JobError(
                f"There are {len(self.covariances)} covariances for {len(self.proportions)} facies; each needs one."
            )

    def weights(self, targets: np.ndarray, places: np.ndarray, is_there: np.ndarray) -> np.ndarray:
        """
        Return the kriging weights of neighbours.

        Parameters
        ----------
        targets : array, shape (n, 2)
            Where to estimate.
        places : array, shape (n, n_neighbours, 2)
            Neighbours of each target.
        is_there : bool array, shape (n, n_neighbours)
            False for neighbours that do not exist, whose weight is 0.

        Returns
        -------
        array, shape (n, n_facies, n_neighbours)
        """
        n, n_neighbours = is_there.shape
        pairs = is_there[:, :, None] & is_there[:, None, :]
        among, towards = distances(places, places), distances(places, targets[:, None, :])[..., 0]
        solved: dict[Covariance, np.ndarray] = {}
        for covariance in dict.fromkeys(self.covariances):
            matrix = np.zeros((n, n_neighbours + 1, n_neighbours + 1))
            matrix[:, :-1, :-1] = np.where(pairs, covariance(among), 0.0)
            diagonal = np.where(is_there, 1.0 + _JITTER, 1.0)
            matrix[:, np.arange(n_neighbours), np.arange(n_neighbours)] = diagonal
            right = np.zeros((n, n_neighbours + 1, 1))
            right[:, :-1, 0] = np.where(is_there, covariance(towards), 0.0)
            if self.is_ordinary:
                matrix[:, -1, :-1] = matrix[:, :-1, -1] = is_there
                right[:, -1] = 1.0
            # Without a neighbour there is no condition, and in simple kriging there never is one.
            matrix[:, -1, -1] = ~is_there.any(axis=1) if self.is_ordinary else 1.0
            solved[covariance] = np.linalg.solve(matrix, right)[:, :-1, 0]
        return np.stack([solved[covariance] for covariance in self.covariances], axis=1)

    def probabilities(self, weights: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
        """
        Return the facies probabilities of targets, order relations corrected.

        Parameters
        ----------
        weights : array, shape (n_facies, n_neighbours) or (n, n_facies, n_neighbours)
            From `weights`.
        neighbours : int array, shape (n, n_neighbours)
            Class index of each neighbour, -1 where there is none.

        Returns
        -------
        array, shape (n_facies, n)
        """
        n_facies = len(self.proportions)
        indicator = neighbours[:, None, :] == np.arange(n_facies)[:, None]  # (n, n_facies, n_neighbours)
        estimate = (weights * indicator).sum(axis=-1) + self.proportions * (1 - weights.sum(axis=-1))
        return correct_order_relations(estimate.T, self.proportions)


def probabilities_from_data(
    known: np.ndarray,
    estimator: Estimator,
    n_neighbours: int = N_NEIGHBOURS,
    *,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """
    Estimate facies probabilities at every cell by indicator kriging from the nearest hard data.

    Parameters
    ----------
    known : int array, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere.
    estimator : Estimator
        How.
    n_neighbours : int
        How many data an estimate is made of.
    on_part : callable
        Told the share of cells that are done, now and then; what it raises ends the estimation.

    Returns
    -------
    float32 array, shape (n_facies, n_rows, n_cols)
        Certain at hard data.

    Raises
    ------
    ConditioningError
        When there are no hard data.
    """
    data = np.argwhere(known >= 0)
    if not len(data):
        raise ConditioningError("There are no observations, and kriging needs at least one. Check the observations.")
    class_index = known[tuple(data.T)]
    cells = np.indices(known.shape).reshape(2, -1).T
    probability = np.empty((len(estimator.proportions), len(cells)), dtype=np.float32)
    at_once = cells_at_once(n_neighbours)
    for start in range(0, len(cells), at_once):
        on_part(start / len(cells))
        block = slice(start, start + at_once)
        nearest = nearest_data(cells[block], data, n_neighbours)
        there = np.ones(nearest.shape, dtype=bool)
        weights = estimator.weights(cells[block], data[nearest], there)
        probability[:, block] = estimator.probabilities(weights, class_index[nearest])
    probability = probability.reshape(-1, *known.shape)
    row, col = data.T
    probability[:, row, col] = 0
    probability[class_index, row, col] = 1
    return probability


def cells_at_once(n_neighbours: int) -> int:
    """Return of how many cells with so many neighbours the matrices fit into memory together."""
    return min(_CELLS_AT_ONCE, PAIRS_AT_ONCE // (n_neighbours + 1) ** 2 + 1)


def nearest_data(cells: np.ndarray, data: np.ndarray, n_neighbours: int) -> np.ndarray:
    """Return the numbers (n, n_nearest) of the data nearest to each cell."""
    if len(data) <= n_neighbours:
        return np.broadcast_to(np.arange(len(data)), (len(cells), len(data)))
    n_at_once, nearest = max(1, PAIRS_AT_ONCE // len(data)), []
    for start in range(0, len(cells), n_at_once):
        away = distances(cells[start : start + n_at_once].astype(float), data.astype(float))
        nearest.append(np.argpartition(away, n_neighbours, axis=1)[:, :n_neighbours])
    return np.concatenate(nearest)
