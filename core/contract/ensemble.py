"""What facies probabilities say at each cell: the most probable facies, and entropy."""

from __future__ import annotations

import numpy as np

OUTSIDE = 255
"""Class index of cells that are not simulated, in uint8 maps."""


def entropy_bits(probability: np.ndarray) -> np.ndarray:
    """
    Shannon entropy of the facies at each cell, in bits.

    Parameters
    ----------
    probability : array, shape (n_facies, n_rows, n_cols)
        Facies probabilities; they sum to 1 over the first axis. NaN where nothing is simulated.

    Returns
    -------
    array, shape (n_rows, n_cols)
        0 where one facies is certain, log2(n_facies) where all are equally likely; NaN is kept.
    """
    safe = np.where(probability > 0, probability, 1.0)
    entropy = -(probability * np.log2(safe)).sum(axis=0)
    return np.clip(entropy, 0.0, np.log2(len(probability)))


def most_probable_facies(probability: np.ndarray) -> np.ndarray:
    """
    Class index of the most probable facies at each cell; the lowest one where several are equally likely.

    Parameters
    ----------
    probability : array, shape (n_facies, n_rows, n_cols)
        Facies probabilities, NaN where nothing is simulated.

    Returns
    -------
    uint8 array, shape (n_rows, n_cols)
        `OUTSIDE` where the probability is NaN.
    """
    outside = np.isnan(probability[0])
    mode = np.where(outside, 0.0, probability).argmax(axis=0)
    return np.where(outside, OUTSIDE, mode).astype(np.uint8)
