"""Kriging: the laws of the estimate, its closed forms against brute force, and data that are hard to fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import ConditioningError, JobError
from oadg.core.kriging import indicators
from oadg.core.kriging.indicators import (
    Covariance,
    choose_by_leave_one_out,
    distances,
    fit_class_by_class,
    indicator_kriging,
    leave_one_out,
)
from oadg.core.measures.scores import log_loss_nats

from ..conftest import simple_kriging_weights

EXPONENTIAL = Covariance("exponential", 30.0, 0.0)
ESTIMATORS = [fit_class_by_class, choose_by_leave_one_out]
kinds = st.sampled_from(sorted(indicators.KINDS))


def survey(seed, n=40, n_facies=3):
    rng = np.random.default_rng(seed)
    return 100 * rng.random((n, 2)), rng.integers(0, n_facies, n), 100 * rng.random((25, 2))


def gaussian_field(places, range_, rng):
    """Simulate a standard Gaussian variable with an exponential covariance at places."""
    covariance = np.exp(-3 * distances(places, places) / range_)
    return np.linalg.cholesky(covariance + 1e-9 * np.eye(len(places))) @ rng.standard_normal(len(places))


@pytest.mark.parametrize("kind", indicators.KINDS)
def test_covariance_falls_from_its_structured_share_to_nothing(kind):
    covariance = Covariance(kind, 50.0, 0.2)
    at = covariance(np.array([0.0, 25.0, 50.0, 500.0]))
    assert at[0] == pytest.approx(0.8)
    assert (np.diff(at) <= 0).all()
    assert at[2] <= 0.8 * 0.05
    assert at[3] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "range_", "nugget", "message"),
    [
        ("cubic", 1.0, 0.0, "'cubic' is unknown. Choose one of exponential, spherical, gaussian"),
        ("exponential", 0.0, 0.0, "range is 0; it must be a positive distance"),
        ("exponential", np.inf, 0.0, "range is inf"),
        ("exponential", 1.0, 1.5, "nugget is 1.5; it is a share of the sill"),
    ],
)
def test_covariances_that_cannot_be(kind, range_, nugget, message):
    with pytest.raises(JobError, match=message):
        Covariance(kind, range_, nugget)


def test_weights_of_two_observations_solved_by_hand():
    """C = [[1, a], [a, 1]] and c = (b, c): the weights are (b - a c, c - a b) / (1 - a²)."""
    places, target, facies = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[3.0, 4.0]]), np.array([0, 1])
    covariance = Covariance("exponential", 20.0, 0.2)
    a, b, c = 0.8 * np.exp(-1.5), 0.8 * np.exp(-0.75), 0.8 * np.exp(-0.15 * np.hypot(7, 4))
    first, second = np.array([b - a * c, c - a * b]) / (1 - a**2)
    shares = np.array([0.6, 0.4])
    estimate = indicator_kriging(places, facies, target, (covariance,) * 2, 2, proportions=shares)[:, 0]
    by_hand = shares + first * (np.array([1, 0]) - shares) + second * (np.array([0, 1]) - shares)
    assert estimate == pytest.approx(by_hand, abs=1e-7)


def test_spherical_correlation_by_hand():
    assert Covariance("spherical", 10.0, 0.0)(np.array([5.0, 10.0, 11.0])) == pytest.approx([0.3125, 0, 0])


def test_estimates_are_the_weighted_data(monkeypatch):
    """The dual form, in blocks, equals weights applied target by target."""
    places, facies, targets = survey(0)
    covariances = (EXPONENTIAL, Covariance("spherical", 50.0, 0.3), EXPONENTIAL)
    estimate = []
    for k, covariance in enumerate(covariances):
        indicator = (facies == k).astype(float)
        weights = np.stack([simple_kriging_weights(covariance, places, target) for target in targets])
        estimate.append(indicator.mean() + weights @ (indicator - indicator.mean()))
    expected = np.clip(estimate, 0, 1)
    monkeypatch.setattr(indicators, "_PAIRS_AT_ONCE", 7 * len(places))
    krige = indicator_kriging(places, facies, targets, covariances, 3)
    assert krige == pytest.approx(expected / expected.sum(axis=0), abs=1e-7)


@given(seed=st.integers(0, 99), kind=kinds, reach=st.floats(1, 500), nugget=st.floats(0, 1))
def test_estimates_are_probabilities(seed, kind, reach, nugget):
    places, facies, targets = survey(seed)
    covariances = (Covariance(kind, reach, nugget), EXPONENTIAL, Covariance("gaussian", 60.0, 0.0))
    for probability in (
        indicator_kriging(places, facies, targets, covariances, 3),
        leave_one_out(places, facies, covariances, 3),
    ):
        assert probability.sum(axis=0) == pytest.approx(1)
        assert probability.min() >= 0
        assert probability.max() <= 1


@pytest.mark.parametrize("kind", ["exponential", "spherical"])
def test_exact_at_the_data_without_a_nugget(kind):
    places, facies, _ = survey(2)
    probability = indicator_kriging(places, facies, places, (Covariance(kind, 40.0, 0.0),) * 3, 3)
    assert probability == pytest.approx((facies == np.arange(3)[:, None]).astype(float), abs=1e-5)


def test_proportions_far_from_the_data_and_with_a_full_nugget():
    places, facies, targets = survey(3)
    share = np.bincount(facies) / facies.size
    for target, covariance in ((targets + 1e5, EXPONENTIAL), (targets, Covariance("exponential", 30.0, 1.0))):
        probability = indicator_kriging(places, facies, target, (covariance,) * 3, 3)
        assert probability == pytest.approx(np.repeat(share[:, None], len(target), axis=1))
    known = indicator_kriging(
        places, facies, targets + 1e5, (EXPONENTIAL,) * 3, 3, proportions=np.array([0.2, 0.3, 0.5])
    )
    assert known[:, 0] == pytest.approx([0.2, 0.3, 0.5])


def test_where_nothing_is_left_of_the_estimates_the_proportions_stay():
    corrected = indicators.correct_order_relations(np.array([[-0.2, 0.5], [-0.1, 1.5]]), np.array([0.4, 0.6]))
    assert corrected.T == pytest.approx(np.array([[0.4, 0.6], [1 / 3, 2 / 3]]))


@pytest.mark.parametrize("kind", indicators.KINDS)
@pytest.mark.parametrize("twins", [False, True])
def test_leave_one_out_equals_leaving_one_out(kind, twins):
    places, facies, _ = survey(4)
    if twins:
        places[1], places[2] = places[0], places[0]
    covariances = (Covariance(kind, 40.0, 0.1), Covariance(kind, 25.0, 0.3), Covariance(kind, 40.0, 0.1))
    share = np.bincount(facies) / facies.size
    closed = leave_one_out(places, facies, covariances, 3)
    for left_out in range(len(places)):
        rest = np.arange(len(places)) != left_out
        refitted = indicator_kriging(places[rest], facies[rest], places[[left_out]], covariances, 3, proportions=share)
        assert closed[:, left_out] == pytest.approx(refitted[:, 0], abs=1e-6)


def test_of_many_observations_a_part_chooses(monkeypatch):
    """Which takes no larger matrix, and the choice is that of any such part of a field with a clear range."""
    rng = np.random.default_rng(6)
    places = 100 * rng.random((160, 2))
    facies = (gaussian_field(places, 50.0, rng) > 0).astype(int)
    (expected, _), sizes, eigh = choose_by_leave_one_out(places, facies, 2), [], np.linalg.eigh
    monkeypatch.setattr(indicators, "_MOST_LEFT_OUT", 120)
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: sizes.append(len(matrix)) or eigh(matrix))
    chosen, _ = choose_by_leave_one_out(places, facies, 2)
    assert set(sizes) == {120}
    assert 0.5 < chosen.range / expected.range < 2


def test_the_choice_has_the_lowest_leave_one_out_loss():
    rng = np.random.default_rng(5)
    places = 100 * rng.random((60, 2))
    facies = (gaussian_field(places, 50.0, rng) > 0).astype(int)

    def loss(covariance):
        return log_loss_nats(leave_one_out(places, facies, (covariance,) * 2, 2), facies, 0.01).mean()

    chosen = choose_by_leave_one_out(places, facies, 2)
    assert len(set(chosen)) == 1
    others = [
        Covariance(k, float(r), n)
        for k in indicators.KINDS
        for r in indicators._ranges(places)[::4]
        for n in (0.1, 1.0)
    ]
    assert loss(chosen[0]) <= min(map(loss, others)) + 1e-9
    assert loss(chosen[0]) < loss(Covariance("exponential", 50.0, 1.0)) - 0.1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_range_of_a_simulated_field_is_recovered(estimator):
    """In the median over fields; the indicator of a Gaussian field reaches a little less far than the field."""
    fitted = []
    for seed in range(9):
        rng = np.random.default_rng(seed)
        places = 100 * rng.random((200, 2))
        facies = (gaussian_field(places, 30.0, rng) > 0).astype(int)
        fitted.append(estimator(places, facies, 2)[0].range)
    assert 15 < np.median(fitted) < 45


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_noise_is_recognised(estimator):
    """Independent facies are predicted no worse than by their proportions, but for the price of estimation."""
    rng = np.random.default_rng(6)
    places, facies = 100 * rng.random((300, 2)), rng.integers(0, 2, 300)
    targets, truth = 100 * rng.random((300, 2)), rng.integers(0, 2, 300)
    probability = indicator_kriging(places, facies, targets, estimator(places, facies, 2), 2)
    assert log_loss_nats(probability, truth, 0.01).mean() < np.log(2) + 0.03


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("places", "facies"),
    [
        ([[5.0, 5.0]], [1]),
        ([[0.0, 0.0], [9.0, 0.0]], [0, 1]),
        ([[5.0, 5.0]] * 6, [0, 1, 1, 0, 2, 2]),
        ([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [2.0, 2.0], [2.0, 0.0]], [0, 0, 0, 0, 2]),
        ([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0], [2.0, 2.0], [2.0, 2.0]], [0, 1, 1, 2, 0]),
        ([[float(k), 0.0] for k in range(8)], [0, 0, 1, 1, 1, 1, 1, 1]),
        ([[float(k), 0.0] for k in range(8)], [1] * 8),
    ],
    ids=["one", "two", "one place", "one of a facies", "duplicates", "on a line", "one facies"],
)
def test_data_that_are_hard_to_fit(estimator, places, facies):
    places, facies = np.array(places), np.array(facies)
    probability = indicator_kriging(places, facies, places + 0.3, estimator(places, facies, 3), 3)
    assert np.isfinite(probability).all()
    assert probability.sum(axis=0) == pytest.approx(1)


def test_experimental_variograms_by_hand():
    """On a line of 31 places: fifteen lags up to a third of its length hold one distance each, or none."""
    line = np.column_stack([np.arange(31.0), np.zeros(31)])
    lag, semivariance, n_pairs = indicators._experimental_variograms(line, (np.arange(31) % 2 == 0)[:, None] * 1.0)
    assert lag == pytest.approx(np.arange(1, 11))
    assert n_pairs.tolist() == list(range(30, 20, -1))
    assert semivariance[0] == pytest.approx([0.5, 0] * 5)
    twins = np.concatenate([line, line[:1]])
    assert indicators._experimental_variograms(twins, np.ones((32, 1)))[0][0] == pytest.approx(1), (
        "no pair at no distance"
    )


@pytest.mark.parametrize(("kind", "nugget"), [("exponential", 0.2), ("spherical", 0.0), ("gaussian", 0.3)])
def test_a_variogram_of_a_covariance_is_fitted_by_it_and_lags_without_pairs_do_not_count(kind, nugget):
    lag, ranges = np.array([2.0, 6.0, 12.0, 18.0, 30.0, 50.0]), np.array([10.0, 20.0, 40.0])
    gamma, n_pairs = 1 - Covariance(kind, 20.0, nugget)(lag), np.array([50, 80, 0, 90, 70, 10])
    gamma[2] = 0.01
    fitted = indicators._fit(lag, gamma, n_pairs, ranges)
    assert (fitted.kind, fitted.range, fitted.nugget) == (kind, 20.0, pytest.approx(nugget, abs=1e-9))


def test_a_gaussian_covariance_has_a_nugget_however_smooth_the_data():
    lag = np.linspace(1, 40, 15)
    fitted = indicators._fit(lag, 1 - np.exp(-3 * (lag / 20) ** 2), np.ones(15), np.array([10.0, 20.0, 40.0]))
    assert (fitted.kind, fitted.range, fitted.nugget) == ("gaussian", 20, 0.01)


def test_ranges_reach_from_the_spacing_of_data_to_twice_their_extent():
    ranges = indicators._ranges(np.array([[0.0, 0.0], [0.0, 2.0], [30.0, 0.0], [30.0, 40.0]]))
    assert (ranges[0], ranges[-1]) == pytest.approx((16, 100))  # 2, 2, 30 and 40 to the nearest other
    assert np.diff(np.log(ranges)) == pytest.approx(np.log(100 / 16) / 23)


def test_a_facies_that_does_not_vary_and_one_that_is_rare_noise_have_no_correlation():
    nuggets = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        places = 100 * rng.random((300, 2))
        nuggets.append(fit_class_by_class(places, (rng.random(300) < 0.1).astype(int), 2)[1].nugget)
    assert [of.nugget for of in fit_class_by_class(places, np.zeros(300, dtype=int), 2)] == [1, 1]
    assert np.median(nuggets) > 0.9


def test_twins_without_a_nugget_are_averaged():
    places, facies = np.array([[0.0, 0.0], [0.0, 0.0], [50.0, 0.0]]), np.array([0, 1, 1])
    probability = indicator_kriging(places, facies, places[:1], (EXPONENTIAL,) * 2, 2)
    assert probability[:, 0] == pytest.approx([0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_observations(estimator):
    none = np.empty((0, 2))
    with pytest.raises(ConditioningError, match="There are no observations"):
        estimator(none, np.empty(0, dtype=int), 3)
    with pytest.raises(ConditioningError, match="There are no observations"):
        indicator_kriging(none, np.empty(0, dtype=int), none, (EXPONENTIAL,) * 3, 3)


def test_each_facies_needs_a_covariance():
    places, facies, targets = survey(7)
    with pytest.raises(JobError, match="There are 2 covariances for 3 facies"):
        indicator_kriging(places, facies, targets, (EXPONENTIAL,) * 2, 3)
