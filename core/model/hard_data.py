"""Hard data as the networks are told of them: where they lie beside the nodes of a lattice."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HardData(NamedTuple):
    """
    Hard data, each attached to its nearest node of a lattice, on it or beside it.

    Fields are tensors of shape (n_data,): map in the batch, class index, row and column of the nearest node, and
    the distance from that node southwards and eastwards, in node spacings (-0.5 … 0.5).
    """

    batch: Tensor
    class_index: Tensor
    row: Tensor
    col: Tensor
    south: Tensor
    east: Tensor
