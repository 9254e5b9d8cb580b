"""
Which cells of which realizations are visited together: the randomness of realizations, and passes over lattices.

All of it is decided before anything is predicted.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Iterable, Iterator, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..model.lattice import Lattice
from ..model.schedule import Leg, Schedule
from .area import Area
from .path import dispersed_rank
from .start import Start

_SWEEP, _ROUND = 3, 6
"""Passes that draw three quarters of the nodes anew, each once; and those of a round, while the last quarter stays."""
_FINE_SPACING = 2
"""Up to this one a first round takes all passes but a last sweep, which clears cells that stayed alone in the quarter
that it keeps. Patterns came nearer to the image's so than in rounds alike."""


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

    def within(self, area: Area) -> Stream:
        """Return what decides on an area of the grid."""
        rows, cols = area
        offset = self.offset[0] + rows.start, self.offset[1] + cols.start
        return replace(self, offset=offset, rank=self.rank[area], uniform=self.uniform[area])


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


class Visit(NamedTuple):
    """
    Cells that are simulated together.

    Fields are tensors of shape (n_cells,): map in the batch, row, column, and a number in [0, 1) that decides. And
    `correction` tells which pass of a leg that draws nodes anew this is, from 1 on; 0 where they are drawn first.
    """

    batch: Tensor
    row: Tensor
    col: Tensor
    uniform: Tensor
    correction: int = 0


_Cells = Tuple[np.ndarray, np.ndarray, np.ndarray]


def rounds(
    leg: Leg, maps: Tensor, part: Start, lattice: Lattice, paths: list[Stream], schedule: Schedule
) -> Iterator[tuple[Tensor | None, Iterable[Visit]]]:
    """
    Yield the passes of a leg in rounds, in each of which the refiner reads once what stays as it is.

    Parameters
    ----------
    leg : Leg
        Which nodes are drawn.
    maps : int64 Tensor, shape (batch, n_rows, n_cols)
        What is known so far of a part of the grid.
    part : Start
        What that part starts from.
    lattice : Lattice
        What the network sees of it.
    paths : list of Stream
        Of each map, within that part.
    schedule : Schedule
        How many passes there are, and how large.

    Yields
    ------
    kept : bool Tensor, shape (batch, n_rows, n_cols), or None
        Nodes that the round keeps, and hard data; None in the first one, which keeps all that is known before it.
    visits : iterable of Visit
        The passes of the round: first those of unknown nodes, then corrections.
    """
    again = _corrections(part, lattice, paths, schedule.n_corrections(leg))
    first = _passes(leg, maps, part.inside, lattice, paths, schedule)
    yield None, itertools.chain(first, *(visits for _, visits in itertools.islice(again, 1)))
    yield from again


def _passes(
    leg: Leg, maps: Tensor, inside: Tensor, lattice: Lattice, paths: list[Stream], schedule: Schedule
) -> list[Visit]:
    """Return the passes in which the unknown nodes that a leg draws are simulated."""
    row, col, on_grid = lattice.cells()
    batch = torch.arange(len(maps), device=maps.device)[:, None, None]
    todo = on_grid & inside[row, col] & (maps[batch, row, col] < 0)
    of_maps = []
    for index, path in enumerate(paths):
        node_row, node_col = (axis.cpu().numpy() for axis in todo[index].nonzero(as_tuple=True))
        rows, cols = row[index, node_row, 0].cpu().numpy(), col[index, 0, node_col].cpu().numpy()
        taken = (rows + path.offset[0] | cols + path.offset[1]) % 2**leg.drawn == 0
        rows, cols = rows[taken], cols[taken]
        split = schedule.split(path.rank[rows, cols], leg)
        of_maps.append([(rows[p], cols[p], path.uniform[rows[p], cols[p]]) for p in split])
    return [_together(of_pass, maps.device) for of_pass in itertools.zip_longest(*of_maps)]


def _corrections(
    part: Start, lattice: Lattice, paths: list[Stream], n_passes: int
) -> Iterator[tuple[Tensor, Iterator[Visit]]]:
    """
    Yield passes that draw nodes of a lattice anew, given all others: every second node of every second row.

    With the right probabilities that changes nothing but chance (Besag 1974, *JRSS B* 36: the coding method; a Gibbs
    sampler). With approximate ones it repairs what was drawn too early, or together with what it should have seen.
    Hard data are never drawn. The passes come in rounds, each of which keeps every second node of every second row as
    it is, for the refiner to read once: the next coarser lattice in the first round, others in further ones.

    Yields
    ------
    kept : bool Tensor, shape (batch, n_rows, n_cols)
        Nodes that the round keeps, and hard data.
    visits : iterator of Visit
        The passes of the round.
    """
    row, col, on_grid = lattice.cells()
    device = part.known.device
    offset = torch.tensor([path.offset for path in paths], device=device)[:, :, None, None]
    south, east = ((axis + offset[:, k]) // lattice.spacing % 2 for k, axis in ((0, row), (1, col)))
    coset = 2 * south + east  # (batch, n_rows, n_cols); 0 is the next coarser lattice
    is_datum = on_grid & (part.known[row, col] >= 0)
    drawn = (on_grid & part.inside[row, col] & ~is_datum).cpu().numpy()
    generators = [
        np.random.default_rng(np.random.SeedSequence(s.entropy, spawn_key=(*s.spawn_key, lattice.spacing)))
        for s in (path.later for path in paths)
    ]

    def visits(cosets: np.ndarray, first: int) -> Iterator[Visit]:
        """Yield a pass for each column of cosets (batch, n_passes), the first of which has a number."""
        of_node = coset.cpu().numpy()
        for correction, asked in enumerate(cosets.T, first):
            of_maps = []
            for index, rng in enumerate(generators):
                node_row, node_col = (drawn[index] & (of_node[index] == asked[index])).nonzero()
                rows, cols = row[index, node_row, 0].cpu().numpy(), col[index, 0, node_col].cpu().numpy()
                of_maps.append((rows, cols, rng.random(len(rows), dtype=np.float32)))
            yield _together(of_maps, device)._replace(correction=correction)

    others = 1 if lattice.spacing <= _FINE_SPACING else 0  # there the next coarser lattice gets its turn in the end
    done = 0
    for number, n_visits in enumerate(_rounds(n_passes, lattice.spacing)):
        kept = [int(rng.integers(others, 4)) if number else 0 for rng in generators]
        n_sweeps = -(-n_visits // _SWEEP)
        sweeps = [
            np.concatenate([(of_map + 1 + rng.permutation(3)) % 4 for _ in range(n_sweeps)])
            for of_map, rng in zip(kept, generators)
        ]
        stays = (coset == torch.tensor(kept, device=device)[:, None, None]) | is_datum
        yield stays, visits(np.stack(sweeps)[:, :n_visits], 1 + done)
        done += n_visits


def _rounds(n_passes: int, spacing: int) -> list[int]:
    """Return how many passes over the lattice of a spacing each round has."""
    if spacing <= _FINE_SPACING and n_passes > _ROUND:
        return [n_passes - _SWEEP, _SWEEP]
    return [min(_ROUND, n_passes - done) for done in range(0, n_passes, _ROUND)]


def _together(of_maps: Sequence[_Cells | None], device: torch.device) -> Visit:
    """Return one pass over several maps; None where a map has no cell in it."""
    parts = [(np.full(len(cells[0]), index), *cells) for index, cells in enumerate(of_maps) if cells is not None]
    batch, row, col, uniform = (torch.as_tensor(np.concatenate(columns), device=device) for columns in zip(*parts))
    return Visit(batch, row, col, uniform)
