"""Training that starts from the weights of another network: those that both have are taken over."""

from __future__ import annotations

import torch
from torch import nn

from ..contract.errors import ModelError
from ..model.network import FaciesNetwork


@torch.no_grad()
def start_from(network: FaciesNetwork, other: nn.Module) -> None:
    """
    Give a network the weights of another one where both have them; what that one lacks stays as it is.

    Of the stems, whose input channels may differ in number, the common ones are taken, and those that the other one
    lacks count for nothing at first; levels that it does not tell apart start as its last. Refiners start from
    those of the same width and depth.

    Parameters
    ----------
    network : FaciesNetwork
        Is changed.
    other : nn.Module
        Is not.

    Raises
    ------
    ModelError
        For a network of another kind, which has no weights in common.
    """
    if not isinstance(other, FaciesNetwork):
        raise ModelError(
            "The model to start from is a checkpoint of the reference, whose weights a training of OADG has no "
            "place for. Start from another model, such as the universal one."
        )
    theirs = other.state_dict()
    for name, mine in network.state_dict().items():
        given = theirs.get(name)
        if given is None or given.dim() != mine.dim() or "refiner" in name:
            continue
        if name == "of_level":
            given = torch.cat([given, given[-1:].expand(max(0, len(mine) - len(given)), -1)])
        if name.endswith("stem.weight"):
            mine[:, given.shape[1] :] = 0
        common = tuple(slice(min(a, b)) for a, b in zip(mine.shape, given.shape))
        mine[common] = given[common]
    shape, of_other = ((c.refiner, c.n_refiner_blocks, c.n_pass_blocks) for c in (network.config, other.config))
    if network.config.refiner and shape == of_other:
        for level in range(network.config.n_refiners):
            _start_refiner(*(each.get_submodule(each.refiner_of(level)) for each in (network, other)))


def _start_refiner(refiner: nn.Module, other: nn.Module) -> None:
    """
    Give a refiner the weights of another one of the same width and depth.

    Facies that this one lacks start as those that it has, in turn; levels coarser than its coarsest as that one.
    """
    own, theirs = refiner.state_dict(), other.state_dict()
    n_theirs = len(theirs["of_data"])
    facies = torch.arange(len(own["of_data"])) % n_theirs
    inputs = torch.cat([facies, torch.tensor([n_theirs])])  # of a stem; the last one tells what lies on the grid
    for name, mine in own.items():
        given = theirs[name]
        if name.endswith("stem.weight"):
            given = given[:, inputs]
        elif name.startswith(("head", "of_data")):
            given = given[facies]
        elif name.endswith("of_level"):
            given = given[torch.arange(len(mine)).clamp_max(len(given) - 1)]
        mine.copy_(given)
