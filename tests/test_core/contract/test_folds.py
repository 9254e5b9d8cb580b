"""Folds: every observation in one, cells kept together, regions compact, and what cannot be divided refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import ConditioningError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.folds import (
    MAX_OBSERVATIONS,
    check_facies_of_folds,
    check_observations,
    fold_cautions,
    folds_by_location,
)
from oadg.core.contract.grid import Grid

GRID = Grid(west=0.0, north=100.0, cell_size=5.0, n_rows=20, n_cols=40)
FACIES = build_facies_table(["sand", "clay", "silt"])  # clay, sand, silt


def survey(n_points, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 200, n_points), rng.uniform(0, 100, n_points)


@given(n_points=st.integers(60, 300), n_folds=st.integers(2, 20), seed=st.integers(0, 50))
def test_every_cell_is_in_one_fold_and_folds_hold_as_many_cells(n_points, n_folds, seed):
    easting, northing = survey(n_points, seed)
    fold = folds_by_location(easting, northing, GRID, n_folds, seed=seed)
    row, col, _ = GRID.cell_of(easting, northing)
    fold_of_cell = {}
    for cell, number in zip(zip(row, col), fold):
        assert fold_of_cell.setdefault(cell, number) == number
    sizes = np.bincount(list(fold_of_cell.values()))
    assert len(sizes) == n_folds
    assert np.ptp(sizes) <= 1


def test_folds_do_not_depend_on_the_order_of_the_observations():
    easting, northing = survey(80)
    order = np.random.default_rng(1).permutation(80)
    assert (folds_by_location(easting, northing, GRID, 7)[order] == folds_by_location(
        easting[order], northing[order], GRID, 7
    )).all()  # fmt: skip


def test_folds_are_regions():
    """Two clusters are two folds, whatever the angle; at random they would be mixed."""
    easting = np.r_[np.linspace(5, 45, 12), np.linspace(155, 195, 12)]
    northing = np.r_[np.linspace(10, 90, 12), np.linspace(90, 10, 12)]
    for seed in range(20):
        fold = folds_by_location(easting, northing, GRID, 2, seed=seed)
        assert len(set(fold[:12])) == len(set(fold[12:])) == 1


def test_the_seed_turns_the_borders():
    easting, northing = survey(80)
    folds = [folds_by_location(easting, northing, GRID, 5, seed=seed) for seed in (0, 0, 1)]
    assert (folds[0] == folds[1]).all()
    assert (folds[0] != folds[2]).any()


@pytest.mark.parametrize("n_folds", [1, 21])
def test_a_number_of_folds_out_of_bounds(n_folds):
    with pytest.raises(ConditioningError, match=f"number of folds is {n_folds}; it must be from 2 to 20"):
        folds_by_location(*survey(80), GRID, n_folds)


def test_more_folds_than_cells_with_observations():
    easting, northing = np.repeat([2.0, 52.0, 102.0], 10), np.repeat([2.0, 2.0, 52.0], 10)
    with pytest.raises(ConditioningError, match="30 observations lie in 3 cells of 5; 4 folds need .* Use fewer folds"):
        folds_by_location(easting, northing, GRID, 4)
    assert sorted(set(folds_by_location(easting, northing, GRID, 3))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("easting", "northing", "message"),
    [
        (*survey(9), "There are 9 observations with a facies; .* needs at least 10 .* Take more"),
        (*survey(MAX_OBSERVATIONS + 1), "There are 2,001 observations; at most 2,000 .* Select some of them"),
        (np.full(12, 30.0), np.full(12, 7.5), r"All 12 observations lie at one place \(easting 30, northing 7.5\)"),
    ],
)
def test_observations_that_cannot_be_cross_validated(easting, northing, message):
    with pytest.raises(ConditioningError, match=message):
        check_observations(easting, northing)


def test_the_fewest_and_the_most_observations_are_taken():
    check_observations(*survey(10))
    check_observations(*survey(MAX_OBSERVATIONS))


def test_one_facies_left_without_a_fold():
    fold = np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(ConditioningError, match="Without fold 2, all .* are of one facies, 'clay': .* Use more folds"):
        check_facies_of_folds(fold, np.array([0, 0, 1, 2, 0, 0]), FACIES)
    check_facies_of_folds(fold, np.array([0, 1, 1, 2, 0, 0]), FACIES)


def test_what_folds_cannot_tell():
    fold = np.repeat([0, 1, 2], 5)
    told = fold_cautions(fold, np.array([0, 1, 0, 1, 0] + [1] * 5 + [2, 2, 0, 1, 0]), FACIES)
    assert len(told) == 2
    assert told[0].startswith("Facies that were observed in one fold only: silt.")
    assert told[1].startswith("In 1 of 3 folds all observations are of one facies: fold 2 (sand).")


def test_good_and_tiny_folds_are_nothing_to_warn_of():
    assert fold_cautions(np.repeat([0, 1], 6), np.tile([0, 1, 2], 4), FACIES) == []
    assert fold_cautions(np.arange(6), np.tile([0, 1, 2], 2), FACIES) == []
