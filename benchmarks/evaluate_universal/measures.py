"""What is measured on one survey: scores beside other methods, ranks and bias of realizations, another cell size."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Mapping

import numpy as np
import torch

from oadg.core.contract.ensemble import entropy_bits
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import SimulationJob
from oadg.core.evaluation.surveys import Survey, model_method, score
from oadg.core.kriging.indicators import choose_by_leave_one_out
from oadg.core.kriging.yardsticks import KRIGING, better_kriging
from oadg.core.measures.bodies import label_bodies
from oadg.core.measures.scores import PairedInterval, Reliability, paired_interval
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.sampling.simulation import run_simulation

from .calibration import mean_chord_cells, rank_among
from .remembered import remembered
from .surveys import NamedSurvey, Truth, yardstick_methods

OURS, BETTER_KRIGING = "ours", "better kriging"
N_RANKED = 19
"""Realizations among which the truth is ranked."""
_LEAST_SHARE = 0.02
"""Of a facies whose share is compared with the ensemble's: of rarer ones few realizations make no interval."""


@dataclass(frozen=True)
class Compared:
    """
    What the methods are worth on a survey.

    Parameters
    ----------
    kind, design : str
        What made the map, and how it was surveyed.
    n_facies, n_data, n_targets : int
        Sizes of the survey.
    scores : mapping
        Method to 'log_loss' (nats), 'brier', 'accuracy', 'sharpness_bits'; `BETTER_KRIGING` is among the methods.
    difference : PairedInterval
        Log loss of the model less that of the better kriging, nats; the interval counts blocks of targets.
    reliability : mapping
        Of the model and of the better kriging.
    """

    kind: str
    design: str
    n_facies: int
    n_data: int
    n_targets: int
    scores: Mapping[str, Mapping[str, float]]
    difference: PairedInterval
    reliability: Mapping[str, Reliability]

    @property
    def headline(self) -> str:
        """The survey in a line."""
        ours, kriging = (self.scores[name]["log_loss"] for name in (OURS, BETTER_KRIGING))
        what = ", ".join(dict.fromkeys(filter(None, (self.kind, self.design))))
        return f"{what}, {self.n_facies} facies, {self.n_data} data: {ours:.3f}, better kriging {kriging:.3f}"


@dataclass(frozen=True)
class Ensemble:
    """
    What realizations of a survey say about its truth and about the first pass.

    Parameters
    ----------
    n_facies, n_data : int
        Sizes of the survey.
    bias : tuple of PairedInterval
        Of each facies that is not rare: share in the realizations less that in the first pass.
    squared_bias : float
        Mean over cells and facies of the squared difference, less the counting noise; may come out below 0.
    ranks : mapping
        Statistic to the rank of the truth among `N_RANKED` realizations, where the truth is known.
    range_share : float or None
        Then also the range that leave-one-out reads from the data, in units of the grid's longer side.
    """

    n_facies: int
    n_data: int
    bias: tuple[PairedInterval, ...]
    squared_bias: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    range_share: float | None = None

    @property
    def headline(self) -> str:
        """The survey in a line."""
        largest = max((abs(b.mean) for b in self.bias), default=0.0)
        return f"{self.n_facies} facies, {self.n_data} data: largest bias of a facies' share {largest:.3f}"


@dataclass(frozen=True)
class Refined:
    """
    Mean entropy of a survey at a cell size and at half of it.

    Parameters
    ----------
    kind : str
        What made the map.
    n_data : int
        Size of the survey.
    coarse_bits, fine_bits : float
        Over all cells.
    change, change_elsewhere : float
        Of the mean, as a share of the coarse one: over all cells, and without the larger cells that hold data, since a
        datum makes its cell certain however large the cell is.
    """

    kind: str
    n_data: int
    coarse_bits: float
    fine_bits: float
    change: float
    change_elsewhere: float

    @property
    def headline(self) -> str:
        """The survey in a line."""
        return f"{self.kind}, {self.n_data} data: mean entropy {self.coarse_bits:.3f}, {self.fine_bits:.3f} bits"


def compare(survey: NamedSurvey, model: FaciesModel, memory: Path) -> Compared:
    """Ask all methods at a survey's targets; what the krigings answer is kept in a folder."""
    methods = {OURS: model_method(model), **yardstick_methods()}
    methods.update({name: remembered(name, methods[name], memory) for name in KRIGING})
    answers = {name: method(survey) for name, method in methods.items()}
    of_methods = {name: score(answer, survey.truth) for name, answer in answers.items()}
    better = better_kriging({name: found.mean_loss for name, found in of_methods.items()})
    answers[BETTER_KRIGING], of_methods[BETTER_KRIGING] = answers[better], of_methods[better]
    scores = {
        name: {
            "log_loss": found.mean_loss,
            "brier": found.brier,
            "accuracy": found.accuracy,
            "sharpness_bits": float(entropy_bits(answers[name]).mean()),
        }
        for name, found in of_methods.items()
    }
    return Compared(
        kind=survey.kind,
        design=survey.design,
        n_facies=survey.n_facies,
        n_data=len(survey.places),
        n_targets=len(survey.targets),
        scores=scores,
        difference=paired_interval(of_methods[OURS].loss - of_methods[better].loss, groups=survey.blocks()),
        reliability={name: of_methods[name].reliability for name in (OURS, BETTER_KRIGING)},
    )


def simulate(known: np.ndarray, n_facies: int, model_path: str, n_realizations: int, seed: int) -> Ensemble:
    """Simulate on a grid of observations and hold the realizations against the first pass."""
    return against_first_pass(known, n_facies, *_run(known, n_facies, model_path, n_realizations, seed))


def calibrate(truth: Truth, model_path: str, seed: int) -> Ensemble:
    """Simulate from a truth's observations and rank the truth among the realizations."""
    probability, maps = _run(truth.known, truth.n_facies, model_path, N_RANKED, seed)
    rng = np.random.default_rng(seed)
    ordered = np.bincount(truth.known[truth.known >= 0], minlength=truth.n_facies).argsort(kind="stable")
    statistics = {
        "share of the facies observed most": lambda facies: (facies == ordered[-1]).mean(),
        "share of the facies observed least": lambda facies: (facies == ordered[0]).mean(),
        "mean distance between boundaries": mean_chord_cells,
        "number of bodies": lambda facies: label_bodies(facies).max() + 1,
    }
    ranks = {
        name: rank_among(of(truth.facies), np.array([of(facies) for facies in maps]), rng)
        for name, of in statistics.items()
    }
    row, col = np.nonzero(truth.known >= 0)
    covariance = choose_by_leave_one_out(np.stack([row, col], axis=1), truth.known[row, col], truth.n_facies)[0]
    ensemble = against_first_pass(truth.known, truth.n_facies, probability, maps)
    return replace(ensemble, ranks=ranks, range_share=covariance.range / max(truth.known.shape))


def refine(coarse: np.ndarray, fine: np.ndarray, n_facies: int, model: FaciesModel, kind: str) -> Refined:
    """Compare the entropy of one survey on a grid (n_rows, n_cols) and on (2 n_rows, 2 n_cols) cells."""
    entropy = [
        entropy_bits(facies_probability_from_data(model, torch.as_tensor(known), n_facies)) for known in (coarse, fine)
    ]
    elsewhere = coarse < 0, np.kron(coarse < 0, np.ones((2, 2), dtype=bool))
    (all_coarse, all_fine), (apart_coarse, apart_fine) = (
        [float(bits[cells].mean()) for bits, cells in zip(entropy, of)] for of in ((..., ...), elsewhere)
    )
    return Refined(
        kind, int((coarse >= 0).sum()), all_coarse, all_fine, all_fine / all_coarse - 1, apart_fine / apart_coarse - 1
    )


def halved(survey: Survey, seed: int) -> np.ndarray:
    """Return a survey's observations (2 n_rows, 2 n_cols) on cells of half the size, each anywhere in its old cell."""
    places = np.floor(survey.places) + np.random.default_rng(seed).random(survey.places.shape)
    fine = np.full([2 * n for n in survey.known.shape], -1)
    fine[tuple(np.floor(2 * places).astype(int).T)] = survey.class_index
    return fine


def against_first_pass(known: np.ndarray, n_facies: int, probability: np.ndarray, maps: np.ndarray) -> Ensemble:
    """Hold realizations (n, n_rows, n_cols) against the first pass (n_facies, n_rows, n_cols) at unknown cells."""
    first = probability[:, known < 0]  # (n_facies, n_cells)
    difference = np.stack([(cells == np.arange(n_facies)[:, None]) - first for cells in maps[:, known < 0]])
    n, total = len(maps), difference.sum(axis=0)
    # Products of different realizations only: each realization's own square is what counting adds.
    squared = (total**2 - (difference**2).sum(axis=0)) / (n * (n - 1))
    common = first.mean(axis=1) >= _LEAST_SHARE
    return Ensemble(
        n_facies=n_facies,
        n_data=int((known >= 0).sum()),
        bias=tuple(paired_interval(of_facies) for of_facies in difference.mean(axis=2).T[common]),
        squared_bias=float(squared.mean()),
    )


def _run(
    known: np.ndarray, n_facies: int, model_path: str, n_realizations: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n_facies, n_rows, n_cols) and realizations (n, n_rows, n_cols) as the engine makes them."""
    row, col = np.nonzero(known >= 0)
    with tempfile.TemporaryDirectory() as folder:
        job = SimulationJob(
            grid=Grid(0.0, float(known.shape[0]), 1.0, *known.shape),
            facies=build_facies_table(range(n_facies)),
            row=tuple(row.tolist()),
            col=tuple(col.tolist()),
            class_index=tuple(known[row, col].tolist()),
            model_path=model_path,
            work_folder=folder,
            n_realizations=n_realizations,
            seed=seed,
            device="cpu",
        )
        result = run_simulation(job, lambda fraction, text: None)
        return np.load(result.probability_path), np.load(result.realizations_path)
