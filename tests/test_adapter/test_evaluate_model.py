"""`oadg:evaluatemodel` from a raster to a page on the real engine, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsProcessingException

from oadg.core.contract.errors import EngineError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.model_header import read_header
from oadg.core.contract.training_image import image_of_codes
from oadg.oadg_qgis import models
from oadg.oadg_qgis.algorithms import evaluate_model as module
from oadg.oadg_qgis.algorithms.evaluate_model import _as_the_model_has_it
from oadg.oadg_qgis.engine_client import close_idle_engines

NUMBERS = {
    "PATTERN_DIVERGENCE",
    "REFERENCE_DIVERGENCE",
    "VARIOGRAM_DIFFERENCE",
    "CONNECTIVITY_MISFIT",
    "FORBIDDEN_CONTACTS",
    "PROPORTION_DIFFERENCE",
    "BODIES_RATIO",
    "BOUNDARY_RATIO",
    "VARIETY",
    "AGREEMENT",
    "LOG_LOSS",
    "LOG_LOSS_KRIGING",
    "ISOLATED_DATA",
    "ISOLATED_IN_IMAGE",
    "LARGEST_MISCALIBRATION",
    "SECONDS_PER_REALIZATION",
}


@pytest.fixture
def image(tmp_path):
    """The file of an image of bent stripes with the codes 0 and 1."""
    row, col = np.mgrid[:120, :120]
    path = tmp_path / "image.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 120, 120)
    dataset.GetRasterBand(1).WriteArray(((row + 4 * np.sin(col / 9)) // 8).astype(np.uint8) % 2)
    dataset.FlushCache()
    return str(path)


@pytest.fixture
def evaluate(processing, log, tmp_path):
    def run(image, model, **parameters):
        return processing.run(
            "oadg:evaluatemodel",
            {
                "IMAGE": image,
                "MODEL_FILE": str(model),
                "N_REALIZATIONS": 2,
                "SIDE": 40,
                "DEVICE": "cpu",
                "REPORT": str(tmp_path / "report.html"),
                **parameters,
            },
            feedback=log.feedback,
        )

    yield run
    close_idle_engines()


def test_a_trained_model_gets_its_page(processing, evaluate, image, log, tmp_path):
    training = {"IMAGE": image, "NAME": "stripes", "STEPS": 2, "SIZE": "small", "DEVICE": "cpu"}
    model = processing.run("oadg:trainmodel", {**training, "FOLDER": str(tmp_path)})["MODEL_FILE"]
    result = evaluate(image, model, SIDE=250)
    assert "Pieces of 250 x 250 cells of this image would be much alike" in log.text
    assert set(result) == {"REPORT", "VERDICT", *NUMBERS}
    assert all(isinstance(result[name], float) for name in NUMBERS)
    text = Path(result["REPORT"]).read_text(encoding="utf-8")
    assert "stripes, image" in text
    assert result["VERDICT"] in log.text
    assert evaluate(image, model, REPORT=None)["REPORT"] is None


def test_models_and_images_that_do_not_belong_together(evaluate, image, world, tmp_path):
    model = tmp_path / "other.safetensors"
    world.write_header(model, FaciesTable((Facies(0, "mud", "#112233"), Facies(3, "sand", "#445566"))))
    with pytest.raises(QgsProcessingException, match=r"facies 0 \(0\), 1 \(1\), the model other .*3 \(sand\)"):
        evaluate(image, model)
    world.write_header(model)
    with pytest.raises(QgsProcessingException, match=r"The model other was not trained on an image"):
        evaluate(image, model)
    assert not (tmp_path / "report.html").exists()


def test_an_image_of_other_cells_than_those_of_the_model_is_told(evaluate, image, world, monkeypatch, log, tmp_path):
    """Its unit is not known without a CRS, and is taken for metres."""
    dataset = gdal.Open(image, gdal.GA_Update)
    dataset.SetGeoTransform((0, 20, 0, 0, 0, -20))
    del dataset
    model = tmp_path / "m.safetensors"
    world.write_header(model, FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566"))), 10.0)

    def engine(*_, **__):
        raise EngineError("The engine was asked.")

    monkeypatch.setattr(module, "run_job", engine)
    with pytest.raises(QgsProcessingException, match="The engine was asked"):
        evaluate(image, model)
    (told,) = (text for text in log.warnings if text.startswith("Cells of"))
    assert told.startswith("Cells of 20 units (taken for metres, for the training image has no CRS) are not those of")
    assert told.endswith(
        "so it expects those of the training image to be 2 times as large as there. Resample the training image to "
        "cells of 10, or choose a model of such cells."
    )


def test_the_image_has_the_facies_of_the_model_by_their_names(world, tmp_path):
    names = {10: ("sand", None), 20: ("mud", None)}
    codes = np.where(np.indices((80, 80))[0] // 8 % 2, 10, 20)
    image = image_of_codes(codes, codes > 0, styles=names, symmetry="flips")
    model = tmp_path / "m.safetensors"
    world.write_header(model, FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566"))))
    same, found = _as_the_model_has_it(image, read_header(model))
    assert (found, same.facies.names, same.symmetry) == ({10: 1, 20: 0}, ["mud", "sand"], "flips")
    np.testing.assert_array_equal(same.class_index, np.where(codes == 10, 1, 0))


def test_a_report_in_the_place_of_the_image(evaluate, image, world, tmp_path):
    model = tmp_path / "m.safetensors"
    world.write_header(model, FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566"))))
    before = Path(image).read_bytes()
    with pytest.raises(QgsProcessingException, match="which would replace IMAGE"):
        evaluate(image, model, REPORT=image)
    assert Path(image).read_bytes() == before


def test_a_report_in_the_place_of_the_model(evaluate, image, world, monkeypatch, tmp_path):
    model = tmp_path / "m.safetensors"
    world.write_header(model, FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566"))))
    before = model.read_bytes()
    with pytest.raises(QgsProcessingException, match=r"which would replace MODEL_FILE \(.*m\.safetensors\)"):
        evaluate(image, model, REPORT=str(model))
    monkeypatch.setattr(models, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(QgsProcessingException, match=r"which would replace MODEL \(.*m\.safetensors\)"):
        evaluate(image, "", MODEL="m", REPORT=str(model))
    assert model.read_bytes() == before
