"""Pieces of a training image: drawn, and compared with one another, which tells what chance makes of a comparison."""

from __future__ import annotations

from typing import Callable

import numpy as np

from ..contract.errors import TrainingImageError
from ..measures.fidelity import (
    Fidelity,
    Statistics,
    averaged,
    compare,
    divergence_bits,
    pattern_histogram,
    pattern_side,
)
from ..measures.places import cut, draw_places

_N_OF_HALF = 20  # crops
_CHANCE_PATTERNS = 0.05
"""Bits by which crops may differ for patterns of a size to be compared."""
_LEAST_KNOWN = 0.3
"""Of an image with nodata: share of its cells that each crop has to know."""


def draw_crops(class_index: np.ndarray, shape: tuple[int, int], n_crops: int, rng: np.random.Generator) -> np.ndarray:
    """
    Cut crops out of an image at random; of one with nodata those that `draw_places` takes.

    Parameters
    ----------
    class_index : int array, shape (n_rows, n_cols)
        The image; -1 where it has no facies.
    shape : (int, int)
        Of the crops.
    n_crops : int
        How many.
    rng : numpy Generator
        Of their places.

    Returns
    -------
    int array, shape (n_crops, *shape)
    """
    return np.stack([cut(class_index, place, shape) for place in draw_places(class_index, shape, n_crops, rng)])


def compare_halves(
    class_index: np.ndarray,
    shape: tuple[int, int],
    statistics: Callable[[np.ndarray], Statistics],
    rng: np.random.Generator,
) -> Fidelity | None:
    """
    Compare crops of one half of an image with those of the other.

    Parameters
    ----------
    class_index, shape, rng
        As `draw_crops` takes them.
    statistics : callable
        Maps (n_maps, n_rows, n_cols) to what is compared of them, such as `measure`.

    Returns
    -------
    Fidelity or None
        The mean over both ways to halve the image; None where its halves are too narrow, or mostly unknown.
    """
    found = []
    for axis in (0, 1):
        middle = class_index.shape[axis] // 2
        first, _, second = np.split(class_index, [middle, -middle], axis=axis)
        if any(n < n_asked for n, n_asked in zip(first.shape, shape)):
            continue
        first, second = (draw_crops(half, shape, _N_OF_HALF, rng) for half in (first, second))
        if _are_known(first) and _are_known(second):
            found.append(compare(statistics(first), statistics(second)))
    return averaged(found) if found else None


def check_known(*of_image: np.ndarray) -> None:
    """
    Look whether all pieces of an image are known for a good part.

    Parameters
    ----------
    of_image : int arrays, shape (n, n_rows, n_cols)
        The pieces, -1 where nothing is known.

    Raises
    ------
    TrainingImageError
        When one of them is not.
    """
    for pieces in of_image:
        if not _are_known(pieces):
            raise TrainingImageError(
                f"Pieces of {pieces.shape[1]} x {pieces.shape[2]} cells of the training image are nodata for the most "
                "part, so that there is nothing to compare realizations with. Use smaller pieces, or an image with "
                "less nodata."
            )


def _are_known(pieces: np.ndarray) -> bool:
    """Whether each of some pieces (n, n_rows, n_cols) of an image is known for a good part."""
    return bool(((pieces >= 0).mean(axis=(1, 2)) >= _LEAST_KNOWN).all())


def pattern_side_of(crops: np.ndarray, others: np.ndarray, n_facies: int) -> int:
    """
    Return the side of the largest patterns of which crops hold enough, so that those of other crops are alike.

    Parameters
    ----------
    crops, others : int array, shape (n, n_rows, n_cols)
        Pieces of one image, -1 where nothing is known.
    n_facies : int
        Number of facies.

    Returns
    -------
    int
        2 or more.
    """
    for side in range(pattern_side(n_facies), 2, -1):
        histograms = (pattern_histogram(pieces, n_facies, side=side) for pieces in (crops, others))
        if divergence_bits(*histograms) < _CHANCE_PATTERNS:
            return side
    return 2
