"""
Maps that are shown to a network: in part, and turned, each by its own number of quarter turns.

A network that learnt its maps in all orientations alike answers almost, but not quite, the same when the map is turned;
the mean of its answers is better than any of them.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Sequence

import torch
from torch import Tensor

from ..kriging.kriging_features import KrigingFeatures
from .hard_data import HardData
from .texture import turned_texture


class Shown(NamedTuple):
    """Maps that a network is asked about: class indices, inside, hard data and more, as its `forward` takes them."""

    class_index: Tensor
    inside: Tensor
    data: HardData
    features: KrigingFeatures | None = None
    context: Tensor | None = None
    texture: Tensor | None = None

    def turned(self, maps: Sequence[int], turn: int) -> Shown:
        """Return some of the maps, numbered anew, after so many quarter turns counterclockwise."""
        chosen = torch.tensor(maps, device=self.class_index.device)
        n_rows, n_cols = self.class_index.shape[1:]
        return Shown(
            torch.rot90(self.class_index[chosen], turn, (1, 2)),
            torch.rot90(self.inside[chosen], turn, (1, 2)),
            _turned_data(self.data, chosen, turn, (n_rows, n_cols)),
            self.features and KrigingFeatures(*(values[chosen] for values in self.features)).turned(turn),
            None if self.context is None else torch.rot90(self.context[chosen], turn, (2, 3)),
            None if self.texture is None else turned_texture(self.texture[chosen], turn),
        )

    def parts(self, n_maps: int) -> list[Shown]:
        """Return the maps so many at a time."""
        total = len(self.class_index)
        if total <= n_maps:
            return [self]
        return [self.turned(range(first, min(total, first + n_maps)), 0) for first in range(0, total, n_maps)]

    def window(self, rows: slice, cols: slice) -> Shown:
        """Return what lies in a window of the maps."""
        data = self.data
        held = (data.row >= rows.start) & (data.row < rows.stop) & (data.col >= cols.start) & (data.col < cols.stop)
        within = HardData(*(values[held] for values in data))
        return Shown(
            self.class_index[:, rows, cols],
            self.inside[:, rows, cols],
            within._replace(row=within.row - rows.start, col=within.col - cols.start),
            self.features and KrigingFeatures(*(values[..., rows, cols] for values in self.features)),
            None if self.context is None else self.context[..., rows, cols],
            self.texture,
        )


Answer = Callable[[Shown], Tensor]
"""Some maps to values (batch, n, n_rows, n_cols)."""


def answer_turned(answer: Answer, turns: Sequence[int], shown: Shown) -> Tensor:
    """
    Ask about maps that are turned, and turn the answers back.

    Parameters
    ----------
    answer : callable
        What is asked, about maps of one turn at a time.
    turns : sequence of int
        Quarter turns of each map, counterclockwise, 0 … 3.
    shown : Shown
        The maps.

    Returns
    -------
    Tensor, shape (batch, n, n_rows, n_cols)
        The answers, in the orientation of the maps.
    """
    answers: dict[int, Tensor] = {}
    for turn in sorted(set(turns)):
        maps = [index for index, of_map in enumerate(turns) if of_map == turn]
        answers.update(zip(maps, torch.rot90(answer(shown.turned(maps, turn)), -turn, (2, 3))))
    return torch.stack([answers[index] for index in range(len(turns))])


def _turned_data(data: HardData, chosen: Tensor, turn: int, shape: tuple[int, int]) -> HardData:
    """Return the hard data of the chosen maps (which are numbered anew) of rows and columns, turned."""
    held = torch.isin(data.batch, chosen)
    batch, class_index, row, col, south, east = (values[held] for values in data)
    for _ in range(turn):
        row, col, south, east = shape[1] - 1 - col, row, -east, south
        shape = (shape[1], shape[0])
    return HardData(torch.searchsorted(chosen, batch), class_index, row, col, south, east)
