"""The facies probabilities given hard data, before anything is simulated for the user: what the layer shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch

from ..machine.device import batch_size
from ..model.facies_model import FaciesModel
from ..model.lattice import Lattice
from ..model.precision import drawing_predictor
from .expectation import can_be_expected, expected, n_passes_of_expected
from .marginal import marginal, marginal_batches
from .start import Start


@dataclass(frozen=True)
class Question:
    """
    What is asked of a model for the probabilities.

    Parameters
    ----------
    model : FaciesModel
        Which is asked.
    at : Start
        Where it is asked at once.
    drawn_from : Start or None
        From where coarse lattices are drawn whose expectation has a part in the answer; None if it has none.
    """

    model: FaciesModel
    at: Start
    drawn_from: Start | None

    @classmethod
    def of(
        cls, model: FaciesModel, known: torch.Tensor, n_facies: int, on_part: Callable[[], None] = lambda: None
    ) -> Question:
        """
        Return what is asked given hard data.

        Parameters
        ----------
        model : FaciesModel
            Which is asked.
        known : int64 Tensor, shape (n_rows, n_cols)
            Hard data: class index, -1 elsewhere.
        n_facies : int
            Number of facies.
        on_part : callable
            As `Start.of` takes it.
        """
        known = known.to(model.device)
        at = Start.of(model, known, n_facies, for_marginal=True, on_part=on_part)
        if not model.expected_share or not bool((known >= 0).any()):
            return cls(model, at, None)
        start = Start.of(model, known, n_facies, like=at, on_part=on_part)
        return cls(model, at, start if can_be_expected(start.level, model.network.config.n_started) else None)

    @property
    def n_passes(self) -> int:
        """How often `answer` calls `on_pass`."""
        n_passes = len(marginal_batches(self.at.level, self._positions_at_once, self.model.turns))
        if self.drawn_from is None:
            return n_passes
        config, schedule = self.model.network.config, self.model.schedules["preview"]
        return n_passes + n_passes_of_expected(self.drawn_from, config.n_started, schedule)

    def answer(self, on_pass: Callable[[], None] = lambda: None) -> np.ndarray:
        """
        Return the facies probabilities.

        Parameters
        ----------
        on_pass : callable
            Called before each pass, in any thread; what it raises ends the computation.

        Returns
        -------
        float32 array, shape (n_facies, n_rows, n_cols)
            Certain at hard data.
        """
        model, turns = self.model, self.model.turns
        at_once = self._positions_at_once
        probability = marginal(model.network, self.at, positions_at_once=at_once, turns=turns, on_pass=on_pass)
        if self.drawn_from is not None:
            predictor, schedule = drawing_predictor(model.network, model.device), model.schedules["preview"]
            mean = expected(predictor, self.drawn_from, schedule, turns=turns, on_pass=on_pass)
            is_datum = (self.at.known[self.at.wanted] >= 0).to(mean.dtype)
            probability = torch.lerp(probability, mean, model.expected_share * (1 - is_datum))
        return probability.cpu().numpy()

    @property
    def _positions_at_once(self) -> int:
        """How many positions of the coarsest lattice go through the network together."""
        at, total_stride = self.at, self.model.network.config.total_stride
        n_rows, n_cols = Lattice.at(at.shape, 2**at.level, at.known.new_zeros(1, 2), total_stride).shape
        return batch_size(n_rows * n_cols, at.n_facies, at.known.device)


def facies_probability_from_data(
    model: FaciesModel,
    known: torch.Tensor,
    n_facies: int,
    *,
    on_pass: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """
    Facies probabilities given hard data.

    Parameters
    ----------
    model : FaciesModel
        What predicts.
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere.
    n_facies : int
        Number of facies.
    on_pass : callable
        Called before each pass; what it raises ends the computation.

    Returns
    -------
    float32 array, shape (n_facies, n_rows, n_cols)
        Certain at hard data.
    """
    return Question.of(model, known, n_facies, on_pass).answer(on_pass)
