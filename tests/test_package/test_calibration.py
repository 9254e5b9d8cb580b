"""Calibration: uniform ranks pass, others do not; statistics of maps by hand and against a plain search."""

import numpy as np
import pytest

from benchmarks.evaluate_universal.calibration import (
    boundary_length,
    chi_square_tail,
    mean_chord_cells,
    rank_among,
    uniformity,
)
from oadg.core.contract.errors import JobError


def ranks(spread, n=400):
    """Return ranks of standard normal truths among 19 simulated values of another spread."""
    rng = np.random.default_rng(5)
    return np.array([rank_among(rng.normal(), spread * rng.standard_normal(19), rng) for _ in range(n)])


def test_ranks_are_uniform_where_truth_and_realizations_are_alike():
    found = uniformity(ranks(1.0), 20)
    assert found.counts.sum() == 400
    assert found.p_value > 0.05
    assert found.extreme == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(("spread", "sign"), [(0.6, 1), (1.6, -1)], ids=["too sure", "not sure enough"])
def test_ranks_of_another_spread_are_rejected(spread, sign):
    found = uniformity(ranks(spread), 20)
    assert found.p_value < 0.001
    assert sign * (found.extreme - 0.2) > 0.08


def test_a_rank_counts_what_lies_below():
    rng = np.random.default_rng(0)
    assert [rank_among(t, np.array([1.0, 2.0, 3.0]), rng) for t in (0.5, 1.5, 3.5)] == [0, 1, 3]


def test_ties_fall_anywhere():
    rng = np.random.default_rng(0)
    drawn = np.array([rank_among(0.0, np.zeros(3), rng) for _ in range(400)])
    assert np.bincount(drawn, minlength=4).min() > 70


def test_bins_hold_equally_many_ranks():
    assert uniformity(np.array([0, 1, 2, 19]), 20, 5).counts.tolist() == [3, 0, 0, 0, 1]
    with pytest.raises(JobError, match="20 possible ones cannot be tested in 3 bins"):
        uniformity(np.array([1]), 20, 3)
    with pytest.raises(JobError, match="0 ranks"):
        uniformity(np.array([], dtype=int), 20)


@pytest.mark.parametrize(
    ("value", "degrees", "tail"),
    [(3.841, 1, 0.05), (9.488, 4, 0.05), (16.919, 9, 0.05), (21.666, 9, 0.01), (8.343, 9, 0.5), (0.0, 4, 1.0)],
)
def test_chi_square_tail_of_the_tables(value, degrees, tail):
    assert chi_square_tail(value, degrees) == pytest.approx(tail, abs=0.01)


def test_boundaries_and_chords_by_hand():
    halves = np.array([[0, 0, 1, 1]] * 4)
    assert boundary_length(halves) == 4
    # Rows are cut into 8 pieces of 2 cells, columns are 4 pieces of 4.
    assert mean_chord_cells(halves) == pytest.approx(32 / 12)
    assert boundary_length(np.zeros((3, 5))) == 0
    assert mean_chord_cells(np.zeros((4, 4))) == 4
