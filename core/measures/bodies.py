"""Bodies of a map: cells of one facies that are connected."""

from __future__ import annotations

import numpy as np


def label_bodies(class_index: np.ndarray, *, diagonal: bool = False) -> np.ndarray:
    """
    Number the bodies of a map.

    Parameters
    ----------
    class_index : int array, shape (n_rows, n_cols)
        Class index of each cell.
    diagonal : bool
        Whether cells that touch at a corner are connected too (8 neighbours instead of 4).

    Returns
    -------
    int64 array, shape (n_rows, n_cols)
        Number of each cell's body, counted from 0.
    """
    n_rows, n_cols = class_index.shape
    # Cells in a row are one run; runs that touch in neighbouring rows are joined.
    starts = np.ones((n_rows, n_cols), dtype=bool)
    starts[:, 1:] = class_index[:, 1:] != class_index[:, :-1]
    run = np.cumsum(starts.ravel()).reshape(n_rows, n_cols) - 1
    edges = []
    for shift in (-1, 0, 1) if diagonal else (0,):
        above, below = slice(max(0, -shift), n_cols - max(0, shift)), slice(max(0, shift), n_cols + min(0, shift))
        alike = class_index[:-1, above] == class_index[1:, below]
        edges.append(np.stack([run[:-1, above][alike], run[1:, below][alike]], axis=1))
    pairs = np.unique(np.concatenate(edges), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    body = np.arange(run[-1, -1] + 1)  # of each run, by the number of one of its runs
    while True:
        lower = np.minimum(body[first], body[second])
        if (body[first] == body[second]).all():
            break
        for ends in (body[first], body[second]):
            np.minimum.at(body, ends, lower)
        while (body[body] != body).any():
            body = body[body]
    _, number = np.unique(body, return_inverse=True)
    return number.reshape(-1)[run]
