"""Truncated Gaussian fields read the order of the facies, or each by itself, and know what they are worth."""

import numpy as np
import pytest
import torch
from torch.special import ndtr

from oadg.core.kriging.covariances import MATERN, Covariances
from oadg.core.kriging.truncated_gaussian import Models, TruncatedGaussian, _Trial
from oadg.core.training.random_fields import FieldLaw, gaussian_fields

SIDE = 96
NEAR = Covariances(*(torch.tensor([value]) for value in (30.0, 1.0, 0.0, float(MATERN), 0.05)))


def ordered_survey(n_data, n_facies, seed=0):
    """Return places (n, 2) and facies of data from a field whose facies follow each other, and that field."""
    generator = torch.Generator().manual_seed(seed)
    law = FieldLaw(*(torch.full((1,), value) for value in (40.0, 1.0, 0.0, 3.0, 0.0, 0.1)))
    field = gaussian_fields(law, 1, SIDE, generator)[0, 0]
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
    field = TruncatedGaussian.in_order(place, renumbered[of_data], 6, NEAR)
    position = field.models.position[field.weight.argmax(), 0][renumbered]
    assert position.tolist() in (list(range(6)), list(range(5, -1, -1)))


@pytest.mark.parametrize(("n_data", "n_facies", "seed"), [(40, 6, 0), (60, 8, 4), (80, 8, 2)])
def test_an_order_that_is_not_guessed_at_once_is_found_by_moving_facies(n_data, n_facies, seed):
    place, of_data, _ = ordered_survey(n_data, n_facies, seed)
    renumbered = torch.randperm(n_facies, generator=torch.Generator().manual_seed(seed))
    field = TruncatedGaussian.in_order(place, renumbered[of_data], n_facies, NEAR)
    position = field.models.position[0, 0][renumbered]
    assert position.tolist() in (list(range(n_facies)), list(range(n_facies - 1, -1, -1)))


@pytest.mark.parametrize("n_data", [60, 400])
def test_models_count_by_how_likely_all_data_are_by_them(n_data):
    """Also where they were tried on a part; those by which the data are e^4 times less likely do not count."""
    place, of_data, _ = ordered_survey(n_data, 3)
    field = TruncatedGaussian.in_order(place, of_data, 3, NEAR)
    likely = field.models.log_likelihood(place, of_data, lambda: None)
    weight = field.weight.double().log()
    assert len(weight) > 1
    assert torch.allclose(weight - weight[0], likely - likely[0], atol=1e-3)
    assert likely[0] == likely.max()
    assert likely.min() >= likely.max() - 4


def test_of_two_facies_a_field_for_each_is_as_likely_as_one_for_both():
    """They are mirror images, of which half counts."""
    place, of_data, _ = ordered_survey(50, 2)
    in_order, one_by_one = torch.tensor([[[0, 1]]]), torch.eye(2, dtype=torch.int64)[None]
    one, two = (
        Models(NEAR, position).log_likelihood(place, of_data, lambda: None) for position in (in_order, one_by_one)
    )
    assert float(two) == pytest.approx(float(one), rel=1e-9)


def test_of_rare_facies_several_data_are_among_those_that_models_are_tried_on():
    place, of_data, _ = ordered_survey(1000, 2)
    of_data[[3, 500, 700, 800, 900]], of_data[77] = 2, 3
    _, tried = _Trial(place, of_data, lambda: None)._data
    assert (torch.bincount(tried)[2:] >= torch.tensor([4, 1])).all()
    assert len(tried) == 240


def test_between_two_facies_it_expects_the_one_between_them():
    """Two data of the outer facies, and what lies half-way: where kriging has a half of each."""
    place, of_data, _ = ordered_survey(150, 3)
    field = TruncatedGaussian.in_order(place, of_data, 3, NEAR)
    probability, _ = field.at(everywhere().float())
    torn = (probability[0] > 0.2) & (probability[2] > 0.2)
    assert not (torn & (probability[1] < 0.2)).any()


def test_renumbering_facies_permutes_the_probabilities():
    place, of_data, _ = ordered_survey(90, 5)
    renumbered = torch.tensor([3, 0, 4, 2, 1])
    (one, deviation), (other, again) = (
        TruncatedGaussian.in_order(place, facies, 5, NEAR).at(everywhere(9).float())
        for facies in (of_data, renumbered[of_data])
    )
    assert torch.allclose(other[renumbered], one, atol=1e-5)
    assert torch.allclose(deviation, again, atol=1e-5)


def test_it_predicts_ordered_facies_far_better_than_their_shares_and_knows_it():
    place, of_data, facies = ordered_survey(150, 5)
    field = TruncatedGaussian.in_order(place, of_data, 5, NEAR)
    assert field.loss_nats < np.log(5) - 0.8
    assert loss_at(field, facies) < np.log(5) - 0.8


def test_of_noise_it_claims_no_skill():
    generator = torch.Generator().manual_seed(0)
    place, _, _ = ordered_survey(150, 5)
    field = TruncatedGaussian.in_order(place, torch.randint(5, (150,), generator=generator), 5, NEAR)
    assert field.loss_nats > np.log(5) - 0.15  # the best of many trials
    probability, _ = field.at(everywhere(9).float())
    assert probability.amax(dim=0).mean() < 0.35


@pytest.mark.parametrize(("n_data", "n_facies"), [(2, 2), (3, 3), (40, 20), (1500, 4)])
def test_from_the_fewest_data_to_the_most(n_data, n_facies):
    place, _, _ = ordered_survey(n_data, 2)
    field = TruncatedGaussian.in_order(place, torch.arange(n_data) % n_facies, n_facies, NEAR)
    probability, deviation = field.at(everywhere(9).float())
    assert probability.shape == (n_facies, len(deviation))
    assert probability.isfinite().all()
    assert torch.allclose(probability.sum(dim=0), torch.ones(len(deviation)), atol=1e-4)


def test_of_no_place_it_tells_nothing():
    place, of_data, _ = ordered_survey(30, 3)
    probability, deviation = TruncatedGaussian.in_order(place, of_data, 3, NEAR).at(torch.zeros(0, 2))
    assert probability.shape == (3, 0)
    assert deviation.shape == (0,)


def test_the_deviation_is_computed_on_fewer_places_and_hardly_differs():
    """On a lattice finer than a quarter of the data's spacing neighbours share it; it is small at data, 1 far away."""
    place = torch.cartesian_prod(torch.arange(20.0, 80, 20), torch.arange(20.0, 80, 20))
    field = TruncatedGaussian.in_order(place, torch.arange(9) % 2, 2, NEAR)
    _, deviation = field.at(everywhere(1).float())
    _, alone = field.at(torch.tensor([[20.0, 20.0], [1000.0, 1000.0]]))
    on_map = deviation.view(SIDE - 1, SIDE - 1)
    assert len(torch.unique(deviation)) < deviation.numel() / 9
    assert alone[0] == pytest.approx(float(on_map[19, 19]), abs=1e-4)
    assert alone[0] < alone[1] == pytest.approx(1, abs=1e-3)


def mosaic_survey(n_data, n_facies, seed=0):
    """Return places (n, 2) and facies of data from fields of which the largest wins, and the map: no order, bodies."""
    generator = torch.Generator().manual_seed(seed)
    law = FieldLaw(*(torch.full((1,), value) for value in (40.0, 1.0, 0.0, 3.0, 0.0, 0.1)))
    facies = gaussian_fields(law, n_facies, SIDE, generator)[0].argmax(dim=0)
    cell = torch.randperm(SIDE * SIDE, generator=generator)[:n_data]
    return torch.stack([cell // SIDE, cell % SIDE], dim=1).float(), facies.flatten()[cell], facies


@pytest.mark.parametrize("seed", range(2))
def test_facies_without_an_order_are_predicted_better_one_by_one_and_it_is_known(seed):
    place, of_data, facies = mosaic_survey(200, 5, seed)
    alone = TruncatedGaussian.one_by_one(place, of_data, 5)
    in_order = TruncatedGaussian.in_order(place, of_data, 5, NEAR)
    assert alone.loss_nats < in_order.loss_nats - 0.02
    assert loss_at(alone, facies) < loss_at(in_order, facies) - 0.02


def test_one_by_one_renumbering_permutes_and_the_shares_add_to_one():
    place, of_data, _ = mosaic_survey(90, 4)
    renumbered = torch.tensor([3, 0, 2, 1])
    one, other = (
        TruncatedGaussian.one_by_one(place, facies, 4).at(everywhere(9).float())[0]
        for facies in (of_data, renumbered[of_data])
    )
    assert torch.allclose(other[renumbered], one, atol=1e-5)
    assert torch.allclose(one.sum(dim=0), torch.ones(one.shape[1]), atol=1e-5)


@pytest.mark.parametrize(("n_data", "n_facies"), [(3, 3), (40, 20), (600, 8)])
def test_one_by_one_from_the_fewest_data_to_many(n_data, n_facies):
    place, _, _ = ordered_survey(n_data, 2)
    field = TruncatedGaussian.one_by_one(place, torch.arange(n_data) % n_facies, n_facies)
    probability, deviation = field.at(everywhere(9).float())
    assert probability.isfinite().all()
    assert deviation.min() > 0
    assert deviation.max() <= 1
    assert field.loss_nats.isfinite()


def test_the_leave_one_out_loss_is_that_of_data_left_out():
    """Sixty data, each left out in turn: the loss is what the other 59 predict by the same models."""
    place, of_data, _ = mosaic_survey(60, 3)
    found = TruncatedGaussian.one_by_one(place, of_data, 3)
    losses = []
    for datum in range(60):
        others = torch.arange(60) != datum
        sites = found.models.observe(place[others], of_data[others], 4)
        towards = found.models.covariances.between(place[datum][None], place[others]).double()[:, None]  # (n, 1, 1, 59)
        mean, told = (towards * sites.dual[:, :, None]).sum(dim=3), ((towards @ sites.inverse) * towards).sum(dim=3)
        yes = ndtr((mean - sites.cuts) / (1 - told).clamp_min(1e-4).sqrt())[..., 0]
        losses.append(-(found.weight.double() @ (yes / yes.sum(dim=1, keepdim=True)))[of_data[datum]].log())
    assert float(found.loss_nats) == pytest.approx(float(torch.stack(losses).mean()), abs=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_facies_that_few_data_show_keeps_its_place_in_the_order(seed):
    """Of a thousand data three show the fourth of six facies; models are tried on a part, which holds all three."""
    place, of_data, _ = ordered_survey(1000, 6, seed)
    rare = (of_data == 3).nonzero()[:, 0]
    kept = torch.ones(len(place), dtype=torch.bool)
    kept[rare[3:]] = False
    field = TruncatedGaussian.in_order(place[kept], of_data[kept], 6, NEAR)
    assert field.models.position[0, 0].tolist() in (list(range(6)), list(range(5, -1, -1)))


def test_facies_of_few_data_one_by_one_are_not_thought_as_likely_as_not():
    """Sixteen facies, four data each, far apart: hardly anything is told, and the shares of all add to one."""
    place = torch.cartesian_prod(torch.arange(0.0, 800, 100), torch.arange(0.0, 800, 100))
    of_data = torch.randperm(64, generator=torch.Generator().manual_seed(0)) % 16
    probability, _ = TruncatedGaussian.one_by_one(place, of_data, 16).at(place)
    own = probability.gather(0, of_data[None]).mean()
    beyond = ndtr(-TruncatedGaussian.one_by_one(place, of_data, 16).cuts)
    assert beyond.flatten().tolist() == pytest.approx([1 / 16] * beyond.numel(), abs=0.03)
    others, _ = TruncatedGaussian.one_by_one(place, of_data, 16).at(place + 50)
    assert own > 0.5
    assert others.amax() < 0.5
