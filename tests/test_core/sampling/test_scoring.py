"""Scoring a map: its numbers belong together, follow from the seed alone, and are held against the model's own maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import JobError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.core.contract.score_job import ScoreJob
from oadg.core.measures.scores import reach_of_another
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork, NetworkConfig
from oadg.core.sampling import scoring
from oadg.core.sampling.likelihood import surprise_nats
from oadg.core.sampling.scoring import run_scoring
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream

FACIES = FaciesTable(tuple(Facies(code, f"f{code}", "#112233") for code in (5, 7, 9)))
GRID = Grid(west=0.0, north=120.0, cell_size=10.0, n_rows=12, n_cols=9)
DATA = {"row": (2, 11, 5), "col": (0, 8, 3)}


@pytest.fixture
def universal(tiny_network):
    return FaciesModel("tiny", tiny_network)


@pytest.fixture
def of_image():
    """A model that learnt crops of an image: it draws its maps on a wider grid."""
    torch.manual_seed(2)
    config = NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1, n_levels=2, n_classes=3)
    network = FaciesNetwork(replace(config, refiner=8))
    torch.nn.init.normal_(network.head.weight, std=0.3)  # it starts at zero
    return FaciesModel("image", network.eval().requires_grad_(False), FACIES, 3, provenance={"image": {"n_rows": 90}})


@pytest.fixture
def job_of(tmp_path):
    """Write a model and a map, of which the first row is unknown, and return the job to score the one by the other."""

    def make(model, **options):
        class_index = np.random.default_rng(0).integers(0, 3, GRID.shape).astype(np.int16)
        class_index[0] = -1
        np.save(tmp_path / "map.npy", class_index)
        model.save(tmp_path / "model.safetensors")
        asked = {"n_paths": 2, "quality": "preview", "seed": 5, "device": "cpu", **DATA, **options}
        return ScoreJob(
            grid=GRID,
            facies=FACIES,
            map_path=str(tmp_path / "map.npy"),
            class_index=tuple(class_index[DATA["row"], DATA["col"]].tolist()),
            model_path=str(tmp_path / "model.safetensors"),
            work_folder=str(tmp_path),
            **asked,
        )

    return make


def quiet(fraction, text):
    pass


def test_the_numbers_are_those_of_the_surprise_of_cells(job_of, universal):
    result = run_scoring(job_of(universal), quiet)
    surprise = np.load(result.surprise_path)
    assert np.isnan(surprise[0]).all(), "where the map holds nothing"
    assert (surprise[DATA["row"], DATA["col"]] == 0).all(), "at hard data"
    assert np.isfinite(surprise[1:]).all()
    assert result.n_cells == (surprise > 0).sum() == 11 * 9 - 3
    assert result.log_likelihood_bits == pytest.approx(-np.nansum(surprise), rel=1e-5)
    assert result.bits_per_cell == pytest.approx(-result.log_likelihood_bits / result.n_cells)


@pytest.mark.parametrize("name", ["universal", "of_image"])
def test_a_map_is_visited_once_along_each_path_on_its_own_grid(job_of, name, request, monkeypatch):
    """However many paths go together, and though realizations of some models come corrected and from a wider grid."""
    model = request.getfixturevalue(name)
    corrected = replace(model.schedule_of("preview"), corrections=(1, 1))
    model = replace(model, schedules={"preview": corrected})
    job = job_of(model, n_paths=4)
    truth, known = scoring._read_map(job, torch.device("cpu"))
    start = Start.of(model, known, 3, truth >= 0, widens=False)
    streams = [draw_stream(job.seed, number, GRID.shape, turns=model.turns) for number in range(4)]
    schedule = replace(corrected, corrections=())
    bits = surprise_nats(model.network, truth, start, streams, schedule).double().numpy() / np.log(2)
    monkeypatch.setattr(scoring, "batch_size", lambda *_: 3)
    result = run_scoring(job, quiet)
    surprise = np.where(truth.numpy() >= 0, bits.mean(axis=0), np.nan)
    assert np.load(result.surprise_path) == pytest.approx(surprise, abs=1e-4, nan_ok=True)
    assert result.spread_bits == pytest.approx(bits.sum(axis=(1, 2)).std(ddof=1), rel=1e-3)


@pytest.mark.parametrize("name", ["universal", "of_image"])
@pytest.mark.parametrize(("n_paths", "n_compared"), [(2, 20), (21, 21)])
def test_it_is_held_against_twenty_realizations_at_least_each_drawn_and_visited_by_chance_of_its_own(
    job_of, name, n_paths, n_compared, request, monkeypatch
):
    numbers, shapes, asked = [], set(), []

    def draw(seed, number, shape, **options):
        numbers.append(number)
        shapes.add(shape)
        return draw_stream(seed, number, shape, **options)

    def reach(values, confidence):
        asked.append((len(values), confidence))
        return reach_of_another(values, confidence)

    monkeypatch.setattr(scoring, "draw_stream", draw)
    monkeypatch.setattr(scoring, "reach_of_another", reach)
    result = run_scoring(job_of(request.getfixturevalue(name), n_paths=n_paths), quiet)
    assert len(set(numbers)) == len(numbers)
    assert shapes == {GRID.shape} | ({(48, 48)} if name == "of_image" else set()), "drawn where users' maps are"
    n_levels = len(result.excess_of_levels)
    assert len(asked) == 1 + n_levels, "in total, and on each level"
    assert set(asked) == {(n_compared, 1 - 0.01 / (1 + n_levels))}


def test_a_map_that_surprises_more_than_realizations_is_so_much_beyond_them(job_of, universal, monkeypatch):
    """Three bits a cell, where realizations have one, more or less."""
    rng = np.random.default_rng(1)

    def stand_in(network, maps, start, streams, schedule, **how):
        bits = torch.full((len(streams), *GRID.shape), 3.0)
        if maps is None:
            bits = torch.as_tensor(rng.normal(1, 0.1, bits.shape), dtype=torch.float32)
        return bits * (start.inside & (start.known < 0)) * np.log(2)

    monkeypatch.setattr(scoring, "surprise_nats", stand_in)
    result = run_scoring(job_of(universal), quiet)
    assert (result.bits_per_cell, result.log_likelihood_bits) == pytest.approx((3, -3 * 96), rel=1e-6)
    assert result.typical_bits_per_cell == pytest.approx(1, abs=0.02)
    assert 0 < result.typical_spread < 0.02
    assert result.typical_reach == pytest.approx(3 * result.typical_spread, rel=0.3)
    assert min(result.excess_of_levels) > 1


def test_where_all_maps_are_alike_a_bit_is_nothing(job_of, universal, monkeypatch):
    def stand_in(network, maps, start, streams, schedule, **how):
        return torch.ones(len(streams), *GRID.shape) * (start.inside & (start.known < 0)) * np.log(2)

    monkeypatch.setattr(scoring, "surprise_nats", stand_in)
    result = run_scoring(job_of(universal), quiet)
    assert result.typical_reach == pytest.approx(1 / result.n_cells)
    assert result.excess_of_levels == pytest.approx([0] * len(result.excess_of_levels), abs=1e-6)


def change_map(job, change):
    np.save(job.map_path, change(np.load(job.map_path)))
    return job


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.T, r"The map has the shape \(9, 12\); the grid has \(12, 9\)"),
        (lambda cells: np.full_like(cells, -1), "holds no cell to be scored: check its nodata value"),
        (
            lambda cells: np.where(np.indices(GRID.shape)[0] == 2, -1, cells),
            r"1 of 3 cells with observations contradict the map; .* easting 5, northing 95 it shows nothing where",
        ),
        (
            lambda cells: np.where(cells < 0, -1, (cells + 1) % 3),
            r"3 of 3 cells .* it shows f\d where f\d was observed",
        ),
    ],
    ids=["shape", "nothing", "unknown", "other"],
)
def test_maps_that_cannot_be_scored(job_of, universal, change, message):
    with pytest.raises(JobError, match=message):
        run_scoring(change_map(job_of(universal), change), quiet)


def test_a_map_that_data_cover_all_of_leaves_nothing_to_score(job_of, universal):
    job = job_of(universal)
    at_data = np.zeros(GRID.shape, dtype=bool)
    at_data[DATA["row"], DATA["col"]] = True
    with pytest.raises(JobError, match="holds no cell to be scored: .* whether data cover it all"):
        run_scoring(change_map(job, lambda cells: np.where(at_data, cells, -1)), quiet)
