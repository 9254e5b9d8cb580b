"""Muon for many matrices at a time is torch's own."""

import pytest
import torch

from oadg.core.training import muon
from oadg.core.training.muon import Muon, orthogonalised


def test_steps_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(muon, "fast_precision", lambda device: torch.bfloat16)  # torch knows no other
    generator = torch.Generator().manual_seed(1)
    shapes = [(8, 24), (8, 24), (24, 8), (5, 5), (8, 24)]
    theirs = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    ours = [torch.nn.Parameter(matrix.detach().clone()) for matrix in theirs]
    before = [matrix.detach().clone() for matrix in ours]
    both = [
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        Muon(ours, lr=0.01, weight_decay=0.1),
    ]
    for _ in range(4):
        for one, other in zip(theirs, ours):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in both:
            optimizer.step()
    for one, other, first in zip(theirs, ours, before):
        moved = float((one - first).detach().abs().mean())
        assert moved > 0.005
        assert torch.allclose(one, other, atol=0.02 * moved)  # bfloat16 rounds a sum of many as it pleases


def test_matrices_without_a_gradient_stay_as_they_are():
    moved, left = (torch.nn.Parameter(torch.ones(3, 4)) for _ in range(2))
    moved.grad = torch.eye(3, 4)
    Muon([moved, left], lr=0.1, weight_decay=0.1).step()
    assert (left == 1).all()
    assert (moved != 1).any()


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_singular_values_become_about_one(shape, precision, monkeypatch):
    monkeypatch.setattr(muon, "fast_precision", lambda device: precision)
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalised(matrices).float())
    assert 0.5 < values.min() < values.max() < 1.4
    assert torch.linalg.svdvals(matrices).max() > 3
