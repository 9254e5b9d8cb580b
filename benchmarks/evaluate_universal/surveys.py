"""What the model is asked: surveys of kinds outside its prior and inside, each a function of seed and number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, NamedTuple, TypeVar

import numpy as np
import torch

from benchmarks.outside_prior import DESIGNS, MECHANISMS, draw_cells, draw_map, draw_n_facies
from oadg.core.contract.errors import ConditioningError
from oadg.core.evaluation.surveys import Method, Survey
from oadg.core.kriging.yardsticks import YARDSTICKS, Yardstick
from oadg.core.training.random_fields import categorical_fields, draw_surveys

_OUTSIDE, _INSIDE, _CALIBRATION = range(3)  # streams of random numbers that never meet
_Drawn = TypeVar("_Drawn")
_SHORTEST_CELLS = 4.0
"""Of the ranges of the prior: users choose cells that resolve what they map."""
_BLOCKS = 5
"""Along each side of the grid."""


@dataclass(frozen=True)
class NamedSurvey(Survey):
    """
    A survey with what made the map, and how it was surveyed; each of its facies was observed at least once.

    Parameters
    ----------
    kind, design : str
        Names of these.
    """

    kind: str = ""
    design: str = ""

    def blocks(self) -> np.ndarray:
        """Return the block (m,) of the grid that each target lies in: neighbours resemble each other."""
        cell = np.floor(self.targets * _BLOCKS / np.array(self.known.shape)).astype(int)
        row, col = cell.clip(0, _BLOCKS - 1).T
        return row * _BLOCKS + col


class Truth(NamedTuple):
    """A map whose facies were all observed, int64 (n_rows, n_cols), and its observations, -1 elsewhere."""

    facies: np.ndarray
    known: np.ndarray

    @property
    def n_facies(self) -> int:
        """Number of facies."""
        return int(self.facies.max()) + 1


def survey_of_map(
    facies: np.ndarray, visited: np.ndarray, *, most_targets: int = 400, kind: str = "", design: str = ""
) -> NamedSurvey:
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
    return NamedSurvey(
        places=np.argwhere(visited) + 0.5,
        class_index=renumbered[visited],
        targets=chosen + 0.5,
        truth=renumbered[tuple(chosen.T)],
        known=np.where(visited, renumbered, -1),
        n_facies=int(observed.size),
        kind=kind,
        design=design,
    )


def yardstick_methods() -> dict[str, Method]:
    """Return the simple methods of `yardsticks` by name."""

    def as_method(yardstick: Yardstick) -> Method:
        return lambda survey: yardstick(survey.places, survey.class_index, survey.targets, survey.n_facies)

    return {name: as_method(yardstick) for name, yardstick in YARDSTICKS.items()}


def outside_survey(seed: int, number: int) -> NamedSurvey:
    """Return a survey outside the prior: kinds and designs in turn, 2 to 17 facies, 50 to 1,000 data."""
    rng = np.random.default_rng([seed, _OUTSIDE, number])
    kind, design = (list(names)[number % len(names)] for names in (MECHANISMS, DESIGNS))

    def draw() -> NamedSurvey:
        facies = draw_map(rng, kind, _draw_shape(rng, 100, 140), draw_n_facies(rng))
        visited = draw_cells(rng, design, facies, _draw_n_data(rng, 50, 1000))
        return survey_of_map(facies, visited, kind=kind, design=design)

    return first_possible(draw)


def inside_survey(seed: int, number: int) -> NamedSurvey:
    """Return a survey of the prior, of the same sizes."""
    rng = np.random.default_rng([seed, _INSIDE, number])

    def draw() -> NamedSurvey:
        shape, n_data = _draw_shape(rng, 100, 140), _draw_n_data(rng, 50, 1000)
        facies, visited = _draw_of_prior(rng, shape, n_data)
        return survey_of_map(facies, visited, kind="prior", design="prior")

    return first_possible(draw)


def calibration_truth(seed: int, number: int) -> Truth:
    """Return a small map of the prior and its observations, 12 to 360 of them; unobserved facies do not occur."""
    rng = np.random.default_rng([seed, _CALIBRATION, number])
    while True:
        facies, visited = _draw_of_prior(rng, _draw_shape(rng, 48, 64), _draw_n_data(rng, 12, 360))
        present, observed = np.unique(facies), np.unique(facies[visited])
        if 2 <= observed.size == present.size:
            facies = np.searchsorted(present, facies)
            return Truth(facies, np.where(visited, facies, -1))


def _draw_of_prior(rng: np.random.Generator, shape: tuple[int, int], n_data: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a map and its visited cells as the model's training does for grids of such a size."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    n_facies, field_size = draw_n_facies(rng), 128 if max(shape) <= 64 else 256
    field = categorical_fields(1, n_facies, field_size, _SHORTEST_CELLS, 3.0 * max(shape), generator)
    window = field[:, : shape[0], : shape[1]]
    visited = draw_surveys(window, torch.tensor([n_data]), n_facies, generator)
    return window[0].numpy(), visited[0].numpy()


def _draw_shape(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    """Return rows and columns, each from low to high."""
    n_rows, n_cols = rng.integers(low, high + 1, 2)
    return int(n_rows), int(n_cols)


def _draw_n_data(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a number of data whose logarithm is uniform."""
    return int(low * (high / low) ** rng.random())


def first_possible(draw: Callable[[], _Drawn]) -> _Drawn:
    """Draw until methods can be compared on the survey: one that observed a single facies is none."""
    while True:
        try:
            return draw()
        except ConditioningError:
            continue
