"""The grid of a map's cells."""

from __future__ import annotations

import math
from typing import Optional, Tuple

import numpy as np
from qgis.core import QgsRectangle

from ..core.contract.cautions import stray_caution
from ..core.contract.conditioning import median_spacing
from ..core.contract.errors import GridError
from ..core.contract.grid import Grid, default_cell_size
from .layers import Observations

_PADDING = 0.05
_ALIKE = 1e-3
"""Of a cell: so much may observations that lie alike in their cells lie off each other."""


def make_grid(observations: Observations, extent: Optional[QgsRectangle], cell_size: Optional[float]) -> Grid:
    """
    Return the simulation grid; what is not given follows from the observations.

    Parameters
    ----------
    observations : Observations
        At least one, unless both others are given.
    extent : QgsRectangle, optional
        In the grid's coordinate reference system. By default that of the observations, padded by 5 % of its longer
        side, but of a narrow one by no more than the distance between observations, and at least by a cell; where all
        of them lie alike in their cells (a regular survey) they lie in the middle.
    cell_size : float, optional
        By default a round number that resolves the spacing of the observations.

    Raises
    ------
    GridError
        For an empty extent, a bad cell size or too many cells.
    """
    east, north = observations.easting, observations.northing
    if extent is None and not max(np.ptp(east), np.ptp(north)) > 0:
        raise GridError(
            f"All observations lie at one place (easting {east[0]:.10g}, northing {north[0]:.10g}), so the area to "
            "simulate is unknown. Give the parameter EXTENT."
        )
    if extent is None:
        spacing = median_spacing(east, north)
        sides = [np.ptp(east), np.ptp(north)]
        padding = [min(_PADDING * max(sides), max(_PADDING * side, spacing)) for side in sides]
        box = (east.min() - padding[0], north.min() - padding[1], east.max() + padding[0], north.max() + padding[1])
    else:
        box = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
    width, height = box[2] - box[0], box[3] - box[1]
    if cell_size is None and width > 0 and height > 0 and math.isfinite(width + height):
        cell_size = default_cell_size(width, height, median_spacing(east, north))
    if cell_size is None:
        cell_size = 1.0  # the extent is empty, which from_extent tells
    if extent is None and cell_size > 0 and math.isfinite(cell_size):
        across, down = (_around(at, pad, cell_size) for at, pad in zip((east, -north), padding))
        box = (across[0], -down[1], across[1], -down[0])
    try:
        grid = Grid.from_extent(*box, cell_size)
    except GridError as error:
        stray = stray_caution(east, north) if extent is None else None
        raise GridError(" ".join(filter(None, [str(error), stray]))) from error
    if max(grid.shape) < 2 or cell_size > max(width, height):
        raise GridError(
            f"Cells of {cell_size:g} x {cell_size:g} leave one of the area of {width:g} x {height:g}. "
            f"Use smaller ones, for example {default_cell_size(width, height, 0):g}."
        )
    return grid


def _around(places: np.ndarray, padding: float, cell_size: float) -> Tuple[float, float]:
    """Return the borders of an area around places along an axis; cells are counted from the first one."""
    padding = max(padding, cell_size)
    first, last = places.min() - padding, places.max() + padding
    apart = (places - places.min()) / cell_size
    if np.abs(apart - apart.round()).max() <= _ALIKE:  # amid their cells, not on borders
        first -= (0.5 - padding / cell_size) % 1 * cell_size
    return first, last
