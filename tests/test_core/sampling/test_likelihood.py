"""The likelihood of a map, against joints that can be enumerated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.model.schedule import Schedule
from oadg.core.sampling.likelihood import surprise_nats
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream

ONE_BY_ONE = Schedule.even((64,), 64)
"""More passes than cells: one cell after another."""


def streams_of(n, shape):
    return [replace(draw_stream(3, i, shape), offset=(0, 0)) for i in range(n)]


def score(predictor, truth, known, *, level=0, schedule=ONE_BY_ONE, n=4):
    start = Start(known, torch.ones(truth.shape, dtype=torch.bool), 2, level)
    return surprise_nats(predictor, truth, start, streams_of(n, tuple(truth.shape)), schedule)


@pytest.mark.parametrize("number", [0, 3, 6, 9, 15])
def test_one_by_one_it_is_the_joint_along_every_path(two_by_two, number):
    truth = torch.as_tensor(two_by_two.maps[number]).view(2, 2)
    surprise = score(two_by_two, truth, torch.full((2, 2), -1))
    assert surprise.sum(dim=(1, 2)).numpy() == pytest.approx(-np.log(two_by_two.joint[number]), abs=1e-4)


def test_given_data_it_is_the_conditional_and_data_surprise_nobody(three_by_three):
    posterior = three_by_three.conditional([4], [1])
    number = int(np.flatnonzero(posterior > 0)[5])
    truth = torch.as_tensor(three_by_three.maps[number]).view(3, 3)
    known = torch.full((3, 3), -1)
    known[1, 1] = 1
    surprise = score(three_by_three, truth, known, level=1)
    assert surprise.sum(dim=(1, 2)).numpy() == pytest.approx(-np.log(posterior[number]), abs=1e-3)
    assert not surprise[:, 1, 1].any()


def test_maps_rank_as_the_joint_does(three_by_three):
    possible = np.arange(0, 512, 31)
    maps = [torch.as_tensor(three_by_three.maps[number]).view(3, 3) for number in possible]
    nats = [float(score(three_by_three, truth, torch.full((3, 3), -1), n=1).sum()) for truth in maps]
    assert nats == pytest.approx(-np.log(three_by_three.joint[possible]), abs=1e-3)


def test_visited_together_the_mean_over_paths_bounds_it_from_above(two_by_two):
    """Minus the logarithm is convex: what is spent on average is no less than what the mean probability needs."""
    pairs = Schedule.even((2,), 2)
    for number in (0, 5, 6, 15):
        truth = torch.as_tensor(two_by_two.maps[number]).view(2, 2)
        surprise = score(two_by_two, truth, torch.full((2, 2), -1), schedule=pairs, n=40).sum(dim=(1, 2))
        drawn = float(torch.exp(-surprise).mean())
        assert float(surprise.mean()) >= -np.log(drawn) - 1e-6


def test_realizations_of_the_model_are_as_surprising_as_its_entropy(two_by_two):
    start = Start(torch.full((2, 2), -1), torch.ones(2, 2, dtype=torch.bool), 2, 0)
    nats = surprise_nats(two_by_two, None, start, streams_of(600, (2, 2)), ONE_BY_ONE).sum(dim=(1, 2))
    entropy = -(two_by_two.joint * np.log(two_by_two.joint)).sum()
    assert float(nats.mean()) == pytest.approx(entropy, abs=4 * float(nats.std()) / 600**0.5)
