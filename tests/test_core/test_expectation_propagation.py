"""Expectation propagation agrees with draws from the model that it stands for."""

import pytest
import torch

from oadg.core.expectation_propagation import observe


@pytest.mark.parametrize("cuts", [None, [-0.4, 0.9]])
def test_data_as_sites_predict_what_the_model_itself_does(cuts):
    """Three data, cuts as found or known: the facies of each given those of the other two, by a million draws."""
    covariance = torch.tensor([[1, 0.8, 0.5], [0.8, 1, 0.7], [0.5, 0.7, 1]]).double()
    position = torch.tensor([[2, 1, 0]])
    known = cuts and torch.tensor([cuts], dtype=torch.float64)
    sites = observe(covariance[None], position, 3, 30, known)
    assert known is None or torch.equal(sites.cuts, known)
    draws = torch.linalg.cholesky(covariance) @ torch.randn(
        3, 1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    drawn = torch.bucketize(draws, sites.cuts[0])
    for datum in range(3):
        others = [i for i in range(3) if i != datum]
        fits = (drawn[others] == position[0, others, None]).all(dim=0)
        share = (drawn[datum, fits] == position[0, datum]).double().mean()
        assert float(sites.left_out[0, datum].exp()) == pytest.approx(float(share), abs=0.02)


def test_cuts_of_data_that_crowd_are_not_their_shares():
    """Of independent data the cuts are the shares, but for the pseudo-data; crowded ones count once."""
    position = torch.tensor([[0] * 40 + [1] * 40])
    apart = torch.eye(80)[None]
    crowded = apart.clone()
    crowded[:, :40, :40] = 0.999
    crowded.diagonal(dim1=1, dim2=2).fill_(1)
    assert float(observe(apart, position, 2, 20).cuts) == pytest.approx(0, abs=1e-3)
    assert float(observe(crowded, position, 2, 20).cuts) < -0.8
