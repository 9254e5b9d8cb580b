"""The marginal: the facies probabilities given the hard data alone, on the lattice that the network sees first."""

from __future__ import annotations

from functools import partial
from typing import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kriging.kriging_features import KrigingFeatures, SurveyKriging
from ..machine.device import batches_at_once, side_by_side
from ..model.lattice import Lattice
from ..model.prediction import Predictor, predict
from .start import Start

_PLACES_PER_SPACING = 4
"""Places from node to node of the coarsest lattice at which the marginal is asked; between them it is interpolated."""


def marginal_offsets(level: int) -> list[tuple[int, int]]:
    """
    Return the positions of the coarsest lattice that `marginal` goes through; their number has a bound.

    Four in a row have the same nodes, which the network folds together otherwise in each of them.
    """
    step, spacing = _step_of(level), 2**level
    ticks, shifts = range(step // 2, spacing, step), (0, spacing)
    return [(row + down, col + right) for row in ticks for col in ticks for down in shifts for right in shifts]


def marginal_batches(
    level: int, positions_at_once: int, turns: Sequence[int]
) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return the batches of `marginal`: quarter turns, which all of a batch share, and positions of the lattice."""
    offsets, batches = marginal_offsets(level), []
    for turn in sorted(set(turns)):
        of_turn = [offset for index, offset in enumerate(offsets) if turns[index % len(turns)] == turn]
        for start in range(0, len(of_turn), positions_at_once):
            batches.append((turn, of_turn[start : start + positions_at_once]))
    return batches


def _step_of(level: int) -> int:
    """Return how many cells lie between places at which `marginal` asks the network."""
    return max(1, 2**level // _PLACES_PER_SPACING)


@torch.inference_mode()
def marginal(
    predictor: Predictor,
    start: Start,
    *,
    positions_at_once: int,
    turns: Sequence[int] = (0,),
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Return the facies probabilities given the hard data: what the network says first, for every place of its lattice.

    That lattice is laid in all its positions, and in each with all four foldings of its nodes, which are
    averaged as they are over an ensemble. Where its nodes are many cells apart, four places from node to node are
    asked and what lies between is interpolated, so that the cost has a bound at any size of the grid.

    Parameters
    ----------
    predictor : Predictor
        Network that gives facies logits from known cells.
    start : Start
        Grid and hard data, and the level of that lattice.
    positions_at_once : int
        Positions that go through the network together.
    turns : sequence of int
        Quarter turns by which the foldings are shown to the network turned, one after the other: four numbers, two or
        one.
    on_pass : callable
        Called before each of `marginal_batches`, in any thread; what it raises ends the computation.

    Returns
    -------
    float32 Tensor, shape (n_facies, n_rows, n_cols)
        Of what is wanted; certain at hard data.
    """
    known, n_facies, level = start.known, start.n_facies, start.level
    step = _step_of(level)
    ticks = [torch.arange(step // 2, n, step, device=known.device) for n in known.shape]
    asked = torch.cartesian_prod(*ticks)  # (n_places, 2)
    n_nodes = positions_at_once * known.numel() // 4**level
    n_workers = batches_at_once(n_nodes, n_facies, known.device)
    told = None if start.survey is None else _told(start.survey, asked.float(), 2**level, n_workers)

    @torch.inference_mode()
    def ask(batch: tuple[int, list[tuple[int, int]]]) -> tuple[Tensor, Tensor]:
        """Return places (n,), those that are nodes of a batch, and the probabilities there (n_facies, n)."""
        turn, chosen = batch
        on_pass()
        lattice = Lattice.through(start.shape, 2**level, chosen, predictor.config.total_stride, known.device)
        class_index, on_grid = lattice.gather(known.expand(len(chosen), -1, -1))
        row, col, _ = lattice.cells()
        place = row // step * len(ticks[1]) + col // step
        place = place.clamp_max(len(asked) - 1)  # beyond the grid, where nothing counts
        features = None if told is None else _features_at(told, place, on_grid)
        inputs = (class_index, on_grid, lattice.hard_data(known), n_facies)
        logits = predict(predictor, *inputs, level=level, features=features, turns=[turn] * len(chosen))
        return place[on_grid], logits.float().softmax(dim=1).permute(1, 0, 2, 3)[:, on_grid]

    probability = torch.zeros(n_facies, len(asked), device=known.device)
    for place, predicted in side_by_side(ask, marginal_batches(level, positions_at_once, turns), n_workers):
        probability.index_add_(1, place, predicted / 4)  # each place is a node in four of the positions
    row, col = (known >= 0).nonzero(as_tuple=True)
    has_datum = torch.zeros(len(ticks[0]), len(ticks[1]), device=known.device)
    has_datum[(row // step).clamp_max(len(ticks[0]) - 1), (col // step).clamp_max(len(ticks[1]) - 1)] = 1
    probability = _smooth_far_from_data(probability.view(n_facies, *has_datum.shape), has_datum, 2**level // step)
    probability = interpolate(probability, step, known.shape, first=(step // 2, step // 2))
    probability[:, row, col] = 0
    probability[known[row, col], row, col] = 1
    return probability[:, start.wanted[0], start.wanted[1]]


def _told(survey: SurveyKriging, place: Tensor, spacing: int, n_workers: int) -> tuple[Tensor, Tensor]:
    """Return what `survey.at` does, of parts of the places (n, 2) in a thread each."""
    at = torch.inference_mode()(partial(survey.at, spacing=spacing))
    of_facies, of_place = zip(*side_by_side(at, place.chunk(n_workers), n_workers))
    return torch.cat(of_facies, dim=-1), torch.cat(of_place, dim=-1)


def _features_at(told: tuple[Tensor, Tensor], place: Tensor, on_grid: Tensor) -> KrigingFeatures:
    """Return the features of nodes (batch, n_rows, n_cols) that are among the places of which they were computed."""
    of_facies, of_place = (values[..., place] * on_grid for values in told)
    return KrigingFeatures(of_facies.permute(2, 0, 1, 3, 4), of_place.permute(1, 0, 2, 3))


def interpolate(values: Tensor, step: int, shape: Sequence[int], *, first: tuple[int, int]) -> Tensor:
    """
    Interpolate values of every `step`-th cell to all cells, linearly.

    Parameters
    ----------
    values : Tensor, shape (n, n_asked_rows, n_asked_cols)
        Values of these cells.
    step : int
        Cells from one to the next.
    shape : (int, int)
        Rows and columns of the grid.
    first : (int, int)
        Row and column of the first one.
    """
    if step == 1:
        return values
    for axis in (0, 1):
        position = (torch.arange(shape[axis], device=values.device) - first[axis]) / step
        position = position.clamp(0, values.shape[1 + axis] - 1)
        below = position.long().clamp_max(max(0, values.shape[1 + axis] - 2))
        share = (position - below).view(-1, 1) if axis == 0 else position - below
        above = (below + 1).clamp_max(values.shape[1 + axis] - 1)
        values = torch.lerp(values.index_select(1 + axis, below), values.index_select(1 + axis, above), share)
    return values


def _smooth_far_from_data(probability: Tensor, has_datum: Tensor, spacing: int) -> Tensor:
    """
    Return probabilities (n_facies, n_rows, n_cols) at places that are smoothed where no datum is near.

    There the truth is smooth, but places that are nodes of different positions of the lattice are answered a little
    differently, which shows as a texture of its spacing, here in places. Within that of a datum, where `has_datum`
    (n_rows, n_cols) is 1, nothing changes.
    """
    if spacing == 1:
        return probability
    side = 2 * spacing + 1
    near = F.max_pool2d(has_datum[None], 2 * side - 1, 1, side - 1)  # within twice the spacing
    near = F.avg_pool2d(near, side, 1, spacing, count_include_pad=False)[0]
    places = torch.arange(-side, side + 1, device=near.device) / (spacing / 2)
    kernel = torch.exp(-0.5 * places**2)
    smoothed = torch.cat([probability, torch.ones_like(probability[:1])])[:, None]
    for of_axis in (kernel.view(1, 1, -1, 1), kernel.view(1, 1, 1, -1)):
        smoothed = F.conv2d(smoothed, of_axis, padding="same")
    return torch.lerp(smoothed[:-1, 0] / smoothed[-1], probability, near)
