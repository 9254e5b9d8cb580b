"""
The refiner: facies logits at the nodes of a lattice of which the next coarser one is known.

What is left to decide there is near: where exactly an edge runs, how a thin body goes on. So this network keeps every
node apart, where `FaciesNetwork` folds four of them into one. And most of what it sees, the coarser lattice, stays as
it is while the nodes between are drawn in many passes: that is read once, by most of the layers, and what remains for
each pass is a small network. So a pass costs about half of what it would, and training learns from several at once.
Source: He et al. 2016, arXiv 1512.03385, for residual blocks.
"""

from __future__ import annotations

from typing import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hard_data import HardData

_STEM_SIDE = 5
_PLACES = 5
"""Along each side of the square of places beside a node at which a datum is told apart."""


def refiner_radius(n_blocks: int, n_pass_blocks: int) -> int:
    """Return the distance, in nodes along an axis, at which an input of a refiner can change an output."""
    return _STEM_SIDE // 2 + 2 * (n_blocks + n_pass_blocks)


class Refiner(nn.Module):
    """
    A residual network at the resolution of the lattice, which knows the facies of its training image one by one.

    Parameters
    ----------
    n_channels : int
        Width.
    n_blocks, n_pass_blocks : int
        Depth of what is read once, and of what is read in each pass.
    n_facies : int
        Number of facies.
    n_levels : int
        Levels of lattices that it tells apart, fine to coarse.
    """

    def __init__(self, n_channels: int, n_blocks: int, n_pass_blocks: int, n_facies: int, n_levels: int):
        super().__init__()
        self.far_stem = nn.Conv2d(n_facies + 1, n_channels, _STEM_SIDE, padding=_STEM_SIDE // 2)
        self.of_data = nn.Parameter(torch.zeros(n_facies, _PLACES**2, n_channels))
        self.far = nn.ModuleList(_Block(n_channels, n_levels) for _ in range(n_blocks))
        self.join = nn.Conv2d(n_channels, n_channels, 1)
        self.stem = nn.Conv2d(n_facies + 1, n_channels, _STEM_SIDE, padding=_STEM_SIDE // 2)
        self.near = nn.ModuleList(_Block(n_channels, n_levels) for _ in range(n_pass_blocks))
        self.head = nn.Conv2d(n_channels, n_facies, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def context(self, known: Tensor, inside: Tensor, data: HardData, level: int) -> Tensor:
        """
        Read what stays as it is while the other nodes are drawn.

        Parameters
        ----------
        known : float Tensor, shape (batch, n_facies, n_rows, n_cols)
            1 for the facies of a node of the coarser lattice, or of a datum; else 0.
        inside : bool Tensor, shape (batch, n_rows, n_cols)
            Whether a node lies on the grid.
        data : HardData
            Each is told to the four nodes around it.
        level : int
            Of the lattice.

        Returns
        -------
        Tensor, shape (batch, n_channels, n_rows, n_cols)
            For `forward`.
        """
        x = self.far_stem(_stem_input(known, inside))
        for node, places in corners(data, known.shape[2:]):
            x = _add_at(x, node, torch.einsum("dp,dpc->dc", places, self.of_data[data.class_index]))
        for block in self.far:
            x = block(x, level)
        return self.join(x)  # a rectifier here could let all of it die, unnoticed

    def forward(self, known: Tensor, inside: Tensor, context: Tensor, level: int) -> Tensor:
        """
        Return the facies logits at every node that is not known.

        Parameters
        ----------
        known : float Tensor, shape (batch, n_facies, n_rows, n_cols)
            1 for the facies of a known node, else 0. Where the unknown nodes of each map are among every second one of
            every second row, as when nodes are drawn anew, the last layers are computed at these only.
        inside, level : Tensor and int
            As in `context`.
        context : Tensor, shape (batch, n_channels, n_rows, n_cols)
            From `context`.

        Returns
        -------
        Tensor, shape (batch, n_facies, n_rows, n_cols)
            Unnormalised log-probabilities; of known nodes they say nothing.
        """
        x = self.stem(_stem_input(known, inside)).add_(context)
        *blocks, last = self.near
        assert isinstance(last, _Block)
        for block in blocks:
            x = block(x, level)
        asked = _asked_of_four(inside & (known.sum(dim=1) == 0))
        if asked is None:
            answer: Tensor = self.head(F.relu(last(x, level)))
            return answer
        answers = [self.head(F.relu(seen)) for seen in last.at_quarters(x, level, asked)]
        logits = answers[0].new_zeros(known.shape)
        for index, (answer, (row, col)) in enumerate(zip(answers, asked)):  # views by unbinding take no gradients
            logits[index, :, row::2, col::2] = answer[0]
        return logits


def corners(data: HardData, shape: torch.Size) -> Iterator[tuple[Tensor, Tensor]]:
    """
    Yield the four nodes around each datum: first those north-west of them, then north-east, south-west, south-east.

    Parameters
    ----------
    data : HardData
        The data.
    shape : (int, int)
        Rows and columns of the lattice.

    Yields
    ------
    node : int64 Tensor, shape (n_data,)
        The node, counted through the batch row by row.
    places : Tensor, shape (n_data, _PLACES ** 2)
        Where the datum lies beside it: weights of places in the square around the node whose border its neighbours lie
        on. All are 0 for a datum on that border, as they are at three of the four nodes of a datum that is a node.
    """
    north, west = (data.south < 0).long(), (data.east < 0).long()  # of its nearest node
    for down in (0, 1):
        for right in (0, 1):
            row, col = data.row - north + down, data.col - west + right
            south, east = data.south + north - down, data.east + west - right  # -1 … 1
            row, col = row.clamp(0, shape[0] - 1), col.clamp(0, shape[1] - 1)  # of data on the border of a tile
            places = _hats(south)[:, :, None] * _hats(east)[:, None, :]
            yield (data.batch * shape[0] + row) * shape[1] + col, places.flatten(1)


def _hats(distance: Tensor) -> Tensor:
    """Return weights (n, _PLACES) of places between -1 and 1, linear from one to the next, 0 at both ends."""
    position = (distance + 1) * ((_PLACES + 1) / 2) - 1
    return (1 - (position[:, None] - torch.arange(_PLACES, device=distance.device)).abs()).clamp_min(0)


def _stem_input(known: Tensor, inside: Tensor) -> Tensor:
    """Return the input of a stem, in the memory layout that convolutions are fastest in."""
    return torch.cat([known, inside[:, None].float()], dim=1).contiguous(memory_format=torch.channels_last)


def _asked_of_four(unknown: Tensor) -> list[tuple[int, int]] | None:
    """
    Return the node of each square of four that is asked about: its row and column, each 0 or 1, of each map.

    None where any other node of a map (n_maps, n_rows, n_cols) is unknown, too. To compute the last layers at these
    nodes only, by `_Block.at_quarters`, saves 4 to 6 % of the time of a realization (measured with the models channels,
    256 x 256 cells, and delta, 192 x 192).
    """
    n_maps, n_rows, n_cols = unknown.shape
    squares = unknown.reshape(n_maps, n_rows // 2, 2, n_cols // 2, 2)
    asked = squares.any(dim=3).any(dim=1).flatten(1)  # (n_maps, 4)
    if (asked.sum(dim=1) > 1).any():
        return None
    return [divmod(place, 2) for place in asked.int().argmax(dim=1).tolist()]


def _add_at(x: Tensor, node: Tensor, what: Tensor) -> Tensor:
    """Add rows (n_data, n_channels) at nodes of x (batch, n_channels, n_rows, n_cols), counted row by row."""
    if not len(node):
        return x
    by_node = x.permute(0, 2, 3, 1)
    return by_node.flatten(0, 2).index_add(0, node, what.to(x.dtype)).view_as(by_node).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Two convolutions beside a shortcut; each level has biases of its own between them."""

    def __init__(self, n_channels: int, n_levels: int):
        super().__init__()
        self.look = nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False)
        self.of_level = nn.Parameter(torch.zeros(n_levels, n_channels))
        self.look_again = nn.Conv2d(n_channels, n_channels, 3, padding=1)
        nn.init.zeros_(self.look_again.weight)  # a block starts as nothing, so that many do not make values explode
        nn.init.zeros_(self.look_again.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, level: int) -> Tensor:
        seen: Tensor = self.look_again(self._looked(x, level))
        return seen.add_(x)

    def at_quarters(self, x: Tensor, level: int, asked: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """Yield what `forward` returns of each map at every second node of every second row, from those asked on."""
        looked = self._looked(x, level)
        for index, (row, col) in enumerate(asked):
            around = F.pad(looked[index : index + 1], (1 - col, col, 1 - row, row))
            seen = F.conv2d(around, self.look_again.weight, self.look_again.bias, stride=2)
            yield seen.add_(x[index : index + 1, :, row::2, col::2])

    def _looked(self, x: Tensor, level: int) -> Tensor:
        bias = self.of_level[min(level, len(self.of_level) - 1)]
        return F.relu(F.conv2d(x, self.look.weight, bias, padding=1), inplace=True)
