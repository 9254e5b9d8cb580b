"""
What the sampler asks of a network: logits on a lattice of any size, in tiles if need be, in any orientation.

The network is local, so that a tile with a halo as wide as it sees gives what the whole lattice would.
"""

from __future__ import annotations

from typing import Protocol, Sequence, cast

import torch
from torch import Tensor

from .hard_data import HardData
from .kriging_features import KrigingFeatures
from .network import NetworkConfig
from .turning import Answer, Shown, answer_turned

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
        features: KrigingFeatures | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Return logits (batch, n_facies, n_rows, n_cols)."""


class RefiningPredictor(Predictor, Protocol):
    """A predictor with a refiner, as its configuration says."""

    def context(self, class_index: Tensor, inside: Tensor, data: HardData, n_facies: int, *, level: int) -> Tensor:
        """Return what the refiner reads once (batch, n_channels, n_rows, n_cols)."""


def predict(
    predictor: Predictor,
    class_index: Tensor,
    inside: Tensor,
    data: HardData,
    n_facies: int,
    *,
    level: int,
    features: KrigingFeatures | None = None,
    context: Tensor | None = None,
    turns: Sequence[int] = (),
) -> Tensor:
    """
    Return the logits on a lattice; a large one is cut into tiles, each with a halo as wide as the network sees.

    Where a device's memory does not suffice for a tile, smaller ones are tried.

    Parameters
    ----------
    predictor, class_index, inside, data, n_facies, level, features, context
        As `FaciesNetwork.forward` takes them.
    turns : sequence of int
        Quarter turns by which each map is shown to it turned; none by default.

    Returns
    -------
    Tensor, shape (batch, n_facies, n_rows, n_cols)
        The same as untiled, up to the rounding of floats.
    """

    def ask(shown: Shown) -> Tensor:
        maps, within, told, features, context = shown
        return predictor(maps, within, told, n_facies, level=level, features=features, context=context)

    return _ask_about(ask, predictor.config, n_facies, turns, Shown(class_index, inside, data, features, context))


def look_around(
    predictor: Predictor,
    class_index: Tensor,
    inside: Tensor,
    data: HardData,
    n_facies: int,
    *,
    level: int,
    turns: Sequence[int] = (),
) -> Tensor | None:
    """
    Return what the refiner reads once of a lattice, in tiles where `predict` takes tiles; None if there is no refiner.

    Parameters
    ----------
    predictor, class_index, inside, data, n_facies, level
        As `FaciesNetwork.context` takes them.
    turns : sequence of int
        As for `predict`.

    Returns
    -------
    Tensor, shape (batch, n_channels, n_rows, n_cols)
        For `predict`, in the orientation of `class_index`.
    """
    if not predictor.config.refiner:
        return None
    refining = cast(RefiningPredictor, predictor)

    def ask(shown: Shown) -> Tensor:
        return refining.context(shown.class_index, shown.inside, shown.data, n_facies, level=level)

    return _ask_about(ask, predictor.config, n_facies, turns, Shown(class_index, inside, data))


def _ask_about(ask: Answer, config: NetworkConfig, n_facies: int, turns: Sequence[int], shown: Shown) -> Tensor:
    """Ask a network about maps, turned, and in tiles that its device has memory for."""
    limit = _TILE_NODES_TIMES_STREAMS

    def in_tiles(shown: Shown) -> Tensor:
        nonlocal limit
        while True:
            try:
                return _ask_in_tiles(ask, config, limit // (n_facies + 2), shown)
            except torch.cuda.OutOfMemoryError:
                limit //= 4
                if limit < (4 * config.receptive_radius) ** 2 * (n_facies + 2):
                    raise  # a tile would be halo for the most part
                torch.cuda.empty_cache()

    return answer_turned(in_tiles, turns, shown) if any(turns) else in_tiles(shown)


def _ask_in_tiles(ask: Answer, config: NetworkConfig, n_nodes: int, shown: Shown) -> Tensor:
    """Ask about tiles of at most so many nodes, each with a halo as wide as the network sees."""
    n_maps, n_rows, n_cols = shown.class_index.shape
    if n_rows * n_cols <= n_nodes:
        return ask(shown)
    stride = config.total_stride
    halo = -(-config.receptive_radius // stride) * stride
    side = int(n_nodes**0.5) - 2 * halo
    side = max(stride, side // stride * stride)
    answer = None
    for top in range(0, n_rows, side):
        for left in range(0, n_cols, side):
            bottom, right = min(top + side, n_rows), min(left + side, n_cols)
            north, west = max(0, top - halo), max(0, left - halo)
            south, east = min(n_rows, bottom + halo), min(n_cols, right + halo)
            tile = ask(shown.window(slice(north, south), slice(west, east)))
            if answer is None:
                answer = tile.new_empty((n_maps, tile.shape[1], n_rows, n_cols))
            inner = tile[:, :, top - north : bottom - north, left - west : right - west]
            answer[:, :, top:bottom, left:right] = inner
    assert answer is not None
    return answer
