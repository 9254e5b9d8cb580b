"""The image, what methods may learn of it, and what is hidden from them: blocks with hard data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from osgeo import gdal

from benchmarks.peers.contract import PeerJob
from benchmarks.peers.variograms import FittedCovariance, fit_indicator_covariance
from oadg.core.evaluation.crops import draw_crops
from oadg.core.measures.fidelity import LAGS, variogram


@dataclass(frozen=True)
class Setting:
    """
    What all methods are asked about.

    Parameters
    ----------
    learnt : int64 array, shape (n_rows, n_cols)
        Class index of the part of the image that methods may learn from.
    held_out : int64 array, shape (n_rows, n_cols)
        The part that they may not.
    image : int64 array, shape (n_rows, n_cols)
        All of it.
    n_facies : int
        Number of facies.
    lags, variogram
        Of the learnt part, as `PeerJob` has them.
    covariance : FittedCovariance
        Fitted to them.
    seed, threads : int
        Of all methods.
    """

    learnt: np.ndarray
    held_out: np.ndarray
    image: np.ndarray
    n_facies: int
    lags: np.ndarray
    variogram: np.ndarray
    covariance: FittedCovariance
    seed: int
    threads: int

    @property
    def proportions(self) -> np.ndarray:
        """Share of each facies in the learnt part, shape (n_facies,)."""
        return np.bincount(self.learnt.ravel(), minlength=self.n_facies) / self.learnt.size

    def peer_job(self, shape: tuple[int, int], n_realizations: int, number: int, data: Draw | None = None) -> PeerJob:
        """Return what a peer is asked: realizations of a shape, with the hard data of a draw if there is one."""
        cells = np.zeros((0, 2), dtype=np.int64) if data is None else data.cells
        found = np.zeros(0, dtype=np.int64) if data is None else data.class_index
        return PeerJob(
            shape=shape,
            n_realizations=n_realizations,
            seed=1 + int(np.random.default_rng([self.seed, 2, number]).integers(2**30)),
            threads=self.threads,
            row=cells[:, 0],
            col=cells[:, 1],
            class_index=found,
            image=self.learnt.astype(np.uint8),
            proportions=self.proportions,
            lags=self.lags,
            variogram=self.variogram,
            covariance_kind=self.covariance.kind,
            covariance_ranges=np.array(self.covariance.ranges),
            covariance_nugget=self.covariance.nugget,
        )


@dataclass(frozen=True)
class Draw:
    """
    A block of the held-out part, and hard data of it.

    Parameters
    ----------
    truth : int64 array, shape (n_rows, n_cols)
        Class index.
    cells : int64 array, shape (n_data, 2)
        Row and column of the hard data.
    """

    truth: np.ndarray
    cells: np.ndarray

    @property
    def class_index(self) -> np.ndarray:
        """Facies of the hard data, shape (n_data,)."""
        return self.truth[tuple(self.cells.T)]

    @property
    def known(self) -> np.ndarray:
        """Hard data as a map: class index, -1 elsewhere."""
        known = np.full(self.truth.shape, -1, dtype=np.int64)
        known[tuple(self.cells.T)] = self.class_index
        return known


def read_image(path: Path) -> np.ndarray:
    """Return the class index (n_rows, n_cols) of an image: its values in their order, as a model numbers facies."""
    gdal.UseExceptions()
    codes = np.load(path, allow_pickle=False) if path.suffix == ".npy" else gdal.Open(str(path)).ReadAsArray()
    values, class_index = np.unique(codes, return_inverse=True)
    if codes.ndim != 2 or len(values) < 2:
        raise SystemExit(f"{path} has the shape {codes.shape} and {len(values)} values; one band of facies is needed.")
    return class_index.reshape(codes.shape).astype(np.int64)


def setting_of(image: np.ndarray, split: tuple[int, int], *, seed: int, threads: int) -> Setting:
    """Part an image (n_rows, n_cols) at a row and a column: learnt before both, held out from both on."""
    row, col = split
    learnt, n_facies = image[:row, :col], int(image.max()) + 1
    lags = np.array([lag for lag in LAGS if lag < min(learnt.shape) // 2])
    curves = standardised_variogram(learnt, n_facies, lags)
    covariance = fit_indicator_covariance(lags, curves)
    return Setting(learnt, image[row:, col:], image, n_facies, lags, curves, covariance, seed, threads)


def standardised_variogram(class_index: np.ndarray, n_facies: int, lags: np.ndarray) -> np.ndarray:
    """Return the variogram (2, n_lags) of all indicators of a map together, divided by the sum of their sills."""
    share = np.bincount(class_index.ravel(), minlength=n_facies) / class_index.size
    curves = [
        [sum(variogram(class_index[None], k, int(lag), axis) for k in range(n_facies)) for lag in lags]
        for axis in (0, 1)
    ]
    return np.array(curves) / (share * (1 - share)).sum()


def draw(setting: Setting, number: int, side: int, n_data: int) -> Draw:
    """Draw a block of the held-out part and hard data at random cells, two facies of which are seen at least."""
    rng = np.random.default_rng([setting.seed, 1, number])
    while True:
        (truth,) = draw_crops(setting.held_out, (side, side), 1, rng)
        cells = np.stack(np.divmod(rng.choice(truth.size, n_data, replace=False), side), axis=1)
        drawn = Draw(truth, cells)
        if np.unique(drawn.class_index).size > 1:
            return drawn
