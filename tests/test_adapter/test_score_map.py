"""`oadg:scoremap` from a raster to its likelihood, on the real engine, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import QgsProcessingException, QgsProcessingFeatureSourceDefinition, QgsProject, QgsRasterLayer

from oadg.core.contract.errors import EngineError, JobError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.score_job import ScoreResult
from oadg.oadg_qgis.algorithms import score_map as module
from oadg.oadg_qgis.algorithms.score_map import _verdict
from oadg.oadg_qgis.engine_client import close_idle_engines

NUMBERS = {"LOG_LIKELIHOOD", "SPREAD", "BITS_PER_CELL", "TYPICAL_BITS_PER_CELL", "TYPICAL_SPREAD", "N_CELLS"}


@pytest.fixture
def write_map(world, tmp_path):
    def write(codes, name="map.tif", south_up=False):
        path = tmp_path / name
        n_rows, n_cols = codes.shape
        dataset = gdal.GetDriverByName("GTiff").Create(str(path), n_cols, n_rows, 1, gdal.GDT_Int32)
        north, height = (world.NORTH - n_rows * world.CELL, world.CELL) if south_up else (world.NORTH, -world.CELL)
        dataset.SetGeoTransform((world.WEST, world.CELL, 0, north, 0, height))
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(32632)
        dataset.SetProjection(reference.ExportToWkt())
        dataset.GetRasterBand(1).SetNoDataValue(-9)
        dataset.GetRasterBand(1).WriteArray(codes[::-1] if south_up else codes)
        dataset.FlushCache()
        return str(path)

    return write


@pytest.fixture
def score_map(processing, log, tiny_model, tmp_path):
    def run(path, **parameters):
        return processing.run(
            "oadg:scoremap",
            {
                "MAP": path,
                "MODEL_FILE": tiny_model,
                "N_PATHS": 2,
                "DEVICE": "cpu",
                "SURPRISE": str(tmp_path / "surprise.tif"),
                **parameters,
            },
            feedback=log.feedback,
        )

    yield run
    close_idle_engines()


def codes_of(world):
    return np.array(world.CODES)[world.truth()]


def test_a_map_gets_its_bits_and_its_surprise(score_map, write_map, survey, world, log):
    codes = codes_of(world)
    codes[:2] = -9
    result = score_map(write_map(codes), OBSERVATIONS=survey, FACIES_FIELD="facies", SEED=4)
    assert set(result) == {"SURPRISE", *NUMBERS}
    surprise = gdal.Open(result["SURPRISE"]).ReadAsArray()
    assert (surprise[:2] == -9999).all()
    row, col, _ = world.survey_cells()
    assert not surprise[row[row >= 2], col[row >= 2]].any(), "observations surprise nobody"
    scored = surprise[surprise >= 0]
    assert result["N_CELLS"] == scored.size - (row >= 2).sum()
    assert result["LOG_LIKELIHOOD"] == pytest.approx(-scored.sum(dtype=float), rel=1e-4)
    assert result["BITS_PER_CELL"] == pytest.approx(-result["LOG_LIKELIHOOD"] / result["N_CELLS"])
    assert "bits per cell" in log.text
    reach = float(re.search(r"hardly any is more than ([\d.]+) off", log.text)[1])
    assert reach == pytest.approx(1 / result["N_CELLS"], abs=5e-5), "a bit: to this model all maps are alike"


@pytest.mark.parametrize(
    ("bits", "levels", "words"),
    [
        (0.34, [0.1, -0.9], "not shown to be less plausible to the model than its own realizations"),
        (0.26, [0.1, -0.9], "not shown to be less plausible to the model than its own realizations"),
        (0.36, [0.1, 1.2], "less plausible to the model than its own realizations"),
        (0.24, [0.1, -0.9], "simpler than the model's own realizations"),
        (0.3, [1.1, -1.2], "unlike the model's own realizations: cells that are 2 apart surprise the model less there"),
        (0.3, [0, 0, 3], "unlike the model's own realizations: cells that are 4 apart surprise the model more there"),
    ],
)
def test_the_verdict_is_that_of_the_worst_level(bits, levels, words):
    numbers = {"log_likelihood_bits": -1000 * bits, "spread_bits": 1.0, "bits_per_cell": bits, "n_cells": 1000}
    typical = {"typical_bits_per_cell": 0.3, "typical_spread": 0.01, "typical_reach": 0.0507}
    others = {"surprise_path": "", "device": "cpu", "model_id": "", "seconds": 0.0, "excess_of_levels": levels}
    assert _verdict(ScoreResult(**numbers, **typical, **others)).endswith(f"more than 0.0507 off: the map is {words}.")


def test_north_is_up_whatever_the_order_of_the_rows(score_map, write_map, survey, world):
    """The data agree with the map, which they would not if it were read upside down."""
    codes = codes_of(world)
    runs = [
        score_map(write_map(codes, f"{south_up}.tif", south_up), OBSERVATIONS=survey, FACIES_FIELD="facies")
        for south_up in (False, True)
    ]
    assert runs[0]["LOG_LIKELIHOOD"] == runs[1]["LOG_LIKELIHOOD"]


def test_observations_that_contradict_the_map(score_map, write_map, survey, world, tmp_path):
    codes = codes_of(world)
    row, col, index = world.survey_cells()
    codes[row[0], col[0]] = world.CODES[(index[0] + 1) % 3]
    place = world.centres(row[:1], col[:1])[0]
    with pytest.raises(
        QgsProcessingException,
        match=rf"1 of 60 cells with observations contradict the map; in the cell around easting {place[0]:.10g}, "
        rf"northing {place[1]:.10g} it shows",
    ):
        score_map(write_map(codes), OBSERVATIONS=survey, FACIES_FIELD="facies")
    assert not (tmp_path / "surprise.tif").exists()


def test_what_becomes_of_observations_is_told(score_map, write_map, world, log):
    row, col, index = world.survey_cells()
    places, values = world.centres(row, col), [world.CODES[k] for k in index]
    east, north = places[0]
    places += [(east + 1, north), (east + 2, north), (world.WEST - 5, north), None]
    values += [values[0], world.CODES[(index[0] + 1) % 3], values[0], values[0]]
    places[5] = places[4]
    values[5] = None
    layer = world.make_layer(places, values)
    score_map(write_map(codes_of(world)), OBSERVATIONS=layer, FACIES_FIELD="facies")
    assert "60 of 64 observations are used, in 59 cells, with 3 facies: -1, 3, 311." in log.infos
    assert {
        "1 observation lies where the map holds nothing.",
        "1 observation lost against another facies in its cell.",
        "1 observation has no facies (NULL or blank).",
        "1 observation has no usable position.",
    } <= set(log.warnings)
    assert any(text.startswith("Of these 1 is around the map, or in gaps of it, and not used") for text in log.warnings)


def test_a_realization_has_the_facies_of_its_simulation_whether_they_occur_or_not(
    score_map, simulate_facies, tiny_model, world, log
):
    """So bands of a file compare, and observations of facies that a band lacks are no strangers to it."""
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), ["mud" if k else "sand" for k in index], kind="string")
    result = simulate_facies(layer, MODEL_FILE=tiny_model, DEVICE="cpu", N_REALIZATIONS=2)
    dataset = gdal.Open(result["REALIZATIONS"], gdal.GA_Update)
    codes = dataset.GetRasterBand(2).ReadAsArray()
    dataset.GetRasterBand(2).WriteArray(np.full_like(codes, codes[row, col][index == 0][0]))
    del dataset
    log.infos.clear()
    score_map(result["REALIZATIONS"], BAND=2)
    assert any("columns and 2 facies" in text for text in log.infos)
    beside = world.make_layer(
        [(world.WEST - 5000, world.NORTH), *world.centres(row[:9], col[:9])], ["mud", *["sand"] * 9], kind="string"
    )
    score_map(result["REALIZATIONS"], BAND=2, OBSERVATIONS=beside, FACIES_FIELD="facies")


def test_a_facies_that_was_observed_and_has_a_name_in_the_map_counts(score_map, write_map, world, log):
    row, col, index = world.survey_cells()
    path = write_map(np.where(codes_of(world) == world.CODES[0], 2, 1))
    dataset = gdal.Open(path, gdal.GA_Update)
    dataset.GetRasterBand(1).SetCategoryNames(["", "clay", "silt", "gravel", "peat"])
    del dataset
    places = [(world.WEST - 5000, world.NORTH), *world.centres(row, col)]
    layer = world.make_layer(places, ["gravel", *("clay" if k else "silt" for k in index)], kind="string")
    score_map(path, OBSERVATIONS=layer, FACIES_FIELD="facies")
    assert any("columns and 3 facies" in text for text in log.infos)


def test_codes_that_the_model_does_not_know(score_map, write_map, world, tmp_path):
    model = tmp_path / "image.safetensors"
    world.write_header(model, FaciesTable((Facies(3, "mud", "#112233"), Facies(4, "sand", "#445566"))))
    with pytest.raises(QgsProcessingException, match=r"holds the codes -1, 311, which the model image does not know"):
        score_map(write_map(codes_of(world)), MODEL_FILE=str(model))


@pytest.mark.parametrize(
    ("epsg", "cell", "north", "words"),
    [
        (
            32632,
            10.0,
            5e6,
            ["Cells of 10 meters are not those of the model's training image, 50: ", "be 0.2 times as la"],
        ),
        (32632, 40.0, 5e6, []),
        (
            None,
            10.0,
            5e6,
            ["Cells of 10 units (taken for metres, for the map has no CRS) are not those of the model's "],
        ),
        (
            4326,
            1e-4,
            0.0,
            ["Cells of 0.0001 degrees are not those of the model's training image, 0.000450669: ", "be 0.22 t"],
        ),
        (
            4326,
            6e-4,
            60.0,
            ["cells of the map 'map' are 33.5 x 66.8 metres on the ground: the model takes them for squ"],
        ),
    ],
)
def test_cells_that_are_not_those_of_the_model_are_told(
    score_map, world, monkeypatch, log, tmp_path, epsg, cell, north, words
):
    """Before the engine is asked."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "map.tif"), world.N_COLS, world.N_ROWS, 1)
    dataset.SetGeoTransform((9 if epsg == 4326 else 5e5, cell, 0, north, 0, -cell))
    if epsg:
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(epsg)
        dataset.SetProjection(reference.ExportToWkt())
    dataset.GetRasterBand(1).WriteArray(world.truth().astype(np.uint8))
    del dataset
    model = tmp_path / "image.safetensors"
    world.write_header(model, FaciesTable(tuple(Facies(k, f"facies {k}", "#112233") for k in range(3))), 50.0)

    def engine(*_, **__):
        raise EngineError("The engine was asked.")

    monkeypatch.setattr(module, "run_job", engine)
    with pytest.raises(QgsProcessingException, match="The engine was asked"):
        score_map(str(tmp_path / "map.tif"), MODEL_FILE=str(model))
    told = [text for text in log.warnings if "ells of" in text]
    assert len(told) == bool(words)
    assert all(part in told[0] for part in words)


def test_a_stack_of_maps_is_a_picture_unless_its_style_says_otherwise(score_map, open_raster, world, log, tmp_path):
    path = str(tmp_path / "stack.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, world.N_COLS, world.N_ROWS, 3, options=["PHOTOMETRIC=RGB"])
    for band in (1, 2, 3):
        dataset.GetRasterBand(band).WriteArray(np.roll(world.truth(), 3 * band, axis=1).astype(np.uint8))
    del dataset
    score_map(path)
    assert any("'stack' is read as a coloured picture" in text for text in log.warnings)
    log.start_again()
    score_map(open_raster(path, palette={}).id())
    assert "and 3 facies;" in log.text
    assert "coloured picture" not in log.text


def test_a_map_of_one_facies_means_nothing_to_the_universal_model(score_map, write_map, world):
    with pytest.raises(QgsProcessingException, match="1 facies"):
        score_map(write_map(np.full((world.N_ROWS, world.N_COLS), 3)))


def test_the_map_itself_is_not_replaced(score_map, write_map, world):
    path = write_map(codes_of(world))
    before = Path(path).read_bytes()
    with pytest.raises(QgsProcessingException, match="which would replace MAP"):
        score_map(path, SURPRISE=path)
    assert Path(path).read_bytes() == before


def test_the_model_is_not_replaced(score_map, write_map, world, tiny_model):
    before = Path(tiny_model).read_bytes()
    with pytest.raises(QgsProcessingException, match="which would replace MODEL_FILE"):
        score_map(write_map(codes_of(world)), SURPRISE=tiny_model)
    assert Path(tiny_model).read_bytes() == before


def test_a_map_in_a_geopackage_is_not_replaced(score_map, write_map, world, tmp_path):
    """Its source names a table, too: GPKG:file:table."""
    path = tmp_path / "maps.gpkg"
    options = gdal.TranslateOptions(format="GPKG", outputType=gdal.GDT_Int16, creationOptions=["RASTER_TABLE=map"])
    gdal.Translate(str(path), write_map(codes_of(world)), options=options).FlushCache()
    before = path.read_bytes()
    layer = QgsProject.instance().addMapLayer(QgsRasterLayer(f"GPKG:{path}:map", "map"))
    try:
        with pytest.raises(QgsProcessingException, match="which would replace MAP"):
            score_map(layer.id(), SURPRISE=str(path))
    finally:
        QgsProject.instance().removeMapLayer(layer.id())  # a layer that outlives GDAL takes the process down
    assert path.read_bytes() == before


def test_maps_with_open_options(score_map, write_map, open_raster, world, tmp_path):
    """QGIS writes them behind the file of a layer, which is not replaced; what is no file is read as it was."""
    path, tables = write_map(codes_of(world)), str(tmp_path / "maps.gpkg")
    options = gdal.TranslateOptions(format="GPKG", outputType=gdal.GDT_Int16, creationOptions=["RASTER_TABLE=map"])
    gdal.Translate(tables, path, options=options).FlushCache()
    scores = set()
    for source in (path, f"{path}|option:NUM_THREADS=1|option:OVERVIEW_LEVEL=NONE", f"GPKG:{tables}:map"):
        layer = open_raster(source)
        assert layer.source() == source
        scores.add(score_map(layer.id())["LOG_LIKELIHOOD"])
        with pytest.raises(QgsProcessingException, match="which would replace MAP"):
            score_map(layer.id(), SURPRISE=tables if source.startswith("GPKG") else path)
    assert len(scores) == 1


def test_a_map_with_cells_that_are_not_quite_square(score_map, write_map, world, tmp_path):
    """Every single one may be taken for square, but not all together."""
    path = write_map(np.tile(codes_of(world), (2, 2)))
    dataset = gdal.Open(path, gdal.GA_Update)
    dataset.SetGeoTransform((world.WEST, world.CELL, 0, world.NORTH, 0, -0.991 * world.CELL))
    del dataset
    with pytest.raises(QgsProcessingException, match=r"its far border would lie 0\.\d cells off"):
        score_map(path)
    assert not (tmp_path / "surprise.tif").exists()


def test_values_that_are_no_codes(score_map, world, tmp_path):
    path = str(tmp_path / "elevation.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, world.N_COLS, world.N_ROWS, 1, gdal.GDT_Float32)
    dataset.GetRasterBand(1).WriteArray(codes_of(world) + 0.25)
    del dataset
    with pytest.raises(QgsProcessingException, match=r"holds 3\.25, which is no facies code: .*Choose the band that"):
        score_map(path)


def test_nodata_that_is_not_declared(score_map, write_map, world, tmp_path):
    codes = codes_of(world).astype(np.float32)
    codes[0] = np.finfo(np.float32).min
    path = str(tmp_path / "esri.tif")
    gdal.GetDriverByName("GTiff").Create(path, world.N_COLS, world.N_ROWS, 1, gdal.GDT_Float32).WriteArray(codes)
    with pytest.raises(QgsProcessingException, match=r"holds -3\.40282e\+38, .*declare it as the raster's nodata"):
        score_map(path)


def test_a_field_without_its_layer(score_map, write_map, world):
    with pytest.raises(QgsProcessingException, match="FACIES_FIELD is 'facies', but the layer with this field"):
        score_map(write_map(codes_of(world)), FACIES_FIELD="facies")


@pytest.mark.parametrize("only_selected", [False, True])
def test_selected_observations_alone_count_and_a_missing_crs_is_told(
    score_map, write_map, world, log, monkeypatch, only_selected
):
    jobs = []

    def take(job, **_):
        jobs.append(job)
        raise JobError("That is enough.")

    monkeypatch.setattr(module, "run_job", take)
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [world.CODES[k] for k in index], crs="")
    layer.selectByIds([feature.id() for feature in layer.getFeatures()][:7])
    QgsProject.instance().addMapLayer(layer, False)
    with pytest.raises(QgsProcessingException, match="That is enough"):
        score_map(
            write_map(codes_of(world)),
            OBSERVATIONS=QgsProcessingFeatureSourceDefinition(layer.id(), only_selected) if only_selected else layer,
            FACIES_FIELD="facies",
        )
    QgsProject.instance().removeMapLayer(layer.id())
    assert len(jobs[0].row) == (7 if only_selected else 60)
    assert "The observations have no CRS; their coordinates are taken for the map's." in log.warnings


def test_observations_of_facies_that_the_map_has_not(score_map, write_map, world):
    layer = world.make_layer(world.centres(np.arange(2), np.arange(2)), [world.CODES[0], 99])
    with pytest.raises(QgsProcessingException, match=r"The map does not have the facies 99 .* rename them\.$"):
        score_map(write_map(codes_of(world)), OBSERVATIONS=layer, FACIES_FIELD="facies")


@pytest.mark.parametrize(
    ("band", "message"),
    [(np.int64(2), "no band 2"), ("2", "no band 2"), (0, "no band 0"), ("abc", "BAND is 'abc', which is no number")],
)
def test_a_band_is_the_one_that_is_asked_for(score_map, write_map, world, band, message):
    """No other one stands in for a band that is no plain number, or not there."""
    with pytest.raises(QgsProcessingException, match=message):
        score_map(write_map(codes_of(world)), BAND=band)
