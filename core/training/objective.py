"""
The order-agnostic bound: how well unknown cells are predicted from known ones, whatever the order.

Source: Hoogeboom et al. 2021, *Autoregressive Diffusion Models*, arXiv 2110.02037, equation 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nll_nats(logits: Tensor, class_index: Tensor, unknown: Tensor) -> Tensor:
    """
    Mean negative log-likelihood of the unknown cells of each map, in nats per cell.

    With the number of known cells uniform on 0 … D - 1 and their places uniform, the expectation is the negative
    evidence lower bound per cell: an upper bound on the negative log-likelihood of the map.

    Parameters
    ----------
    logits : Tensor, shape (batch, n_facies, n_rows, n_cols)
        Predicted from the known cells only.
    class_index : int64 Tensor, shape (batch, n_rows, n_cols)
        The truth.
    unknown : bool Tensor, shape (batch, n_rows, n_cols)
        Cells that count; their facies must have a finite logit.

    Returns
    -------
    Tensor, shape (batch,)
        0 for a map without unknown cells.

    Raises
    ------
    ValueError
        When the shapes do not fit: a silent broadcast would give another loss.
    """
    if (
        logits.shape != (len(class_index), logits.shape[1], *class_index.shape[1:])
        or unknown.shape != class_index.shape
    ):
        raise ValueError(f"Shapes do not fit: {[tuple(t.shape) for t in (logits, class_index, unknown)]}.")
    truth = torch.where(unknown, class_index, -100)  # -100: a cell that cross_entropy leaves out
    nll = F.cross_entropy(logits.float(), truth, reduction="none", ignore_index=-100)
    return nll.sum(dim=(1, 2)) / unknown.sum(dim=(1, 2)).clamp_min(1)


def uniform_rank_known(valid: Tensor, generator: torch.Generator) -> Tensor:
    """
    Draw known cells as the objective asks: t uniform on 0 … D - 1, then the t lowest of random ranks.

    Parameters
    ----------
    valid : bool Tensor, shape (batch, n_rows, n_cols)
        The D cells of each map; t is stratified over the batch.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    bool Tensor, shape (batch, n_rows, n_cols)
    """
    n_maps, device = len(valid), generator.device
    n_cells = valid.sum(dim=(1, 2))
    stratum = torch.randperm(n_maps, generator=generator, device=device)
    level = (stratum + torch.rand(n_maps, generator=generator, device=device)) / n_maps
    n_known = (level * n_cells).long().clamp_max((n_cells - 1).clamp_min(0))
    noise = torch.rand(valid.shape, generator=generator, device=device).masked_fill(~valid, 2.0)
    rank = noise.flatten(1).argsort(dim=1).argsort(dim=1).view_as(noise)
    return (rank < n_known[:, None, None]) & valid
