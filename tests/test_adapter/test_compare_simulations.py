"""`oadg:comparesimulations` from points to a page and numbers, on the real engine, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsApplication,
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
)

from oadg.core.contract.errors import EngineError
from oadg.oadg_qgis.algorithms import compare_simulations as module
from oadg.oadg_qgis.engine_client import close_idle_engines
from oadg.oadg_qgis.models import installed_models

SCORES = {
    name + suffix for name in ("LOG_LOSS", "BRIER", "ACCURACY") for suffix in ("", "_KRIGING", "_REALIZATIONS", "_SIS")
}
GAINS = {name + suffix for name in ("GAIN", "GAIN_REALIZATIONS") for suffix in ("", "_LOW", "_HIGH")}
OF_BOTH = {
    name + suffix
    for name in ("VARIOGRAM_MISFIT", "CONNECTIVITY", "BODIES", "SHARE_DIFFERENCE", "SECONDS")
    for suffix in ("_MODEL", "_SIS")
}
OF_REFERENCE = {"REFERENCE_MISFIT_MODEL", "REFERENCE_MISFIT_SIS", "VARIOGRAM_MISFIT_REFERENCE"}
OF_REFERENCE |= {"CONNECTIVITY_MISFIT_MODEL", "CONNECTIVITY_MISFIT_SIS"}
OF_REFERENCE |= {"CONNECTIVITY_REFERENCE", "BODIES_REFERENCE", "SHARE_DIFFERENCE_REFERENCE"}


@pytest.fixture
def compare(processing, log, tiny_model, world, tmp_path):
    """Run the algorithm with the fixture `log` and a tiny model; the page goes to the test's folder."""

    def run(layer, **parameters):
        return processing.run(
            "oadg:comparesimulations",
            {
                "OBSERVATIONS": layer,
                "FACIES_FIELD": "facies",
                "EXTENT": world.EXTENT,
                "CELL_SIZE": 10,
                "N_FOLDS": 3,
                "N_REALIZATIONS": 2,
                "QUALITY": "preview",
                "MODEL_FILE": tiny_model,
                "DEVICE": "cpu",
                "REPORT": str(tmp_path / "report.html"),
                **parameters,
            },
            feedback=log.feedback,
        )

    yield run
    close_idle_engines()


@pytest.fixture
def refused(compare, monkeypatch, tmp_path):
    """Run the algorithm, expect that it refuses with a message before the engine is asked, and leaves no page."""

    def engine(*_, **__):
        pytest.fail("the engine was asked")

    monkeypatch.setattr(module, "run_job", engine)

    def run(layer, message, **parameters):
        with pytest.raises(QgsProcessingException, match=message):
            compare(layer, **parameters)
        assert not (tmp_path / "report.html").exists()

    return run


@pytest.fixture
def write_raster(world, tmp_path):
    """Write codes as a raster whose first cell is the survey's, or some cells to the north-west of it."""

    def write(codes, name="reference.tif", *, cell=world.CELL, before=0, epsg=32632, placed=False):
        n_rows, n_cols = codes.shape
        path = tmp_path / name
        dataset = gdal.GetDriverByName("GTiff").Create(str(path), n_cols, n_rows, 1, gdal.GDT_Int32)
        if epsg or placed:
            west, north = world.WEST - before * cell, world.NORTH + before * cell
            dataset.SetGeoTransform((west, cell, 0, north, 0, -cell))
        if epsg:
            system = osr.SpatialReference()
            system.ImportFromEPSG(epsg)
            dataset.SetProjection(system.ExportToWkt())
        dataset.GetRasterBand(1).SetNoDataValue(-9)
        dataset.GetRasterBand(1).WriteArray(codes)
        dataset.FlushCache()
        return str(path)

    return write


@pytest.fixture
def codes(world):
    """The codes of the truth."""
    return np.array(world.CODES)[world.truth()]


def test_every_declared_key_is_returned_and_the_numbers_belong_together(compare, survey, log, tmp_path):
    result = compare(survey)
    assert set(result) == {"REPORT", "VERDICT", "N_USED"} | SCORES | GAINS | OF_BOTH | OF_REFERENCE
    assert result["N_USED"] == 60
    for name in SCORES | GAINS | OF_BOTH:
        assert math.isfinite(result[name]), name
    assert all(result[name] is None for name in OF_REFERENCE)
    assert result["GAIN"] == pytest.approx(100 * (1 - result["LOG_LOSS"] / result["LOG_LOSS_KRIGING"]))
    for name in ("GAIN", "GAIN_REALIZATIONS"):
        assert result[f"{name}_LOW"] < result[name] < result[f"{name}_HIGH"]
    assert result["VERDICT"] in log.infos
    assert result["VERDICT"].split(": ")[0] in Path(result["REPORT"]).read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_sis_is_better_than_a_model_that_has_learnt_nothing(compare, survey):
    result = compare(survey)
    assert result["LOG_LOSS"] == pytest.approx(np.log(3)), "it gives every facies the same"
    assert result["ACCURACY_KRIGING"] > result["ACCURACY"]
    assert result["LOG_LOSS_SIS"] < result["LOG_LOSS_REALIZATIONS"]
    assert result["GAIN_REALIZATIONS"] < 0
    assert result["VARIOGRAM_MISFIT_SIS"] < result["VARIOGRAM_MISFIT_MODEL"]
    assert result["BODIES_SIS"] < result["BODIES_MODEL"]


def test_a_reference_of_the_same_cells(compare, survey, codes, write_raster, world, log):
    wide = np.pad(codes, 5, constant_values=world.CODES[0])
    result = compare(survey, REFERENCE=write_raster(wide, before=5))
    assert "The reference covers the grid: the same cells of it are compared." in log.infos
    assert result["BODIES_REFERENCE"] == 3, "two bent bands and the rest"
    assert all(math.isfinite(result[name]) for name in OF_REFERENCE)
    assert result["SHARE_DIFFERENCE_REFERENCE"] < 0.15


@pytest.mark.parametrize(
    ("of_grid", "of_reference", "told"),
    [(32632, None, ("reference", "grid")), (None, 32632, ("grid", "reference")), (2264, None, ("reference", "grid"))],
)
def test_a_reference_without_a_crs_lies_where_its_coordinates_say(
    compare, codes, write_raster, world, log, of_grid, of_reference, told
):
    """As observations and masks do; and so does one with a CRS where the grid has none."""
    row, col, index = world.survey_cells()
    crs = f"EPSG:{of_grid}" if of_grid else ""
    layer = world.make_layer(world.centres(row, col), [world.CODES[k] for k in index], crs=crs)
    area = world.EXTENT.replace(" [EPSG:32632]", f" [{crs}]" if crs else "")
    compare(layer, EXTENT=area, REFERENCE=write_raster(codes, epsg=of_reference, placed=True), REPORT=None)
    assert "The {} has no CRS; its coordinates are taken for the {}'s.".format(*told) in log.warnings
    assert "The reference covers the grid: the same cells of it are compared." in log.infos


def test_a_reference_of_other_facies_at_the_observations_is_told(compare, survey, codes, write_raster, world, log):
    compare(survey, REFERENCE=write_raster(codes), REPORT=None)
    assert not any("shows another facies" in text for text in log.warnings)
    log.start_again()
    shuffled = np.array(world.CODES)[(world.truth() + 1) % 3]
    compare(survey, REFERENCE=write_raster(shuffled), REPORT=None)
    assert any("another facies at 60 of 60 observations" in text for text in log.warnings)


def test_a_reference_half_a_cell_off_has_other_cells(compare, survey, codes, write_raster, world, log):
    wide = np.pad(codes, 5, constant_values=world.CODES[0])
    compare(survey, REFERENCE=write_raster(wide, before=4.5), REPORT=None)
    assert "The reference has none of the grid's cells, or not all: pieces of its size are cut at random." in log.infos


@pytest.mark.parametrize("epsg", [None, 32633])
def test_a_reference_from_elsewhere_is_cut_into_pieces(compare, survey, codes, write_raster, log, epsg):
    result = compare(survey, REFERENCE=write_raster(np.tile(codes, (2, 2)), epsg=epsg), REPORT=None)
    assert "The reference has none of the grid's cells, or not all: pieces of its size are cut at random." in log.infos
    assert result["BODIES_REFERENCE"] >= 3
    assert result["REPORT"] is None


def test_nodata_of_a_reference_is_unknown(compare, survey, codes, write_raster, log):
    codes[:, :10] = -9
    result = compare(survey, REFERENCE=write_raster(codes))
    told = "Of the reference 75 % of the cells are known"
    assert told in Path(result["REPORT"]).read_text(encoding="utf-8")
    assert told in result["VERDICT"]
    assert "It is known in 75 % of the simulated cells." in log.infos


def test_a_reference_that_is_hardly_known(compare, survey, codes, write_raster, tmp_path):
    codes[:, 2:] = -9
    with pytest.raises(QgsProcessingException, match="5 % of the reference are known, .*Use a reference with less nod"):
        compare(survey, REFERENCE=write_raster(codes))
    assert not (tmp_path / "report.html").exists()


def test_a_mask_leaves_observations_out(compare, survey, world, log):
    west, east = world.WEST, world.WEST + 250
    south, north = world.NORTH - 300, world.NORTH
    polygon = f"MULTIPOLYGON((({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south})))"
    result = compare(survey, EXTENT=None, MASK=world.make_polygon(polygon))
    _, col, _ = world.survey_cells()
    assert result["N_USED"] == (col < 25).sum()
    assert (
        f"{(col >= 25).sum()} observations lie outside the extent, or in cells whose centre is outside the mask."
        in log.warnings
    )
    assert "30 rows x 25 columns" in log.text


@pytest.mark.parametrize(
    ("n_points", "parameters", "message"),
    [
        (9, {}, "There are 9 observations with a facies; cross-validation .* needs at least 10"),
        (60, {"FACIES_FIELD": "nonsense"}, "has no field 'nonsense'"),
        (60, {"FACIES_FIELD": "number"}, "number.*whole numbers"),
        (12, {"N_FOLDS": 13}, "lie in 12 cells of 10; 13 folds need at least as many"),
        (60, {"MODEL_FILE": "/nowhere/model.safetensors"}, "model.safetensors does not exist"),
        (60, {"EXTENT": "0,100,0,100 [EPSG:32632]"}, "None of the 60 observations lies on the simulated area"),
    ],
)
def test_bad_input_is_one_sentence(refused, world, n_points, parameters, message):
    row, col, index = world.survey_cells(n_points)
    refused(world.make_layer(world.centres(row, col), [world.CODES[k] for k in index]), message, **parameters)


def test_one_facies_left(refused, world):
    row, col, _ = world.survey_cells()
    values = ["rare" if c == col.max() else "common" for c in col]
    layer = world.make_layer(world.centres(row, col), values, kind="string")
    refused(layer, r"Without fold \d, all observations that are left are of one facies, 'common'")


def test_references_that_do_not_fit(refused, survey, codes, write_raster):
    other = np.where(codes == 3, 4, codes)
    refused(
        survey,
        r"The reference holds 4, which no facies of the observations has as its code; these are -1 \(-1\), 3 .*Reclass",
        REFERENCE=write_raster(other),
    )
    refused(
        survey,
        "The reference has 29 rows x 40 columns, the grid 30 x 40: pieces .*Use a larger reference",
        REFERENCE=write_raster(codes[1:], "small.tif"),
    )
    refused(
        survey,
        "The cells of the reference are 20 m wide, those of the grid 10 m: .*Set CELL_SIZE to 20, or resample",
        REFERENCE=write_raster(np.tile(codes, (2, 2)), "coarse.tif", cell=20),
    )
    refused(
        survey,
        r"The cells of the reference are 3\.04801 m wide, those of the grid 10 m: .*Set CELL_SIZE to 3\.04801, or",
        REFERENCE=write_raster(np.tile(codes, (2, 2)), "feet.tif", epsg=2264),
    )
    refused(survey, "The reference counts in degrees", REFERENCE=write_raster(codes, "degrees.tif", epsg=4326))
    refused(survey, "The reference holds nodata only", REFERENCE=write_raster(0 * codes - 9, "empty.tif"))
    refused(survey, "has 1 band, and no band 2", REFERENCE=write_raster(codes, "one.tif"), BAND=2)
    refused(survey, "REFERENCE", REFERENCE="/nowhere/at_all.tif")


def test_a_reference_among_bands_of_bytes(refused, survey, open_raster, world, log, tmp_path):
    """Three of them are a picture, unless the layer's style says that the first one holds codes."""
    path = str(tmp_path / "stack.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, world.N_COLS, world.N_ROWS, 3, options=["PHOTOMETRIC=RGB"])
    for band in (1, 2, 3):
        dataset.GetRasterBand(band).WriteArray(world.truth().astype(np.uint8) + 7 * band)
    del dataset
    refused(survey, "The reference holds 1, 2, which no facies", REFERENCE=path)
    assert any("'stack' is read as a coloured picture: bands 1 to 3 together give 3 colours" in w for w in log.warnings)
    log.start_again()
    layer = open_raster(path, palette={})
    refused(survey, "The reference holds 7, 8, 9, which no facies", REFERENCE=layer.id())
    assert "coloured picture" not in log.text


def test_a_reference_with_open_options(refused, survey, codes, write_raster, open_raster):
    layer = open_raster(f"{write_raster(np.where(codes == 3, 4, codes))}|option:NUM_THREADS=1")
    refused(survey, "The reference holds 4, which no facies of the observations", REFERENCE=layer.id())


def test_the_page_replaces_no_input(refused, survey, codes, write_raster):
    path = write_raster(codes)
    before = Path(path).read_bytes()
    refused(survey, "REPORT is to be written to .*, which would replace REFERENCE", REFERENCE=path, REPORT=path)
    assert Path(path).read_bytes() == before
    refused(survey, "REPORT cannot be written to /proc/self/report.html", REPORT="/proc/self/report.html")


def test_cancel_in_mid_run_leaves_nothing_and_the_next_run_works(compare, survey, log, tmp_path):
    def cancel(progress):
        if progress > 30:
            log.feedback.cancel()

    log.feedback.progressChanged.connect(cancel)
    with pytest.raises(QgsProcessingException, match="cancelled"):
        compare(survey)
    assert list(tmp_path.iterdir()) == []
    log.start_again()
    assert compare(survey)["N_USED"] == 60


def test_a_failing_engine_is_one_sentence_and_leaves_nothing(compare, survey, monkeypatch, tmp_path):
    def killed(*_, **__):
        raise EngineError("The engine was killed.")

    monkeypatch.setattr(module, "run_job", killed)
    with pytest.raises(QgsProcessingException, match="The engine was killed"):
        compare(survey)
    assert list(tmp_path.iterdir()) == []


def test_a_number_of_realizations_that_cannot_be_is_refused_by_processing(compare, survey):
    with pytest.raises(QgsProcessingException, match="N_REALIZATIONS"):
        compare(survey, N_REALIZATIONS=1)


def test_its_numbers_serve_the_next_step_of_a_model(processing, survey, world, tiny_model, log):
    """A model that tells the verdict, and whether the model's maps have more bodies than those of SIS."""
    model = QgsProcessingModelAlgorithm("chain", "tests")
    source = QgsProcessingModelChildParameterSource
    judge = QgsProcessingModelChildAlgorithm("oadg:comparesimulations")
    judge.setChildId("judge")
    given = {"OBSERVATIONS": survey, "FACIES_FIELD": "facies", "EXTENT": world.EXTENT, "CELL_SIZE": 10}
    given |= {"MODEL": "universal", "MODEL_FILE": tiny_model, "N_FOLDS": 2, "N_REALIZATIONS": 2, "DEVICE": "cpu"}
    for name, value in {**given, "QUALITY": "preview", "SEED": 0}.items():
        judge.addParameterSources(name, [source.fromStaticValue(value)])
    judge.setModelOutputs({})
    model.addChildAlgorithm(judge)
    told = QgsProcessingModelChildAlgorithm("native:stringconcatenation")
    told.setChildId("told")
    told.addParameterSources("INPUT_1", [source.fromChildOutput("judge", "VERDICT")])
    told.addParameterSources(
        "INPUT_2", [source.fromExpression("' More bodies: ' || (@judge_BODIES_MODEL > @judge_BODIES_SIS)")]
    )
    told.setModelOutputs({})
    model.addChildAlgorithm(told)
    assert model.validate() == (True, [])
    result = processing.run(model, {}, feedback=log.feedback)["CHILD_RESULTS"]
    assert result["told"]["CONCATENATION"] == f"{result['judge']['VERDICT']} More bodies: 1"
    assert result["judge"]["BODIES_MODEL"] > result["judge"]["BODIES_SIS"]


def test_the_results_viewer_shows_the_page(processing):
    algorithm = QgsApplication.processingRegistry().algorithmById("oadg:comparesimulations")
    outputs = {output.name(): output.type() for output in algorithm.outputDefinitions()}
    numbers = SCORES | GAINS | OF_BOTH | OF_REFERENCE | {"N_USED"}
    assert outputs == {"REPORT": "outputHtml", "VERDICT": "outputString", **dict.fromkeys(numbers, "outputNumber")}
    assert (algorithm.group(), algorithm.groupId()) == ("Validation", "validation")
    assert all(parameter.help() for parameter in algorithm.parameterDefinitions())
    needed = {
        p.name()
        for p in algorithm.parameterDefinitions()
        if p.defaultValue() is None and not p.flags() & p.Flag.FlagOptional
    }
    assert needed == {"OBSERVATIONS", "FACIES_FIELD"}


def test_observations_at_one_place_are_refused_before_an_extent_is_asked_for(refused, world):
    """Which would not help."""
    places, values = [(world.WEST, world.NORTH)] * 12, [world.CODES[number % 2] for number in range(12)]
    refused(world.make_layer(places, values), "All 12 observations lie at one place .* hides", EXTENT=None)


def test_a_report_in_the_place_of_a_model_that_is_chosen_by_name(refused, survey, fake_engine):
    model = installed_models()["universal"]
    before = model.read_bytes()
    refused(survey, r"which would replace MODEL \(.*universal", MODEL="universal", MODEL_FILE="", REPORT=str(model))
    assert model.read_bytes() == before
