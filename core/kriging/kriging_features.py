"""
What kriging, and truncated Gaussian fields, read from the hard data, for the network to start from and to correct.

Range, direction, nugget and smoothness of a survey are questions about all of its data at once, which a local network
answers badly and a hundred leave-one-out tests answer well. So many covariances are tried on the data, first isotropic
ones, then the best of these stretched along several azimuths; those that predict the data best are averaged, and the
estimates of indicator kriging with them become channels of the network. To a network that asks for it, what truncated
Gaussian fields make of the same data is told beside them (`truncated_gaussian`). All facies are treated alike, so
renumbering facies permutes the channels.
Sources: Journel 1983, *Mathematical Geology* 15 (indicator kriging); Dubrule 1983, same volume (leave-one-out in closed
form); Goovaerts 1997, *Geostatistics for Natural Resources Evaluation* (kriging of the mean); Hoeting et al. 1999,
*Statistical Science* 14 (averaging models).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .covariances import (
    EXPONENTIAL,
    GAUSSIAN,
    Covariances,
    blocks_of,
    distances,
    drawn_order,
    isotropic,
    parts_to_test,
    spacing_of,
)
from .truncated_gaussian import TruncatedGaussian

N_OF_FACIES, N_OF_FACIES_BY_KRIGING = 9, 5
"""
Channels of each facies: two estimates, their logarithms, and whether the nearest datum shows it; then, for networks
that read an order, the estimate of a truncated Gaussian field and its logarithm, and the same of a field for each
facies.
"""
N_OF_PLACE, N_OF_PLACE_BY_KRIGING = 14, 11
"""
Channels that all facies share: support, distance to the nearest datum, and what holds for the whole survey; then the
standard deviation of the truncated Gaussian field, the evidence for it, and that for a field for each facies.
"""
_LOGARITHMS = [1, 6, 8]
"""Channels of each facies that are logarithms: kriging's with one covariance, and the two of fields."""
_OF_AZIMUTH = slice(9, 11)
"""Of these: cosine and sine of twice the azimuth, times the logarithm of the ratio."""
FEWEST_DATA = 2
"""Of fewer data nothing is told."""
MOST_DATA, MOST_SEEN = 2000, 3000
"""So many are read, for kriging costs their number cubed: of more, a random part. Of still more nothing is told: the
network, which sees them all, then knows better (`python -m benchmarks.many_data`)."""

_FLOOR = 0.005  # smallest probability whose logarithm is told
_NUGGETS = (0.03, 0.15, 0.45)
_N_STRETCHED = 4  # isotropic covariances, the best ones, that are tried with each ratio and azimuth
_N_TESTED, _N_KEPT = 16, 8  # covariances, the best ones, that are tested on more data; and of these, that are averaged
_MOST_TESTED = 1000  # data on which these are tested
_N_TOGETHER, _N_PART = 256, 64  # up to so many data are tested together; of more, some near each other and some apart
_SHARES_COUNT = 1.0  # for the mean the shares of the facies among the data count as one datum that is far from all
_MOST_EVIDENCE = 4.0
_CAUTION = 0.3  # leave-one-out losses depend on each other: a datum counts as so much evidence between covariances


class KrigingFeatures(NamedTuple):
    """
    Channels of the network; 0 where nothing is told.

    Fields are float32 Tensors: `of_facies` (batch, n_facies, N_OF_FACIES, n_rows, n_cols) and `of_place` (batch,
    N_OF_PLACE, n_rows, n_cols).
    """

    of_facies: Tensor
    of_place: Tensor

    def log_probabilities(self) -> Tensor:
        """
        Return the logarithms (batch, 3, n_facies, n_rows, n_cols) of three estimates.

        They are those with one covariance for all facies, of a truncated Gaussian field, and of one for each facies.
        """
        return self.of_facies[:, :, _LOGARITHMS].transpose(1, 2)

    def turned(self, turns: int) -> KrigingFeatures:
        """Return the features of the same maps after so many quarter turns counterclockwise."""
        of_facies, of_place = (torch.rot90(values, turns, (-2, -1)) for values in self)
        if turns % 2:
            of_place = of_place.clone()
            of_place[:, _OF_AZIMUTH] *= -1
        return KrigingFeatures(of_facies, of_place)


@dataclass(frozen=True)
class SurveyKriging:
    """
    Indicator kriging of one survey with several covariances, solved and ready to estimate anywhere.

    Parameters
    ----------
    place : float32 Tensor, shape (n_data, 2)
        Row and column of the data, in cells.
    class_index : int64 Tensor, shape (n_data,)
        Their facies.
    mean : Tensor, shape (n_kept, 1, n_facies)
        Shares of the facies, each covariance's least-squares estimate from data that depend on each other.
    covariances : Covariances
        Those that are averaged, `n_kept` of them.
    dual : Tensor, shape (n_kept, n_data, n_facies)
        Dual kriging weights: an estimate is the mean plus covariances with the data times these.
    weight : Tensor, shape (n_kept, 1)
        Of each covariance in the average for all facies alike.
    weight_of_facies : Tensor, shape (n_kept, n_facies)
        Of each covariance in the average for each facies by itself.
    spacing_cells : Tensor, scalar
        Median distance from a datum to its nearest one, in cells.
    skill_nats : Tensor, scalar
        Leave-one-out log loss of the best covariance, less that of the shares: negative where data help each other.
    loss_nats : Tensor, scalar
        Leave-one-out log loss of the best covariance, over all data.
    fields : tuple of TruncatedGaussian
        Of the observed facies, `observed`: in order, and one by one, which of two facies is the same; none where they
        are not wanted, or one facies was observed only.
    observed : int64 Tensor, shape (n_observed,)
        The observed facies.
    """

    place: Tensor
    class_index: Tensor
    mean: Tensor
    covariances: Covariances
    dual: Tensor
    weight: Tensor
    weight_of_facies: Tensor
    spacing_cells: Tensor
    skill_nats: Tensor
    loss_nats: Tensor
    fields: tuple[TruncatedGaussian, ...]
    observed: Tensor

    @classmethod
    def fit(
        cls,
        place: Tensor,
        class_index: Tensor,
        n_facies: int,
        *,
        reads_order: bool = False,
        on_part: Callable[[], None] = lambda: None,
    ) -> SurveyKriging:
        """
        Test covariances on the data and solve for those that predict them best.

        Parameters
        ----------
        place : float32 Tensor, shape (n_data, 2)
            Row and column in cells, all different; at least `FEWEST_DATA`.
        class_index : int64 Tensor, shape (n_data,)
            Observed facies.
        n_facies : int
            Number of facies, of which some may not have been observed.
        reads_order : bool
            Whether truncated Gaussian fields are fitted as well, which takes most of the time.
        on_part : callable
            Called now and then; what it raises ends the fit.
        """
        indicator = F.one_hot(class_index, n_facies).float()
        spacing = spacing_of(place)
        tried = isotropic(place, spacing, (EXPONENTIAL, GAUSSIAN), _NUGGETS)
        loss, squared = _leave_one_out(place, indicator, tried, on_part)
        stretched = tried.select(loss.topk(_N_STRETCHED, largest=False).indices).stretched()
        tests = zip((loss, squared), _leave_one_out(place, indicator, stretched, on_part))
        loss, squared = (torch.cat(both) for both in tests)
        covariances = tried.followed_by(stretched)
        if len(place) > _N_TOGETHER:
            covariances = covariances.select(loss.topk(_N_TESTED, largest=False).indices)
            part = drawn_order(place)[:_MOST_TESTED]
            loss, squared = _leave_one_out(place[part], indicator[part], covariances, on_part, _MOST_TESTED)
        kept = loss.topk(_N_KEPT, largest=False).indices
        evidence = _CAUTION * len(place)
        covariances = covariances.select(kept)
        observed, of_observed = _by_appearance(class_index)
        fields: tuple[TruncatedGaussian, ...] = ()
        if reads_order and len(observed) > 1:
            best = covariances.select(torch.arange(1, device=place.device))
            in_order = TruncatedGaussian.in_order(place, of_observed, len(observed), best, on_part)
            fields = (in_order,)
            if len(observed) > 2:  # of two the field of the one is the field of the other
                fields = in_order, TruncatedGaussian.one_by_one(place, of_observed, len(observed), on_part)
        on_part()
        factor = torch.linalg.cholesky(covariances.among(place))
        share = indicator.mean(dim=0)
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        # Where data crowd, they count less for the mean than the same number of data far apart.
        solved = torch.cholesky_solve(F.pad(indicator, (0, 1), value=1.0).expand(_N_KEPT, -1, -1).contiguous(), factor)
        of_indicator, of_one = solved[:, :, :-1], solved[:, :, -1:]
        mean = (of_indicator.sum(dim=1, keepdim=True) + _SHARES_COUNT * share).clamp_min(0)
        mean = mean / mean.sum(dim=2, keepdim=True)
        return cls(
            place=place,
            class_index=class_index,
            mean=mean,
            covariances=covariances,
            dual=of_indicator - of_one * mean,
            weight=torch.softmax(-evidence * loss[kept], dim=0)[:, None],
            # The likelihood of Gaussian errors whose variance is their own mean square.
            weight_of_facies=torch.softmax(-0.5 * evidence * squared[kept].clamp_min(1e-4).log(), dim=0),
            spacing_cells=spacing,
            skill_nats=loss.min() - entropy,
            loss_nats=_left_out(factor[:1], indicator)[0].mean(),
            fields=fields,
            observed=observed,
        )

    @classmethod
    def of_map(
        cls, known: Tensor, n_facies: int, *, reads_order: bool = False, on_part: Callable[[], None] = lambda: None
    ) -> SurveyKriging | None:
        """Return what is read from hard data (n_rows, n_cols), -1 elsewhere, if they are neither few nor many."""
        row, col = (known >= 0).nonzero(as_tuple=True)
        if not FEWEST_DATA <= len(row) <= MOST_SEEN:
            return None
        if len(row) > MOST_DATA:
            part = drawn_order(torch.stack([row, col], dim=1))[:MOST_DATA]
            row, col = row[part], col[part]
        place, class_index = torch.stack([row, col], dim=1).float(), known[row, col]
        return cls.fit(place, class_index, n_facies, reads_order=reads_order, on_part=on_part)

    def at(self, place: Tensor, spacing: int) -> tuple[Tensor, Tensor]:
        """
        Return the channels at some places.

        Parameters
        ----------
        place : float32 Tensor, shape (n, 2)
            Row and column in cells.
        spacing : int
            Cells from node to node of the lattice that they are for: the network's unit of length.

        Returns
        -------
        of_facies : float32 Tensor, shape (n_facies, N_OF_FACIES, n)
        of_place : float32 Tensor, shape (N_OF_PLACE, n)
        """
        parts = [self._by_kriging(block, spacing) for block in blocks_of(place, len(self.place))]
        of_facies, of_place = torch.cat([p[0] for p in parts], dim=2), torch.cat([p[1] for p in parts], dim=1)
        by_fields, of_fields = self._by_fields(place, of_facies[:, 0])
        return torch.cat([of_facies, by_fields], dim=1), torch.cat([of_place, of_fields])

    def _by_kriging(self, place: Tensor, spacing: int) -> tuple[Tensor, Tensor]:
        distance = distances(place, self.place)  # (n, n_data)
        towards = self.covariances.between(place, self.place)  # (n_kept, n, n_data)
        estimate = (towards @ self.dual + self.mean).clamp(0, 1)  # (n_kept, n, n_facies)
        estimate = estimate / estimate.sum(dim=2, keepdim=True).clamp_min(1e-6)
        alike = (self.weight[:, :, None] * estimate).sum(dim=0)
        by_itself = (self.weight_of_facies[:, None] * estimate).sum(dim=0)
        by_itself = by_itself / by_itself.sum(dim=1, keepdim=True).clamp_min(1e-6)
        closest = distance.min(dim=1)
        nearest = F.one_hot(self.class_index[closest.indices], self.mean.shape[2]).float()
        logs = (p.clamp_min(_FLOOR).log() for p in (alike, by_itself))
        of_facies = torch.stack([alike, next(logs), by_itself, next(logs), nearest])
        support = (self.weight * towards.amax(dim=2)).sum(dim=0)
        weight, double = self.weight[:, 0], 2 * self.covariances.azimuth
        whole_survey = torch.stack(
            [
                torch.ones_like(self.skill_nats),
                (self.spacing_cells / spacing).log(),
                (weight * (self.covariances.range_cells / spacing).log()).sum(),
                (weight * (self.covariances.shape == GAUSSIAN)).sum(),
                (weight * self.covariances.nugget).sum(),
                self.skill_nats,
                torch.full_like(self.skill_nats, math.log10(len(self.place)) / 3),
                *(weight * self.covariances.ratio.log() * torch.stack([double.cos(), double.sin()])).sum(dim=1),
            ]
        )
        here = torch.stack([support, torch.log1p(closest.values / self.spacing_cells)])
        of_place = torch.cat([here, whole_survey[:, None].expand(-1, len(place))])
        return of_facies.permute(2, 0, 1), of_place

    def _by_fields(self, place: Tensor, by_kriging: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return what the fields say at places (n, 2), and how much they are to be trusted.

        They are probabilities in order and one by one, each with its logarithm, (n_facies, 4, n), and deviation and
        evidence, (3, n). The evidence is by how much the fields predict data better than kriging, in units of what
        chance makes of such a mean over all data. Without fields kriging's probabilities (n_facies, n) stand for them.
        """
        probability = torch.zeros_like(by_kriging)
        estimates, evidence, deviation = [by_kriging] * 2, place.new_zeros(2), torch.ones_like(place[:, 0])
        if self.fields:
            told = [field.at(place) for field in self.fields]
            estimates = [probability.index_copy(0, self.observed, told[which][0]) for which in (0, -1)]
            deviation = told[0][1]
            better = self.loss_nats - torch.stack([self.fields[which].loss_nats for which in (0, -1)])
            evidence = (math.sqrt(len(self.place)) * better).clamp(-_MOST_EVIDENCE, _MOST_EVIDENCE)
        by_fields = torch.stack([value for p in estimates for value in (p, p.clamp_min(_FLOOR).log())], dim=1)
        return by_fields, torch.cat([deviation[None], evidence[:, None].expand(-1, len(place))])


def _by_appearance(class_index: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the observed facies (n_observed,) as they appear in the data, and which of them each datum shows, (n_data,).

    In this order what is read does not depend on the facies' numbers, not even where several orders are as good.
    """
    observed, of_observed, counts = torch.unique(class_index, return_inverse=True, return_counts=True)
    first = of_observed.argsort(stable=True)[counts.cumsum(dim=0) - counts]
    appearance = first.argsort()
    return observed[appearance], appearance.argsort()[of_observed]


def _leave_one_out(
    place: Tensor,
    indicator: Tensor,
    covariances: Covariances,
    on_part: Callable[[], None],
    n_together: int = _N_TOGETHER,
) -> tuple[Tensor, Tensor]:
    """Return log loss (n,) and squared error of each facies (n, n_facies), means over the data that are tested."""
    tests = []
    for part in parts_to_test(place, n_together, _N_PART):
        on_part()
        factor = torch.linalg.cholesky(covariances.among(place[part]))
        tests.append(_left_out(factor, indicator[part], indicator.mean(dim=0)))
    loss, squared = (torch.cat(of_parts, dim=1).mean(dim=1) for of_parts in zip(*tests))
    return loss, squared


def _left_out(factor: Tensor, indicator: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """
    Return what each datum loses when it is left out: log loss (n, n_data), squared errors (n, n_data, n_facies).

    Of the covariances (n, n_data, n_data) of the data the Cholesky factor is given; of the facies (n_data, n_facies)
    the mean, which is that of these data by default.
    """
    mean = indicator.mean(dim=0) if mean is None else mean
    inverse = torch.cholesky_inverse(factor)
    error = inverse @ (indicator - mean) / inverse.diagonal(dim1=1, dim2=2)[:, :, None]
    estimate = (indicator - error).clamp_min(0.01)
    estimate = estimate / estimate.sum(dim=2, keepdim=True)
    return -(estimate.log() * indicator).sum(dim=2), error**2
