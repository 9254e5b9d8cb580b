"""Cautions: told where a map would say little, and not where it would say something."""

import numpy as np
import pytest

from oadg.core.contract.cautions import (
    Agreement,
    cautions,
    neighbour_agreement,
    share_far_from_data,
    stray_caution,
)
from oadg.core.contract.conditioning import ConditioningData
from oadg.core.contract.grid import Grid

GRID = Grid(west=0.0, north=1000.0, cell_size=10.0, n_rows=100, n_cols=100)


def placed(n_data=100, seed=0, facies=lambda row, col: (col // 25) % 2, first=0, size=100):
    """Return data in a square of the grid, whose facies are by default bands that are wide beside their spacing."""
    cell = np.random.default_rng(seed).choice(size**2, n_data, replace=False)
    row, col = first + cell // size, first + cell % size
    return ConditioningData(row, col, np.asarray(facies(row, col)))


def noise(row, col):
    return np.random.default_rng(int(row.sum())).integers(0, 2, len(row))


def test_a_good_survey_is_nothing_to_warn_of():
    assert cautions(placed(), GRID) == []


def test_an_extent_twice_the_data_has_no_far_cell():
    """Half the longer side, on all sides, is near."""
    corners = ConditioningData(np.array([25, 74]), np.array([25, 74]), np.array([0, 1]))
    assert share_far_from_data(corners, GRID) == 0
    smaller = ConditioningData(np.array([40, 59]), np.array([40, 59]), np.array([0, 1]))
    assert share_far_from_data(smaller, GRID) == pytest.approx(1 - 0.4**2)


def test_data_before_the_grid_and_beyond_it_are_near_what_is_beside_them():
    """Ten cells across, their area reaches 5.5 cells farther on each side."""
    for first, near in ((-10, 5), (100, 5), (-40, 0)):
        line = ConditioningData(np.array([first, first + 9]), np.array([0, 99]), np.array([0, 1]))
        short = ConditioningData(line.row, line.row, line.class_index)
        assert share_far_from_data(short, GRID) == pytest.approx(1 - near**2 / 100**2, abs=1e-3)


def test_the_mask_counts():
    data = placed(first=40, size=20)
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[40:60, 40:60] = True
    assert share_far_from_data(data, GRID, inside) == 0
    inside[0, :100] = True
    assert share_far_from_data(data, GRID, inside) == pytest.approx(100 / 500)
    assert cautions(data, GRID, inside=inside[::-1]) == []


def test_a_gap_between_two_surveys_is_far_from_both():
    """Their bounding box is all of the grid."""
    parts = placed(60, size=15), placed(60, seed=1, first=85, size=15)
    columns = zip(*((part.row, part.col, part.class_index) for part in parts))
    both = ConditioningData(*map(np.concatenate, columns))
    far = share_far_from_data(both, GRID)
    assert 0.6 < far < 0.9
    assert any(f"{100 * far:.0f} % of the cells lie far" in text for text in cautions(both, GRID))


def test_one_more_observation_far_away_does_not_bring_the_rest_near():
    survey = placed(100, size=30)
    row, col, facies = (np.append(parts, 99) for parts in (survey.row, survey.col, survey.class_index))
    facies[-1] = 0
    assert share_far_from_data(ConditioningData(row, col, facies), GRID) > 0.4


def test_an_area_around_a_corridor_is_far_from_it():
    row, col = 50 + np.arange(100) % 2, np.arange(100)
    corridor = ConditioningData(row, col, col // 20 % 2)
    assert share_far_from_data(corridor, GRID) == pytest.approx(1 - (2 + 2 * 8) / 100)
    sparse = ConditioningData(row[::10], col[::10], row[::10] % 2)
    assert share_far_from_data(sparse, GRID) == pytest.approx(1 - (1 + 2 * 20) / 100)


@pytest.mark.parametrize("lines", [(10, 50, 90), (5, 25, 45, 65, 85)])
def test_traverses_leave_no_cell_far(lines):
    row, col = (cells.ravel() for cells in np.meshgrid(lines, np.arange(0, 100, 2), indexing="ij"))
    assert share_far_from_data(ConditioningData(row, col, (row + col) % 2), GRID) == 0


def test_few_observations_all_over_an_area_leave_no_gaps_in_it():
    """Twenty-five fill but a fifth of a hundred tiles, as many as they can."""
    assert share_far_from_data(placed(25, first=25, size=50), GRID) < 0.1


@pytest.mark.parametrize(("side", "far", "n_told"), [(44, 0.23, 0), (42, 0.29, 1)])
def test_a_quarter_of_cells_that_lie_far_is_worth_a_word(side, far, n_told):
    corners = np.array([50 - side // 2, 49 + side // 2])
    data = ConditioningData(corners, corners, np.array([0, 1]))
    assert share_far_from_data(data, GRID) == pytest.approx(far, abs=0.01)
    assert len(cautions(data, GRID)) == n_told


def test_an_extent_far_larger_than_the_data_is_prior():
    (told,) = cautions(placed(first=40, size=20, facies=lambda row, col: col // 50), GRID)
    assert told.startswith("84 % of the cells lie far from all observations")
    assert "its prior" in told
    assert told.endswith("Use a smaller extent, or a mask.")


def test_facies_without_correlation_are_told_with_the_distances():
    (told,) = cautions(placed(300, facies=noise), GRID, unit="meters")
    assert "neighbours agree hardly more often than chance" in told
    assert "meters; cells are 10)" in told


@pytest.mark.parametrize("n_data", [10, 19])
def test_few_observations_prove_nothing(n_data):
    assert cautions(placed(n_data, facies=lambda row, col: np.arange(len(row)) % 2), GRID) == []


@pytest.mark.parametrize(("n_data", "n_told"), [(19, 0), (20, 1)])
def test_even_neighbours_that_never_agree_prove_nothing_when_they_are_few(n_data, n_told):
    line = ConditioningData(np.zeros(n_data, dtype=int), 5 * np.arange(n_data), np.arange(n_data) % 2)
    assert len(cautions(line, Grid(west=0.0, north=0.0, cell_size=10.0, n_rows=1, n_cols=100))) == n_told


def test_weak_agreement_is_told_beyond_doubt_only():
    """Half of all pairs agree by chance; with 1.645 standard errors more they would be less than six in ten."""
    assert Agreement(share=0.5, by_chance=0.5, n_pairs=100).is_weak
    assert not Agreement(share=0.5, by_chance=0.5, n_pairs=50).is_weak
    assert not Agreement(share=0.6, by_chance=0.5, n_pairs=10**6).is_weak


def test_one_facies_in_the_area_is_nothing_to_compare():
    assert cautions(placed(facies=lambda row, col: 0 * row), GRID) == []


def test_agreement_by_hand():
    """Nearest pairs are 0-1, 2-1 and 3-2; of the six pairs, 0-1 and 2-3 are of one facies."""
    found = neighbour_agreement(np.array([0.0, 1.0, 2.5, 5.0]), np.zeros(4), np.array([0, 0, 1, 1]))
    assert (found.share, found.by_chance, found.n_pairs) == pytest.approx((2 / 3, 2 / 6, 3))


def test_warnings_are_seldom_wrong():
    """Of 150 observations without correlation most are told; of bands five spacings wide hardly any."""
    surveys = [[placed(150, seed, facies) for seed in range(50)] for facies in (noise, lambda row, col: col // 20 % 2)]
    told = [np.mean([bool(cautions(data, GRID)) for data in of_kind]) for of_kind in surveys]
    assert told[0] > 0.6
    assert told[1] < 0.05


@pytest.mark.parametrize("strays", [[(0.0, 0.0)], [(0.0, 0.0), (500_400.0, 9e6)]], ids=["one", "two"])
def test_observations_far_from_all_others_are_named(strays):
    rng = np.random.default_rng(3)
    places = np.concatenate([np.column_stack([rng.uniform(5e5, 5.01e5, 60), rng.uniform(5.6e6, 5.601e6, 60)]), strays])
    assert stray_caution(*places[:60].T) is None
    told, agreed = stray_caution(*places.T, "meters"), "lies" if len(strays) == 1 else "lie"
    assert told.startswith(f"{len(strays)} of {len(places)} observations {agreed} far from all others, one at easting")
    assert "easting 0, northing 0, 5,6" in told
    assert "meters away. Are these coordinates wrong?" in told


def test_the_outskirts_of_a_dense_survey_are_no_strays():
    """The farthest lies beyond ten times the mean distance from the middle, and not beyond ten times all others."""
    line = np.r_[np.linspace(-0.1, 0.1, 55), 5.0, -5.0, 6.0, 20.0]
    assert stray_caution(line, 0 * line) is None
    assert stray_caution(np.r_[line, 400.0], np.zeros(60)).startswith("1 of 60 observations lies far from all others")


@pytest.mark.parametrize("places", [[(0, 0)], [(0, 0), (1, 1)], [(2, 2)] * 9 + [(5, 5)], [(0, 0)] * 2 + [(1, 0)]])
def test_few_or_stacked_observations_have_no_strays(places):
    assert stray_caution(*np.array(places, dtype=float).T) is None
