"""What is asked of a peer and what it answers: arrays in .npz files, read and written on both sides."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Callable, Tuple

import numpy as np


@dataclass(frozen=True)
class PeerJob:
    """
    What is asked of a peer: realizations of a grid, given a training image and hard data.

    Rows are counted from the north, row 0 first; x runs along a row, y from row to row.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the grid.
    n_realizations : int
        How many are asked.
    seed : int
        From which they descend, positive.
    threads : int
        How many a peer may use.
    row, col, class_index : int array, shape (n_data,)
        Hard data; none for an unconditional simulation.
    image : uint8 array, shape (n_rows, n_cols)
        Class index of the training image: what the peer may learn from.
    proportions : array, shape (n_facies,)
        Share of each facies in the image.
    lags : int array, shape (n_lags,)
        Cells apart, of the variogram.
    variogram : array, shape (2, n_lags)
        Of the image's indicators together, divided by its sill; from row to row, and along a row.
    covariance_kind : str
        Of the indicators' covariance of sill 1, one of `variograms.CORRELATIONS`.
    covariance_ranges : array, shape (2,)
        From row to row, and along a row, cells.
    covariance_nugget : float
        Share of the sill.
    """

    shape: Tuple[int, int]
    n_realizations: int
    seed: int
    threads: int
    row: np.ndarray
    col: np.ndarray
    class_index: np.ndarray
    image: np.ndarray
    proportions: np.ndarray
    lags: np.ndarray
    variogram: np.ndarray
    covariance_kind: str
    covariance_ranges: np.ndarray
    covariance_nugget: float

    def save(self, path: Path) -> None:
        """Write the job."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> PeerJob:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] if file[name].ndim else file[name].item() for name in file.files}
        values["shape"] = tuple(values["shape"].tolist())
        return cls(**values)


@dataclass(frozen=True)
class PeerResult:
    """
    What a peer answers.

    Parameters
    ----------
    realizations : uint8 array, shape (n_realizations, n_rows, n_cols)
        Class index.
    seconds : float
        Wall time of the simulation, of all realizations together; fitting and imports do not count.
    settings : str
        What was run, in words: program, version, what it was told.
    """

    realizations: np.ndarray
    seconds: float
    settings: str

    def save(self, path: Path) -> None:
        """Write the result."""
        np.savez_compressed(path, realizations=self.realizations, seconds=self.seconds, settings=self.settings)

    @classmethod
    def load(cls, path: Path) -> PeerResult:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["realizations"], float(file["seconds"]), str(file["settings"]))


def answer(simulate: Callable[[PeerJob], PeerResult]) -> None:
    """Read the job that the command line names, simulate, and write the result where it says."""
    job_path, result_path = map(Path, sys.argv[1:])
    simulate(PeerJob.load(job_path)).save(result_path)
