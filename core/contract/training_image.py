"""The training image: a categorical map whose patterns a model learns, with a block of it held out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Mapping, Optional, Tuple

import numpy as np

from .errors import TrainingImageError
from .facies import MAX_CODE, MAX_FACIES, FaciesTable, are_codes, build_facies_table
from .words import percent

SYMMETRIES = ("none", "half turn", "flips", "rotations")
"""
What the user declares to leave the image as likely as it was: nothing; a rotation by 180 degrees; this and flips along
either axis; all these and rotations by 90 degrees.
"""
MIN_SIDE = 64
"""Fewest rows and columns that an image has."""
MIN_KNOWN_SHARE = 0.25
"""Smallest share of cells that hold a facies."""
STRAY_SHARE = 1e-4
"""A code that covers less than this, and less than `STRAY_CELLS` cells, is taken for an error of the image."""
STRAY_CELLS = 25
MAX_STRAY_SHARE = 0.01
"""Of all cells: where the rare codes cover more, they are taken for what they are."""
_LEAST_SHOWN = 12
"""Rows and columns of the image that a window which hangs over its borders holds at least."""
HELD_OUT_SHARE = 0.25
"""Of the image's sides: the block in one of its corners that training does not see."""
CORNERS = {
    "lower right": (False, False),
    "lower left": (False, True),
    "upper right": (True, False),
    "upper left": (True, True),
}
"""Where the block may be, best first: whether it is at the first rows, and at the first columns."""
LEAST_TO_TELL = 0.01
"""Of a block, the share that is not of its most frequent facies, for the block to judge a model by."""
_MOST_HELD_OUT = 0.5
"""Of the cells of a facies, the share that the block may hold."""
MAX_GAP = 64
"""Cells between what is learnt and what is held out, at most; and at most a tenth of the shorter side."""
FEWEST_NODES = 24
"""Nodes that a lattice has along the image's shorter side at least, for its level to be learnt."""
MAX_LEVEL = 5

Window = Tuple[int, int, int, int]
"""First row and column, number of rows and columns."""


@dataclass(frozen=True)
class TrainingImage:
    """
    A validated categorical image.

    Parameters
    ----------
    class_index : int16 array, shape (n_rows, n_cols)
        Class index of each cell, -1 where nothing is known. Row 0 is north.
    facies : FaciesTable
        Its facies.
    symmetry : {'none', 'half turn', 'flips', 'rotations'}
        What leaves the image as likely as it was.
    cell_size : float, optional
        Side of a cell in metres, where the image tells it; in units of its own where it does not tell any.
    origin : str
        Where it comes from, in words.
    stray : mapping of int to int
        Codes that were taken for errors, and in how many cells; these are unknown in `class_index`.

    Raises
    ------
    TrainingImageError
        When it is too small, or too little of it is known.
    """

    class_index: np.ndarray
    facies: FaciesTable
    symmetry: str = "none"
    cell_size: Optional[float] = None
    origin: str = ""
    stray: Mapping[int, int] = field(default_factory=dict)

    IS_WHOLE: ClassVar[bool] = False
    """Whether windows are to be as large as they can be, for places in the image have a meaning."""

    def __post_init__(self) -> None:
        if self.symmetry not in SYMMETRIES:
            raise TrainingImageError(
                f"The symmetry {self.symmetry!r} is unknown; choose one of {', '.join(SYMMETRIES)}."
            )
        self._check_shape()
        if int(self.class_index.max()) >= len(self.facies):
            raise TrainingImageError(
                f"The training image holds the class index {int(self.class_index.max())}; its facies table has "
                f"{len(self.facies)} facies, numbered from 0."
            )
        share = float((self.class_index >= 0).mean())
        if share < MIN_KNOWN_SHARE:
            raise TrainingImageError(
                f"Only {percent(share)} of the training image's cells hold a facies; at least "
                f"{percent(MIN_KNOWN_SHARE)} are needed. Clip the image to the part that is mapped, or check its "
                "nodata value."
            )
        if not (self.held_out >= 0).any():
            raise TrainingImageError(
                "The corners of the training image, one of which is held out to judge the model, hold nodata only. "
                "Clip the image to the part that is mapped."
            )

    def _check_shape(self) -> None:
        n_rows, n_cols = self.class_index.shape
        if min(n_rows, n_cols) < MIN_SIDE:
            raise TrainingImageError(
                f"The training image has {n_rows} x {n_cols} cells; it needs at least {MIN_SIDE} x {MIN_SIDE} for "
                "patterns to be learnt from it, and several hundred for good ones. Use a larger image."
            )

    @property
    def shape(self) -> Tuple[int, int]:
        """Rows and columns."""
        n_rows, n_cols = self.class_index.shape[-2:]
        return int(n_rows), int(n_cols)

    @property
    def proportions(self) -> np.ndarray:
        """Share of each facies among known cells, shape (n_facies,)."""
        counts = np.bincount(self.class_index[self.class_index >= 0], minlength=len(self.facies))
        return counts / counts.sum()

    @property
    def gap(self) -> int:
        """Cells between what is learnt and what is held out."""
        return min(MAX_GAP, min(self.shape) // 10)

    @property
    def held_out(self) -> np.ndarray:
        """The block that training does not see: a view of `class_index`."""
        return self._block(self.held_out_corner)

    @cached_property
    def held_out_corner(self) -> str:
        """
        Which of `CORNERS` is held out.

        The first one, unless hardly anything there is to be told apart, or most of a facies lies there, which could
        not be learnt then: then the one where most is to be told apart among those of which neither holds.
        """
        of_image = np.bincount(self.class_index[self.class_index >= 0], minlength=len(self.facies))

        def rank(corner: str) -> Tuple[bool, bool, float, float]:
            """Return whether a block is of use and leaves enough of each facies, and how much it tells and holds."""
            block = self._block(corner)
            counts = np.bincount(block[block >= 0], minlength=len(self.facies))
            to_tell = (counts.sum() - counts.max()) / block.size
            is_left = bool((counts <= _MOST_HELD_OUT * of_image).all())
            tells = bool(to_tell >= LEAST_TO_TELL)
            return tells and is_left, tells, to_tell, counts.sum() / block.size

        first = next(iter(CORNERS))
        return first if rank(first)[0] else max(CORNERS, key=rank)

    @cached_property
    def unlearnt(self) -> Tuple[int, ...]:
        """Facies that occur in the held-out block only, or in the gap around it: training never sees them."""
        return tuple(k for k in range(len(self.facies)) if not any((part == k).any() for part in self.learnt))

    def _block(self, corner: str) -> np.ndarray:
        spans = (
            slice(n - start) if is_first else slice(start, None)
            for n, start, is_first in zip(self.shape, self._held_out_from, CORNERS[corner])
        )
        return self.class_index[tuple(spans)]

    @property
    def _held_out_from(self) -> Tuple[int, int]:
        n_rows, n_cols = self.shape
        return n_rows - round(HELD_OUT_SHARE * n_rows), n_cols - round(HELD_OUT_SHARE * n_cols)

    @property
    def coarsest_level(self) -> int:
        """
        Level of the coarsest lattice worth learning: spacing 2^level.

        Its nodes are no further apart than the thinnest facies is thick along an axis, on average, or four cells if it
        is thinner, for what lies between nodes is out of sight; and the image holds `FEWEST_NODES` of them along each
        side.
        """
        thickness = min(mean_thickness(self.class_index, k) for k in range(len(self.facies)))
        most_nodes = min(self.shape) / FEWEST_NODES
        return int(np.clip(math.floor(math.log2(max(1.0, min(max(thickness, 4.0), most_nodes)))), 0, MAX_LEVEL))

    @property
    def refined_above(self) -> int:
        """
        Levels above the coarsest one on which the refiner draws nodes, too: one, where a window shows enough of them.

        What shares the facies have, and how they hang together, is decided there, by a network that sees few nodes.
        """
        return int(min(self.largest_window()) >= FEWEST_NODES * 2 ** (self.coarsest_level + 1))

    def largest_window(self) -> Tuple[int, int]:
        """Return rows and columns of the largest window that training can be shown: all beside what is held out."""
        row, col = self._held_out_from
        return row - self.gap, col - self.gap

    @property
    def learnt(self) -> Tuple[np.ndarray, ...]:
        """What training sees, in two parts that overlap: views of `class_index`."""
        spans = [
            slice(n - most, None) if is_first else slice(most)
            for n, most, is_first in zip(self.shape, self.largest_window(), CORNERS[self.held_out_corner])
        ]
        return self.class_index[spans[0]], self.class_index[:, spans[1]]

    def draw_window(self, shape: Tuple[int, int], rng: np.random.Generator) -> Window:
        """
        Place a window at random where it shares no cell with the held-out block or the gap around it.

        It may hang over the image's borders: else these would hardly be seen, and facies that are at home there would
        be too rare.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns, no more than `largest_window`.
        rng : numpy Generator
            Source of the place.
        """
        limit = self.largest_window()
        while True:  # as if the block were at the last rows and columns
            least = (min(_LEAST_SHOWN, side) for side in shape)
            top, left = (
                int(rng.integers(shown - side, n - shown + 1)) for n, side, shown in zip(self.shape, shape, least)
            )
            if top + shape[0] <= limit[0] or left + shape[1] <= limit[1]:
                return self._placed(top, left, shape)

    def draw_held_out_window(self, shape: Tuple[int, int], rng: np.random.Generator) -> Window:
        """Place a window at random in the held-out block; it is as large as that allows."""
        first = self._held_out_from
        rows, cols = (min(side, n - start) for side, n, start in zip(shape, self.shape, first))
        top, left = (
            start + int(rng.integers(n - start - side + 1)) for start, n, side in zip(first, self.shape, (rows, cols))
        )
        return self._placed(top, left, (rows, cols))

    def _placed(self, top: int, left: int, shape: Tuple[int, int]) -> Window:
        """Return a window that is placed as if the held-out block were at the last rows and columns."""
        row, col = (
            n - side - at if is_first else at
            for n, side, at, is_first in zip(self.shape, shape, (top, left), CORNERS[self.held_out_corner])
        )
        return row, col, shape[0], shape[1]

    def cut(self, window: Window) -> np.ndarray:
        """Return a window's class indices, int16, shape (n_rows, n_cols); -1 beyond the image."""
        top, left, n_rows, n_cols = window
        shown = self.class_index[max(0, top) : top + n_rows, max(0, left) : left + n_cols]
        before = max(0, -top), max(0, -left)
        beyond = [(first, side - first - n) for first, side, n in zip(before, (n_rows, n_cols), shown.shape)]
        return np.pad(shown, beyond, constant_values=-1)


def mean_thickness(class_index: np.ndarray, facies: int) -> float:
    """Return how many cells of a facies lie in a row on average, along the axis where they are fewer."""
    is_facies = class_index == facies
    n_runs = [(np.diff(np.pad(is_facies, 1).astype(np.int8), axis=axis) == 1).sum() for axis in (-2, -1)]
    return float(is_facies.sum() / max(1, *n_runs))


def image_of_codes(
    codes: np.ndarray,
    known: np.ndarray,
    *,
    styles: Optional[Mapping[Any, Tuple[Optional[str], Optional[str]]]] = None,
    symmetry: str = "none",
    cell_size: Optional[float] = None,
    origin: str = "",
) -> TrainingImage:
    """
    Make a training image of facies codes.

    Parameters
    ----------
    codes : array, shape (n_rows, n_cols)
        Whole numbers, of any type.
    known : bool array, shape (n_rows, n_cols)
        False at nodata.
    styles : mapping, optional
        Code to (name, colour), as `build_facies_table` takes it.
    symmetry, cell_size, origin
        As `TrainingImage` has them.

    Raises
    ------
    TrainingImageError
        For values that are no whole numbers, too many facies or only one, and what `TrainingImage` refuses.
    """
    if codes.ndim != 2 or known.shape != codes.shape:
        raise TrainingImageError(f"A training image has rows and columns, and no more; this one is {codes.shape}.")
    values = codes[known]
    if not values.size:
        raise TrainingImageError("The training image holds nodata only. Check its nodata value.")
    is_code = are_codes(values)
    if not is_code.all():
        raise TrainingImageError(
            f"The training image holds {float(values[~is_code][0]):g}, which is no facies code: codes are whole "
            f"numbers up to {MAX_CODE:,}. A continuous raster (elevation, reflectance) has to be classified "
            "first, for example with 'Reclassify by table'; a nodata value has to be declared."
        )
    present, count = np.unique(values, return_counts=True)
    is_stray = (count < STRAY_SHARE * values.size) & (count < STRAY_CELLS)
    if count[is_stray].sum() > MAX_STRAY_SHARE * values.size:
        is_stray[:] = False  # so many are no errors
    stray = {int(code): int(n) for code, n in zip(present[is_stray], count[is_stray])}
    kept = [int(code) for code in present[~is_stray]]
    if len(kept) > MAX_FACIES:
        raise TrainingImageError(
            f"The training image holds {len(kept):,} different values; at most {MAX_FACIES} facies are possible. A "
            "continuous raster or a photograph has to be classified first, for example with 'Reclassify by table'; "
            "a picture must be saved without lossy compression."
        )
    if len(kept) < 2:
        raise TrainingImageError(
            f"The training image holds one facies only ({', '.join(map(str, kept))}); there is nothing to learn. "
            "Check that band and nodata value are the right ones."
        )
    facies = build_facies_table(kept, styles)
    is_kept = known & np.isin(codes, kept)
    return TrainingImage(facies.class_map(codes, is_kept), facies, symmetry, cell_size, origin, stray)
