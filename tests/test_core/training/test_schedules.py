"""Schedules: the best cuts by brute force, passes where they gain most, and a table that knows what a network knows."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from oadg.core.model.hard_data import HardData
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import Schedule
from oadg.core.training import schedules
from oadg.core.training.loop import Examples
from oadg.core.training.schedules import N_PARTS, best_cuts, choose_schedule, loss_table, measured_schedules


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
    schedule, excess = choose_schedule([easy, hard], easy, 2, 6.0)
    assert len(schedule.refined[1]) > len(schedule.refined[0])
    cost = len(schedule.refined[0]) + len(schedule.refined[1]) / 4 + len(schedule.started) / 16
    assert cost < 6.0 + 1
    _, less = choose_schedule([easy, hard], easy, 2, 12.0)
    assert 0 <= less < excess


def test_every_quality_ends_with_all_nodes():
    chosen, bits = measured_schedules([table_of(N_PARTS, 2)], table_of(N_PARTS, 3), 1)
    assert set(chosen) == set(bits) == {"standard", "preview", "fine"}
    assert bits["preview"] >= bits["standard"] >= bits["fine"] == 0
    for schedule in chosen.values():
        assert all(shares[-1] == 1 for shares in (*schedule.refined, schedule.started))
        assert Schedule.from_dict(schedule.to_dict()) == schedule


def test_a_model_of_one_level_has_schedules_too():
    chosen, _ = measured_schedules([], table_of(N_PARTS, 3), 0)
    assert chosen["standard"].started[-1] == chosen["standard"].refined[0][-1] == 1


NO_DATA = HardData(*[torch.zeros(0, dtype=torch.int64)] * 4, torch.zeros(0), torch.zeros(0))
CONFIG = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_bottom=1, n_classes=2, refiner=4)


def maps_of(truth, inside):
    """Return maps to predict of which nothing is known."""
    unknown = torch.full_like(truth, -1)
    return Examples(unknown, inside, NO_DATA, 2, torch.ones(len(truth), 2, dtype=torch.bool), truth, inside)


@pytest.mark.parametrize("refines", [True, False])
@pytest.mark.parametrize("refined_above", [0, 1])
def test_the_table_of_a_network_that_knows_nothing_is_that_of_a_coin(monkeypatch, refines, refined_above):
    monkeypatch.setattr(schedules, "N_PARTS", 4)
    network = FaciesNetwork(replace(CONFIG, refined_above=refined_above)).eval()  # its heads are 0
    truth = torch.arange(2).repeat(2, 32, 16)
    table = loss_table(network, maps_of(truth, truth >= 0), refines=refines, seed=0)
    upper = np.triu_indices(4)
    assert table[upper] == pytest.approx(np.log(2))
    assert np.isnan(table[np.tril_indices(4, -1)]).all()


@pytest.mark.parametrize("refined_above", [0, 1])
def test_what_is_started_ends_where_the_refiner_goes_on(monkeypatch, refined_above):
    """The nodes that the table counts, and those known meanwhile, are of the lattices that are drawn from the data."""
    n_known, n_counted = [], []

    def network(class_index, inside, data, n_facies, *, level, context):
        n_known.append(int((class_index >= 0).sum()))
        return torch.zeros(len(class_index), n_facies, *class_index.shape[1:])

    network.config, network.parameters = replace(CONFIG, refined_above=refined_above), lambda: iter([torch.zeros(1)])
    counted = torch.bincount
    monkeypatch.setattr(torch, "bincount", lambda *a, **k: n_counted.append(len(a[0])) or counted(*a, **k))
    truth = torch.zeros(2, 64, 64, dtype=torch.int64)
    loss_table(network, maps_of(truth, truth >= 0), refines=False, seed=0)
    n_started = truth.numel() / 4 ** (1 + refined_above)
    assert n_known[0] == 0
    assert max(n_known) == pytest.approx(n_started * (1 - 1 / N_PARTS), rel=0.02)
    assert max(n_counted) == n_started


def test_the_table_asks_only_inside():
    network = FaciesNetwork(replace(CONFIG, refiner=0)).eval()
    with torch.no_grad():
        network.of_class[0, 0], network.head.bias[:] = 5.0, 1.0
        network.head.weight[:, 0] = 1.0
    truth = torch.zeros(1, 32, 32, dtype=torch.int64)
    truth[:, :, 16:] = 1
    left = torch.zeros(truth.shape, dtype=torch.bool)
    left[:, :, :16] = True
    sides = [loss_table(network, maps_of(truth, side), refines=False, seed=0)[0].mean() for side in (left, ~left)]
    assert sides[0] < np.log(2) < sides[1], "facies 0 is what this network believes in"
