"""Laws of the refiner: it answers where a coarser lattice is known, looks a few nodes around, and sees all data."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from oadg.core import prediction
from oadg.core.facies import build_facies_table
from oadg.core.image_examples import ImageExamples
from oadg.core.lattice import Lattice
from oadg.core.network import FaciesNetwork, HardData, NetworkConfig
from oadg.core.path import SCHEDULES, Schedule
from oadg.core.refiner import refiner_radius
from oadg.core.sampler import corrections, draw_stream, passes, sample
from oadg.core.training import TrainingConfig, train
from oadg.core.training_image import TrainingImage

FACIES = build_facies_table([0, 1, 2])
NO_DATA = HardData(*[torch.zeros(0, dtype=torch.int64)] * 4, torch.zeros(0), torch.zeros(0))
CONFIG = NetworkConfig(
    trunk=(8, 8),
    stream=(8, 8),
    n_pooled=4,
    n_evidence=4,
    n_bottom=1,
    n_levels=3,
    n_classes=3,
    refiner=8,
    n_refiner_blocks=2,
)


@pytest.fixture(scope="module")
def network():
    """A network with a refiner, whose weights are random."""
    torch.manual_seed(0)
    network = FaciesNetwork(CONFIG).eval().requires_grad_(False)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return network


def scene(shape=(16, 24), n_maps=2):
    generator = torch.Generator().manual_seed(1)
    known = torch.randint(-3, 3, (n_maps, *shape), generator=generator).clamp_min(-1)
    inside = torch.ones(n_maps, *shape, dtype=torch.bool)
    inside[:, -1] = False
    return torch.where(inside, known, -1), inside


def test_it_answers_where_a_coarser_lattice_is_known_and_nowhere_else(network):
    known, inside = scene()
    without = FaciesNetwork(replace(CONFIG, refiner=0)).eval().requires_grad_(False)
    without.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("refiner.")})
    assert torch.equal(network(known, inside, NO_DATA, 3), without(known, inside, NO_DATA, 3))
    refined = network(known, inside, NO_DATA, 3, refines=True)
    assert refined.shape == (2, 3, 16, 24)
    assert not torch.allclose(refined, network(known, inside, NO_DATA, 3), atol=1e-2)
    assert torch.equal(without(known, inside, NO_DATA, 3, refines=True), without(known, inside, NO_DATA, 3))


@pytest.mark.parametrize("n_blocks", [1, 2, 4])
def test_it_looks_as_far_as_it_says(n_blocks):
    torch.manual_seed(0)
    network = FaciesNetwork(replace(CONFIG, n_refiner_blocks=n_blocks)).requires_grad_(False)
    for weights in network.refiner.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    radius = refiner_radius(n_blocks)
    known, inside = torch.full((1, 40, 40), -1), torch.ones(1, 40, 40, dtype=torch.bool)
    changed = known.clone()
    changed[0, 20, 20] = 1
    moved = network(changed, inside, NO_DATA, 3, refines=True) != network(known, inside, NO_DATA, 3, refines=True)
    rows, cols = moved.any(dim=1)[0].nonzero(as_tuple=True)
    assert (rows - 20).abs().max() == (cols - 20).abs().max() == radius
    assert network.config.receptive_radius >= radius


def test_it_sees_data_beside_the_lattice_where_they_lie(network):
    known, inside = scene()
    data = HardData(*(torch.tensor([v]) for v in (1, 2, 5, 7)), torch.tensor([0.2]), torch.tensor([0.3]))
    without = network(known, inside, NO_DATA, 3, refines=True)
    moved = (network(known, inside, data, 3, refines=True) - without).abs().amax(dim=1)  # (batch, n_rows, n_cols)
    assert moved[0].max() == 0, "the other map has no data"
    assert moved[1, 5, 7] > 1e-3
    other = network(known, inside, data._replace(class_index=torch.tensor([0])), 3, refines=True)
    there = network(known, inside, data._replace(east=-data.east), 3, refines=True)
    for changed in (other, there):
        assert not torch.allclose(changed, network(known, inside, data, 3, refines=True), atol=1e-3)


def test_it_tells_levels_apart_up_to_the_last(network):
    known, inside = scene()
    fine, coarse, coarsest, beyond = (network(known, inside, NO_DATA, 3, level=k, refines=True) for k in (0, 1, 2, 7))
    assert not torch.allclose(fine, coarse, atol=1e-3)
    assert torch.equal(coarsest, beyond)


def test_the_sampler_asks_it_as_soon_as_the_coarser_lattice_is_known():
    """Of each pass it is told; a pass that has one node of the coarser lattice does not refine."""
    shape, n_maps = (20, 30), 3
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[3, 4] = 1
    streams = [draw_stream(3, index, shape) for index in range(n_maps)]
    maps = known.expand(n_maps, -1, -1)
    for spacing in (1, 2):
        lattice = Lattice.at(shape, spacing, -torch.tensor([s.offset for s in streams]), 4)
        offset = torch.tensor([s.offset for s in streams])
        for shares in (SCHEDULES["standard"].started, (0.25, 1.0), (1.0,)):
            schedule = Schedule((shares,), shares)
            visits = passes(maps, inside, lattice, streams, partial(schedule.split, level=0, is_coarsest=True))
            on_coarser = [
                ((v.row + offset[v.batch, 0]) % (2 * spacing) == 0)
                & ((v.col + offset[v.batch, 1]) % (2 * spacing) == 0)
                for v in visits
            ]
            assert [v.refines for v in visits] == [not nodes.any() for nodes in on_coarser]
            assert not visits[0].refines
            assert visits[-1].refines or len(shares) < 3
        assert all(v.refines for v in corrections(known, inside, lattice, streams, 4))


def test_in_tiles_it_says_the_same(network, monkeypatch):
    shape = (90, 70)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[::9, ::8] = 2
    run = {"n_facies": 3, "schedule": replace(Schedule.even((2,), 4), corrections=(2,)), "level": 1}
    streams = [draw_stream(1, 0, shape)]
    whole = sample(network, known, inside, streams, **run)
    monkeypatch.setattr(prediction, "_TILE_NODES_TIMES_STREAMS", 5 * 64**2)
    assert torch.equal(sample(network, known, inside, streams, **run), whole)


def test_the_image_does_not_change_how_data_are_described(tmp_path):
    """Refiner and the other weights are judged apart, so that neither may move what both read."""
    image = TrainingImage((np.arange(90 * 90).reshape(90, 90) // 700 % 3).astype(np.int16), FACIES)
    examples = ImageExamples(image, 2, CONFIG.total_stride, seed=1)
    torch.manual_seed(1)
    start = FaciesNetwork(CONFIG)
    trained, _ = train(CONFIG, TrainingConfig(steps=6, warmup_steps=1), examples, tmp_path, start=start)
    before, after = start.state_dict(), trained.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("describe_datum.")} <= same
    assert "refiner.stem.weight" not in same
    assert "trunk_stem.weight" not in same
