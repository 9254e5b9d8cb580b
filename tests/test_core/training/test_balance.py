"""What models draw too much or too little of is measured, and what is added to logits brings it to the image's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import Cancelled
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.training_image import image_of_codes
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import SCHEDULES, Leg, Schedule
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream
from oadg.core.training import balance
from oadg.core.training.balance import measure_balance


@pytest.fixture(autouse=True)
def small_lattices(monkeypatch):
    monkeypatch.setattr(balance, "_SIDE_NODES", 64)


WANTED = np.array([0.5, 0.3, 0.2])
CODES = np.random.default_rng(1).choice(3, size=(200, 220), p=WANTED)


def image():
    return image_of_codes(CODES, np.ones(CODES.shape, dtype=bool))


def model_of(n_levels):
    config = NetworkConfig(trunk=(8,), stream=(8,), n_levels=n_levels, n_classes=3)
    network = FaciesNetwork(config).eval().requires_grad_(False)
    schedules = {quality: replace(SCHEDULES[quality], corrections=(0, 0, 3)) for quality in SCHEDULES}
    return FaciesModel("noise", network, facies=build_facies_table([0, 1, 2]), max_facies=3, schedules=schedules)


class Herd:
    """Finds a facies the more probable the more there is of it: by its share among known nodes, and something."""

    def __init__(self, config, herding, bias):
        self.config, self.herding, self.bias = config, herding, torch.tensor(bias)

    def __call__(self, class_index, inside, data, n_facies, **_):
        counts = torch.stack([(class_index == facies).sum(dim=(1, 2)) for facies in range(n_facies)], dim=1) + 30
        share = (counts / counts.sum(dim=1, keepdim=True)).log()
        wanted = torch.from_numpy(WANTED).float().log()
        logits = self.herding * share + (1 - self.herding) * wanted + self.bias
        return logits[:, :, None, None].expand(-1, -1, *class_index.shape[1:])


def herd(monkeypatch, model, herding=0.0, bias=(0.0, 0.0, 0.0)):
    predictor = Herd(model.network.config, herding, bias)
    monkeypatch.setattr(balance, "drawing_predictor", lambda network, device: predictor)
    return predictor


def shares(predictor, model, schedule, seed):
    start = Start.of(model, torch.full((64, 64), -1), 3)
    streams = [draw_stream(seed, index, start.shape) for index in range(24)]
    maps = sample(predictor, start, streams, schedule).numpy()
    return np.bincount(maps.ravel(), minlength=3) / maps.size


@pytest.mark.parametrize("n_levels", [1, 3])
@pytest.mark.parametrize(
    ("herding", "bias"), [(0.0, (0.1, 0.0, -0.1)), (0.4, (0.1, 0.0, -0.1)), (0.0, (0.0, 0.0, -8.0))]
)
def test_with_it_the_shares_that_are_drawn_on_coarse_lattices_are_those_of_the_image(
    monkeypatch, n_levels, herding, bias
):
    model = model_of(n_levels)
    predictor = herd(monkeypatch, model, herding, bias)
    schedules = measure_balance(model, image(), seed=3)
    for quality, schedule in schedules.items():
        assert schedule.balance[:-1] == ((),) * (n_levels - 1), "of the coarsest level only"
        assert len(schedule.balance[-1]) == 3
        assert replace(schedule, balance=()) == model.schedules[quality]
    assert schedules["fine"].balance == schedules["standard"].balance
    assert schedules["preview"].balance != schedules["standard"].balance or not herding
    if bias[2] > -1 and n_levels == 1:
        for seed in (3,) if herding else (3, 7):  # of herds chance makes much
            before, after = (shares(predictor, model, s["standard"], seed) for s in (model.schedules, schedules))
            assert np.abs(before - WANTED).max() > 0.02
            assert np.abs(after - WANTED).max() < 0.01


def test_a_facies_that_is_never_drawn_gets_no_more_than_a_step(monkeypatch):
    model = model_of(1)
    herd(monkeypatch, model, bias=(0.0, 0.0, -80.0))
    added = np.array(sum(measure_balance(model, image(), seed=3)["standard"].balance, ()))
    assert np.isfinite(added).all()
    assert np.abs(added).max(initial=0) <= 2.0


def test_nothing_is_added_where_it_makes_shares_worse(monkeypatch):
    model = model_of(1)
    herd(monkeypatch, model)
    off = np.array([0.05, 0.0, -0.05])

    def worse(model, schedule, *_):
        return np.tile(WANTED + (2 * off if any(schedule.balance[0]) else off), (4, 1))

    monkeypatch.setattr(balance, "_shares_of_maps", worse)
    assert measure_balance(model, image(), seed=3) == model.schedules


@pytest.mark.parametrize(
    ("off", "spread", "is_added"),
    [(0.018, 0.05, False), (0.024, 0.05, True), (0.004, 0.0, False), (0.006, 0.0, True)],
)
def test_shares_are_off_beyond_two_standard_errors_and_half_a_percent(monkeypatch, off, spread, is_added):
    """Of 24 maps, whose shares vary by so much: their mean is known to a fifth of that. One facies is as it should."""
    model = model_of(1)
    herd(monkeypatch, model)
    each = np.outer(np.resize([spread, -spread], 24), [1, -1, 0])

    def drawn(model, schedule, *_):
        return WANTED + each + (0 if any(schedule.balance[0]) else np.array([off, -off, 0.0]))

    monkeypatch.setattr(balance, "_shares_of_maps", drawn)
    assert any(measure_balance(model, image(), seed=3)["standard"].balance) == is_added


def test_no_more_is_simulated_than_the_coarsest_lattice(monkeypatch):
    """Every fourth row and column of each map."""
    model, known = model_of(3), []
    herd(monkeypatch, model)
    simulate = balance.simulate_lattices

    def simulate_and_note(*args, **kwargs):
        maps = simulate(*args, **kwargs)
        known.extend((maps >= 0).float().mean(dim=(1, 2)).tolist())
        return maps

    monkeypatch.setattr(balance, "simulate_lattices", simulate_and_note)
    monkeypatch.setattr(balance, "_N_MAPS", 2)
    measure_balance(model, image(), seed=3)
    assert known == pytest.approx([1 / 16] * len(known))


def test_nothing_is_added_where_shares_differ_by_chance_only(monkeypatch):
    model = model_of(2)
    herd(monkeypatch, model)
    assert measure_balance(model, image(), seed=3) == model.schedules


def test_it_is_added_on_its_level_and_coarser_ones_only():
    schedule = replace(SCHEDULES["standard"], balance=((), (), (0.5, -0.5)))
    of_legs = [schedule.balance_of(Leg(level, level, True)) for level in range(5)]
    assert of_legs == [(), (), (0.5, -0.5), (0.5, -0.5), (0.5, -0.5)]
    assert schedule.drawing_once().balance == ()
    assert SCHEDULES["standard"].balance_of(Leg(3, 3, True)) == ()
    assert Schedule.from_dict(schedule.to_dict()) == schedule


def test_headers_that_tell_of_none_have_none():
    description = SCHEDULES["standard"].to_dict()
    del description["balance"]
    assert Schedule.from_dict(description) == SCHEDULES["standard"]


def test_the_sampler_adds_it_to_the_logits_of_what_it_draws(monkeypatch):
    """Twice the odds of the first facies: of 1/2, 3/10 and 1/5 become 2/3, 1/5 and 2/15."""
    model = model_of(1)
    predictor = herd(monkeypatch, model)
    schedule = replace(SCHEDULES["standard"], balance=((float(np.log(2)), 0.0, 0.0),))
    assert shares(predictor, model, schedule, 1) == pytest.approx([2 / 3, 1 / 5, 2 / 15], abs=0.01)


def test_an_impossible_facies_stays_impossible(monkeypatch):
    model = model_of(1)
    predictor = herd(monkeypatch, model, bias=(0.0, 0.0, -float("inf")))
    schedule = replace(SCHEDULES["standard"], balance=((0.0, 0.0, 5.0),))
    assert shares(predictor, model, schedule, 1)[2] == 0


def test_measuring_can_be_cancelled(monkeypatch):
    model = model_of(1)
    herd(monkeypatch, model)

    def cancel():
        raise Cancelled("The training was cancelled.")

    with pytest.raises(Cancelled):
        measure_balance(model, image(), seed=1, on_pass=cancel)
