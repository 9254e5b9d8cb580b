"""
Sequential indicator simulation (SIS): what users know, and a yardstick of the models.

Cells are visited one after another along a multiple-grid path, that of the sampler. Each is drawn from its indicator
kriging estimate, given the nearest hard data and the nearest cells that were visited before. All realizations share the
path, so that the kriging systems are solved once. Sources: Alabert 1987 and Journel and Alabert 1990, *Journal of
Petroleum Technology* 42; Deutsch and Journel 1998, *GSLIB*, section V.3; Goovaerts 1997, section 8.3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

from ..contract.errors import ConditioningError, JobError
from ..kriging.indicators import Covariance, correct_order_relations, distances
from .path import dispersed_rank

N_NEIGHBOURS = 16
"""Hard data, and visited cells, that an estimate is made of: so many of each at most, the nearest ones."""
_TEMPLATE = 9
"""Visited cells are looked for so many nodes of the cell's own lattice away."""
_CELLS_AT_ONCE, _PAIRS_AT_ONCE = 4096, 4_000_000
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
    at_once = _cells_at_once(n_neighbours)
    for start in range(0, len(cells), at_once):
        on_part(start / len(cells))
        block = slice(start, start + at_once)
        nearest = _nearest(cells[block], data, n_neighbours)
        there = np.ones(nearest.shape, dtype=bool)
        weights = estimator.weights(cells[block], data[nearest], there)
        probability[:, block] = estimator.probabilities(weights, class_index[nearest])
    probability = probability.reshape(-1, *known.shape)
    row, col = data.T
    probability[:, row, col] = 0
    probability[class_index, row, col] = 1
    return probability


def _cells_at_once(n_neighbours: int) -> int:
    """Return of how many cells with so many neighbours the matrices fit into memory together."""
    return min(_CELLS_AT_ONCE, _PAIRS_AT_ONCE // (n_neighbours + 1) ** 2 + 1)


def simulate_indicators(
    known: np.ndarray,
    inside: np.ndarray,
    estimator: Estimator,
    n_realizations: int,
    *,
    seed: int,
    n_neighbours: int = N_NEIGHBOURS,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """
    Simulate realizations by sequential indicator simulation.

    Parameters
    ----------
    known : int array, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere. They are never resampled.
    inside : bool array, shape (n_rows, n_cols)
        Cells to simulate; the others stay -1.
    estimator : Estimator
        What cells are drawn from.
    n_realizations : int
        How many; the first ones do not depend on it.
    seed : int
        Of the path and of each realization's numbers.
    n_neighbours : int
        Nearest hard data, and nearest visited cells, of an estimate: so many of each at most.
    on_part : callable
        Told the share of cells that are done, now and then; what it raises ends the simulation.

    Returns
    -------
    int8 array, shape (n_realizations, n_rows, n_cols)
    """
    shape = known.shape
    rank = dispersed_rank((shape[0], shape[1]), np.random.default_rng([seed, 0]))
    generators = [np.random.default_rng([seed, 1, i]) for i in range(n_realizations)]
    todo = inside & (known < 0)
    cells = np.argwhere(todo)
    cells = cells[np.argsort(rank[todo])]  # in the order of the path
    data = np.argwhere(known >= 0)
    maps = np.repeat(known.reshape(1, -1).astype(np.int8), n_realizations, axis=0)
    at_once = _cells_at_once(2 * n_neighbours)
    for start in range(0, len(cells), at_once):
        block = cells[start : start + at_once]
        on_part(start / len(cells))
        neighbours, there = _visited(block, rank, todo, n_neighbours)
        if len(data):
            nearest = _nearest(block, data, n_neighbours)
            neighbours = np.concatenate([neighbours, data[nearest]], axis=1)
            there = np.concatenate([there, np.ones(nearest.shape, dtype=bool)], axis=1)
        weights = estimator.weights(block, neighbours, there)
        flat = neighbours[..., 0] * shape[1] + neighbours[..., 1]
        own = block[:, 0] * shape[1] + block[:, 1]
        uniform = np.stack([rng.random(len(block)) for rng in generators], axis=1)  # (n_block, n_realizations)
        for cell, weight, around, exists, of_cell in zip(own, weights, flat, there, uniform):
            values = np.where(exists, maps[:, around], -1)  # (n_realizations, n_neighbours)
            cumulative = estimator.probabilities(weight, values).cumsum(axis=0)
            maps[:, cell] = (cumulative <= of_cell * cumulative[-1]).sum(axis=0)
    maps[:, ~inside.ravel()] = -1
    return maps.reshape(n_realizations, *shape)


def _nearest(cells: np.ndarray, data: np.ndarray, n_neighbours: int) -> np.ndarray:
    """Return the numbers (n, n_nearest) of the data nearest to each cell."""
    if len(data) <= n_neighbours:
        return np.broadcast_to(np.arange(len(data)), (len(cells), len(data)))
    n_at_once, nearest = max(1, _PAIRS_AT_ONCE // len(data)), []
    for start in range(0, len(cells), n_at_once):
        away = distances(cells[start : start + n_at_once].astype(float), data.astype(float))
        nearest.append(np.argpartition(away, n_neighbours, axis=1)[:, :n_neighbours])
    return np.concatenate(nearest)


def _visited(cells: np.ndarray, rank: np.ndarray, todo: np.ndarray, n_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the nearest cells (n, n_neighbours, 2) that are simulated before each cell, and whether there are so many.

    They are looked for on lattices of doubling spacing, from the cell itself on: in a multiple-grid path those nearby
    are rare early, and many later. Where that finds too few (the first cells, thin grids and masks), all are looked at.
    """
    shape, own = rank.shape, rank[tuple(cells.T)]
    side = np.arange(-_TEMPLATE, _TEMPLATE + 1)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    offsets = offsets[np.argsort((offsets**2).sum(axis=1), kind="stable")][1:]
    found = np.zeros((len(cells), n_neighbours, 2), dtype=np.int64)
    there = np.zeros((len(cells), n_neighbours), dtype=bool)
    missing = np.arange(len(cells))
    spacing = 1
    while len(missing) and spacing < max(shape):
        near = cells[missing][:, None, :] + spacing * offsets[None, :, :]  # none of which was looked at before
        on_grid = ((near >= 0) & (near < np.array(shape))).all(axis=-1)
        near = np.where(on_grid[..., None], near, 0)
        row, col = near[..., 0], near[..., 1]
        earlier = on_grid & todo[row, col] & (rank[row, col] < own[missing][:, None])
        near = np.concatenate([found[missing], near], axis=1)
        earlier = np.concatenate([there[missing], earlier], axis=1)
        order = np.argsort(~earlier, axis=1, kind="stable")[:, :n_neighbours]
        found[missing] = np.take_along_axis(near, order[..., None], axis=1)
        there[missing] = np.take_along_axis(earlier, order, axis=1)
        missing = missing[~there[missing].all(axis=1)]
        offsets = offsets[np.abs(offsets).max(axis=1) > _TEMPLATE // 2] if spacing == 1 else offsets
        spacing *= 2
    if len(missing):
        before = np.argwhere(todo & (rank < own[missing].max()))
        n_at_once = max(1, _PAIRS_AT_ONCE // max(1, len(before)))
        for part in np.split(missing, range(n_at_once, len(missing), n_at_once)):
            away = distances(cells[part].astype(float), before.astype(float))
            away[rank[tuple(before.T)] >= own[part][:, None]] = np.inf
            order = np.argsort(away, axis=1, kind="stable")[:, :n_neighbours]
            found[part, : order.shape[1]] = before[order]
            there[part, : order.shape[1]] = np.isfinite(np.take_along_axis(away, order, axis=1))
    return found, there
