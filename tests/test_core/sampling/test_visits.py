"""Passes and corrections: which nodes are drawn together, and which stay."""

import pytest
import torch

from oadg.core.model.lattice import Lattice
from oadg.core.model.schedule import Leg, Schedule
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream, rounds

SHAPE = (24, 20)


def rounds_of(spacing, n_corrections, n_maps=6):
    """Return the rounds over a lattice whose next coarser one, and a datum, are known: what stays, and the visits."""
    streams = [draw_stream(1, number, SHAPE) for number in range(n_maps)]
    offset = torch.tensor([s.offset for s in streams])
    lattice = Lattice.at(SHAPE, spacing, -offset, 4)
    row, col = torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij")
    coarser = ((row + offset[:, 0, None, None]) | (col + offset[:, 1, None, None])) % (2 * spacing) == 0
    known = torch.full(SHAPE, -1)
    known[5, 7] = 1
    maps = torch.where(coarser | (known >= 0), 1, -1)
    part = Start(known, torch.ones(SHAPE, dtype=torch.bool), 2, 0)
    level = spacing.bit_length() - 1
    schedule = Schedule(((1.0,),), (1.0,), (n_corrections,))
    found = rounds(Leg(level, level, refines=True), maps, part, lattice, streams, schedule)
    return lattice, coarser, [(kept, list(visits)) for kept, visits in found]


@pytest.mark.parametrize("n_corrections", [0, 4])
def test_unknown_nodes_are_visited_once_before_any_is_drawn_anew(n_corrections):
    _, coarser, [(kept, visits)] = rounds_of(1, n_corrections)
    assert kept is None
    assert len(visits) == 1 + n_corrections
    seen = torch.zeros(coarser.shape, dtype=torch.int64)
    seen[visits[0].batch, visits[0].row, visits[0].col] += 1
    unknown = ~coarser
    unknown[:, 5, 7] = False
    assert torch.equal(seen, unknown.long())


@pytest.mark.parametrize("spacing", [1, 2])
def test_on_fine_lattices_a_last_sweep_draws_the_nodes_of_the_coarser_one_anew(spacing):
    """The first round keeps them; then they get their turn in every map, and hard data never do."""
    _, coarser, found = rounds_of(spacing, 9)
    assert [len(visits) for _, visits in found] == [1 + 6, 3]
    first, last = (torch.zeros(coarser.shape, dtype=torch.int64) for _ in found)
    for drawn, visits in ((first, found[0][1][1:]), (last, found[1][1])):
        for visit in visits:
            drawn[visit.batch, visit.row, visit.col] += 1
        assert not drawn[:, 5, 7].any()
    nodes = coarser.clone()
    nodes[:, 5, 7] = False
    assert not first[nodes].any()
    assert (last[nodes] == 1).all()


def test_what_a_round_keeps_it_does_not_draw():
    lattice, _, found = rounds_of(1, 12)
    for kept, visits in found[1:]:
        for visit in visits:
            node_row, node_col = lattice.node_of(visit.batch, visit.row, visit.col)
            assert not kept[visit.batch, node_row, node_col].any()
