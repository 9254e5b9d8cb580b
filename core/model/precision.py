"""In which precision a network computes while realizations are drawn: half precision, where that is faster."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..machine.device import fast_precision
from .network import FaciesNetwork
from .network_config import NetworkConfig
from .prediction import Predictor


def precision_of(network: nn.Module, device: torch.device) -> str:
    """Return the name of the precision that realizations are drawn with."""
    return str(fast_precision(device) if isinstance(network, FaciesNetwork) else torch.float32).removeprefix("torch.")


class Rounded:
    """
    A network whose convolutions are computed in another precision; its logits are float32.

    Parameters
    ----------
    network : FaciesNetwork
        On its device; it stays as it is, and a copy has its weights rounded once, not anew in each pass.
    precision : torch.dtype
        Of the convolutions.
    """

    def __init__(self, network: FaciesNetwork, precision: torch.dtype):
        self.network, self.precision = copy.deepcopy(network), precision
        for layer in self.network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.to(precision)

    @property
    def config(self) -> NetworkConfig:
        """Padding and reach."""
        return self.network.config

    def __call__(self, class_index: Tensor, *inputs: Any, **options: Any) -> Tensor:
        """Return what `FaciesNetwork.forward` does."""
        with torch.autocast(class_index.device.type, dtype=self.precision):
            logits: Tensor = self.network(class_index, *inputs, **options)
        return logits.float()

    def context(self, class_index: Tensor, *inputs: Any, **options: Any) -> Tensor:
        """Return what `FaciesNetwork.context` does, in that precision."""
        with torch.autocast(class_index.device.type, dtype=self.precision):
            context: Tensor = self.network.context(class_index, *inputs, **options)
        return context


def drawing_predictor(network: nn.Module, device: torch.device) -> Predictor:
    """Return a network as realizations are drawn from it: rounded, if it is ours and the device is fast at that."""
    precision = fast_precision(device)
    if isinstance(network, FaciesNetwork) and precision != torch.float32:
        return Rounded(network, precision)
    return network  # type: ignore[return-value]
