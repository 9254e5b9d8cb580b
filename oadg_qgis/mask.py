"""Masks: polygons to the cells that are simulated."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
from osgeo import gdal, ogr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeatureRequest,
    QgsProcessingFeatureSource,
    QgsRectangle,
)

from ..core.contract.errors import GridError
from ..core.contract.grid import Grid
from .crs import to_crs
from .quiet import quiet_gdal


def read_polygons(
    source: QgsProcessingFeatureSource,
    crs: QgsCoordinateReferenceSystem,
    transform_context: QgsCoordinateTransformContext,
) -> List[bytes]:
    """
    Read the polygons of a mask as well-known binary, in the grid's coordinate reference system.

    Raises
    ------
    GridError
        When the layer holds no polygon.
    """
    request = to_crs(QgsFeatureRequest().setNoAttributes(), source, crs, transform_context)
    polygons = []
    for feature in source.getFeatures(request, QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks):
        geometry = feature.geometry()
        if not geometry.isEmpty() and geometry.constGet().dimension() == 2:
            geometry.convertToStraightSegment()
            polygons.append(bytes(geometry.asWkb()))
    if not polygons:
        raise GridError(
            f"The mask {source.sourceName()!r} holds no polygon. Choose a layer of polygons (and check its selection), "
            "or leave the mask empty."
        )
    return polygons


def extent_of(polygons: List[bytes]) -> QgsRectangle:
    """Return the extent of polygons in well-known binary."""
    boxes = np.array([ogr.CreateGeometryFromWkb(polygon).GetEnvelope() for polygon in polygons])
    west, east, south, north = boxes[:, 0].min(), boxes[:, 1].max(), boxes[:, 2].min(), boxes[:, 3].max()
    return QgsRectangle(west, south, east, north)


def rasterise(polygons: List[bytes], grid: Grid) -> np.ndarray:
    """
    Return which cells have their centre in a polygon.

    Parameters
    ----------
    polygons : list of bytes
        Well-known binary, in the grid's coordinate reference system.
    grid : Grid
        The cells.

    Returns
    -------
    bool array, shape (n_rows, n_cols)

    Raises
    ------
    GridError
        When no cell is inside.
    """
    vector = (ogr.GetDriverByName("Memory") or ogr.GetDriverByName("MEM")).CreateDataSource("mask")
    layer = vector.CreateLayer("mask")
    for polygon in polygons:
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkb(polygon))
        layer.CreateFeature(feature)
    raster = gdal.GetDriverByName("MEM").Create("", grid.n_cols, grid.n_rows, 1, gdal.GDT_Byte)
    raster.SetGeoTransform((grid.west, grid.cell_size, 0, grid.north, 0, -grid.cell_size))
    with quiet_gdal():  # it warns that neither has a spatial reference
        gdal.RasterizeLayer(raster, [1], layer, burn_values=[1])
    inside = raster.ReadAsArray().astype(bool)
    if not inside.any():
        raise GridError(
            f"The mask covers no cell of the grid (easting {grid.west:.10g} to {grid.east:.10g}, northing "
            f"{grid.south:.10g} to {grid.north:.10g}). Check that it lies over the observations and the "
            "extent, or use smaller cells."
        )
    return inside


def crop(grid: Grid, inside: np.ndarray) -> Tuple[Grid, np.ndarray]:
    """
    Return the smallest part of a grid that holds a mask, and the mask there; its cells are cells of the whole grid.

    Parameters
    ----------
    grid : Grid
        The whole grid.
    inside : bool array, shape (n_rows, n_cols)
        Its mask; at least one cell is inside.
    """
    rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    (top, bottom), (left, right) = rows[[0, -1]].tolist(), cols[[0, -1]].tolist()
    part = Grid(
        west=grid.west + left * grid.cell_size,
        north=grid.north - top * grid.cell_size,
        cell_size=grid.cell_size,
        n_rows=bottom - top + 1,
        n_cols=right - left + 1,
    )
    return part, inside[top : bottom + 1, left : right + 1]
