"""
Are realizations right about what was not shown to them? Ranks of the truth's statistics among theirs.

When truth and realizations are drawn alike given the data, the rank of any statistic of the truth among those of the
realizations is uniform. Too many extreme ranks: the realizations are too sure; too many in the middle: not sure enough.
Sources: Talts et al. 2018, arXiv 1804.06788 (simulation-based calibration); Wilson and Hilferty 1931, *PNAS* 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from oadg.core.contract.errors import JobError


@dataclass(frozen=True)
class Uniformity:
    """
    How uniform ranks are.

    Parameters
    ----------
    counts : int array, shape (n_bins,)
        Ranks in bins of equally many ranks, low ones first.
    chi_square : float
        Pearson's statistic against equal counts, with n_bins - 1 degrees of freedom.
    p_value : float
        Chance of a larger one when the ranks are uniform; only rough below five ranks a bin.
    """

    counts: np.ndarray
    chi_square: float
    p_value: float

    @property
    def extreme(self) -> float:
        """Share of ranks in the two outer bins; 2 / n_bins when uniform, more when realizations are too sure."""
        return float((self.counts[0] + self.counts[-1]) / self.counts.sum())


def rank_among(truth: float, simulated: np.ndarray, rng: np.random.Generator) -> int:
    """
    Return how many simulated values lie below the truth, ties broken at random.

    Parameters
    ----------
    truth : float
        A statistic of the truth.
    simulated : array, shape (n_realizations,)
        The same of the realizations.
    rng : numpy.random.Generator
        Breaks the ties.

    Returns
    -------
    int
        0 … n_realizations.
    """
    below, equal = (int(np.sum(f(simulated, truth))) for f in (np.less, np.equal))
    return below + int(rng.integers(0, equal + 1))


def uniformity(ranks: np.ndarray, n_ranks: int, n_bins: int = 10) -> Uniformity:
    """
    Test whether ranks are uniform.

    Parameters
    ----------
    ranks : int array, shape (n,)
        0 … n_ranks - 1, one at least.
    n_ranks : int
        Possible ranks: one more than there are realizations.
    n_bins : int
        Divides n_ranks.

    Raises
    ------
    JobError
        When the bins cannot be of equally many ranks, or there are no ranks.
    """
    if n_ranks % n_bins or not len(ranks):
        raise JobError(
            f"{len(ranks)} ranks of {n_ranks} possible ones cannot be tested in {n_bins} bins: it takes a rank at "
            "least, and bins of equally many ranks. Choose a number of bins that divides the number of realizations "
            "plus 1."
        )
    counts = np.bincount(np.asarray(ranks) * n_bins // n_ranks, minlength=n_bins)
    expected = len(ranks) / n_bins
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    return Uniformity(counts, chi_square, chi_square_tail(chi_square, n_bins - 1))


def chi_square_tail(value: float, degrees: int) -> float:
    """
    Return the chance that a chi-square variable exceeds a value, by Wilson and Hilferty's cube root.

    Within .01 from three degrees of freedom on.
    """
    variance = 2 / (9 * degrees)
    return 1 - NormalDist().cdf(((value / degrees) ** (1 / 3) - (1 - variance)) / variance**0.5)


def boundary_length(class_index: np.ndarray) -> int:
    """Return the number of sides between cells of different facies on a map (n_rows, n_cols)."""
    return int((class_index[1:] != class_index[:-1]).sum() + (class_index[:, 1:] != class_index[:, :-1]).sum())


def mean_chord_cells(class_index: np.ndarray) -> float:
    """Return the mean distance between boundaries along rows and columns of a map (n_rows, n_cols), cells."""
    n_rows, n_cols = class_index.shape
    return (2 * n_rows * n_cols) / (boundary_length(class_index) + n_rows + n_cols)
