"""What kriging reads from data is kriging, treats facies alike, and finds the structure that is there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.kriging import kriging_features
from oadg.core.kriging.covariances import EXPONENTIAL, GAUSSIAN, Covariances
from oadg.core.kriging.indicators import Covariance, indicator_kriging
from oadg.core.kriging.kriging_features import MOST_DATA, MOST_SEEN, N_OF_FACIES, N_OF_PLACE, SurveyKriging
from oadg.core.training.random_fields import FieldLaw, gaussian_fields


def survey_of(n_data, range_cells, n_facies=3, noise=0.0, seed=0, ratio=1.0, azimuth=0.0):
    """Return places (n, 2) and facies of data from a smooth field of 64 x 64 cells."""
    generator = torch.Generator().manual_seed(seed)
    law = FieldLaw(*(torch.full((1,), v) for v in (range_cells, ratio, azimuth, 4.0, 0.0, 0.1)))
    field = gaussian_fields(law, n_facies, 64, generator)[0].argmax(dim=0)
    cell = torch.randperm(64 * 64, generator=generator)[:n_data]
    facies = field.flatten()[cell]
    other = torch.randint(n_facies, facies.shape, generator=generator)
    facies = torch.where(torch.rand(n_data, generator=generator) < noise, other, facies)
    return torch.stack([cell // 64, cell % 64], dim=1).float(), facies


def everywhere():
    return torch.cartesian_prod(torch.arange(0.0, 64, 7), torch.arange(0.0, 64, 5))


def stretched(place, covariance):
    """Return places moved so that an isotropic covariance of the same range is this one."""
    cos, sin = covariance.azimuth.cos(), covariance.azimuth.sin()
    along, across = place[:, 0] * cos + place[:, 1] * sin, place[:, 1] * cos - place[:, 0] * sin
    return torch.stack([along / covariance.ratio.sqrt(), across * covariance.ratio.sqrt()], dim=1)


def test_the_estimates_are_those_of_simple_indicator_kriging():
    """With one covariance left, the channels agree with the yardstick's kriging of the same covariance and mean."""
    place, facies = survey_of(80, 20.0)
    survey = SurveyKriging.fit(place, facies, 3)
    best = int(survey.weight[:, 0].argmax())
    only = torch.zeros_like(survey.weight)
    only[best] = 1
    alone = replace(survey, weight=only, weight_of_facies=only.expand(-1, 3))
    kind = "gaussian" if survey.covariances.shape[best] == GAUSSIAN else "exponential"
    covariance = Covariance(kind, float(survey.covariances.range_cells[best]), float(survey.covariances.nugget[best]))
    data, asked = (stretched(at, survey.covariances.select(best)).numpy() for at in (place, everywhere()))
    mean = survey.mean[best, 0].numpy()
    expected = indicator_kriging(data, facies.numpy(), asked, (covariance,) * 3, 3, proportions=mean)
    of_facies, _ = alone.at(everywhere(), 1)
    assert of_facies[:, 0].numpy() == pytest.approx(expected, abs=2e-3)
    assert of_facies[:, 2].numpy() == pytest.approx(expected, abs=2e-3)
    assert of_facies[:, 1].exp().numpy() == pytest.approx(np.maximum(expected, 0.005), abs=2e-3)


@pytest.mark.parametrize(("shape", "n_data"), [(EXPONENTIAL, 100), (GAUSSIAN, 10)])
def test_what_is_told_of_a_whole_survey(shape, n_data):
    """On data every ten cells, for nodes every five, with a single covariance: lengths are in nodes."""
    place = 10 * torch.cartesian_prod(torch.arange(float(n_data // 10)), torch.arange(10.0))
    fitted = SurveyKriging.fit(place, torch.arange(n_data) % 3, 3)
    one = Covariances(*(torch.full((8,), float(value)) for value in (40.0, 2.0, 0.3, shape, 0.15)))
    asked = torch.tensor([[0.0, 0.0], [0.0, 5.0], [-1000.0, 0.0]])
    _, of_place = replace(fitted, covariances=one).at(asked, 5)
    support, nearest, constant, spacing, reach, is_gaussian, nugget, skill, number, cos, sin, *_ = of_place
    assert support[0] == pytest.approx(0.85), "at a datum all but the nugget"
    assert support[0] > support[1] > support[2] == pytest.approx(0, abs=1e-6)
    assert nearest == pytest.approx(torch.tensor([0, np.log(1.5), np.log(101)]), abs=1e-5)
    told = torch.stack([constant, spacing, reach, is_gaussian, nugget, number, cos, sin])
    expected = [1, np.log(2), np.log(8), shape == GAUSSIAN, 0.15, np.log10(n_data) / 3]
    expected += [np.log(2) * np.cos(0.6), np.log(2) * np.sin(0.6)]
    assert told == pytest.approx(torch.tensor(expected)[:, None].expand(-1, 3).float(), abs=1e-5)
    assert (skill == fitted.skill_nats).all()


def left_out_by_solving(survey, indicator):
    """Return what each covariance of a survey, and the shares, estimate of each datum from all others."""
    share, covariance = indicator.mean(dim=0), survey.covariances.among(survey.place).double()
    estimates = []
    for datum in range(len(indicator)):
        others = torch.arange(len(indicator)) != datum
        towards = covariance[:, datum, others][:, None]
        weights = torch.linalg.solve(covariance[:, others][:, :, others], towards, left=False)
        estimates.append((weights @ (indicator[others] - share))[:, 0] + share)
    return torch.stack(estimates, dim=1)  # (n_kept, n_data, n_facies)


def test_covariances_count_by_how_they_predict_data_that_are_left_out():
    """Each datum as three tenths of one: in nats for all facies alike, by squared errors for each by itself."""
    place, facies = survey_of(50, 25.0)
    survey, indicator = SurveyKriging.fit(place, facies, 3), torch.nn.functional.one_hot(facies, 3).double()
    estimate = left_out_by_solving(survey, indicator)
    evidence = 0.3 * 50 / 2 * (((estimate - indicator) ** 2).mean(dim=1)).log()
    of_facies = survey.weight_of_facies.double().log()
    assert (of_facies - of_facies[0]).numpy() == pytest.approx((evidence[0] - evidence).numpy(), abs=0.02)
    estimate = estimate.clamp_min(0.01)
    loss = -((estimate / estimate.sum(dim=2, keepdim=True)).log() * indicator).sum(dim=2).mean(dim=1)
    alike = survey.weight[:, 0].double().log()
    assert (alike - alike[0]).numpy() == pytest.approx((0.3 * 50 * (loss[0] - loss)).numpy(), abs=0.02)
    assert loss.argmin() == 0
    assert float(survey.loss_nats) == pytest.approx(float(loss[0]), abs=1e-3)
    assert (alike[0] - alike).max() > 0.1


@pytest.mark.parametrize("n_data", [50, 600])
def test_the_skill_is_what_the_best_covariance_gains_over_the_shares(n_data):
    place, facies = survey_of(n_data, 20.0)
    survey, share = SurveyKriging.fit(place, facies, 3), torch.bincount(facies) / n_data
    gained = survey.loss_nats + (share * share.log()).sum()
    assert float(survey.skill_nats) == pytest.approx(float(gained), abs=2e-3)


def test_data_that_tell_nothing_of_each_other_lose_what_the_shares_of_all_do():
    """Also those that are tested near each other, in a corner where a single facies is."""
    place = torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0))
    indicator = torch.nn.functional.one_hot((place[:, 1] >= 10).long(), 2).float()
    nothing = Covariances(*(torch.tensor([value]) for value in (1e-3, 1.0, 0.0, float(EXPONENTIAL), 0.0)))
    loss, squared = kriging_features._leave_one_out(place, indicator, nothing, lambda: None)
    assert float(loss) == pytest.approx(np.log(2), abs=1e-3)
    assert squared == pytest.approx(torch.full((1, 2), 0.25), abs=1e-3)


def test_for_the_mean_the_shares_count_as_one_datum_far_from_all():
    place, facies = survey_of(12, 20.0)
    survey, indicator = SurveyKriging.fit(place, facies, 3), torch.nn.functional.one_hot(facies, 3).double()
    for mean, covariance in zip(survey.mean[:, 0], survey.covariances.among(place).double()):
        weights = torch.linalg.solve(torch.block_diag(covariance, torch.ones(1, 1)), torch.ones(13).double())
        expected = weights @ torch.cat([indicator, indicator.mean(dim=0)[None]]) / weights.sum()
        assert mean.numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def test_data_that_crowd_count_less_for_the_mean():
    """Half of the data crowd where one facies is; everywhere else the other one is as common."""
    crowd = torch.cartesian_prod(torch.arange(30.0, 36), torch.arange(30.0, 36))
    apart = torch.cartesian_prod(torch.arange(2.0, 62, 10), torch.arange(2.0, 62, 10))
    of_crowd, of_apart = torch.zeros(36, dtype=torch.int64), torch.arange(36) % 2
    survey = SurveyKriging.fit(torch.cat([crowd, apart]), torch.cat([of_crowd, of_apart]), 2)
    assert float((survey.weight * survey.mean[:, 0]).sum(dim=0)[0]) < 0.65  # of all data .75 are of this facies


def test_shapes_sums_and_the_nearest_datum():
    place, facies = survey_of(40, 20.0)
    of_facies, of_place = SurveyKriging.fit(place, facies, 4).at(everywhere(), 2)
    assert of_facies.shape == (4, N_OF_FACIES, len(everywhere()))
    assert of_place.shape == (N_OF_PLACE, len(everywhere()))
    for estimate in (of_facies[:, 0], of_facies[:, 2]):
        assert torch.allclose(estimate.sum(dim=0), torch.ones(len(everywhere())), atol=1e-5)
        assert (estimate[3] == 0).all()  # never observed
    nearest = facies[torch.cdist(everywhere(), place).argmin(dim=1)]
    assert torch.equal(of_facies[:, 4].argmax(dim=0), nearest)
    assert of_facies.isfinite().all()
    assert of_place.isfinite().all()


def test_places_in_parts_are_places_together(monkeypatch):
    place, facies = survey_of(40, 20.0)
    survey = SurveyKriging.fit(place, facies, 3)
    whole = survey.at(everywhere(), 1)
    monkeypatch.setattr("oadg.core.kriging.covariances._PAIRS_AT_ONCE", 400)
    for part, together in zip(survey.at(everywhere(), 1), whole):
        assert torch.allclose(part, together, atol=1e-5)


@pytest.mark.parametrize("n_data", [60, 400])
def test_the_structure_of_the_data_is_found(n_data):
    """Smooth data get long ranges and skill; noise gets none, and is estimated by the shares of the facies."""
    smooth = SurveyKriging.fit(*survey_of(n_data, 50.0), 3)
    noise = SurveyKriging.fit(*survey_of(n_data, 50.0, noise=1.0), 3)
    assert smooth.skill_nats < -0.3 < -0.05 < noise.skill_nats
    spread = [survey.at(everywhere(), 1)[0][:, 0].std(dim=1).mean() for survey in (smooth, noise)]
    assert spread[0] > 3 * spread[1]


def test_the_unit_of_length_is_the_spacing_of_the_nodes():
    """A survey on cells half as large, for nodes twice as many cells apart, is the same survey."""
    place, facies = survey_of(50, 20.0)
    of_facies, of_place = SurveyKriging.fit(place, facies, 3).at(everywhere(), 1)
    finer = SurveyKriging.fit(2 * place, facies, 3).at(2 * everywhere(), 2)
    assert torch.allclose(finer[0], of_facies, atol=1e-4)
    assert torch.allclose(finer[1], of_place, atol=1e-4)


@pytest.mark.parametrize("n_data", [2, 3, MOST_DATA])
def test_from_the_fewest_data_to_the_most(n_data):
    place, facies = survey_of(n_data, 20.0)
    of_facies, of_place = SurveyKriging.fit(place, facies, 3).at(everywhere(), 1)
    assert of_facies.isfinite().all()
    assert of_place.isfinite().all()


def test_of_a_map_it_reads_the_data_that_are_there():
    place, facies = survey_of(30, 20.0)
    known = torch.full((64, 64), -1)
    known[place[:, 0].long(), place[:, 1].long()] = facies
    of_map, of_places = SurveyKriging.of_map(known, 3), SurveyKriging.fit(place, facies, 3)
    for found, expected in zip(of_map.at(everywhere(), 1), of_places.at(everywhere(), 1)):
        assert torch.allclose(found, expected, atol=1e-4)


def test_of_many_data_it_reads_a_part(monkeypatch):
    monkeypatch.setattr(kriging_features, "MOST_DATA", 40)
    monkeypatch.setattr(kriging_features, "MOST_SEEN", 60)
    place, facies = survey_of(60, 20.0)
    known = torch.full((64, 64), -1)
    known[place[:, 0].long(), place[:, 1].long()] = facies
    told = SurveyKriging.of_map(known, 3)
    assert len(told.place) == 40
    assert (known[told.place[:, 0].long(), told.place[:, 1].long()] >= 0).all()
    assert torch.equal(told.place, SurveyKriging.of_map(known, 3).place), "always the same"
    assert told.place.amax(dim=0).tolist() == pytest.approx(place.amax(dim=0).tolist(), abs=6), "from all of the map"
    assert told.place.amin(dim=0).tolist() == pytest.approx(place.amin(dim=0).tolist(), abs=6)


@pytest.mark.parametrize("n_data", [0, 1, MOST_SEEN + 1])
def test_of_too_few_data_and_of_too_many_nothing_is_read(n_data):
    known = torch.full((64, 64), -1)
    known.view(-1)[:n_data] = torch.arange(n_data) % 3
    assert SurveyKriging.of_map(known, 3) is None


def test_data_in_a_row_next_to_each_other():
    place = torch.stack([torch.zeros(30), torch.arange(30.0)], dim=1)
    of_facies, _ = SurveyKriging.fit(place, torch.arange(30) // 15, 2).at(everywhere(), 1)
    assert of_facies.isfinite().all()
    assert of_facies[0, 0, 0] > 0.8


@pytest.mark.parametrize("seed", [144, 404])
def test_one_datum_that_contradicts_all_around_it(seed):
    """A sixth facies, named once amidst clusters of data in bands: no field can be there, and all is told the same."""
    rng = np.random.default_rng(seed)
    place = [centre + rng.normal(0, 10 ** rng.uniform(-0.5, 0.8), (10, 2)) for centre in 100 * rng.random((12, 2))]
    place = torch.tensor(np.concatenate(place))
    facies = torch.bucketize(place[:, 1].contiguous(), torch.tensor([25.0, 30.0, 50.0, 90.0]).double())
    facies[rng.integers(len(facies), size=1)] = 5
    facies = facies.unique(return_inverse=True)[1]
    survey = SurveyKriging.fit(place.float(), facies, int(facies.max()) + 1, reads_order=True)
    of_facies, of_place = survey.at(everywhere(), 4)
    assert of_facies.isfinite().all()
    assert of_place.isfinite().all()


def told_of_azimuth(place, facies):
    """Return the two channels of the azimuth, which are the same everywhere."""
    return SurveyKriging.fit(place, facies, 2).at(place[:1], 1)[1][9:11, 0]


def test_the_azimuth_of_the_data_is_found():
    """Bands that run eastwards tell so, and turned by a quarter they tell the opposite."""
    place, _ = survey_of(100, 20.0)
    facies = (place[:, 0] // 12 % 2).long()
    cos, sin = told_of_azimuth(place, facies)
    assert cos < -0.5  # twice 90 degrees
    assert abs(sin) < 0.3
    turned = torch.stack([63 - place[:, 1], place[:, 0]], dim=1)
    assert told_of_azimuth(turned, facies) == pytest.approx(torch.tensor([-cos, -sin]), abs=1e-4)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_data_of_bodies_askew_are_best_predicted_along_them(seed):
    """Five times as long as wide, at 34 degrees from eastwards to southwards: 56 from southwards, and 60 are tried."""
    survey = SurveyKriging.fit(*survey_of(120, 25.0, seed=seed, ratio=5.0, azimuth=0.6), 3)
    assert survey.covariances.ratio[0] == 4.5
    assert survey.covariances.azimuth[0] == pytest.approx(np.pi / 3)
    isotropic = survey.weight[survey.covariances.ratio == 1]
    assert isotropic.sum() < 0.2


def test_two_estimates_by_fields_and_the_evidence_for_each():
    """Compact bodies of four facies, a fifth one that was not observed: the fields one by one are believed more."""
    place, facies = survey_of(200, 30.0, n_facies=4)
    survey = SurveyKriging.fit(place, facies, 5, reads_order=True)
    of_facies, of_place = survey.at(everywhere(), 1)
    in_order, alone = of_facies[:, 5], of_facies[:, 7]
    for estimate, field in zip((in_order, alone), survey.fields):
        assert torch.equal(estimate[survey.observed], field.at(everywhere())[0])
    assert torch.equal(of_place[11], survey.fields[0].at(everywhere())[1])
    for estimate in (in_order, alone):
        assert torch.allclose(estimate.sum(dim=0), torch.ones(len(everywhere())), atol=1e-4)
        assert (estimate[4] == 0).all()
    assert torch.allclose(of_facies[:, 8].exp(), alone.clamp_min(0.005), atol=1e-5)
    evidence = survey.loss_nats - torch.stack([field.loss_nats for field in survey.fields])
    assert torch.allclose(of_place[12:, 0], (200**0.5 * evidence).clamp(-4, 4), atol=1e-4)
    assert of_place[13, 0] > of_place[12, 0] + 0.5


def test_of_three_facies_there_is_a_field_for_each_as_well():
    survey = SurveyKriging.fit(*survey_of(40, 20.0), 3, reads_order=True)
    assert [field.models.n_fields for field in survey.fields] == [1, 3]


def test_of_two_facies_both_estimates_are_one():
    of_facies, of_place = SurveyKriging.fit(*survey_of(50, 20.0, n_facies=2), 2, reads_order=True).at(everywhere(), 1)
    assert torch.equal(of_facies[:, 5], of_facies[:, 7])
    assert torch.equal(of_place[12], of_place[13])


@pytest.mark.parametrize("reads_order", [True, False])
def test_without_fields_kriging_stands_for_them(reads_order):
    """Where a single facies was observed, or no field is asked for."""
    place, facies = survey_of(30, 20.0, n_facies=2)
    facies = torch.zeros_like(facies) if reads_order else facies
    of_facies, of_place = SurveyKriging.fit(place, facies, 2, reads_order=reads_order).at(everywhere(), 1)
    for estimate in (of_facies[:, 5], of_facies[:, 7]):
        assert torch.equal(estimate, of_facies[:, 0])
    assert (of_place[11] == 1).all()
    assert (of_place[12:] == 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_of_few_data_too_renumbering_permutes_what_the_fields_tell(seed):
    """Where several orders of the facies are as good, which is tried does not depend on their numbers."""
    generator = torch.Generator().manual_seed(seed)
    n_data = 4 + seed % 7
    place = torch.randperm(400, generator=generator)[:n_data]
    place = torch.stack([place // 20, place % 20], dim=1).float()
    facies = torch.randint(5, (n_data,), generator=generator)
    order = torch.randperm(5, generator=generator)
    asked = torch.cartesian_prod(torch.arange(0.0, 20, 3), torch.arange(0.0, 20, 3))
    of_facies, of_place = SurveyKriging.fit(place, facies, 5, reads_order=True).at(asked, 1)
    renumbered, again = SurveyKriging.fit(place, order[facies], 5, reads_order=True).at(asked, 1)
    assert torch.allclose(renumbered[order], of_facies, atol=1e-4)
    assert torch.allclose(again, of_place, atol=1e-4)


@pytest.mark.parametrize("n_data", [40, 700])
def test_a_fit_can_be_ended_while_covariances_are_tested(n_data):
    def cancel():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        SurveyKriging.fit(*survey_of(n_data, 12.0), 3, on_part=cancel)
