"""`oadg:crossvalidate` from points to a page, points and numbers, on the real engine."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    NULL,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsField,
    QgsFields,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsVectorLayerJoinInfo,
)
from qgis.PyQt import sip

from oadg.core.contract.errors import EngineError
from oadg.core.contract.surprise import SURPRISE_CLASSES
from oadg.oadg_qgis import destinations
from oadg.oadg_qgis.algorithms import cross_validate as module
from oadg.oadg_qgis.error_points import error_features
from oadg.oadg_qgis.layers import Observations
from oadg.oadg_qgis.models import installed_models

NUMBERS = ["LOG_LOSS", "LOG_LOSS_KRIGING", "LOG_LOSS_NEAREST", "BRIER", "ACCURACY"]
NUMBERS += ["GAIN", "GAIN_LOW", "GAIN_HIGH", "N_USED"]
OWN_FIELDS = ["observed", "predicted", "p_observed", "log_loss", "fold"]


@pytest.fixture
def cross_validate(processing, log, tiny_model, tmp_path):
    """Run the algorithm with the fixture `log` and a tiny model; results go to the test's folder."""

    def run(layer, **parameters):
        return processing.run(
            "oadg:crossvalidate",
            {
                "OBSERVATIONS": layer,
                "FACIES_FIELD": "facies",
                "CELL_SIZE": 10,
                "N_FOLDS": 3,
                "MODEL_FILE": tiny_model,
                "DEVICE": "cpu",
                "REPORT": str(tmp_path / "report.html"),
                "ERRORS": str(tmp_path / "errors.gpkg"),
                **parameters,
            },
            feedback=log.feedback,
        )

    return run


@pytest.fixture
def refused(cross_validate, monkeypatch, tmp_path):
    """Run the algorithm, expect that it refuses with a message before the engine is asked, and leaves no file."""

    def engine(*_, **__):
        pytest.fail("the engine was asked")

    monkeypatch.setattr(module, "run_job", engine)

    def run(layer, message, **parameters):
        before = contents(tmp_path)
        with pytest.raises(QgsProcessingException, match=message):
            cross_validate(layer, **parameters)
        assert contents(tmp_path) == before

    return run


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def features_of(path):
    layer = QgsVectorLayer(path, "errors", "ogr")
    assert layer.isValid()
    return list(layer.getFeatures())


def save(layer, path, name="survey"):
    """Write a layer to a file, with more layers if it holds some, and return its source."""
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.layerName = name
    options.driverName = QgsVectorFileWriter.driverForExtension(path.suffix[1:])
    if path.exists():
        options.actionOnExistingFile = QgsVectorFileWriter.ActionOnExistingFile.CreateOrOverwriteLayer
    transforms = QgsProject.instance().transformContext()
    assert QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), transforms, options)[0] == 0
    return f"{path}|layername={name}"


def test_every_declared_key_is_returned_and_the_numbers_belong_together(cross_validate, survey, log, tmp_path):
    result = cross_validate(survey)
    assert set(result) == {"REPORT", "ERRORS", "VERDICT", *NUMBERS}
    assert result["N_USED"] == 60
    losses = [result[name] for name in ("LOG_LOSS", "LOG_LOSS_KRIGING", "LOG_LOSS_NEAREST")]
    assert all(0 < loss < np.log(100) for loss in losses)
    assert result["GAIN"] == pytest.approx(100 * (1 - losses[0] / losses[1]))
    assert result["GAIN_LOW"] < result["GAIN"] < result["GAIN_HIGH"]
    assert 0 < result["ACCURACY"] <= 1
    assert 0 < result["BRIER"] < 2
    assert result["VERDICT"].startswith("Here the model is ")
    assert result["VERDICT"] in log.infos
    assert result["VERDICT"] in Path(result["REPORT"]).read_text(encoding="utf-8")
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", "errors.gpkg", "errors.qml"}


def test_the_points_are_the_observations_and_what_was_said_of_them(cross_validate, survey, world):
    result = cross_validate(survey, MODEL_FILE=None)
    row, col, index = world.survey_cells()
    features = features_of(result["ERRORS"])
    assert [f.name() for f in features[0].fields()] == ["fid", *OWN_FIELDS, "number", "facies"]
    found = {(f.geometry().asPoint().x(), f.geometry().asPoint().y()): f for f in features}
    assert len(found) == 60
    for place, k in zip(world.centres(row, col), index):
        assert found[place]["observed"] == str(world.CODES[k])
        assert found[place]["facies"] == world.CODES[k]
        assert found[place]["number"] == 0.5
    right = [f["observed"] == f["predicted"] for f in features]
    assert np.mean(right) == pytest.approx(result["ACCURACY"])
    assert all(f["p_observed"] >= 1 / 3 for f, is_right in zip(features, right) if is_right)
    assert np.mean([f["log_loss"] for f in features]) == pytest.approx(result["LOG_LOSS"], abs=1e-5)
    assert [f["fold"] for f in features].count(1) == 20
    assert {f["fold"] for f in features} == {1, 2, 3}
    assert QgsVectorLayer(result["ERRORS"]).crs().authid() == "EPSG:32632"


def test_each_point_is_told_what_was_said_of_its_own_facies(survey, tmp_path):
    """A file's own count of its rows is not kept; all else is, in its order."""
    np.save(tmp_path / "probability.npy", np.array([[0.2, 0.9], [0.8, 0.1]]))
    np.save(tmp_path / "log_loss.npy", np.array([0.3, 0.4]))
    result = SimpleNamespace(
        probability_path=str(tmp_path / "probability.npy"), log_loss_path=str(tmp_path / "log_loss.npy")
    )
    job = SimpleNamespace(class_index=(0, 1), fold=(0, 4), facies=SimpleNamespace(names=["mud", "sand"]))
    fields = QgsFields()
    for other in ("facies", "FID", "number"):
        fields.append(QgsField(survey.fields().field("number")))
        fields.rename(fields.count() - 1, other)
    attributes = [[311, 7, 0.5], [-1, 8, 0.25]]
    observations = Observations(np.array([1.0, 3.0]), np.array([2.0, 4.0]), [311, -1], attributes=attributes)
    first, second = error_features(observations, fields, job, result)
    assert [field.name() for field in first.fields()] == [*OWN_FIELDS, "facies", "number"]
    assert first.attributes() == ["mud", "sand", 0.2, 0.3, 1, 311, 0.5]
    assert second.attributes() == ["sand", "mud", 0.1, 0.4, 5, -1, 0.25]
    assert (second.geometry().asPoint().x(), second.geometry().asPoint().y()) == (3, 4)


def test_the_model_that_ships_predicts_what_is_easy(cross_validate, world):
    """Two halves, seen at sixty places: what is hidden is nearly known from the rest."""
    row, col, _ = world.survey_cells()
    halves = ["west" if c < world.N_COLS / 2 else "east" for c in col]
    layer = world.make_layer(world.centres(row, col), halves, kind="string")
    result = cross_validate(layer, N_FOLDS=10, MODEL_FILE=None)
    assert result["ACCURACY"] > 0.85
    assert result["LOG_LOSS"] < 0.45


def test_the_seed_turns_the_folds_and_the_same_seed_does_not(cross_validate, survey):
    losses = [cross_validate(survey, SEED=seed)["LOG_LOSS_KRIGING"] for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_numbers_alone_need_no_file(cross_validate, survey, tmp_path):
    result = cross_validate(survey, REPORT=None, ERRORS=None)
    assert (result["REPORT"], result["ERRORS"]) == (None, None)
    assert result["N_USED"] == 60
    assert list(tmp_path.iterdir()) == []


def test_temporary_results(cross_validate, survey):
    result = cross_validate(survey, REPORT="TEMPORARY_OUTPUT", ERRORS="TEMPORARY_OUTPUT")
    assert Path(result["REPORT"]).suffix == ".html"
    assert result["ERRORS"].featureCount() == 60
    assert result["ERRORS"].providerType() == "memory"


@pytest.mark.parametrize("suffix", [".shp", ".geojson"])
def test_points_are_styled_when_their_file_is_opened_later(cross_validate, survey, tmp_path, suffix):
    result = cross_validate(survey, ERRORS=str(tmp_path / f"errors{suffix}"), REPORT=None)
    later = QgsVectorLayer(result["ERRORS"], "later", "ogr")
    assert later.featureCount() == 60
    check_style(later)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".ods"])
def test_a_format_without_positions_is_told_before_the_work(refused, survey, tmp_path, suffix):
    message = "whose format holds a table without the positions of the points. Choose GeoPackage .* or GeoJSON"
    refused(survey, f"errors{suffix}, {message}", ERRORS=str(tmp_path / f"errors{suffix}"))


def test_a_format_without_a_crs_is_told_before_the_work(refused, survey, tmp_path):
    message = r"errors\.sqlite, whose format does not keep the coordinate reference system\. Choose GeoPackage"
    refused(survey, message, ERRORS=str(tmp_path / "errors.sqlite"))


@pytest.mark.parametrize("suffix", [".kml", ".kmz"])
def test_points_for_a_globe(cross_validate, survey, tmp_path, suffix):
    """Their format knows one CRS only, to which QGIS brings them; without one of theirs they would be anywhere."""
    path = str(tmp_path / f"errors{suffix}")
    for _ in range(2):  # the second replaces the first
        cross_validate(survey, ERRORS=path, REPORT=None)
    layer = QgsVectorLayer(path, "later", "ogr")
    request = QgsFeatureRequest().setDestinationCrs(survey.crs(), QgsProject.instance().transformContext())
    found = sorted(
        (round(p.x(), 2), round(p.y(), 2)) for p in (f.geometry().constGet() for f in layer.getFeatures(request))
    )
    assert found == sorted((p.x(), p.y()) for p in (f.geometry().asPoint() for f in survey.getFeatures()))
    check_style(layer)
    del layer


def test_points_that_a_format_moves_are_told_before_the_work(refused, survey, tmp_path):
    survey.setCrs(QgsCoordinateReferenceSystem())
    refused(
        survey, r"errors\.kml, whose format moves the points\. Choose GeoPackage", ERRORS=str(tmp_path / "errors.kml")
    )


@pytest.mark.parametrize("errors", ["TEMPORARY_OUTPUT", "errors.gpkg"])
def test_names_of_any_length(cross_validate, world, tmp_path, errors):
    row, col, index = world.survey_cells()
    names = [str(k) * 300 for k in index]
    layer = world.make_layer(world.centres(row, col), names, kind="string(0)")
    path = errors if errors == "TEMPORARY_OUTPUT" else str(tmp_path / errors)
    found = cross_validate(layer, ERRORS=path, REPORT=None)["ERRORS"]
    features = list(found.getFeatures()) if errors == "TEMPORARY_OUTPUT" else features_of(found)
    assert sorted(f["observed"] for f in features) == sorted(names)


def test_a_value_that_no_temporary_layer_holds_is_told_before_the_work(refused, world, tmp_path):
    """A GeoPackage holds texts that are longer than it says; a layer in memory does not."""
    row, col, index = world.survey_cells()
    source = save(
        world.make_layer(world.centres(row, col), [str(k) for k in index], kind="string(5)"), tmp_path / "w.gpkg"
    )
    dataset = gdal.OpenEx(str(tmp_path / "w.gpkg"), gdal.OF_VECTOR | gdal.OF_UPDATE)
    dataset.ExecuteSQL("UPDATE survey SET facies = 'longer than five' WHERE fid > 30")
    del dataset
    refused(source, "to a temporary layer, whose format cannot hold .*facies.*, or rename, shorten", ERRORS="memory:")


def check_style(layer):
    renderer = layer.renderer()
    assert renderer.classAttribute() == "p_observed"
    shown = [(r.upperValue(), r.symbol().color().name(), r.label()) for r in renderer.ranges()]
    assert shown == [(upper, color, f"probability {label}") for upper, color, label in SURPRISE_CLASSES]
    assert all(renderer.rangeForValue(p) is not None for p in (0.0, 1e-6, 0.3, 1.0))
    assert renderer.orderByEnabled()


def test_the_dialog_loads_styled_points(processing, survey, tiny_model, log):
    processing.runAndLoadResults(
        "oadg:crossvalidate",
        {
            "OBSERVATIONS": survey,
            "FACIES_FIELD": "facies",
            "CELL_SIZE": 10,
            "N_FOLDS": 2,
            "MODEL_FILE": tiny_model,
            "REPORT": "TEMPORARY_OUTPUT",
            "ERRORS": "TEMPORARY_OUTPUT",
        },
        feedback=log.feedback,
    )
    (layer,) = QgsProject.instance().mapLayersByName("Errors")
    check_style(layer)
    QgsProject.instance().clear()


def test_parts_of_multipoints_keep_the_attributes_of_their_feature(cross_validate, world, tmp_path):
    row, col, index = world.survey_cells()
    places = np.array(world.centres(row, col))
    parts = [[tuple(p) for p in places[index == k]] for k in range(3)]
    layer = world.make_layer([*parts, [(world.WEST, world.NORTH)]], [*world.CODES, NULL], geometry="MultiPoint")
    result = cross_validate(save(layer, tmp_path / "wells.gpkg"))
    features = features_of(result["ERRORS"])
    assert len(features) == result["N_USED"] == 60
    assert sorted(f["facies"] for f in features) == sorted(world.CODES[k] for k in index)
    assert all(str(f["facies"]) == f["observed"] for f in features)


def test_errors_of_errors_have_names_of_their_own(cross_validate, survey, tmp_path):
    first = cross_validate(survey)["ERRORS"]
    second = cross_validate(first, FACIES_FIELD="observed", ERRORS=str(tmp_path / "again.gpkg"))["ERRORS"]
    names = [f.name() for f in QgsVectorLayer(second).fields()]
    assert names[1:] == [*OWN_FIELDS, *(f"{name}_2" for name in OWN_FIELDS), "number", "facies"]


def test_page_and_points_may_share_a_name_and_replace_older_ones(cross_validate, survey, tmp_path):
    names = {"REPORT": str(tmp_path / "jura.html"), "ERRORS": str(tmp_path / "jura.gpkg")}
    cross_validate(survey, **names)
    cross_validate(survey, N_FOLDS=2, **names)
    assert {f["fold"] for f in features_of(names["ERRORS"])} == {1, 2}
    assert "into 2 regions" in Path(names["REPORT"]).read_text(encoding="utf-8")


def test_points_as_a_table_beside_the_observations(cross_validate, survey, tmp_path):
    path = tmp_path / "mine.gpkg"
    source = save(survey, path)
    result = cross_validate(source, ERRORS=f"ogr:dbname='{path}' table=\"errors\" (geom)", REPORT=None)
    assert QgsVectorLayer(f"{path}|layername=errors").featureCount() == 60
    assert QgsVectorLayer(source).featureCount() == 60
    assert QgsVectorLayer(result["ERRORS"]).isValid()


def test_unused_observations_are_counted(cross_validate, world, log):
    """Four have no facies; one of the others shares its cell with two of another facies."""
    row, col, index = world.survey_cells()
    places, values = world.centres(row, col), [world.CODES[k] for k in index]
    values[-4:] = [NULL] * 4
    (east, north), other = places[0], next(code for code in world.CODES if code != values[0])
    result = cross_validate(world.make_layer([*places, (east + 3, north), (east - 3, north)], [*values, other, other]))
    assert result["N_USED"] == 58
    assert "4 observations have no facies (NULL or blank)." in log.warnings
    assert "1 observation is predicted, but hidden from the model by another facies in its cell." in log.warnings


def test_facies_of_one_fold_are_warned_about(cross_validate, world, log):
    row, col, index = world.survey_cells()
    values = [world.CODES[k] for k in index]
    values[int(col.argmax())] = 99
    cross_validate(world.make_layer(world.centres(row, col), values))
    assert any(text.startswith("Facies that were observed in one fold only: 99.") for text in log.warnings)


@pytest.mark.parametrize(
    ("n_points", "parameters", "message"),
    [
        (9, {}, "There are 9 observations with a facies; .* needs at least 10"),
        (12, {"N_FOLDS": 13}, "12 observations lie in 12 cells of 10; 13 folds need .* Use fewer folds, or smaller"),
        (60, {"CELL_SIZE": 150, "N_FOLDS": 15}, "60 observations lie in .* cells of 150; 15 folds need at least"),
        (60, {"FACIES_FIELD": "lithology"}, "has no field 'lithology'"),
        (60, {"MODEL": "dunes"}, "The model 'dunes' is not installed"),
        (60, {"CRS": "EPSG:4326"}, "counts in degrees"),
        (60, {"N_FOLDS": 21}, "N_FOLDS"),
    ],
)
def test_bad_input_is_one_sentence(refused, world, n_points, parameters, message):
    row, col, index = world.survey_cells(n_points)
    refused(world.make_layer(world.centres(row, col), [world.CODES[k] for k in index]), message, **parameters)


def test_observations_at_one_place(refused, world):
    layer = world.make_layer([(world.WEST, world.NORTH)] * 20, [3, 311] * 10)
    refused(layer, "All 20 observations lie at one place")


def test_too_many_observations(refused, world):
    cells = np.arange(2001) % (world.N_ROWS * world.N_COLS)
    layer = world.make_layer(world.centres(*np.divmod(cells, world.N_COLS)), (cells % 2).tolist())
    refused(layer, "There are 2,001 observations; at most 2,000 can be cross-validated")


def test_one_facies_left(refused, world):
    row, col, _ = world.survey_cells()
    values = ["rare" if c == col.max() else "common" for c in col]
    layer = world.make_layer(world.centres(row, col), values, kind="string")
    refused(layer, "Without fold . all observations that are left are of one facies, 'common'".replace(" .", r" \d,"))


def test_one_facies_in_all(refused, world):
    row, col, _ = world.survey_cells()
    refused(world.make_layer(world.centres(row, col), [3] * 60), r"hold 1 facies \(only '3'\)")


def test_borehole_intervals(refused, world):
    row, col, _ = world.survey_cells(20)
    places = [place for place in world.centres(row, col) for _ in range(3)]
    refused(world.make_layer(places, list(world.CODES) * 20), "intervals of boreholes.*Choose a depth first")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ERRORS": "mine.gpkg"}, "ERRORS is to be written to .*mine.gpkg, which would replace OBSERVATIONS"),
        ({"ERRORS": "mine.shp"}, "ERRORS is to be written to .*mine.shp, which would replace OBSERVATIONS .* style"),
        ({"REPORT": "mine.gpkg"}, "REPORT is to be written to .*mine.gpkg, which would replace OBSERVATIONS"),
        ({"REPORT": "x.gpkg", "ERRORS": "x.gpkg"}, "REPORT and ERRORS are both to be written to .*x.gpkg"),
        ({"ERRORS": "two.gpkg"}, r"two.gpkg, a file with 2 vector layers, which would be lost"),
        ({"REPORT": "folder.html"}, "REPORT cannot be written to .*folder.html: it is a folder"),
    ],
)
def test_nothing_is_destroyed(refused, survey, tmp_path, parameters, message):
    source = save(survey, tmp_path / "mine.gpkg")
    save(survey, tmp_path / "two.gpkg", "one")
    save(survey, tmp_path / "two.gpkg", "two")
    (tmp_path / "folder.html").mkdir()
    refused(source, message, **{name: str(tmp_path / value) for name, value in parameters.items()})


def test_the_table_of_the_observations_is_not_replaced(refused, survey, tmp_path):
    source = save(survey, tmp_path / "mine.gpkg")
    sink = f"ogr:dbname='{tmp_path / 'mine.gpkg'}' table=\"survey\" (geom)"
    refused(source, "ERRORS is to be written to the table 'survey' .*Choose another name", ERRORS=sink)
    refused(source.split("|")[0], "ERRORS is to be written to the table 'survey'", ERRORS=sink)


def test_the_files_behind_a_layer_are_not_replaced(refused, survey, tmp_path):
    """Those of a table that is joined to it, and of one that a virtual layer is a query of."""
    path = tmp_path / "names.gpkg"
    QgsVectorFileWriter.writeAsVectorFormat(survey, str(path), "UTF-8", survey.crs(), "GPKG")
    names = QgsVectorLayer(str(path), "names", "ogr")
    QgsProject.instance().addMapLayers([names])
    join = QgsVectorLayerJoinInfo()
    join.setJoinLayer(names)
    join.setJoinFieldName("facies")
    join.setTargetFieldName("facies")
    survey.addJoin(join)
    virtual = QgsVectorLayer("?query=select * from names", "query", "virtual")
    try:
        refused(survey, r"would replace OBSERVATIONS, names \(.*names\.gpkg\)", ERRORS=str(path))
        refused(virtual, r"would replace OBSERVATIONS, names \(.*names\.gpkg\)", ERRORS=str(path))
    finally:
        survey.removeJoin(names.id())
        QgsProject.instance().removeMapLayer(names)


def test_the_files_of_joined_tables_of_one_name_are_not_replaced(refused, survey, tmp_path):
    paths = [tmp_path / f"{stem}.gpkg" for stem in ("older", "newer")]
    for path in paths:
        save(survey, path)
    tables = [QgsVectorLayer(str(path), "names", "ogr") for path in paths]
    for table in tables:
        QgsProject.instance().addMapLayers([table])
        join = QgsVectorLayerJoinInfo()
        join.setJoinLayer(table)
        join.setJoinFieldName("facies")
        join.setTargetFieldName("facies")
        survey.addJoin(join)
    try:
        for path in paths:
            refused(survey, rf"would replace OBSERVATIONS, names.*{path.name}\)", ERRORS=str(path))
    finally:
        for table in tables:
            survey.removeJoin(table.id())
            QgsProject.instance().removeMapLayer(table)


def test_the_table_of_a_database_is_not_replaced(refused, survey, tmp_path):
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName, options.datasourceOptions = "SQLite", "t", ["SPATIALITE=YES"]
    path = str(tmp_path / "s.sqlite")
    QgsVectorFileWriter.writeAsVectorFormatV3(survey, path, QgsProject.instance().transformContext(), options)
    uri = f"dbname='{path}' table=\"t\" (geometry)"
    layer = QgsVectorLayer(uri, "t", "spatialite")
    assert layer.isValid()
    try:
        refused(layer, "ERRORS is to be written to the table 't'", ERRORS=f"spatialite:{uri}")
    finally:
        sip.delete(layer)  # QGIS crashes at its end on a connection that is open


@pytest.mark.parametrize("name", ["errors.gpx", "errors.dxf"])
def test_a_format_that_cannot_hold_the_fields_is_told_before_the_work(refused, survey, tmp_path, name):
    refused(survey, "whose format cannot hold the points .*GeoPackage", ERRORS=str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REPORT", "/proc/self/report.html", "REPORT cannot be written to /proc/self/report.html: .*Choose a folder"),
        ("ERRORS", "/proc/self/errors.gpkg", "ERRORS cannot be written to /proc/self/errors.gpkg"),
        ("ERRORS", "/tmp/errors.nonsense", r"\.nonsense is no extension of vector layers .*GeoPackage"),
        ("ERRORS", "/tmp/errors.json", r"\.json is no extension .*Choose GeoJSON \(\.geojson\) or GeoPackage"),
        ("ERRORS", "/tmp/errors.geojsonl", r"\.geojsonl is no extension .*QGIS writes\. Choose GeoPackage"),
        ("ERRORS", "/tmp/errors", "no extension is no extension of vector layers"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_told_before_the_work(refused, survey, name, value, message):
    refused(survey, message, **{name: value})


def test_cancel_in_mid_run_leaves_nothing_and_the_next_run_works(cross_validate, survey, log, tmp_path):
    def cancel(progress):
        if progress > 30:
            log.feedback.cancel()

    log.feedback.progressChanged.connect(cancel)
    with pytest.raises(QgsProcessingException, match="cancelled"):
        cross_validate(survey, N_FOLDS=10)
    assert list(tmp_path.iterdir()) == []
    log.start_again()
    assert cross_validate(survey)["N_USED"] == 60


def test_a_failing_engine_is_one_sentence_and_leaves_nothing(cross_validate, survey, monkeypatch, tmp_path):
    def killed(*_, **__):
        raise EngineError("The engine was killed.")

    monkeypatch.setattr(module, "run_job", killed)
    with pytest.raises(QgsProcessingException, match="The engine was killed"):
        cross_validate(survey)
    assert list(tmp_path.iterdir()) == []


def test_a_page_whose_name_is_as_long_as_can_be(tmp_path):
    (tmp_path / "made").write_text("a page")
    target = tmp_path / f"{250 * 'x'}.html"
    destinations.put_in_place(str(tmp_path / "made"), target)
    assert target.read_text() == "a page"


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_without_a_page_in_its_place_there_are_no_points(cross_validate, survey, monkeypatch, tmp_path, suffix):
    report = tmp_path / "report.html"
    report.write_text("an older one")

    def refuse(source, target):
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(destinations.os, "replace", refuse)
    with pytest.raises(QgsProcessingException, match=r"report.html cannot be written: Permission denied"):
        cross_validate(survey, ERRORS=str(tmp_path / f"errors{suffix}"))
    assert contents(tmp_path) == {"report.html": b"an older one"}


@pytest.fixture
def full_disk(monkeypatch):
    """Let points fail when they are nearly done."""

    def fail(path, styler):
        assert path.is_file()
        raise EngineError("The disk is full.")

    monkeypatch.setattr(module, "save_point_style", fail)


def test_points_that_cannot_be_styled_are_not_left(cross_validate, survey, full_disk, tmp_path):
    """But the page, which was finished, is."""
    with pytest.raises(QgsProcessingException, match="The disk is full"):
        cross_validate(survey)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_points_that_fail_leave_an_older_file_as_it_was(cross_validate, survey, full_disk, tmp_path, suffix):
    path = tmp_path / f"errors{suffix}"
    save(survey, path)
    path.with_suffix(".qml").write_text("a style")
    path.with_suffix(".txt").write_text("of something else")
    before = contents(tmp_path)
    with pytest.raises(QgsProcessingException, match="The disk is full"):
        cross_validate(survey, ERRORS=str(path), REPORT=None)
    assert contents(tmp_path) == before
    assert not [file for file in tmp_path.iterdir() if file.is_dir()]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_points_replace_an_older_file(cross_validate, survey, tmp_path, suffix):
    path = tmp_path / f"errors{suffix}"
    save(survey, path)
    cross_validate(survey, ERRORS=str(path), REPORT=None)
    assert features_of(str(path))[0]["fold"] >= 1
    assert {file.stem for file in tmp_path.iterdir()} == {"errors"}


def test_an_older_file_that_is_held_stays(cross_validate, survey, monkeypatch, tmp_path):
    """As on Windows, where nobody may move a file that a program has open."""
    path = tmp_path / "errors.shp"
    save(survey, path)
    before, replace = contents(tmp_path), os.replace

    def hold(source, target):
        if str(source) == str(tmp_path / "errors.dbf"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", hold)
    with pytest.raises(QgsProcessingException, match=r"errors.shp cannot be replaced: Permission denied\. Is it open"):
        cross_validate(survey, ERRORS=str(path), REPORT=None)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["geom", "Geometry"])
@pytest.mark.parametrize("suffix", [".gpkg", ".sqlite"])
def test_an_attribute_called_as_the_geometry_is(cross_validate, survey, tmp_path, name, suffix):
    survey.dataProvider().renameAttributes({0: name})
    survey.updateFields()
    if suffix == ".sqlite":
        survey.setCrs(QgsCoordinateReferenceSystem())  # which it would lose
    features = features_of(cross_validate(survey, ERRORS=str(tmp_path / f"errors{suffix}"))["ERRORS"])
    assert len(features) == 60
    assert {f[f.fieldNameIndex(f"{name}_2")] for f in features} == {0.5}
    assert (tmp_path / "report.html").is_file()


def test_a_point_that_cannot_be_written_is_told_before_the_work(refused, survey, monkeypatch, tmp_path):
    """A GeoPackage makes its table with the first feature, and tells then that two columns have one name."""
    (tmp_path / "report.html").write_text("an older one")
    save(survey, tmp_path / "errors.gpkg")
    survey.dataProvider().renameAttributes({0: "geom"})
    survey.updateFields()
    monkeypatch.setattr("oadg.oadg_qgis.error_points._OF_GEOMETRY", ())
    refused(
        survey, "cannot hold the points with the attributes .*duplicate column name: geom.* rename, shorten or remove"
    )


def test_rows_of_a_batch_do_not_disturb_each_other(processing, survey, tiny_model, log, tmp_path):
    """The batch dialog runs one instance of the algorithm row by row."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("oadg:crossvalidate")
    for n_folds in (3, 2):
        row = {
            "OBSERVATIONS": survey,
            "FACIES_FIELD": "facies",
            "CELL_SIZE": 10,
            "N_FOLDS": n_folds,
            "MODEL_FILE": tiny_model,
            "ERRORS": str(tmp_path / f"errors {n_folds}.gpkg"),
        }
        result, successful = algorithm.run(row, QgsProcessingContext(), log.feedback, {}, False)
        assert successful
        assert {f["fold"] for f in features_of(result["ERRORS"])} == set(range(1, n_folds + 1))


def test_its_numbers_serve_the_next_step_of_a_model(processing, survey, log):
    """A model that keeps the points whose log loss is above the mean."""
    model = QgsProcessingModelAlgorithm("chain", "tests")
    source = QgsProcessingModelChildParameterSource
    validate = QgsProcessingModelChildAlgorithm("oadg:crossvalidate")
    validate.setChildId("validate")
    given = {"OBSERVATIONS": survey, "FACIES_FIELD": "facies", "CELL_SIZE": 10, "N_FOLDS": 3}
    for name, value in {**given, "MODEL": "universal", "SEED": 0, "DEVICE": "cpu"}.items():
        validate.addParameterSources(name, [source.fromStaticValue(value)])
    validate.setModelOutputs({})
    model.addChildAlgorithm(validate)
    above = QgsProcessingModelChildAlgorithm("native:extractbyexpression")
    above.setChildId("above")
    above.addParameterSources("INPUT", [source.fromChildOutput("validate", "ERRORS")])
    above.addParameterSources("EXPRESSION", [source.fromExpression("'\"log_loss\" > ' || @validate_LOG_LOSS")])
    output = QgsProcessingModelOutput("above", "above")
    output.setChildId("above")
    output.setChildOutputName("OUTPUT")
    above.setModelOutputs({"above": output})
    model.addChildAlgorithm(above)
    assert model.validate() == (True, [])
    result = processing.run(model, {"above:above": "TEMPORARY_OUTPUT"}, feedback=log.feedback)
    losses = [f["log_loss"] for f in result["above:above"].getFeatures()]
    assert 0 < len(losses) < 60


def test_the_results_viewer_shows_the_page(processing):
    algorithm = QgsApplication.processingRegistry().algorithmById("oadg:crossvalidate")
    outputs = {output.name(): output.type() for output in algorithm.outputDefinitions()}
    assert outputs == {
        "REPORT": "outputHtml",
        "ERRORS": "outputVector",
        **dict.fromkeys(NUMBERS, "outputNumber"),
        "VERDICT": "outputString",
    }
    assert (algorithm.group(), algorithm.groupId()) == ("Validation", "validation")
    needed = {
        p.name()
        for p in algorithm.parameterDefinitions()
        if p.defaultValue() is None and not p.flags() & p.Flag.FlagOptional
    }
    assert needed == {"OBSERVATIONS", "FACIES_FIELD"}
    assert os.path.basename(algorithm.svgIconPath()) == "icon.svg"


def test_a_report_in_the_place_of_a_model_that_is_chosen_by_name(refused, survey, fake_engine):
    model = installed_models()["universal"]
    before = model.read_bytes()
    refused(survey, r"which would replace MODEL \(.*universal", MODEL="universal", MODEL_FILE="", REPORT=str(model))
    assert model.read_bytes() == before
