"""
What the sampler asks of a network: logits on a lattice of any size, in tiles if need be, in any orientation.

The network is local, so that a tile with a halo as wide as it sees gives what the whole lattice would.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Protocol, Sequence

import torch
from torch import Tensor

from .kriging_features import KrigingFeatures
from .network import HardData, NetworkConfig
from .turning import answer_turned

_TILE_NODES_TIMES_STREAMS = 4_000_000
"""Largest lattice, in nodes times (facies + 2), that goes through the network whole: about 3 GiB of activations."""


class Predictor(Protocol):
    """What the sampler needs of a network; `FaciesNetwork` is one, and tests bring their own."""

    @property
    def config(self) -> NetworkConfig:
        """Padding and reach."""

    def __call__(
        self,
        class_index: Tensor,
        inside: Tensor,
        data: HardData,
        n_facies: int,
        *,
        level: int,
        refines: bool = False,
        features: KrigingFeatures | None = None,
    ) -> Tensor:
        """Return logits (batch, n_facies, n_rows, n_cols)."""


def predict(
    predictor: Predictor,
    class_index: Tensor,
    inside: Tensor,
    data: HardData,
    n_facies: int,
    *,
    level: int,
    refines: bool = False,
    features: KrigingFeatures | None = None,
    turns: Sequence[int] = (),
) -> Tensor:
    """
    Return the logits on a lattice; a large one is cut into tiles, each with a halo as wide as the network sees.

    Where a device's memory does not suffice for a tile, smaller ones are tried.

    Parameters
    ----------
    predictor, class_index, inside, data, n_facies, level, refines, features
        As `FaciesNetwork.forward` takes them.
    turns : sequence of int
        Quarter turns by which each map is shown to it turned; none by default.

    Returns
    -------
    Tensor, shape (batch, n_facies, n_rows, n_cols)
        The same as untiled, up to the rounding of floats.
    """
    if any(turns):

        def answer(maps: Tensor, inside: Tensor, data: HardData, told: KrigingFeatures | None) -> Tensor:
            return predict(predictor, maps, inside, data, n_facies, level=level, refines=refines, features=told)

        return answer_turned(answer, turns, class_index, inside, data, features)
    limit = _TILE_NODES_TIMES_STREAMS
    network = partial(predictor, level=level, refines=refines)
    while True:
        try:
            return _predict_in_tiles(network, predictor.config, class_index, inside, data, n_facies, features, limit)
        except torch.cuda.OutOfMemoryError:
            limit //= 4
            if limit < (4 * predictor.config.receptive_radius) ** 2 * (n_facies + 2):
                raise  # a tile would be halo for the most part
            torch.cuda.empty_cache()


def _predict_in_tiles(
    network: Callable[..., Tensor],
    config: NetworkConfig,
    class_index: Tensor,
    inside: Tensor,
    data: HardData,
    n_facies: int,
    features: KrigingFeatures | None,
    limit: int,
) -> Tensor:
    """Do as `predict` does, with tiles of at most so many nodes times (facies + 2)."""
    n_maps, n_rows, n_cols = class_index.shape
    if n_rows * n_cols * (n_facies + 2) <= limit:
        return network(class_index, inside, data, n_facies, features=features)
    stride = config.total_stride
    halo = -(-config.receptive_radius // stride) * stride
    side = int((limit / (n_facies + 2)) ** 0.5) - 2 * halo
    side = max(stride, side // stride * stride)
    logits = class_index.new_empty((n_maps, n_facies, n_rows, n_cols), dtype=torch.float32)
    for top in range(0, n_rows, side):
        for left in range(0, n_cols, side):
            north, west = max(0, top - halo), max(0, left - halo)
            south, east = min(n_rows, top + side + halo), min(n_cols, left + side + halo)
            held = (data.row >= north) & (data.row < south) & (data.col >= west) & (data.col < east)
            within = HardData(*(values[held] for values in data))
            within = within._replace(row=within.row - north, col=within.col - west)
            window = (slice(None), slice(north, south), slice(west, east))
            told = None if features is None else KrigingFeatures(*(v[..., north:south, west:east] for v in features))
            tile = network(class_index[window], inside[window], within, n_facies, features=told)
            bottom, right = min(top + side, n_rows), min(left + side, n_cols)
            inner = tile[:, :, top - north : bottom - north, left - west : right - west]
            logits[:, :, top:bottom, left:right] = inner
    return logits
