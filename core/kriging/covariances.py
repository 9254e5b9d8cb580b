"""
Covariances that are tried on a survey, in batches, and the data that they are tested on.

Sources: Isaaks and Srivastava 1989, *Applied Geostatistics* (geometric anisotropy); Chilès and Delfiner 2012,
*Geostatistics* (covariance functions).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

EXPONENTIAL, GAUSSIAN, MATERN = range(3)
"""Shapes of a covariance; the last one is Matern's of smoothness 3/2."""

_PAIRS_AT_ONCE = 250_000  # what fits into a processor's cache: 40 % faster than sixteen times as many
_RATIOS, _N_AZIMUTHS = (2.0, 4.5), 6
_N_RANGES = 7
_MATERN_RATE = 4.74  # at the range, as the others there, it has faded to 5 %
_JITTER = 1e-4
_NOTHING_LEFT = 80.0  # covariances of e^-80 are none; a processor takes seventeen times as long for smaller ones


class Covariances(NamedTuple):
    """
    Covariances of sill 1 with geometric anisotropy.

    Fields are tensors of shape (n,): range in cells, the geometric mean of the longest and the shortest one; the ratio
    of these; azimuth of the longest, in radians from southwards to eastwards; shape, one of those above; and nugget.
    """

    range_cells: Tensor
    ratio: Tensor
    azimuth: Tensor
    shape: Tensor
    nugget: Tensor

    def between(self, place: Tensor, other: Tensor) -> Tensor:
        """Return the covariances (n, n_places, n_others) between places (n_places, 2) and (n_others, 2), in cells."""
        south, east = (place[:, None] - other).unbind(dim=-1)
        products = torch.stack([south * south, 2 * south * east, east * east])
        squared = torch.tensordot(self._metric(), products, dims=1).clamp_min_(0)  # in ranges
        shape, sill = self.shape[:, None, None], (1 - self.nugget)[:, None, None]
        is_matern = shape == MATERN
        if is_matern.all():
            faded = squared.sqrt_().mul_(_MATERN_RATE)
            return (1 + faded) * _exp_of_minus(faded) * sill
        exponent = torch.where(shape == GAUSSIAN, squared, squared.sqrt()).mul_(3)
        if is_matern.any():
            faded = squared.sqrt_().mul_(_MATERN_RATE)
            exponent = torch.where(is_matern, faded - torch.log1p(faded), exponent)
        return _exp_of_minus(exponent).mul_(sill)

    def among(self, place: Tensor) -> Tensor:
        """Return the covariance matrices (n, n_data, n_data) of data at places (n_data, 2)."""
        matrices = self.between(place, place)
        matrices.diagonal(dim1=1, dim2=2).fill_(1 + _JITTER)
        return matrices

    def select(self, index: Tensor) -> Covariances:
        """Return some of the covariances."""
        return Covariances(*(values[index] for values in self))

    def stretched(self) -> Covariances:
        """Return these covariances, each with every ratio and azimuth that is tried, one after the other."""
        ratios = torch.tensor(_RATIOS, device=self.nugget.device)
        azimuths = torch.arange(_N_AZIMUTHS, device=self.nugget.device) * (math.pi / _N_AZIMUTHS)
        ratio, azimuth = (v.flatten() for v in torch.meshgrid(ratios, azimuths, indexing="ij"))
        each = self.select(torch.arange(len(self.nugget), device=self.nugget.device).repeat_interleave(len(ratio)))
        return each._replace(ratio=ratio.repeat(len(self.nugget)), azimuth=azimuth.repeat(len(self.nugget)))

    def with_nuggets(self, nuggets: tuple[float, ...]) -> Covariances:
        """Return these covariances, each with every one of some nuggets, one after the other."""
        of_each = torch.tensor(nuggets, device=self.nugget.device).repeat(len(self.nugget))
        each = Covariances(*(values.repeat_interleave(len(nuggets)) for values in self))
        return each._replace(nugget=of_each)

    def followed_by(self, others: Covariances) -> Covariances:
        """Return these covariances and others after them."""
        return Covariances(*(torch.cat(both) for both in zip(self, others)))

    def _metric(self) -> Tensor:
        """Return by what products of differences south-south, south-east and east-east count, (n, 3): in ranges."""
        cos, sin = self.azimuth.cos(), self.azimuth.sin()
        along, across = 1 / (self.ratio * self.range_cells**2), self.ratio / self.range_cells**2
        return torch.stack(
            [along * cos**2 + across * sin**2, (along - across) * cos * sin, along * sin**2 + across * cos**2], dim=1
        )


def _exp_of_minus(exponent: Tensor) -> Tensor:
    """Return exp(-exponent), as far as there is anything left."""
    return exponent.clamp_max(_NOTHING_LEFT).neg_().exp_()


def distances(place: Tensor, other: Tensor) -> Tensor:
    """Return distances (…, n, m) between places (…, n, 2) and (…, m, 2), exact also for places close to each other."""
    return torch.cdist(place, other, compute_mode="donot_use_mm_for_euclid_dist")


def blocks_of(place: Tensor, n_data: int) -> tuple[Tensor, ...]:
    """Return places (n, 2) in blocks whose distances from `n_data` data fit into a processor's cache."""
    return torch.split(place, max(1, _PAIRS_AT_ONCE // n_data))


def spacing_of(place: Tensor) -> Tensor:
    """Return the median distance from a datum (n_data, 2) to its nearest one."""
    return distances(place, place).fill_diagonal_(torch.inf).min(dim=1).values.median()


def isotropic(place: Tensor, spacing: Tensor, shapes: tuple[int, ...], nuggets: tuple[float, ...]) -> Covariances:
    """
    Return isotropic covariances to try: ranges from the spacing of data to three spacings, or 1.5 times their extent.

    Parameters
    ----------
    place : Tensor, shape (n_data, 2)
        Row and column of the data, in cells.
    spacing : Tensor, scalar
        Median distance from a datum to its nearest one, in cells.
    shapes, nuggets : tuple
        Each of these is combined with each of seven ranges.
    """
    extent = (place.amax(dim=0) - place.amin(dim=0)).norm().clamp_min(2 * spacing)
    ranges = spacing * (1.5 * extent / spacing) ** torch.linspace(0, 1, _N_RANGES, device=place.device)
    tried = torch.meshgrid(
        ranges,
        torch.tensor(shapes, device=place.device).float(),
        torch.tensor(nuggets, device=place.device),
        indexing="ij",
    )
    of_range, of_shape, of_nugget = (values.flatten() for values in tried)
    return Covariances(of_range, torch.ones_like(of_range), torch.zeros_like(of_range), of_shape, of_nugget)


def drawn_order(place: Tensor) -> Tensor:
    """
    Return the order (n_data,) in which data at places (n_data, 2), whole cells, are drawn: as good as random.

    It follows from the places alone, so that one more datum, or another order of the same data, draws the same ones.
    """
    row, col = place.long().unbind(dim=1)
    mixed = (row * 0x1F123BB5 + col * 0x5F356495 + 1) & 0xFFFFFFFF
    for _ in range(3):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return mixed.argsort(stable=True)


def parts_to_test(place: Tensor, most_together: int, n_part: int) -> list[Tensor]:
    """
    Return the data that are tested together.

    Parameters
    ----------
    place : Tensor, shape (n_data, 2)
        Row and column of the data, in cells.
    most_together : int
        Up to so many data are tested together.
    n_part : int
        Of more, so many apart from each other, and two groups of so many near each other.
    """
    n_data = len(place)
    if n_data <= most_together:
        return [torch.arange(n_data, device=place.device)]
    order = drawn_order(place)
    near = [distances(place[c : c + 1], place)[0].topk(n_part, largest=False).indices for c in order[:2].tolist()]
    return [order[:n_part], *near]
