"""
How good facies probabilities are where the facies was found: scores, reliability, and how sure a difference is.

Facies probabilities have the shape (n_facies, n) throughout, class indices the shape (n,).
Sources: Gneiting and Raftery 2007, *Journal of the American Statistical Association* 102 (log loss, Brier score);
Cameron and Miller 2015, *Journal of Human Resources* 50 (intervals of means over clusters); Hahn and Meeker 1991,
*Statistical Intervals*, chapter 4 (intervals of a further value).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Sequence

import numpy as np

from ..contract.errors import JobError

FLOOR = 0.01
"""Smallest probability of a facies in a log loss: what a method may lose at a place where it is quite wrong."""


@dataclass(frozen=True)
class Reliability:
    """
    What was predicted and what was found, over all pairs of a facies and a point, in bins of predicted probability.

    Parameters
    ----------
    predicted : array, shape (n_bins,)
        Mean predicted probability of the pairs in a bin; NaN in an empty one.
    observed : array, shape (n_bins,)
        Share of these pairs where the facies was found; NaN in an empty bin.
    number : int array, shape (n_bins,)
        Pairs in a bin.
    """

    predicted: np.ndarray
    observed: np.ndarray
    number: np.ndarray

    @property
    def error(self) -> float:
        """Mean distance of predicted and observed, weighted with the number of pairs; 0 is perfect."""
        held = self.number > 0
        distance = np.abs(self.predicted - self.observed)[held]
        return float((distance * self.number[held]).sum() / self.number.sum())


@dataclass(frozen=True)
class PairedInterval:
    """
    The mean of paired differences and its confidence interval, in the differences' units.

    Parameters
    ----------
    mean, low, high : float
        Estimate and bounds.
    """

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """-1 when the whole interval lies below 0, 1 when above, else 0: nothing is shown."""
        return int(self.low > 0) - int(self.high < 0)


def floored(probability: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """
    Raise probabilities to a floor and let them sum to 1 again.

    Parameters
    ----------
    probability : array, shape (n_facies, n)
        Facies probabilities.
    floor : float
        Smallest probability of any facies before the division by the sum.

    Returns
    -------
    array, shape (n_facies, n)
    """
    raised = np.maximum(probability, floor)
    return raised / raised.sum(axis=0)


def log_loss_nats(probability: np.ndarray, class_index: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """
    Log loss of the facies found at each point, nats.

    Parameters
    ----------
    probability : array, shape (n_facies, n)
        Facies probabilities; `floored` first.
    class_index : int array, shape (n,)
        What was found.
    floor : float
        Smallest probability of any facies.

    Returns
    -------
    array, shape (n,)

    Raises
    ------
    JobError
        When probabilities and facies do not fit each other, as in all scores.
    """
    check_scored(probability, class_index)
    return -np.log(floored(probability, floor)[class_index, np.arange(len(class_index))])


def brier(probability: np.ndarray, class_index: np.ndarray) -> np.ndarray:
    """
    Brier score at each point: squared differences to 1 for the facies found and to 0 for the others, summed.

    Parameters and errors are those of `log_loss_nats`, without a floor.

    Returns
    -------
    array, shape (n,)
        0 where the facies was certain, 2 where another one was.
    """
    check_scored(probability, class_index)
    return ((probability - _indicator(class_index, len(probability))) ** 2).sum(axis=0)


def accuracy(probability: np.ndarray, class_index: np.ndarray) -> float:
    """
    Return the share of the points where the most probable facies was found; errors as in all scores.

    Of n that are equally probable one counts for the nth part, whatever their order.
    """
    check_scored(probability, class_index)
    is_highest = probability == probability.max(axis=0)
    is_found = is_highest[np.asarray(class_index, dtype=np.int64), np.arange(probability.shape[1])]
    return float((is_found / is_highest.sum(axis=0)).mean())


def confusion_matrix(predicted: np.ndarray, class_index: np.ndarray, n_facies: int) -> np.ndarray:
    """
    Count which facies was predicted where which was found.

    Parameters
    ----------
    predicted : int array, shape (n,), or array, shape (n_facies, n)
        Predicted facies, or probabilities, of which the most probable facies counts.
    class_index : int array, shape (n,)
        What was found.
    n_facies : int
        Number of facies.

    Returns
    -------
    int array, shape (n_facies, n_facies)
        Rows are what was found, columns what was predicted.
    """
    predicted = np.asarray(predicted)
    if predicted.ndim == 2:
        check_scored(predicted, class_index)
        predicted = predicted.argmax(axis=0)
    pair = np.asarray(class_index) * n_facies + predicted
    return np.bincount(pair, minlength=n_facies**2).reshape(n_facies, n_facies)


def reliability(probability: np.ndarray, class_index: np.ndarray, n_bins: int = 10) -> Reliability:
    """
    Compare predicted probabilities with how often the facies was found; parameters as in `brier`.

    Parameters
    ----------
    probability, class_index
        As in `brier`.
    n_bins : int
        Bins of equal width from 0 to 1; a bin holds its lower bound.

    Returns
    -------
    Reliability
        Over all n_facies * n pairs of a facies and a point.
    """
    check_scored(probability, class_index)
    number_of_bin = np.minimum((probability * n_bins).astype(int), n_bins - 1).ravel()
    found = _indicator(class_index, len(probability)).ravel()
    return _reliability_of_sums(
        np.bincount(number_of_bin, probability.ravel(), n_bins),
        np.bincount(number_of_bin, found, n_bins),
        np.bincount(number_of_bin, minlength=n_bins),
    )


def pooled_reliability(parts: Sequence[Reliability]) -> Reliability:
    """Return the reliability of several sets of points taken together; all have the same bins."""
    return _reliability_of_sums(
        np.nansum([part.predicted * part.number for part in parts], axis=0),
        np.nansum([part.observed * part.number for part in parts], axis=0),
        np.sum([part.number for part in parts], axis=0),
    )


def paired_interval(
    difference: np.ndarray, confidence: float = 0.95, *, groups: np.ndarray | None = None
) -> PairedInterval:
    """
    Confidence interval of the mean of paired differences, by Student's t.

    Points that resemble each other, in a fold, a survey or a block of neighbouring cells, do not count as independent:
    with groups, the variance of the mean comes from the sums over groups, and there are as many degrees of freedom as
    groups, less one. Groups of one point each give the ordinary interval.

    Parameters
    ----------
    difference : array, shape (n,)
        Of two methods' losses at the same points, for example.
    confidence : float
        Between 0 and 1.
    groups : array, shape (n,), optional
        What group each point belongs to; any values. By default each point is its own group.

    Raises
    ------
    JobError
        When there are fewer than two groups: there is no interval then.
    """
    difference = np.asarray(difference, dtype=float)
    mean = float(difference.mean()) if difference.size else float("nan")
    centred = difference - mean
    of_groups = centred if groups is None else np.bincount(np.unique(groups, return_inverse=True)[1], centred)
    n_groups = of_groups.size
    if n_groups < 2:
        raise JobError(
            f"The interval of a mean needs at least 2 points or groups of points; there is {n_groups}. "
            "Compare at more points, or in smaller groups."
        )
    error = np.sqrt(n_groups / (n_groups - 1) * (of_groups**2).sum()) / difference.size
    reach = float(t_quantile(0.5 + confidence / 2, n_groups - 1) * error)
    return PairedInterval(mean, mean - reach, mean + reach)


def ratio_interval(
    losses: np.ndarray, reference: np.ndarray, confidence: float = 0.95, *, groups: np.ndarray | None = None
) -> PairedInterval:
    """
    Ratio of mean losses, with its interval: that of the residuals from it, for both means are uncertain.

    The ratio estimator: Cochran 1977, *Sampling Techniques*, section 6.4.

    Parameters
    ----------
    losses, reference : array, shape (n,)
        Of a method, and of what it is compared with: at the same points, or their means on the same surveys.
    confidence : float
        Between 0 and 1.
    groups : array, shape (n,), optional
        As in `paired_interval`.
    """
    losses, reference = np.asarray(losses, dtype=float), np.asarray(reference, dtype=float)
    ratio = float(losses.mean() / reference.mean())
    residuals = paired_interval((losses - ratio * reference) / reference.mean(), confidence, groups=groups)
    return PairedInterval(ratio, ratio + residuals.low, ratio + residuals.high)


def reach_of_another(values: np.ndarray, confidence: float) -> float:
    """
    How far from the mean of some values a further one of the same normal distribution lies at most, by Student's t.

    Parameters
    ----------
    values : array, shape (n,)
        At least two: they are all that is known of the distribution.
    confidence : float
        Between 0 and 1: how often the further value lies within.
    """
    n_values = len(values)
    spread_of_both = np.std(values, ddof=1) * np.sqrt(1 + 1 / n_values)  # of the further value, and of the mean
    return float(t_quantile(0.5 + confidence / 2, n_values - 1) * spread_of_both)


def t_quantile(probability: float, degrees: int) -> float:
    """
    Quantile of Student's t distribution, within 1 % between 0.5 and 0.975, and within 3 % up to 0.999.

    Exact for one and two degrees of freedom, and Abramowitz and Stegun 1964, equation 26.7.5, beyond.

    Parameters
    ----------
    probability : float
        Between 0 and 1.
    degrees : int
        Degrees of freedom, at least 1.
    """
    if degrees == 1:
        return float(np.tan(np.pi * (probability - 0.5)))
    if degrees == 2:
        return float((2 * probability - 1) / np.sqrt(2 * probability * (1 - probability)))
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees ** (power + 1) for power, term in enumerate(terms))


def check_scored(probability: np.ndarray, class_index: np.ndarray) -> None:
    """Raise `JobError` unless there is a probability (n_facies, n) of each facies found (n,)."""
    shape, n_points = np.shape(probability), np.size(class_index)
    if len(shape) != 2 or shape[1] != n_points or n_points == 0:
        raise JobError(
            f"The probabilities have the shape {shape} and there are {n_points} facies; scores need probabilities of "
            "shape (n_facies, n) and n facies, at least one. Check that both are of the same points."
        )
    lowest, highest = int(np.min(class_index)), int(np.max(class_index))
    if lowest < 0 or highest >= shape[0]:
        raise JobError(
            f"The facies have class indices from {lowest} to {highest}; with probabilities of {shape[0]} facies they "
            f"must lie between 0 and {shape[0] - 1}. Leave out the points of facies without a probability."
        )


def _indicator(class_index: np.ndarray, n_facies: int) -> np.ndarray:
    """Return 1.0 for the facies found at each point and 0.0 for the others, (n_facies, n)."""
    return (np.asarray(class_index) == np.arange(n_facies)[:, None]).astype(float)


def _reliability_of_sums(predicted: np.ndarray, observed: np.ndarray, number: np.ndarray) -> Reliability:
    """Divide sums by numbers of pairs; NaN where there is none."""
    divisor = np.where(number > 0, number, np.nan)
    return Reliability(predicted / divisor, observed / divisor, number)
