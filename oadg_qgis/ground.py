"""How large maps are on the ground. Needs GDAL, but no QGIS."""

from __future__ import annotations

import math
from typing import Optional, Tuple

from osgeo import osr

from .quiet import quiet_gdal

_ALIKE = 0.02
"""By this share a unit may differ from its nominal length: projections made for an area differ by less there."""


def nominal_metres(wkt: str) -> Optional[float]:
    """
    Return how many metres a unit of a map stands for by its coordinate reference system; None where that tells none.

    Parameters
    ----------
    wkt : str
        The coordinate reference system as well-known text, which alone tells feet of the United States from others.
    """
    with quiet_gdal():
        try:
            crs = osr.SpatialReference()
            return None if not wkt or crs.ImportFromWkt(wkt) or crs.IsGeographic() else crs.GetLinearUnits()
        except RuntimeError:  # where another plugin has switched GDAL's exceptions on
            return None


def ground_size(wkt: str, easting: float, northing: float, step: float) -> Optional[Tuple[float, float]]:
    """
    Return how many metres on the ground a step eastwards and one northwards are at a place of a map.

    Parameters
    ----------
    wkt : str
        The map's coordinate reference system as well-known text.
    easting, northing : float
        The place.
    step : float
        Length of the steps in units of the map; short, as the side of a cell.

    Returns
    -------
    (float, float) or None
        None where the coordinate reference system says nothing about the earth, or not at this place.
    """
    with quiet_gdal():
        try:
            crs = osr.SpatialReference()
            if crs.ImportFromWkt(wkt) or not (crs.IsProjected() or crs.IsGeographic()):
                return None
            earth = crs.CloneGeogCS()
            for each in (crs, earth):
                each.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
            places = [(easting, northing), (easting + step, northing), (easting, northing + step)]
            told = osr.CoordinateTransformation(crs, earth).TransformPoints(places)
            axis, flattening = earth.GetSemiMajor(), earth.GetInvFlattening()
            unit = earth.GetAngularUnits()
        except RuntimeError:  # where another plugin has switched GDAL's exceptions on
            return None
    (lon, lat), *ends = [(unit * place[0], unit * place[1]) for place in told]
    if not all(math.isfinite(angle) for angle in (lon, lat, *ends[0], *ends[1])) or abs(lat) >= math.pi / 2:
        return None
    flat = 1 / flattening if flattening else 0.0
    eccentric = flat * (2 - flat)  # squared
    bend = 1 - eccentric * math.sin(lat) ** 2
    along_meridian, along_parallel = axis * (1 - eccentric) / bend**1.5, axis * math.cos(lat) / bend**0.5
    east, north = (math.hypot(along_parallel * (x - lon), along_meridian * (y - lat)) for x, y in ends)
    return (east, north) if east > 0 and north > 0 else None


def metres_of_unit(wkt: str, nominal: float, easting: float, northing: float, step: float) -> float:
    """
    Return how many metres a unit of a projected map has at a place.

    That is its nominal length where it is about so long on the ground. In projections of the whole earth it is not: a
    metre of Web Mercator is half a metre at 60 degrees of latitude.

    Parameters
    ----------
    wkt, easting, northing, step
        As `ground_size` takes them.
    nominal : float
        Metres that the unit stands for.
    """
    size = ground_size(wkt, easting, northing, step)
    if size is None:
        return nominal
    found = math.sqrt(size[0] * size[1]) / step
    return nominal if abs(found / nominal - 1) <= _ALIKE else found
