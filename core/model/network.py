"""
The network: facies logits at every node of a lattice from whatever is known.

It is local (no attention over space, no normalisation over space, no position), knows no time step, and treats
facies as a set: thin streams, one per facies with shared weights, around a trunk that sees facies only through a
symmetric pooling. So any grid, any number of facies and any renumbering of them go through the same weights. A network
that learns one training image tells its facies apart by a vector that starts each stream.
Sources: Hoogeboom et al. 2021, arXiv 2110.02037, for the objective; Zaheer et al. 2017, arXiv 1703.06114, for sets.
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kriging.kriging_features import N_OF_FACIES, N_OF_PLACE, KrigingFeatures
from .hard_data import HardData
from .network_config import FOLD, NetworkConfig
from .refiner import Refiner
from .texture import N_OF_TEXTURE, share_of, texture_of

_PART_NODES_TIMES_FACIES = 500_000
"""Streams go through convolutions some at a time, of so many nodes together; nodes of one stream may be more."""


class FaciesNetwork(nn.Module):
    """The whole network; see the module's docstring. `forward` gives the shapes."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        trunk, stream, folded = config.trunk, config.stream, FOLD * FOLD
        self.describe_datum = nn.Sequential(nn.Linear(5, 32), nn.GELU(), nn.Linear(32, config.n_evidence))
        self.trunk_stem = nn.Conv2d((2 + config.n_evidence + config.n_of_place) * folded, trunk[0], 1)
        self.stream_stem = nn.Conv2d((2 + 2 * config.n_evidence + config.n_of_facies) * folded, stream[0], 1)
        if config.reads_kriging:
            self.trust = nn.Parameter(torch.ones(()))  # in the kriging estimate that the logits start from
        if config.reads_order:
            self.leaning = nn.Conv2d(config.n_of_place, 2, 1)
            nn.init.zeros_(self.leaning.weight)
            with torch.no_grad():
                # To the fields that the evidence, the last channels, is for; without any to kriging rather than to the
                # field of all facies, and to those of each facies rather than to kriging.
                self.leaning.weight[:, -2:, 0, 0] = 0.5 * torch.eye(2)
                self.leaning.bias.copy_(torch.tensor([-1.0, 1.0]))  # type: ignore[union-attr]
        if config.n_levels > 1:
            self.of_level = nn.Parameter(torch.zeros(config.n_levels, trunk[0]))
        if config.reads_texture:
            self.texture_of_facies, self.texture_of_all = _describe_texture(stream[0]), _describe_texture(trunk[0])
        if config.n_classes:
            self.of_class = nn.Parameter(torch.zeros(config.n_classes, stream[0]))
        pairs = list(zip(trunk, stream))
        self.down_blocks = nn.ModuleList(Block(t, s, config.n_pooled) for t, s in pairs[:-1])
        self.trunk_down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(trunk, trunk[1:]))
        self.stream_down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(stream, stream[1:]))
        self.bottom = nn.ModuleList(Block(trunk[-1], stream[-1], config.n_pooled) for _ in range(config.n_bottom))
        self.trunk_up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(trunk, trunk[1:]))
        self.stream_up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(stream, stream[1:]))
        self.up_blocks = nn.ModuleList(Block(t, s, config.n_pooled) for t, s in pairs[:-1])
        if config.refiner:
            refiners = [
                Refiner(
                    config.refiner,
                    config.n_refiner_blocks,
                    config.n_pass_blocks,
                    config.n_classes,
                    config.n_levels + config.refined_above,
                )
                for _ in range(config.n_refiners)
            ]
            self.refiner, self.coarser_refiners = refiners[0], nn.ModuleList(refiners[1:])
        self.head = nn.Conv2d(stream[0], folded, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def refiner_of(self, level: int) -> str:
        """Return the name of the refiner that answers on a level: what the names of its weights begin with."""
        index = min(level, self.config.n_refiners - 1)
        return f"coarser_refiners.{index - 1}" if index else "refiner"

    def encode(self, data: HardData, shape: Sequence[int]) -> Tensor:
        """
        Describe the data beside the lattice: every level sees each datum where it is, not at the nearest node.

        Parameters
        ----------
        data : HardData
            The data.
        shape : sequence of int
            Batch, facies, rows and columns of the lattice.

        Returns
        -------
        Tensor, shape (batch, n_facies, n_evidence, n_rows, n_cols)
            Sum over the data attached to each node.
        """
        n_maps, n_facies, n_rows, n_cols = shape
        place = torch.stack([data.south, data.east, data.south**2, data.east**2, data.south * data.east], dim=1)
        described = self.describe_datum(place)  # (n_data, n_evidence)
        flat = ((data.batch * n_facies + data.class_index) * n_rows + data.row) * n_cols + data.col
        evidence = described.new_zeros(n_maps * n_facies * n_rows * n_cols, self.config.n_evidence)
        evidence.index_add_(0, flat, described)
        return evidence.view(n_maps, n_facies, n_rows, n_cols, -1).permute(0, 1, 4, 2, 3)

    def context(self, class_index: Tensor, inside: Tensor, data: HardData, n_facies: int, *, level: int = 0) -> Tensor:
        """
        Return what the refiner reads once for all passes over a lattice.

        Parameters
        ----------
        class_index : int64 Tensor, shape (batch, n_rows, n_cols)
            Facies of the nodes that are known before the first pass: those of the next coarser lattice, and hard data.
        inside, data, n_facies, level
            As `forward` takes them.

        Returns
        -------
        Tensor, shape (batch, n_channels, n_rows, n_cols)
            For `forward`.
        """
        context: Tensor = self._refiner(level).context(_one_hot(class_index, n_facies), inside, data, level)
        return context

    def _refiner(self, level: int) -> Refiner:
        refiner = self.get_submodule(self.refiner_of(level))
        assert isinstance(refiner, Refiner)
        return refiner

    def forward(
        self,
        class_index: Tensor,
        inside: Tensor,
        data: HardData,
        n_facies: int,
        *,
        level: int = 0,
        features: KrigingFeatures | None = None,
        context: Tensor | None = None,
        texture: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """
        Return the facies logits at every node.

        Parameters
        ----------
        class_index : int64 Tensor, shape (batch, n_rows, n_cols)
            Facies of the known nodes, -1 where unknown. Rows and columns are multiples of `total_stride`.
        inside : bool Tensor, shape (batch, n_rows, n_cols)
            Whether a node lies on the grid, or beyond its border.
        data : HardData
            The hard data.
        n_facies : int
            Number of facies.
        level : int
            Of the lattice, whose nodes are 2^level cells apart.
        features : KrigingFeatures, optional
            What kriging reads from the hard data, if the network takes it and it is at hand.
        context : Tensor, shape (batch, n_channels, n_rows, n_cols), optional
            From `context`, where the next coarser lattice is known, all of it: then the refiner answers.
        texture : Tensor, shape (batch, n_facies, N_OF_TEXTURE), optional
            Of the map that this one is a tile of, from `texture_of`; by default that of `class_index`.
        present : bool Tensor, shape (batch, n_facies), optional
            False for facies that a map does not have (only when maps of different facies share a batch).

        Returns
        -------
        Tensor, shape (batch, n_facies, n_rows, n_cols)
            Unnormalised log-probabilities; minus infinity for facies that are not present. Those of known nodes say
            nothing where the refiner answers.
        """
        known = _one_hot(class_index, n_facies)
        if context is not None:
            return _without_absent(self._refiner(level)(known, inside, context, level), present)
        told = features or _nothing_told(known)
        parts = _parts(known.shape)
        trunk, stream = self._stems(known, inside, data, told, parts)
        if self.config.n_levels > 1:
            trunk = trunk + self.of_level[min(level, self.config.n_levels - 1), :, None, None]
        if self.config.reads_texture:
            texture = texture_of(class_index, n_facies) if texture is None else texture
            of_all = (texture * share_of(texture)[:, :, None]).sum(dim=1)
            trunk = trunk + self.texture_of_all(of_all)[:, :, None, None]
            stream = stream + self.texture_of_facies(texture).flatten(0, 1)[:, :, None, None]
        if self.config.n_classes:
            stream = stream + self.of_class.repeat(len(known), 1)[:, :, None, None]

        skips = []
        for block, trunk_down, stream_down in zip(self.down_blocks, self.trunk_down, self.stream_down):
            trunk, stream = block(trunk, stream, n_facies, present, parts)
            skips.append((trunk, stream))
            trunk, stream = trunk_down(trunk), stream_down(stream)
        for block in self.bottom:
            trunk, stream = block(trunk, stream, n_facies, present, parts)
        ups = list(zip(self.up_blocks, self.trunk_up, self.stream_up, skips))
        for block, trunk_up, stream_up, (trunk_skip, stream_skip) in reversed(ups):
            trunk = trunk_skip + F.interpolate(trunk_up(trunk), scale_factor=2.0)
            stream = stream_skip + F.interpolate(stream_up(stream), scale_factor=2.0)
            trunk, stream = block(trunk, stream, n_facies, present, parts)
        logits = F.pixel_shuffle(_of_parts([self.head(F.gelu(stream[part])) for part in parts]), FOLD).view(known.shape)
        if self.config.reads_kriging:
            logits = logits + self.trust * self._estimate(told)
        return _without_absent(logits, present)

    def _stems(
        self, known: Tensor, inside: Tensor, data: HardData, told: KrigingFeatures, parts: Sequence[slice]
    ) -> tuple[Tensor, Tensor]:
        """Return trunk (batch, …) and streams (batch * n_facies, …) of n_rows / 2 x n_cols / 2, before the blocks."""
        config = self.config
        evidence = self.encode(data, known.shape)
        of_all = torch.cat([known.sum(dim=1, keepdim=True), evidence.sum(dim=1)], dim=1)
        of_place = [of_all[:, :1], inside[:, None].float(), of_all[:, 1:]]
        of_facies = [known[:, :, None], evidence, of_all[:, None].expand(-1, known.shape[1], -1, -1, -1)]
        if config.reads_kriging:
            of_place.append(told.of_place[:, : config.n_of_place])
            of_facies.append(told.of_facies[:, :, : config.n_of_facies])
        trunk = _folded(self.trunk_stem, torch.cat(of_place, dim=1))
        flat = [channels.flatten(0, 1) for channels in of_facies]
        stream = [_folded(self.stream_stem, torch.cat([channels[part] for channels in flat], dim=1)) for part in parts]
        return trunk, _of_parts(stream)

    def _estimate(self, told: KrigingFeatures) -> Tensor:
        """Return the log-probabilities (batch, n_facies, n_rows, n_cols) that the logits start from."""
        estimates = told.log_probabilities()
        if not self.config.reads_order:
            return estimates[:, 0]
        leaning = self.leaning(told.of_place[:, : self.config.n_of_place]).float()
        weight = F.pad(leaning, (0, 0, 0, 0, 1, 0)).softmax(dim=1)  # kriging's comes first
        return (weight[:, :, None] * estimates).sum(dim=1)


class Block(nn.Module):
    """One exchange: the trunk pools the streams and looks around; each stream looks around under the trunk's gate."""

    def __init__(self, n_trunk: int, n_stream: int, n_pooled: int):
        super().__init__()
        self.pool = nn.Conv2d(n_stream, 2 * n_pooled, 1)
        self.join = nn.Conv2d(n_pooled, n_trunk, 1)
        self.look = nn.Conv2d(n_trunk, n_trunk, 3, padding=1)
        self.look_again = nn.Conv2d(n_trunk, n_trunk, 3, padding=1)
        self.gate = nn.Conv2d(n_trunk, 2 * n_stream, 1)
        self.stream_look = nn.Conv2d(n_stream, n_stream, 3, padding=1)
        self.stream_out = nn.Conv2d(n_stream, n_stream, 1)

    def forward(
        self, trunk: Tensor, stream: Tensor, n_facies: int, present: Tensor | None, parts: Sequence[slice]
    ) -> tuple[Tensor, Tensor]:
        """Return trunk (batch, channels, rows, cols) and streams (batch * n_facies, channels, rows, cols)."""
        normed = _normalise(stream)
        strips = normed.permute(0, 2, 3, 1).chunk(len(parts), dim=1)
        pooled = _of_parts([self._pooled(strip, n_facies, present) for strip in strips], dim=1)
        trunk = trunk + _pointwise(self.join, pooled.permute(0, 3, 1, 2))
        trunk = trunk + self.look_again(F.gelu(self.look(_normalise(trunk))))
        scale, shift = _pointwise(self.gate, _normalise(trunk))[:, None].chunk(2, dim=2)
        for part in parts:
            looked = self.stream_look(normed[part]).unflatten(0, (len(trunk), -1))
            change = _pointwise(self.stream_out, F.gelu(torch.addcmul(shift, looked, 1 + scale)).flatten(0, 1))
            if torch.is_grad_enabled():
                stream = stream + change
            else:
                stream[part] += change  # nobody else holds the streams that a block is given
        return trunk, stream

    def _pooled(self, normed: Tensor, n_facies: int, present: Tensor | None) -> Tensor:
        """Return what all facies of a node say together (batch, rows, cols, n_pooled), channels last as in `normed`."""
        assert self.pool.bias is not None
        weight, value = (
            torch.unflatten(F.linear(normed, matrix.flatten(1), bias), 0, (-1, n_facies))
            for matrix, bias in zip(self.pool.weight.chunk(2), self.pool.bias.chunk(2))
        )
        if present is not None:
            weight = weight.masked_fill(~present[:, :, None, None, None], -torch.inf)
        return (weight.softmax(dim=1) * value).sum(dim=1)


def _describe_texture(n_channels: int) -> nn.Sequential:
    """Return what describes the texture of some nodes in so many channels: nothing, before it has learnt."""
    described = nn.Sequential(nn.Linear(N_OF_TEXTURE, 64), nn.GELU(), nn.Linear(64, n_channels))
    for parameter in described[2].parameters():
        nn.init.zeros_(parameter)
    return described


def _parts(shape: Sequence[int]) -> list[slice]:
    """
    Return the streams (maps times facies) that go through convolutions together, few where memory would not suffice.

    A map of many nodes comes alone; maps that are learnt from are small, and their streams stay together.
    """
    n_maps, n_facies, n_rows, n_cols = shape
    if n_maps > 1 or torch.is_grad_enabled():
        return [slice(None)]
    n_together = max(1, _PART_NODES_TIMES_FACIES // (n_rows * n_cols))
    return [slice(first, first + n_together) for first in range(0, n_facies, n_together)]


def _of_parts(parts: list[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


def _without_absent(logits: Tensor, present: Tensor | None) -> Tensor:
    """Return logits (batch, n_facies, n_rows, n_cols) that are minus infinity for facies that are not present."""
    return logits if present is None else logits.masked_fill(~present[:, :, None, None], -torch.inf)


def _one_hot(class_index: Tensor, n_facies: int) -> Tensor:
    """Return 1 for the facies of a known node, else 0: float, shape (batch, n_facies, n_rows, n_cols)."""
    return F.one_hot(class_index + 1, n_facies + 1)[..., 1:].permute(0, 3, 1, 2).float()


def _nothing_told(known: Tensor) -> KrigingFeatures:
    """Return the features of maps (batch, n_facies, n_rows, n_cols) of which kriging tells nothing."""
    n_maps, n_facies, n_rows, n_cols = known.shape
    nothing = known.new_zeros(())
    of_facies = nothing.expand(n_maps, n_facies, N_OF_FACIES, n_rows, n_cols)
    return KrigingFeatures(of_facies, nothing.expand(n_maps, N_OF_PLACE, n_rows, n_cols))


def _normalise(x: Tensor) -> Tensor:
    """Normalise each node over its channels: local, unlike a normalisation over space."""
    channels_last = x.permute(0, 2, 3, 1)
    return F.layer_norm(channels_last, channels_last.shape[-1:]).permute(0, 3, 1, 2)


def _folded(stem: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a stem, whose weights take FOLD x FOLD nodes as channels of one, in the layout that is fastest later on."""
    weight = stem.weight.view(len(stem.weight), -1, FOLD, FOLD)
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, stem.bias, stride=FOLD)


def _pointwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve each node with itself: a product of matrices, without copies where channels come last in memory."""
    return F.linear(x.permute(0, 2, 3, 1), convolution.weight.flatten(1), convolution.bias).permute(0, 3, 1, 2)
