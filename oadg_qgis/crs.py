"""Coordinate reference systems: whether one is known, counts in a length, and how long its unit is on the ground."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsFeatureRequest,
    QgsFeatureSource,
    QgsPointXY,
    QgsRectangle,
    QgsUnitTypes,
)

from ..core.contract.errors import GridError
from .ground import metres_of_unit, nominal_metres

_PLACEHOLDERS = ("undefined geographic srs", "undefined cartesian srs", "undefined srs")
"""What GeoPackages say of layers without a CRS, in small letters; some programs add that the unit is unknown."""
_STEP = 10.0
"""Units of a map that are measured on the ground."""


def known_crs(crs: QgsCoordinateReferenceSystem) -> QgsCoordinateReferenceSystem:
    """Return a layer's coordinate reference system; an invalid one for GeoPackage's placeholders of none."""
    return QgsCoordinateReferenceSystem() if crs.description().lower().startswith(_PLACEHOLDERS) else crs


def to_crs(
    request: QgsFeatureRequest,
    source: QgsFeatureSource,
    crs: QgsCoordinateReferenceSystem,
    transform_context: QgsCoordinateTransformContext,
) -> QgsFeatureRequest:
    """Return a request whose features come in another CRS; as they are where that of their layer is not known."""
    if not known_crs(source.sourceCrs()).isValid():
        return request
    return request.setDestinationCrs(crs, transform_context)


def check_projected(
    crs: QgsCoordinateReferenceSystem,
    extent: QgsRectangle,
    extent_crs: QgsCoordinateReferenceSystem,
    transform_context: QgsCoordinateTransformContext,
) -> None:
    """
    Raise `GridError`, naming a fitting projection, when a coordinate reference system counts in degrees.

    Parameters
    ----------
    crs : QgsCoordinateReferenceSystem
        The one of the grid.
    extent, extent_crs : QgsRectangle, QgsCoordinateReferenceSystem
        Where the grid will lie.
    transform_context : QgsCoordinateTransformContext
        How to transform.
    """
    if "+proj=geocent" in crs.toProj():
        raise GridError(
            f"The coordinate reference system of the grid, {crs.userFriendlyIdentifier()}, counts from the centre of "
            "the earth: it has no map. Choose a projected one in the parameter CRS."
        )
    if crs.isGeographic() or (crs.isValid() and crs.mapUnits() == QgsUnitTypes.DistanceDegrees):
        raise GridError(
            f"The coordinate reference system of the grid, {crs.userFriendlyIdentifier()}, counts in degrees, so its "
            "cells would have no size in metres. Choose a projected one in the parameter "
            f"CRS{_example(extent, extent_crs, transform_context)}."
        )


def _example(
    extent: QgsRectangle, crs: QgsCoordinateReferenceSystem, transform_context: QgsCoordinateTransformContext
) -> str:
    """Return words that name a projection made for an area; none where it does not lie on the earth."""
    centre = _centre(extent, crs, QgsCoordinateReferenceSystem("EPSG:4326"), transform_context)
    if centre is None or not (-180 <= centre.x() <= 180 and -80 <= centre.y() <= 84):
        return ""
    zone = min(int((centre.x() + 180) // 6) + 1, 60)
    hemisphere, first = ("N", 32600) if centre.y() >= 0 else ("S", 32700)
    return f", for example EPSG:{first + zone} (WGS 84 / UTM zone {zone}{hemisphere}), which is made for this area"


def _centre(
    extent: QgsRectangle,
    extent_crs: QgsCoordinateReferenceSystem,
    crs: QgsCoordinateReferenceSystem,
    transform_context: QgsCoordinateTransformContext,
) -> QgsPointXY | None:
    """Return an extent's centre in another coordinate reference system; None where that does not reach."""
    try:
        return QgsCoordinateTransform(extent_crs, crs, transform_context).transform(extent.center())
    except QgsCsException:
        return None


def metres_in_unit(
    crs: QgsCoordinateReferenceSystem,
    extent: QgsRectangle,
    extent_crs: QgsCoordinateReferenceSystem,
    transform_context: QgsCoordinateTransformContext,
) -> tuple[float, str]:
    """
    Return how many metres a unit of a projected coordinate reference system has, and a caution where it is another.

    Parameters
    ----------
    crs, extent, extent_crs, transform_context
        As `check_projected` takes them.

    Returns
    -------
    metres : float
        In the middle of the extent, where a unit is not about as long on the ground as its name says; 1 where nothing
        is known.
    caution : str
        That it is not; else empty.
    """
    nominal = nominal_metres(crs.toWkt()) or 1.0  # as of rasters; QGIS's own units may be other feet
    centre = _centre(extent, extent_crs, crs, transform_context) if crs.isValid() else None
    if centre is None:
        return nominal, ""
    metres = metres_of_unit(crs.toWkt(), nominal, centre.x(), centre.y(), _STEP)
    if metres == nominal:
        return nominal, ""
    return metres, (
        f"Lengths in {crs.userFriendlyIdentifier()} are not those on the ground: 100 {unit_of(crs)} are "
        f"{100 * metres:.3g} metres here. All sizes and distances are counted on the map. To count them on the ground "
        f"choose another projection in the parameter CRS{_example(extent, extent_crs, transform_context)}."
    )


def unit_of(crs: QgsCoordinateReferenceSystem) -> str:
    """Return what a coordinate reference system counts in."""
    return QgsUnitTypes.toString(crs.mapUnits()) if crs.isValid() else "units"
