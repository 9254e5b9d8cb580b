"""Laws of the contract: what is sent arrives, and what cannot be is refused before the engine starts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import GridError, JobError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import (
    MAX_REALIZATIONS,
    QUALITIES,
    SimulationJob,
    SimulationResult,
)
from oadg.core.contract.validation_job import CrossValidationJob, CrossValidationResult

paths = st.text(min_size=1)  # spaces and letters of any alphabet


def make_job(**changes) -> SimulationJob:
    plain = {
        "grid": Grid(west=0.0, north=30.0, cell_size=10.0, n_rows=3, n_cols=2),
        "facies": build_facies_table([311, -1]),
        "row": (0, 2),
        "col": (1, 0),
        "class_index": (1, 0),
        "model_path": "universal.safetensors",
        "work_folder": "work",
    }
    return SimulationJob(**{**plain, **changes})


jobs = st.builds(
    make_job,
    model_path=paths,
    work_folder=paths,
    mask_path=st.none() | paths,
    n_realizations=st.integers(0, MAX_REALIZATIONS),
    quality=st.sampled_from(QUALITIES),
    seed=st.integers(0, 2**63 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
)
results = st.builds(
    SimulationResult,
    probability_path=paths,
    entropy_path=paths,
    most_probable_path=paths,
    realizations_path=st.none() | paths,
    mean_entropy_bits=st.floats(0, 5),
    device=paths,
    model_id=paths,
    seed=st.integers(0, 2**63 - 1),
    batch_size=st.integers(1, 100),
    seconds=st.floats(0, 1e6),
)


@given(jobs)
def test_a_job_survives_one_line_of_json(job):
    line = json.dumps(job.to_dict())
    assert "\n" not in line
    assert SimulationJob.from_dict(json.loads(line)) == job


@given(results)
def test_a_result_survives_one_line_of_json(result):
    line = json.dumps(result.to_dict())
    assert "\n" not in line
    assert SimulationResult.from_dict(json.loads(line)) == result


def test_numpy_numbers_become_plain_ones():
    job = make_job(row=np.array([0, 2]), col=np.array([1, 0]), class_index=np.array([1, 0], dtype=np.uint8))
    assert SimulationJob.from_dict(json.loads(json.dumps(job.to_dict()))) == make_job()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_realizations": -1}, r"-1 realizations are asked for; between 0 and 1000 are possible"),
        ({"n_realizations": 1001}, r"1001 realizations are asked for; between 0 and 1000 are possible"),
        ({"quality": "best"}, r"quality 'best' is unknown; choose one of standard, preview"),
        ({"seed": -1}, r"seed is -1; it must be a whole number from 0 to 2\^63 - 1"),
        ({"seed": 2**63}, r"seed is 9223372036854775808; it must be a whole number"),
        ({"row": (0, 3), "col": (0, 0)}, r"row 3, col 0 is not on the grid of 3 x 2 cells"),
        ({"col": (-1, 0)}, r"row 0, col -1 is not on the grid of 3 x 2 cells"),
        ({"class_index": (0, 2)}, r"row 2, col 0 has the class index 2; it must be between 0 and 1"),
        ({"class_index": (0,)}, r"2 rows, 2 columns and 1 facies; there must be as many of each"),
        ({"row": (0, 0), "col": (1, 1)}, r"row 0, col 1 is given more than once"),
    ],
)
def test_a_job_that_cannot_be_is_refused(changes, message):
    with pytest.raises(JobError, match=message):
        make_job(**changes)


@pytest.mark.parametrize("missing", ["grid", "facies", "row", "model_path", "work_folder"])
def test_a_job_with_a_missing_part_names_it(missing):
    description = make_job().to_dict()
    del description[missing]
    with pytest.raises(JobError, match=f"The job is incomplete or wrong: .*'{missing}'"):
        SimulationJob.from_dict(description)


def test_a_job_with_an_unknown_part_names_it():
    with pytest.raises(JobError, match="parts that this engine does not know: level, temperature"):
        SimulationJob.from_dict({**make_job().to_dict(), "temperature": 1, "level": 2})


@pytest.mark.parametrize("name", ["row", "col", "class_index"])
def test_a_job_whose_data_are_no_numbers_is_refused(name):
    with pytest.raises(JobError, match=r"The job is incomplete or wrong: .*'north'"):
        SimulationJob.from_dict({**make_job().to_dict(), name: ["north"]})


def test_a_job_with_an_impossible_grid_keeps_the_grids_own_words():
    description = make_job().to_dict()
    description["grid"]["cell_size"] = 0
    with pytest.raises(GridError, match="it must be a positive number"):
        SimulationJob.from_dict(description)


def make_validation(**changes) -> CrossValidationJob:
    plain = {
        "grid": Grid(west=0.0, north=30.0, cell_size=10.0, n_rows=3, n_cols=2),
        "facies": build_facies_table([311, -1]),
        "easting": (1.0, 2.5, 15.0),
        "northing": (1.0, 2.5, 15.0),
        "class_index": (0, 1, 1),
        "fold": (1, 1, 0),
        "model_path": "universal.safetensors",
        "work_folder": "work",
    }
    return CrossValidationJob(**{**plain, **changes})


def test_a_cross_validation_survives_one_line_of_json():
    job = make_validation(subject="Bohrungen, Gestein", unit="Meter", device="cuda:1")
    assert CrossValidationJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    scores = {"model": {"log_loss": 0.5, "brier": 0.1, "accuracy": 1.0}}
    result = CrossValidationResult("p", "l", "h", scores, "kriging", 1.5, -1.0, 4.0, "Good.", "cpu", "universal", 2.0)
    assert CrossValidationResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": (1, 1)}, "3 eastings, 3 northings, 3 facies and 2 folds; there must be as many of each"),
        ({"fold": (0, 0, 0)}, "have the folds 0 …; at least two are needed, numbered from 0 without a gap"),
        ({"fold": (2, 2, 0)}, "have the folds 0, 2 …"),
        ({"fold": (-1, -1, 1)}, "have the folds -1, 1 …"),
        ({"fold": (0, 1, 1)}, r"easting 2\.5, northing 2\.5 shares a cell with one of another fold"),
        ({"easting": (1.0, 2.5, 20.5)}, r"easting 20\.5, northing 15 is not on the grid of 3 x 2 cells"),
        ({"class_index": (0, 1, 2)}, "easting 15, northing 15 has the class index 2; it must be between 0 and 1"),
        (dict.fromkeys(("easting", "northing", "class_index", "fold"), ()), "have the folds none …; at least two"),
    ],
)
def test_a_cross_validation_that_cannot_be_is_refused(changes, message):
    with pytest.raises(JobError, match=message):
        make_validation(**changes)


def test_a_cross_validation_with_a_missing_or_an_unknown_part_names_it():
    description = make_validation().to_dict()
    with pytest.raises(JobError, match="parts that this engine does not know: n_realizations"):
        CrossValidationJob.from_dict({**description, "n_realizations": 3})
    del description["fold"]
    with pytest.raises(JobError, match="The job is incomplete or wrong: .*'fold'"):
        CrossValidationJob.from_dict(description)


def test_the_contract_is_importable_without_torch_or_qgis():
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'safetensors', 'huggingface_hub', 'qgis', 'osgeo']))\n"
        "import oadg.core.contract.job, oadg.core.contract.conditioning"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
