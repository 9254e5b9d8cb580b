"""What a user should know before trusting a map: told by the observations and the grid alone, before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional

import numpy as np

from .conditioning import ConditioningData, median_spacing, nearest_others
from .grid import Grid

FAR_SHARE = 0.25
"""From this share of cells far from all observations on, users are told."""
LEAST_DATA = 20
"""Of fewer observations neighbours tell nothing about correlation."""
WEAK_AGREEMENT = 0.2
"""Less than this share of the way from chance to certainty, and neighbours tell hardly anything about each other."""
_ONE_SIDED_95 = 1.645
_TILES, _GAPPY = 10, 0.4
"""Tiles along the area of the observations; if these hold a smaller share of as many as they could, it is gappy."""
_SPACINGS = 2
"""Times the distance between neighbouring observations that is never far."""
_STRAY_SHARE, _STRAY_TIMES = 0.05, 10.0
"""At most so many of the observations are strays, so many times as far from the middle as all others."""


@dataclass(frozen=True)
class Agreement:
    """
    How often neighbouring observations are of one facies.

    Parameters
    ----------
    share : float
        Share of pairs of nearest neighbours that are of one facies, 0 to 1.
    by_chance : float
        The same for pairs of any two observations: what neighbours without correlation would have.
    n_pairs : int
        Number of pairs of nearest neighbours, each counted once.
    """

    share: float
    by_chance: float
    n_pairs: int

    @property
    def is_weak(self) -> bool:
        """Whether neighbours agree hardly more often than chance, beyond doubt: one-sided, at the level of 5 %."""
        doubt = _ONE_SIDED_95 * np.sqrt(self.by_chance * (1 - self.by_chance) / self.n_pairs)
        return bool(self.share + doubt < self.by_chance + WEAK_AGREEMENT * (1 - self.by_chance))


def neighbour_agreement(easting: np.ndarray, northing: np.ndarray, class_index: np.ndarray) -> Agreement:
    """
    Compare nearest neighbours with any two observations.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates of at least two observations, at different places.
    class_index : int array, shape (n_points,)
        Observed facies.
    """
    class_index = np.asarray(class_index)
    looking, neighbour, _ = nearest_others(np.stack([easting, northing], axis=1))
    pairs = np.unique(np.sort(np.stack([looking, neighbour], axis=1), axis=1), axis=0)
    counts = np.bincount(class_index)
    return Agreement(
        share=float((class_index[pairs[:, 0]] == class_index[pairs[:, 1]]).mean()),
        by_chance=float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1))),
        n_pairs=len(pairs),
    )


def share_far_from_data(data: ConditioningData, grid: Grid, inside: Optional[np.ndarray] = None) -> float:
    """
    Return the share of simulated cells that lie far from the observations.

    Far is more than half the side of a square as large as their bounding box beyond that: an extent twice as wide and
    as high as a square survey, and centred on it, holds no such cell. Where they leave most of that box empty, far is
    as far from the nearest observation, of a square as large as what they fill. A few times the distance between
    observations is never far.

    Parameters
    ----------
    data : ConditioningData
        At least one datum.
    grid : Grid
        The simulation grid.
    inside : bool array, shape (n_rows, n_cols), optional
        Cells that are simulated; all of them by default.
    """
    sides = np.ptp(data.row) + 1, np.ptp(data.col) + 1
    filled = _share_filled(data, max(sides))
    boxes = np.stack([data.row, data.col], axis=1)
    boxes = np.stack([boxes, boxes])  # first and last row and column of each
    if filled > _GAPPY:
        filled, boxes = 1.0, np.stack([boxes[0].min(axis=0), boxes[0].max(axis=0)])[:, None]
    near_others = min(_SPACINGS * median_spacing(data.row, data.col), max(sides) / 2)
    margin = max(math.sqrt(sides[0] * sides[1] * filled) / 2, near_others)
    # Each box adds 1 to the cells that it holds, by its corners: sums along both axes make it of them.
    first = np.floor(boxes[0] - margin).astype(np.int64).clip(0, grid.shape)
    beyond = (np.ceil(boxes[1] + margin) + 1).astype(np.int64).clip(0, grid.shape)
    near = np.zeros((grid.n_rows + 1, grid.n_cols + 1), dtype=np.int32)
    for rows, cols, sign in ((first, first, 1), (beyond, beyond, 1), (first, beyond, -1), (beyond, first, -1)):
        np.add.at(near, (rows[:, 0], cols[:, 1]), sign)
    is_near = near.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    inside = np.broadcast_to(True, grid.shape) if inside is None else inside
    return 1 - float((is_near & inside).sum()) / float(inside.sum())


def _share_filled(data: ConditioningData, side: float) -> float:
    """Return how many of the tiles of a square of a side hold observations, over what as many at random would fill."""
    if len(data) < LEAST_DATA:
        return 1.0
    tile = [(cells - cells.min()) * _TILES // side for cells in (data.row, data.col)]
    n_tiles = np.prod([of_axis.max() + 1 for of_axis in tile])  # the area may be narrower than it is long
    n_filled = len(np.unique(tile[0] * _TILES + tile[1]))
    return float(n_filled / (n_tiles * -np.expm1(-len(data) / n_tiles)))


def stray_caution(easting: np.ndarray, northing: np.ndarray, unit: str = "units of the CRS") -> Optional[str]:
    """
    Return a sentence about observations that lie far from all others, as with a wrong coordinate; None without any.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates.
    unit : str
        What distances are counted in.
    """
    easting, northing = np.asarray(easting, dtype=float), np.asarray(northing, dtype=float)
    if len(easting) < 3:
        return None
    distance = np.hypot(easting - np.median(easting), northing - np.median(northing))
    farthest = np.argsort(distance)[::-1]
    for n_strays in range(max(1, int(_STRAY_SHARE * len(easting))), 0, -1):
        nearest_stray, others = farthest[n_strays - 1], farthest[n_strays:]
        if distance[nearest_stray] > _STRAY_TIMES * distance[others].max() > 0:
            first = farthest[0]
            return (
                f"{n_strays:,} of {len(easting):,} observations {'lies' if n_strays == 1 else 'lie'} far from "
                f"all others, one at easting {easting[first]:.10g}, northing {northing[first]:.10g}, "
                f"{distance[first]:,.0f} {unit} away. Are these coordinates wrong? The extent and the "
                "size of the cells, where they are not given, follow from all observations."
            )
    return None


def cautions(
    data: ConditioningData, grid: Grid, *, inside: Optional[np.ndarray] = None, unit: str = "units of the CRS"
) -> List[str]:
    """
    Return, as sentences, where and why a map of these observations would say little; empty when all seems well.

    Parameters
    ----------
    data : ConditioningData
        The observations on the grid.
    grid : Grid
        The simulation grid.
    inside : bool array, shape (n_rows, n_cols), optional
        Cells that are simulated; all of them by default.
    unit : str
        What distances are counted in.
    """
    told = []
    far = share_far_from_data(data, grid, inside)
    if far >= FAR_SHARE:
        told.append(
            f"{100 * far:.0f} % of the cells lie far from all observations: farther than half the size of the area "
            "that these fill. There the map shows what the model expects anywhere (its prior), and no observation "
            "supports it. Use a smaller extent, or a mask."
        )
    if len(data) >= LEAST_DATA and len(np.unique(data.class_index)) > 1:
        easting, northing = grid.centre_of(data.row, data.col)
        agreement = neighbour_agreement(easting, northing, data.class_index)
        if agreement.is_weak:
            told.append(
                f"Neighbouring observations are of one facies in {100 * agreement.share:.0f} % of cases, any two "
                f"observations in {100 * agreement.by_chance:.0f} %: neighbours agree hardly more often than chance. "
                "The range of the facies seems to be shorter than the distance between observations (about "
                f"{median_spacing(easting, northing):.3g} {unit}; cells are {grid.cell_size:g}), so between them the "
                "map can tell little more than proportions. Smaller cells do not help; nearer observations would. "
                "Is this the right field?"
            )
    return told
