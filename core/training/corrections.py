"""
How often nodes are drawn anew on each level: as often as leaves the facies' shares what they are in the training image.

To draw nodes anew repairs what was drawn too early, or together. But a network that is not quite right, asked again and
again, draws maps nearer and nearer to what it believes by itself, and what the passes before knew is lost: thin bodies
and rare facies fade, or spread. How soon that shows depends on image and training. So it is measured, level by level
from the coarsest on, on lattices that are simulated no further than that level. Where shares
are wrong whatever is chosen, they shall be no worse for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Mapping

import numpy as np
import torch

from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from ..model.schedule import Schedule
from ..sampling.sampler import sample
from ..sampling.start import coarsest_level
from ..sampling.visits import Stream, draw_stream

_FINEST = 2
"""The finest level that is measured: on finer ones nodes drawn anew change specks and edges, hardly shares."""
_TRIED = (0, 12, 36), (0, 12, 36, 120)
"""Passes that are tried on that level, and on all coarser ones, where they cost little."""
_SIDE_NODES, _SIDE_CELLS = 64, 512
"""Of the lattices that are simulated: sides in nodes, and at most in cells."""
_N_MAPS = 16
_MOST_ERRORS = 2.5
"""Standard errors by which the mean share of a facies may differ from the image's."""
_MORE_ERRORS = 1.0
"""By so many more than with the number that leaves it nearest it may differ where all are wrong, as after images too
small to be known well: there, too, nodes drawn anew mend what hangs together."""


def measure_corrections(
    model: FaciesModel, class_index: np.ndarray, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> dict[str, Schedule]:
    """
    Choose how many passes draw the nodes of each level anew.

    Parameters
    ----------
    model : FaciesModel
        Of a training image; its schedules are those of `measured_schedules`.
    class_index : int array, shape (n_rows, n_cols)
        The image; -1 where it has no facies.
    seed : int
        Of the lattices that are simulated.
    on_pass : callable
        Called before each pass; what it raises ends the measuring.

    Returns
    -------
    dict of str to Schedule
        The model's schedules with these corrections: those of 'standard' were measured, 'fine' has the same and
        'preview' a third. Of levels that a grid as small as the image does not have nothing is measured, and those on
        the coarsest one that it has stand for them.
    """
    coarse = _measured(model, class_index, seed, on_pass)
    schedules = {}
    for quality, schedule in model.schedules.items():
        share = 3 if quality == "preview" else 1
        corrections = (*schedule.corrections[:_FINEST], *(n_passes // share for n_passes in coarse))
        schedules[quality] = replace(schedule, corrections=corrections) if coarse else schedule
    return schedules


def _measured(model: FaciesModel, class_index: np.ndarray, seed: int, on_pass: Callable[[], None]) -> tuple[int, ...]:
    """Return the number of passes of each level from `_FINEST` on, as far as the image can tell of them."""
    config, n_facies = model.network.config, len(model.facies or ())
    device = next(model.network.parameters()).device
    predictor = drawing_predictor(model.network, device)
    wanted = np.bincount(class_index[class_index >= 0], minlength=n_facies) / (class_index >= 0).sum()

    def off(streams: list[Stream], level: int, corrections: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return by how much each facies' share on lattices of a level is off the image's, and its standard error."""
        shape = (len(streams[0].rank),) * 2
        maps = sample(
            predictor,
            torch.full(shape, -1, device=device),
            torch.ones(shape, dtype=torch.bool, device=device),
            streams,
            n_facies=n_facies,
            schedule=replace(model.schedules["standard"], corrections=corrections),
            level=coarsest_level(config, shape, 0),
            until=level,
            on_pass=on_pass,
        ).cpu()
        counts = np.stack([(maps == facies).sum(dim=(1, 2)).numpy() for facies in range(n_facies)], axis=1)
        shares = counts / counts.sum(axis=1, keepdims=True)  # (n_maps, n_facies)
        error = np.maximum(shares.std(axis=0, ddof=1) / np.sqrt(_N_MAPS), 1e-6)
        return np.abs(shares.mean(axis=0) - wanted), error

    chosen: tuple[int, ...] = ()  # of the levels from the one that was measured last on
    for level in range(config.n_levels - 2 + config.n_started, _FINEST - 1, -1):
        side = min(_SIDE_NODES * 2**level, _SIDE_CELLS, *class_index.shape) // 2**level * 2**level
        if coarsest_level(config, (side, side), 0) + config.n_started <= level:
            continue  # not refined on a grid as small as the image
        streams = [draw_stream(seed, index, (side, side), turns=model.turns) for index in range(_N_MAPS)]
        tried = {n: off(streams, level, (*([0] * level), n, *chosen)) for n in _TRIED[level > _FINEST]}
        chosen = (_most_that_are_harmless(tried), *chosen)
    return chosen


def _most_that_are_harmless(tried: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> int:
    """Return the largest number of passes that leaves shares right, or, if none does, as wrong as the best one."""
    right = [n_passes for n_passes, (off, error) in tried.items() if (off <= _MOST_ERRORS * error).all()]
    if right:
        return max(right)
    nearest, error = min(tried.values(), key=lambda found: float(found[0].max()))
    limit = nearest.max() + _MORE_ERRORS * error[nearest.argmax()]
    return max(n_passes for n_passes, (off, _) in tried.items() if off.max() <= limit)
