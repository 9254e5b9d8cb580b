"""Kriging from neighbours: weights against those of kriging from all data, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import ConditioningError, JobError
from oadg.core.kriging import neighbourhood
from oadg.core.kriging.indicators import Covariance, indicator_kriging
from oadg.core.kriging.neighbourhood import Estimator, probabilities_from_data

from ..conftest import simple_kriging_weights

SPHERICAL = Covariance("spherical", 12.0, 0.1)
EXPONENTIAL = Covariance("exponential", 20.0, 0.0)
SHARES = np.array([0.5, 0.3, 0.2])


def data(shape, n_data):
    """Return hard data (class index, -1 elsewhere) at random cells."""
    known = np.full(shape, -1)
    known.ravel()[np.random.default_rng(0).permutation(known.size)[:n_data]] = np.arange(n_data) % 3
    return known


@given(seed=st.integers(0, 1000), n=st.integers(1, 9), missing=st.integers(0, 4))
def test_simple_weights_are_those_of_kriging_and_missing_neighbours_have_none(seed, n, missing):
    rng = np.random.default_rng(seed)
    places = rng.permutation(np.argwhere(np.ones((6, 6))))[: n + missing].astype(float)
    target = np.array([[2.3, 3.1]])
    there = np.arange(n + missing) < n
    weights = Estimator([SPHERICAL, EXPONENTIAL], np.array([0.4, 0.6])).weights(target, places[None], there[None])
    for k, covariance in enumerate((SPHERICAL, EXPONENTIAL)):
        expected = simple_kriging_weights(covariance, places[:n], target[0])
        assert weights[0, k, :n] == pytest.approx(expected, abs=1e-6)
    assert not weights[0, :, n:].any()


def test_two_data_by_hand():
    """Two data at distances 1 and 2 in a line: Goovaerts 1997, equation 5.10, solved on paper."""
    covariance = Covariance("exponential", 3.0, 0.0)  # exp(-h)
    places, target = np.array([[[0.0, 0.0], [0.0, 3.0]]]), np.array([[0.0, 1.0]])
    weights = Estimator([covariance, covariance], np.array([0.5, 0.5])).weights(target, places, np.ones((1, 2), bool))
    a, b, between = np.exp(-1), np.exp(-2), np.exp(-3)
    expected = [(a - b * between) / (1 - between**2), (b - a * between) / (1 - between**2)]
    assert weights[0, 0] == pytest.approx(expected, abs=1e-6)


def test_ordinary_weights_sum_to_one_and_are_none_without_neighbours():
    rng = np.random.default_rng(0)
    places = rng.random((3, 5, 2)) * 20
    there = np.array([[True] * 5, [True, True, False, False, False], [False] * 5])
    weights = Estimator([SPHERICAL] * 3, SHARES, is_ordinary=True).weights(rng.random((3, 2)) * 20, places, there)
    assert weights.sum(axis=-1)[:2] == pytest.approx(np.ones((2, 3)))
    assert not weights[2].any()
    assert not weights[1, :, 2:].any()


def test_with_all_data_as_neighbours_probabilities_are_those_of_indicator_kriging():
    known = data((15, 18), 14)
    found = probabilities_from_data(known, Estimator([EXPONENTIAL] * 3, SHARES), 20)
    places = np.argwhere(known >= 0).astype(float)
    cells = np.argwhere(known < 0).astype(float)
    expected = indicator_kriging(places, known[known >= 0], cells, [EXPONENTIAL] * 3, 3, proportions=SHARES)
    assert found[:, known < 0] == pytest.approx(expected, abs=1e-4)
    assert (found[:, known >= 0].argmax(axis=0) == known[known >= 0]).all()
    assert found[:, known >= 0].max(axis=0) == pytest.approx(1)


def test_without_data_there_is_nothing_to_krige():
    with pytest.raises(ConditioningError, match="There are no observations, and kriging needs at least one"):
        probabilities_from_data(np.full((5, 5), -1), Estimator([SPHERICAL] * 3, SHARES))


def test_each_facies_has_a_covariance():
    with pytest.raises(JobError, match="There are 2 covariances for 3 facies"):
        Estimator([SPHERICAL] * 2, SHARES)


def test_many_data_take_bounded_memory(monkeypatch):
    known = data((40, 40), 300)
    estimator = Estimator([SPHERICAL] * 3, SHARES)
    whole = probabilities_from_data(known, estimator)
    monkeypatch.setattr(neighbourhood, "PAIRS_AT_ONCE", 1000)
    assert np.array_equal(probabilities_from_data(known, estimator), whole)
