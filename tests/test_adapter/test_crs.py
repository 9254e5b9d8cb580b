"""Coordinate reference systems: lengths on the ground, by the formulas of the ellipsoid and by hand."""

import math

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsProject,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from oadg.core.contract.errors import GridError
from oadg.oadg_qgis.categorical_rasters import read_codes, read_training_image
from oadg.oadg_qgis.crs import check_projected, known_crs, metres_in_unit
from oadg.oadg_qgis.ground import ground_size, metres_of_unit


def wkt_of(epsg):
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference.ExportToWkt()


MERCATOR_60 = (1_000_000.0, 8_399_737.89)  # 60 degrees north


@pytest.mark.parametrize(
    ("epsg", "place", "step", "expected"),
    [
        (4326, (9.0, 0.0), 1e-4, (11.1319, 11.0574)),
        (4326, (9.0, 60.0), 1e-4, (5.5800, 11.1412)),
        (3857, MERCATOR_60, 10.0, (5.0126, 5.0041)),
        (32632, (500_000.0, 5_000_000.0), 10.0, (10.0040, 10.0040)),
        (2277, (3_100_000.0, 10_000_000.0), 10.0, (3.0480, 3.0480)),  # US survey feet
    ],
)
def test_steps_on_the_ground(epsg, place, step, expected):
    """A degree of the equator is 111.319 km long and one of its meridian 110.574; Mercator's scale is a secant."""
    assert ground_size(wkt_of(epsg), *place, step) == pytest.approx(expected, rel=3e-4)


@pytest.mark.parametrize("wkt", ["", "nonsense", 'LOCAL_CS["mine grid",UNIT["metre",1]]'])
def test_what_says_nothing_about_the_earth(wkt):
    assert ground_size(wkt, 0.0, 0.0, 10.0) is None
    assert metres_of_unit(wkt, 0.25, 0.0, 0.0, 10.0) == 0.25


def test_places_beyond_a_projection():
    assert ground_size(wkt_of(32632), 1e9, 1e9, 10.0) is None


def test_a_unit_is_as_long_as_it_says_where_its_projection_belongs():
    assert metres_of_unit(wkt_of(32632), 1.0, 500_000.0, 5_000_000.0, 10.0) == 1.0
    assert metres_of_unit(wkt_of(3857), 1.0, *MERCATOR_60, 10.0) == pytest.approx(0.5008, abs=1e-4)


@pytest.mark.parametrize(("epsg", "is_odd"), [(3857, True), (32632, False), (2154, False)])
def test_a_map_of_the_whole_earth_is_told(qgis_app, epsg, is_odd):
    geographic, context = QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance().transformContext()
    crs = QgsCoordinateReferenceSystem(f"EPSG:{epsg}")
    metres, caution = metres_in_unit(crs, QgsRectangle(5, 45, 9, 49), geographic, context)
    assert bool(caution) == is_odd
    assert metres == pytest.approx(math.cos(math.radians(47)) if is_odd else 1, rel=2e-3)
    if is_odd:
        assert "100 meters are 68.2 metres here" in caution
        assert "for example EPSG:32632" in caution


@pytest.mark.parametrize("epsg", [2263, 2277, 2264, 27700, 2314])
def test_a_unit_is_as_long_for_a_grid_as_for_a_raster(qgis_app, tmp_path, epsg):
    """Feet of the United States, metres, feet of Clarke: so 50 metres of the image are 50 of the grid, exactly."""
    crs = QgsCoordinateReferenceSystem(f"EPSG:{epsg}")
    bounds, geographic = crs.bounds(), QgsCoordinateReferenceSystem("EPSG:4326")
    metres, caution = metres_in_unit(crs, bounds, geographic, QgsProject.instance().transformContext())
    assert caution == ""
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "map.tif"), 30, 30)
    place = QgsCoordinateTransform(geographic, crs, QgsProject.instance()).transform(bounds.center())
    dataset.SetGeoTransform((place.x(), 50, 0, place.y(), 0, -50))
    dataset.SetProjection(wkt_of(epsg))
    del dataset
    assert read_codes(str(tmp_path / "map.tif")).metres == metres


def test_of_no_crs_nothing_is_told(qgis_app):
    nothing, context = QgsCoordinateReferenceSystem(), QgsProject.instance().transformContext()
    assert metres_in_unit(nothing, QgsRectangle(0, 0, 9, 9), nothing, context) == (1.0, "")


@pytest.fixture
def in_geopackage(world, tmp_path):
    """A survey without a CRS as QGIS writes it into a GeoPackage, which has a placeholder for that."""
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [world.CODES[k] for k in index])
    layer.setCrs(QgsCoordinateReferenceSystem())
    options = QgsVectorFileWriter.SaveVectorOptions()
    path, context = tmp_path / "survey.gpkg", QgsProject.instance().transformContext()
    assert QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), context, options)[0] == 0
    return QgsVectorLayer(str(path), "survey", "ogr")


def test_a_geopackage_without_crs_is_a_layer_without_one(simulate_facies, in_geopackage, fake_engine, log):
    assert not known_crs(in_geopackage.crs()).isValid()
    simulate_facies(in_geopackage, EXTENT=None)
    assert any("The observations have no CRS" in text for text in log.warnings)
    assert any("columns of 10 x 10 units" in text for text in log.infos)


@pytest.mark.parametrize(("crs", "is_told"), [("", True), ("EPSG:32632", False)])
def test_a_mask_without_crs_is_warned_about(simulate_facies, survey, world, fake_engine, log, crs, is_told):
    west, north = world.WEST, world.NORTH
    box = f"MultiPolygon((({west} {north - 300}, {west + 400} {north - 300}, {west + 400} {north}, {west} {north})))"
    simulate_facies(survey, MASK=world.make_polygon(box, crs=crs))
    warned = [text for text in log.warnings if "no CRS" in text]
    assert warned == ["The mask has no CRS; its coordinates are taken for the grid's."] * is_told


def test_its_coordinates_are_those_of_the_crs_that_is_given(simulate_facies, in_geopackage, world, fake_engine):
    simulate_facies(in_geopackage, EXTENT=world.EXTENT)
    row, col, _ = world.survey_cells()
    job, _ = fake_engine[-1]
    assert sorted(zip(job.row, job.col)) == sorted(zip(row.tolist(), col.tolist()))


@pytest.fixture
def write_image(tmp_path):
    """Write a training image of random codes, whose first cell lies at a place of a CRS."""

    def write(epsg, west, north, cell):
        path = str(tmp_path / f"{epsg}.tif")
        dataset = gdal.GetDriverByName("GTiff").Create(path, 64, 64, 1)
        dataset.SetProjection(wkt_of(epsg))
        dataset.SetGeoTransform((west, cell, 0, north, 0, -cell))
        dataset.GetRasterBand(1).WriteArray(np.random.default_rng(0).integers(1, 3, (64, 64)).astype(np.uint8))
        dataset.FlushCache()
        return path

    return write


def test_cells_of_an_image_are_as_large_as_on_the_ground(write_image):
    assert read_training_image(write_image(3857, *MERCATOR_60, 50.0)).cell_size == pytest.approx(25.045, rel=2e-4)
    assert read_training_image(write_image(32632, 5e5, 5e6, 50.0)).cell_size == 50
    degrees = read_codes(write_image(4326, 9.0, 60.0, 3e-4))
    assert degrees.metres is None
    assert degrees.on_ground == pytest.approx((16.75, 33.42), rel=1e-3)


@pytest.mark.parametrize(
    ("longitude", "latitude", "named"),
    [
        (9, 47, "EPSG:32632 (WGS 84 / UTM zone 32N), which is made for this area."),
        (6, 0, "EPSG:32632 (WGS 84 / UTM zone 32N)"),
        (-70.5, -33, "EPSG:32719 (WGS 84 / UTM zone 19S)"),
        (-180, 10, "EPSG:32601 (WGS 84 / UTM zone 1N)"),
        (180, 10, "EPSG:32660 (WGS 84 / UTM zone 60N)"),
        (9, 85, None),
        (9, -81, None),
        (500, 47, None),
    ],
)
def test_degrees_are_refused_and_a_projection_is_named_that_fits_the_place(qgis_app, longitude, latitude, named):
    geographic, context = QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance().transformContext()
    extent = QgsRectangle(longitude - 0.1, latitude - 0.1, longitude + 0.1, latitude + 0.1)
    with pytest.raises(GridError, match="EPSG:4326 .*counts in degrees, .* Choose a projected one") as told:
        check_projected(geographic, extent, geographic, context)
    assert str(told.value).endswith("in the parameter CRS.") == (named is None)
    assert f", for example {named or ''}" in f"{told.value}, for example "
    if named and abs(longitude) < 180:
        named_crs = QgsCoordinateReferenceSystem(named.split(" ")[0])
        assert named_crs.description() in named
        assert named_crs.bounds().contains(extent.center())


def test_the_place_of_a_grid_may_be_told_in_another_crs(qgis_app):
    geographic, context = QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance().transformContext()
    chile = QgsCoordinateReferenceSystem("EPSG:32719")
    extent = QgsRectangle(360_000, 6_300_000, 370_000, 6_310_000)
    with pytest.raises(GridError, match="for example EPSG:32719"):
        check_projected(geographic, extent, chile, context)
    check_projected(chile, extent, chile, context)
    check_projected(QgsCoordinateReferenceSystem(), extent, QgsCoordinateReferenceSystem(), context)
    assert metres_in_unit(chile, extent, chile, context) == (1.0, "")


def test_angles_of_another_unit_are_no_lengths_either(qgis_app):
    grads, context = QgsCoordinateReferenceSystem("EPSG:4807"), QgsProject.instance().transformContext()
    with pytest.raises(GridError, match="EPSG:4807 .*Choose a projected one"):
        check_projected(grads, QgsRectangle(0, 50, 1, 51), grads, context)


def test_where_a_projection_does_not_reach_its_unit_is_as_long_as_it_says(qgis_app):
    geographic, context = QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance().transformContext()
    feet = QgsCoordinateReferenceSystem("EPSG:2263")
    metres, caution = metres_in_unit(feet, QgsRectangle(0, -90, 0, -90), geographic, context)
    assert (metres, caution) == (pytest.approx(1200 / 3937), "")


AXES = "".join(f',AXIS["{axis}",unspecified,ORDER[{n}],LENGTHUNIT["unknown",0]]' for n, axis in enumerate("XY", 1))
ENGINEERING = f'ENGCRS["Undefined Cartesian SRS with unknown unit",EDATUM["unknown"],CS[Cartesian,2]{AXES}]'


@pytest.mark.parametrize(
    "wkt",
    [
        'GEOGCS["Undefined geographic SRS",DATUM["unknown",SPHEROID["unknown",6378137,298]],UNIT["degree",0.0174533]]',
        'LOCAL_CS["Undefined Cartesian SRS",UNIT["metre",1]]',
        'LOCAL_CS["Undefined cartesian SRS",UNIT["metre",1]]',
        ENGINEERING,
        'LOCAL_CS["Undefined SRS",UNIT["metre",1]]',
    ],
)
def test_what_geopackages_of_several_programs_say_of_no_crs(qgis_app, wkt):
    crs = QgsCoordinateReferenceSystem.fromWkt(wkt)
    assert crs.isValid()
    assert not known_crs(crs).isValid()


def test_other_crs_are_known(qgis_app):
    for crs in (QgsCoordinateReferenceSystem("EPSG:32632"), QgsCoordinateReferenceSystem.fromWkt(wkt_of(2056))):
        assert known_crs(crs) == crs
        assert known_crs(crs).isValid()
