"""A truncated Gaussian field reads the order of the facies, and predicts as the model that it stands for."""

import numpy as np
import pytest
import torch

from oadg.core.covariances import MATERN, Covariances
from oadg.core.random_fields import Texture, gaussian_fields
from oadg.core.truncated_gaussian import TruncatedGaussian, observe

SIDE = 96
NEAR = Covariances(*(torch.tensor([value]) for value in (30.0, 1.0, 0.0, float(MATERN), 0.05)))


def ordered_survey(n_data, n_facies, seed=0):
    """Return places (n, 2) and facies of data from a field whose facies follow each other, and that field."""
    generator = torch.Generator().manual_seed(seed)
    texture = Texture(*(torch.full((1,), value) for value in (40.0, 1.0, 0.0, 3.0, 0.0, 0.1)))
    field = gaussian_fields(texture, 1, SIDE, generator)[0, 0]
    cuts = torch.quantile(field, torch.arange(1, n_facies) / n_facies)
    facies = torch.bucketize(field, cuts)
    cell = torch.randperm(SIDE * SIDE, generator=generator)[:n_data]
    return torch.stack([cell // SIDE, cell % SIDE], dim=1).float(), facies.flatten()[cell], facies


def everywhere(step=3):
    return torch.cartesian_prod(torch.arange(1, SIDE, step), torch.arange(1, SIDE, step))


def loss_at(field, facies):
    """Return the log loss of a fitted field where its data are not known."""
    asked = everywhere()
    probability, _ = field.at(asked.float())
    return float(-probability.gather(0, facies[asked[:, 0], asked[:, 1]][None]).clamp_min(0.01).log().mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_facies_is_found(seed):
    place, of_data, _ = ordered_survey(150, 6, seed)
    renumbered = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    field = TruncatedGaussian.fit(place, renumbered[of_data], 6, NEAR)
    position = field.fields.position[field.weight.argmax()][renumbered]
    assert position.tolist() in (list(range(6)), list(range(5, -1, -1)))


def test_between_two_facies_it_expects_the_one_between_them():
    """Two data of the outer facies, and what lies half-way: where kriging has a half of each."""
    place, of_data, _ = ordered_survey(150, 3)
    field = TruncatedGaussian.fit(place, of_data, 3, NEAR)
    probability, _ = field.at(everywhere().float())
    torn = (probability[0] > 0.2) & (probability[2] > 0.2)
    assert not (torn & (probability[1] < 0.2)).any()


def test_renumbering_facies_permutes_the_probabilities():
    place, of_data, _ = ordered_survey(90, 5)
    renumbered = torch.tensor([3, 0, 4, 2, 1])
    (one, deviation), (other, again) = (
        TruncatedGaussian.fit(place, facies, 5, NEAR).at(everywhere(9).float())
        for facies in (of_data, renumbered[of_data])
    )
    assert torch.allclose(other[renumbered], one, atol=1e-5)
    assert torch.allclose(deviation, again, atol=1e-5)


def test_it_predicts_ordered_facies_far_better_than_their_shares_and_knows_it():
    place, of_data, facies = ordered_survey(150, 5)
    field = TruncatedGaussian.fit(place, of_data, 5, NEAR)
    assert field.skill_nats < -0.8
    assert loss_at(field, facies) < np.log(5) - 0.8


def test_of_noise_it_claims_no_skill():
    generator = torch.Generator().manual_seed(0)
    place, _, _ = ordered_survey(150, 5)
    field = TruncatedGaussian.fit(place, torch.randint(5, (150,), generator=generator), 5, NEAR)
    assert field.skill_nats > -0.15  # the best of many trials
    probability, _ = field.at(everywhere(9).float())
    assert probability.amax(dim=0).mean() < 0.35


@pytest.mark.parametrize(("n_data", "n_facies"), [(2, 2), (3, 3), (40, 20), (1500, 4)])
def test_from_the_fewest_data_to_the_most(n_data, n_facies):
    place, _, _ = ordered_survey(n_data, 2)
    field = TruncatedGaussian.fit(place, torch.arange(n_data) % n_facies, n_facies, NEAR)
    probability, deviation = field.at(everywhere(9).float())
    assert probability.shape == (n_facies, len(deviation))
    assert probability.isfinite().all()
    assert torch.allclose(probability.sum(dim=0), torch.ones(len(deviation)), atol=1e-4)


def test_of_no_place_it_tells_nothing():
    place, of_data, _ = ordered_survey(30, 3)
    probability, deviation = TruncatedGaussian.fit(place, of_data, 3, NEAR).at(torch.zeros(0, 2))
    assert probability.shape == (3, 0)
    assert deviation.shape == (0,)


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
        assert float(sites.evidence[0, datum].exp()) == pytest.approx(float(share), abs=0.02)


def test_the_deviation_is_computed_on_fewer_places_and_hardly_differs():
    """On a lattice finer than a quarter of the data's spacing neighbours share it; it is small at data, 1 far away."""
    place = torch.cartesian_prod(torch.arange(20.0, 80, 20), torch.arange(20.0, 80, 20))
    field = TruncatedGaussian.fit(place, torch.arange(9) % 2, 2, NEAR)
    _, deviation = field.at(everywhere(1).float())
    _, alone = field.at(torch.tensor([[20.0, 20.0], [1000.0, 1000.0]]))
    on_map = deviation.view(SIDE - 1, SIDE - 1)
    assert len(torch.unique(deviation)) < deviation.numel() / 9
    assert alone[0] == pytest.approx(float(on_map[19, 19]), abs=1e-4)
    assert alone[0] < alone[1] == pytest.approx(1, abs=1e-3)


def test_cuts_of_data_that_crowd_are_not_their_shares():
    """Of independent data the cuts are the shares, but for the pseudo-data; crowded ones count once."""
    position = torch.tensor([[0] * 40 + [1] * 40])
    apart = torch.eye(80)[None]
    crowded = apart.clone()
    crowded[:, :40, :40] = 0.999
    crowded.diagonal(dim1=1, dim2=2).fill_(1)
    assert float(observe(apart, position, 2, 20).cuts) == pytest.approx(0, abs=1e-3)
    assert float(observe(crowded, position, 2, 20).cuts) < -0.8
