"""
The simple methods that a model is measured against, all asked in one way.

A yardstick takes `places` (n, 2), `class_index` (n,), `targets` (m, 2) and `n_facies`, and returns the facies
probabilities (n_facies, m) at the targets. Coordinates are in any one unit, facies are 0 … n_facies - 1, and several
observations may lie at one place. All observations are compared with each other: made for a few thousand at most.
"""

from __future__ import annotations

from typing import Callable, Iterator, Mapping

import numpy as np

from ..contract.errors import ConditioningError
from ..contract.job import NEAREST
from .indicators import choose_by_leave_one_out, distances, fit_class_by_class, indicator_kriging

Yardstick = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]

_N_NEIGHBOURS = 12
_PAIRS_AT_ONCE = 1_000_000


def nearest_observation(places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int) -> np.ndarray:
    """
    Trust the nearest observation as far as it is right at the observations themselves, each left out in turn.

    Parameters
    ----------
    places : array, shape (n, 2)
        Where the observations are.
    class_index : int array, shape (n,)
        Observed facies.
    targets : array, shape (m, 2)
        Where to estimate, in the same units.
    n_facies : int
        Number of facies, at least 2.

    Returns
    -------
    array, shape (n_facies, m)
        What the nearest facies leaves is shared evenly by the others.

    Raises
    ------
    ConditioningError
        When there are no observations, as in every yardstick.
    """
    _check(class_index)
    accuracy = 1 / n_facies
    if len(places) > 1:
        among = distances(places, places)
        np.fill_diagonal(among, np.inf)
        accuracy = float(np.clip((class_index[among.argmin(axis=1)] == class_index).mean(), accuracy, 0.99))
    probability = np.full((n_facies, len(targets)), (1 - accuracy) / (n_facies - 1))
    for block, distance in _towards(places, targets):
        closest = class_index[distance.argmin(axis=0)]
        probability[closest, np.arange(len(targets))[block]] = accuracy
    return probability


def inverse_distance(places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int) -> np.ndarray:
    """
    Weight the 12 nearest observations with their inverse squared distance; parameters as in `nearest_observation`.

    Observations at the target's own place share all the weight.
    """
    _check(class_index)
    count = min(_N_NEIGHBOURS, len(places))
    probability = np.empty((n_facies, len(targets)))
    for block, distance in _towards(places, targets):
        neighbours = np.argpartition(distance, count - 1, axis=0)[:count]  # (count, n_at_once)
        squared = np.take_along_axis(distance, neighbours, axis=0) ** 2
        nearest = squared.min(axis=0)
        # Relative to the nearest one: any number of zeros then weighs 1 each, and the rest nothing.
        weight = np.where(squared > 0, nearest / np.where(squared > 0, squared, 1), 1.0)
        weight /= weight.sum(axis=0)
        for k in range(n_facies):
            probability[k, block] = (weight * (class_index[neighbours] == k)).sum(axis=0)
    return probability


def observed_proportions(places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int) -> np.ndarray:
    """Give every target the shares of the observations; parameters as in `nearest_observation`."""
    _check(class_index)
    share = np.bincount(class_index, minlength=n_facies) / len(class_index)
    return np.repeat(share[:, None], len(targets), axis=1)


def kriging_class_by_class(
    places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int
) -> np.ndarray:
    """Krige each facies' indicator with a variogram fitted to it; parameters as in `nearest_observation`."""
    covariances = fit_class_by_class(places, class_index, n_facies)
    return indicator_kriging(places, class_index, targets, covariances, n_facies)


def kriging_one_covariance(
    places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int
) -> np.ndarray:
    """Krige all indicators with the covariance of the best leave-one-out; parameters as in `nearest_observation`."""
    covariances = choose_by_leave_one_out(places, class_index, n_facies)
    return indicator_kriging(places, class_index, targets, covariances, n_facies)


KRIGING: Mapping[str, Yardstick] = {
    "kriging, class by class": kriging_class_by_class,
    "kriging, one covariance": kriging_one_covariance,
}
"""The two krigings; the better one on a survey is what a model has to beat there."""

YARDSTICKS: Mapping[str, Yardstick] = {
    NEAREST: nearest_observation,
    "inverse distance": inverse_distance,
    "proportions": observed_proportions,
    **KRIGING,
}
"""All yardsticks by their names in tables."""


def better_kriging(losses: Mapping[str, float]) -> str:
    """Return the name of the kriging with the lower loss, of losses by method; others may be among them."""
    return min(KRIGING, key=lambda name: losses[name])


def _towards(places: np.ndarray, targets: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of targets with their distances (n, n_at_once) from all observations."""
    n_at_once = max(1, _PAIRS_AT_ONCE // len(places))
    for start in range(0, len(targets), n_at_once):
        block = slice(start, start + n_at_once)
        yield block, distances(places, targets[block])


def _check(class_index: np.ndarray) -> None:
    """Raise `ConditioningError` when there are no observations."""
    if not len(class_index):
        raise ConditioningError(
            "There are no observations, and an estimate needs at least one. Check the observations."
        )
