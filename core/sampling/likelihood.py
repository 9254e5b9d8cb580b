"""
How likely a given map is under a model: the map is visited as the sampler would, and what it says there is recorded.

The logarithm is that of the probability with which the sampler draws the map along a path. Its mean over paths is a
lower bound of the map's log-likelihood under the model whatever the path (Jensen's inequality; Hoogeboom et al. 2021,
arXiv 2110.02037, equation 2); its spread tells how much the path matters.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from ..model.prediction import Predictor
from ..model.schedule import Schedule
from .sampler import draw_facies, sample
from .start import Start
from .visits import Stream, Visit


@torch.inference_mode()
def surprise_nats(
    predictor: Predictor,
    truth: Tensor | None,
    start: Start,
    streams: list[Stream],
    schedule: Schedule,
    *,
    on_pass: Callable[[], None] = lambda: None,
) -> Tensor:
    """
    Return how surprising each cell of a map is, given the hard data and the cells visited before it.

    Parameters
    ----------
    predictor, start, schedule, on_pass
        As `sampler.sample` takes them, with a schedule that corrects nothing, and all of a grid that is asked for. Hard
        data agree with the map.
    truth : int64 Tensor, shape (n_rows, n_cols) or (n_paths, n_rows, n_cols), or None
        Class index of the map, or of one for each path, wherever `inside`. None: of each path, the realization that is
        drawn along it, which tells how surprising the model's own maps are.
    streams : list of Stream
        One for each path.

    Returns
    -------
    float32 Tensor, shape (n_paths, n_rows, n_cols)
        Minus the log-probability of the cell's facies, nats; 0 at hard data and outside. Its sum over the cells (of
        many, in double precision) is minus the logarithm of the probability that the sampler draws the map along this
        path.
    """
    surprise = torch.zeros(len(streams), *start.shape, device=start.known.device)
    maps = None if truth is None else truth.expand(len(streams), -1, -1)

    def record(probability: Tensor, visited: Visit) -> Tensor:
        cells = visited.batch, visited.row, visited.col
        facies = draw_facies(probability, visited.uniform) if maps is None else maps[cells]
        surprise[cells] = -probability.gather(1, facies[:, None])[:, 0].log()
        return facies

    sample(predictor, start, streams, schedule, choose=record, on_pass=on_pass)
    return surprise
