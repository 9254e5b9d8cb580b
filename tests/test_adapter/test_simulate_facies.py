"""`oadg:simulatefacies` from layers to rasters, with the real engine where the numbers matter."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsPointXY,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsSymbol,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication

from oadg.core.contract.errors import EngineError

RASTERS = ("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE")
NUMBERS = ("N_USED", "N_SKIPPED", "N_FACIES", "MEAN_ENTROPY", "SEED", "SECONDS", "DEVICE")


def read(path):
    return gdal.Open(path).ReadAsArray()


@pytest.fixture
def run_engine(simulate_facies, tiny_model):
    """Run the algorithm on the real engine with the tiny model."""

    def run(layer, **parameters):
        return simulate_facies(layer, MODEL_FILE=tiny_model, DEVICE="cpu", **parameters)

    return run


def test_every_declared_key_is_returned(run_engine, survey, tmp_path):
    result = run_engine(survey, N_REALIZATIONS=3, SEED=5)
    assert set(result) == {*RASTERS, *NUMBERS}
    assert all(Path(result[name]).is_file() for name in RASTERS)
    assert {name: result[name] for name in NUMBERS[:3]} == {"N_USED": 60, "N_SKIPPED": 0, "N_FACIES": 3}
    assert 0 < result["MEAN_ENTROPY"] <= math.log2(3)
    assert (result["SEED"], result["DEVICE"]) == (5, "cpu")
    assert result["SECONDS"] > 0
    names = {file.name.split(".")[0] for file in tmp_path.iterdir()}
    assert names == {"realizations", "entropy", "probabilities", "most_probable"}


def test_every_observation_is_honoured_in_every_realization(run_engine, survey, world):
    result = run_engine(survey, N_REALIZATIONS=4)
    row, col, index = world.survey_cells()
    realizations = read(result["REALIZATIONS"])
    assert realizations.shape == (4, world.N_ROWS, world.N_COLS)
    assert np.array_equal(realizations[:, row, col], np.tile(np.array(world.CODES)[index], (4, 1)))
    assert set(np.unique(realizations)) <= set(world.CODES)
    codes = np.sort(world.CODES)
    probability = read(result["PROBABILITIES"])
    assert np.array_equal(codes[probability[:, row, col].argmax(axis=0)], np.array(world.CODES)[index])
    assert read(result["ENTROPY"])[row, col] == pytest.approx(0, abs=1e-5)


def test_same_seed_same_pixels_and_more_realizations_change_nothing(run_engine, survey):
    few = read(run_engine(survey, CELL_SIZE=20, N_REALIZATIONS=2, SEED=1)["REALIZATIONS"])
    again = read(run_engine(survey, CELL_SIZE=20, N_REALIZATIONS=2, SEED=1)["REALIZATIONS"])
    more = read(run_engine(survey, CELL_SIZE=20, N_REALIZATIONS=11, SEED=1)["REALIZATIONS"])
    other = read(run_engine(survey, CELL_SIZE=20, N_REALIZATIONS=2, SEED=2)["REALIZATIONS"])
    assert np.array_equal(few, again)
    assert np.array_equal(few, more[:2])
    assert not np.array_equal(few, other)
    assert not np.array_equal(more[0], more[1])


def test_entropy_and_most_probable_facies_belong_to_the_probabilities(run_engine, survey, world):
    result = run_engine(survey, N_REALIZATIONS=0)
    probability = read(result["PROBABILITIES"]).astype(float)
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    entropy = -(probability * np.log2(np.maximum(probability, 1e-30))).sum(axis=0)
    assert read(result["ENTROPY"]) == pytest.approx(entropy, abs=1e-4)
    assert result["MEAN_ENTROPY"] == pytest.approx(entropy.mean(), abs=1e-4)
    assert np.array_equal(read(result["MOST_PROBABLE"]), np.sort(world.CODES)[probability.argmax(axis=0)])


def test_cells_outside_the_mask_hold_nothing(run_engine, survey, world, log):
    """The mask is the western half of the extent less its north-west quarter."""
    west, north = world.WEST, world.NORTH
    wkt = (
        f"MultiPolygon((({west + 100} {north}, {west + 200} {north}, {west + 200} {north - 300}, {west} {north - 300}, "
        f"{west} {north - 150}, {west + 100} {north - 150})))"
    )
    result = run_engine(survey, MASK=world.make_polygon(wkt), N_REALIZATIONS=1)
    inside = np.ones((30, 20), bool)
    inside[:15, :10] = False
    for name in RASTERS:
        dataset = gdal.Open(result[name])
        assert dataset.GetGeoTransform() == (west, 10, 0, north, 0, -10)
        band = dataset.GetRasterBand(1)
        assert np.array_equal(band.ReadAsArray() != band.GetNoDataValue(), inside)
    row, col, _ = world.survey_cells()
    n_used, n_inside = int((col < 20 + 6).sum()), int(((col < 20) & ((row >= 15) | (col >= 10))).sum())
    assert (result["N_USED"], result["N_SKIPPED"]) == (n_used, 60 - n_used)
    assert f"{60 - n_used} observations lie too far from the mapped area to be used." in log.warnings
    assert f"Of these cells {n_used - n_inside} lie around the area; the maps follow them, too." in log.infos
    assert "The mask leaves 450 of 600 cells." in log.infos


def test_of_the_extent_only_the_part_around_the_mask_is_computed(simulate_facies, survey, fake_engine, world):
    """Corners of the mask lie within cells, and those of the extent, too: cells stay where they were."""
    west, north = world.WEST, world.NORTH
    left, right, bottom, top = west + 83, west + 217, north - 247, north - 41
    wkt = f"MultiPolygon((({left} {top}, {right} {top}, {right} {bottom}, {left} {bottom}, {left} {top})))"
    extent = f"{west - 4},{west + 396},{north - 300},{north - 3} [EPSG:32632]"
    result = simulate_facies(survey, EXTENT=extent, MASK=world.make_polygon(wkt))
    job, mask = fake_engine[0]
    assert (job.grid.west, job.grid.north) == (west - 4 + 9 * 10, north - 3 - 4 * 10)
    assert job.grid.shape == mask.shape == (20, 13)
    assert mask.all()
    assert gdal.Open(result["ENTROPY"]).GetGeoTransform() == (west + 86, 10, 0, north - 43, 0, -10)
    simulate_facies(survey, EXTENT=extent)
    whole, _ = fake_engine[1]
    known = {place: k for *place_, k in zip(whole.row, whole.col, whole.class_index) for place in [tuple(place_)]}
    assert {(r + 4, c + 9): k for r, c, k in zip(job.row, job.col, job.class_index)}.items() <= known.items()


@pytest.mark.parametrize(("n_rows", "n_cols"), [(24, 1), (1, 24)])
def test_a_strip_of_one_cell(run_engine, survey, world, n_rows, n_cols):
    row, col, _ = world.survey_cells()
    west, north = world.WEST + col[0] * 10, world.NORTH
    if n_rows == 1:
        west, north = world.WEST, world.NORTH - row[0] * 10
    extent = f"{west},{west + 10 * n_cols},{north - 10 * n_rows},{north} [EPSG:32632]"
    result = run_engine(survey, EXTENT=extent, N_REALIZATIONS=2)
    probability = read(result["PROBABILITIES"])
    assert probability.shape == (3, n_rows, n_cols)
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(read(result["MOST_PROBABLE"]), np.sort(world.CODES)[probability.argmax(axis=0)])
    assert read(result["REALIZATIONS"]).shape == (2, n_rows, n_cols)


def test_without_realizations_their_raster_is_none(simulate_facies, survey, fake_engine, tmp_path):
    result = simulate_facies(survey, N_REALIZATIONS=0)
    assert result["REALIZATIONS"] is None
    assert Path(result["ENTROPY"]).is_file()
    assert not (tmp_path / "realizations.tif").exists()
    assert fake_engine[0][0].n_realizations == 0


def test_results_that_are_not_asked_for_are_not_made(simulate_facies, survey, fake_engine, tmp_path):
    result = simulate_facies(survey, REALIZATIONS=None, PROBABILITIES=None, MOST_PROBABLE=None)
    assert [result[name] for name in RASTERS if name != "ENTROPY"] == [None] * 3
    assert {file.suffix for file in tmp_path.iterdir()} <= {".tif", ".qml", ".xml"}
    assert {file.name.split(".")[0] for file in tmp_path.iterdir()} == {"entropy"}


def test_temporary_results(simulate_facies, survey, fake_engine):
    result = simulate_facies(survey, **dict.fromkeys(RASTERS, "TEMPORARY_OUTPUT"))
    assert all(Path(result[name]).is_file() for name in RASTERS)


def test_the_job_says_what_the_user_asked_for(simulate_facies, survey, fake_engine, world):
    simulate_facies(survey, N_REALIZATIONS=7, QUALITY="standard", SEED=42, DEVICE="cuda:1")
    job, mask = fake_engine[0]
    assert (job.n_realizations, job.quality, job.seed, job.device) == (7, "standard", 42, "cuda:1")
    assert (job.grid.west, job.grid.north, job.grid.cell_size) == (world.WEST, world.NORTH, world.CELL)
    assert job.grid.shape == (world.N_ROWS, world.N_COLS)
    assert job.facies.codes.tolist() == [-1, 3, 311]
    assert mask is None


def test_what_simulating_together_costs_is_told_and_never_below_nothing(
    simulate_facies, survey, fake_engine, world, log, tmp_path
):
    model = tmp_path / "model.safetensors"
    world.write_header(model, scores={"excess_bits": {"standard": -0.0022, "preview": 0.0007}})
    simulate_facies(survey, MODEL_FILE=str(model), QUALITY="standard")
    told = "Simulating cells together costs 0.0000 bits per cell at this quality (standard: 0.0000, preview: 0.0007)."
    assert told in log.infos


def test_extent_and_cell_size_by_default_are_told(simulate_facies, survey, fake_engine, log):
    simulate_facies(survey, EXTENT=None, CELL_SIZE=None)
    job, _ = fake_engine[0]
    assert 5 <= job.grid.cell_size <= 20
    assert f"columns of {job.grid.cell_size:g} x {job.grid.cell_size:g} meters (chosen from the distance" in log.text
    assert job.grid.n_cols * job.grid.cell_size >= 1.09 * 380


def test_everything_is_brought_to_the_chosen_crs(simulate_facies, survey, fake_engine, world):
    """Points in degrees on a grid in metres fall into the cells that the same points in metres fall into."""
    to_degrees = QgsCoordinateTransform(
        survey.crs(), QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance().transformContext()
    )
    row, col, index = world.survey_cells()
    degrees = [to_degrees.transform(QgsPointXY(*place)) for place in world.centres(row, col)]
    layer = world.make_layer([(p.x(), p.y()) for p in degrees], [world.CODES[k] for k in index], crs="EPSG:4326")
    result = simulate_facies(layer, CRS=QgsCoordinateReferenceSystem("EPSG:32632"))
    simulate_facies(survey)
    assert fake_engine[0][0] == fake_engine[1][0]
    assert gdal.Open(result["ENTROPY"]).GetSpatialRef().GetAuthorityCode(None) == "32632"


def test_mask_in_another_crs(simulate_facies, survey, fake_engine, world):
    mask = world.make_polygon("MultiPolygon(((8.9 41, 9.0024 41, 9.0024 42, 8.9 42, 8.9 41)))", crs="EPSG:4326")
    simulate_facies(survey, MASK=mask)
    job, inside = fake_engine[0]
    assert job.grid.west == world.WEST
    assert job.grid.n_cols in (19, 20, 21)
    assert inside[:, :19].all()


def test_observations_around_the_extent_are_used_if_the_model_takes_any_grid(
    simulate_facies, survey, fake_engine, world, tmp_path
):
    """The extent is 20 x 20 cells of 30 x 40; five cells around count. A checkpoint of the reference has one size."""
    west, north = world.WEST + 100, world.NORTH
    place = {"EXTENT": f"{west},{west + 200},{north - 200},{north} [EPSG:32632]"}
    row, col, _ = world.survey_cells()
    for n_around, network in ((5, {}), (0, {"side": 20})):
        path = tmp_path / f"model_{n_around}.safetensors"
        world.write_header(path, network=network)
        result = simulate_facies(survey, **place, MODEL_FILE=str(path))
        held = (row < 20 + n_around) & (col >= 10 - n_around) & (col < 30 + n_around)
        job, _ = fake_engine[-1]
        assert sorted(zip(job.row, job.col)) == sorted(zip(row[held], col[held] - 10))
        assert (result["N_USED"], job.grid.shape) == (held.sum(), (20, 20))


def test_extent_by_default_is_that_of_the_mask(simulate_facies, survey, fake_engine, world):
    west, north = world.WEST - 100, world.NORTH + 50
    wkt = f"MultiPolygon((({west} {north}, {west + 300} {north}, {west + 300} {north - 200}, {west} {north - 200})))"
    simulate_facies(survey, MASK=world.make_polygon(wkt), EXTENT=None)
    job, _ = fake_engine[0]
    assert (job.grid.west, job.grid.north, job.grid.shape) == (west, north, (20, 30))


def test_selected_features_only(simulate_facies, survey, fake_engine):
    QgsProject.instance().addMapLayer(survey)
    survey.selectByExpression('"facies" in (3, 311)')
    categories = [QgsRendererCategory(3, QgsSymbol.defaultSymbol(survey.geometryType()), "Sand")]
    survey.setRenderer(QgsCategorizedSymbolRenderer("facies", categories))
    result = simulate_facies(QgsProcessingFeatureSourceDefinition(survey.id(), selectedFeaturesOnly=True))
    assert result["N_FACIES"] == 2
    assert fake_engine[0][0].facies.names == ["Sand", "311"]
    assert result["N_USED"] == survey.selectedFeatureCount()
    QgsProject.instance().removeMapLayer(survey.id())


def test_the_legend_has_the_order_of_the_observations(simulate_facies, fake_engine, world):
    """Strata have an order, which a style may show; what it does not name comes last, and codes stay as they are."""
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [("till", "clay", "sand")[k] for k in index], kind="string")
    symbol = QgsSymbol.defaultSymbol(layer.geometryType())
    styled = [QgsRendererCategory(value, symbol.clone(), name) for value, name in (("till", "Till"), ("clay", ""))]
    layer.setRenderer(QgsCategorizedSymbolRenderer("facies", styled))
    result = simulate_facies(layer)
    for name in ("REALIZATIONS", "MOST_PROBABLE"):
        raster = QgsRasterLayer(result[name], name)
        assert [(c.value, c.label) for c in raster.renderer().classes()] == [(3, "Till"), (1, "clay"), (2, "sand")]


def test_text_facies_have_names_in_every_raster(simulate_facies, fake_engine, world):
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [("sand", "clay", "Kies, grob")[k] for k in index], kind="string")
    result = simulate_facies(layer, N_REALIZATIONS=5)
    probabilities = gdal.Open(result["PROBABILITIES"])
    assert [probabilities.GetRasterBand(n).GetDescription() for n in (1, 2, 3)] == ["clay", "Kies, grob", "sand"]
    realizations = gdal.Open(result["REALIZATIONS"])
    assert realizations.GetRasterBand(5).GetDescription() == "Realization 5"
    assert realizations.GetRasterBand(1).DataType == gdal.GDT_Byte
    assert realizations.GetRasterBand(1).GetCategoryNames() == ["", "clay", "Kies, grob", "sand"]
    facies = json.loads(realizations.GetMetadataItem("OADG_FACIES"))
    assert [(f["code"], f["name"]) for f in facies] == [(1, "clay"), (2, "Kies, grob"), (3, "sand")]
    legends = []
    for name in ("REALIZATIONS", "MOST_PROBABLE"):
        layer = QgsRasterLayer(result[name], name)
        legends.append([(c.value, c.label, c.color.name()) for c in layer.renderer().classes()])
    assert legends[0] == legends[1] == [(f["code"], f["name"], f["color"]) for f in facies]


def test_what_is_needed_to_make_it_again_is_in_the_raster(run_engine, survey):
    result = run_engine(survey, SEED=9, N_REALIZATIONS=1)
    metadata = gdal.Open(result["REALIZATIONS"]).GetMetadata()
    assert metadata["OADG_SEED"] == "9"
    assert metadata["OADG_QUALITY"] == "preview"
    assert metadata["OADG_MODEL"].startswith("tiny")
    assert metadata["OADG_VERSION"]
    assert [f["code"] for f in json.loads(metadata["OADG_FACIES"])] == [-1, 3, 311]


def test_progress_goes_up_to_the_end(run_engine, survey, log):
    seen = []
    log.feedback.progressChanged.connect(seen.append)
    run_engine(survey)
    assert seen == sorted(seen)
    assert len(set(seen)) > 4
    assert seen[-1] == 100


def test_cancel_in_mid_run_leaves_no_file_and_the_next_run_works(run_engine, survey, log, tmp_path):
    def cancel(progress):
        if progress > 20:
            log.feedback.cancel()

    log.feedback.progressChanged.connect(cancel)
    with pytest.raises(QgsProcessingException, match="cancelled"):
        run_engine(survey, N_REALIZATIONS=50)
    assert list(tmp_path.iterdir()) == []
    log.start_again()
    assert run_engine(survey)["N_USED"] == 60


def test_a_failing_engine_is_one_sentence_and_leaves_no_file(
    simulate_facies, survey, fake_engine, monkeypatch, tmp_path
):
    from oadg.oadg_qgis.algorithms import simulate_facies as module

    def killed(*_, **__):
        raise EngineError("The engine was killed.")

    monkeypatch.setattr(module, "run_job", killed)
    with pytest.raises(QgsProcessingException, match="The engine was killed"):
        simulate_facies(survey)
    assert list(tmp_path.iterdir()) == []


def test_layers_load_with_their_style(processing, survey, fake_engine, tmp_path, log, world):
    """`runAndLoadResults` is what the dialog does."""
    result = processing.runAndLoadResults(
        "oadg:simulatefacies",
        {
            "OBSERVATIONS": survey,
            "FACIES_FIELD": "facies",
            "EXTENT": world.EXTENT,
            "CELL_SIZE": world.CELL,
            **dict.fromkeys(RASTERS, "TEMPORARY_OUTPUT"),
        },
        feedback=log.feedback,
    )
    layers = {layer.name(): layer for layer in QgsProject.instance().mapLayers().values()}
    kinds = {name: layer.renderer().type() for name, layer in layers.items() if isinstance(layer, QgsRasterLayer)}
    assert kinds == {
        "Realizations": "paletted",
        "Most probable facies": "paletted",
        "Entropy": "singlebandpseudocolor",
        "Probabilities": "singlebandpseudocolor",
    }
    assert result["N_FACIES"] == 3
    QgsProject.instance().clear()


@pytest.mark.parametrize("stored", [False, True])
def test_runs_at_once_do_not_wait_for_each_other_for_ever(processing, fake_engine, world, tmp_path, stored):
    """Observations are read on the tasks' threads, all from one layer; QGIS gives a file four connections."""
    cells = np.random.default_rng(0).choice(world.N_ROWS * world.N_COLS, 4000)
    places = world.centres(*np.divmod(cells, world.N_COLS))
    layer = world.make_layer(places, world.truth().ravel()[cells].tolist())
    if stored:
        options = QgsVectorFileWriter.SaveVectorOptions()
        path, transforms = str(tmp_path / "survey.gpkg"), QgsProject.instance().transformContext()
        assert QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, transforms, options)[0] == 0
        layer = QgsVectorLayer(path, "survey", "ogr")
    QgsProject.instance().addMapLayer(layer)
    algorithm = QgsApplication.processingRegistry().algorithmById("oadg:simulatefacies")
    for n_at_once in (3, 6, 3):
        kept, results = [], []
        for number in range(n_at_once):
            context = QgsProcessingContext()
            context.setProject(QgsProject.instance())
            parameters = {
                "OBSERVATIONS": layer.id(),
                "FACIES_FIELD": "facies",
                "EXTENT": world.EXTENT,
                "CELL_SIZE": world.CELL,
                "N_REALIZATIONS": 1,
                "ENTROPY": str(tmp_path / f"{number}.tif"),
            }
            task = QgsProcessingAlgRunnerTask(algorithm, parameters, context)
            task.executed.connect(lambda successful, result, found=results: found.append((successful, result)))
            kept.append((context, task))
            QgsApplication.taskManager().addTask(task)
        deadline = time.monotonic() + 30
        while len(results) < n_at_once and time.monotonic() < deadline:
            QCoreApplication.processEvents()
            time.sleep(0.01)
        assert [(successful, result.get("N_USED")) for successful, result in results] == [(True, 4000)] * n_at_once
    assert len(list(tmp_path.glob("*.tif"))) == 6
    QgsProject.instance().clear()


def test_a_geopackage_names_its_table_after_the_file(simulate_facies, survey, fake_engine, tmp_path):
    path = tmp_path / "most.gpkg"
    simulate_facies(survey, MOST_PROBABLE=str(path))
    with contextlib.closing(sqlite3.connect(path)) as tables:
        assert tables.execute("select table_name from gpkg_contents").fetchall() == [("most",)]


@pytest.mark.parametrize("raises", [False, True], ids=["GDAL", "GDAL with exceptions"])
@pytest.mark.parametrize("suffix", [".nc", ".mbtiles", ".ers", ".gtx", ".kml", ".vrt"])
def test_formats_that_lose_bands_or_their_place(simulate_facies, survey, fake_engine, tmp_path, suffix, raises):
    (gdal.UseExceptions if raises else gdal.DontUseExceptions)()
    try:
        with pytest.raises(QgsProcessingException, match=f"The format {suffix} of .* cannot hold|cannot be written"):
            simulate_facies(survey, REALIZATIONS=str(tmp_path / f"maps{suffix}"))
    finally:
        gdal.DontUseExceptions()
    assert list(tmp_path.iterdir()) == []


def test_a_format_without_nodata_is_refused_where_cells_hold_nothing(
    simulate_facies, survey, world, fake_engine, tmp_path
):
    """Rasterlite keeps the values, and not which of them is none: cells outside the mask would be a facies."""
    west, north = world.WEST, world.NORTH
    simulate_facies(survey, MOST_PROBABLE=str(tmp_path / "most.sqlite"))
    half = f"{west} {north}, {west + 200} {north}, {west + 200} {north - 300}, {west} {north - 300}, {west} {north}"
    mask = world.make_polygon(
        f"MultiPolygon((({half})), (({west + 390} {north}, {west + 400} {north}, "
        f"{west + 400} {north - 10}, {west + 390} {north - 10}, {west + 390} {north})))"
    )
    with pytest.raises(
        QgsProcessingException, match=r"format \.sqlite of .* cannot hold .* and cells that hold nothing"
    ):
        simulate_facies(survey, MASK=mask, MOST_PROBABLE=str(tmp_path / "masked.sqlite"))


def test_a_geopackage_of_several_rasters_is_not_replaced(simulate_facies, survey, fake_engine, tmp_path):
    path = str(tmp_path / "two.gpkg")
    empty = gdal.GetDriverByName("MEM").Create("", 20, 20, 1)
    empty.SetGeoTransform((0, 1, 0, 0, 0, -1))
    for table in ("one", "other"):
        gdal.GetDriverByName("GPKG").CreateCopy(path, empty, options=["APPEND_SUBDATASET=YES", f"RASTER_TABLE={table}"])
    with pytest.raises(QgsProcessingException, match=r"a file with 2 rasters, which would be lost"):
        simulate_facies(survey, ENTROPY=path)


def test_a_name_that_is_too_long(simulate_facies, survey, fake_engine, tmp_path):
    with pytest.raises(
        QgsProcessingException, match=r"ENTROPY cannot be written to .*File name too long\. Choose a shorter"
    ):
        simulate_facies(survey, ENTROPY=str(tmp_path / f"{300 * 'x'}.tif"))


def test_a_name_that_is_too_long_once_an_older_file_is_put_aside(simulate_facies, survey, fake_engine, tmp_path):
    path = tmp_path / f"{250 * 'x'}.tif"
    path.write_text("an older one")
    with pytest.raises(QgsProcessingException, match=r"cannot be replaced: File name too long\. Choose a shorter name"):
        simulate_facies(survey, ENTROPY=str(path))
    assert path.read_text() == "an older one"


def test_without_a_crs_of_its_own_it_is_that_of_the_extent(simulate_facies, world, fake_engine):
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), np.array(world.CODES)[index].tolist(), crs="")
    result = simulate_facies(layer, EXTENT=f"{world.EXTENT.split('[')[0]}[EPSG:25832]")
    assert QgsRasterLayer(result["ENTROPY"], "e").crs().authid() == "EPSG:25832"


@pytest.mark.parametrize("extent", [None, "500000,500400,4600000,4600300"])
def test_without_a_crs_of_either_it_is_that_of_the_mask(simulate_facies, world, fake_engine, extent):
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), np.array(world.CODES)[index].tolist(), crs="")
    west, north = world.WEST, world.NORTH
    outline = f"{west} {north}, {west + 400} {north}, {west + 400} {north - 300}, {west} {north - 300}, {west} {north}"
    mask = world.make_polygon(f"MultiPolygon((({outline})))")
    result = simulate_facies(layer, EXTENT=extent, MASK=mask)
    assert gdal.Open(result["ENTROPY"]).GetSpatialRef().GetAuthorityCode(None) == "32632"
    assert fake_engine[0][0].grid.shape == (world.N_ROWS, world.N_COLS)
