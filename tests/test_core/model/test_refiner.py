"""Laws of the refiner: it answers where a coarser lattice is known, looks a few nodes around, and sees all data."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.training_image import TrainingImage
from oadg.core.model import prediction, refiner
from oadg.core.model.hard_data import HardData
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.refiner import corners, refiner_radius
from oadg.core.model.schedule import Schedule
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream
from oadg.core.training.image_examples import ImageExamples
from oadg.core.training.loop import examples_nats
from oadg.core.training.warm_start import start_from

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


def refined(network, known, inside, data=NO_DATA, *, before=None, level=0, n_facies=3):
    """Return the refiner's logits of nodes that are known; `before` is what is read once, all of it by default."""
    context = network.context(known if before is None else before, inside, data, n_facies, level=level)
    return network(known, inside, data, n_facies, level=level, context=context)


def test_it_answers_where_a_coarser_lattice_is_known_and_nowhere_else(network):
    known, inside = scene()
    without = FaciesNetwork(replace(CONFIG, refiner=0)).eval().requires_grad_(False)
    without.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("refiner.")})
    assert torch.equal(network(known, inside, NO_DATA, 3), without(known, inside, NO_DATA, 3))
    answer = refined(network, known, inside)
    assert answer.shape == (2, 3, 16, 24)
    assert not torch.allclose(answer, network(known, inside, NO_DATA, 3), atol=1e-2)


@pytest.mark.parametrize(("n_blocks", "n_pass_blocks"), [(1, 1), (4, 1), (2, 3)])
def test_it_looks_as_far_as_it_says(n_blocks, n_pass_blocks):
    """In each pass a few nodes, and in what it reads once as many more as that has blocks."""
    torch.manual_seed(0)
    network = FaciesNetwork(replace(CONFIG, n_refiner_blocks=n_blocks, n_pass_blocks=n_pass_blocks))
    for weights in network.requires_grad_(False).refiner.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    known, inside = torch.full((1, 60, 60), -1), torch.ones(1, 60, 60, dtype=torch.bool)
    changed = known.clone()
    changed[0, 30, 30] = 1
    before = refined(network, known, inside)
    once = refined(network, changed, inside, before=known), refiner_radius(0, n_pass_blocks)
    both = refined(network, changed, inside), refiner_radius(n_blocks, n_pass_blocks)
    for answer, radius in (once, both):
        rows, cols = (answer != before).any(dim=1)[0].nonzero(as_tuple=True)
        assert (rows - 30).abs().max() == (cols - 30).abs().max() == radius
        assert network.config.receptive_radius >= radius


def test_it_sees_data_beside_the_lattice_where_they_lie(network):
    known, inside = scene()
    data = HardData(*(torch.tensor([v]) for v in (1, 2, 5, 7)), torch.tensor([0.2]), torch.tensor([0.3]))
    without = refined(network, known, inside)
    moved = (refined(network, known, inside, data) - without).abs().amax(dim=1)  # (batch, n_rows, n_cols)
    assert moved[0].max() == 0, "the other map has no data"
    assert moved[1, 5, 7] > 1e-3
    other = refined(network, known, inside, data._replace(class_index=torch.tensor([0])))
    there = refined(network, known, inside, data._replace(east=-data.east))
    for changed in (other, there):
        assert not torch.allclose(changed, refined(network, known, inside, data), atol=1e-3)


def every_second_node_unknown(places):
    """Return what is known, and which nodes are not: of each map those of one corner of every square of four."""
    known, inside = scene()
    known = torch.where(inside & (known < 0), 2, known)
    unknown = torch.zeros_like(inside)
    for of_map, (row, col) in zip(unknown, places):
        of_map[row::2, col::2] = True
    known[unknown] = -1
    return known, inside, unknown


@pytest.mark.parametrize("places", [((0, 0), (1, 1)), ((0, 1), (1, 0))])
def test_asked_about_every_second_node_it_says_of_them_what_it_says_when_asked_about_all(network, places, monkeypatch):
    known, inside, unknown = every_second_node_unknown(places)
    few = refined(network, known, inside)
    monkeypatch.setattr(refiner, "_asked_of_four", lambda unknown: None)
    asked, everywhere = unknown[:, None].expand_as(few), refined(network, known, inside)
    assert torch.allclose(few[asked], everywhere[asked], atol=1e-3)  # of logits of some hundreds
    assert (few[~asked] == 0).all()
    assert (everywhere[~asked] != 0).any()


def test_it_learns_from_every_second_node_what_it_learns_when_asked_about_all(network, monkeypatch):
    """All maps of a batch are so by chance, one training in some ten."""
    known, inside, unknown = every_second_node_unknown(((0, 1), (1, 0)))
    learning = copy.deepcopy(network).requires_grad_(True)

    def gradients():
        learning.zero_grad()
        refined(learning, known, inside).permute(0, 2, 3, 1)[unknown].logsumexp(dim=1).sum().backward()
        return torch.cat([weights.grad.ravel() for weights in learning.parameters() if weights.grad is not None])

    few = gradients()
    monkeypatch.setattr(refiner, "_asked_of_four", lambda unknown: None)
    everywhere = gradients()
    assert (few - everywhere).norm() < 1e-4 * everywhere.norm()


def test_it_tells_levels_apart_up_to_the_last(network):
    known, inside = scene()
    fine, coarse, coarsest, beyond = (refined(network, known, inside, level=k) for k in (0, 1, 2, 7))
    assert not torch.allclose(fine, coarse, atol=1e-3)
    assert torch.equal(coarsest, beyond)


@pytest.mark.parametrize("n_refiners", [1, 2, 3])
def test_each_level_may_have_a_refiner_of_its_own_which_starts_as_the_one_of_all(network, n_refiners):
    known, inside = scene()
    apart = FaciesNetwork(replace(CONFIG, n_refiners=n_refiners)).eval().requires_grad_(False)
    start_from(apart, network)
    levels = [0, 1, 2, 7]
    before = [refined(network, known, inside, level=level) for level in levels]
    for level, answer in zip(levels, before):
        assert torch.equal(refined(apart, known, inside, level=level), answer)
    for last in range(n_refiners):
        name = apart.refiner_of(last)
        apart.get_submodule(name).head.bias += 1
        moved = [not torch.equal(refined(apart, known, inside, level=k), b) for k, b in zip(levels, before)]
        assert moved == [min(k, n_refiners - 1) <= last for k in levels]
        assert {key for key in apart.state_dict() if key.startswith(f"{name}.head")} == {
            f"{name}.head.weight",
            f"{name}.head.bias",
        }
    again = FaciesNetwork(replace(CONFIG, n_refiners=3))
    start_from(again, apart)
    assert torch.equal(
        again.get_submodule(again.refiner_of(2)).head.bias, apart.get_submodule(apart.refiner_of(2)).head.bias
    )


@pytest.mark.parametrize("n_facies", [2, 5])
def test_it_starts_from_one_of_other_facies_and_fewer_levels(network, n_facies):
    """Facies that both have are answered alike; of those beyond, each begins as one that the other has."""
    started = FaciesNetwork(replace(CONFIG, n_classes=n_facies, n_levels=5)).eval().requires_grad_(False)
    start_from(started, network)
    known, inside = scene()
    known = torch.where(known == 2, 0, known)
    for level, as_level in ((0, 0), (2, 2), (4, 2)):
        expected = refined(network, known, inside, level=as_level)
        answer = refined(started, known, inside, level=level, n_facies=n_facies)
        assert torch.equal(answer[:, :2], expected[:, :2])
        for facies in range(3, n_facies):
            assert torch.equal(answer[:, facies], expected[:, facies % 3])


class _Recorder:
    """A predictor that knows nothing, and notes what it is asked: level, whether it refines, and where it is known."""

    def __init__(self, config):
        self.config, self.asked = config, []

    def __call__(self, class_index, inside, data, n_facies, *, level, features=None, context=None):
        self.asked.append((level, context is not None, class_index.clone(), context))
        return torch.zeros(len(class_index), n_facies, *class_index.shape[1:])

    def context(self, class_index, inside, data, n_facies, *, level):
        return class_index[:, None].float()


@pytest.mark.parametrize(("refined_above", "level"), [(0, 2), (1, 2), (1, 0), (0, 0)])
def test_the_sampler_asks_it_as_soon_as_its_coarser_lattice_is_known(refined_above, level):
    """Before, the network sees the lattice of its level, and draws of it the nodes of the coarser lattice alone."""
    shape = (120, 136)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    recorder = _Recorder(replace(CONFIG, refined_above=refined_above))
    schedule = replace(Schedule.even((2, 3, 4, 5), 6), corrections=(1, 2))
    streams = [draw_stream(3, index, shape) for index in range(3)]
    maps = sample(recorder, Start(known, inside, 3, level), streams, schedule)
    assert (maps >= 0).all()
    refined = range(level + refined_above, -1, -1)
    expected = [(level, False)] * 6
    expected += [(k, True) for k in refined for _ in range((2, 3, 4, 5)[k] + (1 if k == 0 else 2))]
    assert [asked[:2] for asked in recorder.asked] == expected
    assert schedule.n_passes(level, recorder.config.n_started) == len(expected)
    n_cells = 3 * shape[0] * shape[1]
    for seen, refines, class_index, _ in recorder.asked:
        share = (class_index >= 0).sum() / (n_cells / 4**seen)
        most = 4.0 ** -(1 + refined_above)
        assert share > 0.2 if refines else share < 1.4 * most


def test_what_is_read_once_is_never_drawn_anew():
    """Data and one lattice of four, the next coarser one while the others are drawn; all are drawn anew in the end."""
    shape = (24, 32)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[::5, ::7] = 2
    recorder = _Recorder(CONFIG)
    schedule = replace(Schedule.even((2,), 2), corrections=(60,))
    streams = [draw_stream(4, index, shape) for index in range(2)]
    sample(recorder, Start(known, inside, 3, 0), streams, schedule)
    refined = [(class_index, context[:, 0]) for _, refines, class_index, context in recorder.asked if refines]
    assert len(refined) == 2 + 60
    for class_index, read in refined:
        assert (class_index[read >= 0] == read[read >= 0]).all()
    (_, before), (_, first), (_, later) = refined[0], refined[2 + 56], refined[2 + 57]
    assert torch.equal(before, first), "the first corrections keep what the passes kept"
    assert not torch.equal(before >= 0, later >= 0)
    assert (before >= 0).float().mean() < 0.4
    asked = torch.stack([class_index < 0 for class_index, _ in refined[2:]])
    anew = asked.any(dim=0) & ~asked.all(dim=0)  # what lies beyond the grid is never known
    assert (anew.sum(dim=(1, 2)) == (known < 0).sum()).all(), "all but the data, which lie on nodes here"


def test_in_tiles_it_says_the_same(network, monkeypatch):
    shape = (90, 70)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[::9, ::8] = 2
    schedule = replace(Schedule.even((2,), 4), corrections=(2,))
    told = Start(known, inside, 3, 1), [draw_stream(1, 0, shape)], schedule
    whole = sample(network, *told)
    monkeypatch.setattr(prediction, "_TILE_NODES_TIMES_STREAMS", 9 * 64**2)
    monkeypatch.setattr(prediction, "_TILE_NODES_OF_REFINER", 40**2)
    assert torch.equal(sample(network, *told), whole)


def test_it_shares_no_weights_with_what_answers_elsewhere():
    """The two are judged, and the best weights of each kept, apart."""
    image = TrainingImage((np.arange(90 * 90).reshape(90, 90) // 700 % 3).astype(np.int16), FACIES)
    examples = ImageExamples(image, replace(CONFIG, n_levels=2), seed=1)
    network = FaciesNetwork(CONFIG)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    drawn = [examples(step) for step in range(12)]
    for refines in (True, False):
        network.zero_grad(set_to_none=True)
        sum(examples_nats(network, batch).mean() for batch in drawn if batch.refines == refines).backward()
        learnt = {name for name, weights in network.named_parameters() if weights.grad is not None}
        of_refiner = {name for name, _ in network.named_parameters() if name.startswith("refiner.")}
        assert ("refiner.of_data" in learnt) == refines
        assert ("describe_datum.0.weight" in learnt) != refines
        assert learnt <= of_refiner if refines else not learnt & of_refiner


def test_a_datum_is_told_to_the_nodes_around_it_where_it_lies():
    """Weights of places that a square around each of the four nodes holds; nothing to nodes a whole spacing away."""
    generator = torch.Generator().manual_seed(3)
    n, shape = 40, (9, 11)
    batch = torch.randint(2, (n,), generator=generator)
    row, col = (torch.randint(1, side - 1, (n,), generator=generator) for side in shape)
    south, east = torch.rand(2, n, generator=generator) - 0.5
    south[:5], east[3:9] = 0.0, 0.0
    data = HardData(batch, torch.zeros_like(batch), row, col, south, east)
    centres = torch.linspace(-2 / 3, 2 / 3, 5)
    told = 0.0
    for node, places in corners(data, shape):
        assert (node // 99 == batch).all()
        down, right = row + south - node % 99 // 11, col + east - node % 11
        assert max(down.abs().max(), right.abs().max()) <= 1
        near = (down.abs() < 2 / 3) & (right.abs() < 2 / 3)
        places = places.view(n, 5, 5)
        assert torch.allclose(places[near].sum(dim=(1, 2)), torch.ones(1))
        assert torch.allclose((places.sum(dim=2) @ centres)[near], down[near], atol=1e-6)
        assert torch.allclose((places.sum(dim=1) @ centres)[near], right[near], atol=1e-6)
        assert (places[(down.abs() == 1) | (right.abs() == 1)] == 0).all()
        told = told + (places.sum(dim=(1, 2)) > 0)
    on_axis = (south == 0).int() + (east == 0)
    assert torch.equal(told, torch.tensor([4, 2, 1])[on_axis])
