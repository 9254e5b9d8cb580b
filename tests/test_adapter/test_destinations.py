"""Where results may go: what is there is lost only where it is the same result of an earlier run."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from osgeo import gdal
from qgis.core import QgsProcessing, QgsProcessingContext, QgsProject, QgsVectorFileWriter, QgsVectorLayer

from oadg.core.contract.errors import JobError
from oadg.oadg_qgis import destinations
from oadg.oadg_qgis.destinations import (
    check_destinations,
    check_format,
    check_table,
    check_writable,
    file_of,
    file_of_sink,
    put_in_place,
    remedy_of,
    sink_of,
)


@pytest.fixture
def add_points(world):
    """Add a vector layer to a file."""

    def add(path, name):
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.layerName = name
        if path.exists():
            options.actionOnExistingFile = QgsVectorFileWriter.ActionOnExistingFile.CreateOrOverwriteLayer
        layer, transforms = world.make_layer([(5.0, 5.0)], [1]), QgsProject.instance().transformContext()
        assert QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), transforms, options)[0] == 0

    return add


def add_raster(path, name):
    """Add a raster to a file."""
    options = [f"RASTER_TABLE={name}", "APPEND_SUBDATASET=YES"] if path.suffix == ".gpkg" else []
    dataset = gdal.GetDriverByName("GPKG" if options else "GTiff").Create(str(path), 4, 4, 1, options=options)
    dataset.SetGeoTransform((0, 1, 0, 4, 0, -1))
    dataset.GetRasterBand(1).Fill(1)


@pytest.mark.parametrize(
    ("name", "n_vector", "n_raster", "is_layer", "lost"),
    [
        ("r.tif", 0, 1, False, None),
        ("r.gpkg", 0, 1, False, None),
        ("r.gpkg", 1, 0, True, None),
        ("r.gpkg", 1, 0, False, "1 vector layer"),
        ("r.gpkg", 2, 0, True, "2 vector layers"),
        ("r.tif", 0, 1, True, "1 raster"),
        ("r.gpkg", 0, 2, False, "2 rasters"),
        ("r.gpkg", 1, 1, True, "1 vector layer and 1 raster"),
        ("r.gpkg", 1, 1, False, "1 vector layer and 1 raster"),
    ],
)
def test_a_file_is_replaced_where_it_holds_one_such_result_alone(
    qgis_app, tmp_path, add_points, name, n_vector, n_raster, is_layer, lost
):
    path = tmp_path / name
    for number in range(n_vector):
        add_points(path, f"points{number}")
    for number in range(n_raster):
        add_raster(path, f"raster{number}")
    layers = ("RESULT",) if is_layer else ()
    if lost is None:
        check_destinations({"RESULT": path}, {}, layers=layers)
    else:
        with pytest.raises(JobError, match=rf"r\.\w+, a file with {lost}, which would be lost\. Choose another name"):
            check_destinations({"RESULT": path}, {}, layers=layers)


def test_an_older_result_is_replaced_with_its_style_and_a_style_of_nothing_is_nobodys(qgis_app, tmp_path):
    add_raster(tmp_path / "mine.tif", "")
    for stem in ("mine", "gone", "other"):
        (tmp_path / f"{stem}.qml").touch()
    (tmp_path / "other.csv").touch()
    check_destinations({"ENTROPY": tmp_path / "mine.tif", "SURPRISE": tmp_path / "gone.tif"}, {})
    with pytest.raises(JobError, match=r"SURPRISE .*whose style file would replace the style of .*other\.csv\."):
        check_destinations({"SURPRISE": tmp_path / "other.tif"}, {})
    check_destinations({"REPORT": tmp_path / "other.html"}, {})


@pytest.mark.parametrize("name", ["e.gpkg", "E.GPKG", "e.geojson", "e.shp", "e.kml"])
def test_formats_of_vector_layers_by_their_extension(qgis_app, name):
    check_format("ERRORS", Path(name))


def source_of(provider, uri):
    return SimpleNamespace(providerType=lambda: provider, source=lambda: uri)


@pytest.mark.parametrize(
    ("sink", "is_same"),
    [
        ("ogr:dbname='{here}/mine.gpkg' table=\"wells\" (geom)", True),
        ("ogr:dbname='{here}/link/mine.gpkg' table=\"wells\" (geom)", True),
        ("ogr:dbname='{here}/mine.gpkg' table=\"others\" (geom)", False),
        ("ogr:dbname='{here}/yours.gpkg' table=\"wells\" (geom)", False),
        ("{here}/mine.gpkg", False),
    ],
)
def test_a_table_is_the_same_by_its_file_and_its_name(qgis_app, tmp_path, sink, is_same):
    (tmp_path / "link").symlink_to(tmp_path)
    source = source_of("ogr", f"{tmp_path}/mine.gpkg|layername=wells")
    if not is_same:
        check_table("ERRORS", sink.format(here=tmp_path), source)
        return
    with pytest.raises(JobError, match="ERRORS is to be written to the table 'wells' of"):
        check_table("ERRORS", sink.format(here=tmp_path), source)


@pytest.mark.parametrize(
    ("table", "is_same"),
    [
        ('dbname=\'d\' host=h port=5432 table="s"."t" (geom)', True),
        ('dbname=\'d\' host=h port=5432 table="s"."u" (geom)', False),
        ('dbname=\'d\' host=h port=5432 table="r"."t" (geom)', False),
        ('dbname=\'d\' host=i port=5432 table="s"."t" (geom)', False),
        ('dbname=\'e\' host=h port=5432 table="s"."t" (geom)', False),
    ],
)
def test_a_table_of_a_server_is_the_same_by_all_that_tells_it_apart(qgis_app, table, is_same):
    source = source_of("postgres", 'dbname=\'d\' host=h port=5432 table="s"."t" (geom)')
    if not is_same:
        check_table("ERRORS", f"postgis:{table}", source)
        return
    with pytest.raises(JobError, match="ERRORS is to be written to the table 't' of d"):
        check_table("ERRORS", f"postgis:{table}", source)


@pytest.mark.parametrize(
    ("sink", "file"),
    [
        ("/a/b.gpkg", Path("/a/b.gpkg")),
        ("", None),
        (QgsProcessing.TEMPORARY_OUTPUT, None),
        ("ogr:dbname='/a/b.gpkg' table=\"t\" (geom)", None),
        ("memory:", None),
        ('postgis:dbname=\'d\' table="s"."t"', None),
    ],
)
def test_a_sink_is_a_file_as_a_whole_or_none(sink, file):
    assert file_of_sink(sink_of(sink, QgsProcessingContext())) == file


def test_layers_of_files_that_are_no_more_have_none(qgis_app, tmp_path, add_points):
    add_points(tmp_path / "wells.gpkg", "wells")
    layer = QgsVectorLayer(f"{tmp_path}/wells.gpkg|layername=wells", "wells", "ogr")
    assert file_of(layer) == tmp_path / "wells.gpkg"
    os.unlink(tmp_path / "wells.gpkg")
    assert file_of(layer) is None
    assert file_of(None) is None


def test_a_file_that_cannot_be_put_in_its_place_leaves_the_older_one_alone(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EACCES, "Permission denied", str(target))

    (tmp_path / "made").write_text("new")
    target = tmp_path / "report.html"
    target.write_text("older")
    monkeypatch.setattr(destinations.os, "replace", refuse)
    with pytest.raises(JobError, match=r"report\.html cannot be written: Permission denied\. Is it open in a program"):
        put_in_place(str(tmp_path / "made"), target)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"made": "new", "report.html": "older"}


def test_where_a_result_can_be_written(tmp_path):
    check_writable({"REPORT": tmp_path / "report.html"})
    assert list(tmp_path.iterdir()) == []
    for path, reason in ((tmp_path, "it is a folder"), (tmp_path / "none" / "r.html", "No such file or directory")):
        with pytest.raises(JobError, match=rf"REPORT cannot be written to {path}: {reason}\. Choose a folder"):
            check_writable({"REPORT": path})


def test_a_shorter_name_helps_where_a_name_is_too_long():
    assert remedy_of(OSError(errno.ENAMETOOLONG, ""), "Wait.") == "Choose a shorter name."
    assert remedy_of(OSError(errno.EACCES, ""), "Wait.") == "Wait."
