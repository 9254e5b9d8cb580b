"""How often nodes are drawn anew is measured: as often as leaves the facies' shares what they are in the image."""

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import Cancelled
from oadg.core.contract.facies import build_facies_table
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork, NetworkConfig
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.visits import draw_stream
from oadg.core.training import corrections
from oadg.core.training.corrections import measure_corrections
from oadg.core.training.schedules import N_PARTS, measured_schedules

CONFIG = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_levels=3, n_classes=2, refiner=8, refined_above=1)
IMAGE = (np.add.outer(np.arange(300), 2 * np.arange(320)) // 48 % 2).astype(np.int16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = FaciesNetwork(CONFIG).eval().requires_grad_(False)
    table = np.triu(np.ones((N_PARTS, N_PARTS)))
    schedules, _ = measured_schedules([table] * 4, table, 2)
    return FaciesModel("stripes", network, facies=build_facies_table([0, 1]), max_facies=2, schedules=schedules)


def simulate_drift(most, asked, *, always=0.0):
    """Return a `sample` of maps with the image's shares, but for corrections that are more than a level's most."""

    def simulate(predictor, known, inside, streams, *, schedule, until, on_pass, **_):
        on_pass()
        asked.append((until, schedule.corrections))
        assert schedule.corrections[:until] == (0,) * until
        n_passes = schedule.corrections[until]
        faded = always * (1 + n_passes) + 0.1 * (n_passes > most[until])
        rng = np.random.default_rng(len(asked))
        maps = rng.random((len(streams), *known.shape)) < IMAGE.mean() - faded
        return torch.from_numpy(maps.astype(np.int64))

    return simulate


@pytest.mark.parametrize("most", [{2: 12, 3: 36}, {2: 0, 3: 120}, {2: 36, 3: 0}])
def test_nodes_are_drawn_anew_as_often_as_leaves_the_shares_what_they_are(model, monkeypatch, most):
    asked = []
    monkeypatch.setattr(corrections, "sample", simulate_drift(most, asked))
    chosen = measure_corrections(model, IMAGE, seed=1)
    of = {quality: schedule.corrections for quality, schedule in chosen.items()}
    assert of == {
        "standard": (24, 24, most[2], most[3]),
        "fine": (36, 36, most[2], most[3]),
        "preview": (4, 8, most[2] // 3, most[3] // 3),
    }
    assert [level for level, _ in asked] == [3] * 4 + [2] * 3, "coarse to fine"
    assert {of_level[3:] for level, of_level in asked if level == 2} == {(most[3],)}, "after those chosen before"
    for quality, schedule in chosen.items():
        before = model.schedules[quality]
        assert (schedule.refined, schedule.started) == (before.refined, before.started)


def test_where_no_number_leaves_the_shares_it_is_the_least_wrong(model, monkeypatch):
    monkeypatch.setattr(corrections, "sample", simulate_drift({2: 120, 3: 120}, [], always=0.004))
    assert measure_corrections(model, IMAGE, seed=1)["standard"].corrections == (24, 24, 0, 0)


@pytest.mark.parametrize(
    ("off", "chosen"),
    [
        ({0: 0.01, 12: 0.02, 36: 0.024}, 12),  # right to 0.025 with an error of 0.01, but for the last one's
        ({0: 0.05, 12: 0.055, 36: 0.07}, 12),  # all wrong, the first two alike
        ({0: 0.05, 12: 0.07, 36: 0.055}, 36),
        ({0: 0.09, 12: 0.05, 36: 0.07}, 12),
    ],
)
def test_where_all_numbers_leave_shares_wrong_it_is_the_most_of_those_that_are_about_as_wrong_as_the_best(off, chosen):
    error = {0: 0.01, 12: 0.01, 36: 0.009}
    tried = {n: (np.array([wrong, wrong]), np.full(2, error[n])) for n, wrong in off.items()}
    assert corrections._most_that_are_harmless(tried) == chosen


def test_of_an_image_without_coarse_lattices_nothing_is_measured(model, monkeypatch):
    monkeypatch.setattr(corrections, "sample", lambda *_, **__: pytest.fail("there is nothing to simulate"))
    assert measure_corrections(model, IMAGE[:40, :50], seed=1) == model.schedules


def test_a_network_and_holes_in_the_image_go_through_it_and_the_seed_decides(model):
    image = np.where(np.arange(300)[:, None] < 20, -1, IMAGE).astype(np.int16)
    first, again = (measure_corrections(model, image, seed=3) for _ in range(2))
    assert first == again
    assert len(first["standard"].corrections) == 4
    assert set(first["standard"].corrections[2:]) <= {0, 12, 36, 120}


def test_measuring_can_be_cancelled(model):
    def cancel():
        raise Cancelled("The training was cancelled.")

    with pytest.raises(Cancelled):
        measure_corrections(model, IMAGE, seed=1, on_pass=cancel)


@pytest.mark.parametrize("until", [1, 2, 3])
def test_a_simulation_that_ends_early_has_the_nodes_that_the_whole_one_starts_with(model, until):
    shape = (100, 120)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[5, 7] = 1
    streams = [draw_stream(4, index, shape) for index in range(2)]
    run = {"n_facies": 2, "schedule": model.schedules["preview"], "level": 2}
    run["schedule"] = run["schedule"].from_dict({**run["schedule"].to_dict(), "corrections": []})
    whole, part = (sample(model.network, known, inside, streams, until=end, **run) for end in (0, until))
    for stream, of_whole, of_part in zip(streams, whole, part):
        row, col = (np.arange(n) + offset for n, offset in zip(shape, stream.offset))
        is_node = torch.from_numpy(np.add.outer(row % 2**until, col % 2**until) == 0)
        is_node[5, 7] = True
        assert torch.equal(of_part >= 0, is_node)
        assert torch.equal(of_part[is_node], of_whole[is_node])
