"""
Covariance models fitted to the variogram of a training image, for indicators and for a Gaussian field behind them.

A covariance has sill 1 and one range along each axis of the grid (geometric anisotropy). The indicators of all facies
share one: their variograms are added up and divided by the sum of their sills.
Sources: Goovaerts 1997, *Geostatistics for Natural Resources Evaluation*, chapter 4; Armstrong et al. 2011,
*Plurigaussian Simulations in Geosciences*, chapter 4 (from the Gaussian covariance to that of the indicators).
"""

from __future__ import annotations

from itertools import product
from statistics import NormalDist
from typing import Callable, Mapping, NamedTuple

import numpy as np

CORRELATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "exponential": lambda ratio: np.exp(-3 * ratio),
    "spherical": lambda ratio: 1 - 1.5 * np.minimum(ratio, 1) + 0.5 * np.minimum(ratio, 1) ** 3,
    "gaussian": lambda ratio: np.exp(-3 * ratio**2),
}
"""Correlation as a function of distance / range, as `oadg.core.kriging.indicators`, geone and gstlearn have them."""

_N_RANGES = 48
_N_CORRELATIONS = 512
_LEAST_NUGGET = {"exponential": 0.0, "spherical": 0.0, "gaussian": 0.01}
"""A Gaussian covariance without a nugget gives unstable systems."""


class FittedCovariance(NamedTuple):
    """Kind, ranges (from row to row, along a row; cells), nugget (a share of the sill) and root mean square misfit."""

    kind: str
    ranges: tuple[float, float]
    nugget: float
    misfit: float


def fit_indicator_covariance(lags: np.ndarray, variogram: np.ndarray) -> FittedCovariance:
    """
    Fit the covariance of indicators by least squares.

    Parameters
    ----------
    lags : array, shape (n_lags,)
        Cells apart.
    variogram : array, shape (2, n_lags)
        Divided by its sill; from row to row, and along a row.
    """
    # Continued from the first two lags to 0, the variogram shows how much nugget there can be: none in a clean image.
    slope = (variogram[:, 1] - variogram[:, 0]) / (lags[1] - lags[0])
    most = float(np.clip(variogram[:, 0] - slope * lags[0], 0, 1).min())

    def model(correlation: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
        # The model is 1 - (1 - nugget) correlation: linear in the nugget, whose best value is explicit.
        structured = (correlation * (1 - variogram)).sum() / max(1e-12, (correlation**2).sum())
        nugget = float(np.clip(1 - structured, _LEAST_NUGGET[kind], max(most, _LEAST_NUGGET[kind])))
        return 1 - (1 - nugget) * correlation, nugget

    return _best(lags, variogram, model)


def fit_gaussian_field(lags: np.ndarray, variogram: np.ndarray, proportions: np.ndarray) -> FittedCovariance:
    """
    Fit the covariance of the Gaussian field whose truncation, facies after facies, has the indicators' variogram.

    Parameters
    ----------
    lags, variogram
        As `fit_indicator_covariance` takes them.
    proportions : array, shape (n_facies,)
        Of the facies, which follow each other in the order of their class indices.
    """
    correlation_of_field, correlation_of_indicators = truncated_correlation(proportions)

    def model(correlation: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
        return 1 - np.interp(correlation, correlation_of_field, correlation_of_indicators), 0.0

    return _best(lags, variogram, model)


def truncated_correlation(proportions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the correlation of indicators as a function of that of the Gaussian field that they truncate.

    The probability that two Gaussian variables both lie below the thresholds s and t grows with their correlation as
    fast as their joint density at (s, t), so the covariance of the indicators is an integral of densities.

    Parameters
    ----------
    proportions : array, shape (n_facies,)
        Of the facies, in their order along the field.

    Returns
    -------
    (array, array), each of shape (512,)
        Correlations from 0 to 1, of the field and of the indicators together.
    """
    bounds = [NormalDist().inv_cdf(p) for p in np.cumsum(proportions)[:-1] if 0 < p < 1]
    angle = np.linspace(0, np.pi / 2, _N_CORRELATIONS)  # of correlation sin(angle): the density has no pole then
    slope = np.zeros(angle.size)
    for lower, upper in zip([None, *bounds], [*bounds, None]):
        for s, t, sign in ((lower, lower, 1), (upper, upper, 1), (lower, upper, -2)):
            if s is not None and t is not None:
                slope += sign * _density_times_cosine(s, t, angle)
    covariance = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(angle))])
    return np.sin(angle), covariance / covariance[-1]


def _density_times_cosine(s: float, t: float, angle: np.ndarray) -> np.ndarray:
    """Return the joint density at (s, t) of Gaussian variables of correlation sin(angle), times cos(angle)."""
    r = np.sin(angle)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = (s * s - 2 * r * s * t + t * t) / (2 * (1 - r * r))
    at_one = s * s / 2 if s == t else np.inf
    return np.exp(-np.where(r < 1, exponent, at_one)) / (2 * np.pi)


def _best(
    lags: np.ndarray, variogram: np.ndarray, model: Callable[[np.ndarray, str], tuple[np.ndarray, float]]
) -> FittedCovariance:
    """Return the kind and ranges whose model of the variogram is nearest to it."""
    ranges = np.geomspace(max(2.0, float(lags[0])), 6 * float(lags[-1]), _N_RANGES)
    found = []
    for kind, correlation in CORRELATIONS.items():
        along = correlation(lags / ranges[:, None])  # (n_ranges, n_lags)
        for i, j in product(range(_N_RANGES), repeat=2):
            modelled, nugget = model(np.stack([along[i], along[j]]), kind)
            misfit = float(np.sqrt(((modelled - variogram) ** 2).mean()))
            found.append(FittedCovariance(kind, (float(ranges[i]), float(ranges[j])), nugget, misfit))
    return min(found, key=lambda covariance: covariance.misfit)
