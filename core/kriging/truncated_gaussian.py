"""
What truncated Gaussian fields read from hard data: facies as cuts of Gaussian fields.

Kriging knows of each facies by itself, that something lies near it, and takes the data for numbers, not for facies.
Here the facies are cuts of Gaussian fields, in two ways. In order, all are cuts of one field: as in graded or nested
maps facies follow each other, and between sand and clay silt is expected. One by one, each facies is cut out of a field
of its own, against all others, as in maps of compact bodies. The order comes from which facies are found near each
other; orders and covariances are averaged by the likelihood of the data.
Sources: Matheron et al. 1987, SPE 16753 (the model); Switzer and Green 1984, Stanford technical report 6 (factors by
their autocorrelation, from which the order comes); Hoeting et al. 1999, *Statistical Science* 14 (averaging models).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Iterable, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.special import ndtr

from .covariances import MATERN, Covariances, blocks_of, drawn_order, isotropic, spacing_of
from .expectation_propagation import LEAST_VARIANCE, Sites, observe

_NUGGET, _OTHER_NUGGETS = 0.02, (0.002, 0.1, 0.35)
_REACHES = (0.25, 0.5, 1.0, 2.0, 4.0)  # in ranges of kriging's covariance: how near data are when they tell an order
_N_FURTHER = 3  # models, the likeliest ones, that are tried with other nuggets
_UNLIKELY_NATS = 4.0  # models by which the data are so much less likely than by the likeliest one are left out
_N_MOVES, _FARTHEST_MOVE = 3, 2  # of a facies in the order, as long as the data get likelier
_ENTRIES_AT_ONCE = 2**19  # of covariance matrices: what fits into a processor's cache
_FEWEST_DRAWN = 4  # of each facies, where there are as many
_N_TRIAL_ROUNDS = 2
_PSEUDO_DATA = 3.0  # of each facies
_EFFORT = (
    (128, 128, 8, 8, 4),
    (256, 256, 4, 4, 4),
    (512, 160, 8, 2, 3),
    (1024, 240, 4, 1, 3),
    (math.inf, 240, 1, 1, 3),
)
"""
Up to so many data: on how many of them, drawn at random, models are tried, how many of these are tried again on all
data, how many are averaged, and after how many rounds of expectation propagation.
"""
_MOST_COLUMNS = 2**24  # of a grid: rows and columns fit into one number


class Models(NamedTuple):
    """
    Ways to cut Gaussian fields into facies, `n` of them; the fields of one are independent and of one covariance.

    Parameters
    ----------
    covariances : Covariances
        Of the fields.
    position : int64 Tensor, shape (n, n_fields, n_facies)
        Between which cuts of each field each facies lies. In order: of one field, all of them different. One by one: of
        as many fields as facies, 1 for the facies that the field is of, else 0.
    """

    covariances: Covariances
    position: Tensor

    @classmethod
    def of_each(cls, covariances: Covariances, positions: Tensor) -> Models:
        """Return a model for each position (n, n_fields, n_facies) and covariance."""
        n_positions, n_covariances = len(positions), len(covariances.nugget)
        repeated = Covariances(*(values.repeat(n_positions) for values in covariances))
        return cls(repeated, positions.repeat_interleave(n_covariances, dim=0))

    @property
    def n_fields(self) -> int:
        """Number of fields of each model: 1, or that of the facies."""
        return self.position.shape[1]

    def select(self, index: Tensor) -> Models:
        """Return some of the models."""
        return Models(self.covariances.select(index), self.position[index])

    def with_covariances(self, covariances: Covariances) -> Models:
        """Return these models with other covariances, as many for each, those of a model one after the other."""
        n_each = len(covariances.nugget) // len(self.position)
        return Models(covariances, self.position.repeat_interleave(n_each, dim=0))

    def followed_by(self, others: Models) -> Models:
        """Return these models and others after them."""
        return Models(self.covariances.followed_by(others.covariances), torch.cat([self.position, others.position]))

    def observe(self, place: Tensor, class_index: Tensor, n_rounds: int, *, share_precision: bool = False) -> Sites:
        """Return what data at places (n_data, 2) tell of the fields, which may share the precisions; see `observe`."""
        shares = None
        if share_precision and self.n_fields > 1:  # the field of the datum's own facies counts half
            own = F.one_hot(class_index, self.n_fields).T.double()
            shares = (own + (1 - own) / (self.n_fields - 1)) / 2
        return observe(
            self.covariances.among(place),
            self.position[:, :, class_index],
            n_rounds,
            pseudo_data=_PSEUDO_DATA * self._facies_of_intervals(),
            shares=shares,
        )

    def log_likelihood(self, place: Tensor, class_index: Tensor, on_part: Callable[[], None]) -> Tensor:
        """
        Return the log-likelihood (n,) of data by each model; `on_part` is called now and then, and may end it.

        One by one each datum is seen by fields that are not independent, and half of what they say together counts.
        """
        n_at_once = max(1, _ENTRIES_AT_ONCE // (self.n_fields * len(place) ** 2))
        parts = torch.split(torch.arange(len(self.position), device=place.device), n_at_once)
        found = []
        for part in parts:
            on_part()
            found.append(self.select(part).observe(place, class_index, _N_TRIAL_ROUNDS).log_likelihood)
        return torch.cat(found) / min(2, self.n_fields)

    def _facies_of_intervals(self) -> Tensor:
        """Return how many facies lie in each interval of a field: one by one all others lie in the first of two."""
        return torch.bincount(self.position[0, 0]).double()


@dataclass(frozen=True)
class TruncatedGaussian:
    """
    Truncated Gaussian fields fitted to a survey, ready to predict anywhere.

    Parameters
    ----------
    place : float32 Tensor, shape (n_data, 2)
        Row and column of the data, in cells.
    models : Models
        Those that are averaged, `n_kept` of them.
    dual, cuts : Tensor, shape (n_kept, n_fields, n_data) and (n_kept, n_fields, n_cuts)
        Of each field, as `Sites` have them.
    inverse : Tensor, shape (n_kept, n_data, n_data)
        Of each model, by which the deviation of its fields is known.
    weight : Tensor, shape (n_kept,)
        Of each model in the average.
    spacing_cells : float
        Median distance from a datum to its nearest one, in cells.
    loss_nats : Tensor, scalar
        Leave-one-out log loss of the average, over all data.
    """

    place: Tensor
    models: Models
    dual: Tensor
    cuts: Tensor
    inverse: Tensor
    weight: Tensor
    spacing_cells: float
    loss_nats: Tensor

    @classmethod
    def in_order(
        cls,
        place: Tensor,
        class_index: Tensor,
        n_facies: int,
        near: Covariances,
        on_part: Callable[[], None] = lambda: None,
    ) -> TruncatedGaussian:
        """
        Cut one field into all facies.

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
        on_part : callable
            Called now and then; what it raises ends the fit.
        """
        trial = _Trial(place, class_index, on_part)
        trial.explore(_orders(place, class_index, n_facies, near).argsort(dim=1)[:, None])
        tried = {_one_way(order) for order in trial.models.position[:, 0].argsort(dim=1).tolist()}
        for _ in range(_N_MOVES):
            best, before = trial.likeliest(1)
            new = sorted(set(map(_one_way, _moves(best.position[0, 0].argsort().tolist()))) - tried)
            if not new:
                break
            tried.update(new)
            positions = torch.tensor(new, device=place.device).argsort(dim=1)[:, None]
            trial.add(Models.of_each(best.covariances, positions))
            if trial.likeliest(1)[1] <= before:
                break
        return cls._of(trial, place, class_index)

    @classmethod
    def one_by_one(
        cls, place: Tensor, class_index: Tensor, n_facies: int, on_part: Callable[[], None] = lambda: None
    ) -> TruncatedGaussian:
        """Cut each facies out of a field of its own; parameters as in `in_order`."""
        trial = _Trial(place, class_index, on_part)
        trial.explore(torch.eye(n_facies, dtype=torch.int64, device=place.device)[None])
        return cls._of(trial, place, class_index)

    @classmethod
    def _of(cls, trial: _Trial, place: Tensor, class_index: Tensor) -> TruncatedGaussian:
        """Return the likeliest models with what all data tell."""
        _, n_again, n_kept, n_rounds = _effort(len(place))
        models, log_likelihood = trial.likeliest(n_again)
        if n_again > n_kept:
            log_likelihood = models.log_likelihood(place, class_index, trial.on_part)
        models, log_likelihood = _likeliest(models, log_likelihood, n_kept)
        weight, n_fields = torch.softmax(log_likelihood, dim=0), models.n_fields
        sites = models.observe(place, class_index, n_rounds, share_precision=True)
        left_out = sites.left_out.exp()
        if n_fields > 1:
            own = F.one_hot(class_index, n_fields).T.double()
            yes = torch.where(own > 0, left_out, 1 - left_out)  # of each field, that the datum is of its facies
            left_out = (yes * own).sum(dim=1, keepdim=True) / yes.sum(dim=1, keepdim=True)
        return cls(
            place=place,
            models=models,
            dual=sites.dual.float(),
            cuts=sites.cuts.float(),
            inverse=sites.inverse[:, 0].float(),
            weight=weight.float(),
            spacing_cells=float(spacing_of(place)),
            loss_nats=-(weight @ left_out[:, 0]).log().mean().float(),
        )

    def at(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """
        Predict.

        Parameters
        ----------
        place : float32 Tensor, shape (n, 2)
            Row and column in cells.

        Returns
        -------
        probability : float32 Tensor, shape (n_facies, n)
            Of the observed facies.
        deviation : float32 Tensor, shape (n,)
            Standard deviation of the fields there, whose sill is 1.
        """
        deviation = self._deviation(place)  # (n_kept, n)
        blocks = blocks_of(place, len(self.place))
        deviations = torch.split(deviation, [len(block) for block in blocks], dim=1)
        probability = torch.cat([self._probability(*block) for block in zip(blocks, deviations)], dim=1)
        return probability, self.weight @ deviation

    def _probability(self, place: Tensor, deviation: Tensor) -> Tensor:
        """Return probabilities (n_facies, n) from the deviation (n_kept, n) of the fields."""
        mean = self.dual @ self.models.covariances.between(self.place, place)  # (n_kept, n_fields, n)
        to_cut = (self.cuts[..., None] - mean[:, :, None]) / deviation[:, None, None]
        if self.models.n_fields > 1:
            of_facies = ndtr(-to_cut[:, :, 0])
            of_facies = of_facies / of_facies.sum(dim=1, keepdim=True).clamp_min(1e-30)
        else:
            below = ndtr(to_cut)
            within = F.pad(F.pad(below[:, 0], (0, 0, 1, 0)), (0, 0, 0, 1), value=1.0).diff(dim=1)  # by position
            of_facies = within.gather(1, self.models.position[:, 0, :, None].expand(-1, -1, len(place)))
        return torch.einsum("k,kcn->cn", self.weight, of_facies)

    def _deviation(self, place: Tensor) -> Tensor:
        """
        Return the standard deviation (n_kept, n) of the fields at places (n, 2).

        It costs the number of data squared, and hardly changes over a quarter of the distance between data: there it
        is computed once.
        """
        step = max(1, round(self.spacing_cells / 4))
        node = (place / step).round().long()
        nodes, of_place = torch.unique(node[:, 0] * _MOST_COLUMNS + node[:, 1], return_inverse=True)
        row, col = torch.div(nodes, _MOST_COLUMNS, rounding_mode="floor"), nodes % _MOST_COLUMNS
        nodes = step * torch.stack([row, col], dim=1)
        told = []
        for block in blocks_of(nodes.float(), len(self.place)):
            towards = self.models.covariances.between(block, self.place)  # (n_kept, n, n_data)
            told.append(((towards @ self.inverse) * towards).sum(dim=2))
        return (1 - torch.cat(told, dim=1)).clamp(LEAST_VARIANCE, 1).sqrt()[:, of_place]


class _Trial:
    """Models that are tried on some of the data, and how likely these are by each."""

    def __init__(self, place: Tensor, class_index: Tensor, on_part: Callable[[], None]):
        n_data = len(place)
        drawn = drawn_order(place)
        nth_of_facies = (F.one_hot(class_index[drawn]).cumsum(dim=0) - 1).gather(1, class_index[drawn, None])[:, 0]
        drawn = drawn[(nth_of_facies >= _FEWEST_DRAWN).long().argsort(stable=True)][: _effort(n_data)[0]]
        self._data = place[drawn], class_index[drawn]
        self.on_part = on_part
        self._isotropic = isotropic(place, spacing_of(place), (MATERN,), (_NUGGET,))
        self._log_likelihood = torch.zeros(0, dtype=torch.float64, device=place.device)
        self.models: Models

    def explore(self, positions: Tensor) -> None:
        """Try positions (n, n_fields, n_facies) with every range, the likeliest with every nugget, then direction."""
        self.add(Models.of_each(self._isotropic, positions))
        further, _ = self.likeliest(_N_FURTHER)
        self.add(further.with_covariances(further.covariances.with_nuggets(_OTHER_NUGGETS)))
        best, _ = self.likeliest(1)
        self.add(best.with_covariances(best.covariances.stretched()))

    def add(self, models: Models) -> None:
        """Try models, too."""
        self.models = self.models.followed_by(models) if len(self._log_likelihood) else models
        self._log_likelihood = torch.cat([self._log_likelihood, models.log_likelihood(*self._data, self.on_part)])

    def likeliest(self, n: int) -> tuple[Models, Tensor]:
        """Return the n models that the data are likeliest by, or fewer that count, and their log-likelihood (n,)."""
        return _likeliest(self.models, self._log_likelihood, n)


def _likeliest(models: Models, log_likelihood: Tensor, n: int) -> tuple[Models, Tensor]:
    values, index = log_likelihood.topk(min(n, len(log_likelihood)))
    counts = values > values[0] - _UNLIKELY_NATS
    return models.select(index[counts]), values[counts]


def _effort(n_data: int) -> Sequence[int]:
    """Return what `_EFFORT` says of so many data."""
    return next(effort for most, *effort in _EFFORT if n_data <= most)


def _moves(order: list[int]) -> Iterable[list[int]]:
    """Yield orders in which one facies has moved a little."""
    for start in range(len(order)):
        for end in range(max(0, start - _FARTHEST_MOVE), min(len(order), start + _FARTHEST_MOVE + 1)):
            moved = order[:start] + order[start + 1 :]
            yield [*moved[:end], order[start], *moved[end:]]


def _one_way(order: list[int]) -> tuple[int, ...]:
    """Return an order, which read backwards is the same one, in the direction that starts with the lower number."""
    return tuple(order if order[0] < order[-1] else order[::-1])


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
