"""Laws of the network: local, time-free, a set of facies, any grid."""

from dataclasses import replace

import pytest
import torch

from oadg.core.kriging.kriging_features import N_OF_FACIES, N_OF_PLACE, KrigingFeatures, SurveyKriging
from oadg.core.model import network as network_module
from oadg.core.model.hard_data import HardData
from oadg.core.model.lattice import Lattice
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.texture import texture_of
from oadg.core.training import train_universal

NO_DATA = HardData(*[torch.zeros(0, dtype=torch.int64)] * 4, torch.zeros(0), torch.zeros(0))


def random_input(n_facies, shape, n_maps=2, n_data=7):
    generator = torch.Generator().manual_seed(1)
    known = torch.randint(-2 * n_facies, n_facies, (n_maps, *shape), generator=generator).clamp_min(-1)
    inside = torch.ones(n_maps, *shape, dtype=torch.bool)
    inside[:, -1] = False
    data = HardData(
        torch.randint(n_maps, (n_data,), generator=generator),
        torch.randint(n_facies, (n_data,), generator=generator),
        torch.randint(shape[0], (n_data,), generator=generator),
        torch.randint(shape[1], (n_data,), generator=generator),
        torch.rand(n_data, generator=generator) - 0.5,
        torch.rand(n_data, generator=generator) - 0.5,
    )
    return torch.where(inside, known, -1), inside, data


@pytest.mark.parametrize("n_facies", [2, 5, 32])
def test_renumbering_facies_permutes_the_probabilities(deep_network, n_facies):
    known, inside, data = random_input(n_facies, (16, 24))
    order = torch.randperm(n_facies, generator=torch.Generator().manual_seed(2))
    renumbered = torch.where(known >= 0, order[known.clamp_min(0)], -1)
    moved = data._replace(class_index=order[data.class_index])
    expected = deep_network(known, inside, data, n_facies).softmax(dim=1)
    found = deep_network(renumbered, inside, moved, n_facies).softmax(dim=1)[:, order]
    assert expected.std(dim=1).mean() > 1e-3  # otherwise the law would be empty
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("n_facies", [2, 17])
def test_renumbering_facies_permutes_what_kriging_tells_and_what_the_network_makes_of_it(kriging_network, n_facies):
    generator = torch.Generator().manual_seed(4)
    known = random_input(n_facies, (16, 16), n_maps=1)[0]
    cell = torch.randperm(256, generator=generator)[:40]
    row, col, facies = cell // 16, cell % 16, torch.randint(n_facies, (40,), generator=generator)
    order = torch.randperm(n_facies, generator=generator)
    lattice = Lattice.at((16, 16), 1, torch.zeros(1, 2, dtype=torch.int64), 4)

    def probabilities(known, facies):
        data = lattice.attach(torch.zeros_like(row), row, col, facies)
        survey = SurveyKriging.fit(torch.stack([row, col], dim=1).float(), facies, n_facies)
        features = lattice.kriging_features([survey], n_facies)
        return kriging_network(*lattice.gather(known), data, n_facies, features=features).softmax(dim=1)

    expected = probabilities(known, facies)
    found = probabilities(torch.where(known >= 0, order[known.clamp_min(0)], -1), order[facies])[:, order]
    assert expected.std(dim=1).mean() > 1e-3
    assert torch.allclose(found, expected, atol=1e-5)


def test_an_untrained_network_says_what_kriging_says():
    """The head starts at zero, so training starts from the kriging estimate; without one, from indifference."""
    config = NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1, reads_kriging=True)
    network = FaciesNetwork(config).requires_grad_(False)
    lattice = Lattice.at((8, 8), 1, torch.zeros(1, 2, dtype=torch.int64), 2)
    place = torch.tensor([[0, 0], [3, 4], [7, 2], [6, 6]])
    facies = torch.tensor([0, 1, 1, 0])
    data = lattice.attach(torch.zeros(4, dtype=torch.int64), place[:, 0], place[:, 1], facies)
    features = lattice.kriging_features([SurveyKriging.fit(place.float(), facies, 2)], 2)
    shape = (1, *lattice.shape)
    nothing, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    said = network(nothing, inside, data, 2, features=features).softmax(dim=1)
    estimate = features.of_facies[:, :, 0].clamp_min(0.005)
    assert torch.allclose(said, estimate / estimate.sum(dim=1, keepdim=True), atol=1e-6)
    assert (network(nothing, inside, data, 2) == 0).all()


def test_an_untrained_network_leans_on_the_estimate_that_the_evidence_is_for():
    config = NetworkConfig(trunk=(8,), stream=(8,), n_bottom=1, reads_kriging=True, reads_order=True)
    network = FaciesNetwork(config).requires_grad_(False)
    lattice = Lattice.at((8, 8), 1, torch.zeros(1, 2, dtype=torch.int64), 2)
    features = lattice.kriging_features([None], 2)
    of_facies, of_place = (values.clone() for values in features)
    for estimate, probability in zip((1, 6, 8), (0.9, 0.5, 0.1)):
        of_facies[:, :, estimate] = torch.tensor([probability, 1 - probability]).log()[:, None, None]
    shape = (1, *lattice.shape)
    nothing, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    said = []
    for evidence in ([-4.0, -4.0], [4.0, -4.0], [-4.0, 4.0]):
        of_place[:, 12:14] = torch.tensor(evidence)[:, None, None]
        told = KrigingFeatures(of_facies, of_place)
        said.append(float(network(nothing, inside, NO_DATA, 2, features=told).softmax(dim=1)[0, 0, 3, 3]))
    by_kriging, in_order, alone = said
    assert by_kriging > 0.7
    assert abs(in_order - 0.5) < abs(by_kriging - 0.5)
    assert alone < 0.3


def test_an_output_depends_only_on_cells_within_the_receptive_radius(deep_network):
    radius, stride = deep_network.config.receptive_radius, deep_network.config.total_stride
    side = (2 * radius // stride + 4) * stride
    known = torch.full((1, side, side), -1)
    inside = torch.ones(1, side, side, dtype=torch.bool)
    before = deep_network(known, inside, NO_DATA, 2)
    for row in (side // 2, side // 2 + 3, side // 2 + 5):  # the reach depends on the phase of the strides
        changed = known.clone()
        changed[0, row, row] = 1
        moved = (deep_network(changed, inside, NO_DATA, 2) - before).abs().amax(dim=(0, 1)) > 0
        reach = max(int((axis - row).abs().max()) for axis in moved.nonzero(as_tuple=True))
        assert 0 < reach <= radius
    assert reach > radius // 2, "the radius is not a bound from a hat"


def test_the_shipped_configuration_keeps_its_radius():
    config = train_universal.NETWORK
    torch.manual_seed(0)
    network = FaciesNetwork(config).requires_grad_(False)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    side = 2 * (config.receptive_radius // 8 + 1) * 8 + 16
    known, inside = torch.full((1, side, 16), -1), torch.ones(1, side, 16, dtype=torch.bool)
    changed = known.clone()
    changed[0, side // 2, 8] = 1
    asked = {"n_facies": 2, "texture": texture_of(known, 2)}  # which is of the whole map, whatever is asked
    before, after = (network(maps, inside, NO_DATA, **asked) for maps in (known, changed))
    moved = (after - before).abs().amax(dim=(0, 1)) > 1e-7
    assert int((moved.nonzero()[:, 0] - side // 2).abs().max()) <= config.receptive_radius


@pytest.mark.parametrize("n_together", [1, 3])
def test_facies_that_go_through_it_a_few_at_a_time_come_to_the_same(kriging_network, monkeypatch, n_together):
    """Seven facies in parts of one or of three, the last part smaller; data beside the lattice; an absent facies."""
    known, inside, data = random_input(7, (24, 16), n_maps=1)
    generator = torch.Generator().manual_seed(6)
    features = KrigingFeatures(
        torch.rand(1, 7, N_OF_FACIES, 24, 16, generator=generator),
        torch.rand(1, N_OF_PLACE, 24, 16, generator=generator),
    )
    run = {"n_facies": 7, "features": features, "present": torch.arange(7)[None] != 5}
    learning = kriging_network(known, inside, data, **run)
    streams = []
    kriging_network.head.register_forward_hook(lambda _, given, __: streams.append(len(given[0])))
    with torch.inference_mode():
        whole = kriging_network(known, inside, data, **run)
        monkeypatch.setattr(network_module, "_PART_NODES_TIMES_FACIES", n_together * 24 * 16 + 1)
        in_parts = kriging_network(known, inside, data, **run)
    assert streams == [7, *[n_together] * (7 // n_together), *[1] * (7 % n_together)]
    assert whole[:, :5].std() > 0.1
    for other in (learning, in_parts):
        assert torch.allclose(other, whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (24, 16)])
def test_any_shape_in_multiples_of_the_stride(deep_network, shape):
    known, inside, data = random_input(3, shape)
    assert deep_network(known, inside, data, 3).shape == (2, 3, *shape)


def test_maps_of_a_batch_do_not_meet(deep_network):
    known, inside, data = random_input(3, (16, 16))
    mine = HardData(*(v[data.batch == 0] for v in data))
    alone = deep_network(known[:1], inside[:1], mine, 3)
    assert torch.allclose(deep_network(known, inside, data, 3)[:1], alone, atol=1e-5)


def test_a_datum_beside_the_lattice_counts_where_it_lies(deep_network):
    known, inside, data = random_input(3, (16, 16))
    here = deep_network(known, inside, data, 3)
    there = deep_network(known, inside, data._replace(east=-data.east), 3)
    other = deep_network(known, inside, data._replace(class_index=(data.class_index + 1) % 3), 3)
    assert not torch.allclose(here, there, atol=1e-4)
    assert not torch.allclose(here, other, atol=1e-4)


def test_facies_that_are_not_present_have_no_part(deep_network):
    """A map of two facies in a batch of four is the map alone."""
    known, inside, data = random_input(2, (16, 16))
    present = torch.tensor([[True, True, False, False]]).expand(2, -1)
    among_four = deep_network(known, inside, data, 4, present=present)
    assert torch.allclose(among_four[:, :2], deep_network(known, inside, data, 2), atol=1e-5)
    assert (among_four[:, 2:] == -torch.inf).all()


def test_levels_are_told_apart_up_to_the_last(deep_network):
    known, inside, data = random_input(3, (8, 8))
    told_apart = FaciesNetwork(replace(deep_network.config, n_levels=2)).eval().requires_grad_(False)
    told_apart.load_state_dict({**deep_network.state_dict(), "of_level": torch.randn(2, 8)})
    fine, coarse, coarser = (told_apart(known, inside, data, 3, level=level) for level in (0, 1, 5))
    assert not torch.allclose(fine, coarse, atol=1e-3)
    assert torch.equal(coarse, coarser)
    assert torch.equal(deep_network(known, inside, data, 3), deep_network(known, inside, data, 3, level=1))


def test_configuration_survives_json():
    config = NetworkConfig(trunk=(8, 16), stream=(8, 8), n_pooled=4)
    import json

    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
