"""What the model is asked: surveys of kinds outside its prior and inside, each a function of seed and number."""

from __future__ import annotations

from typing import Callable, NamedTuple, TypeVar

import numpy as np
import torch

from benchmarks.outside_prior import DESIGNS, MECHANISMS, draw_cells, draw_map, draw_n_facies
from oadg.core.contract.errors import ConditioningError
from oadg.core.evaluation.surveys import Survey, survey_of_map
from oadg.core.training.random_fields import categorical_fields, draw_surveys

_OUTSIDE, _INSIDE, _CALIBRATION = range(3)  # streams of random numbers that never meet
_Drawn = TypeVar("_Drawn")
_SHORTEST_CELLS = 4.0
"""Of the ranges of the prior: users choose cells that resolve what they map."""


class Truth(NamedTuple):
    """A map whose facies were all observed, int64 (n_rows, n_cols), and its observations, -1 elsewhere."""

    facies: np.ndarray
    known: np.ndarray

    @property
    def n_facies(self) -> int:
        """Number of facies."""
        return int(self.facies.max()) + 1


def outside_survey(seed: int, number: int) -> Survey:
    """Return a survey outside the prior: kinds and designs in turn, 2 to 17 facies, 50 to 1,000 data."""
    rng = np.random.default_rng([seed, _OUTSIDE, number])
    kind, design = (list(names)[number % len(names)] for names in (MECHANISMS, DESIGNS))

    def draw() -> Survey:
        facies = draw_map(rng, kind, _draw_shape(rng, 100, 140), draw_n_facies(rng))
        visited = draw_cells(rng, design, facies, _draw_n_data(rng, 50, 1000))
        return survey_of_map(facies, visited, kind=kind, design=design)

    return first_possible(draw)


def inside_survey(seed: int, number: int) -> Survey:
    """Return a survey of the prior, of the same sizes."""
    rng = np.random.default_rng([seed, _INSIDE, number])

    def draw() -> Survey:
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
