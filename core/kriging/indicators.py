"""
Simple indicator kriging with covariances that the observations give by themselves: the yardstick of the models.

The indicator of a facies is 1 where the facies was observed and 0 elsewhere; its simple kriging estimate, around the
facies' proportion, estimates the facies' probability. The sill p(1-p) of an indicator drops out of the weights, so a
covariance has sill 1 here. All observations take part in each estimate: made for up to a few thousand of them.
Sources: Journel 1983, *Mathematical Geology* 15 (indicator kriging); Goovaerts 1997, *Geostatistics for Natural
Resources Evaluation*, chapters 4, 5 and 7; Dubrule 1983, *Mathematical Geology* 15 (leave-one-out in closed form).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Callable, Iterator, Mapping, Sequence, Tuple

import numpy as np

from ..contract.conditioning import median_spacing
from ..contract.errors import ConditioningError, JobError
from ..measures.scores import log_loss_nats

KINDS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "exponential": lambda ratio: np.exp(-3 * ratio),
    "spherical": lambda ratio: 1 - 1.5 * np.minimum(ratio, 1) + 0.5 * np.minimum(ratio, 1) ** 3,
    "gaussian": lambda ratio: np.exp(-3 * ratio**2),
}
"""Correlation as a function of distance / range; it is 0.05 or less at 1."""

LEAST_NUGGET = {"exponential": 0.0, "spherical": 0.0, "gaussian": 0.01}
"""Share of the sill. A Gaussian one without a nugget gives unstable systems and wild weights."""

_JITTER = 1e-8
"""Added to each observation's variance, so that observations at one place without a nugget are averaged."""

_NUGGETS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
_N_RANGES = 24
_N_LAGS = 15
_MOST_LEFT_OUT = 1000
"""Observations by which a covariance is chosen, a random part of more: the time grows with the third power."""
_PAIRS_AT_ONCE = 2_000_000

_Spectrum = Tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Covariance:
    """
    An isotropic covariance with sill 1.

    The nugget is noise of each observation: two observations at one place have the covariance 1 - nugget, and an
    estimate at an observation's place equals the observation only without a nugget.

    Parameters
    ----------
    kind : {'exponential', 'spherical', 'gaussian'}
        Shape.
    range : float
        Distance at which 5 % (spherical: nothing) is left of the correlation, in units of the coordinates.
    nugget : float
        Share of the sill that has no spatial correlation, 0 to 1.

    Raises
    ------
    JobError
        When the kind is unknown, the range is not positive or the nugget is no share.
    """

    kind: str
    range: float
    nugget: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise JobError(f"The covariance {self.kind!r} is unknown. Choose one of {', '.join(KINDS)}.")
        if not 0 < self.range < np.inf:
            raise JobError(f"The covariance's range is {self.range:g}; it must be a positive distance in CRS units.")
        if not 0 <= self.nugget <= 1:
            raise JobError(f"The covariance's nugget is {self.nugget:g}; it is a share of the sill, from 0 to 1.")

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Return the covariance between different places (or observations) at distances of any shape."""
        return (1 - self.nugget) * KINDS[self.kind](np.asarray(distance) / self.range)


def distances(places: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the distances (..., n, m) between places (..., n, 2) and targets (..., m, 2)."""
    between = places[..., :, None, :] - targets[..., None, :, :]
    return np.hypot(between[..., 0], between[..., 1])


def indicator_kriging(
    places: np.ndarray,
    class_index: np.ndarray,
    targets: np.ndarray,
    covariances: Sequence[Covariance],
    n_facies: int,
    *,
    proportions: np.ndarray | None = None,
) -> np.ndarray:
    """
    Estimate facies probabilities by simple indicator kriging from all observations.

    Parameters
    ----------
    places : array, shape (n, 2)
        Where the observations are.
    class_index : int array, shape (n,)
        Observed facies, 0 … n_facies - 1.
    targets : array, shape (n_targets, 2)
        Where to estimate, in the same units.
    covariances : sequence of Covariance
        One for each facies.
    n_facies : int
        Number of facies.
    proportions : array, shape (n_facies,), optional
        The known means; by default the shares of the observations.

    Returns
    -------
    array, shape (n_facies, n_targets)
        Within [0, 1], and they sum to 1 over the first axis; far from observations, the proportions.

    Raises
    ------
    ConditioningError
        When there are no observations.
    JobError
        When there is not one covariance for each facies.
    """
    indicator, mean = _indicators(class_index, n_facies, proportions)
    estimate = np.empty((n_facies, len(targets)))
    n_at_once = max(1, _PAIRS_AT_ONCE // len(places))
    for covariance, alike in _different(covariances, n_facies):
        # Dual kriging: the system is solved once, for the data instead of for each target.
        dual = np.linalg.solve(_among(covariance, places), (indicator - mean)[:, alike])  # (n, n_alike)
        for start in range(0, len(targets), n_at_once):
            block = slice(start, start + n_at_once)
            towards = covariance(distances(places, targets[block]))  # (n, n_at_once)
            estimate[alike, block] = mean[alike, None] + dual.T @ towards
    return correct_order_relations(estimate, mean)


def leave_one_out(
    places: np.ndarray, class_index: np.ndarray, covariances: Sequence[Covariance], n_facies: int
) -> np.ndarray:
    """
    Estimate facies probabilities at each observation from all others, with the same covariances and proportions.

    The error of the estimate is `(C⁻¹ r)ᵢ / (C⁻¹)ᵢᵢ`, where `r` are the data less their mean (Dubrule 1983).
    Parameters and errors are those of `indicator_kriging`, around the shares of all observations.

    Returns
    -------
    array, shape (n_facies, n)
        Within [0, 1], and they sum to 1 over the first axis.
    """
    indicator, mean = _indicators(class_index, n_facies)
    estimate = np.empty((n_facies, len(places)))
    for covariance, alike in _different(covariances, n_facies):
        correlation = KINDS[covariance.kind](distances(places, places) / covariance.range)
        error = _leave_one_out_error(np.linalg.eigh(correlation), covariance.nugget, (indicator - mean)[:, alike])
        estimate[alike] = (indicator[:, alike] - error).T
    return correct_order_relations(estimate, mean)


def _leave_one_out_error(spectrum: _Spectrum, nugget: float, residual: np.ndarray) -> np.ndarray:
    """Return Dubrule's errors (n, n_variables), from the spectrum of the correlation: one serves every nugget."""
    eigenvalues, eigenvectors = spectrum
    inverse = 1 / ((1 - nugget) * eigenvalues + nugget + _JITTER)
    return (eigenvectors * inverse) @ (eigenvectors.T @ residual) / (eigenvectors**2 @ inverse)[:, None]


def correct_order_relations(estimate: np.ndarray, proportions: np.ndarray) -> np.ndarray:
    """Clip estimates (n_facies, n) to [0, 1] and let them sum to 1; the proportions where nothing is left."""
    clipped = np.clip(estimate, 0, 1)
    total = clipped.sum(axis=0)
    return np.where(total > 0, clipped / np.where(total > 0, total, 1), np.asarray(proportions)[:, None])


def choose_by_leave_one_out(
    places: np.ndarray,
    class_index: np.ndarray,
    n_facies: int,
    *,
    on_part: Callable[[], None] = lambda: None,
) -> tuple[Covariance, ...]:
    """
    Choose one covariance for all facies: the one whose leave-one-out log loss is lowest.

    All kinds are tried, with ranges from the observations' spacing to twice the size of their extent. Without any
    correlation between observations (a nugget of 1), the estimate is the proportions. Of more than a thousand
    observations a random part is looked at, always the same.

    Parameters
    ----------
    places : array, shape (n, 2)
        Where the observations are.
    class_index : int array, shape (n,)
        Observed facies, 0 … n_facies - 1.
    n_facies : int
        Number of facies.
    on_part : callable
        Called before each kind and range; what it raises ends the choice.

    Returns
    -------
    tuple of Covariance
        The same for each facies.

    Raises
    ------
    ConditioningError
        When there are no observations.
    """
    if len(places) > _MOST_LEFT_OUT:
        chosen = np.random.default_rng(0).permutation(len(places))[:_MOST_LEFT_OUT]
        places, class_index = places[chosen], class_index[chosen]
    indicator, mean = _indicators(class_index, n_facies)
    between = distances(places, places)
    best, least = Covariance("exponential", 1.0, 1.0), np.inf
    for kind, distance in product(KINDS, _ranges(places)):
        on_part()
        spectrum = np.linalg.eigh(KINDS[kind](between / distance))
        for nugget in (n for n in _NUGGETS if n >= LEAST_NUGGET[kind]):
            estimate = indicator - _leave_one_out_error(spectrum, nugget, indicator - mean)
            loss = log_loss_nats(correct_order_relations(estimate.T, mean), class_index).mean()
            if loss < least:
                best, least = Covariance(kind, float(distance), nugget), loss
    return (best,) * n_facies


def fit_class_by_class(places: np.ndarray, class_index: np.ndarray, n_facies: int) -> tuple[Covariance, ...]:
    """
    Fit a covariance to each facies' experimental indicator variogram, by least squares weighted with numbers of pairs.

    The variogram has 15 lags up to a third of the extent's diagonal, and the sill is the indicator's variance. A facies
    without a variogram (all observations show it or none does, or none lie near each other) gets a nugget of 1.
    Parameters and errors are those of `choose_by_leave_one_out`.

    Returns
    -------
    tuple of Covariance
        One for each facies.
    """
    indicator, mean = _indicators(class_index, n_facies)
    lag, semivariance, n_pairs = _experimental_variograms(places, indicator)
    variance = np.maximum(mean * (1 - mean), 1e-12)
    return tuple(_fit(lag, gamma, n_pairs, _ranges(places)) for gamma in semivariance / variance[:, None])


def _experimental_variograms(places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean distance (n_lags,), semivariance (n_variables, n_lags) and number of pairs of the lags with pairs."""
    first, second = np.triu_indices(len(places), 1)
    distance = np.hypot(*(places[first] - places[second]).T)
    longest = float(np.hypot(*np.ptp(places, axis=0))) / 3 or 1.0
    near = (distance > 0) & (distance <= longest)
    first, second, distance = first[near], second[near], distance[near]
    number = np.minimum((distance / longest * _N_LAGS).astype(int), _N_LAGS - 1)
    n_pairs = np.bincount(number, minlength=_N_LAGS)
    used = n_pairs > 0

    def mean(of_pairs: np.ndarray) -> np.ndarray:
        return np.bincount(number, of_pairs, _N_LAGS)[used] / n_pairs[used]

    semivariance = np.stack([mean(0.5 * (v[first] - v[second]) ** 2) for v in values.T])
    return mean(distance), semivariance, n_pairs[used]


def _fit(lag: np.ndarray, semivariance: np.ndarray, n_pairs: np.ndarray, ranges: np.ndarray) -> Covariance:
    """Return the covariance of sill 1 whose variogram is nearest to an experimental one."""
    best, least = Covariance("exponential", float(ranges[0]), 1.0), np.inf
    if not semivariance.any():
        return best
    for kind, distance in product(KINDS, ranges):
        # The model is 1 - (1 - nugget) correlation: linear in the nugget, whose best value is explicit.
        correlation = KINDS[kind](lag / distance)
        structured = (n_pairs * correlation * (1 - semivariance)).sum() / max((n_pairs * correlation**2).sum(), 1e-12)
        nugget = float(np.clip(1 - structured, LEAST_NUGGET[kind], 1))
        misfit = float((n_pairs * (1 - (1 - nugget) * correlation - semivariance) ** 2).sum())
        if misfit < least:
            best, least = Covariance(kind, float(distance), nugget), misfit
    return best


def _ranges(places: np.ndarray) -> np.ndarray:
    """Return the ranges to try: from the median spacing to twice the diagonal of the extent, geometric."""
    diagonal = float(np.hypot(*np.ptp(places, axis=0))) or 1.0
    shortest = median_spacing(places[:, 0], places[:, 1]) or diagonal
    return np.geomspace(shortest, 2 * diagonal, _N_RANGES)


def _among(covariance: Covariance, places: np.ndarray) -> np.ndarray:
    """Return the covariance matrix (n, n) of observations."""
    return covariance(distances(places, places)) + (covariance.nugget + _JITTER) * np.eye(len(places))


def _indicators(
    class_index: np.ndarray, n_facies: int, proportions: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indicators (n, n_facies) and their means (n_facies,): the proportions, or else their shares."""
    if not len(class_index):
        raise ConditioningError("There are no observations, and kriging needs at least one. Check the observations.")
    indicator = (np.asarray(class_index)[:, None] == np.arange(n_facies)).astype(float)
    return indicator, indicator.mean(axis=0) if proportions is None else np.asarray(proportions, dtype=float)


def _different(covariances: Sequence[Covariance], n_facies: int) -> Iterator[tuple[Covariance, list[int]]]:
    """Yield each different covariance with the class indices of the facies that share it."""
    if len(covariances) != n_facies:
        raise JobError(f"There are {len(covariances)} covariances for {n_facies} facies; each facies needs one.")
    for covariance in dict.fromkeys(covariances):
        yield covariance, [k for k, other in enumerate(covariances) if other == covariance]
