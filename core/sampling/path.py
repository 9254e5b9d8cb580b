"""Simulation paths: dispersed orders of the cells of a lattice. Knows nothing of networks."""

from __future__ import annotations

import numpy as np

COARSER_SHARE = 0.25
"""Of a lattice's nodes lie on the next coarser one."""


def dispersed_rank(
    shape: tuple[int, int], rng: np.random.Generator, *, offset: tuple[int, int] | None = None
) -> np.ndarray:
    """
    Rank the nodes of a lattice so that every prefix of the order is spread evenly over it.

    Nodes are visited coarse to fine: nodes of a sublattice of spacing 2^l before those that only spacing 2^(l-1)
    adds. Within a level the centres of the coarser squares come first, then their sides; each of these cosets is
    split once more into four interleaved ones, in random order, and shuffled inside.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the lattice.
    rng : numpy Generator
        Source of the shuffles, and of the offset where none is given.
    offset : (int, int), optional
        Position of the coarsest sublattice: node (row, col) lies on spacing 2^l when it divides row + offset[0] and
        col + offset[1].

    Returns
    -------
    int64 array, shape (n_rows, n_cols)
        Position in the order, 0 first; a permutation of 0 … n_rows * n_cols - 1.
    """
    n_levels = int(np.ceil(np.log2(max(2, *shape))))
    if offset is None:
        offset = (int(rng.integers(2**n_levels)), int(rng.integers(2**n_levels)))
    a = np.arange(shape[0])[:, None] + offset[0]
    b = np.arange(shape[1])[None, :] + offset[1]
    level = levels_of_nodes(shape, offset, n_levels)
    # Bits at the node's own level tell its coset: 3 is the centre of a coarser square, 1 and 2 are its sides.
    coset = (((a >> level) & 1) << 1) | ((b >> level) & 1)
    subcoset = (((a >> level + 1) & 1) << 1) | ((b >> level + 1) & 1)
    coset_order = np.array([[0, *rng.permutation([1, 2]), 0] for _ in range(n_levels + 1)])
    subcoset_order = np.array([rng.permutation(4) for _ in range(n_levels + 1)])
    key = (-level * 3 + coset_order[level, coset]) * 4 + subcoset_order[level, subcoset]
    order = (key + rng.random(shape)).ravel().argsort()
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return rank.reshape(shape)


def levels_of_nodes(shape: tuple[int, int], offset: tuple[int, int], most: int) -> np.ndarray:
    """
    Return on how coarse a lattice each node lies, int64 (n_rows, n_cols): level l, spacing 2^l, up to `most`.

    Parameters
    ----------
    shape, offset
        As `dispersed_rank` takes them.
    most : int
        Of the coarsest lattice.
    """
    row, col = (trailing_zeros(np.arange(n) + first) for n, first in zip(shape, offset))
    return np.minimum(np.minimum(row[:, None], col[None, :]), most)


def trailing_zeros(number: np.ndarray) -> np.ndarray:
    """Return how often 2 divides each number; 62 for 0."""
    lowest_bit = np.where(number == 0, 1 << 62, number & -number)
    return np.round(np.log2(lowest_bit.astype(float))).astype(np.int64)
