"""
How much of each facies a model draws is measured, and brought to what the image has of it.

A network reads what it has drawn. Where it draws a little too few nodes of a facies it finds even fewer of them
probable next, so that a tenth of a logit, which the loss hardly sees, may come to a twentieth of the grid: most of all
after little training, and where nodes are drawn anew again and again. Sequential simulation knows that too, and answers
with a servosystem, which pushes each node by what the realization lacks so far (Strebelle 2002, *Mathematical Geology*
34). Here what is added to the logits is found once, of many realizations: each of them keeps its own proportions, and a
probability stays a function of what is known. It is added where coarse lattices are drawn, as finer ones follow those.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

import numpy as np
import torch

from ..contract.training_image import TrainingImage
from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from ..model.schedule import Schedule
from ..sampling.realizations import simulate_lattices
from ..sampling.start import Start
from ..sampling.visits import draw_stream

_SIDE_NODES, _SIDE_CELLS = 128, 512
"""Of the lattices that are simulated: sides in nodes, and in cells, at most."""
_N_MAPS = 24
_LEAST_SHARE = 1e-4
_LEAST_ERRORS, _LEAST_DIFFERENCE = 2.0, 0.005
"""A share must be off by so many standard errors over maps, and by so much of the nodes."""
_FIRST_STEP, _MOST_LOGITS = 0.5, 1.0
"""Of the logarithm of a ratio of shares, in logits, and at most; how much of it is right the first answer tells."""
_LARGEST_PART = 2.0
"""Of the first step, however little the shares answered; nothing is added if they went the other way."""


def measure_balance(
    model: FaciesModel, image: TrainingImage, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> dict[str, Schedule]:
    """
    Find what the logits of facies lack on the coarsest lattices.

    Parameters
    ----------
    model, image, seed, on_pass
        As `measure_corrections` takes them; the model has its corrections.

    Returns
    -------
    dict of str to Schedule
        The model's schedules with what was found for 'preview' and 'standard', which 'fine' shares; as they are where
        the shares are the image's but for chance.
    """
    found = {q: _balance_of(model, image, model.schedules[q], seed, on_pass) for q in ("standard", "preview")}
    found["fine"] = found["standard"]
    return {quality: replace(schedule, balance=found[quality]) for quality, schedule in model.schedules.items()}


def _balance_of(
    model: FaciesModel, image: TrainingImage, schedule: Schedule, seed: int, on_pass: Callable[[], None]
) -> tuple[tuple[float, ...], ...]:
    """Return the balance of a schedule, of which only the coarsest levels' entry is not empty."""
    level, wanted = model.network.config.n_levels - 1, image.proportions

    def with_logits(logits: np.ndarray) -> Schedule:
        return replace(schedule, balance=((),) * level + (tuple(logits.tolist()),))

    def shares(logits: np.ndarray) -> np.ndarray:
        return _shares_of_maps(model, with_logits(logits), level, seed, on_pass)

    of_maps = shares(np.zeros(len(wanted)))
    found, error = of_maps.mean(axis=0), of_maps.std(axis=0, ddof=1) / np.sqrt(len(of_maps))
    if (np.abs(found - wanted) <= np.maximum(_LEAST_ERRORS * error, _LEAST_DIFFERENCE)).all():
        return ()
    first = np.clip(_FIRST_STEP * np.log(wanted / np.maximum(found, _LEAST_SHARE)), -_MOST_LOGITS, _MOST_LOGITS)
    answer = shares(first).mean(axis=0) - found  # the same streams: chance has little part in the difference
    towards = answer @ (wanted - found)
    if towards <= 0:
        return ()
    part = min(towards / (answer @ answer), _LARGEST_PART)
    return with_logits((part * first).round(4)).balance


def _shares_of_maps(
    model: FaciesModel, schedule: Schedule, level: int, seed: int, on_pass: Callable[[], None]
) -> np.ndarray:
    """Return the share of each facies on the nodes of a level of each map, shape (n_maps, n_facies)."""
    side, n_facies = min(_SIDE_NODES * 2**level, _SIDE_CELLS), model.network.config.n_classes
    start = Start.of(model, torch.full((side, side), -1, device=model.device), n_facies)
    streams = [draw_stream(seed, index, start.shape, turns=model.turns) for index in range(_N_MAPS)]
    predictor = drawing_predictor(model.network, model.device)
    maps = simulate_lattices(predictor, start, streams, schedule, until=level, on_pass=on_pass)
    counts = torch.stack([(maps == facies).sum(dim=(1, 2)) for facies in range(n_facies)], dim=1).cpu().numpy()
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))
