"""
How a model is asked for the facies probabilities given data: measured on surveys of the held-out block.

It may be asked on the coarsest lattice, or on a finer one. On the coarsest a network sees farthest, and after little
training it knows that best. After a long one a finer lattice, where data lie nearer to the nodes, may serve better.

And it may be asked at once, or after coarse lattices were drawn, on average over many. After little training, or where
only many data together tell of a pattern, a network draws better than it answers at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Tuple

import numpy as np
import torch

from ..contract.training_image import TrainingImage
from ..measures.scores import log_loss_nats
from ..model.facies_model import FaciesModel
from ..sampling.expectation import can_be_expected
from ..sampling.probability import facies_probability_from_data
from .image_examples import survey_windows

_N_SURVEYS, _N_SIMULATED = 12, 8
"""Of them lattices are simulated for so many, as that takes longer."""
_LEAST_ERRORS = 2.0
"""Standard errors over surveys by which another way must be better to be taken."""
_SHARES = 0.5, 0.75, 1.0
"""That are tried."""

_Survey = Tuple[np.ndarray, np.ndarray]
"""A window (n_rows, n_cols), and what is known of it, -1 elsewhere."""


def measure_marginal_level(
    model: FaciesModel, image: TrainingImage, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> int | None:
    """
    Return the level of a lattice on which probabilities are better than on the coarsest one, None if there is none.

    Parameters
    ----------
    model : FaciesModel
        Of the image.
    image : TrainingImage
        The image.
    seed : int
        Of the surveys.
    on_pass : callable
        Called before each pass; what it raises ends the measuring.
    """
    surveys = _surveys(image, seed)

    def losses(level: int) -> np.ndarray:
        of_level = replace(model, marginal_level=level, expected_share=0.0)
        return _losses(_ask(of_level, surveys, on_pass), surveys)

    coarsest = level = model.network.config.n_levels - 1
    of_level = losses(level)
    while level and len(surveys) > 1:
        of_finer = losses(level - 1)
        if not _is_better(of_finer, of_level):
            break
        level, of_level = level - 1, of_finer
    return level if level < coarsest else None


def measure_expected_share(
    model: FaciesModel, image: TrainingImage, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> float:
    """
    Return how much of the probabilities is to be their expectation over coarse lattices that are simulated.

    Parameters
    ----------
    model, image, seed, on_pass
        As `measure_marginal_level` takes them, whose level the model has.

    Returns
    -------
    float
        0 unless another share is better.
    """
    surveys, config = _surveys(image, seed)[:_N_SIMULATED], model.network.config
    if len(surveys) < 2 or not can_be_expected(config.n_levels - 1, config.n_started):
        return 0.0
    at_once, mean = (_ask(replace(model, expected_share=share), surveys, on_pass) for share in (0.0, 1.0))
    of_shares = {}
    for share in _SHARES:
        mixed = [(1 - share) * first + share * second for first, second in zip(at_once, mean)]
        of_shares[share] = _losses(mixed, surveys)
    best = min(_SHARES, key=lambda share: of_shares[share].mean())
    return best if _is_better(of_shares[best], _losses(at_once, surveys)) else 0.0


def _surveys(image: TrainingImage, seed: int) -> list[_Survey]:
    drawn = survey_windows(image.held_out, _N_SURVEYS, np.random.default_rng([seed, 3]))
    return [(window, known) for _, window, known in drawn if ((window >= 0) & (known < 0)).any()]


def _ask(model: FaciesModel, surveys: list[_Survey], on_pass: Callable[[], None]) -> list[np.ndarray]:
    """Return the probabilities (n_facies, n_rows, n_cols) of a model in each survey."""
    n_facies = model.network.config.n_classes
    return [
        facies_probability_from_data(model, torch.as_tensor(known), n_facies, on_pass=on_pass) for _, known in surveys
    ]


def _losses(probabilities: list[np.ndarray], surveys: list[_Survey]) -> np.ndarray:
    """Return the mean log loss of hidden cells, nats, of each survey."""
    losses = []
    for probability, (window, known) in zip(probabilities, surveys):
        hidden = (window >= 0) & (known < 0)
        losses.append(log_loss_nats(probability[:, hidden], window[hidden]).mean())
    return np.array(losses)


def _is_better(of_other: np.ndarray, of_one: np.ndarray) -> bool:
    """Whether the losses of surveys (n,) are less in one way than in another, and by more than chance."""
    gain = of_one - of_other
    return bool(gain.mean() > _LEAST_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))
