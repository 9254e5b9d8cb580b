"""Where crops of an image lie: anywhere, and in an image with nodata where most is known."""

from __future__ import annotations

import numpy as np

TIMES_AS_MANY = 8
"""Places are drawn, of an image with nodata, as are taken."""
_KNOWN_ENOUGH = 0.8
"""Of what the best known crop knows: whoever knows as much is as good. Those known best lie beside each other, where
nodata are scattered evenly, and would not stand for the image."""


def draw_places(class_index: np.ndarray, shape: tuple[int, int], n_places: int, rng: np.random.Generator) -> np.ndarray:
    """
    Draw where crops of an image lie; in one with nodata those that are known about as well as the best one.

    Parameters
    ----------
    class_index : int array, shape (n_rows, n_cols)
        The image; -1 where it has no facies.
    shape : (int, int)
        Of the crops; no larger than the image.
    n_places : int
        How many.
    rng : numpy Generator
        Of the places.

    Returns
    -------
    int array, shape (n_places, 2)
        Row and column of the first cell of each.
    """
    limits = np.array(class_index.shape) - shape + 1
    if (class_index >= 0).all():
        return rng.integers(0, limits, (n_places, 2))
    places = rng.integers(0, limits, (TIMES_AS_MANY * n_places, 2))
    return best_known(class_index, places, np.ones(shape, dtype=bool))[0][:n_places]


def best_known(class_index: np.ndarray, places: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Order places of crops: those known about as well as the best one as they come, then the others, best known first.

    Parameters
    ----------
    class_index : int array, shape (n_rows, n_cols)
        The image; -1 where it has no facies.
    places : int array, shape (n_places, 2)
        Row and column of the first cell of each crop.
    asked : bool array, shape of a crop
        Cells that count.

    Returns
    -------
    places : int array, shape (n_places, 2)
        In this order.
    share : array, shape (n_places,)
        Of the cells asked, how many each crop knows.
    """
    share = np.array([(cut(class_index, place, asked.shape)[asked] >= 0).mean() for place in places])
    order = np.argsort(-np.minimum(share, _KNOWN_ENOUGH * share.max()), kind="stable")
    return places[order], share[order]


def cut(class_index: np.ndarray, place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the crop (n_rows, n_cols) of an image whose first cell lies at a place."""
    return class_index[place[0] : place[0] + shape[0], place[1] : place[1] + shape[1]]
