"""The facies probabilities as the mean over coarse lattices that are simulated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import Cancelled
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import Schedule
from oadg.core.sampling import expectation
from oadg.core.sampling.expectation import can_be_expected, expected, n_passes_of_expected
from oadg.core.sampling.marginal import interpolate
from oadg.core.sampling.probability import Question, facies_probability_from_data
from oadg.core.sampling.start import Start

CONFIG = NetworkConfig(
    trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1, n_levels=3, n_classes=2, refiner=8, refined_above=1
)
SCHEDULE = Schedule(((1.0,), (0.5, 1.0), (0.3, 0.6, 1.0)), (0.5, 1.0), (1, 2, 3))


@pytest.fixture
def model():
    torch.manual_seed(1)
    network = FaciesNetwork(CONFIG).eval().requires_grad_(False)
    for head in (network.head, network.refiner.head):
        torch.nn.init.normal_(head.weight, std=0.5)
    facies = FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566")))
    return FaciesModel("tiny", network, facies, 2, schedules={"preview": SCHEDULE}, expected_share=1.0)


def some_data(shape, n):
    rng = np.random.default_rng(n)
    known = torch.full(shape, -1)
    cells = rng.choice(known.numel(), n, replace=False)
    known.view(-1)[torch.as_tensor(cells)] = torch.as_tensor(rng.integers(2, size=n))
    return known


class Certain:
    """A predictor that is certain of one facies."""

    def __init__(self, config, truth):
        self.config, self.truth = config, truth

    def context(self, class_index, inside, data, n_facies, *, level):
        return class_index[:, None].float()

    def __call__(self, class_index, inside, data, n_facies, *, level, features=None, context=None):
        logits = torch.tensor([20.0, -20.0] if self.truth == 0 else [-20.0, 20.0])[None, :, None, None]
        return logits.expand(len(class_index), 2, *class_index.shape[1:])


def test_what_all_maps_agree_in_is_certain_everywhere():
    start = Start(some_data((50, 61), 0), torch.ones(50, 61, dtype=torch.bool), 2, 2)
    for truth in (0, 1):
        found = expected(Certain(CONFIG, truth), start, SCHEDULE)
        assert found.shape == (2, 50, 61)
        assert torch.allclose(found[truth], torch.ones(50, 61), atol=1e-6)


def test_probabilities_sum_to_one_whatever_the_orientation(model):
    start = Start.of(model, some_data((50, 61), 12), 2)
    for turns in ((0,), (0, 1, 2, 3)):
        found = expected(model.network, start, SCHEDULE, turns=turns)
        assert torch.allclose(found.sum(dim=0), torch.ones(50, 61), atol=1e-5)
        assert 0 <= found.min() < found.max() <= 1


def test_a_small_grid_is_the_middle_of_a_wide_one(model):
    known = some_data((20, 30), 6)
    start = Start.of(model, known, 2)
    assert start.shape == (96, 96)
    found = expected(model.network, start, SCHEDULE)
    all_of_it = expected(model.network, replace(start, asked=None), SCHEDULE)
    assert torch.equal(found, all_of_it[:, start.wanted[0], start.wanted[1]])


def test_it_nears_the_frequencies_of_nodes_that_are_drawn(model, monkeypatch):
    """What is asked on the next lattice is the mean of what would be drawn there, in one pass."""
    known = some_data((60, 64), 10)
    start = Start(known, torch.ones_like(known, dtype=torch.bool), 2, 1)
    at_once = replace(SCHEDULE, refined=((1.0,),), corrections=(0,))
    monkeypatch.setattr(expectation, "_MOST_LATTICES", 64)
    found = expected(model.network, start, at_once).numpy()
    drawn = []
    for seed in range(4):
        streams = [expectation.draw_stream(seed, number, start.shape) for number in range(64)]
        drawn.append(expectation.sample(model.network, start, streams, at_once, until=0).numpy())
    frequency = np.concatenate(drawn).mean(axis=0)
    hidden = (known < 0).numpy()
    error = (found[1] - frequency)[hidden]
    assert np.sqrt((error**2).mean()) < 1.2 * np.sqrt(0.25 / 64 + 0.25 / 256)
    assert abs(error.mean()) < 0.02


def test_passes_are_counted_and_any_of_them_can_end_it(model, monkeypatch):
    monkeypatch.setattr(expectation, "batch_size", lambda *_: 5)
    start, done = Start.of(model, some_data((50, 61), 12), 2), []
    expected(model.network, start, SCHEDULE, on_pass=lambda: done.append(1))
    assert len(done) == n_passes_of_expected(start, CONFIG.n_started, SCHEDULE) == 5 * (2 + 3 + 3 + 1)

    def cancel():
        raise Cancelled("The run was cancelled.")

    with pytest.raises(Cancelled):
        expected(model.network, start, SCHEDULE, on_pass=cancel)


def test_there_have_to_be_legs_enough(model):
    assert can_be_expected(2, 0)
    assert not can_be_expected(1, 0)
    assert can_be_expected(1, 1)
    assert not can_be_expected(0, 1)


def test_large_grids_have_fewer_lattices(model):
    def n_of(side):
        known = torch.full((side, side), -1)
        return expectation._n_lattices(Start(known, known < 0, 2, 2))

    assert [n_of(side) for side in (100, 500, 700, 1000, 2000)] == [24, 24, 12, 12, 12]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_layer_has_its_share_of_both_and_is_certain_at_data(model, share):
    known = some_data((50, 61), 12)
    model = replace(model, expected_share=share)
    question = Question.of(model, known, 2)
    done = []
    found = question.answer(lambda: done.append(1))
    assert len(done) == question.n_passes
    at_once, mean = (facies_probability_from_data(replace(model, expected_share=part), known, 2) for part in (0.0, 1.0))
    assert np.allclose(found, (1 - share) * at_once + share * mean, atol=1e-6)
    assert not np.allclose(at_once, mean, atol=0.01)
    row, col = np.nonzero(known.numpy() >= 0)
    assert (found[known.numpy()[row, col], row, col] == 1).all()
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)


def test_without_data_there_is_nothing_to_average_over(model):
    assert Question.of(model, some_data((50, 61), 0), 2).drawn_from is None


def test_values_between_places_are_interpolated_from_where_the_first_one_lies():
    values = torch.tensor([[[0.0, 3.0], [6.0, 9.0]]])
    found = interpolate(values, 3, (5, 6), first=(1, 2))
    assert found[0, :, 2].tolist() == [0, 0, 2, 4, 6]
    assert found[0, 1].tolist() == [0, 0, 0, 1, 2, 3]
