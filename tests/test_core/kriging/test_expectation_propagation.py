"""Expectation propagation agrees with draws from the model that it stands for."""

import pytest
import torch
from torch.special import log_ndtr

from oadg.core.kriging.expectation_propagation import observe

PSEUDO_DATA = torch.full((3,), 3.0)


@pytest.mark.parametrize("cuts", [None, [-0.4, 0.9]])
def test_data_as_sites_predict_what_the_model_itself_does(cuts):
    """Three data, cuts as found or known: the facies of each given those of the other two, by a million draws."""
    covariance = torch.tensor([[1, 0.8, 0.5], [0.8, 1, 0.7], [0.5, 0.7, 1]]).double()
    position = torch.tensor([2, 1, 0])
    known = cuts and torch.tensor([[cuts]], dtype=torch.float64)
    sites = observe(covariance[None], position[None, None], 30, pseudo_data=PSEUDO_DATA, cuts=known)
    assert known is None or torch.equal(sites.cuts, known)
    draws = torch.linalg.cholesky(covariance) @ torch.randn(
        3, 1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    drawn = torch.bucketize(draws, sites.cuts[0, 0])
    for datum in range(3):
        others = [i for i in range(3) if i != datum]
        fits = (drawn[others] == position[others, None]).all(dim=0)
        share = (drawn[datum, fits] == position[datum]).double().mean()
        assert float(sites.left_out[0, 0, datum].exp()) == pytest.approx(float(share), abs=0.02)


def test_cuts_of_data_that_crowd_are_not_their_shares():
    """Of independent data the cuts are the shares, but for the pseudo-data; crowded ones count once."""
    position = torch.tensor([[[0] * 40 + [1] * 40]])
    apart = torch.eye(80)[None]
    crowded = apart.clone()
    crowded[:, :40, :40] = 0.999
    crowded.diagonal(dim1=1, dim2=2).fill_(1)
    assert float(observe(apart, position, 20, pseudo_data=PSEUDO_DATA[:2]).cuts) == pytest.approx(0, abs=1e-3)
    assert float(observe(crowded, position, 20, pseudo_data=PSEUDO_DATA[:2]).cuts) < -0.8


def test_of_independent_data_the_cuts_are_the_shares_of_data_and_pseudo_data():
    """Newton's method is there after a few rounds."""
    counts, pseudo = torch.tensor([10, 40, 2, 20]), torch.tensor([3.0, 6.0, 3.0, 12.0])
    position = torch.arange(4).repeat_interleave(counts)[None, None]
    cuts = observe(torch.eye(72)[None], position, 4, pseudo_data=pseudo).cuts[0, 0]
    shares = (counts + pseudo) / (counts + pseudo).sum()
    assert torch.special.ndtr(cuts).tolist() == pytest.approx(shares.cumsum(dim=0)[:-1].tolist(), abs=2e-3)


def test_the_likelihood_of_a_model_is_the_share_of_draws_that_fit():
    """Three data of a field, and the same seen by two fields at once: their logarithms add up."""
    covariance = torch.tensor([[1, 0.8, 0.5], [0.8, 1, 0.7], [0.5, 0.7, 1]]).double()
    position, cuts = torch.tensor([1, 1, 0]), torch.tensor([0.2], dtype=torch.float64)
    draws = torch.linalg.cholesky(covariance) @ torch.randn(
        3, 1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    fits = (torch.bucketize(draws, cuts) == position[:, None]).all(dim=0).double().mean()
    one = observe(covariance[None], position[None, None], 30, pseudo_data=PSEUDO_DATA[:2], cuts=cuts[None, None])
    two = observe(
        covariance[None], position.expand(1, 2, 3), 30, pseudo_data=PSEUDO_DATA[:2], cuts=cuts.expand(1, 2, 1)
    )
    assert float(one.log_likelihood.exp()) == pytest.approx(float(fits), rel=0.03)
    assert float(two.log_likelihood) == pytest.approx(2 * float(one.log_likelihood), rel=1e-9)


def test_fields_alike_lose_nothing_by_sharing_precisions():
    """And those that differ still believe what they are shown."""
    covariance = torch.tensor([[1, 0.8, 0.5], [0.8, 1, 0.7], [0.5, 0.7, 1]]).double()[None]
    alike, shares = torch.tensor([1, 1, 0]).expand(1, 2, 3), torch.full((2, 3), 0.5, dtype=torch.float64)
    apart, shared = (observe(covariance, alike, 30, pseudo_data=PSEUDO_DATA[:2], shares=s) for s in (None, shares))
    assert shared.inverse.shape == (1, 1, 3, 3)
    assert torch.allclose(shared.dual, apart.dual, atol=1e-6)
    assert torch.allclose(shared.left_out, apart.left_out, atol=1e-6)
    opposite = torch.tensor([[[1, 1, 0], [0, 0, 1]]])
    shared = observe(covariance, opposite, 30, pseudo_data=PSEUDO_DATA[:2], shares=shares)
    assert torch.allclose(shared.dual[0, 0], -shared.dual[0, 1], atol=1e-6)
    assert (shared.left_out.exp()[0, :, :2] > 0.5).all()


@pytest.mark.parametrize("cut", [3.0, 8.0, 12.0])
def test_a_datum_far_out_in_the_tail_is_told_exactly(cut):
    """A single one beyond so many deviations: its probability, and that the field is just above the cut."""
    covariance, position = torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.int64)
    cuts = torch.full((1, 1, 1), cut, dtype=torch.float64)
    sites = observe(covariance, position, 1, pseudo_data=PSEUDO_DATA[:2], cuts=cuts)
    assert float(sites.log_likelihood) == pytest.approx(float(log_ndtr(-cuts)), rel=1e-6)
    assert cut < float(sites.dual) < cut + 1 / cut  # the covariance is 1: the mean of the field is the dual


@pytest.mark.parametrize("cuts", [[45.0, 45.02], [45.0, 47.0], [35.0, 1000.0], [-50.0, -45.0]])
def test_a_datum_that_no_field_reaches_pulls_as_one_at_the_end_of_reach_does(cuts):
    """Beyond 30 deviations its interval counts as 30 away, with a width: else it would say nothing, or everything."""
    covariance, position = torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.int64)
    known = torch.tensor([[cuts]], dtype=torch.float64)
    sites = observe(covariance, position, 1, pseudo_data=PSEUDO_DATA, cuts=known)
    assert 30 < abs(float(sites.dual)) < 30 + 1 / 30
    assert (float(sites.dual) > 0) == (cuts[0] > 0)
    assert -460 < float(sites.log_likelihood) < -450  # log_ndtr(-30) is -454.3


def test_fields_that_share_a_precision_keep_their_own_means():
    """A single datum, which lies above the cut of one field and below that of another; the first one's precision."""
    cut, covariance = torch.full((1, 2, 1), 0.7, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)
    shares = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    sites = observe(covariance, torch.tensor([[[1], [0]]]), 1, pseudo_data=PSEUDO_DATA[:2], cuts=cut, shares=shares)
    density, below = (
        torch.distributions.Normal(0, 1).log_prob(cut[0, 0]).exp().item(),
        torch.special.ndtr(cut[0, 0]).item(),
    )
    above_cut, below_cut = density / (1 - below), -density / below
    assert sites.dual.flatten().tolist() == pytest.approx([above_cut, below_cut])
    variance_above = 1 + 0.7 * above_cut - above_cut**2
    assert float(1 - sites.inverse) == pytest.approx(variance_above)


def test_what_contradicts_all_others_is_never_thought_rarer_than_one_in_two_hundred():
    """But the likelihood of the model is told as it is."""
    covariance = torch.full((1, 4, 4), 0.99, dtype=torch.float64)
    covariance.diagonal(dim1=1, dim2=2).fill_(1)
    cuts = torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64)
    sites = observe(covariance, torch.tensor([[[2, 2, 2, 0]]]), 10, pseudo_data=PSEUDO_DATA, cuts=cuts)
    assert float(sites.left_out[0, 0, 3].exp()) == pytest.approx(0.005)
    assert float(sites.log_likelihood) < -10
