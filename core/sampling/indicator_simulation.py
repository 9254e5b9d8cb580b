"""
Sequential indicator simulation (SIS): what users know, and a yardstick of the models.

Cells are visited one after another along a multiple-grid path, that of the sampler. Each is drawn from its indicator
kriging estimate, given the nearest hard data and the nearest cells that were visited before. All realizations share the
path, so that the kriging systems are solved once. Sources: Alabert 1987 and Journel and Alabert 1990, *Journal of
Petroleum Technology* 42; Deutsch and Journel 1998, *GSLIB*, section V.3; Goovaerts 1997, section 8.3.3.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

from ..kriging.indicators import distances
from ..kriging.neighbourhood import N_NEIGHBOURS, PAIRS_AT_ONCE, Estimator, cells_at_once, nearest_data
from .path import dispersed_rank

_TEMPLATE = 9
"""Visited cells are looked for so many nodes of the cell's own lattice away."""


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
    at_once = cells_at_once(2 * n_neighbours)
    for start in range(0, len(cells), at_once):
        block = cells[start : start + at_once]
        on_part(start / len(cells))
        neighbours, there = _visited(block, rank, todo, n_neighbours)
        if len(data):
            nearest = nearest_data(block, data, n_neighbours)
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
        n_at_once = max(1, PAIRS_AT_ONCE // max(1, len(before)))
        for part in np.split(missing, range(n_at_once, len(missing), n_at_once)):
            away = distances(cells[part].astype(float), before.astype(float))
            away[rank[tuple(before.T)] >= own[part][:, None]] = np.inf
            order = np.argsort(away, axis=1, kind="stable")[:, :n_neighbours]
            found[part, : order.shape[1]] = before[order]
            there[part, : order.shape[1]] = np.isfinite(np.take_along_axis(away, order, axis=1))
    return found, there
