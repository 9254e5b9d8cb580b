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
from torch.special import log_ndtr, ndtri

_DAMPING = 0.8
_FARTHEST = 30.0
"""Standard deviations from a mean to the interval of its datum, and from there to the interval's other end, at most."""
_LOG_NORM = 0.5 * math.log(2 * math.pi)
_LEAST_PRECISION, _LEAST_PROBABILITY = 1e-3, 0.005
LEAST_VARIANCE = 1e-4
"""Of a field, whose sill is 1, given data."""


class Sites(NamedTuple):
    """
    Observed facies as Gaussian observations of the fields, of `n` models with `n_fields` fields each.

    Fields are float64 Tensors: `inverse` (n, n_fields, n_data, n_data) of the covariance of these observations, one for
    all fields of a model, as if n_fields were 1, where they share precisions; `dual` (n, n_fields, n_data), its product
    with them; `cuts` (n, n_fields, n_cuts); `left_out` (n, n_fields, n_data), the log-probability of each datum's
    interval given all other data, floored; and `log_likelihood` (n,) of all data and fields together.
    """

    inverse: Tensor
    dual: Tensor
    cuts: Tensor
    left_out: Tensor
    log_likelihood: Tensor


def observe(
    covariance: Tensor,
    position: Tensor,
    n_rounds: int,
    *,
    pseudo_data: Tensor,
    cuts: Tensor | None = None,
    shares: Tensor | None = None,
) -> Sites:
    """
    Find cuts, and Gaussian observations that tell of the fields what the facies between the cuts do.

    Parameters
    ----------
    covariance : Tensor, shape (n, n_data, n_data)
        Of the fields of each of `n` models at the data.
    position : int64 Tensor, shape (n, n_fields, n_data)
        In which of the `n_intervals` between the cuts of each field each datum lies.
    n_rounds : int
        Rounds of expectation propagation; after each, Newton's method moves the cuts to where the data are likelier.
    pseudo_data : Tensor, shape (n_intervals,)
        Data of each interval, anywhere, that are thought to be there as well: they keep cuts apart that few data tell
        of. Intervals are one more than there are cuts, at least 2.
    cuts : Tensor, shape (n, n_fields, n_intervals - 1), optional
        Cuts that are known: they stay where they are.
    shares : Tensor, shape (n_fields, n_data), optional
        Lets the fields of a model share the precision of each observation, the mean of theirs with these weights, which
        costs as much as a single field.
    """
    covariance, are_known = covariance.double()[:, None], cuts is not None  # (n, 1, n_data, n_data)
    if cuts is None:
        cuts = _cuts_of_shares(position, pseudo_data)
    mean, variance = (value.expand(position.shape) for value in (covariance.new_zeros(()), covariance.new_ones(())))
    precision = shift = torch.zeros_like(mean)
    for n_done in range(n_rounds):
        if n_done and not are_known:
            cuts = _moved(cuts, position, mean, variance, pseudo_data)
        told = _between_cuts(cuts, position, mean, variance)
        new = (1 / told.variance - 1 / variance).clamp_min(_LEAST_PRECISION)
        if shares is not None:
            new = (shares * new).sum(dim=1, keepdim=True)
        step = _DAMPING if n_done else 1.0
        precision = torch.lerp(precision, new, step) if n_done else new
        shift = torch.lerp(shift, told.mean * (new + 1 / variance) - mean / variance, step)
        observed = shift / precision
        factor = torch.linalg.cholesky(covariance + torch.diag_embed(1 / precision))
        inverse = torch.cholesky_inverse(factor)
        dual = (inverse @ observed[..., None])[..., 0]
        # What all others say of each datum.
        diagonal = inverse.diagonal(dim1=2, dim2=3)
        mean = observed - dual / diagonal
        variance = (1 / diagonal - 1 / precision).clamp(LEAST_VARIANCE, 1).expand(mean.shape)
    if not are_known:
        cuts = _moved(cuts, position, mean, variance, pseudo_data)
    left_out, total = _between_cuts(cuts, position, mean, variance).log_probability, variance + 1 / precision
    of_each = left_out + 0.5 * (total.log() + (mean - observed) ** 2 / total - observed * dual)
    log_likelihood = (of_each - factor.diagonal(dim1=2, dim2=3).log()).sum(dim=(1, 2))
    left_out = left_out.clamp_min(math.log(_LEAST_PROBABILITY))
    return Sites(inverse, dual, cuts, left_out, log_likelihood)


def _cuts_of_shares(position: Tensor, pseudo_data: Tensor) -> Tensor:
    """Return the cuts (n, n_fields, n_cuts) between which a standard Gaussian has the data's shares."""
    # A third of the pseudo-data: no interval without a place.
    counts = F.one_hot(position, len(pseudo_data)).sum(dim=2).double() + pseudo_data / 3
    counts = counts.cumsum(dim=2)
    return ndtri((counts / counts[..., -1:])[..., :-1])


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
    """Tell of Gaussians (n, n_fields, n_data) that they lie between the cuts (n, n_fields, n_cuts) around them."""
    bounds = F.pad(F.pad(cuts, (1, 0), value=-torch.inf), (0, 1), value=torch.inf)
    deviation = variance.sqrt()
    low, high = ((bounds.gather(2, position + k) - mean) / deviation for k in (0, 1))
    # An interval that is too far off is moved nearer as a whole: one without a width would be infinitely unlikely.
    too_far = (low - _FARTHEST).clamp_min(0) + (high + _FARTHEST).clamp_max(0)
    low, high = ((bound - too_far).clamp(-2 * _FARTHEST, 2 * _FARTHEST) for bound in (low, high))
    # In the lower tail, where the difference of two probabilities is exact.
    mirrored = low > 0
    log_below_low = log_ndtr(torch.where(mirrored, -high, low))
    log_below_high = log_ndtr(torch.where(mirrored, -low, high))
    log_probability = log_below_high + torch.log1p(-torch.exp((log_below_low - log_below_high).clamp_max(-1e-8)))
    at_low, at_high = (torch.exp(-0.5 * at * at - _LOG_NORM - log_probability) for at in (low, high))
    shift = at_low - at_high
    spread = 1 + low * at_low - high * at_high - shift * shift
    return _Told(
        log_probability=log_probability,
        mean=mean + deviation * shift,
        variance=variance * spread.clamp(LEAST_VARIANCE, 1 - LEAST_VARIANCE),
        lower=-at_low / deviation,
        upper=at_high / deviation,
        lower_curvature=at_low * (at_low - low) / variance,
        upper_curvature=at_high * (at_high + high) / variance,
        mixed=at_low * at_high / variance,
    )


def _moved(cuts: Tensor, position: Tensor, mean: Tensor, variance: Tensor, pseudo_data: Tensor) -> Tensor:
    """Return the cuts (n, n_fields, n_cuts) after a step of Newton's method towards the likeliest ones."""
    n_cuts = cuts.shape[2]
    pseudo = torch.arange(n_cuts + 1, device=cuts.device).expand(*cuts.shape[:2], -1)
    position = torch.cat([position, pseudo], dim=2)
    weight = torch.cat([torch.ones_like(mean), pseudo_data.to(mean).expand(*cuts.shape[:2], -1)], dim=2)
    mean, variance = F.pad(mean, (0, n_cuts + 1)), F.pad(variance, (0, n_cuts + 1), value=1.0)
    told = _between_cuts(cuts, position, mean, variance)

    def collect(index: Tensor, values: Tensor) -> Tensor:
        return cuts.new_zeros(*cuts.shape[:2], n_cuts + 2).scatter_add(2, index, weight * values)

    slope = (collect(position, told.lower) + collect(position + 1, told.upper))[..., 1:-1]
    curvature = (collect(position, told.lower_curvature) + collect(position + 1, told.upper_curvature))[..., 1:-1]
    mixed = collect(position, told.mixed)[..., 1:-2]
    matrix = torch.diag_embed(curvature + 1e-3) - torch.diag_embed(mixed, 1) - torch.diag_embed(mixed, -1)
    step = torch.linalg.solve(matrix, slope[..., None])[..., 0].clamp(-0.5, 0.5)
    apart = 0.02 * torch.arange(n_cuts, device=cuts.device)
    return (cuts + step - apart).cummax(dim=2).values + apart
