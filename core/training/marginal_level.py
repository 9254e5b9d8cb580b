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
from .image_examples import survey_windows

_N_SURVEYS = 12
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
    drawn = survey_windows(image.held_out, _N_SURVEYS, np.random.default_rng([seed, 3]))
    surveys = [(window, known) for _, window, known in drawn if ((window >= 0) & (known < 0)).any()]

    def losses(level: int) -> np.ndarray:
        """Return the mean log loss, nats, of each survey."""
        of_level, found = replace(model, marginal_level=level), []
        for window, known in surveys:
            asked = of_level, torch.as_tensor(known), len(image.facies)
            probability = facies_probability_from_data(*asked, on_pass=on_pass)
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
