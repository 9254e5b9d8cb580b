"""Where a simulation starts: the grid that is simulated, and the part of it that is wanted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import SimulationJob
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import SCHEDULES
from oadg.core.sampling.area import around, part_in_the_middle, whole
from oadg.core.sampling.marginal import marginal
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.sampling.realizations import simulate_in_batches
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.simulation import run_simulation
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream

SMALL = NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1)


@pytest.fixture
def model():
    """A model of an image on three levels, with random weights."""
    torch.manual_seed(2)
    network = FaciesNetwork(replace(SMALL, n_levels=3, n_classes=3, refiner=8))
    torch.nn.init.normal_(network.head.weight, std=0.3)  # it starts at zero
    provenance = {"image": {"symmetry": "none"}}
    return FaciesModel("image", network.eval().requires_grad_(False), provenance=provenance)


def surveyed(shape, n_data, seed=0):
    known = torch.full(shape, -1)
    cells = torch.randperm(known.numel(), generator=torch.Generator().manual_seed(seed))[:n_data]
    known.view(-1)[cells] = torch.arange(n_data) % 3
    return known


@pytest.mark.parametrize(
    ("shape", "n_data", "level", "wide"),
    [
        ((20, 30), 5, 2, (96, 96)),
        ((40, 500), 5, 2, (96, 500)),
        ((96, 120), 5, 2, (96, 120)),
        ((20, 30), 38, 1, (48, 48)),  # a node of the grid itself for each datum
        ((20, 30), 600, 0, (24, 30)),
        ((1, 1), 0, 2, (96, 96)),
    ],
)
def test_a_small_grid_is_the_middle_of_one_with_nodes_enough(model, shape, n_data, level, wide):
    known = surveyed(shape, n_data)
    start = Start.of(model, known, 3)
    assert (start.level, start.shape) == (level, wide)
    assert torch.equal(start.known[start.asked], known)
    assert int((start.known >= 0).sum()) == n_data, "nothing is known around it"
    north, south = start.asked[0].start, wide[0] - start.asked[0].stop
    assert north - south in (0, -1)


@pytest.mark.parametrize(("n_data", "level", "wide"), [(0, 2, (96, 96)), (1, 2, (96, 96)), (2, 1, (48, 48))])
def test_for_probabilities_given_dense_data_it_starts_on_the_level_that_is_better(model, n_data, level, wide):
    """Up to 32 nodes of the coarsest lattice to a datum, of which a grid of 20 x 30 cells has 37.5."""
    measured = replace(model, marginal_level=1)
    start = Start.of(measured, surveyed((20, 30), n_data), 3, for_marginal=True)
    assert (start.level, start.shape) == (level, wide)
    assert Start.of(measured, surveyed((20, 30), n_data), 3).level == 2, "realizations start on the coarsest one"
    assert Start.of(model, surveyed((20, 30), n_data), 3, for_marginal=True).level == 2


def test_all_is_simulated_around_a_grid_that_is_masked(model):
    inside = torch.zeros(20, 30, dtype=torch.bool)
    start = Start.of(model, surveyed((20, 30), 0), 3, inside)
    assert not start.inside[start.asked].any()
    assert int(start.inside.sum()) == 96 * 96 - 20 * 30


def test_only_models_that_learnt_crops_see_a_grid_as_one(model):
    known = surveyed((20, 30), 5)
    of_set = replace(model, provenance={"image": {"n_images": 60}})
    universal = replace(model, network=FaciesNetwork(SMALL).eval())
    for other in (of_set, universal):
        assert Start.of(other, known, 3).shape == (20, 30)
    assert Start.of(model, known, 3, widens=False).shape == (20, 30)


def test_a_realization_of_a_small_grid_keeps_data_and_mask_and_follows_from_the_seed(model):
    known, inside = surveyed((20, 31), 9), torch.ones(20, 31, dtype=torch.bool)
    inside[:5] = False
    start = Start.of(model, torch.where(inside, known, -1), 3, inside)
    few, many = (torch.cat(list(simulate_in_batches(model, start, n, quality="preview", seed=4))) for n in (2, 5))
    assert many.shape == (5, 20, 31)
    assert torch.equal(many[:2], few)
    assert ((many >= 0) == inside).all()
    data = start.known[start.asked] >= 0
    assert (many[:, data] == known[data]).all()


def test_the_probabilities_of_a_small_grid_are_those_in_the_middle_of_the_wide_one(model):
    known = surveyed((20, 30), 9)
    wide = Start.of(model, known, 3)
    of_wide = facies_probability_from_data(model, wide.known, 3)
    found = facies_probability_from_data(model, known, 3)
    assert np.allclose(found, of_wide[:, wide.asked[0], wide.asked[1]])


def test_a_run_tells_probabilities_from_the_lattice_that_is_better(model, tmp_path):
    """Of a model that was measured and is as likely turned."""
    facies = FaciesTable(tuple(Facies(k, f"f{k}", "#112233") for k in range(3)))
    provenance = {"image": {"symmetry": "rotations"}}
    measured = replace(model, facies=facies, max_facies=3, marginal_level=1, provenance=provenance)
    measured.save(tmp_path / "model.safetensors")
    known = surveyed((20, 30), 9)
    row, col = (index.tolist() for index in (known >= 0).nonzero(as_tuple=True))
    job = SimulationJob(
        grid=Grid(west=0.0, north=0.0, cell_size=1.0, n_rows=20, n_cols=30),
        facies=facies,
        row=tuple(row),
        col=tuple(col),
        class_index=tuple(known[row, col].tolist()),
        model_path=str(tmp_path / "model.safetensors"),
        work_folder=str(tmp_path),
        n_realizations=0,
        quality="preview",
        device="cpu",
    )
    found = np.load(run_simulation(job, lambda fraction, text: None).probability_path)
    start = Start.of(measured, known, 3, for_marginal=True)
    assert start.level == 1
    expected = marginal(measured.network, start, positions_at_once=2, turns=(0, 1, 2, 3))
    assert np.allclose(found, expected, atol=1e-5)


def test_what_is_wanted_is_cut_from_the_map_when_all_of_that_is_near(model):
    """Then it is, cell for cell, the part of a map that is simulated whole."""
    known = surveyed((40, 36), 9)
    asked = part_in_the_middle((40, 36), (26, 20))
    assert around(asked, (40, 36), 1) == whole((40, 36))
    streams = [draw_stream(3, index, (40, 36)) for index in range(2)]
    start = Start(known, torch.ones_like(known, dtype=torch.bool), 3, 2)
    part = sample(model.network, replace(start, asked=asked), streams, SCHEDULES["preview"])
    all_of_it = sample(model.network, start, streams, SCHEDULES["preview"])
    assert torch.equal(part, all_of_it[:, asked[0], asked[1]])


@pytest.mark.parametrize(("spacing", "rows"), [(1, slice(92, 118)), (4, slice(68, 142)), (16, slice(0, 200))])
def test_around_what_is_wanted_are_eight_nodes_on_each_side(spacing, rows):
    asked = slice(100, 110), slice(2, 9)
    assert around(asked, (200, 1000), spacing) == (rows, slice(0, 9 + 8 * spacing))


def test_batches_are_as_large_as_what_is_simulated_around_a_small_grid_allows(model):
    start = Start.of(model, surveyed((20, 30), 5), 3)
    assert start.n_fine_cells == (20 + 2 * 8) * (30 + 2 * 8) < start.known.numel()


def test_beyond_what_is_wanted_each_lattice_is_simulated_near_it_only(model):
    known = surveyed((200, 200), 0)
    asked = part_in_the_middle((200, 200), (40, 40))
    n_rows = []

    def choose(probability, visit):
        n_rows.append(1 + int(visit.row.max() - visit.row.min()))
        return torch.zeros_like(visit.row)

    streams = [draw_stream(3, 0, (200, 200))]
    start = Start(known, torch.ones_like(known, dtype=torch.bool), 3, 2, asked=asked)
    sample(model.network, start, streams, SCHEDULES["preview"], choose=choose)
    assert max(n_rows[-3:]) <= 40 + 2 * 8, "on the finest lattice"
    assert max(n_rows) > 190, "on the coarsest one all is"


def test_a_stream_within_an_area_is_that_of_the_map():
    stream = draw_stream(1, 0, (30, 40))
    area = slice(5, 20), slice(8, 40)
    part = stream.within(area)
    assert part.offset == (stream.offset[0] + 5, stream.offset[1] + 8)
    assert (part.uniform == stream.uniform[area]).all()
    assert (part.rank == stream.rank[area]).all()
