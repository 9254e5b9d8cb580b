"""Yardsticks: one way to ask, values by hand, duplicates, and the sizes that they are made for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import ConditioningError
from oadg.core.kriging import yardsticks
from oadg.core.kriging.yardsticks import KRIGING, YARDSTICKS, better_kriging

methods = pytest.mark.parametrize("method", YARDSTICKS.values(), ids=YARDSTICKS)


@methods
@given(seed=st.integers(0, 20), n=st.integers(1, 30), n_facies=st.integers(2, 5))
def test_all_return_probabilities(method, seed, n, n_facies):
    """Whatever the data: few, at one place, of one facies only."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 4, (n, 2)).astype(float)
    probability = method(places, rng.integers(0, n_facies, n), 5 * rng.random((9, 2)), n_facies)
    assert probability.shape == (n_facies, 9)
    assert probability.sum(axis=0) == pytest.approx(1)
    assert probability.min() >= 0


@methods
def test_targets_do_not_know_of_each_other(method, monkeypatch):
    rng = np.random.default_rng(3)
    places, facies, targets = rng.random((30, 2)), rng.integers(0, 3, 30), rng.random((10, 2))
    together = method(places, facies, targets, 3)
    monkeypatch.setattr(yardsticks, "_PAIRS_AT_ONCE", 4 * len(places))
    assert method(places, facies, targets, 3) == pytest.approx(together)
    assert method(places, facies, targets[4:5], 3) == pytest.approx(together[:, 4:5], abs=1e-9)


@methods
def test_renumbered_facies_renumber_the_probabilities(method):
    rng = np.random.default_rng(4)
    places, facies, targets = rng.random((30, 2)), rng.integers(0, 3, 30), rng.random((10, 2))
    order = np.array([2, 0, 1])
    renumbered = method(places, order[facies], targets, 3)
    assert renumbered[order] == pytest.approx(method(places, facies, targets, 3), abs=1e-6)


def test_nearest_observation_by_hand():
    """Left out in turn, two of the four observations are predicted by their nearest: the accuracy is one half."""
    places = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [11.0, 0.0]])
    probability = yardsticks.nearest_observation(places, np.array([0, 0, 1, 2]), np.array([[2.0, 0.0], [9.0, 1.0]]), 3)
    assert probability == pytest.approx(np.array([[0.5, 0.25], [0.25, 0.5], [0.25, 0.25]]))


def test_inverse_distance_by_hand():
    """Squared distances 1 and 4: the weights are 4/5 and 1/5."""
    places, facies = np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([0, 1])
    assert yardsticks.inverse_distance(places, facies, np.array([[1.0, 0.0]]), 2)[:, 0] == pytest.approx([0.8, 0.2])


def test_inverse_distance_asks_twelve_and_trusts_what_lies_at_the_place():
    places = np.array([[float(k), 0.0] for k in range(1, 14)] + [[100.0, 0.0]] * 2)
    facies = np.array([0] * 12 + [1, 0, 1])
    at = np.array([[0.0, 0.0], [100.0, 0.0]])
    assert yardsticks.inverse_distance(places, facies, at, 2).T == pytest.approx(np.array([[1, 0], [0.5, 0.5]]))


def test_proportions_by_hand():
    probability = yardsticks.observed_proportions(np.zeros((4, 2)), np.array([0, 1, 1, 1]), np.ones((2, 2)), 3)
    assert probability.T == pytest.approx(np.array([[0.25, 0.75, 0]] * 2))


def test_the_better_kriging_is_that_of_the_lower_loss():
    first, second = KRIGING
    assert better_kriging({first: 0.4, second: 0.5, "inverse distance": 0.1}) == first
    assert better_kriging({first: 0.6, second: 0.5}) == second


@methods
def test_no_observations(method):
    with pytest.raises(ConditioningError, match="There are no observations, and .* needs at least one. Check the"):
        method(np.empty((0, 2)), np.empty(0, dtype=int), np.zeros((1, 2)), 2)


@pytest.mark.slow
@methods
def test_the_largest_survey(method):
    rng = np.random.default_rng(5)
    places, targets = rng.random((1000, 2)), rng.random((6000, 2))
    probability = method(places, rng.integers(0, 8, 1000), targets, 8)
    assert np.isfinite(probability).all()


def test_the_nearest_observation_is_never_certain():
    """Right at all observations, it leaves a hundredth for places where it may be wrong."""
    places = np.column_stack([np.arange(20.0), np.zeros(20)])
    probability = yardsticks.nearest_observation(places, np.zeros(20, dtype=int), places[:1], 3)
    assert probability[:, 0] == pytest.approx([0.99, 0.005, 0.005])


@pytest.mark.parametrize(("number", "counts"), [(11, True), (12, False)])
def test_the_twelve_nearest_observations_count(number, counts):
    places = np.column_stack([np.arange(1.0, 15.0), np.zeros(14)])
    probability = yardsticks.inverse_distance(places, (np.arange(14) == number).astype(int), np.zeros((1, 2)), 2)
    assert (probability[1, 0] > 0) == counts
