"""
What the sampler asks of a network: logits on a lattice of any size, in tiles if need be, in any orientation.

The network is local, so that a tile with a halo as wide as it sees gives what the whole lattice would.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import List, Protocol, Sequence, Tuple, cast

import numpy as np
import torch
from torch import Tensor

from ..kriging.kriging_features import KrigingFeatures
from .hard_data import HardData
from .network_config import NetworkConfig
from .refiner import refiner_radius
from .texture import texture_of
from .turning import Answer, Shown, answer_turned

_TILE_NODES_TIMES_STREAMS = 12_000_000
"""Largest lattice, in nodes times streams, that goes through the network whole: about 2 GiB of activations."""

_STREAMS_OF_TRUNK = 6
"""As many streams as the trunk, which all facies share, takes memory for."""

_TILE_NODES_OF_REFINER = 1_000_000
"""Largest lattice, in nodes, that goes through a refiner whole: about 0.8 GiB of activations."""


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
        texture: Tensor | None = None,
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

    Where a device's memory does not suffice, fewer maps are asked about at a time, then smaller tiles.

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
        maps, within, told, features, context, texture = shown
        textured = {} if texture is None else {"texture": texture}
        return predictor(maps, within, told, n_facies, level=level, features=features, context=context, **textured)

    texture = texture_of(class_index, n_facies) if predictor.config.reads_texture and context is None else None
    config, n_nodes = predictor.config, _TILE_NODES_TIMES_STREAMS // (n_facies + _STREAMS_OF_TRUNK)
    radius = config.receptive_radius
    if context is not None:
        radius, n_nodes = refiner_radius(0, config.n_pass_blocks), _TILE_NODES_OF_REFINER
    return _ask_about(ask, config, radius, n_nodes, turns, Shown(class_index, inside, data, features, context, texture))


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

    config, radius = predictor.config, refiner_radius(predictor.config.n_refiner_blocks, 0)
    return _ask_about(ask, config, radius, _TILE_NODES_OF_REFINER, turns, Shown(class_index, inside, data))


def _ask_about(
    ask: Answer, config: NetworkConfig, radius: int, n_nodes: int, turns: Sequence[int], shown: Shown
) -> Tensor:
    """
    Ask what sees `radius` nodes far about maps, turned, and in tiles of `n_nodes` or fewer.

    If memory is short, half as many maps at a time are tried until it is one, then tiles of half as many nodes.
    """
    halo = -(-radius // config.total_stride) * config.total_stride
    fewest_nodes = (3 * halo) ** 2  # smaller tiles would be halo for more than eight ninths
    n_maps = len(shown.class_index)

    def in_parts(shown: Shown) -> Tensor:
        nonlocal n_maps, n_nodes
        while True:
            try:
                parts = [_ask_in_tiles(ask, halo, config.total_stride, n_nodes, part) for part in shown.parts(n_maps)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except torch.cuda.OutOfMemoryError:
                n_tried, n_tried_nodes = min(n_maps, len(shown.class_index)), min(n_nodes, shown.class_index[0].numel())
                if n_tried == 1 and n_tried_nodes <= fewest_nodes:
                    raise
            # Not before the error is gone: it holds on to what the network had made so far.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if n_tried > 1:
                n_maps = n_tried // 2
            else:
                n_nodes = max(fewest_nodes, n_tried_nodes // 2)

    return answer_turned(in_parts, turns, shown) if any(turns) else in_parts(shown)


def _ask_in_tiles(ask: Answer, halo: int, stride: int, n_nodes: int, shown: Shown) -> Tensor:
    """Ask about tiles of at most so many nodes, halo included."""
    n_maps, n_rows, n_cols = shown.class_index.shape
    if n_rows * n_cols <= n_nodes:
        return ask(shown)
    answer = None
    for (rows, wide_rows), (cols, wide_cols) in itertools.product(*_tiles(n_rows, n_cols, halo, stride, n_nodes)):
        tile = ask(shown.window(wide_rows, wide_cols))
        if answer is None:
            answer = tile.new_empty((n_maps, tile.shape[1], n_rows, n_cols))
        top, left = rows.start - wide_rows.start, cols.start - wide_cols.start
        height, width = rows.stop - rows.start, cols.stop - cols.start
        answer[:, :, rows, cols] = tile[:, :, top : top + height, left : left + width]
    assert answer is not None
    return answer


_Cuts = List[Tuple[slice, slice]]
"""Pieces of an axis, without and with halo."""


@lru_cache(maxsize=64)
def _tiles(n_rows: int, n_cols: int, halo: int, stride: int, n_nodes: int) -> tuple[_Cuts, _Cuts]:
    """Cut rows and columns so that no tile has more nodes than `n_nodes`, and all together as few as can be."""
    of_rows, of_cols = _ways_to_cut(n_rows, halo, stride), _ways_to_cut(n_cols, halo, stride)
    largest, total = (
        np.multiply.outer([measure(cuts) for cuts in of_rows], [measure(cuts) for cuts in of_cols])
        for measure in (_longest, _length)
    )
    best = np.where(largest <= max(n_nodes, largest.min()), total, np.inf).argmin()
    row, col = np.unravel_index(best, total.shape)
    return of_rows[row], of_cols[col]


def _ways_to_cut(length: int, halo: int, stride: int) -> list[_Cuts]:
    """
    Return an axis cut into 1, 2, … pieces, as even as cuts at multiples of the stride can be.

    Pieces shorter than a halo are none: they would be halo for the most part.
    """
    ways = []
    for n_pieces in range(1, max(1, length // max(halo, stride)) + 1):
        cuts = [length // stride * i // n_pieces * stride for i in range(n_pieces)] + [length]
        ways.append([(slice(a, b), slice(max(0, a - halo), min(length, b + halo))) for a, b in zip(cuts, cuts[1:])])
    return ways


def _longest(cuts: _Cuts) -> int:
    return max(wide.stop - wide.start for _, wide in cuts)


def _length(cuts: _Cuts) -> int:
    return sum(wide.stop - wide.start for _, wide in cuts)
