"""Simulation paths: dispersed orders of the cells of a lattice, cut into passes. Knows nothing of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

COARSER_SHARE = 0.25
"""Of a lattice's nodes lie on the next coarser one."""


def dispersed_rank(
    shape: tuple[int, int], rng: np.random.Generator, *, offset: tuple[int, int] | None = None
) -> np.ndarray:
    """
    Rank the nodes of a lattice so that every prefix of the order is spread evenly over it.

    Nodes are visited coarse to fine: nodes of a sublattice of spacing 2^l before those that only spacing 2^(l-1)
    adds. Within a level the centres of the coarser squares come first, then their sides; each of these cosets is
    split once more into four interleaved ones, in random order, and shuffled inside.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the lattice.
    rng : numpy Generator
        Source of the shuffles, and of the offset where none is given.
    offset : (int, int), optional
        Position of the coarsest sublattice: node (row, col) lies on spacing 2^l when it divides row + offset[0] and
        col + offset[1].

    Returns
    -------
    int64 array, shape (n_rows, n_cols)
        Position in the order, 0 first; a permutation of 0 … n_rows * n_cols - 1.
    """
    n_levels = int(np.ceil(np.log2(max(2, *shape))))
    if offset is None:
        offset = (int(rng.integers(2**n_levels)), int(rng.integers(2**n_levels)))
    a = np.arange(shape[0])[:, None] + offset[0]
    b = np.arange(shape[1])[None, :] + offset[1]
    level = np.minimum(np.minimum(trailing_zeros(a), trailing_zeros(b)), n_levels)
    # Bits at the node's own level tell its coset: 3 is the centre of a coarser square, 1 and 2 are its sides.
    coset = (((a >> level) & 1) << 1) | ((b >> level) & 1)
    subcoset = (((a >> level + 1) & 1) << 1) | ((b >> level + 1) & 1)
    coset_order = np.array([[0, *rng.permutation([1, 2]), 0] for _ in range(n_levels + 1)])
    subcoset_order = np.array([rng.permutation(4) for _ in range(n_levels + 1)])
    key = (-level * 3 + coset_order[level, coset]) * 4 + subcoset_order[level, subcoset]
    order = (key + rng.random(shape)).ravel().argsort()
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return rank.reshape(shape)


def trailing_zeros(number: np.ndarray) -> np.ndarray:
    """Return how often 2 divides each number; 62 for 0."""
    lowest_bit = np.where(number == 0, 1 << 62, number & -number)
    return np.round(np.log2(lowest_bit.astype(float))).astype(np.int64)


@dataclass(frozen=True)
class Schedule:
    """
    How the sampler cuts the nodes of each level into passes.

    Pass sizes are shares of the nodes of a level, so the number of passes does not grow with the grid.

    Parameters
    ----------
    refined : tuple of tuple of float
        Of each level whose next coarser lattice is known, the finest first: the share of its other nodes that are
        simulated after each pass, the last one 1. Further levels use the last entry.
    started : tuple of float
        The same of the nodes that are drawn from the data alone.
    corrections : tuple of int
        Passes of each level, the finest first, that draw a quarter of its nodes anew; further levels use the last
        number. None by default.
    """

    refined: tuple[tuple[float, ...], ...]
    started: tuple[float, ...]
    corrections: tuple[int, ...] = ()

    @classmethod
    def even(cls, passes: tuple[int, ...], started_passes: int) -> Schedule:
        """
        Return the schedule of so many passes.

        Parameters
        ----------
        passes : tuple of int
            Passes of equal size of the levels that are refined, the finest first.
        started_passes : int
            Passes of the nodes drawn from the data alone: the first ones are small, the last ones large.
        """
        refined = tuple(tuple((k + 1) / n for k in range(n)) for n in passes)
        return cls(refined, tuple(((k + 1) / started_passes) ** 2 for k in range(started_passes)))

    def shares(self, level: int, *, is_coarsest: bool) -> tuple[float, ...]:
        """Return the share of a level's nodes that are simulated after each pass; level 0 is the finest."""
        return self.started if is_coarsest else self.refined[min(level, len(self.refined) - 1)]

    def n_corrections(self, level: int) -> int:
        """Return how many passes draw nodes of a level anew."""
        return self.corrections[min(level, len(self.corrections) - 1)] if self.corrections else 0

    def n_passes(self, coarsest_level: int, n_started: int = 0) -> int:
        """
        Return the number of passes of all levels.

        Parameters
        ----------
        coarsest_level : int
            Of the lattice that the simulation starts on.
        n_started : int
            How many levels above it those of its nodes lie that are drawn from the data alone, which none corrects.
        """
        first = len(self.started) + (0 if n_started else self.n_corrections(coarsest_level))
        refined = range(coarsest_level + n_started)
        return first + sum(len(self.shares(k, is_coarsest=False)) + self.n_corrections(k) for k in refined)

    def split(self, rank: np.ndarray, level: int, *, is_coarsest: bool) -> list[np.ndarray]:
        """
        Split the nodes of a level into passes.

        Parameters
        ----------
        rank : int array, shape (n,)
            Ranks of the cells to simulate, all different.
        level : int
            Level of the lattice, 0 the finest.
        is_coarsest : bool
            Whether the simulation starts on it.

        Returns
        -------
        list of int array
            Positions in `rank` of each pass, in the order of the ranks; passes that would be empty are left out.
        """
        ends = np.round(np.array(self.shares(level, is_coarsest=is_coarsest)) * rank.size).astype(int)[:-1]
        return [part for part in np.split(np.argsort(rank), ends) if part.size]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {
            "refined": [list(shares) for shares in self.refined],
            "started": list(self.started),
            "corrections": list(self.corrections),
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Schedule:
        """Rebuild the schedule from `to_dict`."""
        refined = tuple(tuple(map(float, shares)) for shares in description["refined"])
        corrections = tuple(map(int, description.get("corrections", ())))
        return cls(refined, tuple(map(float, description["started"])), corrections)


SCHEDULES = {
    "standard": Schedule.even((6, 8, 10), 24),
    "preview": Schedule.even((3, 3, 4), 8),
    "fine": Schedule.even((32, 32, 48), 64),
}
"""Used where a model has no measured schedules of its own."""
