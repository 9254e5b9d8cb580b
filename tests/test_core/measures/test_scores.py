"""Scores: values by hand, properness, calibrated predictors, and intervals that hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import JobError
from oadg.core.measures import scores

# Three points: right and sure, wrong and sure, undecided.
PROBABILITY = np.array([[1.0, 1.0, 0.5], [0.0, 0.0, 0.5]])
FOUND = np.array([0, 1, 1])


def test_floored_by_hand():
    assert scores.floored(np.array([[1.0], [0.0]]), 0.01)[:, 0] == pytest.approx([1 / 1.01, 0.01 / 1.01])
    assert scores.floored(PROBABILITY, 0.0) == pytest.approx(PROBABILITY)


def test_log_loss_by_hand():
    loss = scores.log_loss_nats(PROBABILITY, FOUND, 0.01)
    assert loss == pytest.approx([np.log(1.01), np.log(101), np.log(2)])
    assert (scores.log_loss_nats(PROBABILITY, FOUND) == loss).all(), "a hundredth is the floor by default"


def test_brier_and_accuracy_by_hand():
    assert scores.brier(PROBABILITY, FOUND) == pytest.approx([0, 2, 0.5])
    assert scores.accuracy(PROBABILITY, FOUND) == pytest.approx(1.5 / 3), "of two equals one is right"


def test_confusion_by_hand():
    expected = np.array([[1, 0], [2, 0]])  # rows are what was found
    assert (scores.confusion_matrix(PROBABILITY, FOUND, 2) == expected).all()
    assert (scores.confusion_matrix(np.array([0, 0, 0]), FOUND, 2) == expected).all()
    assert scores.confusion_matrix(PROBABILITY, FOUND, 2).sum() == 3


def test_reliability_by_hand():
    part = scores.reliability(PROBABILITY, FOUND, n_bins=2)
    assert part.number.tolist() == [2, 4]
    assert part.predicted == pytest.approx([0, 0.75])
    assert part.observed == pytest.approx([0.5, 0.5])
    assert part.error == pytest.approx((2 * 0.5 + 4 * 0.25) / 6)


def test_empty_bins_hold_nothing():
    part = scores.reliability(PROBABILITY, FOUND)
    assert part.number[[1, 2, 3]].tolist() == [0, 0, 0]
    assert np.isnan(part.predicted[1])
    assert np.isnan(part.observed[1])
    assert np.isfinite(part.error)


def test_a_bin_holds_its_lower_bound_and_the_last_one_certainty():
    part = scores.reliability(np.array([[0.25, 0.5, 1.0], [0.75, 0.5, 0.0]]), np.array([0, 1, 0]), n_bins=4)
    assert part.number.tolist() == [1, 1, 2, 2]
    part = scores.reliability(np.array([[0.24], [0.76]]), np.array([0]), n_bins=4)
    assert part.number.tolist() == [1, 0, 0, 1]


def test_a_bin_of_a_single_pair_counts_as_one_pair():
    part = scores.Reliability(np.array([0.1, np.nan, 0.5]), np.array([0.0, np.nan, 1.0]), np.array([3, 0, 1]))
    assert part.error == pytest.approx((3 * 0.1 + 1 * 0.5) / 4)


@given(seed=st.integers(0, 99), n_facies=st.integers(2, 6))
def test_scores_are_proper(seed, n_facies):
    """On average over what may be found, no other probabilities score better than the true ones."""
    true, other = np.random.default_rng(seed).dirichlet(np.ones(n_facies), 2).T[:, :, None].transpose(1, 0, 2)
    found = np.arange(n_facies)
    for score in (lambda p, k: scores.log_loss_nats(p, k, 0.0), scores.brier):
        of_true, of_other = (score(np.repeat(p, n_facies, axis=1), found) @ true[:, 0] for p in (true, other))
        assert of_true <= of_other + 1e-12


def test_facies_drawn_from_the_probabilities_are_reliable():
    rng = np.random.default_rng(1)
    probability = rng.dirichlet(np.ones(3), 20_000).T
    found = (rng.random(20_000) > probability.cumsum(axis=0)).sum(axis=0)
    assert scores.reliability(probability, found).error < 0.01
    sharpened = scores.floored(probability**3, 0.0)
    assert scores.reliability(sharpened, found).error > 0.05


def test_pooled_reliability_is_that_of_all_points():
    rng = np.random.default_rng(2)
    probability, found = rng.dirichlet(np.ones(3), 60).T, rng.integers(0, 3, 60)
    parts = [scores.reliability(probability[:, rows], found[rows]) for rows in (slice(20), slice(20, 60))]
    pooled, together = scores.pooled_reliability(parts), scores.reliability(probability, found)
    for name in ("predicted", "observed", "number"):
        assert getattr(pooled, name) == pytest.approx(getattr(together, name), nan_ok=True)


def test_interval_by_hand():
    """Mean 2, standard deviation 1, n 3: the half width is 4.303 / √3."""
    interval = scores.paired_interval(np.array([1.0, 2.0, 3.0]))
    assert (interval.mean, interval.high - 2, 2 - interval.low) == pytest.approx((2, 2.484, 2.484), abs=1e-3)
    assert interval.verdict == 0


def test_twins_in_groups_do_not_count_twice():
    once = np.array([0.3, -0.1, 0.8, 0.4])
    alone = scores.paired_interval(once)
    twins = scores.paired_interval(np.repeat(once, 5), groups=np.repeat(list("abcd"), 5))
    assert (twins.mean, twins.low, twins.high) == pytest.approx((alone.mean, alone.low, alone.high))


def test_a_ratio_is_that_of_means_and_as_sure_as_what_it_leaves_of_each_loss():
    """Three residuals of -3/8, 9/8 and -6/8 from a ratio of 3/2: the half width is 4.303 * 0.992 / √3."""
    losses, reference = np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0, 2.0])
    found = scores.ratio_interval(losses, reference)
    assert (found.mean, found.high - 1.5, 1.5 - found.low) == pytest.approx((1.5, 2.465, 2.465), abs=1e-3)
    twins = scores.ratio_interval(np.repeat(losses, 5), np.repeat(reference, 5), groups=np.repeat(list("abc"), 5))
    assert (twins.mean, twins.low, twins.high) == pytest.approx((found.mean, found.low, found.high))
    twice = scores.ratio_interval(2 * reference, reference)
    assert (twice.mean, twice.low, twice.high) == (2, 2, 2)


@pytest.mark.parametrize(("shift", "verdict"), [(-9.0, -1), (0.0, 0), (9.0, 1)])
def test_verdict(shift, verdict):
    assert scores.paired_interval(np.array([-1.0, 0.0, 1.0]) + shift).verdict == verdict


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(12), 8)
    covered = 0
    for _ in range(1000):
        difference = rng.standard_normal(12)[group] + rng.standard_normal(96)
        interval = scores.paired_interval(difference, groups=group)
        covered += interval.low <= 0 <= interval.high
    assert 0.93 < covered / 1000 < 0.97


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 3, 3.182), (0.975, 10, 2.228), (0.9, 5, 1.476), (0.5, 7, 0.0)],
)
def test_quantiles_of_t_from_tables(probability, degrees, value):
    assert scores.t_quantile(probability, degrees) == pytest.approx(value, rel=0.01, abs=1e-9)


@pytest.mark.parametrize(
    ("degrees", "value"), [(1, 318.309), (2, 22.327), (3, 10.215), (4, 7.173), (7, 4.785), (199, 3.131)]
)
def test_quantiles_of_t_far_out(degrees, value):
    """Least exact with three degrees of freedom."""
    assert scores.t_quantile(0.999, degrees) == pytest.approx(value, rel=0.03 if degrees == 3 else 0.01)


@pytest.mark.parametrize("n_values", [4, 8, 30])
def test_a_further_value_lies_within_reach_as_often_as_it_says(n_values):
    """Three standard deviations of four values, which are known no better, are exceeded in one case of 13."""
    draws = np.random.default_rng(n_values).normal(0.3, 0.01, (20_000, n_values + 1))
    reach = np.array([scores.reach_of_another(values, 0.998) for values in draws[:, 1:]])
    beyond = (np.abs(draws[:, 0] - draws[:, 1:].mean(axis=1)) > reach).mean()
    assert 0.001 < beyond < 0.003


@pytest.mark.parametrize(
    ("probability", "found", "message"),
    [
        (np.ones((2, 3)) / 2, np.array([0, 1]), r"shape \(2, 3\) and there are 2 facies; scores need .* same points"),
        (np.ones(3), np.array([0, 1, 0]), r"shape \(3,\)"),
        (np.ones((2, 0)), np.empty(0, dtype=int), "there are 0 facies; scores need"),
        (np.ones((2, 2)) / 2, np.array([0, 2]), "from 0 to 2; with probabilities of 2 facies they must lie between"),
        (np.ones((2, 2)) / 2, np.array([-1, 0]), "from -1 to 0"),
    ],
)
def test_probabilities_and_facies_that_do_not_fit(probability, found, message):
    for score in (scores.log_loss_nats, scores.brier, scores.accuracy, scores.reliability):
        with pytest.raises(JobError, match=message):
            score(probability, found)


@pytest.mark.parametrize("groups", [None, np.zeros(1)])
def test_an_interval_needs_two(groups):
    with pytest.raises(JobError, match="at least 2 points or groups of points; there is 1. Compare at more points"):
        scores.paired_interval(np.array([1.0]), groups=groups)
