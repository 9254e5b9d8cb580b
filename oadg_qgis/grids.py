"""The grid of a map's cells."""

from __future__ import annotations

import math
from typing import Optional

import numpy as np
from qgis.core import QgsRectangle

from ..core.contract.cautions import stray_caution
from ..core.contract.conditioning import median_spacing
from ..core.contract.errors import GridError
from ..core.contract.grid import Grid, default_cell_size
from .layers import Observations

_PADDING = 0.05


def make_grid(observations: Observations, extent: Optional[QgsRectangle], cell_size: Optional[float]) -> Grid:
    """
    Return the simulation grid; what is not given follows from the observations.

    Parameters
    ----------
    observations : Observations
        At least one, unless both others are given.
    extent : QgsRectangle, optional
        In the grid's coordinate reference system. By default that of the observations, padded by 5 % of its longer
        side and at least by a cell.
    cell_size : float, optional
        By default a round number that resolves the spacing of the observations.

    Raises
    ------
    GridError
        For an empty extent, a bad cell size or too many cells.
    """
    east, north = observations.easting, observations.northing
    spread = max(np.ptp(east), np.ptp(north)) if extent is None else 0.0
    if extent is None and not spread > 0:
        raise GridError(
            f"All observations lie at one place (easting {east[0]:.10g}, northing {north[0]:.10g}), so the area to "
            "simulate is unknown. Give the parameter EXTENT."
        )
    padding = _PADDING * spread
    if extent is None:
        box = (east.min() - padding, north.min() - padding, east.max() + padding, north.max() + padding)
    else:
        box = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
    width, height = box[2] - box[0], box[3] - box[1]
    if cell_size is None and width > 0 and height > 0 and math.isfinite(width + height):
        cell_size = default_cell_size(width, height, median_spacing(east, north))
    if cell_size is None:
        cell_size = 1.0  # the extent is empty, which from_extent tells
    more = max(0.0, cell_size - padding) if extent is None and math.isfinite(cell_size) else 0.0
    try:
        grid = Grid.from_extent(box[0] - more, box[1] - more, box[2] + more, box[3] + more, cell_size)
    except GridError as error:
        stray = stray_caution(east, north) if extent is None else None
        raise GridError(" ".join(filter(None, [str(error), stray]))) from error
    if max(grid.shape) < 2 or cell_size > max(width, height):
        raise GridError(
            f"Cells of {cell_size:g} x {cell_size:g} leave one of the area of {width:g} x {height:g}. "
            f"Use smaller ones, for example {default_cell_size(width, height, 0):g}."
        )
    return grid
