"""Laws of conditioning data: every point is used, or counted, or refused with a reason."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.conditioning import ConditioningData, median_spacing, nearest_others, place_on_grid
from oadg.core.contract.errors import ConditioningError
from oadg.core.contract.facies import FaciesTable, build_facies_table
from oadg.core.contract.grid import Grid

GRID = Grid(west=1000.0, north=2000.0, cell_size=10.0, n_rows=4, n_cols=5)
FACIES = build_facies_table(["clay", "gravel", "sand"])


def place(points, **options):
    """Place (easting, northing, class index) on the grid."""
    easting, northing, class_index = np.array(points, dtype=float).reshape(-1, 3).T
    return place_on_grid(easting, northing, class_index.astype(int), GRID, FACIES, **options)


@st.composite
def point_sets(draw):
    """Points in and around the grid, many to a cell, no two at the same place."""
    place_ = st.tuples(st.integers(980, 1069), st.integers(1941, 2019))
    places = draw(st.lists(place_, min_size=1, max_size=60, unique=True))
    return [(e + 0.37, n + 0.41, draw(st.integers(0, 2))) for e, n in places]


def reference(points):
    """The conflict rule, one cell at a time: most points first, then the point nearest to the centre."""
    cells = defaultdict(list)
    for easting, northing, facies in points:
        col, row = int((easting - GRID.west) // GRID.cell_size), int((GRID.north - northing) // GRID.cell_size)
        if 0 <= row < GRID.n_rows and 0 <= col < GRID.n_cols:
            centre = GRID.west + (col + 0.5) * GRID.cell_size, GRID.north - (row + 0.5) * GRID.cell_size
            distance = float(np.hypot(easting - centre[0], northing - centre[1]))
            cells[row, col].append((facies, distance))
    winners, lost, duplicates = {}, 0, 0
    for cell, held in cells.items():
        counts = Counter(facies for facies, _ in held)
        most = [facies for facies, count in counts.items() if count == max(counts.values())]
        distances = {facies: min(d for f, d in held if f == facies) for facies in most}
        nearest = min(distances.values())
        winners[cell] = {facies for facies, d in distances.items() if d == pytest.approx(nearest)}
        lost += len(held) - max(counts.values())
        duplicates += max(counts.values()) - 1
    return winners, lost, duplicates, len(points) - sum(map(len, cells.values()))


@given(point_sets())
def test_conflicts_follow_the_rule_and_every_point_is_accounted_for(points):
    winners, lost, duplicates, outside = reference(points)
    if not winners:
        with pytest.raises(ConditioningError, match="lies on the simulated area"):
            place(points)
        return
    data = place(points)
    placed = {(r, c): k for r, c, k in zip(data.row.tolist(), data.col.tolist(), data.class_index.tolist())}
    assert len(placed) == len(data)
    assert placed.keys() == winners.keys()
    assert all(placed[cell] in winners[cell] for cell in placed)
    assert (data.n_conflicts, data.n_duplicates, data.n_outside) == (lost, duplicates, outside)
    assert len(data) + data.n_conflicts + data.n_duplicates + data.n_outside == len(points)


@given(point_sets(), st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(points, random):
    on_grid = [*points, (1005.0, 1995.0, 0)]
    shuffled = random.sample(on_grid, len(on_grid))
    one, other = place(on_grid), place(shuffled)
    np.testing.assert_array_equal(one.on_grid(GRID.shape), other.on_grid(GRID.shape))
    assert (one.n_conflicts, one.n_duplicates, one.n_outside) == (
        other.n_conflicts,
        other.n_duplicates,
        other.n_outside,
    )


def test_on_grid_puts_each_datum_in_its_cell_and_minus_one_elsewhere():
    data = place([(1005, 1995, 2), (1049, 1961, 1)])
    known = data.on_grid(GRID.shape)
    assert known.shape == GRID.shape
    assert known[0, 0] == 2
    assert known[3, 4] == 1
    assert (known == -1).sum() == GRID.n_cells - 2


def test_points_of_one_facies_in_a_cell_count_once():
    data = place([(1001, 1999, 2), (1002, 1998, 2), (1003, 1997, 2)])
    assert len(data) == 1
    assert (data.n_duplicates, data.n_conflicts) == (2, 0)
    assert data.n_points == 3, "the map honours all of them"


def test_the_majority_wins_over_the_nearest():
    data = place([(1005, 1995, 0), (1001, 1999, 1), (1009, 1991, 1)])
    assert data.class_index.tolist() == [1]
    assert (data.n_duplicates, data.n_conflicts) == (1, 1)


def test_every_point_that_loses_its_cell_counts():
    data = place([(1001 + i, 1995, facies) for i, facies in enumerate((1, 0, 1, 0, 1))])
    assert (data.class_index.tolist(), data.n_points, data.n_conflicts, data.n_conflict_cells) == ([1], 3, 2, 1)


def test_a_tie_goes_to_the_point_nearest_the_centre():
    data = place([(1001, 1999, 0), (1006, 1995, 2)])
    assert data.class_index.tolist() == [2]
    assert data.n_conflicts == 1


def test_a_conflict_is_an_error_when_asked_for():
    points = [(1005, 1995, 0), (1021, 1989, 2), (1022, 1988, 0), (1041, 1961, 1)]
    with pytest.raises(
        ConditioningError,
        match=r"The cell around easting 1025, northing 1985 holds observations of different facies: clay \(1\), "
        r"sand \(3\)\. It is one of 1 such cells.*by majority, or use cells smaller than 10",
    ):
        place(points, on_conflict="error")
    assert len(place([p for p in points if p[0] != 1022], on_conflict="error")) == 3


def test_an_unknown_way_to_resolve_conflicts_is_refused():
    with pytest.raises(ConditioningError, match="one of majority, error, not by 'first'"):
        place([(1005, 1995, 0)], on_conflict="first")


def test_no_points_is_an_error():
    with pytest.raises(ConditioningError, match=r"no observations with a facies: the layer .* is empty"):
        place([])


def test_points_outside_are_counted():
    data = place([(1005, 1995, 0), (990, 1995, 1), (1005, 2100, 1)])
    assert (len(data), data.n_outside) == (1, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_point_without_a_place_counts_as_outside(bad):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = place([(1005, 1995, 0), (bad, 1995, 1)])
    assert (len(data), data.n_outside) == (1, 1)


def test_all_points_outside_is_an_error_with_both_ranges():
    with pytest.raises(
        ConditioningError,
        match=r"None of the 2 observations .* easting 0 to 5, northing 3 to 4; the grid spans 1000 to 1050 and "
        r"1960 to 2000\. Check the extent",
    ):
        place([(0, 3, 0), (5, 4, 1)])


def test_points_outside_the_mask_count_as_outside():
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[0, 0] = True
    data = place([(1005, 1995, 0), (1015, 1995, 1)], inside=inside)
    assert (data.row.tolist(), data.col.tolist(), data.n_outside) == ([0], [0], 1)
    with pytest.raises(ConditioningError, match=r"None of the 1 observations lies on the simulated area.*the mask"):
        place([(1015, 1995, 1)], inside=inside)


def test_points_within_reach_have_cells_before_the_first_or_beyond_the_last():
    points = [(1005, 1995, 0), (990, 1995, 1), (1050, 1960, 0), (1069.9, 1940.1, 1), (979.9, 1995, 1), (1005, 1939, 1)]
    data = place(points, reach=2)
    placed = {(r, c): k for r, c, k in zip(data.row.tolist(), data.col.tolist(), data.class_index.tolist())}
    assert placed == {(0, 0): 0, (0, -1): 1, (3, 4): 0, (5, 6): 1}
    assert data.n_outside == 2
    assert (data.on_grid(GRID.shape) >= 0).sum() == 2
    inside = np.ones(GRID.shape, dtype=bool)
    inside[0, 0] = False
    for mask, expected in ((None, {(0, 0), (3, 4)}), (inside, {(3, 4)})):
        held = data.is_inside(GRID.shape, mask)
        assert set(zip(data.row[held].tolist(), data.col[held].tolist())) == expected


def test_data_on_the_grid_are_those_of_its_rows_and_columns():
    row, col = (index.ravel() - 1 for index in np.indices((GRID.n_rows + 2, GRID.n_cols + 2)))
    data = ConditioningData(row, col, np.ones(row.size, dtype=int))
    held = data.is_inside(GRID.shape)
    assert held.sum() == GRID.n_cells
    assert (data.on_grid(GRID.shape) == 1).all()
    assert (row[held].max(), col[held].max()) == (GRID.n_rows - 1, GRID.n_cols - 1)


def test_a_conflict_around_the_grid_names_its_cell():
    with pytest.raises(
        ConditioningError, match=r"The cell around easting 1055, northing 2005 holds observations of different facies"
    ):
        place([(1055, 2005, 0), (1056, 2005, 1), (1005, 1995, 0)], reach=1, on_conflict="error")


def test_borehole_intervals_are_recognized_and_the_remedy_is_a_depth():
    intervals = [(1000 + 5 * hole, 1990, level) for hole in range(6) for level in range(3)]
    with pytest.raises(
        ConditioningError,
        match=r"6 of 6 places hold several different facies, for example 3 points at easting 1000, northing 1990\. "
        r"These look like intervals of boreholes.*Choose a depth first.*\"top\" <= 10",
    ):
        place(intervals)


@pytest.mark.parametrize(("n_stacked", "is_refused"), [(2, False), (3, True)])
def test_from_three_places_in_ten_on_points_are_intervals(n_stacked, is_refused):
    points = [(1001 + 4 * i, 1995, 0) for i in range(10)] + [(1001 + 4 * i, 1995, 1) for i in range(n_stacked)]
    if is_refused:
        with pytest.raises(ConditioningError, match="3 of 10 places hold several different facies"):
            place(points)
    else:
        assert len(place(points)) == 4


def test_the_intervals_of_one_borehole_are_recognized():
    with pytest.raises(ConditioningError, match=r"1 of 1 places hold several .* for example 6 points.*a depth first"):
        place([(1005, 1995, level % 3) for level in range(6)])


def test_intervals_elsewhere_do_not_refuse_a_clean_area():
    stacked = [(1005 + hole, 2500, level) for hole in range(30) for level in range(3)]
    clean = [(1005, 1995, 0), (1015, 1995, 1)]
    assert len(place([*clean, *stacked])) == 2
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[0] = True
    assert len(place([*clean, *[(e, 1975, k) for e, _, k in stacked]], inside=inside)) == 2


def test_cells_with_a_conflict_are_counted_once():
    points = [(1005 + 0.001 * depth, 1995, depth) for depth in range(3)]
    data = place([*points, (1025, 1995, 1), (1026, 1995, 1), (1041, 1965, 0), (1042, 1965, 2)])
    assert (len(data), data.n_conflicts, data.n_conflict_cells) == (3, 3, 2)


def test_a_few_places_with_two_facies_are_conflicts_not_boreholes():
    points = [(1001 + 10 * i % 50, 1995 - 10 * (i // 5), 0) for i in range(20)]
    data = place([*points, (1001, 1995, 1), (1011, 1995, 1)])
    assert data.n_conflicts == 2


def test_intervals_of_one_facies_are_duplicates_not_boreholes():
    data = place([(1001 + 10 * i, 1995, 1) for i in range(5) for _ in range(4)])
    assert (len(data), data.n_duplicates) == (5, 15)


def test_as_many_facies_as_possible_do_not_mix_up_cells():
    many = FaciesTable(build_facies_table(range(32)).facies)
    row, col = (index.ravel() for index in np.indices(GRID.shape))
    class_index = np.arange(GRID.n_cells) % 32
    data = place_on_grid(*GRID.centre_of(row, col), class_index, GRID, many)
    np.testing.assert_array_equal(data.on_grid(GRID.shape).ravel(), class_index)


def brute_force_spacing(places):
    places = np.unique(places, axis=0)
    distance = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    return float(np.median(distance.min(axis=1)))


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=300).filter(
        lambda p: len(set(p)) > 1
    )
)
def test_median_spacing_is_the_median_distance_to_the_nearest_other_place(places):
    easting, northing = np.array(places, dtype=float).T
    assert median_spacing(easting, northing) == pytest.approx(brute_force_spacing(np.array(places, dtype=float)))


def test_median_spacing_of_many_places_looks_at_some_of_them():
    easting, northing = (25.0 * index.ravel() for index in np.indices((80, 80)))
    assert median_spacing(easting, northing) == 25


@pytest.mark.parametrize(("n_places", "n_looking"), [(2, 2), (2000, 2000), (5000, 1667)])
def test_up_to_two_thousand_places_are_all_looked_at_from(n_places, n_looking):
    places = np.column_stack([np.arange(n_places) ** 2.0, np.zeros(n_places)])
    looking, neighbour, distance = nearest_others(places)
    assert len(looking) == n_looking
    assert (neighbour == np.maximum(looking - 1, looking == 0)).all()
    assert (distance == np.maximum(2 * looking - 1, 1)).all()


@pytest.mark.parametrize("places", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 2.0)]])
def test_median_spacing_of_less_than_two_places_is_zero(places):
    easting, northing = np.array(places).reshape(-1, 2).T
    assert median_spacing(easting, northing) == 0
