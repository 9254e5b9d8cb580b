"""
Do conditional realizations reproduce what is known? Variograms of the data, connectivity, bodies, shares.

Sparse data and full maps are measured by one ruler: indicator variograms are taken at the very offsets that lie between
data, each weighted with the number of pairs of data that have it. So the data's own map is no way from the data,
however these are arranged. Sources: Goovaerts 1997, section 2.3 (experimental indicator variograms); Leuangthong,
McLennan and Deutsch 2004, *Natural Resources Research* 13 (what realizations should reproduce).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from ..contract.errors import ConditioningError
from .bodies import label_bodies
from .fidelity import connected_pairs
from .places import TIMES_AS_MANY, best_known, cut

DIRECTIONS = ("in all directions", "north to south", "west to east")
"""Of variograms; either axis with all that is nearer to it than to the other."""
MAX_LAGS = 12
_PAIRS_OF_A_LAG = 60
_LONGEST = 1 / 3  # of the diagonal of the data's extent
_LEAST_KNOWN = 0.1
"""Of the cells that are simulated: what must be known of a reference for its bodies and pairs to tell anything."""


@dataclass(frozen=True)
class DataPairs:
    """
    Pairs of data, in classes of distance and direction.

    Parameters
    ----------
    offset : int array, shape (n_offsets, 2)
        Rows and columns from one datum to another, each offset once.
    n_pairs : int array, shape (n_offsets,)
        Pairs of data that have it.
    lag_class : int array, shape (n_offsets,)
        Class of distance, of equal widths.
    """

    offset: np.ndarray
    n_pairs: np.ndarray
    lag_class: np.ndarray

    @classmethod
    def of(cls, known: np.ndarray) -> DataPairs:
        """
        Find the pairs of data up to a third of the diagonal of their extent apart.

        Parameters
        ----------
        known : int array, shape (n_rows, n_cols)
            Class index, negative where there is no datum; a few thousand data at most.

        Raises
        ------
        ConditioningError
            When there are not two data.
        """
        cells = np.argwhere(known >= 0)
        if len(cells) < 2:
            raise ConditioningError(
                f"There are {len(cells)} cells with observations; a variogram needs two. Take more observations."
            )
        first, second = np.triu_indices(len(cells), 1)  # from north to south, so that each offset has one sign
        offset, n_pairs = np.unique(cells[second] - cells[first], axis=0, return_counts=True)
        distance = np.hypot(*offset.T)
        longest = max(_LONGEST * float(np.hypot(*np.ptp(cells, axis=0))), float(distance.min()))
        near = distance <= longest
        offset, n_pairs, distance = offset[near], n_pairs[near], distance[near]
        n_lags = int(np.clip(n_pairs.sum() // _PAIRS_OF_A_LAG, 1, MAX_LAGS))
        return cls(offset, n_pairs, np.minimum((distance / longest * n_lags).astype(int), n_lags - 1))

    @property
    def n_lags(self) -> int:
        """Number of classes of distance."""
        return int(self.lag_class.max()) + 1

    @property
    def n_pairs_of_lags(self) -> np.ndarray:
        """Pairs of data in each class of distance, in all directions, shape (n_lags,)."""
        return np.bincount(self.lag_class, self.n_pairs, self.n_lags)

    @property
    def distance(self) -> np.ndarray:
        """Mean distance of the pairs in cells, shape (n_directions, n_lags); NaN where there is none."""
        return self._mean(np.hypot(*self.offset.T), self.n_pairs)

    def _mean(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the weighted means (n_directions, n_lags) of values (n_offsets,); NaN where all weights are 0."""
        south, east = np.abs(self.offset).T
        means = []
        for is_along in (np.ones(len(south), dtype=bool), south >= east, east >= south):  # diagonals belong to both
            weight = np.bincount(self.lag_class, weights * is_along, self.n_lags)
            total = np.bincount(self.lag_class, weights * is_along * values, self.n_lags)
            means.append(np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan))
        return np.stack(means)

    def variograms(self, class_index: np.ndarray, n_facies: int) -> np.ndarray:
        """
        Return the indicator variograms of a map at the offsets of the data.

        Parameters
        ----------
        class_index : int array, shape (n_rows, n_cols)
            Class index, negative where nothing is known: of a realization, a crop, or of the data themselves.
        n_facies : int
            Number of facies.

        Returns
        -------
        array, shape (n_facies, n_directions, n_lags)
            Half the share of pairs of cells of which one is of the facies; NaN where there is no pair.
        """
        # The number of pairs at every offset, and of those that differ, is a correlation: a product of spectra.
        reach = int(np.abs(self.offset).max())
        size = tuple(side + reach for side in class_index.shape)
        at = tuple((self.offset % size).T)

        def spectrum(cells: np.ndarray) -> np.ndarray:
            return np.fft.rfft2(cells, size)

        def number(product: np.ndarray) -> np.ndarray:
            return np.rint(np.fft.irfft2(product, size)[at])

        known = spectrum(class_index >= 0)
        n_pairs = number(np.abs(known) ** 2)
        weights = self.n_pairs * (n_pairs > 0)
        found = []
        for k in range(n_facies):
            own = spectrum(class_index == k)
            n_different = number(2 * (own.conj() * known).real - 2 * np.abs(own) ** 2)
            found.append(self._mean(0.5 * n_different / np.maximum(n_pairs, 1), weights))
        return np.stack(found)


@dataclass(frozen=True)
class Reproduction:
    """
    What is measured of each of a set of maps.

    Parameters
    ----------
    variogram : array, shape (n_maps, n_facies, n_directions, n_lags)
        At the offsets of the data.
    connectivity : array, shape (n_maps, n_facies, 2, n_connected_lags)
        Share of the pairs of cells of a facies that lie in one body, along axes 0 and 1 of a map; NaN without a pair.
    n_pairs : int array, shape (n_maps, n_facies, 2, n_connected_lags)
        Number of these pairs.
    bodies : int array, shape (n_maps, n_facies)
        Number of bodies, whose cells may touch at corners.
    shares : array, shape (n_maps, n_facies)
        Of the known cells.
    """

    variogram: np.ndarray
    connectivity: np.ndarray
    n_pairs: np.ndarray
    bodies: np.ndarray
    shares: np.ndarray

    @property
    def mean_connectivity(self) -> np.ndarray:
        """Mean over maps, shape (n_facies, 2, n_connected_lags); NaN where no map has a pair."""
        return mean_of_known(self.connectivity, axis=0)

    def connectivity_misfit(self, expected: Reproduction) -> float:
        """
        Return of which share of pairs of cells of a facies too many or too few lie in one body.

        That is the distance of the mean connectivity from that of other maps, each as heavy as it has pairs in these;
        NaN when they share no lag.
        """
        difference = np.abs(self.mean_connectivity - expected.mean_connectivity)
        pairs = np.where(np.isfinite(difference), expected.n_pairs.mean(axis=0), 0)
        return float((pairs * np.nan_to_num(difference)).sum() / pairs.sum()) if pairs.sum() else float("nan")


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean over an axis of what is not NaN; NaN where all is."""
    known = np.isfinite(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def connected_lags(pairs: DataPairs, shape: tuple[int, int]) -> np.ndarray:
    """
    Return the cells apart (n_connected_lags,) of connectivity: as far as variograms reach, half the map at most.

    That is half its longer side: at lags beyond the shorter one there is no pair along it, and the longer one tells.
    """
    reach = min(int(np.nanmax(pairs.distance)), max(shape) // 2)
    return np.unique(np.linspace(1, max(1, reach), MAX_LAGS).astype(int))


def known_like(maps: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """
    Return maps with holes like those of crops, so that they can be held against each other.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index, negative where nothing is known.
    crops : int array, shape (n_crops, n_rows, n_cols)
        Of a reference; the maps take the holes of one after another, so that they have the same in the same shares.

    Returns
    -------
    int array, shape (n_maps, n_rows, n_cols)
        -1 in the holes.
    """
    return np.where(crops[np.arange(len(maps)) % len(crops)] >= 0, maps, -1)


def measure_maps(
    maps: np.ndarray,
    n_facies: int,
    pairs: DataPairs,
    lags: np.ndarray,
    on_map: Callable[[float, str], None] = lambda fraction, text: None,
) -> Reproduction:
    """
    Measure maps.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index, negative where nothing is known.
    n_facies : int
        Number of facies.
    pairs : DataPairs
        Where variograms are taken.
    lags : int array, shape (n_connected_lags,)
        Cells apart, of connectivity.
    on_map : callable
        Told the share of maps that are done and what is being done; what it raises ends the work.
    """
    found: list[tuple[np.ndarray, ...]] = []
    facies = range(n_facies)
    for number, class_index in enumerate(maps):
        on_map(number / len(maps), "Measuring the maps")
        body = label_bodies(class_index, diagonal=True)
        one, its = class_index[None], body[None]
        counts = [[[connected_pairs(one, its, k, lag, axis) for lag in lags] for axis in (0, 1)] for k in facies]
        n_connected, n_pairs = np.moveaxis(np.array(counts), -1, 0)
        found.append(
            (
                pairs.variograms(class_index, n_facies),
                np.where(n_pairs > 0, n_connected / np.maximum(n_pairs, 1), np.nan),
                n_pairs,
                np.array([np.unique(body[class_index == k]).size for k in facies]),
                np.array([(class_index == k).sum() for k in facies]) / max(1, int((class_index >= 0).sum())),
            )
        )
    return Reproduction(*map(np.stack, zip(*found)))


def variogram_misfit(variogram: np.ndarray, expected: np.ndarray, pairs: DataPairs, sill: np.ndarray) -> float:
    """
    Return how far variograms are from those expected, as a share of the sill.

    Parameters
    ----------
    variogram, expected : array, shape (n_facies, n_directions, n_lags)
        Of which those in all directions count.
    pairs : DataPairs
        Whose numbers weight the lags.
    sill : array, shape (n_facies,)
        p(1 - p) of each facies.

    Returns
    -------
    float
        The root mean square over lags, summed over facies, over the sum of sills; NaN without a lag to compare.
    """
    difference = (variogram - expected)[:, 0]
    weight = np.where(np.isfinite(difference), pairs.n_pairs_of_lags, 0.0)
    if not weight.any() or not sill.any():
        return float("nan")
    square = (weight * np.nan_to_num(difference) ** 2).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
    return float(np.sqrt(square).sum() / sill.sum())


def crops_like(reference: np.ndarray, inside: np.ndarray, n_crops: int, *, seed: int = 0) -> np.ndarray:
    """
    Cut crops of a reference that are as large as the grid, and known where cells are simulated.

    Parameters
    ----------
    reference : int array, shape (n_rows, n_cols)
        Class index, -1 where nothing is known; at least as large as the grid.
    inside : bool array
        Cells of the grid that are simulated; the others are -1 in the crops.
    n_crops : int
        How many; fewer where there are not so many places. Of several times as many, those known about as
        well as the best one are taken, or else the best known, and none of which hardly anything is known.
    seed : int
        From which their places descend.

    Returns
    -------
    int array, shape (n_crops, *inside.shape)

    Raises
    ------
    ConditioningError
        When hardly anything is known in any of them.
    """
    rng = np.random.default_rng([seed, 2])
    limits = np.array(reference.shape) - inside.shape + 1
    places = rng.permutation(np.unique(rng.integers(0, limits, (TIMES_AS_MANY * n_crops, 2)), axis=0))
    places, known = best_known(reference, places, inside)
    if known.max() < _LEAST_KNOWN:
        where = "the reference" if len(places) == 1 else f"the best known of {len(places)} pieces of the reference"
        raise ConditioningError(
            f"Where cells are simulated, {100 * known.max():.2g} % of {where} are known, the rest is nodata; below "
            f"{100 * _LEAST_KNOWN:.0f} % bodies and connectivity tell nothing. Use a reference with less nodata, an "
            "extent or mask of the area in which it is known, or none."
        )
    chosen = places[known >= _LEAST_KNOWN][:n_crops]
    return np.stack([np.where(inside, cut(reference, place, inside.shape), -1) for place in chosen])
