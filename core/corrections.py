"""
How often nodes are drawn anew on each level: as often as makes simulated lattices most like the training image's.

To draw nodes anew repairs what was drawn too early, or together. But a network that is not quite right, asked again and
again, draws maps nearer and nearer to what it believes by itself, and what the passes before knew is lost: thin bodies
and rare facies fade. Where the one begins to outweigh the other depends on image and training. So it is measured, level
by level from the coarsest on, on lattices that are simulated no further than that level.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Mapping

import numpy as np
import torch

from .fidelity import Histogram, divergence_bits, pattern_histogram
from .model import FaciesModel
from .path import Schedule
from .precision import drawing_predictor
from .sampler import coarsest_level, sample
from .visits import draw_stream

_FINEST = 2
"""The finest level that is measured: on finer ones they hardly change anything but specks and edges."""
_TRIED = 0, 12, 36, 120
_SIDE_CELLS, _SIDE_NODES = 192, 64
"""Of the lattices that are simulated, at least, where the image is as large: sides in cells, and in nodes."""
_NODES, _FEWEST_MAPS, _MOST_MAPS = 30_000, 4, 16
_STEPS = 1, 2
"""Nodes from one node of a pattern to the next."""
_MOST_PATTERNS = 3**9


def measure_corrections(
    model: FaciesModel, class_index: np.ndarray, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> Mapping[str, Schedule]:
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
    mapping of str to Schedule
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

    def simulated(level: int, side: int, corrections: tuple[int, ...]) -> np.ndarray:
        """Simulate lattices (n_maps, side / 2^level, side / 2^level) of a level."""
        spacing, shape = 2**level, (side, side)
        n_maps = int(np.clip(_NODES * spacing**2 // side**2, _FEWEST_MAPS, _MOST_MAPS))
        streams = [draw_stream(seed, index, shape, turns=model.turns) for index in range(n_maps)]
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
        first = [[-offset % spacing for offset in stream.offset] for stream in streams]
        return np.stack([of_map[row::spacing, col::spacing].numpy() for of_map, (row, col) in zip(maps, first)])

    chosen: tuple[int, ...] = ()  # of the levels from the one that was measured last on
    for level in range(config.n_levels - 2 + config.n_started, _FINEST - 1, -1):
        side = max(_SIDE_CELLS, _SIDE_NODES * 2**level)
        side = min(side, *class_index.shape) // 2**level * 2**level
        if coarsest_level(config, (side, side), 0) + config.n_started <= level:
            continue  # not refined on a grid as small as the image
        wanted = _patterns(_lattices(class_index, level), n_facies)
        unlike = {}
        for n_passes in _TRIED:
            maps = simulated(level, side, (*([0] * level), n_passes, *chosen))
            unlike[n_passes] = sum(map(divergence_bits, _patterns(maps, n_facies), wanted))
        chosen = (min(unlike, key=lambda n_passes: unlike[n_passes]), *chosen)
    return chosen


def _lattices(class_index: np.ndarray, level: int) -> np.ndarray:
    """Return the lattices (n_positions, n_rows, n_cols) of a level in an image, in each of their positions."""
    spacing = 2**level
    n_rows, n_cols = (n // spacing for n in class_index.shape)
    positions = [(row, col) for row in range(spacing) for col in range(spacing)]
    return np.stack([class_index[row::spacing, col::spacing][:n_rows, :n_cols] for row, col in positions])


def _patterns(maps: np.ndarray, n_facies: int) -> list[Histogram]:
    """Return the patterns of maps (n_maps, n_rows, n_cols) at each step; smaller ones where facies are many."""
    side = 3 if n_facies**9 <= _MOST_PATTERNS else 2
    return [pattern_histogram(maps, n_facies, side=side, step=step) for step in _STEPS]
