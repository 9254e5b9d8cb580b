"""
The network of the reference: a UNet2DModel of the library diffusers, behind the interface of our own networks.

Mosser 2022 (order_agnostic_diffusion_geostats) published checkpoints of two facies on a grid of one size. The network
is told the facies of the known cells, one-hot and all zero where nothing is known, and their number as its time step.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contract.errors import JobError, ModelError
from ..kriging.kriging_features import KrigingFeatures
from .hard_data import HardData
from .network_config import NetworkConfig

KIND = "reference"
N_FACIES = 2
GROUPS = 32
"""Of the normalisation: channels are multiples of this."""
HALVINGS = 3
"""Of the grid on the way down: its side is a multiple of 2^HALVINGS."""
_EVERYTHING = 1 << 20


@dataclass(frozen=True)
class ReferenceConfig(NetworkConfig):
    """
    Shape of a network of the reference; of our own networks' parameters it has none.

    Parameters
    ----------
    side : int
        Rows and columns of the grid.
    channels : tuple of int
        Channels at each of four scales, fine to coarse.
    n_classes : int
        It knows its two facies one by one, so that the sampler begins no coarser than on the one level that it has.
    """

    n_classes: int = N_FACIES
    side: int = 64
    channels: tuple[int, ...] = (64, 64, 128, 128)

    @property
    def total_stride(self) -> int:
        """No padding is needed: the network gets its grid alone."""
        return 1

    @property
    def receptive_radius(self) -> int:
        """Attention sees every cell, so that no grid can be cut into tiles."""
        return _EVERYTHING

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {"kind": KIND, "side": self.side, "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> ReferenceConfig:
        """Rebuild the configuration from `to_dict`."""
        return cls(side=int(description["side"]), channels=tuple(map(int, description["channels"])))


class ReferenceNetwork(nn.Module):
    """
    A network of the reference, as the sampler wants one.

    Parameters
    ----------
    config : ReferenceConfig
        Its shape.

    Raises
    ------
    ModelError
        When the package diffusers is missing.
    """

    def __init__(self, config: ReferenceConfig):
        super().__init__()
        self.config = config
        self.unet = _build_unet(config)

    def check_grid(self, shape: tuple[int, int]) -> None:
        """Raise `JobError` for a grid (rows, columns) of another size than the network's."""
        side = self.config.side
        if shape != (side, side):
            raise JobError(
                f"The grid has {shape[0]:,} rows and {shape[1]:,} columns; this model, a checkpoint of the reference, "
                f"takes {side} x {side} cells only. Choose a square extent, and as cell size its width divided by "
                f"{side}; with cells of 25 m, for example, an extent of {side * 25:,} x {side * 25:,} m."
            )

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
    ) -> Tensor:
        """
        Return the facies logits at every node.

        Parameters
        ----------
        class_index : int64 Tensor, shape (batch, n_rows, n_cols)
            Facies of the known cells, -1 where unknown.
        inside : bool Tensor, shape (batch, n_rows, n_cols)
            Where the grid lies in each map: `side` rows and columns.
        data : HardData
            Not looked at: all cells are nodes, so that the data are among the known cells.
        n_facies : int
            Two.
        level, features, context
            Not looked at: there is one level, kriging tells this network nothing, and it has no refiner.

        Returns
        -------
        Tensor, shape (batch, 2, n_rows, n_cols)
            Unnormalised log-probabilities; 0 beyond the grid.

        Raises
        ------
        JobError
            When the grid has another size.
        """
        has_row, has_col = inside.any(dim=2), inside.any(dim=1)
        self.check_grid((int(has_row[0].sum()), int(has_col[0].sum())))
        step = torch.arange(self.config.side, device=class_index.device)
        batch = torch.arange(len(class_index), device=class_index.device)[:, None, None]
        row = (has_row.int().argmax(dim=1, keepdim=True) + step)[:, :, None]  # (batch, side, 1)
        col = (has_col.int().argmax(dim=1, keepdim=True) + step)[:, None, :]
        cells = class_index[batch, row, col]  # (batch, side, side)
        known = F.one_hot(cells + 1, N_FACIES + 1)[..., 1:].permute(0, 3, 1, 2).float()
        known = known.contiguous()  # as the reference has it: convolutions round by the layout
        predicted = self.unet(known, (cells >= 0).sum(dim=(1, 2))).sample
        logits = predicted.new_zeros(len(cells), N_FACIES, *class_index.shape[1:])
        logits[batch, :, row, col] = predicted.permute(0, 2, 3, 1)
        return logits


def _build_unet(config: ReferenceConfig) -> nn.Module:
    """Return the network of diffusers; raise `ModelError` when that is missing."""
    try:
        from diffusers import UNet2DModel
    except (ImportError, RuntimeError) as error:  # RuntimeError: what its lazy import makes of the errors inside
        raise ModelError(
            "This model is a checkpoint of the reference, which needs the package diffusers; the engine's Python "
            f"lacks it ({str(error).splitlines()[0] if str(error) else type(error).__name__}). Install it with the "
            f"interpreter that 'Engine status' shows: \"{sys.executable}\" -m pip install diffusers"
        ) from error
    unet: nn.Module = UNet2DModel(
        sample_size=config.side,
        in_channels=N_FACIES,
        out_channels=N_FACIES,
        layers_per_block=2,
        block_out_channels=config.channels,
        norm_num_groups=GROUPS,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    return unet
