"""
On which lattice a model is asked for probabilities given the data: the coarsest one, or a finer one.

On the coarsest lattice a network sees farthest, and after little training it knows that best. After a long one a finer
lattice, where data lie nearer to the nodes, may serve better. That is tried on surveys of the held-out block.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

import numpy as np
import torch

from ..contract.training_image import TrainingImage
from ..measures.scores import log_loss_nats
from ..model.facies_model import FaciesModel
from ..sampling.simulation import facies_probability_from_data
from .image_examples import seen_at_random

_N_SURVEYS = 12
_SIDE = 128
"""Of their windows, at most, in cells."""
_SHARES = 0.001, 0.02
"""Of the cells that are surveyed."""
_FEWEST_DATA = 4
_LEAST_ERRORS = 2.0
"""Standard errors over surveys by which a finer lattice must be better to be taken."""


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
    device = next(model.network.parameters()).device
    surveys = _surveys(image, np.random.default_rng([seed, 3]))

    def losses(level: int) -> np.ndarray:
        """Return the mean log loss, nats, of each survey."""
        of_level, found = replace(model, marginal_level=level), []
        for window, known in surveys:
            asked = torch.as_tensor(known, device=device)
            probability = facies_probability_from_data(of_level, asked, len(image.facies), on_pass=on_pass)
            hidden = (window >= 0) & (known < 0)
            found.append(log_loss_nats(probability[:, hidden], window[hidden]).mean())
        return np.array(found)

    coarsest = level = model.network.config.n_levels - 1
    of_level = losses(level)
    while level and len(surveys) > 1:
        of_finer = losses(level - 1)
        gain = of_level - of_finer
        if gain.mean() <= _LEAST_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
            break
        level, of_level = level - 1, of_finer
    return level if level < coarsest else None


def _surveys(image: TrainingImage, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return windows of the held-out block (n_rows, n_cols), and what is known of each after a survey, -1 elsewhere."""
    block, surveys = image.held_out, []
    n_rows, n_cols = (min(_SIDE, side) for side in block.shape)
    low, high = np.log(_SHARES)
    for _ in range(_N_SURVEYS):
        row, col = (int(rng.integers(side - n + 1)) for side, n in zip(block.shape, (n_rows, n_cols)))
        window = block[row : row + n_rows, col : col + n_cols].astype(np.int64)
        n_data = max(_FEWEST_DATA, int(np.exp(rng.uniform(low, high)) * window.size))
        known = seen_at_random(window, n_data, rng)
        if ((window >= 0) & (known < 0)).any():
            surveys.append((window, known))
    return surveys
