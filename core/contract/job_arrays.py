"""The arrays of a simulation's job and result: what is read from the one, and written for the other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .ensemble import entropy_bits, most_probable_facies
from .errors import JobError
from .grid import Grid


class GriddedJob(Protocol):
    """What jobs that simulate on a grid have in common."""

    @property
    def grid(self) -> Grid:
        """The simulation grid."""

    @property
    def row(self) -> tuple[int, ...]:
        """Rows of the hard data."""

    @property
    def col(self) -> tuple[int, ...]:
        """Columns of the hard data."""

    @property
    def class_index(self) -> tuple[int, ...]:
        """Facies of the hard data."""

    @property
    def mask_path(self) -> str | None:
        """File of the mask, if there is one."""


@dataclass(frozen=True)
class JobMaps:
    """
    A job's hard data and mask as maps of its grid, and of as many cells around it as it takes to hold all data.

    Parameters
    ----------
    known : int64 array, shape (n_rows, n_cols)
        Class index, -1 elsewhere.
    inside : bool array, shape (n_rows, n_cols)
        Cells to simulate: none of those around the grid.
    window : (slice, slice)
        Rows and columns that are the grid's.
    """

    known: np.ndarray
    inside: np.ndarray
    window: tuple[slice, slice]

    def of_grid(self, maps: np.ndarray, nothing: float) -> np.ndarray:
        """Return the grid's part of maps (..., n_rows, n_cols), with `nothing` in cells that are not simulated."""
        part: np.ndarray = np.where(self.inside, maps, np.asarray(nothing, maps.dtype))[(..., *self.window)]
        return part


def read_maps(job: GriddedJob) -> JobMaps:
    """Return hard data and mask of a job as maps; raise `JobError` as `read_mask` does."""
    inside, shape = read_mask(job.mask_path, job.grid.shape), np.array(job.grid.shape)
    place, class_index = np.array([job.row, job.col], dtype=np.int64), np.array(job.class_index, dtype=np.int64)
    before = -place.min(axis=1, initial=0)
    beyond = (place.max(axis=1, initial=0) + 1 - shape).clip(0)
    known = np.full(before + shape + beyond, -1, dtype=np.int64)
    known[tuple(place + before[:, None])] = class_index
    window = slice(before[0], before[0] + shape[0]), slice(before[1], before[1] + shape[1])
    simulated = np.zeros(known.shape, dtype=bool)
    simulated[window] = inside
    return JobMaps(known, simulated, window)


def read_mask(path: str | None, shape: tuple[int, int]) -> np.ndarray:
    """
    Return the cells to simulate, bool (n_rows, n_cols): all of them without a file.

    Raises
    ------
    JobError
        When the mask is not of the grid, or covers no cell.
    """
    inside = np.ones(shape, dtype=bool)
    if path:
        inside = np.load(path, allow_pickle=False)
        if inside.shape != shape or inside.dtype != np.bool_:
            raise JobError(f"The mask is {inside.dtype} of shape {inside.shape}; it must be bool of shape {shape}.")
    if not inside.any():
        raise JobError("The mask covers no cell of the grid: check that mask and extent overlap.")
    return inside


def save_probability_maps(folder: str, probability: np.ndarray) -> tuple[dict[str, str], float]:
    """
    Save facies probabilities, and what follows from them.

    Parameters
    ----------
    folder : str
        A job's work folder.
    probability : float32 array, shape (n_facies, n_rows, n_cols)
        Of the grid; NaN outside the mask.

    Returns
    -------
    paths : dict of str to str
        'probability_path', 'entropy_path' and 'most_probable_path'.
    mean_entropy_bits : float
        Inside the mask.
    """
    entropy = entropy_bits(probability)
    arrays = {
        "probability": probability,
        "entropy": entropy.astype(np.float32),
        "most_probable": most_probable_facies(probability),
    }
    paths = {}
    for name, array in arrays.items():
        paths[f"{name}_path"] = os.path.join(folder, f"{name}.npy")
        np.save(paths[f"{name}_path"], np.ascontiguousarray(array))
    return paths, float(np.nanmean(entropy))
