"""
Expectation propagation: what observed facies tell of a Gaussian field that is cut into them.

Sources: Minka 2001, *Uncertainty in Artificial Intelligence* 17 (expectation propagation); Rasmussen and Williams 2006,
*Gaussian Processes for Machine Learning*, section 3.6 (the likelihood of a model by it).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.special import ndtr, ndtri

_PSEUDO_DATA = 3.0  # of each facies, anywhere: they keep cuts apart that few data tell of
_DAMPING = 0.8
_LEAST_PRECISION, _LEAST_PROBABILITY = 1e-3, 0.005
LEAST_VARIANCE = 1e-4
"""Of a field, whose sill is 1, given data."""


class Sites(NamedTuple):
    """
    Observed facies as Gaussian observations of the field, for `n` models of it.

    Fields are float64 Tensors: `precision` (n, n_data) of these observations; `inverse` (n, n_data, n_data) of their
    covariance and `dual` (n, n_data), its product with them; `cuts` (n, n_facies - 1); `left_out` (n, n_data), the
    log-probability of each datum given all others; and `log_likelihood` (n,) of all data together.
    """

    precision: Tensor
    inverse: Tensor
    dual: Tensor
    cuts: Tensor
    left_out: Tensor
    log_likelihood: Tensor


def observe(covariance: Tensor, position: Tensor, n_facies: int, n_rounds: int, cuts: Tensor | None = None) -> Sites:
    """
    Find cuts, and Gaussian observations that tell of the field what the facies between the cuts do.

    Parameters
    ----------
    covariance : Tensor, shape (n, n_data, n_data)
        Of the field at the data, for each of `n` models.
    position : int64 Tensor, shape (n, n_data)
        Where in the order the facies of each datum comes.
    n_facies : int
        Number of facies in the order, at least 2.
    n_rounds : int
        Rounds of expectation propagation; after each, Newton's method moves the cuts to where the data are likelier.
    cuts : Tensor, shape (n, n_facies - 1), optional
        Cuts that are known: they stay where they are.
    """
    covariance, are_known = covariance.double(), cuts is not None
    if cuts is None:
        cuts = _cuts_of_shares(position, n_facies)
    mean, variance = torch.zeros_like(covariance[:, 0]), torch.ones_like(covariance[:, 0])
    precision = shift = torch.zeros_like(mean)
    for n_done in range(n_rounds):
        if n_done and not are_known:
            cuts = _moved(cuts, position, mean, variance)
        told = _between_cuts(cuts, position, mean, variance)
        step = _DAMPING if n_done else 1.0
        precision = torch.lerp(precision, (1 / told.variance - 1 / variance).clamp_min(_LEAST_PRECISION), step)
        shift = torch.lerp(shift, told.mean / told.variance - mean / variance, step)
        observed = shift / precision
        factor = torch.linalg.cholesky(covariance + torch.diag_embed(1 / precision))
        inverse = torch.cholesky_inverse(factor)
        dual = (inverse @ observed[:, :, None])[:, :, 0]
        # What all others say of each datum.
        diagonal = inverse.diagonal(dim1=1, dim2=2)
        mean, variance = observed - dual / diagonal, (1 / diagonal - 1 / precision).clamp(LEAST_VARIANCE, 1)
    if not are_known:
        cuts = _moved(cuts, position, mean, variance)
    left_out, total = _between_cuts(cuts, position, mean, variance).log_probability, variance + 1 / precision
    of_each = left_out + 0.5 * (total.log() + (mean - observed) ** 2 / total - observed * dual)
    log_likelihood = (of_each - factor.diagonal(dim1=1, dim2=2).log()).sum(dim=1)
    left_out = left_out.clamp_min(math.log(_LEAST_PROBABILITY))
    return Sites(precision, inverse, dual, cuts, left_out, log_likelihood)


def _cuts_of_shares(position: Tensor, n_facies: int) -> Tensor:
    """Return the cuts (n, n_facies - 1) between which a standard Gaussian has the data's shares of the facies."""
    counts = F.one_hot(position, n_facies).sum(dim=1).cumsum(dim=1).double()
    counts = counts + torch.arange(1, n_facies + 1, device=counts.device)  # one more of each: no facies without a place
    return ndtri((counts / counts[:, -1:])[:, :-1])


class _Told(NamedTuple):
    """A Gaussian between two cuts: log-probability, mean, variance, and the derivatives by the lower and upper cut."""

    log_probability: Tensor
    mean: Tensor
    variance: Tensor
    lower: Tensor
    upper: Tensor
    lower_curvature: Tensor
    upper_curvature: Tensor
    mixed: Tensor


def _between_cuts(cuts: Tensor, position: Tensor, mean: Tensor, variance: Tensor) -> _Told:
    """Tell of Gaussians (n, n_data) that they lie between the cuts (n, n_facies - 1) around their position."""
    bounds = F.pad(F.pad(cuts, (1, 0), value=-torch.inf), (0, 1), value=torch.inf)
    deviation = variance.sqrt()
    low, high = (((bounds.gather(1, position + k) - mean) / deviation).clamp(-10, 10) for k in (0, 1))
    # In the tail where the difference of two probabilities is exact.
    mirrored = low > 0
    probability = ndtr(torch.where(mirrored, -low, high)) - ndtr(torch.where(mirrored, -high, low))
    probability = probability.clamp_min(1e-10)
    at_low, at_high = (torch.exp(-0.5 * at * at) / (math.sqrt(2 * math.pi) * probability) for at in (low, high))
    shift = at_low - at_high
    spread = 1 + low * at_low - high * at_high - shift * shift
    return _Told(
        log_probability=probability.log(),
        mean=mean + deviation * shift,
        variance=variance * spread.clamp(LEAST_VARIANCE, 1 - LEAST_VARIANCE),
        lower=-at_low / deviation,
        upper=at_high / deviation,
        lower_curvature=at_low * (at_low - low) / variance,
        upper_curvature=at_high * (at_high + high) / variance,
        mixed=at_low * at_high / variance,
    )


def _moved(cuts: Tensor, position: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the cuts (n, n_facies - 1) after a step of Newton's method towards the likeliest ones."""
    n_models, n_cuts = cuts.shape
    pseudo = torch.arange(n_cuts + 1, device=cuts.device).expand(n_models, -1)
    position = torch.cat([position, pseudo], dim=1)
    weight = torch.ones_like(mean)
    mean, variance = F.pad(mean, (0, n_cuts + 1)), F.pad(variance, (0, n_cuts + 1), value=1.0)
    weight = F.pad(weight, (0, n_cuts + 1), value=_PSEUDO_DATA)
    told = _between_cuts(cuts, position, mean, variance)

    def collect(index: Tensor, values: Tensor) -> Tensor:
        return cuts.new_zeros(n_models, n_cuts + 2).scatter_add(1, index, weight * values)

    slope = (collect(position, told.lower) + collect(position + 1, told.upper))[:, 1:-1]
    curvature = (collect(position, told.lower_curvature) + collect(position + 1, told.upper_curvature))[:, 1:-1]
    mixed = collect(position, told.mixed)[:, 1:-2]
    matrix = torch.diag_embed(curvature + 1e-3) - torch.diag_embed(mixed, 1) - torch.diag_embed(mixed, -1)
    step = torch.linalg.solve(matrix, slope[:, :, None])[:, :, 0].clamp(-0.5, 0.5)
    apart = 0.02 * torch.arange(n_cuts, device=cuts.device)
    return (cuts + step - apart).cummax(dim=1).values + apart
