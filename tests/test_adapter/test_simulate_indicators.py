"""`oadg:sequentialindicatorsimulation` on the real engine: the results of simulatefacies, by kriging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsApplication, QgsProcessingException

from oadg.oadg_qgis.engine_client import close_idle_engines

RASTERS = ("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE")


@pytest.fixture
def simulate(processing, log, world, tmp_path):
    def run(layer, **parameters):
        return processing.run(
            "oadg:sequentialindicatorsimulation",
            {
                "OBSERVATIONS": layer,
                "FACIES_FIELD": "facies",
                "EXTENT": world.EXTENT,
                "CELL_SIZE": world.CELL,
                "N_REALIZATIONS": 3,
                **{name: str(tmp_path / f"{name}.tif") for name in RASTERS},
                **parameters,
            },
            feedback=log.feedback,
        )

    yield run
    close_idle_engines()


def test_every_raster_is_made_and_every_observation_honoured(simulate, survey, world, log):
    result = simulate(survey)
    assert all(Path(result[name]).is_file() for name in RASTERS)
    maps = gdal.Open(result["REALIZATIONS"]).ReadAsArray()
    row, col, index = world.survey_cells()
    assert maps.shape == (3, world.N_ROWS, world.N_COLS)
    assert (maps[:, row, col] == np.array(world.CODES)[index]).all()
    assert set(np.unique(maps)) == set(world.CODES)
    probability = gdal.Open(result["PROBABILITIES"]).ReadAsArray()
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    metadata = gdal.Open(result["REALIZATIONS"]).GetMetadata()
    assert metadata["OADG_MODEL"].startswith("SIS, simple kriging, ")
    assert f"The method was {metadata['OADG_MODEL']} (ranges in meters)." in log.infos
    assert "OADG_QUALITY" not in metadata  # SIS has none


def test_its_layers_are_not_called_like_those_of_a_model(processing):
    """Both stay in one project, to be compared."""
    registry = QgsApplication.processingRegistry()
    by_sis, by_model = (
        {one.description() for one in registry.algorithmById(f"oadg:{name}").destinationParameterDefinitions()}
        for name in ("sequentialindicatorsimulation", "simulatefacies")
    )
    assert by_sis == {f"{name} (SIS)" for name in by_model}


def test_the_seed_alone_decides(simulate, survey):
    maps = [gdal.Open(simulate(survey, SEED=seed)["REALIZATIONS"]).ReadAsArray() for seed in (1, 1, 2)]
    assert (maps[0] == maps[1]).all()
    assert (maps[0] != maps[2]).any()


def test_a_given_covariance_is_the_one_that_is_used(simulate, survey):
    given = {"COVARIANCE": "spherical", "RANGE": 120, "NUGGET": 0.1, "KRIGING": "ordinary"}
    metadata = gdal.Open(simulate(survey, **given)["ENTROPY"]).GetMetadata()
    assert metadata["OADG_MODEL"] == "SIS, ordinary kriging, spherical range 120 nugget 0.1"


@pytest.mark.parametrize("half", [{"COVARIANCE": "spherical"}, {"RANGE": 100}])
def test_half_a_covariance(simulate, survey, half, tmp_path):
    with pytest.raises(QgsProcessingException, match="needs a kind and a range, or neither"):
        simulate(survey, **half)
    assert not list(tmp_path.glob("*.tif"))


def test_a_facies_that_was_observed_once(simulate, world):
    """Its variogram cannot be fitted; it is simulated all the same, by its share."""
    row, col, index = world.survey_cells()
    values = [world.CODES[0 if k == 0 else 1] for k in index]
    values[5] = world.CODES[2]
    result = simulate(world.make_layer(world.centres(row, col), values))
    assert result["N_FACIES"] == 3
    maps = gdal.Open(result["REALIZATIONS"]).ReadAsArray()
    assert 0 < (maps == world.CODES[2]).mean() < 0.1
