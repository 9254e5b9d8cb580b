"""Conditioning data: observed facies placed on a grid, each problem either a clear error or a counted warning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from .errors import ConditioningError
from .facies import FaciesTable
from .grid import Grid

ON_CONFLICT = ("majority", "error")
"""What to do with a cell that holds different facies: keep the most frequent one, or stop."""

STACKED_SHARE = 0.3
"""From this share of places (or cells) with several different facies on, points look like borehole intervals."""

DEPTH_REMEDY = (
    "Choose a depth first: select the intervals at one level or stratigraphic marker (for example with 'Extract by "
    'expression\', "top" <= 10 AND "bottom" > 10) and run again on the result.'
)
"""What to do about borehole intervals."""


@dataclass(frozen=True)
class ConditioningData:
    """
    Hard data on a grid and around it: at most one facies per cell.

    Parameters
    ----------
    row, col : int array, shape (n_data,)
        The cells, each at most once; those around the grid lie before its first or beyond its last row or column.
    class_index : int array, shape (n_data,)
        The facies there, 0 … n_facies - 1.
    n_outside : int
        Points that lie outside the grid or its mask, and out of reach; not used.
    n_duplicates : int
        Points that fell into a cell already held by a point of the same facies.
    n_conflicts : int
        Points that lost against another facies in their cell.
    n_conflict_cells : int
        Cells in which that happened.
    """

    row: np.ndarray
    col: np.ndarray
    class_index: np.ndarray
    n_outside: int = 0
    n_duplicates: int = 0
    n_conflicts: int = 0
    n_conflict_cells: int = 0

    def __len__(self) -> int:
        return int(self.row.size)

    @property
    def n_points(self) -> int:
        """Points that the map honours: several of one facies in a cell all agree with it."""
        return len(self) + self.n_duplicates

    def is_inside(self, shape: Tuple[int, int], inside: np.ndarray | None = None) -> np.ndarray:
        """
        Return which data (n_data,) lie on the grid, and in its mask.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the grid.
        inside : bool array, shape (n_rows, n_cols), optional
            The mask.
        """
        on_grid = (self.row >= 0) & (self.row < shape[0]) & (self.col >= 0) & (self.col < shape[1])
        if inside is not None:
            on_grid[on_grid] = inside[self.row[on_grid], self.col[on_grid]]
        return on_grid

    def on_grid(self, shape: Tuple[int, int]) -> np.ndarray:
        """
        Return the data on the grid as a map.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the grid.

        Returns
        -------
        int16 array, shape (n_rows, n_cols)
            Class index, -1 where nothing is known.
        """
        known = np.full(shape, -1, dtype=np.int16)
        held = self.is_inside(shape)
        known[self.row[held], self.col[held]] = self.class_index[held]
        return known


NO_DATA = ConditioningData(*np.zeros((3, 0), dtype=np.int64))
"""What a simulation without observations starts from."""


def place_on_grid(
    easting: np.ndarray,
    northing: np.ndarray,
    class_index: np.ndarray,
    grid: Grid,
    facies: FaciesTable,
    *,
    on_conflict: str = "majority",
    inside: np.ndarray | None = None,
    reach: int = 0,
) -> ConditioningData:
    """
    Place point observations on the grid's cells, and on those around it.

    Several points of one facies in a cell count once. Points of different facies in a cell are a conflict: the most
    frequent facies wins, ties go to the facies of the point nearest to the cell's centre.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates in the grid's CRS.
    class_index : int array, shape (n_points,)
        Observed facies.
    grid : Grid
        Where to place them.
    facies : FaciesTable
        For names in messages.
    on_conflict : {'majority', 'error'}
        What to do with conflicts.
    inside : bool array, shape (n_rows, n_cols), optional
        Cells beside which points count as outside; not together with `reach`.
    reach : int
        So many cells around the grid can hold points, too.

    Raises
    ------
    ConditioningError
        When there are no points, none lies on the grid or within reach, points look like borehole intervals (many
        places that hold different facies), or a conflict occurs and `on_conflict` is 'error'.
    """
    if on_conflict not in ON_CONFLICT:
        raise ConditioningError(f"Conflicts are resolved by one of {', '.join(ON_CONFLICT)}, not by {on_conflict!r}.")
    easting, northing = np.asarray(easting, dtype=float), np.asarray(northing, dtype=float)
    class_index = np.asarray(class_index, dtype=np.int64)
    if not easting.size:
        raise ConditioningError(
            "There are no observations with a facies: the layer (or its selection) is empty, or the facies field is "
            "empty everywhere. Choose a layer and field with observed facies."
        )
    row, col, is_held = grid.cell_of(easting, northing, reach=reach)
    if inside is not None:
        is_held &= inside[row, col]
    if not is_held.any():
        near = "or near " if reach else ""
        raise ConditioningError(
            f"None of the {easting.size} observations lies on {near}the simulated area. They span easting "
            f"{easting.min():.10g} to {easting.max():.10g}, northing {northing.min():.10g} to {northing.max():.10g}; "
            f"the grid spans {grid.west:.10g} to {grid.east:.10g} and {grid.south:.10g} to {grid.north:.10g}. "
            "Check the extent, the mask and the coordinate reference systems."
        )
    _check_not_stacked(easting[is_held], northing[is_held], class_index[is_held])
    centre_easting, centre_northing = grid.centre_of(row, col)
    distance = np.hypot(easting - centre_easting, northing - centre_northing)[is_held]
    point_class, n_cols = class_index[is_held], grid.n_cols + 2 * reach
    cell = ((row + reach) * n_cols + col + reach)[is_held]

    # One entry per (cell, facies): how many points, how near the nearest.
    pairs, entry, count = np.unique(cell * len(facies) + point_class, return_inverse=True, return_counts=True)
    nearest = np.full(pairs.size, np.inf)
    np.minimum.at(nearest, entry, distance)
    pair_cell, pair_class = np.divmod(pairs, len(facies))
    place = pair_cell // n_cols - reach, pair_cell % n_cols - reach
    # The winner of each cell comes first: by cell, then most points, then nearest to the centre.
    order = np.lexsort((nearest, -count, pair_cell))
    is_first = np.r_[True, np.diff(pair_cell[order]) != 0]
    winner = order[is_first]
    n_conflicts = int(cell.size - count[winner].sum())
    if n_conflicts and on_conflict == "error":
        raise ConditioningError(_conflict_message(place, pair_cell, pair_class, grid, facies))
    return ConditioningData(
        row=place[0][winner],
        col=place[1][winner],
        class_index=pair_class[winner],
        n_outside=int(easting.size - is_held.sum()),
        n_duplicates=int(cell.size - n_conflicts - winner.size),
        n_conflicts=n_conflicts,
        n_conflict_cells=np.unique(pair_cell[order[~is_first]]).size,
    )


def _check_not_stacked(easting: np.ndarray, northing: np.ndarray, class_index: np.ndarray) -> None:
    """Refuse points that are borehole intervals: many places, each with different facies."""
    places, place, n_points = np.unique(
        np.stack([easting, northing], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    place = place.reshape(-1)
    lowest, highest = np.full(len(places), 10**9), np.full(len(places), -1)
    np.minimum.at(lowest, place, class_index)
    np.maximum.at(highest, place, class_index)
    several = highest > lowest
    if several.sum() >= max(1, STACKED_SHARE * len(places)):
        example = int(np.flatnonzero(several)[0])
        raise ConditioningError(
            f"{int(several.sum())} of {len(places)} places hold several different facies, for example "
            f"{int(n_points[example])} points at easting {places[example, 0]:.10g}, northing {places[example, 1]:.10g}."
            f" These look like intervals of boreholes, and a map holds one facies per place. {DEPTH_REMEDY}"
        )


def _conflict_message(
    place: Tuple[np.ndarray, np.ndarray],
    pair_cell: np.ndarray,
    pair_class: np.ndarray,
    grid: Grid,
    facies: FaciesTable,
) -> str:
    """Name the first cell with different facies, and the remedy."""
    cells, n_facies = np.unique(pair_cell, return_counts=True)
    first = pair_cell == cells[n_facies > 1][0]
    row, col = (index[first][0] for index in place)
    easting, northing = grid.centre_of(row, col)
    held = ", ".join(f"{facies.facies[k].name} ({facies.facies[k].code})" for k in pair_class[first])
    return (
        f"The cell around easting {easting:.10g}, northing {northing:.10g} holds observations of different facies: "
        f"{held}. "
        f"It is one of {int((n_facies > 1).sum())} such cells, and a cell can hold one facies. "
        f"Resolve conflicts by majority, or use cells smaller than {grid.cell_size:g}."
    )


def median_spacing(easting: np.ndarray, northing: np.ndarray) -> float:
    """
    Return the median distance from a place to its nearest other place, in CRS units; 0 for fewer than two places.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates; points at the same place count once. At most 2,000 places are looked at from.
    """
    places = np.unique(np.stack([np.asarray(easting, float), np.asarray(northing, float)], axis=1), axis=0)
    return float(np.median(nearest_others(places)[2])) if len(places) > 1 else 0.0


def nearest_others(places: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Return the nearest other place of places: of all up to 2,000, of some of more, so that time and memory stay small.

    Parameters
    ----------
    places : array, shape (n, 2)
        At least two.

    Returns
    -------
    looking, neighbour : int array, shape (m,)
        Indices of the places that are looked at from, and of their nearest others.
    distance : array, shape (m,)
        Between them, in the same units.
    """
    n_chosen = min(2000, max(200, 20_000_000 // len(places)))
    looking = np.arange(0, len(places), -(-len(places) // n_chosen))
    neighbour, distance = np.empty(len(looking), dtype=np.int64), np.empty(len(looking))
    n_at_once = max(1, 1_000_000 // len(places))
    for start in range(0, len(looking), n_at_once):
        block = looking[start : start + n_at_once]
        squared = ((places[block, None, :] - places[None, :, :]) ** 2).sum(axis=2)
        squared[np.arange(len(block)), block] = np.inf  # not itself
        neighbour[start : start + n_at_once] = squared.argmin(axis=1)
        distance[start : start + n_at_once] = np.sqrt(squared.min(axis=1))
    return looking, neighbour, distance
