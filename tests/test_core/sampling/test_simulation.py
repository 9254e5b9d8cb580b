"""A whole simulation with the model that ships, as the engine runs it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import oadg
from oadg.core.contract.ensemble import OUTSIDE
from oadg.core.contract.errors import Cancelled, DeviceError, FaciesError, JobError, ModelError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import SimulationJob
from oadg.core.kriging.kriging_features import SurveyKriging
from oadg.core.machine.device import batch_size, choose_device, describe_devices
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.sampling.simulation import run_simulation

MODEL = Path(oadg.__file__).parent / "resources" / "models" / "universal.safetensors"


@pytest.fixture
def job(tmp_path):
    """Two halves, west facies 0 and east facies 1, seen at 60 points; 40 x 30 cells."""
    rng = np.random.default_rng(0)
    cell = rng.permutation(40 * 30)[:60]
    row, col = np.divmod(cell, 30)
    return SimulationJob(
        grid=Grid(west=0.0, north=400.0, cell_size=10.0, n_rows=40, n_cols=30),
        facies=FaciesTable((Facies(311, "sand", "#e69f00"), Facies(-1, "clay", "#56b4e9"))),
        row=tuple(row.tolist()),
        col=tuple(col.tolist()),
        class_index=tuple((col >= 15).astype(int).tolist()),
        model_path=str(MODEL),
        work_folder=str(tmp_path),
        n_realizations=3,
        quality="preview",
        seed=7,
        device="cpu",
    )


def quiet(fraction, text):
    pass


def realizations(job):
    return np.load(run_simulation(job, quiet).realizations_path)


def test_arrays_and_numbers(job):
    told = []
    result = run_simulation(job, lambda fraction, text: told.append((fraction, text)))
    probability, entropy = np.load(result.probability_path), np.load(result.entropy_path)
    most_probable, maps = np.load(result.most_probable_path), np.load(result.realizations_path)
    assert probability.shape == (2, 40, 30)
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert maps.shape == (3, 40, 30)
    assert maps.max() <= 1
    assert (maps[:, job.row, job.col] == job.class_index).all()
    assert (most_probable[job.row, job.col] == job.class_index).all()
    assert (entropy[job.row, job.col] == 0).all()
    assert result.mean_entropy_bits == pytest.approx(entropy.mean(), abs=1e-5)
    fractions = [f for f, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1, "told before the last pass"
    assert any(text.startswith("Realizations") for _, text in told)


def test_the_obvious_is_seen(job):
    """West is sand and east is clay, with certainty away from the contact and doubt at it."""
    result = run_simulation(replace(job, n_realizations=0), quiet)
    probability, entropy = np.load(result.probability_path), np.load(result.entropy_path)
    assert probability[0, :, :8].mean() > 0.9
    assert probability[1, :, 22:].mean() > 0.9
    assert entropy[:, 13:17].mean() > 2 * entropy[:, :8].mean()
    assert result.realizations_path is None


def test_same_seed_same_maps(job):
    assert (realizations(job) == realizations(job)).all()
    assert (realizations(job) != realizations(replace(job, seed=8))).any()


@pytest.mark.parametrize("n", [1, 9])
def test_more_realizations_do_not_change_the_first_ones(job, n):
    few, many = realizations(job), realizations(replace(job, n_realizations=n))
    common = min(n, 3)
    assert (few[:common] == many[:common]).all()


def test_cells_outside_the_mask_are_empty(job, tmp_path):
    inside = np.zeros((40, 30), dtype=bool)
    inside[:, :20] = True
    np.save(tmp_path / "mask.npy", inside)
    on_mask = [i for i, c in enumerate(job.col) if c < 20]
    row, col, codes = (tuple(np.array(v)[on_mask].tolist()) for v in (job.row, job.col, job.class_index))
    masked = replace(job, mask_path=str(tmp_path / "mask.npy"), row=row, col=col, class_index=codes)
    result = run_simulation(masked, quiet)
    assert (np.load(result.realizations_path)[:, :, 20:] == OUTSIDE).all()
    assert (np.load(result.most_probable_path)[:, 20:] == OUTSIDE).all()
    assert np.isnan(np.load(result.probability_path)[:, :, 20:]).all()
    assert np.isnan(np.load(result.entropy_path)[:, 20:]).all()
    assert not np.isnan(np.load(result.entropy_path)[:, :20]).any()


def without(job, gone):
    """Return the job without some of its data."""
    kept = [i for i in range(len(job.row)) if not gone(job.row[i], job.col[i])]
    row, col, codes = (tuple(values[i] for i in kept) for values in (job.row, job.col, job.class_index))
    return replace(job, row=row, col=col, class_index=codes)


def test_data_outside_the_mask_tell_of_cells_inside(job, tmp_path):
    """Of the strip at the contact no data are kept inside the mask; those outside tell on which side is what."""
    inside = np.zeros((40, 30), dtype=bool)
    inside[:, 11:19] = True
    np.save(tmp_path / "mask.npy", inside)
    masked = without(replace(job, mask_path=str(tmp_path / "mask.npy")), lambda row, col: inside[row, col])
    result = run_simulation(masked, quiet)
    probability, maps = np.load(result.probability_path), np.load(result.realizations_path)
    assert probability[0, :, 11].mean() > 0.8
    assert probability[1, :, 18].mean() > 0.8
    for values in (np.isnan(probability).all(axis=0), (maps == OUTSIDE).all(axis=0)):
        np.testing.assert_array_equal(values, ~inside)


@pytest.mark.parametrize("margins", [(5, 0, 0, 0), (0, 4, 3, 6)])
def test_data_around_the_grid_count_as_in_a_masked_larger_grid(job, margins, tmp_path):
    """Rows before the grid, beyond it, columns before it, beyond it: of the same cells the same is computed."""
    above, below, left, right = margins
    window = slice(above, 40 - below), slice(left, 30 - right)
    n_rows, n_cols = 40 - above - below, 30 - left - right
    grid = Grid(west=10.0 * left, north=400.0 - 10 * above, cell_size=10.0, n_rows=n_rows, n_cols=n_cols)
    corners = {(0, 0): 0, (39, 29): 1}  # so that the larger grid is needed to its last cell
    job = without(job, lambda row, col: (row, col) in corners)
    row, col, codes = (
        mine + tuple(more)
        for mine, more in zip((job.row, job.col, job.class_index), (*zip(*corners), corners.values()))
    )
    whole = replace(job, row=row, col=col, class_index=codes, mask_path=str(tmp_path / "mask.npy"))
    part = replace(
        whole, grid=grid, mask_path=None, row=tuple(r - above for r in row), col=tuple(c - left for c in col)
    )
    inside = np.zeros((40, 30), dtype=bool)
    inside[window] = True
    np.save(tmp_path / "mask.npy", inside)
    expected = run_simulation(whole, quiet)
    expected = [np.load(p)[(..., *window)] for p in (expected.probability_path, expected.realizations_path)]
    found = run_simulation(part, quiet)
    found = [np.load(p) for p in (found.probability_path, found.realizations_path)]
    assert found[0].shape == (2, n_rows, n_cols)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_renumbering_facies_permutes_the_result(job):
    swapped = replace(
        job, facies=FaciesTable(job.facies.facies[::-1]), class_index=tuple(1 - k for k in job.class_index)
    )
    first, second = (np.load(run_simulation(j, quiet).probability_path).copy() for j in (job, swapped))
    assert first == pytest.approx(second[::-1], abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 30), (40, 1)])
def test_grids_of_one_row_or_column(job, shape):
    grid = Grid(west=0.0, north=400.0, cell_size=10.0, n_rows=shape[0], n_cols=shape[1])
    line = replace(job, grid=grid, row=(0, shape[0] - 1), col=(0, shape[1] - 1), class_index=(0, 1))
    result = run_simulation(line, quiet)
    probability = np.load(result.probability_path)
    assert probability.flags.c_contiguous
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert np.load(result.realizations_path).shape == (3, *shape)


def test_cancel_stops_at_the_next_pass(job):
    def cancel(fraction, text):
        if fraction > 0.3:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        run_simulation(job, cancel)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model_path": "/nowhere.safetensors"}, ModelError, "There is no model file"),
        ({"device": "abacus"}, DeviceError, "The device 'abacus' is unknown"),
        ({"device": "meta"}, DeviceError, "The device 'meta' is not supported"),
    ],
)
def test_jobs_that_do_not_fit(job, change, error, message):
    with pytest.raises(error, match=message):
        run_simulation(replace(job, **change), quiet)


@pytest.mark.parametrize("mask", [np.ones((3, 3), dtype=bool), np.ones((40, 30))])
def test_a_mask_of_another_shape_or_type(job, tmp_path, mask):
    np.save(tmp_path / "mask.npy", mask)
    with pytest.raises(JobError, match="it must be bool of shape"):
        run_simulation(replace(job, mask_path=str(tmp_path / "mask.npy")), quiet)


def test_an_empty_mask(job, tmp_path):
    np.save(tmp_path / "mask.npy", np.zeros((40, 30), dtype=bool))
    with pytest.raises(JobError, match="covers no cell"):
        run_simulation(replace(job, mask_path=str(tmp_path / "mask.npy")), quiet)


def test_more_facies_than_the_model_takes(job, tmp_path):
    FaciesModel("binary", FaciesModel.load(MODEL).network, max_facies=2).save(tmp_path / "binary.safetensors")
    three = FaciesTable((*job.facies.facies, Facies(5, "silt", "#000000")))
    with pytest.raises(FaciesError, match="takes up to 2 facies; the observations hold 3"):
        run_simulation(replace(job, facies=three, model_path=str(tmp_path / "binary.safetensors")), quiet)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_agrees_with_the_cpu(job):
    on_cpu = np.load(run_simulation(replace(job, device="cpu"), quiet).probability_path)
    result = run_simulation(replace(job, device="cuda"), quiet)
    assert result.device == "cuda"
    assert np.load(result.probability_path) == pytest.approx(on_cpu, abs=1e-3)
    maps = np.load(result.realizations_path)
    assert (maps[:, job.row, job.col] == job.class_index).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_data_go_to_the_device_of_the_model():
    known = torch.full((60, 50), -1)
    known[::7, ::9] = torch.arange(6) % 2
    asked = (FaciesModel.load(MODEL, torch.device(device)) for device in ("cpu", "cuda"))
    on_cpu, on_card = (facies_probability_from_data(model, known, 2) for model in asked)
    assert on_card == pytest.approx(on_cpu, abs=1e-3)


@pytest.mark.parametrize(("n_maps", "shape", "n_read"), [(0, (40, 30), 1), (2, (40, 30), 2), (2, (200, 192), 1)])
def test_what_data_tell_is_read_once_of_each_grid(job, monkeypatch, n_maps, shape, n_read):
    """Probabilities given dense data come from a finer lattice, for which a small grid is widened by less."""
    model = MODEL.with_name("channels.safetensors")
    channels = FaciesModel.load(model)
    assert channels.marginal_level is not None
    read, of_map = [], SurveyKriging.of_map
    monkeypatch.setattr(SurveyKriging, "of_map", lambda *told, **how: read.append(told) or of_map(*told, **how))
    grid = Grid(west=0.0, north=10.0 * shape[0], cell_size=10.0, n_rows=shape[0], n_cols=shape[1])
    few = {name: getattr(job, name)[:15] for name in ("row", "col", "class_index")}
    changed = {"model_path": str(model), "grid": grid, "facies": channels.facies, "n_realizations": n_maps, **few}
    run_simulation(replace(job, **changed), quiet)
    assert len(read) == n_read


def test_devices():
    assert describe_devices()[0]["device"] == "cpu"
    assert choose_device("cpu").type == "cpu"
    if choose_device("auto").type == "cpu":
        with pytest.raises(DeviceError, match="The device 'cuda' is not there; found: CPU"):
            choose_device("cuda")


def test_batches_shrink_with_the_grid_and_the_facies():
    assert batch_size(100, 2) > batch_size(20_000, 5) > batch_size(1_000_000, 5) == 1
    assert batch_size(20_000, 5) >= batch_size(20_000, 30)


@pytest.mark.parametrize(("gib", "n_maps"), [(1, 1), (8, 4), (80, 8)])
def test_batches_grow_with_the_memory_of_a_graphics_card(monkeypatch, gib, n_maps):
    card = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert batch_size(250 * 250, 4) == 1
    assert batch_size(250 * 250, 4, "cuda") == n_maps
