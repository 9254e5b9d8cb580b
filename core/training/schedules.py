"""
Pass schedules from measured losses: which nodes can be simulated together at least cost.

Nodes of one pass are drawn independently of one another. What that costs is read from a table, measured on maps: the
loss of each part of the path given each prefix of it. The best cuts follow by dynamic programming, and passes go to the
level where one more of them gains most for its cost. What remains is for corrections to repair. Source: Hoogeboom et
al. 2021, arXiv 2110.02037, section 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Sequence

import numpy as np
import torch

from ..model.hard_data import HardData
from ..model.network import FaciesNetwork
from ..model.schedule import Schedule
from ..sampling.path import COARSER_SHARE, dispersed_rank
from .loop import Examples

COSTS = {"standard": 14.0, "preview": 6.0}
"""Of each quality: how many evaluations of the whole grid its passes come to, about; 'fine' has one for each part."""
CORRECTIONS = {"standard": (24, 24, 36, 120), "preview": (4, 8, 12, 60), "fine": (36, 36, 100, 180)}
"""Passes of each level, the finest first, that draw nodes anew. On coarse lattices they cost little, and decide on the
facies' shares and on what hangs together: there `measure_corrections` replaces them, except of sets of images."""
N_PARTS = 32
"""Into which a level's path is divided, by its rank; so many passes at most."""
_FEWEST_REFINED, _FEWEST_STARTED = 2, 6
_GIVEN_COST = 0.5
"""Evaluations of the whole grid that the passes of each level may come to whatever they gain: on coarse lattices many
passes cost little, and decide on the shares of the facies and on what hangs together, which losses hardly tell."""


def loss_table(network: FaciesNetwork, maps: Examples, *, refines: bool, seed: int) -> np.ndarray:
    """
    Measure how well each part of a level's path is predicted from each prefix of it.

    Parameters
    ----------
    network : FaciesNetwork
        What predicts.
    maps : Examples
        Maps on the lattice; what they know does not count.
    refines : bool
        Whether the path starts from the next coarser lattice, or from nothing and ends where the refiner goes on.
    seed : int
        Of the paths.

    Returns
    -------
    array, shape (N_PARTS, N_PARTS)
        Mean loss of the nodes of part `j` when all before part `i` are known, nats per node; NaN where j < i.
    """
    device = next(network.parameters()).device
    rng = np.random.default_rng(seed)
    truth, inside = maps.truth, maps.inside
    first, last = (COARSER_SHARE, 1.0) if refines else (0.0, COARSER_SHARE**network.config.n_started)
    rank = np.stack([dispersed_rank((truth.shape[1], truth.shape[2]), rng) for _ in truth]) / truth[0].numel()
    part = torch.as_tensor(np.floor((rank - first) / (last - first) * N_PARTS).astype(np.int64))
    nothing = torch.zeros(0, dtype=torch.int64)
    data = HardData(nothing, nothing, nothing, nothing, nothing.float(), nothing.float())
    table = np.full((N_PARTS, N_PARTS), np.nan)
    others = (inside.to(device), HardData(*(value.to(device) for value in data)), maps.n_facies)
    context = None
    for known in range(N_PARTS):
        class_index = torch.where(inside & (part < known), truth, -1).to(device)
        with torch.inference_mode():
            if refines and context is None:
                context = network.context(class_index, *others, level=maps.level)
            logits = network(class_index, *others, level=maps.level, context=context)
            log_probability = logits.float().log_softmax(dim=1).cpu()
        nats = -log_probability.gather(1, truth.clamp_min(0)[:, None])[:, 0]
        asked = inside & (part >= known) & (part < N_PARTS)
        total = torch.bincount(part[asked], weights=nats[asked].double(), minlength=N_PARTS)
        table[known, known:] = (total / torch.bincount(part[asked], minlength=N_PARTS).clamp_min(1)).numpy()[known:]
    return table


def best_cuts(table: np.ndarray) -> list[tuple[float, tuple[float, ...]]]:
    """
    Return, for each number of passes, the least loss and the cuts that have it.

    Parameters
    ----------
    table : array, shape (n_parts, n_parts)
        From `loss_table`.

    Returns
    -------
    list of (float, tuple of float)
        For 1 … n_parts passes: mean loss, nats per node, and the share of nodes simulated after each pass.
    """
    n_parts = len(table)
    cost = np.full((n_parts + 1, n_parts + 1), np.inf)  # of one pass from part i up to part j
    for start in range(n_parts):
        cost[start, start + 1 :] = np.cumsum(table[start, start:]) / n_parts
    least = cost[0]
    cuts: list[list[tuple[int, ...]]] = [[(end,) for end in range(n_parts + 1)]]  # by number of passes, and end
    found: list[tuple[float, tuple[float, ...]]] = [(float(least[-1]), (1.0,))]
    for _ in range(1, n_parts):
        through = least[:, None] + cost  # (last cut, end)
        before = through.argmin(axis=0)
        least = through.min(axis=0)
        cuts.append([(*cuts[-1][before[end]], end) for end in range(n_parts + 1)])
        found.append((float(least[-1]), tuple(end / n_parts for end in cuts[-1][-1])))
    return found


def choose_schedule(
    refined: Sequence[np.ndarray], started: np.ndarray, started_level: int, budget: float
) -> tuple[Schedule, float]:
    """
    Spread passes over the levels.

    Parameters
    ----------
    refined : sequence of array, shape (n_parts, n_parts)
        Loss tables of the levels that are refined, the finest first.
    started : array, shape (n_parts, n_parts)
        That of the nodes that are drawn from the data alone.
    started_level : int
        Level of the lattice that the network sees meanwhile.
    budget : float
        How many evaluations of the whole grid the passes may come to; on a level, one costs 4^-level.

    Returns
    -------
    schedule : Schedule
        The passes.
    excess_bits : float
        By how many bits per cell of the grid they cost more than one pass for each part.
    """
    options = [best_cuts(table) for table in (*refined, started)]
    nodes = [(1 - COARSER_SHARE) * 0.25**level for level in range(len(refined))] + [0.25 ** len(refined)]
    cost = [0.25**level for level in (*range(len(refined)), started_level)]  # of a pass
    fewest = [_FEWEST_REFINED] * len(refined) + [_FEWEST_STARTED]
    n_passes = [
        min(max(n, int(_GIVEN_COST / of_pass)), len(of_level)) for n, of_pass, of_level in zip(fewest, cost, options)
    ]

    def spent() -> float:
        return sum(n * of_pass for n, of_pass in zip(n_passes, cost))

    def gain(part: int) -> float:
        """Return what one more pass gains for what it costs."""
        now = n_passes[part]
        if now >= len(options[part]):
            return -1.0
        return nodes[part] * (options[part][now - 1][0] - options[part][now][0]) / cost[part]

    while max(gains := [gain(part) for part in range(len(options))]) >= 0 and spent() < budget:
        n_passes[int(np.argmax(gains))] += 1
    chosen = [of_level[n - 1] for of_level, n in zip(options, n_passes)]
    excess = sum(share * (loss - of_level[-1][0]) for share, (loss, _), of_level in zip(nodes, chosen, options))
    shares = [cuts for _, cuts in chosen]
    return Schedule(tuple(shares[:-1]) or (shares[-1],), shares[-1]), float(excess / np.log(2))


def measured_schedules(
    refined: Sequence[np.ndarray], started: np.ndarray, started_level: int
) -> tuple[dict[str, Schedule], Mapping[str, float]]:
    """Return the schedule of each quality, and its cost in bits per cell; parameters as `choose_schedule` has them."""
    chosen = {quality: choose_schedule(refined, started, started_level, budget) for quality, budget in COSTS.items()}
    every_part = tuple((part + 1) / N_PARTS for part in range(N_PARTS))
    chosen["fine"] = Schedule(tuple(every_part for _ in refined) or (every_part,), every_part), 0.0
    schedules = {q: replace(schedule, corrections=CORRECTIONS[q]) for q, (schedule, _) in chosen.items()}
    return schedules, {quality: bits for quality, (_, bits) in chosen.items()}
