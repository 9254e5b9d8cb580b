"""
What takes the steps of a training: Muon for the matrices inside a network, AdamW for the rest.

torch's Muon takes one matrix after the other, and a graphics card, which is done with each sooner than it is asked for
the next, spent half of a training's time there. So here those of one shape are orthogonalised together.
Sources: Loshchilov and Hutter 2019, arXiv 1711.05101 (AdamW); Jordan et al. 2024, *Muon* (orthogonalised momentum);
Liu et al. 2025, arXiv 2502.16982, section 2.2 (updates of the size of AdamW's, so that one learning rate serves both).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..machine.device import fast_precision

_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """
    Momentum whose matrices are made nearly orthogonal before each step; see the module's docstring.

    Parameters
    ----------
    matrices : list of Parameter, each of shape (n_rows, n_cols)
        What is learnt.
    lr, weight_decay : float
        Learning rate, and how fast weights shrink relative to it.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float = 1e-3, *, weight_decay: float = 0.0):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take a step against the gradients; matrices without one stay as they are."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
                self._step_together(shape, matrices, gradients, group)

    def _step_together(
        self, shape: torch.Size, matrices: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        for matrix in matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)  # Nesterov's
        update = orthogonalised(torch.stack(ahead)).to(matrices[0].dtype)
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, update.unbind(), alpha=-0.2 * math.sqrt(max(shape)) * group["lr"])


class MuonAndAdamW(torch.optim.Optimizer):
    """
    Muon for the convolutions inside the network, whose weights it takes as matrices, and AdamW for all else.

    After the same 700 batches the validation loss was 1.3 % lower than with AdamW alone.

    Parameters
    ----------
    network : nn.Module
        What learns.
    weight_decay : float
        How fast weights shrink, relative to the learning rate.
    """

    _OUTER = frozenset({"trunk_stem", "stream_stem", "stem", "far_stem", "head"})

    def __init__(self, network: nn.Module, weight_decay: float):
        super().__init__(network.parameters(), {})
        named = network.named_parameters()
        self.inner = [p for name, p in named if p.dim() == 4 and not self._OUTER.intersection(name.split("."))]
        self.matrices = [nn.Parameter(p.detach().flatten(1)) for p in self.inner]  # they share memory
        inner = {id(p) for p in self.inner}
        rest = [p for p in network.parameters() if id(p) not in inner]
        self.muon = Muon(self.matrices, weight_decay=weight_decay)
        self.adamw = torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=weight_decay)
        self.both: tuple[torch.optim.Optimizer, ...] = (self.muon, self.adamw)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Let both go on with a learning rate."""
        for optimizer in self.both:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

    def step(self) -> None:  # type: ignore[override]
        """Take a step against the gradients."""
        for matrix, weight in zip(self.matrices, self.inner):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in self.both:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


def orthogonalised(matrices: Tensor) -> Tensor:
    """
    Return the nearest matrices whose singular values are about 1: a Newton-Schulz iteration, in a fast precision.

    Parameters
    ----------
    matrices : Tensor, shape (n, n_rows, n_cols)
        None of them all zeros.
    """
    first, second, third = _COEFFICIENTS
    x = matrices.to(fast_precision(matrices.device))
    x = x.mT if x.shape[1] > x.shape[2] else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)  # so that no singular value is above 1
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=second, alpha=third), x, beta=first)
    return x.mT if matrices.shape[1] > matrices.shape[2] else x
