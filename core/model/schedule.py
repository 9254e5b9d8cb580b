"""How many passes the sampler takes, and how many nodes each of them simulates. Knows nothing of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np


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
