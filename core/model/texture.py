"""
Texture: how alike the known nodes of a map are at some lags, facies by facies, as indicator variograms tell.

Range, direction and roughness are questions about all known nodes at once, which a local network answers badly: it
draws narrow stripes as blobs. So pairs of nodes are counted, and the network is told what came of it with every map
that it is shown, also while a realization is drawn: what has been drawn so far is what the rest has to go with.
Source: Goovaerts 1997, *Geostatistics for Natural Resources Evaluation* (indicator variograms).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ONE_QUADRANT = ((1, 0), (2, 0), (4, 0), (8, 0), (1, 1), (2, 2), (4, 4), (8, 8), (1, 2), (2, 1), (2, 4), (4, 2))
LAGS = tuple((row, col * sign) for row, col in _ONE_QUADRANT if col for sign in (1, -1)) + tuple(
    lag for row, col in _ONE_QUADRANT if not col for lag in ((row, 0), (0, row))
)
"""Rows and columns between two nodes; turned by 90 degrees they are the same."""
N_OF_TEXTURE = len(LAGS) + 2
"""Channels of each facies: likeness at each lag; its share; and how many nodes show it, on a logarithmic scale."""

_REACH = max(max(abs(row), abs(col)) for row, col in LAGS)
_MOST_NODES = 4096  # are looked at from; of larger maps some at random
_PAIRS_OF_DOUBT = 4.0  # of fewer pairs little is told
_LARGEST_SHARE = 0.98


def texture_of(class_index: Tensor, n_facies: int) -> Tensor:
    """
    Return the texture of what is known of some maps.

    Parameters
    ----------
    class_index : int64 Tensor, shape (batch, n_rows, n_cols)
        Facies of the known nodes, -1 where unknown.
    n_facies : int
        Number of facies.

    Returns
    -------
    float32 Tensor, shape (batch, n_facies, N_OF_TEXTURE)
        The likeness at a lag is 1 where nodes so far apart from the facies' nodes are always of it, too, 0 where they
        are as often as chance has it, and 0 where there are none.
    """
    n_maps, n_rows, n_cols = class_index.shape
    n_wide = n_cols + 2 * _REACH
    around = F.pad(class_index, (_REACH,) * 4, value=-1).flatten(1)
    node = torch.arange(n_rows * n_cols, device=around.device)
    if len(node) > _MOST_NODES:
        node = node[torch.randint(len(node), (_MOST_NODES,), generator=torch.Generator().manual_seed(len(node)))]
    place = (node // n_cols + _REACH) * n_wide + node % n_cols + _REACH
    here = around[:, place]
    of_map = n_facies * torch.arange(n_maps, device=here.device)[:, None]

    def count(nodes: Tensor, where: Tensor) -> Tensor:
        """Return how many nodes of each map and facies there are where some are."""
        return torch.bincount((nodes + of_map)[where], minlength=n_maps * n_facies).view(n_maps, n_facies)

    total = count(here, here >= 0)
    share = (total / total.sum(dim=1, keepdim=True).clamp_min(1)).clamp_max(_LARGEST_SHARE)
    of_lags = []
    for row, col in LAGS:
        there = around[:, place + row * n_wide + col]
        both = (here >= 0) & (there >= 0)
        pairs, alike = count(here, both) + count(there, both), 2 * count(here, both & (here == there))
        of_lags.append((alike - pairs * share) / ((1 - share) * (pairs + _PAIRS_OF_DOUBT)))
    return torch.stack([*of_lags, share, total.float().log1p() / 5], dim=2)


def share_of(texture: Tensor) -> Tensor:
    """Return the share (batch, n_facies) of each facies among the known nodes."""
    return texture[:, :, len(LAGS)]


def turned_texture(texture: Tensor, turns: int) -> Tensor:
    """Return the texture (batch, n_facies, N_OF_TEXTURE) of the same maps after some quarter turns."""
    if turns % 2 == 0:
        return texture
    channels = [_index_of(-col, row) for row, col in LAGS]
    return texture[:, :, [*channels, *range(len(LAGS), N_OF_TEXTURE)]]


def _index_of(row: int, col: int) -> int:
    """Return which lag it is, forwards or backwards."""
    return next(i for i, lag in enumerate(LAGS) if lag in ((row, col), (-row, -col)))
