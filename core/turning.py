"""
Maps that are shown to a network turned, each by its own number of quarter turns.

A network that learnt its maps in all orientations alike answers almost, but not quite, the same when the map is turned;
the mean of its answers is better than any of them.
"""

from __future__ import annotations

from typing import Callable, Sequence

import torch
from torch import Tensor

from .hard_data import HardData
from .kriging_features import KrigingFeatures

Answer = Callable[[Tensor, Tensor, HardData, "KrigingFeatures | None", "Tensor | None"], Tensor]
"""Class indices, inside, hard data, features and context of some maps, to values (batch, n, n_rows, n_cols)."""


def answer_turned(
    answer: Answer,
    turns: Sequence[int],
    class_index: Tensor,
    inside: Tensor,
    data: HardData,
    features: KrigingFeatures | None,
    context: Tensor | None,
) -> Tensor:
    """
    Ask about maps that are turned, and turn the answers back.

    Parameters
    ----------
    answer : callable
        What is asked, about maps of one turn at a time.
    turns : sequence of int
        Quarter turns of each map, counterclockwise, 0 … 3.
    class_index, inside, data, features, context
        As `FaciesNetwork.forward` takes them.

    Returns
    -------
    Tensor, shape (batch, n, n_rows, n_cols)
        The answers, in the orientation of `class_index`.
    """
    answers: list[Tensor | None] = [None] * len(turns)
    for turn in sorted(set(turns)):
        maps = [index for index, of_map in enumerate(turns) if of_map == turn]
        chosen = torch.tensor(maps, device=class_index.device)
        asked = (
            torch.rot90(class_index[chosen], turn, (1, 2)),
            torch.rot90(inside[chosen], turn, (1, 2)),
            _turned_data(data, chosen, turn, (class_index.shape[1], class_index.shape[2])),
            features and KrigingFeatures(*(values[chosen] for values in features)).turned(turn),
            None if context is None else torch.rot90(context[chosen], turn, (2, 3)),
        )
        answers_of_turn = torch.rot90(answer(*asked), -turn, (2, 3))
        for index, of_map in zip(maps, answers_of_turn):
            answers[index] = of_map
    return torch.stack([of_map for of_map in answers if of_map is not None])


def _turned_data(data: HardData, chosen: Tensor, turn: int, shape: tuple[int, int]) -> HardData:
    """Return the hard data of the chosen maps (which are numbered anew) of rows and columns, turned."""
    held = torch.isin(data.batch, chosen)
    batch, class_index, row, col, south, east = (values[held] for values in data)
    for _ in range(turn):
        row, col, south, east = shape[1] - 1 - col, row, -east, south
        shape = (shape[1], shape[0])
    return HardData(torch.searchsorted(chosen, batch), class_index, row, col, south, east)
