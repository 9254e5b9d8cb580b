"""`oadg:simulatefacies` without observations: a model of a training image simulates by itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    NULL,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsReferencedRectangle,
)

from oadg.core.contract.facies import Facies, FaciesTable

RASTERS = ("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE")
FACIES = FaciesTable((Facies(7, "mud", "#112233"), Facies(-2, "sand", "#e0a458"), Facies(300, "coal", "#000000")))
AREA = "500000,500640,4600000,4600640 [EPSG:25832]"


@pytest.fixture
def run(processing, log, tmp_path):
    """Run the algorithm with nothing but what is given; rasters go to the test's folder."""

    def run(**parameters):
        outputs = {name: str(tmp_path / f"{name.lower()}.tif") for name in RASTERS}
        return processing.run("oadg:simulatefacies", {**outputs, **parameters}, feedback=log.feedback)

    return run


@pytest.fixture
def model(world, tmp_path):
    """Return what names a model of a training image, for the engine that answers at once."""

    def make(cell_size=None):
        world.write_header(tmp_path / "analogue.safetensors", FACIES, cell_size)
        return {"MODEL_FILE": str(tmp_path / "analogue.safetensors")}

    return make


@pytest.fixture
def refused(run, tmp_path):
    """Expect a refusal with a message, and that no file is left."""

    def refused(message, **parameters):
        with pytest.raises(QgsProcessingException, match=message):
            run(**parameters)
        assert not list(tmp_path.glob("*.tif"))

    return refused


def test_the_shipped_channels(run, log):
    result = run(MODEL="channels", EXTENT=AREA, CELL_SIZE=10, N_REALIZATIONS=3, QUALITY="preview", DEVICE="cpu", SEED=3)
    assert [result[name] for name in ("N_USED", "N_SKIPPED", "N_FACIES")] == [0, 0, 2]
    dataset = gdal.Open(result["REALIZATIONS"])
    assert dataset.GetGeoTransform() == (500000, 10, 0, 4600640, 0, -10)
    assert dataset.GetSpatialRef().GetAuthorityCode(None) == "25832"
    maps = dataset.ReadAsArray()
    assert maps.shape == (3, 64, 64)
    assert set(np.unique(maps)) == {0, 1}
    assert all((one != other).any() for one, other in zip(maps, np.roll(maps, 1, axis=0)))
    assert 0.05 < maps.mean() < 0.6, "about a quarter of the training image is channel"
    for name in ("REALIZATIONS", "MOST_PROBABLE"):
        layer = QgsRasterLayer(result[name], name)
        assert [(c.value, c.label, c.color.name()) for c in layer.renderer().classes()] == [
            (0, "background", "#f0e2b6"),
            (1, "channel", "#2f6690"),
        ]
    probabilities = gdal.Open(result["PROBABILITIES"])
    assert probabilities.GetRasterBand(2).GetDescription() == "channel"
    assert "There are no observations: realizations are what the model draws by itself, with its 2 facies" in log.text
    assert "background (0), channel (1)" in log.text
    assert log.warnings == []


def test_facies_are_the_models(run, fake_engine, model):
    result = run(EXTENT=AREA, CELL_SIZE=20, **model())
    (job, mask), *_ = fake_engine
    assert (job.facies, mask, job.grid.shape) == (FACIES, None, (32, 32))
    assert (job.row, job.col, job.class_index) == ((), (), ())
    facies = json.loads(gdal.Open(result["REALIZATIONS"]).GetMetadataItem("OADG_FACIES"))
    assert facies == FACIES.to_list()


def test_cells_are_those_of_the_training_image_by_default(run, fake_engine, model, log):
    run(EXTENT=AREA, **model(cell_size=40.0))
    job, _ = fake_engine[0]
    assert (job.grid.cell_size, job.grid.shape) == (40.0, (16, 16))
    assert "of 40 x 40 meters (as in the model's training image)" in log.text
    log.start_again()
    run(EXTENT=AREA, CELL_SIZE=10, **model(cell_size=40.0))
    assert fake_engine[1][0].grid.cell_size == 10.0
    assert any(text.startswith("Cells of 10 meters are not those of the model's training") for text in log.warnings)


def test_cells_chosen_for_a_model_that_does_not_tell_its_own_are_told(run, fake_engine, model, world, log):
    row, col, index = world.survey_cells()
    codes = FACIES.codes.tolist()
    layer = world.make_layer(world.centres(row, col), [codes[k % len(codes)] for k in index])
    run(OBSERVATIONS=layer, FACIES_FIELD="facies", **model())
    assert any(text.startswith("The model analogue does not tell how large the cells") for text in log.warnings)
    log.start_again()
    run(OBSERVATIONS=layer, FACIES_FIELD="facies", CELL_SIZE=10, **model())
    assert not any("does not tell how large" in text for text in log.warnings)


def test_on_a_map_of_the_whole_earth_cells_are_as_large_on_the_ground(run, fake_engine, model, log):
    """Twenty-five metres on the ground are fifty of Web Mercator at 60 degrees of latitude."""
    area = "1000000,1003000,8398000,8401000 [EPSG:3857]"
    run(EXTENT=area, **model(cell_size=25.0))
    assert fake_engine[0][0].grid.cell_size == pytest.approx(49.92, rel=1e-3)
    assert any("are not those on the ground: 100 meters are 50.1 metres here" in text for text in log.warnings)


def test_cells_of_the_training_image_in_feet(run, fake_engine, model, log):
    """Twenty-five metres are 82.0208 feet, on the grid and in what is told."""
    area = "1400000,1405000,500000,505000 [EPSG:2264]"
    run(EXTENT=area, **model(cell_size=25.0))
    assert fake_engine[0][0].grid.cell_size == pytest.approx(82.0208, rel=1e-6)
    run(EXTENT=area, CELL_SIZE=82.0208, **model(cell_size=25.0))
    assert log.warnings == []
    run(EXTENT=area, CELL_SIZE=25, **model(cell_size=25.0))
    (warning,) = log.warnings
    assert warning.startswith("Cells of 25 feet are not those of the model's training image, 82.0208: ")
    assert "they will be 0.3 times as large as there. Use cells of 82.0208 to have" in warning


def test_a_mask_is_an_area(run, fake_engine, model, world):
    mask = world.make_polygon("MultiPolygon(((0 0, 300 0, 300 200, 0 200, 0 0)))", crs="EPSG:2056")
    result = run(MASK=mask, CELL_SIZE=10, **model())
    job, inside = fake_engine[0]
    assert (job.grid.west, job.grid.north, job.grid.shape) == (0, 200, (20, 30))
    assert inside.all()
    assert gdal.Open(result["ENTROPY"]).GetSpatialRef().GetAuthorityCode(None) == "2056"


def test_the_crs_is_that_of_the_extent_unless_another_is_given(run, fake_engine, model, survey, world, log):
    def code_of(**parameters):
        spatial = gdal.Open(run(CELL_SIZE=20, **parameters, **model())["ENTROPY"]).GetSpatialRef()
        return spatial and spatial.GetAuthorityCode(None)

    box = QgsRectangle(500000, 4600000, 500600, 4600600)
    assert code_of(EXTENT=QgsReferencedRectangle(box, QgsCoordinateReferenceSystem("EPSG:25832"))) == "25832"
    assert code_of(EXTENT=survey) == "32632"
    assert code_of(EXTENT=AREA, CRS="EPSG:32632") == "32632"
    degrees = "9,9.01,41.5,41.51 [EPSG:4326]"
    assert code_of(EXTENT=degrees, CRS="EPSG:32632") == "32632"
    west = fake_engine[-1][0].grid.west
    assert west == pytest.approx(500000, abs=1), "9 degrees east is the zone's central meridian"
    mask = world.make_polygon("MultiPolygon(((0 0, 300 0, 300 200, 0 200, 0 0)))", crs="EPSG:2056")
    assert code_of(EXTENT="0,300,0,200", MASK=mask) == "2056"
    assert log.warnings == []
    assert code_of(EXTENT="0,300,0,200") is None
    assert log.warnings == ["The area has no CRS; its coordinates are taken for the grid's."]


def test_an_extent_without_crs_is_in_that_of_the_project(processing, fake_engine, model, tmp_path):
    """The dialog's context knows the project."""
    context = QgsProcessingContext()
    QgsProject.instance().setCrs(QgsCoordinateReferenceSystem("EPSG:2056"))
    context.setProject(QgsProject.instance())
    parameters = {"EXTENT": "0,300,0,200", "CELL_SIZE": 10, "ENTROPY": str(tmp_path / "e.tif"), **model()}
    result = processing.run("oadg:simulatefacies", parameters, context=context)
    assert gdal.Open(result["ENTROPY"]).GetSpatialRef().GetAuthorityCode(None) == "2056"
    QgsProject.instance().clear()


def test_the_universal_model_needs_observations(refused, fake_engine):
    message = r"no observations, and the model universal has no facies of its own.*Give OBSERVATIONS and FACIES_FIELD"
    refused(message, EXTENT=AREA, CELL_SIZE=10)
    refused(message)
    refused(message, OBSERVATIONS=NULL, FACIES_FIELD="", EXTENT=AREA, CELL_SIZE=10)
    assert not fake_engine


def test_without_an_area(refused, fake_engine, model):
    refused(r"no observations, so the area to simulate is unknown\. Give EXTENT or MASK", **model(cell_size=40))
    assert not fake_engine


def test_without_a_cell_size(refused, fake_engine, model):
    refused(r"model analogue does not tell how large .*Give CELL_SIZE, in units of the CRS", EXTENT=AREA, **model())
    assert not fake_engine


def test_a_field_without_its_layer(refused, fake_engine, model):
    message = r"FACIES_FIELD is 'rock', but the layer with this field is not given.*or leave both empty"
    refused(message, FACIES_FIELD="rock", EXTENT=AREA, CELL_SIZE=10, **model())
    assert not fake_engine


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"EXTENT": "9,9.1,41.5,41.6 [EPSG:4326]"},
            r"counts in degrees.*EPSG:32632 \(WGS 84 / UTM zone 32N\), which",
        ),
        ({"EXTENT": "5,5,0,100 [EPSG:25832]"}, r"The extent \(west 5, south 0, east 5, north 100\) is empty"),
        ({"CELL_SIZE": 0}, r"The cell size is 0; it must be a positive number"),
        ({"CELL_SIZE": 5000}, r"Cells of 5000 x 5000 leave one of the area of 640 x 640"),
        ({"CRS": "EPSG:99999999"}, r"which QGIS does not know.*that of the observations or the extent"),
        (
            {"OBSERVATIONS": "/no/p.gpkg", "FACIES_FIELD": "rock"},
            r"(?i)could not load source layer|Incorrect",
        ),
        ({"MASK": "/nowhere/area.gpkg"}, r"(?i)could not load source layer|Incorrect"),
    ],
    ids=["degrees", "empty", "no cells", "one cell", "unknown CRS", "missing layer", "missing mask"],
)
def test_what_is_refused_with_observations_is_refused_without(refused, fake_engine, model, parameters, message):
    refused(message, **{"EXTENT": AREA, "CELL_SIZE": 10, **model(), **parameters})
    assert not fake_engine


def test_an_observation_less_step_of_a_model(processing, fake_engine, model, log, tmp_path):
    """A workflow whose input of observations is optional runs with and without them."""
    workflow = QgsProcessingModelAlgorithm("analogues", "tests")
    for parameter in (
        QgsProcessingParameterExtent("area"),
        QgsProcessingParameterFeatureSource("points", optional=True),
    ):
        workflow.addModelParameter(parameter, QgsProcessingModelParameter(parameter.name()))
    child = QgsProcessingModelChildAlgorithm("oadg:simulatefacies")
    child.setChildId("simulate")
    source = QgsProcessingModelChildParameterSource
    for name, value in {
        "EXTENT": source.fromModelParameter("area"),
        "OBSERVATIONS": source.fromModelParameter("points"),
        "MODEL_FILE": source.fromStaticValue(model()["MODEL_FILE"]),
        "CELL_SIZE": source.fromStaticValue(20),
    }.items():
        child.addParameterSources(name, [value])
    output = QgsProcessingModelOutput("maps", "maps")
    output.setChildId("simulate")
    output.setChildOutputName("REALIZATIONS")
    child.setModelOutputs({"maps": output})
    workflow.addChildAlgorithm(child)
    workflow.updateDestinationParameters()
    result = processing.run(
        workflow, {"area": AREA, "simulate:maps": str(tmp_path / "maps.tif")}, feedback=log.feedback
    )
    assert gdal.Open(result["simulate:maps"]).ReadAsArray().shape == (20, 32, 32)


def test_rows_of_a_batch_with_and_without_observations(processing, survey, fake_engine, model, log, world, tmp_path):
    """The batch dialog runs one instance of the algorithm row by row: nothing of a row is left for the next."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("oadg:simulatefacies")
    row = {"EXTENT": world.EXTENT, "CELL_SIZE": 10, "ENTROPY": str(tmp_path / "e.tif")}
    given = {"OBSERVATIONS": survey, "FACIES_FIELD": "facies"}
    for parameters, n_used in (({**row, **given}, 60), ({**row, **model()}, 0), ({**row, **given}, 60)):
        result, successful = algorithm.run(parameters, QgsProcessingContext(), log.feedback, {}, False)
        assert successful
        assert result["N_USED"] == n_used


def test_sis_needs_observations(processing):
    with pytest.raises(QgsProcessingException, match="OBSERVATIONS|Observations"):
        processing.run("oadg:sequentialindicatorsimulation", {"EXTENT": AREA, "CELL_SIZE": 10, "ENTROPY": "e.tif"})
