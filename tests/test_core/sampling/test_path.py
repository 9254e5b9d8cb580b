"""Laws of simulation paths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oadg.core.model.schedule import SCHEDULES, Leg, Schedule, legs
from oadg.core.sampling.path import dispersed_rank, levels_of_nodes, trailing_zeros


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_ranks_are_a_permutation(n_rows, n_cols, seed):
    rank = dispersed_rank((n_rows, n_cols), np.random.default_rng(seed))
    assert sorted(rank.ravel()) == list(range(n_rows * n_cols))


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_is_spread_evenly(seed):
    """Cells lie nearer to the known ones of a dispersed prefix than to those of a random one."""
    rng = np.random.default_rng(seed)
    rank, random = dispersed_rank((32, 32), rng), rng.permutation(1024).reshape(32, 32)

    def mean_distance(order, n_known):
        known = np.argwhere(order < n_known)
        cells = np.argwhere(order >= 0)
        return np.sqrt(((cells[:, None] - known[None]) ** 2).sum(axis=2)).min(axis=1).mean()

    for n_known in (16, 64, 150, 256):
        assert mean_distance(rank, n_known) < mean_distance(random, n_known)


def test_coarser_lattices_come_first():
    offset = (5, 2)
    rank = dispersed_rank((20, 30), np.random.default_rng(0), offset=offset)
    row, col = np.indices(rank.shape)
    level = np.minimum(trailing_zeros((row + offset[0]) | (col + offset[1])), 5)
    assert (level == levels_of_nodes(rank.shape, offset, 5)).all()
    assert (np.diff(level.ravel()[np.argsort(rank.ravel())]) <= 0).all()


def test_two_draws_differ_and_the_same_draw_does_not():
    first, again, other = (dispersed_rank((16, 16), np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_trailing_zeros():
    assert list(trailing_zeros(np.array([0, 1, 2, 12, 1 << 40]))) == [62, 0, 1, 2, 40]


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@pytest.mark.parametrize("n_cells", [1, 3, 100, 1000])
@pytest.mark.parametrize("leg", [Leg(1, 1, refines=False), Leg(1, 1, refines=True)])
def test_passes_take_every_cell_once_in_the_order_of_the_path(schedule, n_cells, leg):
    rank = np.random.default_rng(0).permutation(n_cells) + 7
    passes = schedule.split(rank, leg)
    assert (rank[np.concatenate(passes)] == np.sort(rank)).all()
    assert len(passes) <= len(schedule.shares(leg))
    assert all(p.size for p in passes)


def test_pass_sizes_are_densities():
    schedule = Schedule.even((6,), 20)
    small, large = (schedule.split(np.arange(n), Leg(0, 0, refines=False)) for n in (4000, 40000))
    assert [10 * p.size for p in small] == pytest.approx([p.size for p in large], abs=10)
    assert small[0].size < small[-1].size / 10, "the first passes are small"


def test_a_schedule_with_corrections_survives_json_and_counts_its_passes():
    schedule = Schedule(((0.5, 1.0), (0.2, 0.6, 1.0)), (0.1, 1.0), (1, 4))
    assert Schedule.from_dict(schedule.to_dict()) == schedule
    assert [schedule.n_corrections(Leg(level, level, refines=True)) for level in (0, 1, 5)] == [1, 4, 4]
    assert schedule.n_passes(2) == (2 + 1) + (3 + 4) + (2 + 4)
    assert schedule.n_passes(1, n_started=2) == (2 + 1) + (3 + 4) + (3 + 4) + 2, "what is started is not corrected"
    assert Schedule.even((2,), 3).n_corrections(Leg(0, 0, refines=True)) == 0


def test_the_first_leg_draws_from_data_alone_and_the_others_refine():
    """With nodes that are drawn from the data alone the network sees the lattice of its level at first."""
    assert legs(2, 0) == [Leg(2, 2, False), Leg(1, 1, True), Leg(0, 0, True)]
    assert legs(1, 2) == [Leg(3, 1, False), Leg(2, 2, True), Leg(1, 1, True), Leg(0, 0, True)]
    assert legs(2, 1, until=2) == [Leg(3, 2, False), Leg(2, 2, True)]
    assert [leg.is_corrected for leg in legs(1, 1)] == [False, True, True]
