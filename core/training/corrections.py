"""
How often nodes are drawn anew on each level: as often as does least harm.

To draw nodes anew repairs what was drawn too early, or together. But a network that is not quite right, asked again and
again, draws maps nearer and nearer to what it believes by itself, and what the passes before knew is lost: thin bodies
and rare facies fade, or spread, bodies grow longer, and what data far away tell is forgotten. How soon that shows
depends on image and training. So it is measured, level by level from the coarsest on, on lattices that are simulated no
further than that level: by the facies' shares, by how alike nodes are at some lags, by what hangs together, and by what
is drawn between data of the held-out block.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
import torch

from ..contract.training_image import TrainingImage
from ..measures.fidelity import Statistics, connectivity_misfit, measure
from ..measures.places import cut, draw_places
from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from ..model.schedule import Schedule
from ..sampling.realizations import simulate_anew
from ..sampling.start import Start
from ..sampling.visits import Stream, draw_stream
from .image_examples import seen_at_random

_FINEST = 2
"""The finest level that is measured: on finer ones nodes drawn anew change specks and edges, hardly shares."""
_TRIED = (3, 12, 36), (3, 12, 36, 120)
"""Passes that are tried on that level, and on all coarser ones, where they cost little. Never none: then boundaries lie
rather between the nodes of the coarser lattice than near them, which no measure here sees."""
_SIDE_NODES, _SIDE_CELLS = 64, 512
"""Of the lattices that are simulated: sides in nodes, and at most in cells."""
_N_MAPS = 16
_LATTICES_OF_IMAGE = 32
"""With so many these are compared."""
_NODES_PER_DATUM = (5, 15, 40) * 2
"""Of the coarsest lattice, in surveys of the held-out block: one for each."""
_N_MAPS_GIVEN_DATA = 8
_SHARE_THAT_MATTERS, _UNLIKE_THAT_MATTERS, _CONNECTED_THAT_MATTERS, _LOSS_THAT_MATTERS = 0.05, 0.1, 0.02, 0.05
"""As bad as each other are so much of a facies' share too few or too many, such a part of the unlike pairs of nodes, of
the pairs of a facies that lie in one body, and of the log loss given data."""
_NODES_OF_CHANCE = 500
"""Of fewer hidden nodes chance makes more of the loss, which matters less."""
_AS_GOOD = 0.2
"""So much more of such harm is as good: the fewest passes are taken then."""
_LEAST_UNLIKE, _LEAST_LOSS = 1e-3, 1e-3


def measure_corrections(
    model: FaciesModel, image: TrainingImage, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> dict[str, Schedule]:
    """
    Choose how many passes draw the nodes of each level anew.

    Parameters
    ----------
    model : FaciesModel
        Of a training image; its schedules are those of `measured_schedules`.
    image : TrainingImage
        The image.
    seed : int
        Of the lattices that are simulated.
    on_pass : callable
        Called before each pass; what it raises ends the measuring.

    Returns
    -------
    dict of str to Schedule
        The model's schedules with these corrections: those of 'standard' were measured, 'fine' has the same and
        'preview' a third.
    """
    config, lattices = model.network.config, _Lattices(model, image, seed, on_pass)
    coarse: tuple[int, ...] = ()  # of the levels from the one that was measured last on
    for level in range(config.n_levels - 2 + config.n_started, _FINEST - 1, -1):
        coarse = (_fewest_that_are_harmless(lattices.measure(level, _TRIED[level > _FINEST], coarse)), *coarse)
    schedules = {}
    for quality, schedule in model.schedules.items():
        share = 3 if quality == "preview" else 1
        corrections = (*schedule.corrections[:_FINEST], *(n_passes // share for n_passes in coarse))
        schedules[quality] = replace(schedule, corrections=corrections) if coarse else schedule
    return schedules


class _Found(NamedTuple):
    """
    What is wrong with lattices.

    Parameters
    ----------
    harm : float
        To shares, to what is alike and to what hangs together.
    loss_nats : array, shape (n_hidden,)
        Log loss given data, of hidden nodes of the held-out block.
    """

    harm: float
    loss_nats: np.ndarray


class _Lattices:
    """Simulates lattices, and tells how far from the image they are."""

    def __init__(self, model: FaciesModel, image: TrainingImage, seed: int, on_pass: Callable[[], None]):
        self.model, self.image, self.seed, self.on_pass = model, image, seed, on_pass
        self.predictor = drawing_predictor(model.network, model.device)
        self.block = image.held_out[:_SIDE_CELLS, :_SIDE_CELLS]
        rng, n_nodes = np.random.default_rng([seed, 1]), self.block.size // 4 ** (model.network.config.n_levels - 1)
        self.surveys = [self._start(seen_at_random(self.block, n_nodes // share, rng)) for share in _NODES_PER_DATUM]

    def measure(self, level: int, tried: Sequence[int], coarser: tuple[int, ...]) -> dict[int, _Found]:
        """Return what is wrong with lattices of a level after each number of passes that draw them anew."""
        side = min(_SIDE_NODES * 2**level, _SIDE_CELLS)
        start, of_image = self._start(np.full((side, side), -1)), self._of_image(side, 2**level)
        streams = [self._stream(index, start) for index in range(_N_MAPS)]
        wanted, harms = measure(of_image, start.n_facies, most_side=1), []
        for maps in self._simulate(start, streams, level, tried, coarser):
            maps = maps[:, : of_image.shape[1], : of_image.shape[2]]
            maps = np.where(of_image[:_N_MAPS] >= 0, maps, -1)  # with the same holes
            harms.append(self._harm(measure(maps, start.n_facies, most_side=1), wanted))
        losses = self._losses_given_data(level, tried, coarser)
        return {n: _Found(harm, loss) for n, harm, loss in zip(tried, harms, losses)}

    def _harm(self, found: Statistics, wanted: Statistics) -> float:
        """Return how bad it is that statistics of lattices are not those of the image's."""
        return float(
            np.abs(found.proportions.mean(axis=0) - self.image.proportions).max() / _SHARE_THAT_MATTERS
            + _unlike(found, wanted) / _UNLIKE_THAT_MATTERS
            + np.nan_to_num(connectivity_misfit(found, wanted)) / _CONNECTED_THAT_MATTERS
        )

    def _start(self, known: np.ndarray) -> Start:
        return Start.of(self.model, torch.as_tensor(known, device=self.model.device), len(self.image.facies))

    def _stream(self, number: int, start: Start) -> Stream:
        return draw_stream(self.seed, number, start.shape, turns=self.model.turns)

    def _simulate(
        self, start: Start, streams: list[Stream], level: int, tried: Sequence[int], coarser: tuple[int, ...]
    ) -> Iterator[np.ndarray]:
        """Yield the nodes of lattices, shape (n_maps, n_rows, n_cols), after each number of passes; -1 off the grid."""
        corrections = (*([0] * level), max(tried), *coarser)
        schedule = replace(self.model.schedules["standard"], corrections=corrections)
        asked = self.predictor, start, streams, schedule, tried
        for maps in simulate_anew(*asked, until=level, on_pass=self.on_pass).cpu().numpy():
            yield _nodes_of(maps, start, streams, 2**level)

    def _losses_given_data(self, level: int, tried: Sequence[int], coarser: tuple[int, ...]) -> list[np.ndarray]:
        """
        Return the log loss of the frequencies of facies, nats, after each number of passes.

        It is that at nodes of the held-out block that were not surveyed, shape (n_hidden,).
        """
        losses: list[list[np.ndarray]] = [[] for _ in tried]
        for number, start in enumerate(self.surveys, 1):
            streams = [self._stream(number * _N_MAPS + index, start) for index in range(_N_MAPS_GIVEN_DATA)]
            streams = [replace(s, offset=streams[0].offset, rank=streams[0].rank) for s in streams]  # the same nodes
            known = start.known[start.wanted].cpu().numpy()
            truth, data = (_nodes_of(of_grid[None], start, streams, 2**level)[0] for of_grid in (self.block, known))
            for found, maps in zip(losses, self._simulate(start, streams, level, tried, coarser)):
                frequency = ((maps == truth).sum(axis=0) + 0.5) / (len(maps) + 0.5 * start.n_facies)
                found.append(-np.log(frequency[(truth >= 0) & (data < 0)]))
        return [np.concatenate(found) if any(map(len, found)) else np.zeros(1) for found in losses]

    def _of_image(self, side: int, spacing: int) -> np.ndarray:
        """Return lattices of pieces of the image, up to so many cells wide, shape (n_lattices, n_rows, n_cols)."""
        rng, cells = np.random.default_rng([self.seed, 2]), self.image.class_index
        n_rows, n_cols = (min(side, n) // spacing * spacing for n in cells.shape)
        places = draw_places(cells, (n_rows, n_cols), _LATTICES_OF_IMAGE, rng)
        return np.stack([cut(cells, place, (n_rows, n_cols))[::spacing, ::spacing] for place in places])


def _unlike(found: Statistics, wanted: Statistics) -> float:
    """Return by which part the share of unlike pairs of nodes is off: root mean square of its logarithm over lags."""
    of_found, of_wanted = (np.maximum(of.variogram.sum(axis=0), _LEAST_UNLIKE) for of in (found, wanted))
    square = np.log(of_found / of_wanted) ** 2
    return float(np.sqrt(square[np.isfinite(square)].mean())) if np.isfinite(square).any() else 0.0


def _nodes_of(maps: np.ndarray, start: Start, streams: list[Stream], spacing: int) -> np.ndarray:
    """Return what is at the nodes of a lattice of each stream, shape (n_maps, n_rows, n_cols); -1 beyond the grid."""
    n_rows, n_cols = (-(-n // spacing) for n in maps.shape[1:])
    padded = np.pad(maps, ((0, 0), (0, spacing), (0, spacing)), constant_values=-1)
    nodes = []
    for of_map, stream in zip(padded, streams):
        row, col = (-(first + span.start) % spacing for first, span in zip(stream.offset, start.wanted))
        nodes.append(of_map[row::spacing, col::spacing][:n_rows, :n_cols])
    return np.stack(nodes)


def _fewest_that_are_harmless(tried: Mapping[int, _Found]) -> int:
    """Return the fewest passes that do about as little harm as can be."""
    least = max(_LEAST_LOSS, min(found.loss_nats.mean() for found in tried.values()))
    n_nodes = len(next(iter(tried.values())).loss_nats)
    matters = _LOSS_THAT_MATTERS * np.sqrt(1 + _NODES_OF_CHANCE / n_nodes)
    harm = {n: found.harm + (found.loss_nats.mean() / least - 1) / matters for n, found in tried.items()}
    return min(n for n, of_passes in harm.items() if of_passes <= min(harm.values()) + _AS_GOOD)
