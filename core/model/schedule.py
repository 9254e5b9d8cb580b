"""How many passes the sampler takes, and how many nodes each of them simulates. Knows nothing of networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, NamedTuple

import numpy as np


class Leg(NamedTuple):
    """
    A part of a simulation: nodes of one level are drawn.

    Parameters
    ----------
    drawn : int
        Their level: they lie 2^drawn cells apart.
    seen : int
        Level of the lattice that the network sees meanwhile.
    refines : bool
        Whether the next coarser nodes are known; the first leg draws from the data alone.
    """

    drawn: int
    seen: int
    refines: bool

    @property
    def is_corrected(self) -> bool:
        """Whether all that the network sees is drawn, so that any of it can be drawn anew."""
        return self.drawn == self.seen


def legs(level: int, n_started: int, until: int = 0) -> list[Leg]:
    """
    Return the legs of a simulation, coarse to fine.

    Parameters
    ----------
    level : int
        Of the lattice that the network sees first.
    n_started : int
        How many levels above it its nodes lie that are drawn from the data alone, as `NetworkConfig` has it.
    until : int
        Level of the last leg.
    """
    first = level + n_started
    return [Leg(first, level, False), *(Leg(drawn, drawn, True) for drawn in range(first - 1, until - 1, -1))]


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
    balance : tuple of tuple of float
        What is added to the logits of each facies on each level, the finest first; further levels use the last entry.
        Nothing where an entry is empty, and by default.
    """

    refined: tuple[tuple[float, ...], ...]
    started: tuple[float, ...]
    corrections: tuple[int, ...] = ()
    balance: tuple[tuple[float, ...], ...] = ()

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

    def shares(self, leg: Leg) -> tuple[float, ...]:
        """Return the share of a leg's nodes that are simulated after each pass."""
        return self.refined[min(leg.drawn, len(self.refined) - 1)] if leg.refines else self.started

    def n_corrections(self, leg: Leg) -> int:
        """Return how many passes of a leg draw nodes anew."""
        if not leg.is_corrected or not self.corrections:
            return 0
        return self.corrections[min(leg.drawn, len(self.corrections) - 1)]

    def balance_of(self, leg: Leg) -> tuple[float, ...]:
        """Return what is added to the logits of each facies on a leg; nothing if it is empty."""
        return self.balance[min(leg.drawn, len(self.balance) - 1)] if self.balance else ()

    def drawing_once(self) -> Schedule:
        """Return the same passes of nodes that are drawn once, from the network's probabilities as they are."""
        return replace(self, corrections=(), balance=())

    def n_passes(self, level: int, n_started: int = 0, until: int = 0) -> int:
        """Return the number of passes of all legs, which `legs` makes of the same parameters."""
        return sum(len(self.shares(leg)) + self.n_corrections(leg) for leg in legs(level, n_started, until))

    def split(self, rank: np.ndarray, leg: Leg) -> list[np.ndarray]:
        """
        Split the nodes of a leg into passes.

        Parameters
        ----------
        rank : int array, shape (n,)
            Ranks of the cells to simulate, all different.
        leg : Leg
            That simulates them.

        Returns
        -------
        list of int array
            Positions in `rank` of each pass, in the order of the ranks; passes that would be empty are left out.
        """
        ends = np.round(np.array(self.shares(leg)) * rank.size).astype(int)[:-1]
        return [part for part in np.split(np.argsort(rank), ends) if part.size]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {
            "refined": [list(shares) for shares in self.refined],
            "started": list(self.started),
            "corrections": list(self.corrections),
            "balance": [list(logits) for logits in self.balance],
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Schedule:
        """Rebuild the schedule from `to_dict`."""
        refined = tuple(tuple(map(float, shares)) for shares in description["refined"])
        corrections = tuple(map(int, description.get("corrections", ())))
        balance = tuple(tuple(map(float, logits)) for logits in description.get("balance", ()))
        return cls(refined, tuple(map(float, description["started"])), corrections, balance)


SCHEDULES = {
    "standard": Schedule.even((6, 8, 10), 24),
    "preview": Schedule.even((3, 3, 4), 8),
    "fine": Schedule.even((32, 32, 48), 64),
}
"""Used where a model has no measured schedules of its own."""
