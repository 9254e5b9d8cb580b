"""Laws of the grid: where cells lie, how many are possible, and which sizes are sensible."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import GridError
from oadg.core.contract.grid import MAX_CELLS, Grid, check_cell_count, check_cell_size, default_cell_size

coordinates = st.floats(-1e7, 1e7)
cell_sizes = st.floats(0.01, 1e4)


@st.composite
def grids(draw) -> Grid:
    return Grid(
        draw(coordinates), draw(coordinates), draw(cell_sizes), draw(st.integers(1, 200)), draw(st.integers(1, 200))
    )


@given(grids())
def test_every_centre_lies_in_its_own_cell(grid):
    row, col = (index.ravel() for index in np.indices(grid.shape))
    found_row, found_col, inside = grid.cell_of(*grid.centre_of(row, col))
    assert inside.all()
    np.testing.assert_array_equal(found_row, row)
    np.testing.assert_array_equal(found_col, col)


@given(grids(), st.floats(0, 1), st.floats(0, 1))
def test_a_point_is_at_most_half_a_cell_from_its_cells_centre(grid, across, down):
    easting = np.array([grid.west + across * (grid.east - grid.west)])
    northing = np.array([grid.north - down * (grid.north - grid.south)])
    row, col, inside = grid.cell_of(easting, northing)
    centre_easting, centre_northing = grid.centre_of(row, col)
    reach = grid.cell_size / 2 + 1e-8 * max(1.0, abs(grid.west), abs(grid.north))
    if inside[0]:  # rounding may put a point of the border a hair outside
        assert abs(centre_easting[0] - easting[0]) <= reach
        assert abs(centre_northing[0] - northing[0]) <= reach
    else:
        assert across in (0, 1) or down in (0, 1) or min(across, down, 1 - across, 1 - down) < 1e-6


def test_row_zero_is_north_and_columns_run_east():
    grid = Grid(west=100.0, north=500.0, cell_size=10.0, n_rows=3, n_cols=2)
    assert grid.centre_of(0, 0) == (105.0, 495.0)
    assert grid.centre_of(2, 1) == (115.0, 475.0)
    assert (grid.east, grid.south, grid.n_cells, grid.shape) == (120.0, 470.0, 6, (3, 2))


def test_borders_belong_to_the_grid_and_nothing_beyond():
    grid = Grid(west=0.0, north=30.0, cell_size=10.0, n_rows=3, n_cols=2)
    easting = np.array([0.0, 20.0, 10.0, -0.1, 20.1, 5.0, 5.0, np.nan])
    northing = np.array([30.0, 0.0, 20.0, 15.0, 15.0, 30.1, -0.1, 15.0])
    row, col, inside = grid.cell_of(easting, northing)
    np.testing.assert_array_equal(inside, [True, True, True, False, False, False, False, False])
    np.testing.assert_array_equal(row[:3], [0, 2, 1])
    np.testing.assert_array_equal(col[:3], [0, 1, 1])
    assert row.min() >= 0


@pytest.mark.parametrize("spacing", [30.48, 33.3, 12.7])
def test_points_between_cells_belong_to_the_one_beyond_however_they_are_rounded(spacing):
    at = np.arange(41)
    east, north = np.round(402117.35 + spacing * at, 2), np.round(5650000.07 + spacing * at, 2)
    grid = Grid.from_extent(east[0], north[0], east[-1], north[-1], spacing)
    for reach in (0, 2):
        row, col, is_held = grid.cell_of(east, north, reach=reach)
        assert is_held.all()
        np.testing.assert_array_equal(col, at.clip(0, 39))
        np.testing.assert_array_equal(row, (40 - at).clip(0, 39))


def test_a_grid_of_an_extent_holds_the_points_on_its_border():
    """The extent may be longer than whole cells by what coordinates are rounded to."""
    grid = Grid.from_extent(0, 0, 10.000005, 10.000005, 10)
    row, col, inside = grid.cell_of(np.array([10.000005, 10.0001]), np.array([5.0, 5.0]))
    assert (grid.shape, inside.tolist(), col[0], row[0]) == ((1, 1), [True, False], 0, 0)
    assert col.max() < 2


@pytest.mark.parametrize("reach", [0, 3])
def test_corners_of_an_extent_with_decimals_belong_to_the_corner_cells(reach):
    """Also where points beyond the border count, of which those on the border are none."""
    grid = Grid.from_extent(625308.1, 5912755.6, 625319.1, 5912768.5, 0.1)
    east, north = np.array([625308.1, 625319.1]), np.array([5912768.5, 5912755.6])
    row, col, is_held = grid.cell_of(east, north, reach=reach)
    assert is_held.all()
    assert (row.tolist(), col.tolist()) == ([0, grid.n_rows - 1], [0, grid.n_cols - 1])


@given(st.integers(1, 5000), st.integers(1, 3000))
def test_within_reach_lies_as_much_as_a_grid_can_take(n_rows, n_cols):
    """One more cell on each side would be too many: more than 9/4 of the grid's own, or than any grid has."""
    grid = Grid(west=0.0, north=0.0, cell_size=1.0, n_rows=n_rows, n_cols=n_cols)
    n_cells = [(n_rows + 2 * reach) * (n_cols + 2 * reach) for reach in (grid.reach, grid.reach + 1)]
    assert grid.reach >= 0
    assert n_cells[0] <= min(9 / 4 * grid.n_cells, MAX_CELLS) < n_cells[1]


@given(grids(), st.integers(0, 50))
def test_cells_within_reach_are_numbered_on_beyond_the_border(grid, reach):
    row, col = (index.ravel() - reach for index in np.indices((grid.n_rows + 2 * reach, grid.n_cols + 2 * reach)))
    found_row, found_col, is_held = grid.cell_of(*grid.centre_of(row, col), reach=reach)
    assert is_held.all()
    np.testing.assert_array_equal(found_row, row)
    np.testing.assert_array_equal(found_col, col)
    beyond = grid.centre_of(np.array([-reach - 1, 0]), np.array([0, grid.n_cols + reach]))
    assert not grid.cell_of(*beyond, reach=reach)[2].any()


@given(coordinates, coordinates, st.floats(1, 1e4), st.floats(1, 1e4), st.floats(10, 500))
def test_the_grid_of_an_extent_covers_it_with_no_cell_to_spare(west, south, width, height, cell_size):
    grid = Grid.from_extent(west, south, west + width, south + height, cell_size)
    slack = 1e-5 * cell_size + 1e-8 * max(abs(west), abs(south), 1)
    assert (grid.west, grid.north) == (west, south + height)
    assert grid.east >= west + width - slack
    assert grid.south <= south + slack
    assert grid.n_cols == 1 or grid.east - cell_size < west + width + slack
    assert grid.n_rows == 1 or grid.south + cell_size > south - slack


@pytest.mark.parametrize("cell_size", [10.0, 0.1, 0.3, 2.5, 1 / 3])
def test_an_extent_of_whole_cells_gets_no_extra_cell(cell_size):
    grid = Grid.from_extent(
        2_553_287.0, 1_218_071.0, 2_553_287.0 + 97 * cell_size, 1_218_071.0 + 117 * cell_size, cell_size
    )
    assert grid.shape == (117, 97)


@given(grids())
def test_a_grid_survives_json(grid):
    assert Grid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


@pytest.mark.parametrize("cell_size", [0.0, -5.0, math.nan, math.inf])
def test_a_cell_size_must_be_a_positive_number(cell_size):
    message = f"cell size is {cell_size:g}; it must be a positive number"
    with pytest.raises(GridError, match=message):
        check_cell_size(cell_size)
    with pytest.raises(GridError, match=message):
        Grid(0.0, 0.0, cell_size, 1, 1)
    with pytest.raises(GridError, match=message):
        Grid.from_extent(0, 0, 10, 10, cell_size)


@pytest.mark.parametrize(
    "extent", [(0, 0, 0, 10), (0, 10, 10, 10), (10, 0, 0, 10), (0, 0, math.nan, 10), (-math.inf, 0, 10, 10)]
)
def test_an_empty_extent_is_refused(extent):
    with pytest.raises(GridError, match=r"extent .* is empty\. East must exceed west"):
        Grid.from_extent(*extent, 1.0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 5)])
def test_a_grid_without_cells_is_refused(shape):
    with pytest.raises(GridError, match=f"{shape[0]} rows and {shape[1]} columns; it needs at least one of each"):
        Grid(0.0, 0.0, 1.0, *shape)


@pytest.mark.parametrize("corner", [(math.nan, 0.0), (0.0, math.inf)])
def test_a_corner_must_be_a_place(corner):
    with pytest.raises(GridError, match="is not a place"):
        Grid(*corner, 1.0, 1, 1)


def test_fifty_million_cells_are_refused_with_the_numbers_before_anything_is_allocated():
    tracemalloc.start()
    try:
        with pytest.raises(GridError, match=r"10,000 x 5,000 cells of 1 has 50,000,000 cells; at most 16,000,000"):
            Grid.from_extent(0, 0, 5_000, 10_000, 1.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "extent",
    [
        (0, 0, 5_000, 10_000),
        (0, 0, 1e7, 1e7),
        (0, 0, 4001, 4000),
        (0, 0, 2e7, 1),
        (0, 0, 1e20, 1e-3),
        (0, 0, 4938, 4938),  # cells of 1.2345 would do, those of 1.23 are too many
    ],
)
def test_the_cell_size_that_the_refusal_names_fits(extent):
    with pytest.raises(GridError, match="Use cells of at least") as refusal:
        Grid.from_extent(*extent, 1.0)
    named = float(str(refusal.value).split("at least ")[1].split(",")[0])
    assert Grid.from_extent(*extent, named).n_cells <= MAX_CELLS


@pytest.mark.parametrize(("side", "cell_size"), [(1e9, 1e-300), (1e200, 1e-3)])
def test_cells_too_small_to_count_are_refused(side, cell_size):
    with pytest.raises(GridError, match="are far too small for an extent of 1e"):
        Grid.from_extent(0, 0, side, side, cell_size)


def test_the_largest_grid_is_accepted():
    check_cell_count(4_000, MAX_CELLS // 4_000, 1.0)


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6), st.floats(0, 1e5))
def test_the_default_cell_size_is_round_and_gives_a_sensible_grid(width, height, spacing):
    size = default_cell_size(width, height, spacing)
    mantissa = size / 10 ** math.floor(math.log10(size) + 1e-9)
    assert min(abs(mantissa - round_number) for round_number in (1, 2, 2.5, 5)) < 1e-6
    # The target is between 50 and 300 cells; rounding moves it by at most the root of the largest step, 2.
    assert 50 / math.sqrt(2.1) <= max(width, height) / size <= 300 * math.sqrt(2.1)


def test_the_default_cell_size_resolves_the_spacing_of_the_data():
    assert default_cell_size(4_826, 5_840, 150) == 50
