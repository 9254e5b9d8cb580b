"""On which lattice probabilities given data are asked is measured on surveys of the held-out block."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import Cancelled
from oadg.core.contract.training_image import image_of_codes
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.training import asking
from oadg.core.training.asking import measure_expected_share, measure_marginal_level

CONFIG = NetworkConfig(
    trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1, n_levels=3, n_classes=2, refiner=8
)
IMAGE = image_of_codes(
    np.random.default_rng(4).integers(2, size=(300, 320)), np.add.outer(np.arange(300), np.arange(320)) > 40
)


@pytest.fixture
def model():
    return FaciesModel("stripes", FaciesNetwork(CONFIG).eval().requires_grad_(False))


def answer(certainty):
    """Return probabilities of the truth, the block being as large as a window, as certain as levels are."""

    def ask(model, known, n_facies, *, on_pass):
        on_pass()
        right = certainty[model.marginal_level]
        return np.stack([np.where(IMAGE.held_out == facies, right, 1 - right) for facies in range(2)])

    return ask


@pytest.mark.parametrize(
    ("certainty", "level"),
    [
        ({2: 0.8, 1: 0.7, 0: 0.9}, None),  # the next finer one is worse
        ({2: 0.7, 1: 0.8, 0: 0.75}, 1),
        ({2: 0.7, 1: 0.8, 0: 0.9}, 0),
        ({2: 0.7, 1: 0.7, 0: 0.9}, None),
    ],
)
def test_the_lattice_is_as_fine_as_it_gets_better(model, monkeypatch, certainty, level):
    monkeypatch.setattr(asking, "facies_probability_from_data", answer(certainty))
    assert measure_marginal_level(model, IMAGE, seed=1) == level


@pytest.mark.parametrize(
    ("certainties", "level"),
    [
        ((0.9, 0.55), None),  # better in half of the surveys, and worse in the others
        ((0.9, 0.72), 1),  # better in all of them, though by more in some than in others
    ],
)
def test_a_finer_lattice_is_better_by_two_standard_errors_over_surveys(model, monkeypatch, certainties, level):
    asked = []

    def ask(model, *told, **how):
        asked.append(model.marginal_level)
        return answer({2: 0.7, 1: certainties[len(asked) % 2], 0: 0.6})(model, *told, **how)

    monkeypatch.setattr(asking, "facies_probability_from_data", ask)
    assert measure_marginal_level(model, IMAGE, seed=1) == level


def test_what_is_told_of_data_themselves_is_no_gain(model, monkeypatch):
    def ask(model, known, n_facies, *, on_pass):
        hidden = answer({2: 0.7, 1: 0.7, 0: 0.7})(model, known, n_facies, on_pass=on_pass)
        return np.where(known.numpy() >= 0, 0.5, hidden) if model.marginal_level == 2 else hidden

    monkeypatch.setattr(asking, "facies_probability_from_data", ask)
    assert measure_marginal_level(model, IMAGE, seed=1) is None


def test_a_single_survey_proves_nothing(model, monkeypatch):
    monkeypatch.setattr(asking, "_N_SURVEYS", 1)
    monkeypatch.setattr(asking, "facies_probability_from_data", answer({2: 0.7, 1: 0.8, 0: 0.9}))
    assert measure_marginal_level(model, IMAGE, seed=1) is None


def test_of_one_level_there_is_no_finer_one(model):
    alone = replace(model, network=FaciesNetwork(replace(CONFIG, n_levels=1)).eval().requires_grad_(False))
    assert measure_marginal_level(alone, IMAGE, seed=1) is None


def answer_by_share(at_once, expected):
    """Return probabilities of the truth, as certain as either way of asking is, by the number of the survey."""
    asked = []

    def ask(model, known, n_facies, *, on_pass):
        asked.append(model.expected_share)
        right = (expected if model.expected_share else at_once)(len(asked))
        return np.stack([np.where(IMAGE.held_out == facies, right, 1 - right) for facies in range(2)])

    return ask


@pytest.mark.parametrize(
    ("at_once", "expected", "share"),
    [
        (lambda _: 0.6, lambda _: 0.9, 1.0),
        (lambda _: 0.9, lambda _: 0.6, 0.0),
        (lambda _: 0.6, lambda n: (0.9, 0.3)[n % 2], 0.0),  # better in half of the surveys, and worse in the others
        (lambda n: (0.9, 0.01)[n % 2], lambda n: (0.01, 0.9)[n % 2], 0.5),  # what either misses the other knows
    ],
)
def test_the_expectation_has_a_share_where_that_is_better(model, monkeypatch, at_once, expected, share):
    monkeypatch.setattr(asking, "facies_probability_from_data", answer_by_share(at_once, expected))
    monkeypatch.setattr(asking, "_N_SIMULATED", 12)
    assert measure_expected_share(model, IMAGE, seed=1) == share


def test_a_simulation_of_few_legs_has_no_expectation(model, monkeypatch):
    monkeypatch.setattr(asking, "facies_probability_from_data", answer_by_share(lambda _: 0.6, lambda _: 0.9))
    alone = replace(model, network=FaciesNetwork(replace(CONFIG, n_levels=1)).eval().requires_grad_(False))
    assert measure_expected_share(alone, IMAGE, seed=1) == 0
    monkeypatch.setattr(asking, "_N_SURVEYS", 1)
    assert measure_expected_share(model, IMAGE, seed=1) == 0


def test_a_network_goes_through_it_and_it_can_be_cancelled(model):
    torch.manual_seed(0)
    assert measure_marginal_level(model, IMAGE, seed=2) in (None, 0, 1)

    def cancel():
        raise Cancelled("The training was cancelled.")

    with pytest.raises(Cancelled):
        measure_marginal_level(model, IMAGE, seed=2, on_pass=cancel)
