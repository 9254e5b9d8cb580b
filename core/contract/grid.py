"""The simulation grid: where cells lie in the world. Row 0 is north; columns run east."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Mapping, Tuple

import numpy as np

from .errors import GridError

MAX_CELLS = 16_000_000
"""Largest grid that is accepted (4,000 x 4,000 cells): above it, memory and time are no longer reasonable."""
_ROUNDED = 1e-6
"""By what share of a cell coordinates may be off, for they are rounded."""
_ABSURDLY_MANY = 1e100
"""Cells, of which one does not count how many there are."""
_MOST_WITH_REACH = 2.25
"""Times as many cells as its own a grid has at most with those around it that observations condition it from."""


@dataclass(frozen=True)
class Grid:
    """
    A regular grid of square cells, north up.

    Parameters
    ----------
    west, north : float
        Outer corner of the cell at row 0, col 0, in units of the coordinate reference system.
    cell_size : float
        Side of a cell, in the same units.
    n_rows, n_cols : int
        Shape of the grid.
    """

    west: float
    north: float
    cell_size: float
    n_rows: int
    n_cols: int

    def __post_init__(self) -> None:
        check_cell_size(self.cell_size)
        if self.n_rows < 1 or self.n_cols < 1:
            raise GridError(
                f"The grid has {self.n_rows} rows and {self.n_cols} columns; it needs at least one of each."
            )
        check_cell_count(self.n_rows, self.n_cols, self.cell_size)
        if not (math.isfinite(self.west) and math.isfinite(self.north)):
            raise GridError(f"The grid's corner ({self.west}, {self.north}) is not a place. Check the extent.")

    @classmethod
    def from_extent(cls, west: float, south: float, east: float, north: float, cell_size: float) -> Grid:
        """
        Return the smallest grid of whole cells, anchored at the north-west corner, that covers an extent.

        Parameters
        ----------
        west, south, east, north : float
            The extent, in units of the coordinate reference system.
        cell_size : float
            Side of a cell, in the same units.

        Raises
        ------
        GridError
            When the extent is empty, the cell size is not positive, or the grid would have more than
            `MAX_CELLS` cells. Nothing is allocated before.
        """
        check_cell_size(cell_size)
        width, height = east - west, north - south
        if not (width > 0 and height > 0 and math.isfinite(width) and math.isfinite(height)):
            raise GridError(
                f"The extent (west {west:.10g}, south {south:.10g}, east {east:.10g}, north {north:.10g}) is empty. "
                "East must exceed west and north must exceed south: choose an extent that covers the observations."
            )
        if (width / cell_size) * (height / cell_size) > _ABSURDLY_MANY:
            raise GridError(
                f"Cells of {cell_size:g} are far too small for an extent of {width:g} by {height:g}. Use larger cells."
            )
        # A hair of tolerance, so that 1000 / 10 gives 100 cells and not 101.
        n_rows = max(1, math.ceil(height / cell_size - _ROUNDED))
        n_cols = max(1, math.ceil(width / cell_size - _ROUNDED))
        check_cell_count(n_rows, n_cols, cell_size)
        return cls(west=west, north=north, cell_size=cell_size, n_rows=n_rows, n_cols=n_cols)

    @property
    def shape(self) -> Tuple[int, int]:
        """Number of rows and of columns."""
        return self.n_rows, self.n_cols

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.n_rows * self.n_cols

    @property
    def east(self) -> float:
        """Easting of the eastern border."""
        return self.west + self.n_cols * self.cell_size

    @property
    def south(self) -> float:
        """Northing of the southern border."""
        return self.north - self.n_rows * self.cell_size

    @property
    def reach(self) -> int:
        """How many cells beyond the border observations still count: a quarter of the side of a square grid."""
        most = min(_MOST_WITH_REACH * self.n_cells, MAX_CELLS)
        half_girth = self.n_rows + self.n_cols
        # The largest whole r with (n_rows + 2 r) (n_cols + 2 r) <= most.
        return int((math.sqrt(half_girth**2 + 4 * (most - self.n_cells)) - half_girth) / 4)

    def cell_of(
        self, easting: np.ndarray, northing: np.ndarray, *, reach: int = 0
    ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        Return the cell that holds each point.

        Parameters
        ----------
        easting, northing : array, shape (n,)
            World coordinates. Points between two cells belong to the one east or south, those on the grid's border to
            the cells there; as far as coordinates are rounded a point is where it would be.
        reach : int
            So many cells beyond the border count, too; their indices are negative, or at least the number of rows or
            columns.

        Returns
        -------
        row, col : int array, shape (n,)
            Indices; only meaningful where `is_held`.
        is_held : bool array, shape (n,)
            Whether the point lies on the grid, or within reach of it.
        """
        x = (np.asarray(easting, dtype=float) - self.west) / self.cell_size
        y = (self.north - np.asarray(northing, dtype=float)) / self.cell_size
        beyond = reach + _ROUNDED
        is_held = (x >= -beyond) & (x <= self.n_cols + beyond) & (y >= -beyond) & (y <= self.n_rows + beyond)
        row, col = (
            _index_along(np.where(is_held, at, 0), n).clip(-reach, n - 1 + reach)
            for at, n in ((y, self.n_rows), (x, self.n_cols))
        )
        return row, col, is_held

    def centre_of(self, row: np.ndarray, col: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """
        Return easting and northing of cell centres.

        Parameters
        ----------
        row, col : array of int
            Cell indices.
        """
        easting = self.west + (np.asarray(col) + 0.5) * self.cell_size
        northing = self.north - (np.asarray(row) + 0.5) * self.cell_size
        return easting, northing

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Grid:
        """Rebuild the grid from `to_dict`."""
        return cls(
            west=float(description["west"]),
            north=float(description["north"]),
            cell_size=float(description["cell_size"]),
            n_rows=int(description["n_rows"]),
            n_cols=int(description["n_cols"]),
        )


def _index_along(at: np.ndarray, n_cells: int) -> np.ndarray:
    """Return the index of the cell at places along an axis, in cells, that are rounded."""
    index = np.floor(at + _ROUNDED)  # else points of a regular survey would be on either side of a border by chance
    index[np.abs(at - n_cells) <= _ROUNDED] = n_cells - 1
    return index.astype(np.int64)


def check_cell_size(cell_size: float) -> None:
    """Raise `GridError` unless a cell size is a positive number."""
    if not (math.isfinite(cell_size) and cell_size > 0):
        raise GridError(f"The cell size is {cell_size:g}; it must be a positive number in units of the grid's CRS.")


def check_cell_count(n_rows: int, n_cols: int, cell_size: float) -> None:
    """Raise `GridError`, with the numbers and a cell size that fits, when a grid has more than `MAX_CELLS` cells."""
    n_cells = n_rows * n_cols
    if n_cells > MAX_CELLS:
        factor = math.sqrt(n_cells / MAX_CELLS)
        while math.ceil(n_rows / factor) * math.ceil(n_cols / factor) > MAX_CELLS:
            factor *= 1.01  # whole rows and columns need a little more, a grid of one row much more
        unit = 10.0 ** (math.floor(math.log10(cell_size * factor)) - 2)
        fitting = math.ceil(cell_size * factor / unit) * unit  # three digits, rounded up
        raise GridError(
            f"A grid of {n_rows:,} x {n_cols:,} cells of {cell_size:g} has {n_cells:,} cells; at most {MAX_CELLS:,} "
            f"are possible. Use cells of at least {fitting:g}, or a smaller extent."
        )


def default_cell_size(width: float, height: float, spacing: float) -> float:
    """
    Return a sensible, round cell size for an area and a typical distance between neighbouring observations.

    A third of the spacing resolves what the data can tell; the longer side gets between 50 and 300 cells.

    Parameters
    ----------
    width, height : float
        Sides of the extent, in CRS units.
    spacing : float
        Median distance to the nearest other observation; 0 when unknown.

    Returns
    -------
    float
        1, 2, 2.5 or 5 times a power of ten, in CRS units.
    """
    longest = max(width, height)
    target = min(max(spacing / 3, longest / 300), longest / 50)
    exponent = math.floor(math.log10(target))
    steps = [m * 10.0**e for e in (exponent, exponent + 1) for m in (1.0, 2.0, 2.5, 5.0)]
    return min(steps, key=lambda size: abs(math.log(size / target)))
