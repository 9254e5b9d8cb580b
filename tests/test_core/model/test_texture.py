"""Texture: likeness at lags is what it says, turns with the map, and reaches the network the same in tiles."""

from dataclasses import replace

import pytest
import torch

from oadg.core.model import prediction, texture
from oadg.core.model.hard_data import HardData
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.prediction import predict
from oadg.core.model.texture import LAGS, share_of, texture_of, turned_texture
from oadg.core.training.warm_start import start_from

from ..conftest import make_network

NO_DATA = HardData(*[torch.zeros(0, dtype=torch.int64)] * 4, torch.zeros(0), torch.zeros(0))


def stripes(width, shape=(40, 48)):
    """Return a map of two facies in stripes along the rows, so many rows wide."""
    return (torch.arange(shape[0]) // width % 2)[:, None].expand(shape).contiguous()[None]


def some_maps(n_maps=3, shape=(24, 32), n_facies=4):
    return torch.randint(-3, n_facies, (n_maps, *shape), generator=torch.Generator().manual_seed(5)).clamp_min(-1)


@pytest.fixture
def textured_network():
    """Return a network that is told the texture, and goes by it."""
    config = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1, reads_texture=True)
    network = make_network(config)
    for part in (network.texture_of_facies, network.texture_of_all):
        torch.nn.init.normal_(part[2].weight)
    return network


def test_stripes_are_alike_along_and_unlike_across():
    told = texture_of(stripes(4), 2)
    likeness = dict(zip(LAGS, told[0, 0]))
    assert likeness[0, 8] == pytest.approx(1, abs=0.02)
    assert likeness[4, 0] == pytest.approx(-1, abs=0.02)
    assert likeness[8, 0] == pytest.approx(1, abs=0.02)
    assert likeness[2, 0] == pytest.approx(0, abs=0.1), "half of the pairs lie in one stripe"
    assert share_of(told).tolist() == [[0.5, 0.5]]


def test_the_likeness_is_that_of_pairs_counted_one_by_one():
    class_index = some_maps(1, (9, 11))
    told = texture_of(class_index, 4)[0]
    known = (class_index[0] >= 0).nonzero().tolist()
    for facies in range(4):
        share = sum(int(class_index[0, r, c]) == facies for r, c in known) / len(known)
        for which, (row, col) in enumerate(LAGS):
            there = [
                (r + s * row, c + s * col)
                for r, c in known
                for s in (1, -1)
                if class_index[0, r, c] == facies and [r + s * row, c + s * col] in known
            ]
            alike = sum(int(class_index[0, r, c]) == facies for r, c in there)
            expected = (alike - len(there) * share) / ((1 - share) * (len(there) + 4))
            assert float(told[facies, which]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_the_texture_turns_as_if_the_map_were_turned(turn):
    class_index = some_maps()
    found = turned_texture(texture_of(class_index, 4), turn)
    assert torch.allclose(found, texture_of(torch.rot90(class_index, turn, (1, 2)), 4), atol=1e-6)


def test_maps_do_not_meet_and_facies_have_no_order():
    class_index, order = some_maps(), torch.tensor([2, 0, 3, 1])
    told = texture_of(class_index, 4)
    assert torch.equal(told[1:2], texture_of(class_index[1:2], 4))
    renumbered = torch.where(class_index >= 0, order[class_index.clamp_min(0)], -1)
    assert torch.equal(texture_of(renumbered, 4)[:, order], told)


@pytest.mark.parametrize("known", [-1, 0])
def test_nothing_known_and_one_facies_everywhere_are_told_in_finite_numbers(known):
    told = texture_of(torch.full((1, 4, 6), known), 3)
    assert told.isfinite().all()
    assert not told[0, 2].any()


def test_of_large_maps_some_nodes_tell_nearly_the_same(monkeypatch):
    class_index = torch.cat([stripes(3, (160, 200)), stripes(7, (160, 200))])
    some = texture_of(class_index, 2)
    assert torch.equal(some, texture_of(class_index, 2))
    monkeypatch.setattr(texture, "_MOST_NODES", 160 * 200)
    assert torch.allclose(some[..., : len(LAGS)], texture_of(class_index, 2)[..., : len(LAGS)], atol=0.08)


def test_a_network_goes_by_the_texture_and_tells_facies_alike(textured_network):
    class_index, inside, order = some_maps(), torch.ones(3, 24, 32, dtype=torch.bool), torch.tensor([2, 0, 3, 1])
    told = textured_network(class_index, inside, NO_DATA, 4)
    other = textured_network(class_index, inside, NO_DATA, 4, texture=texture_of(stripes(2), 4).expand(3, -1, -1))
    assert not torch.allclose(told, other, atol=0.1)
    renumbered = torch.where(class_index >= 0, order[class_index.clamp_min(0)], -1)
    assert torch.allclose(textured_network(renumbered, inside, NO_DATA, 4)[:, order], told, atol=1e-4)


def test_a_textured_network_starts_as_what_it_learns_from(deep_network):
    """Before it has learnt anything the texture changes nothing."""
    textured = make_network(replace(deep_network.config, reads_texture=True))
    start_from(textured, deep_network)
    class_index, inside = some_maps(), torch.ones(3, 24, 32, dtype=torch.bool)
    assert torch.equal(textured(class_index, inside, NO_DATA, 4), deep_network(class_index, inside, NO_DATA, 4))


def test_tiles_are_told_the_texture_of_the_whole_map(textured_network, monkeypatch):
    class_index, inside = some_maps(2, (96, 64)), torch.ones(2, 96, 64, dtype=torch.bool)
    asked = (textured_network, class_index, inside, NO_DATA, 4)
    whole = predict(*asked, level=0, turns=(0, 1))
    monkeypatch.setattr(prediction, "_TILE_NODES_TIMES_STREAMS", 80 * 64 * 10)
    shapes = []
    textured_network.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape[1:])))
    assert torch.allclose(predict(*asked, level=0, turns=(0, 1)), whole, atol=1e-4)
    assert len(shapes) == 4
    assert whole.std() > 0.1
