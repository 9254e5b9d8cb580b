"""What is measured: probabilities at hidden cells, isolated data, and whether realizations look like the image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from oadg.core.evaluation.surveys import MethodScores, score
from oadg.core.measures.fidelity import Statistics, compare, measure
from oadg.core.measures.scores import PairedInterval, pooled_reliability, ratio_interval

from .draws import Draw

CONNECTED_AT = 40
"""Cells along a row between two cells that may lie in one body."""


@dataclass(frozen=True)
class Conditional:
    """
    What a method is worth on one draw.

    Parameters
    ----------
    scores : MethodScores
        Of its probabilities at the hidden cells.
    n_realizations : int
        Whose frequencies the probabilities are; 0 where they come from no realizations.
    seconds : float
        For a realization; of a method without any, for the map of probabilities.
    isolated : float
        Share of the data whose facies none of their neighbours has, in realizations; NaN without any.
    """

    scores: MethodScores
    n_realizations: int
    seconds: float
    isolated: float


def score_hidden(probability: np.ndarray, data: Draw) -> MethodScores:
    """Score facies probabilities (n_facies, n_rows, n_cols) at the cells that hold no datum."""
    hidden = data.known < 0
    return score(probability[:, hidden].astype(float), data.truth[hidden])


def summarise_conditional(found: Mapping[str, Sequence[Conditional]], ours: str) -> dict[str, dict[str, Any]]:
    """
    Sum up the draws.

    Parameters
    ----------
    found : mapping of str to sequence of Conditional
        By method; all on the same draws, in the same order.
    ours : str
        The method that is compared with each of the others.

    Returns
    -------
    mapping of str to dict
        Mean scores, the shortest time, what each draw gave, and the ratio of our log loss to the method's with its
        interval.
    """
    losses = {name: np.array([c.scores.mean_loss for c in of_draws]) for name, of_draws in found.items()}
    summary = {}
    for name, of_draws in found.items():
        bins = pooled_reliability([c.scores.reliability for c in of_draws])
        several = name != ours and len(of_draws) > 1
        summary[name] = {
            "log_loss": float(losses[name].mean()),
            "log_loss_of_draws": losses[name].tolist(),
            "brier": float(np.mean([c.scores.brier for c in of_draws])),
            "accuracy": float(np.mean([c.scores.accuracy for c in of_draws])),
            "reliability_error": bins.error,
            "reliability": {key: values.tolist() for key, values in asdict(bins).items()},
            "n_realizations": of_draws[0].n_realizations,
            "seconds": min(c.seconds for c in of_draws),
            "isolated": float(np.mean([c.isolated for c in of_draws])),
            "ours_to_it": interval(ratio_interval(losses[ours], losses[name])) if several else None,
        }
    return summary


def best_other(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the method of the lowest log loss among those that are not ours."""
    others = (name for name in summary if not name.startswith("ours"))
    return min(others, key=lambda name: summary[name]["log_loss"])


def interval(found: PairedInterval) -> dict[str, float]:
    """Return an interval by its names."""
    return {"mean": found.mean, "low": found.low, "high": found.high}


def summarise_likeness(maps: np.ndarray, reference: Statistics, facies: int) -> dict[str, Any]:
    """
    Compare maps with a reference set.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index.
    reference : Statistics
        Of maps of the same size.
    facies : int
        Whose bodies, connectivity and proportion are told.
    """
    measured = measure(maps, reference.proportions.shape[1])
    fidelity = compare(measured, reference)
    nearest = int(np.abs(measured.lags - CONNECTED_AT).argmin())
    return {
        "n_maps": len(maps),
        "pattern_divergence": {str(step): value for step, value in fidelity.pattern_divergence.items()},
        "bodies": float(measured.n_bodies[:, facies].mean()),
        "connectivity": float(measured.connectivity[facies, 1, nearest]),
        "connectivity_lag": int(measured.lags[nearest]),
        "connectivity_across": float(measured.connectivity[facies, 0, nearest]),
        "proportion": float(measured.proportions[:, facies].mean()),
        "proportion_spread": float(measured.proportions[:, facies].std()),
        "variogram_difference": fidelity.variogram_difference,
        "connectivity_difference": fidelity.connectivity_difference,
        "between": fidelity.between,
        "within": fidelity.within,
    }
