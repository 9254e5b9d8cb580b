"""Schedules: the best cuts by brute force, passes where they gain most, and a table that knows what a network knows."""

import itertools

import numpy as np
import pytest
import torch

from oadg.core import schedules
from oadg.core.network import FaciesNetwork, NetworkConfig
from oadg.core.path import Schedule
from oadg.core.schedules import N_PARTS, best_cuts, choose_schedule, loss_table, measured_schedules


def table_of(n_parts, seed):
    """Return a loss table that falls with what is known."""
    falls = np.random.default_rng(seed).random(n_parts).cumsum()[::-1]
    part = np.arange(n_parts)
    table = falls[:, None] + 0.1 * (part[None, :] - part[:, None]) * falls[:, None]
    return np.where(part[None, :] >= part[:, None], table, np.nan)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_cuts_are_those_of_a_search_through_all(seed):
    table = table_of(6, seed)
    for n_passes, (loss, shares) in enumerate(best_cuts(table), start=1):
        ends = [(*inner, 6) for inner in itertools.combinations(range(1, 6), n_passes - 1)]
        losses = [
            sum(table[start, start:end].sum() for start, end in itertools.pairwise((0, *cuts))) / 6 for cuts in ends
        ]
        assert loss == pytest.approx(min(losses))
        assert tuple(round(6 * share) for share in shares) in {
            cuts for cuts, found in zip(ends, losses) if found == pytest.approx(min(losses))
        }


def test_more_passes_never_cost_more_where_knowing_helps():
    losses = [loss for loss, _ in best_cuts(table_of(N_PARTS, 0))]
    assert (np.diff(losses) <= 1e-12).all()


def test_passes_go_where_they_gain_and_stay_within_the_budget():
    hard, easy = 10 * table_of(N_PARTS, 1), 0.01 * table_of(N_PARTS, 1)
    schedule, excess = choose_schedule([easy, hard], easy, 6.0)
    assert len(schedule.refined[1]) > len(schedule.refined[0])
    cost = len(schedule.refined[0]) + len(schedule.refined[1]) / 4 + len(schedule.started) / 16
    assert cost < 6.0 + 1
    _, less = choose_schedule([easy, hard], easy, 12.0)
    assert 0 <= less < excess


def test_every_quality_ends_with_all_nodes():
    chosen, bits = measured_schedules([table_of(N_PARTS, 2)], table_of(N_PARTS, 3))
    assert set(chosen) == set(bits) == {"standard", "preview", "fine"}
    assert bits["preview"] >= bits["standard"] >= bits["fine"] == 0
    for schedule in chosen.values():
        assert all(shares[-1] == 1 for shares in (*schedule.refined, schedule.started))
        assert Schedule.from_dict(schedule.to_dict()) == schedule


def test_a_model_of_one_level_has_schedules_too():
    chosen, _ = measured_schedules([], table_of(N_PARTS, 3))
    assert (
        chosen["standard"].shares(0, is_coarsest=True)[-1] == chosen["standard"].shares(0, is_coarsest=False)[-1] == 1
    )


@pytest.mark.parametrize("is_started", [True, False])
def test_the_table_of_a_network_that_knows_nothing_is_that_of_a_coin(monkeypatch, is_started):
    monkeypatch.setattr(schedules, "N_PARTS", 4)
    network = FaciesNetwork(NetworkConfig(trunk=(8, 8), stream=(8, 8), n_bottom=1, n_classes=2)).eval()  # its head is 0
    truth = torch.arange(2).repeat(2, 32, 16)
    inside = torch.ones(truth.shape, dtype=torch.bool)
    table = loss_table(network, truth, inside, 2, 0, is_started=is_started, seed=0)
    upper = np.triu_indices(4)
    assert table[upper] == pytest.approx(np.log(2))
    assert np.isnan(table[np.tril_indices(4, -1)]).all()


def test_the_table_asks_only_inside():
    network = FaciesNetwork(NetworkConfig(trunk=(8, 8), stream=(8, 8), n_bottom=1, n_classes=2)).eval()
    with torch.no_grad():
        network.of_class[0, 0], network.head.bias[:] = 5.0, 1.0
        network.head.weight[:, 0] = 1.0
    truth = torch.zeros(1, 32, 32, dtype=torch.int64)
    truth[:, :, 16:] = 1
    left = torch.zeros(truth.shape, dtype=torch.bool)
    left[:, :, :16] = True
    sides = [loss_table(network, truth, side, 2, 0, is_started=True, seed=0)[0].mean() for side in (left, ~left)]
    assert sides[0] < np.log(2) < sides[1], "facies 0 is what this network believes in"
