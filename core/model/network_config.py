"""The shape of a network: how wide and deep it is, what it is told, and what follows from that."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping

from ..kriging.kriging_features import N_OF_FACIES, N_OF_FACIES_BY_KRIGING, N_OF_PLACE, N_OF_PLACE_BY_KRIGING
from .refiner import refiner_radius

FOLD = 2
"""Cells of FOLD x FOLD are folded into channels at the stem: full resolution costs a quarter."""


@dataclass(frozen=True)
class NetworkConfig:
    """
    Shape of a network.

    Parameters
    ----------
    trunk : tuple of int
        Channels of the shared trunk at each scale, fine to coarse; each scale halves the one before.
    stream : tuple of int
        Channels of each facies' own stream at each scale.
    n_pooled : int
        Channels that the trunk sees of all streams together.
    n_evidence : int
        Channels that describe a datum beside the lattice.
    n_bottom : int
        Blocks at the coarsest scale.
    reads_kriging : bool
        Whether the network takes `KrigingFeatures`, and starts from their estimate.
    reads_order : bool
        Whether of these it takes also what truncated Gaussian fields read, that of all facies in an order and those of
        each, and leans on them where it trusts them.
    n_levels : int
        Levels of lattices that the network tells apart, fine to coarse; the last one stands for all that are coarser.
    n_classes : int
        Facies that the network knows one by one, as those of a training image; 0 when it takes any, as a set.
    refiner, n_refiner_blocks, n_pass_blocks : int
        Channels and blocks, those of its context and those of each pass, of the refiner that answers in its place where
        a coarser lattice is known; 0: none does. It takes a network that knows its facies one by one.
    refined_above : int
        Levels above that of the lattice which the network sees first, on which the refiner draws nodes, too.
    n_refiners : int
        Refiners with weights of their own: of each of the finest levels one, and the last of all further ones.
    reads_texture : bool
        Whether the network is told the texture of the known nodes.
    """

    trunk: tuple[int, ...] = (64, 96, 128)
    stream: tuple[int, ...] = (32, 32, 32)
    n_pooled: int = 32
    n_evidence: int = 8
    n_bottom: int = 2
    reads_kriging: bool = False
    reads_order: bool = False
    n_levels: int = 1
    n_classes: int = 0
    refiner: int = 0
    n_refiner_blocks: int = 6
    n_pass_blocks: int = 2
    refined_above: int = 0
    n_refiners: int = 1
    reads_texture: bool = False

    @property
    def n_of_facies(self) -> int:
        """How many of the `KrigingFeatures` of each facies it takes, the first ones."""
        return (N_OF_FACIES if self.reads_order else N_OF_FACIES_BY_KRIGING) if self.reads_kriging else 0

    @property
    def n_of_place(self) -> int:
        """How many of those that all facies share it takes, the first ones."""
        return (N_OF_PLACE if self.reads_order else N_OF_PLACE_BY_KRIGING) if self.reads_kriging else 0

    @property
    def total_stride(self) -> int:
        """Lattices are padded to a multiple of this, and tiles are aligned to it, in nodes."""
        return int(FOLD * 2 ** (len(self.trunk) - 1))

    @property
    def n_started(self) -> int:
        """
        How many levels above the lattice that the network sees first its nodes lie that are drawn from the data alone.

        Finer ones are refined. Without a refiner it is 0: all nodes of that lattice are drawn from the data.
        """
        return 1 + self.refined_above if self.refiner else 0

    @property
    def receptive_radius(self) -> int:
        """Worst-case distance, in nodes along an axis, at which an input can change an output."""
        strides = [FOLD * 2**scale for scale in range(len(self.trunk))]
        blocks = [*(2 for _ in strides[:-1]), self.n_bottom]
        # A block reaches three nodes of its scale (two convolutions of the trunk, one of the streams), the head one
        # more of the finest; folding and halving add what a coarse node covers beyond the fine node it serves.
        folded = sum(3 * s * n for s, n in zip(strides, blocks)) + FOLD + strides[-1] - 1
        return max(folded, refiner_radius(self.n_refiner_blocks, self.n_pass_blocks) if self.refiner else 0)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> NetworkConfig:
        """Rebuild the configuration from `to_dict`."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in description.items()}
        plain.pop("n_of_place", None)  # files tell it, though it follows from the rest
        return cls(**plain)
