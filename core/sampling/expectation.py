"""
The facies probabilities as the sampler has them: their expectation over coarse lattices that it simulates.

`marginal` asks a network once. Patterns that data tell only together are hard to answer at once, and a network that has
not learnt long draws them better than it answers. Then what it says of a map whose coarse nodes are drawn, on average
over many such maps, is nearer to the truth. Counting fewer nodes, and asking instead of drawing those between, leaves
less of it to chance (Rao-Blackwell; Casella and Robert 1996, *Biometrika* 83).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..machine.device import batch_size, batches_at_once, side_by_side
from ..model.lattice import Lattice
from ..model.prediction import Predictor, look_around, predict
from ..model.schedule import Leg, Schedule, legs
from .marginal import interpolate
from .sampler import lattice_of, sample
from .start import Start
from .visits import Stream, draw_stream

_SEED = 0
"""Probabilities are a function of the data: they do not change with the seed of realizations."""
_MOST_LATTICES, _FEWEST_LATTICES, _CELLS_AT_MOST = 24, 12, 24 * 500**2
"""How many maps the mean is taken of: the most as long as they have no more cells than that, fewer on larger grids."""
_N_DRAWN = 2
"""Legs of the simulation that are drawn; on the next one the network is asked."""


def can_be_expected(level: int, n_started: int) -> bool:
    """Whether a simulation from a level has legs enough."""
    return len(legs(level, n_started)) > _N_DRAWN


def n_passes_of_expected(start: Start, n_started: int, schedule: Schedule) -> int:
    """Return how often `expected` calls `on_pass`."""
    until = legs(start.level, n_started)[_N_DRAWN - 1].drawn
    of_map = schedule.n_passes(start.level, n_started, until) + 1
    return of_map * len(range(0, _n_lattices(start), _at_once(start, n_started)))


@torch.inference_mode()
def expected(
    predictor: Predictor,
    start: Start,
    schedule: Schedule,
    *,
    turns: Sequence[int] = (0,),
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Return the facies probabilities given the hard data, as the mean over simulated lattices.

    Parameters
    ----------
    predictor, schedule
        As `sampler.sample` takes them.
    start : Start
        Of realizations; `can_be_expected` says whether its level is high enough.
    turns : sequence of int
        Of the realizations, as `draw_stream` takes them.
    on_pass : callable
        Called before each pass, in any thread; what it raises ends the computation.

    Returns
    -------
    float32 Tensor, shape (n_facies, n_rows, n_cols)
        Of what is wanted, between nodes interpolated.
    """
    n_started, device = predictor.config.n_started, start.known.device
    *_, last, leg = legs(start.level, n_started)[: _N_DRAWN + 1]
    all_of_it, n_lattices, at_once = replace(start, asked=None), _n_lattices(start), _at_once(start, n_started)

    @torch.inference_mode()
    def of_batch(first: int) -> Tensor:
        """Return the sum of the probabilities of a batch."""
        numbers = range(first, min(first + at_once, n_lattices))
        streams = [draw_stream(_SEED, number, start.shape, turns=turns) for number in numbers]
        maps = sample(predictor, all_of_it, streams, schedule, until=last.drawn, on_pass=on_pass)
        on_pass()
        return _ask(predictor, all_of_it, streams, maps, leg)

    firsts = range(0, n_lattices, at_once)
    n_workers = batches_at_once(at_once * (start.known.numel() >> 2 * leg.seen), start.n_facies, device)
    total = torch.zeros(start.n_facies, *start.shape, device=device)
    for part in side_by_side(of_batch, firsts, n_workers):
        total += part
    return total[:, start.wanted[0], start.wanted[1]] / n_lattices


def _ask(predictor: Predictor, start: Start, streams: list[Stream], maps: Tensor, leg: Leg) -> Tensor:
    """Return the sum over maps, whose coarser nodes are known, of the probabilities (n_facies, n_rows, n_cols)."""
    turns = [stream.turns for stream in streams]
    lattice = lattice_of(leg, predictor, start, streams)
    class_index, on_grid = lattice.gather(maps)
    told = on_grid, lattice.hard_data(start.known), start.n_facies
    context = look_around(predictor, class_index, *told, level=leg.seen, turns=turns)
    logits = predict(predictor, class_index, *told, level=leg.seen, context=context, turns=turns)
    probability = logits.float().softmax(dim=1)
    known = F.one_hot(class_index.clamp_min(0), start.n_facies).permute(0, 3, 1, 2).to(probability.dtype)
    probability = torch.where((class_index >= 0)[:, None], known, probability)
    return torch.stack([_on_grid(lattice, of_map, index) for index, of_map in enumerate(probability)]).sum(dim=0)


def _on_grid(lattice: Lattice, values: Tensor, index: int) -> Tensor:
    """Return values (n, n_rows, n_cols) at the nodes of a map of a lattice, interpolated to all cells of the grid."""
    first, margin = lattice.offset[index].tolist(), lattice.margin[index].tolist()
    n_rows, n_cols = (-(-(n - start) // lattice.spacing) for n, start in zip(lattice.grid_shape, first))
    values = values[:, margin[0] : margin[0] + n_rows, margin[1] : margin[1] + n_cols]
    return interpolate(values, lattice.spacing, lattice.grid_shape, first=(first[0], first[1]))


def _n_lattices(start: Start) -> int:
    return min(_MOST_LATTICES, max(_FEWEST_LATTICES, _CELLS_AT_MOST // start.known.numel()))


def _at_once(start: Start, n_started: int) -> int:
    """Return how many maps go through the network together."""
    leg = legs(start.level, n_started)[_N_DRAWN]
    return batch_size(max(1, start.known.numel() >> 2 * leg.seen), start.n_facies, start.known.device)
