"""
The sampler: positions first, then values at temperature 1.

A realization is simulated coarse to fine on nested lattices. Which cells are visited together is decided by the path
alone, before anything is predicted; their facies are then drawn from the predicted probabilities as they are. Choosing
cells by the network's confidence would sharpen the distribution (arXiv 2510.04525).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Callable, Iterator, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from .kriging_features import KrigingFeatures, SurveyKriging
from .lattice import Lattice
from .network import NetworkConfig
from .path import Schedule, dispersed_rank
from .prediction import Predictor, look_around, predict

_FEWEST_NODES = 576
"""Nodes that the coarsest lattice has at least, where the grid has as many."""
_NODES_PER_DATUM = 1
"""And at least so many for each datum."""
_ROUND = 12
"""Passes that draw nodes anew while a quarter of them stays as it is."""
_PLACES_PER_SPACING = 8
"""Places from node to node of the coarsest lattice at which the marginal is asked; between them it is interpolated."""


class Visit(NamedTuple):
    """
    Cells that are simulated together.

    Fields are tensors of shape (n_cells,): map in the batch, row, column, and a number in [0, 1) that decides.
    """

    batch: Tensor
    row: Tensor
    col: Tensor
    uniform: Tensor


Choose = Callable[[Tensor, Visit], Tensor]
"""Facies probabilities (n_cells, n_facies) of the cells of a pass, and the pass, to their class indices."""
_Cells = Tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Stream:
    """
    All randomness of one realization, fixed before anything is simulated.

    Parameters
    ----------
    offset : (int, int)
        Places the coarsest lattice.
    rank : int64 array, shape (n_rows, n_cols)
        The simulation path, coarse to fine.
    uniform : float32 array, shape (n_rows, n_cols)
        One number in [0, 1) per cell, which decides its facies.
    later : SeedSequence
        Of what is drawn anew.
    turns : int
        Quarter turns by which the network is shown the map turned, 0 … 3.
    """

    offset: tuple[int, int]
    rank: np.ndarray
    uniform: np.ndarray
    later: np.random.SeedSequence
    turns: int = 0


def draw_stream(seed: int, realization: int, shape: tuple[int, int], *, turns: Sequence[int] = (0,)) -> Stream:
    """
    Return the stream of a realization: a function of seed, index and shape only, not of how many there are.

    Realizations are shown to the network turned by the numbers of quarter turns in `turns`, four alike after another:
    those of a batch that differ go through it apart.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(realization,)))
    offset = (int(rng.integers(2**16)), int(rng.integers(2**16)))
    rank, uniform = dispersed_rank(shape, rng, offset=offset), rng.random(shape, dtype=np.float32)
    later = np.random.SeedSequence(seed, spawn_key=(realization, 1))
    return Stream(offset, rank, uniform, later, turns[realization // 4 % len(turns)])


def coarsest_level(config: NetworkConfig, shape: tuple[int, int], n_data: int) -> int:
    """
    Return the level to start from: spacing 2^level.

    As coarse as possible, so that the network sees far, but with nodes enough to tell the data apart, and, of a network
    that knows its facies one by one, no coarser than it has learnt.

    Parameters
    ----------
    config : NetworkConfig
        The network's.
    shape : (int, int)
        Rows and columns of the grid.
    n_data : int
        Number of hard data.
    """
    n_nodes = max(_FEWEST_NODES, _NODES_PER_DATUM * n_data)
    most = config.n_levels - 1 if config.n_classes else max(shape)
    level = 0
    while level < most and shape[0] * shape[1] >= n_nodes * 4 ** (level + 1) and min(shape) >= 2 ** (level + 2):
        level += 1
    return level


@torch.inference_mode()
def sample(
    predictor: Predictor,
    known: Tensor,
    inside: Tensor,
    streams: list[Stream],
    *,
    n_facies: int,
    schedule: Schedule,
    level: int,
    survey: SurveyKriging | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Simulate a batch of realizations.

    Parameters
    ----------
    predictor : Predictor
        Network that gives facies logits from known cells.
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere. They are never resampled.
    inside : bool Tensor, shape (n_rows, n_cols)
        Cells to simulate; the others stay -1.
    streams : list of Stream
        One per realization.
    n_facies : int
        Number of facies.
    schedule : Schedule
        Passes per level.
    level : int
        Level of the coarsest lattice, from `coarsest_level`.
    survey : SurveyKriging, optional
        What kriging reads from the hard data, from `read_survey`; told to the network on the coarsest lattice.
    on_pass : callable
        Called before each pass; what it raises ends the simulation.

    Returns
    -------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index, -1 outside.
    """

    def draw(probability: Tensor, visited: Visit) -> Tensor:
        return draw_facies(probability, visited.uniform)

    return visit(
        predictor,
        known,
        inside,
        streams,
        draw,
        n_facies=n_facies,
        schedule=schedule,
        level=level,
        survey=survey,
        on_pass=on_pass,
    )


def visit(
    predictor: Predictor,
    known: Tensor,
    inside: Tensor,
    streams: list[Stream],
    choose: Choose,
    *,
    n_facies: int,
    schedule: Schedule,
    level: int,
    survey: SurveyKriging | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Visit the cells of a batch of maps as the sampler does, and let someone choose their facies.

    Parameters
    ----------
    choose : callable
        Given the facies probabilities (n_cells, n_facies) of the cells of a pass, and the pass, returns their class
        indices (n_cells,).
    predictor, known, inside, streams, n_facies, schedule, level, survey, on_pass
        As `sample` takes them, and with its result.
    """
    maps = known.expand(len(streams), -1, -1).clone()
    turns = [stream.turns for stream in streams]
    started = level + predictor.config.n_started
    for drawn in range(started, -1, -1):
        # The network sees the lattice of its level also while it draws only some of the nodes.
        seen, refines = (level, False) if drawn == started else (drawn, True)
        lattice = lattice_of(predictor, known.shape, 2**seen, [s.offset for s in streams], known.device)
        told = (lattice.gather(maps)[1], lattice.attach(*hard_data(known, len(streams))), n_facies)
        has_features = survey is not None and not refines
        features = lattice.kriging_features([survey] * len(streams), n_facies) if has_features else None
        ask, context = partial(predict, predictor, level=seen, features=features, turns=turns), None
        split = partial(schedule.split, level=drawn, is_coarsest=not refines)
        first = passes(maps, inside, lattice, streams, split, spacing=2**drawn)
        again = corrections(known, inside, lattice, streams, schedule.n_corrections(seen) if seen == drawn else 0)
        for kept, visits in itertools.chain([(None, first)], again):
            class_index, _ = lattice.gather(maps)
            if refines and (kept is not None or visits is first):
                stays = class_index if kept is None else torch.where(kept, class_index, -1)
                context = look_around(predictor, stays, *told, level=seen, turns=turns)
            for visited in visits:
                on_pass()
                batch, row, col, _ = visited
                node_row, node_col = lattice.node_of(batch, row, col)
                class_index[batch, node_row, node_col] = -1
                logits = ask(class_index, *told, context=context)
                probability = logits[batch, :, node_row, node_col].float().softmax(dim=1)  # (n_cells, n_facies)
                chosen = choose(probability, visited)
                maps[batch, row, col] = chosen
                class_index[batch, node_row, node_col] = chosen
    return maps


def draw_facies(probability: Tensor, uniform: Tensor) -> Tensor:
    """
    Draw by inverting the cumulative distribution.

    Parameters
    ----------
    probability : float32 Tensor, shape (n_cells, n_facies)
        Probabilities of each cell's facies.
    uniform : float32 Tensor, shape (n_cells,)
        Numbers in [0, 1).

    Returns
    -------
    int64 Tensor, shape (n_cells,)
        Class index, never one of probability 0.
    """
    cumulative = probability.cumsum(dim=1)
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(dim=1)


def passes(
    maps: Tensor,
    inside: Tensor,
    lattice: Lattice,
    streams: list[Stream],
    split: Callable[[np.ndarray], list[np.ndarray]],
    *,
    spacing: int,
) -> list[Visit]:
    """Return the passes in which unknown cells of a lattice are simulated, those that lie so many cells apart."""
    row, col, on_grid = lattice.cells()
    batch = torch.arange(len(maps), device=maps.device)[:, None, None]
    todo = on_grid & inside[row, col] & (maps[batch, row, col] < 0)
    of_maps = []
    for index, stream in enumerate(streams):
        node_row, node_col = (axis.cpu().numpy() for axis in todo[index].nonzero(as_tuple=True))
        rows, cols = row[index, node_row, 0].cpu().numpy(), col[index, 0, node_col].cpu().numpy()
        taken = (rows + stream.offset[0] | cols + stream.offset[1]) % spacing == 0
        rows, cols = rows[taken], cols[taken]
        of_maps.append([(rows[p], cols[p], stream.uniform[rows[p], cols[p]]) for p in split(stream.rank[rows, cols])])
    return [_together(of_pass, maps.device) for of_pass in itertools.zip_longest(*of_maps)]


def corrections(
    known: Tensor, inside: Tensor, lattice: Lattice, streams: list[Stream], n_passes: int
) -> Iterator[tuple[Tensor | None, Iterator[Visit]]]:
    """
    Yield passes that draw nodes of a lattice anew, given all others: every second node of every second row.

    With the right probabilities that changes nothing but chance (Besag 1974, *JRSS B* 36: the coding method; a Gibbs
    sampler). With approximate ones it repairs what was drawn too early, or together with what it should have seen.
    Hard data are never drawn. The passes come in rounds, each of which keeps every second node of every second row as
    it is, for the refiner to read once: the next coarser lattice in the first round, any in further ones.

    Yields
    ------
    kept : bool Tensor, shape (batch, n_rows, n_cols), or None
        Nodes that the round keeps, and hard data; None where that is what the passes before kept.
    visits : iterator of Visit
        The passes of the round.
    """
    row, col, on_grid = lattice.cells()
    offset = torch.tensor([s.offset for s in streams], device=known.device)[:, :, None, None]
    south, east = (
        (torch.div(axis + offset[:, k], lattice.spacing, rounding_mode="floor") % 2) for k, axis in ((0, row), (1, col))
    )
    coset = 2 * south + east  # (batch, n_rows, n_cols); 0 is the next coarser lattice
    is_datum = on_grid & (known[row, col] >= 0)
    drawn = (on_grid & inside[row, col] & ~is_datum).cpu().numpy()
    generators = [
        np.random.default_rng(np.random.SeedSequence(s.later.entropy, spawn_key=(*s.later.spawn_key, lattice.spacing)))
        for s in streams
    ]

    def visits(cosets: np.ndarray) -> Iterator[Visit]:
        """Yield a pass for each column of cosets (batch, n_passes)."""
        of_node = coset.cpu().numpy()
        for asked in cosets.T:
            of_maps = []
            for index, rng in enumerate(generators):
                node_row, node_col = (drawn[index] & (of_node[index] == asked[index])).nonzero()
                rows, cols = row[index, node_row, 0].cpu().numpy(), col[index, 0, node_col].cpu().numpy()
                of_maps.append((rows, cols, rng.random(len(rows), dtype=np.float32)))
            yield _together(of_maps, known.device)

    for done in range(0, n_passes, _ROUND):
        kept = [int(rng.integers(4)) if done else 0 for rng in generators]
        n_sweeps = -(-min(_ROUND, n_passes - done) // 3)
        sweeps = [
            np.concatenate([(of_map + 1 + rng.permutation(3)) % 4 for _ in range(n_sweeps)])
            for of_map, rng in zip(kept, generators)
        ]
        stays = (coset == torch.tensor(kept, device=known.device)[:, None, None]) | is_datum if done else None
        yield stays, visits(np.stack(sweeps)[:, : n_passes - done])


def _together(of_maps: Sequence[_Cells | None], device: torch.device) -> Visit:
    """Return one pass over several maps; None where a map has no cell in it."""
    parts = [(np.full(len(cells[0]), index), *cells) for index, cells in enumerate(of_maps) if cells is not None]
    batch, row, col, uniform = (torch.as_tensor(np.concatenate(columns), device=device) for columns in zip(*parts))
    return Visit(batch, row, col, uniform)


def read_survey(predictor: Predictor, known: Tensor, n_facies: int) -> SurveyKriging | None:
    """Return what kriging reads from hard data (n_rows, n_cols), if the network takes it and they are fit for it."""
    return SurveyKriging.of_map(known, n_facies) if predictor.config.reads_kriging else None


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
    known: Tensor,
    *,
    n_facies: int,
    level: int,
    positions_at_once: int,
    survey: SurveyKriging | None = None,
    turns: Sequence[int] = (0,),
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Return the facies probabilities given the hard data: the sampler's first pass, for every place of its lattice.

    The coarsest lattice is laid in all its positions, and in each with all four foldings of its nodes, which are
    averaged as they are over an ensemble. Where its nodes are many cells apart, eight places from node to node are
    asked and what lies between is interpolated, so that the cost has a bound at any size of the grid.

    Parameters
    ----------
    predictor : Predictor
        Network that gives facies logits from known cells.
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere.
    n_facies, level, survey : int, int, SurveyKriging
        As in `sample`.
    positions_at_once : int
        Positions that go through the network together.
    turns : sequence of int
        Quarter turns by which the foldings are shown to the network turned, one after the other: four numbers, two or
        one.
    on_pass : callable
        Called before each of `marginal_batches`.

    Returns
    -------
    float32 Tensor, shape (n_facies, n_rows, n_cols)
        Certain at hard data.
    """
    step = _step_of(level)
    ticks = [torch.arange(step // 2, n, step, device=known.device) for n in known.shape]
    asked = torch.cartesian_prod(*ticks)  # (n_places, 2)
    told = None if survey is None else survey.at(asked.float(), 2**level)
    probability = torch.zeros(n_facies, len(asked), device=known.device)
    for turn, chosen in marginal_batches(level, positions_at_once, turns):
        on_pass()
        lattice = lattice_of(predictor, known.shape, 2**level, chosen, known.device)
        class_index, on_grid = lattice.gather(known.expand(len(chosen), -1, -1))
        data = lattice.attach(*hard_data(known, len(chosen)))
        row, col, _ = lattice.cells()
        place = torch.div(row, step, rounding_mode="floor") * len(ticks[1]) + torch.div(
            col, step, rounding_mode="floor"
        )
        place = place.clamp_max(len(asked) - 1)  # beyond the grid, where nothing counts
        features = None if told is None else _features_at(told, place, on_grid)
        inputs = (class_index, on_grid, data, n_facies)
        logits = predict(predictor, *inputs, level=level, features=features, turns=[turn] * len(chosen))
        predicted = logits.float().softmax(dim=1)
        # Each place is a node in four of the positions.
        probability.index_add_(1, place[on_grid], predicted.permute(1, 0, 2, 3)[:, on_grid] / 4)
    probability = _interpolate(probability.view(n_facies, *map(len, ticks)), step, known.shape)
    row, col = (known >= 0).nonzero(as_tuple=True)
    probability[:, row, col] = 0
    probability[known[row, col], row, col] = 1
    return probability


def _features_at(told: tuple[Tensor, Tensor], place: Tensor, on_grid: Tensor) -> KrigingFeatures:
    """Return the features of nodes (batch, n_rows, n_cols) that are among the places of which they were computed."""
    of_facies, of_place = (values[..., place] * on_grid for values in told)
    return KrigingFeatures(of_facies.permute(2, 0, 1, 3, 4), of_place.permute(1, 0, 2, 3))


def _interpolate(values: Tensor, step: int, shape: torch.Size) -> Tensor:
    """Interpolate values (n, n_asked_rows, n_asked_cols) of every `step`-th cell to all cells, linearly."""
    if step == 1:
        return values
    for axis, n_cells in ((1, shape[0]), (2, shape[1])):
        position = (torch.arange(n_cells, device=values.device) - step // 2) / step
        position = position.clamp(0, values.shape[axis] - 1)
        below = position.long().clamp_max(max(0, values.shape[axis] - 2))
        share = (position - below).view(-1, 1) if axis == 1 else position - below
        above = (below + 1).clamp_max(values.shape[axis] - 1)
        values = torch.lerp(values.index_select(axis, below), values.index_select(axis, above), share)
    return values


def lattice_of(
    predictor: Predictor,
    shape: tuple[int, ...],
    spacing: int,
    offsets: list[tuple[int, int]],
    device: torch.device,
) -> Lattice:
    """Return the lattice of a spacing whose nodes divide row + offset and col + offset."""
    position = -torch.tensor(offsets, device=device)
    return Lattice.at((shape[0], shape[1]), spacing, position, predictor.config.total_stride)


def hard_data(known: Tensor, n_maps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return map, row, column and class index of the hard data, repeated for each map."""
    row, col = (known >= 0).nonzero(as_tuple=True)
    batch = torch.arange(n_maps, device=known.device).repeat_interleave(len(row))
    return batch, row.repeat(n_maps), col.repeat(n_maps), known[row, col].repeat(n_maps)
