"""
What kriging reads from the hard data, for the network to start from and to correct.

Range, direction, nugget and smoothness of a survey are questions about all of its data at once, which a local network
answers badly and a hundred leave-one-out tests answer well. So many covariances are tried on the data, first isotropic
ones, then the best of these stretched along several azimuths; those that predict the data best are averaged, and the
estimates of simple indicator kriging with them become channels of the network. All facies are treated alike, so
renumbering facies permutes the channels.
Sources: Journel 1983, *Mathematical Geology* 15 (indicator kriging); Dubrule 1983, same volume (leave-one-out in closed
form); Isaaks and Srivastava 1989, *Applied Geostatistics* (geometric anisotropy); Hoeting et al. 1999, *Statistical
Science* 14 (averaging models).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

N_OF_FACIES = 5
"""Channels of each facies: two estimates, their logarithms, and whether the nearest datum shows it."""
N_OF_PLACE = 11
"""Channels that all facies share: support, distance to the nearest datum, and what holds for the whole survey."""
_N_OF_AZIMUTH = 2
"""Of these, the last ones: cosine and sine of twice the azimuth, times the logarithm of the ratio."""
FEWEST_DATA = 2
"""Of fewer data nothing is told."""
MOST_DATA = 1500
"""Nor of more: so many tell the network enough, and kriging costs their number cubed."""

_FLOOR = 0.005  # smallest probability whose logarithm is told
_N_RANGES = 7
_NUGGETS = (0.03, 0.15, 0.45)
_RATIOS, _N_AZIMUTHS = (2.0, 4.5), 6
_N_STRETCHED = 4  # isotropic covariances, the best ones, that are tried with each ratio and azimuth
_N_KEPT = 8  # covariances that are averaged
_N_TOGETHER, _N_PART = 128, 64  # up to so many data are tested together; of more, some near each other and some apart
_CAUTION = 0.3  # leave-one-out errors depend on each other: a datum counts as so much evidence between covariances
_JITTER = 1e-4
_PAIRS_AT_ONCE = 250_000  # what fits into a processor's cache: 40 % faster than sixteen times as many


class KrigingFeatures(NamedTuple):
    """
    Channels of the network; 0 where nothing is told.

    Fields are float32 Tensors: `of_facies` (batch, n_facies, N_OF_FACIES, n_rows, n_cols) and `of_place` (batch,
    N_OF_PLACE, n_rows, n_cols).
    """

    of_facies: Tensor
    of_place: Tensor

    @property
    def log_probability(self) -> Tensor:
        """Logarithm of the estimate with one covariance for all facies, (batch, n_facies, n_rows, n_cols)."""
        return self.of_facies[:, :, 1]

    def turned(self, turns: int) -> KrigingFeatures:
        """Return the features of the same maps after so many quarter turns counterclockwise."""
        of_facies, of_place = (torch.rot90(values, turns, (-2, -1)) for values in self)
        if turns % 2:
            of_place = torch.cat([of_place[:, :-_N_OF_AZIMUTH], -of_place[:, -_N_OF_AZIMUTH:]], dim=1)
        return KrigingFeatures(of_facies, of_place)


class Covariances(NamedTuple):
    """
    Covariances of sill 1 with geometric anisotropy.

    Fields are tensors of shape (n,): range in cells, the geometric mean of the longest and the shortest one; the ratio
    of these; azimuth of the longest, in radians from southwards to eastwards; whether Gaussian or else exponential; and
    nugget.
    """

    range_cells: Tensor
    ratio: Tensor
    azimuth: Tensor
    is_gaussian: Tensor
    nugget: Tensor

    def between(self, place: Tensor, other: Tensor) -> Tensor:
        """Return the covariances (n, n_places, n_others) between places (n_places, 2) and (n_others, 2), in cells."""
        scaled = distances(self._in_ranges(place), self._in_ranges(other))
        exponent = torch.where(self.is_gaussian[:, None, None], scaled * scaled, scaled)
        return torch.exp(-3 * exponent) * (1 - self.nugget)[:, None, None]

    def among(self, place: Tensor) -> Tensor:
        """Return the covariance matrices (n, n_data, n_data) of data at places (n_data, 2)."""
        matrices = self.between(place, place)
        matrices.diagonal(dim1=1, dim2=2).fill_(1 + _JITTER)
        return matrices

    def select(self, index: Tensor) -> Covariances:
        """Return some of the covariances."""
        return Covariances(*(values[index] for values in self))

    def stretched(self) -> Covariances:
        """Return these covariances, each with every ratio and azimuth that is tried."""
        ratios = torch.tensor(_RATIOS, device=self.nugget.device)
        azimuths = torch.arange(_N_AZIMUTHS, device=self.nugget.device) * (math.pi / _N_AZIMUTHS)
        ratio, azimuth = (v.flatten() for v in torch.meshgrid(ratios, azimuths, indexing="ij"))
        each = self.select(torch.arange(len(self.nugget), device=self.nugget.device).repeat_interleave(len(ratio)))
        return each._replace(ratio=ratio.repeat(len(self.nugget)), azimuth=azimuth.repeat(len(self.nugget)))

    def _in_ranges(self, place: Tensor) -> Tensor:
        """Return places (n_places, 2) along and across the longest range, in ranges: (n, n_places, 2)."""
        south, east = place.T
        cos, sin = self.azimuth.cos()[:, None], self.azimuth.sin()[:, None]
        along, across = south * cos + east * sin, east * cos - south * sin
        stretch = self.ratio.sqrt()[:, None]
        return torch.stack([along / stretch, across * stretch], dim=2) / self.range_cells[:, None, None]


def distances(place: Tensor, other: Tensor) -> Tensor:
    """Return distances (…, n, m) between places (…, n, 2) and (…, m, 2), exact also for places close to each other."""
    return torch.cdist(place, other, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class SurveyKriging:
    """
    Simple indicator kriging of one survey with several covariances, solved and ready to estimate anywhere.

    Parameters
    ----------
    place : float32 Tensor, shape (n_data, 2)
        Row and column of the data, in cells.
    class_index : int64 Tensor, shape (n_data,)
        Their facies.
    mean : Tensor, shape (n_facies,)
        Shares of the facies among the data.
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

    @classmethod
    def fit(cls, place: Tensor, class_index: Tensor, n_facies: int) -> SurveyKriging:
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
        """
        indicator = F.one_hot(class_index, n_facies).float()
        mean = indicator.mean(dim=0)
        between = distances(place, place).fill_diagonal_(torch.inf)
        spacing = between.min(dim=1).values.median()
        isotropic = _isotropic(place, spacing)
        loss, squared = _leave_one_out(place, indicator, isotropic)
        stretched = isotropic.select(loss.topk(_N_STRETCHED, largest=False).indices).stretched()
        tests = zip((loss, squared), _leave_one_out(place, indicator, stretched))
        loss, squared = (torch.cat(both) for both in tests)
        kept = loss.topk(_N_KEPT, largest=False).indices
        evidence = _CAUTION * len(place)
        covariances = Covariances(*(torch.cat(both) for both in zip(isotropic, stretched))).select(kept)
        factor = torch.linalg.cholesky(covariances.among(place))
        entropy = -(mean * mean.clamp_min(1e-12).log()).sum()
        return cls(
            place=place,
            class_index=class_index,
            mean=mean,
            covariances=covariances,
            dual=torch.cholesky_solve((indicator - mean).expand(_N_KEPT, -1, -1).contiguous(), factor),
            weight=torch.softmax(-evidence * loss[kept], dim=0)[:, None],
            # The likelihood of Gaussian errors whose variance is their own mean square.
            weight_of_facies=torch.softmax(-0.5 * evidence * squared[kept].clamp_min(1e-4).log(), dim=0),
            spacing_cells=spacing,
            skill_nats=loss.min() - entropy,
        )

    @classmethod
    def of_map(cls, known: Tensor, n_facies: int) -> SurveyKriging | None:
        """Return what kriging reads from hard data (n_rows, n_cols), -1 elsewhere, if they are neither few nor many."""
        row, col = (known >= 0).nonzero(as_tuple=True)
        if not FEWEST_DATA <= len(row) <= MOST_DATA:
            return None
        return cls.fit(torch.stack([row, col], dim=1).float(), known[row, col], n_facies)

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
        blocks = torch.split(place, max(1, _PAIRS_AT_ONCE // len(self.place)))
        parts = [self._at(block, spacing) for block in blocks]
        return torch.cat([p[0] for p in parts], dim=2), torch.cat([p[1] for p in parts], dim=1)

    def _at(self, place: Tensor, spacing: int) -> tuple[Tensor, Tensor]:
        distance = distances(place, self.place)  # (n, n_data)
        towards = self.covariances.between(place, self.place)  # (n_kept, n, n_data)
        estimate = (towards @ self.dual + self.mean).clamp(0, 1)  # (n_kept, n, n_facies)
        estimate = estimate / estimate.sum(dim=2, keepdim=True).clamp_min(1e-6)
        alike = (self.weight[:, :, None] * estimate).sum(dim=0)
        by_itself = (self.weight_of_facies[:, None] * estimate).sum(dim=0)
        by_itself = by_itself / by_itself.sum(dim=1, keepdim=True).clamp_min(1e-6)
        closest = distance.min(dim=1)
        nearest = F.one_hot(self.class_index[closest.indices], len(self.mean)).float()
        logs = (p.clamp_min(_FLOOR).log() for p in (alike, by_itself))
        of_facies = torch.stack([alike, next(logs), by_itself, next(logs), nearest])
        support = (self.weight * towards.amax(dim=2)).sum(dim=0)
        weight, double = self.weight[:, 0], 2 * self.covariances.azimuth
        whole_survey = torch.stack(
            [
                torch.ones_like(self.skill_nats),
                (self.spacing_cells / spacing).log(),
                (weight * (self.covariances.range_cells / spacing).log()).sum(),
                (weight * self.covariances.is_gaussian).sum(),
                (weight * self.covariances.nugget).sum(),
                self.skill_nats,
                torch.full_like(self.skill_nats, math.log10(len(self.place)) / 3),
                *(weight * self.covariances.ratio.log() * torch.stack([double.cos(), double.sin()])).sum(dim=1),
            ]
        )
        here = torch.stack([support, torch.log1p(closest.values / self.spacing_cells)])
        of_place = torch.cat([here, whole_survey[:, None].expand(-1, len(place))])
        return of_facies.permute(2, 0, 1), of_place


def _isotropic(place: Tensor, spacing: Tensor) -> Covariances:
    """Return the isotropic covariances that are tried: ranges from the data's spacing to 1.5 times their extent."""
    extent = (place.amax(dim=0) - place.amin(dim=0)).norm().clamp_min(2 * spacing)
    steps = torch.linspace(0, 1, _N_RANGES, device=place.device)
    ranges = spacing * (1.5 * extent / spacing) ** steps
    kinds = torch.tensor([0.0, 1.0], device=place.device)
    nuggets = torch.tensor(_NUGGETS, device=place.device)
    of_range, of_kind, of_nugget = (v.flatten() for v in torch.meshgrid(ranges, kinds, nuggets, indexing="ij"))
    return Covariances(of_range, torch.ones_like(of_range), torch.zeros_like(of_range), of_kind > 0, of_nugget)


def _leave_one_out(place: Tensor, indicator: Tensor, covariances: Covariances) -> tuple[Tensor, Tensor]:
    """Return log loss (n,) and squared error of each facies (n, n_facies), means over the data that are tested."""
    mean, tests = indicator.mean(dim=0), []
    for part in _parts(place):
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariances.among(place[part])))
        error = inverse @ (indicator[part] - mean) / inverse.diagonal(dim1=1, dim2=2)[:, :, None]
        estimate = (indicator[part] - error).clamp_min(0.01)
        estimate = estimate / estimate.sum(dim=2, keepdim=True)
        of_datum = -(estimate.log() * indicator[part]).sum(dim=2, keepdim=True)
        tests.append(torch.cat([of_datum, error**2], dim=2))  # (n, n_part, 1 + n_facies)
    means = torch.cat(tests, dim=1).mean(dim=1)
    return means[:, 0], means[:, 1:]


def _parts(place: Tensor) -> list[Tensor]:
    """Return the data that are tested together: all, or some apart from each other and two groups of near ones."""
    n_data = len(place)
    if n_data <= _N_TOGETHER:
        return [torch.arange(n_data, device=place.device)]
    order = torch.randperm(n_data, generator=torch.Generator().manual_seed(n_data)).to(place.device)
    near = [distances(place[c : c + 1], place)[0].topk(_N_PART, largest=False).indices for c in order[:2].tolist()]
    return [order[:_N_PART], *near]
