"""Parts of a grid."""

from __future__ import annotations

from typing import Sequence, Tuple

Area = Tuple[slice, slice]
"""Rows and columns of a part of a grid."""

_REACH = 8
"""Nodes of a lattice beyond what is wanted that are simulated with it."""


def whole(shape: Sequence[int]) -> Area:
    """Return all of a grid (rows, columns)."""
    return slice(0, shape[0]), slice(0, shape[1])


def part_in_the_middle(shape: Tuple[int, int], of_part: Tuple[int, int]) -> Area:
    """Return the middle part of a grid (rows, columns) that has so many rows and columns itself."""
    first = tuple((n - side) // 2 for n, side in zip(shape, of_part))
    return slice(first[0], first[0] + of_part[0]), slice(first[1], first[1] + of_part[1])


def around(area: Area, shape: Sequence[int], spacing: int) -> Area:
    """Return an area of a grid (rows, columns) with what the nodes of a lattice in it are simulated with."""
    reach = _REACH * spacing
    rows, cols = (slice(max(0, span.start - reach), min(n, span.stop + reach)) for span, n in zip(area, shape))
    return rows, cols
