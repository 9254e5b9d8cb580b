"""Maps shown turned: the network sees what it would see of a turned map, and answers come back as they were asked."""

import numpy as np
import pytest
import torch

from oadg.core.kriging.kriging_features import KrigingFeatures, SurveyKriging
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.hard_data import HardData
from oadg.core.model.lattice import Lattice
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.prediction import predict
from oadg.core.model.turning import Shown, answer_turned
from oadg.core.sampling.marginal import marginal, marginal_batches, marginal_offsets
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream

SHAPE, N_FACIES, SPACING = (16, 24), 3, 2


def some_data(seed=0, n=40):
    rng = np.random.default_rng(seed)
    known = torch.full(SHAPE, -1)
    for _ in range(n):
        known[rng.integers(SHAPE[0]), rng.integers(SHAPE[1])] = int(rng.integers(N_FACIES))
    return known


def on_lattice(known, *, multiple=1):
    """Return what the network is told of two maps with these data, on a lattice through the grid's first cell."""
    lattice = Lattice.at(tuple(known.shape), SPACING, torch.tensor([[0, 0], [1, 1]]), multiple)
    class_index, inside = lattice.gather(known.expand(2, -1, -1))
    return class_index, inside, lattice.hard_data(known)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_data_stay_where_their_map_shows_them(turn):
    """Each datum beside a node is turned with its node; one on a node has the facies that the turned map has there."""
    class_index, inside, data = on_lattice(some_data())
    seen = []

    def answer(shown):
        seen.append(shown)
        return torch.zeros(len(shown.class_index), N_FACIES, *shown.class_index.shape[1:])

    context = torch.stack([class_index, -class_index], dim=1)
    answer_turned(answer, [turn, turn], Shown(class_index, inside, data, context=context))
    turned, is_inside, moved, _, read_once, _ = seen[0]
    assert torch.equal(turned, torch.rot90(class_index, turn, (1, 2)))
    assert torch.equal(is_inside, torch.rot90(inside, turn, (1, 2)))
    assert torch.equal(read_once, torch.stack([turned, -turned], dim=1))
    on_node = (moved.south == 0) & (moved.east == 0)
    batch, facies, row, col = (values[on_node] for values in moved[:4])
    assert len(batch) > 5
    assert torch.equal(turned[batch, row, col], facies)
    n_rows, n_cols = class_index.shape[1:]
    expected = data.row + data.south, data.col + data.east
    for _ in range(turn):
        expected = (n_cols - 1 - expected[1], expected[0])
        n_rows, n_cols = n_cols, n_rows
    assert torch.allclose(moved.row + moved.south, expected[0])
    assert torch.allclose(moved.col + moved.east, expected[1])


def test_features_turn_as_if_the_survey_were_turned():
    row, col = (some_data(n=60) >= 0).nonzero(as_tuple=True)
    facies = (row // 4 % 2).long()  # bands

    def features_of(row, col, shape):
        survey = SurveyKriging.fit(torch.stack([row, col], dim=1).float(), facies, 2)
        every = torch.cartesian_prod(*(torch.arange(float(n)) for n in shape))
        return KrigingFeatures(*(told.unflatten(-1, shape)[None] for told in survey.at(every, 1)))

    features = features_of(row, col, SHAPE)
    expected = features_of(SHAPE[1] - 1 - col, row, SHAPE[::-1])
    found = features.turned(1)
    assert torch.allclose(found.of_place, expected.of_place, atol=2e-4)
    assert torch.allclose(found.of_facies[:, :, :4], expected.of_facies[:, :, :4], atol=2e-4)  # the nearest may tie
    assert not torch.allclose(found.of_place, torch.rot90(features.of_place, 1, (-2, -1)), atol=0.1)
    for turns, expected in ((1, features.turned(2)), (3, features)):
        for told, wanted in zip(found.turned(turns), expected):
            assert torch.equal(told, wanted)


def test_each_map_is_answered_in_its_own_orientation():
    """A network that looks northwards only looks, on turned maps, in the directions that they are turned to."""

    class LooksNorth:
        config = NetworkConfig(trunk=(8,), stream=(8,))

        def __call__(self, class_index, inside, data, n_facies, *, level, features=None, context=None):
            north = torch.nn.functional.pad(class_index, (0, 0, 1, 0), value=-1)[:, :-1]
            return torch.nn.functional.one_hot(north + 1, n_facies + 1)[..., 1:].permute(0, 3, 1, 2).float()

    class_index, inside = torch.randint(0, 3, (4, 6, 8)), torch.ones(4, 6, 8, dtype=torch.bool)
    data = HardData(*(values[:0] for values in on_lattice(some_data())[2]))
    logits = predict(LooksNorth(), class_index, inside, data, 3, level=0, turns=[0, 1, 2, 3])
    seen = torch.where(logits.any(dim=1), logits.argmax(dim=1), -1)
    assert torch.equal(seen[0, 1:], class_index[0, :-1])  # north
    assert torch.equal(seen[1, :, :-1], class_index[1, :, 1:])  # east
    assert torch.equal(seen[2, :-1], class_index[2, 1:])  # south
    assert torch.equal(seen[3, :, 1:], class_index[3, :, :-1])  # west


def test_realizations_have_all_orientations_and_so_has_the_marginal():
    assert [draw_stream(1, index, (8, 8), turns=range(4)).turns for index in range(0, 24, 4)] == [0, 1, 2, 3, 0, 1]
    assert [draw_stream(1, index, (8, 8)).turns for index in range(3)] == [0, 0, 0]
    spacing = 2**2
    offsets = marginal_offsets(2)
    assert len(set(offsets)) == len(offsets)
    for first in range(0, len(offsets), 4):
        same_nodes = {(row % spacing, col % spacing) for row, col in offsets[first : first + 4]}
        assert len(same_nodes) == 1
    batches = marginal_batches(2, 3, (0, 1, 2, 3))
    assert sorted(offset for _, of_batch in batches for offset in of_batch) == sorted(offsets)
    assert {turn for turn, of_batch in batches if offsets[2] in of_batch} == {2}


def test_a_turned_marginal_is_one_of_probabilities_and_keeps_data():
    torch.manual_seed(0)
    network = FaciesNetwork(NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4))
    torch.nn.init.normal_(network.head.weight)
    known = some_data()
    start = Start(known, torch.ones_like(known, dtype=torch.bool), N_FACIES, 1)
    straight, turned = (
        marginal(network.eval(), start, positions_at_once=3, turns=turns) for turns in ((0,), (0, 1, 2, 3))
    )
    assert torch.allclose(turned.sum(dim=0), torch.ones(SHAPE), atol=1e-5)
    row, col = (known >= 0).nonzero(as_tuple=True)
    assert (turned[known[row, col], row, col] == 1).all()
    assert not torch.allclose(straight, turned, atol=1e-3)
    again = marginal(network, start, positions_at_once=8, turns=(0, 1, 2, 3))
    assert torch.allclose(again, turned, atol=1e-5)


@pytest.mark.parametrize(
    ("n_classes", "symmetry", "turns"),
    [
        (0, None, (0, 1, 2, 3)),
        (3, "none", (0,)),
        (3, "half turn", (0, 2)),
        (3, "flips", (0, 2)),
        (3, "rotations", (0, 1, 2, 3)),
        (3, None, (0,)),
    ],
)
def test_a_model_is_shown_maps_as_it_learnt_them(n_classes, symmetry, turns):
    network = FaciesNetwork(NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_classes=n_classes))
    provenance = {"image": {"symmetry": symmetry}} if symmetry else {}
    assert FaciesModel("any", network, provenance=provenance).turns == turns
