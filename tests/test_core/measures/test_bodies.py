"""Bodies of maps, by hand and against a plain search."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.measures.bodies import label_bodies


def n_bodies(class_index, **options):
    return label_bodies(class_index, **options).max() + 1


def test_bodies_by_hand():
    assert n_bodies(np.zeros((3, 4), dtype=int)) == 1
    board = np.indices((4, 4)).sum(axis=0) % 2
    assert n_bodies(board) == 16, "corners do not join"
    assert n_bodies(board, diagonal=True) == 2, "corners join"
    assert n_bodies(np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]])) == 2, "arms join below"
    assert n_bodies(np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]])) == 5


def bodies_by_search(facies, diagonal):
    """Count bodies by walking from cell to cell."""
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1), *([(1, 1), (1, -1), (-1, 1), (-1, -1)] if diagonal else [])]
    left, number = set(np.ndindex(facies.shape)), 0
    while left:
        number, reached = number + 1, [left.pop()]
        while reached:
            row, col = reached.pop()
            near = {(row + down, col + right) for down, right in steps} & left
            near = {cell for cell in near if facies[cell] == facies[row, col]}
            left -= near
            reached += near
    return number


@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(1, 14),
    n_cols=st.integers(1, 14),
    n_facies=st.integers(1, 3),
    diagonal=st.booleans(),
)
def test_bodies_as_a_search_finds_them(seed, n_rows, n_cols, n_facies, diagonal):
    facies = np.random.default_rng(seed).integers(0, n_facies, (n_rows, n_cols))
    body = label_bodies(facies, diagonal=diagonal)
    assert n_bodies(facies, diagonal=diagonal) == bodies_by_search(facies, diagonal)
    assert all(len(set(facies[body == number])) == 1 for number in range(body.max() + 1))
