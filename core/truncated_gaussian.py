"""
What a truncated Gaussian field reads from hard data: facies that follow each other, as in graded or nested maps.

Kriging knows of each facies by itself, so between sand and clay it never expects silt. Here the facies are cuts of one
Gaussian field. Their order comes from which facies are found near each other; covariances and cuts are those that
predict each observation best from the others; and where no order is, the loss of these predictions tells so.
Sources: Matheron et al. 1987, SPE 16753 (the model); Switzer and Green 1984, Stanford technical report 6 (factors by
their autocorrelation, from which the order comes); Minka 2001, *Uncertainty in Artificial Intelligence* 17 (expectation
propagation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.special import ndtr, ndtri

from .covariances import CAUTION, MATERN, Covariances, blocks_of, isotropic, parts_to_test, spacing_of

_NUGGETS = (0.01, 0.1, 0.35)
_REACHES = (0.25, 0.5, 1.0, 2.0, 4.0)  # in ranges of kriging's covariance: how near data are when they tell an order
_N_ORDERS, _N_STRETCHED = 2, 2  # orders, and fields, the best ones, that are tried further
_MOST_TOGETHER, _N_PART = 96, 48
_PSEUDO_DATA = 3.0  # of each facies, anywhere: they keep cuts apart that few data tell of
_DAMPING = 0.8
_N_TRIAL_ROUNDS = 2
_KEPT_AND_ROUNDS = ((256, 4, 5), (512, 2, 3), (math.inf, 1, 3))
"""Up to so many data, how many fields are averaged, and after how many rounds of expectation propagation."""
_MOST_COLUMNS = 2**24  # of a grid: rows and columns fit into one number
_LEAST_VARIANCE, _LEAST_PRECISION, _FLOOR = 1e-4, 1e-3, 0.005


class Fields(NamedTuple):
    """
    Gaussian fields and the orders in which they are cut into facies, `n` of them.

    Parameters
    ----------
    covariances : Covariances
        Of the fields.
    position : int64 Tensor, shape (n, n_facies)
        Where in the order each facies comes.
    """

    covariances: Covariances
    position: Tensor

    @classmethod
    def of_each(cls, covariances: Covariances, positions: Tensor) -> Fields:
        """Return a field for each order (n_orders, n_facies) and covariance, those of an order one after the other."""
        n_orders, n_covariances = len(positions), len(covariances.nugget)
        repeated = Covariances(*(values.repeat(n_orders) for values in covariances))
        return cls(repeated, positions.repeat_interleave(n_covariances, dim=0))

    def select(self, index: Tensor) -> Fields:
        """Return some of the fields."""
        return Fields(self.covariances.select(index), self.position[index])

    def stretched(self) -> Fields:
        """Return these fields, each with every ratio and azimuth that is tried."""
        stretched = self.covariances.stretched()
        n_each = len(stretched.nugget) // len(self.position)
        return Fields(stretched, self.position.repeat_interleave(n_each, dim=0))

    def followed_by(self, others: Fields) -> Fields:
        """Return these fields and others after them."""
        return Fields(self.covariances.followed_by(others.covariances), torch.cat([self.position, others.position]))

    def observe(self, place: Tensor, class_index: Tensor, n_rounds: int) -> Sites:
        """Return what data at places (n_data, 2) tell of each field; see `observe`."""
        return observe(self.covariances.among(place), self.position[:, class_index], self.position.shape[1], n_rounds)

    def loss(self, place: Tensor, class_index: Tensor, parts: list[Tensor]) -> Tensor:
        """Return the leave-one-out log loss (n,) of each field, over all data of some parts of them."""
        tests = [self.observe(place[part], class_index[part], _N_TRIAL_ROUNDS).evidence for part in parts]
        return -torch.cat(tests, dim=1).mean(dim=1)


class Sites(NamedTuple):
    """
    Observed facies as Gaussian observations of the field, for `n` models of it.

    Fields are float64 Tensors: `inverse` (n, n_data, n_data) of the covariance of these observations and `dual`
    (n, n_data), its product with them; `cuts` (n, n_facies - 1); and `evidence` (n, n_data), the log-probability of
    each datum given all others.
    """

    inverse: Tensor
    dual: Tensor
    cuts: Tensor
    evidence: Tensor


@dataclass(frozen=True)
class TruncatedGaussian:
    """
    Truncated Gaussian fields fitted to a survey, ready to predict anywhere.

    Parameters
    ----------
    place : float32 Tensor, shape (n_data, 2)
        Row and column of the data, in cells.
    fields : Fields
        Those that are averaged, `n_kept` of them.
    sites : Sites
        The data as each field takes them.
    weight : Tensor, shape (n_kept,)
        Of each field in the average.
    spacing_cells : float
        Median distance from a datum to its nearest one, in cells.
    skill_nats : Tensor, scalar
        Leave-one-out log loss of the best field, less that of the shares: negative where data help each other.
    """

    place: Tensor
    fields: Fields
    sites: Sites
    weight: Tensor
    spacing_cells: float
    skill_nats: Tensor

    @classmethod
    def fit(cls, place: Tensor, class_index: Tensor, n_facies: int, near: Covariances) -> TruncatedGaussian:
        """
        Find orders, covariances and cuts that predict the data best.

        Parameters
        ----------
        place : float32 Tensor, shape (n_data, 2)
            Row and column in cells, all different.
        class_index : int64 Tensor, shape (n_data,)
            Observed facies, 0 … n_facies - 1, each of them at least once; at least two.
        n_facies : int
            Number of observed facies.
        near : Covariances
            A single one, by which data are near each other: the one that kriging predicts best with.
        """
        orders = _orders(place, class_index, n_facies, near).argsort(dim=1)
        spacing, parts = spacing_of(place), parts_to_test(place, _MOST_TOGETHER, _N_PART)
        tried = isotropic(place, spacing, (MATERN,), _NUGGETS)
        if len(orders) > _N_ORDERS:
            few = Fields.of_each(tried.select(tried.nugget == _NUGGETS[1]), orders)
            of_order = few.loss(place, class_index, parts[:1]).view(len(orders), -1).amin(dim=1)
            orders = orders[of_order.topk(_N_ORDERS, largest=False).indices]
        fields = Fields.of_each(tried, orders)
        loss = fields.loss(place, class_index, parts)
        stretched = fields.select(loss.topk(_N_STRETCHED, largest=False).indices).stretched()
        fields, loss = fields.followed_by(stretched), torch.cat([loss, stretched.loss(place, class_index, parts)])

        n_kept, n_rounds = next(then for most, *then in _KEPT_AND_ROUNDS if len(place) <= most)
        kept = loss.topk(n_kept, largest=False).indices
        share = torch.bincount(class_index, minlength=n_facies) / len(class_index)
        return cls(
            place=place,
            fields=fields.select(kept),
            sites=fields.select(kept).observe(place, class_index, n_rounds),
            weight=torch.softmax(-CAUTION * len(place) * loss[kept], dim=0).float(),
            spacing_cells=float(spacing),
            skill_nats=(loss.min() + (share * share.log()).sum()).float(),
        )

    def at(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (n_observed, n) at places (n, 2), and the standard deviation (n,) of the field there."""
        deviation = self._deviation(place)
        blocks = blocks_of(place, len(self.place))
        deviations = torch.split(deviation, [len(block) for block in blocks], dim=1)
        probability = torch.cat([self._probability(*block) for block in zip(blocks, deviations)], dim=1)
        return probability, self.weight @ deviation

    def _probability(self, place: Tensor, deviation: Tensor) -> Tensor:
        """Return probabilities (n_observed, n) from the deviation (n_kept, n) of each field."""
        mean = (self.fields.covariances.between(place, self.place) @ self.sites.dual[:, :, None].float())[:, :, 0]
        below = ndtr((self.sites.cuts.float()[:, :, None] - mean[:, None]) / deviation[:, None])
        within = F.pad(F.pad(below, (0, 0, 1, 0)), (0, 0, 0, 1), value=1.0).diff(dim=1)  # by position
        of_class = within.gather(1, self.fields.position[:, :, None].expand(-1, -1, len(place)))
        return torch.einsum("k,kcn->cn", self.weight, of_class)

    def _deviation(self, place: Tensor) -> Tensor:
        """
        Return the standard deviation (n_kept, n) of each field at places (n, 2).

        It costs the number of data squared, and hardly changes over a quarter of the distance between data: there it
        is computed once.
        """
        step = max(1, round(self.spacing_cells / 4))
        node = (place / step).round().long()
        nodes, of_place = torch.unique(node[:, 0] * _MOST_COLUMNS + node[:, 1], return_inverse=True)
        row, col = torch.div(nodes, _MOST_COLUMNS, rounding_mode="floor"), nodes % _MOST_COLUMNS
        nodes = step * torch.stack([row, col], dim=1)
        inverse, told = self.sites.inverse.float(), []
        for block in blocks_of(nodes.float(), len(self.place)):
            towards = self.fields.covariances.between(block, self.place)  # (n_kept, n, n_data)
            told.append(((towards @ inverse) * towards).sum(dim=2))
        return (1 - torch.cat(told, dim=1)).clamp(_LEAST_VARIANCE, 1).sqrt()[:, of_place]


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
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance + torch.diag_embed(1 / precision)))
        dual = (inverse @ observed[:, :, None])[:, :, 0]
        # What all others say of each datum.
        diagonal = inverse.diagonal(dim1=1, dim2=2)
        mean, variance = observed - dual / diagonal, (1 / diagonal - 1 / precision).clamp(_LEAST_VARIANCE, 1)
    if not are_known:
        cuts = _moved(cuts, position, mean, variance)
    evidence = _between_cuts(cuts, position, mean, variance).log_probability.clamp_min(math.log(_FLOOR))
    return Sites(inverse, dual, cuts, evidence)


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
        variance=variance * spread.clamp(_LEAST_VARIANCE, 1 - _LEAST_VARIANCE),
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


def _orders(place: Tensor, class_index: Tensor, n_facies: int, near: Covariances) -> Tensor:
    """
    Return orders of the facies (n_orders, n_facies), by the factor of the facies that changes slowest over the map.

    It is the second eigenvector of how often facies are found near each other, once for each meaning of near.
    """
    indicator = F.one_hot(class_index, n_facies).double()
    share = indicator.mean(dim=0)
    orders = []
    for reach in _REACHES:
        nearness = near._replace(range_cells=reach * near.range_cells).between(place, place)[0].double()
        together = indicator.T @ nearness.fill_diagonal_(0) @ indicator
        together = (
            together
            + torch.outer(share, share) * together.sum() / math.sqrt(len(place))
            + 1e-9 * torch.eye(n_facies, device=place.device)
        )
        often = together.sum(dim=1).sqrt()
        factor = torch.linalg.eigh(together / torch.outer(often, often)).eigenvectors[:, -2] / often
        order = factor.argsort()
        orders.append(order if order[0] < order[-1] else order.flip(0))
    return torch.unique(torch.stack(orders), dim=0)
