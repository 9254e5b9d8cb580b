"""The comparison: numbers by hand, and a verdict that never says more than the intervals."""

import re

import numpy as np
import pytest

from oadg.core.contract.job import MODEL, NEAREST
from oadg.core.evaluation.comparison import Comparison
from oadg.core.kriging.yardsticks import KRIGING

FIRST, SECOND = KRIGING
FOUND = np.tile([0, 1], 20)
FOLD = np.repeat(np.arange(10), 4)


def giving(right):
    """Return probabilities (2, 40) that give as much to the facies that was found."""
    right = np.broadcast_to(right, FOUND.shape)
    return np.where(FOUND == np.arange(2)[:, None], right, 1 - right)


def compare(model, first=0.5, second=0.4, nearest=0.3):
    given = {MODEL: model, FIRST: first, SECOND: second, NEAREST: nearest}
    return Comparison({name: giving(right) for name, right in given.items()}, FOUND, FOLD)


def test_scores_by_hand():
    scores = compare(0.8).scores
    assert scores[MODEL]["log_loss"] == pytest.approx(-np.log(0.8))
    assert scores[MODEL]["brier"] == pytest.approx(2 * 0.2**2)
    assert [scores[name]["accuracy"] for name in (MODEL, SECOND)] == [1, 0]


def test_the_kriging_that_counts_is_the_better_one_here():
    assert compare(0.8, first=0.5, second=0.4).kriging == FIRST
    assert compare(0.8, first=0.4, second=0.5).kriging == SECOND


def test_gains_by_hand():
    gain = compare(0.8).gains[FIRST]
    expected = 100 * (np.log(0.8) - np.log(0.5)) / -np.log(0.5)
    assert (gain.mean, gain.low, gain.high) == pytest.approx((expected,) * 3)
    assert MODEL not in compare(0.8).gains


def test_the_interval_of_a_gain_knows_that_both_losses_are_uncertain():
    """Losses in one ratio everywhere leave no doubt about it, however they vary."""
    kriging = np.random.default_rng(1).uniform(0.2, 0.9, FOUND.size)
    gain = compare(kriging**0.5, first=kriging).gains[FIRST]
    assert (gain.low, gain.mean, gain.high) == pytest.approx((50, 50, 50))


def test_no_gain_is_beyond_100_percent():
    gain = compare(np.full(len(FOLD), 0.99), first=np.where(FOLD == 0, 1e-6, 0.98)).gains[FIRST]
    assert gain.low < gain.mean < gain.high == 100


def test_observations_of_a_fold_do_not_count_as_many():
    """Forty observations in ten folds that each speak with one voice: the interval is that of ten."""
    model = np.where(FOLD % 2 == 0, 0.7, 0.45)
    of_folds, of_points = (
        Comparison({MODEL: giving(model), FIRST: giving(0.5), SECOND: giving(0.4)}, FOUND, fold).gains[FIRST]
        for fold in (FOLD, np.arange(40))
    )
    assert of_folds.mean == pytest.approx(of_points.mean)
    assert of_folds.high - of_folds.low > 1.9 * (of_points.high - of_points.low)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (0.6, r"^Here the model is better than kriging: its log loss is 26\.3 % lower than that of the better kriging"),
        (0.45, r"^Here the model is worse than kriging: its log loss is 15\.2 % higher .* Prefer kriging here\."),
        (np.where(FOLD % 2 == 0, 0.7, 0.4), r"^Here the model is not shown to differ from kriging: its log loss is "),
    ],
)
def test_the_verdict_says_what_the_interval_says(model, words):
    verdict = compare(model).verdict
    assert re.search(words, verdict), verdict
    assert verdict.endswith(f"It is better than {NEAREST}.")


def test_the_verdict_tells_simpler_methods_apart():
    both = {MODEL: 0.5, FIRST: 0.5, SECOND: 0.4, NEAREST: 0.6, "inverse distance": 0.3, "proportions": 0.5}
    verdict = Comparison({name: giving(right) for name, right in both.items()}, FOUND, FOLD).verdict
    assert verdict.endswith(
        "It is better than inverse distance, not shown to differ from proportions, worse than nearest observation."
    )


def test_observations_that_everyone_is_sure_of_are_told_to_say_little():
    assert "nearly sure and right" in compare(0.985, first=0.98).verdict
    assert "nearly sure and right" not in compare(0.985, first=0.9).verdict
    sure = np.where(np.arange(12)[:, None] == FOUND, 1.0, 0.0)  # costs more where the floor raises more facies
    assert "nearly sure and right" in Comparison({MODEL: sure, FIRST: sure, SECOND: sure}, FOUND, FOLD).verdict
