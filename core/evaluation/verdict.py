"""What an evaluation of a model comes to, in plain words: the worst of what was compared decides."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from .likeness import ModelEvaluation

_WORDS = ("look like the image", "resemble the image", "do not look like the image")
_PATTERN_TIMES = 5.0, 25.0
"""Up to so many times as far as by chance realizations look like the image, or resemble it."""
_FARTHEST_PATTERNS = 0.5
"""Bits by which the frequencies of small patterns may differ; where crops are small, chance makes much of it, too."""
_SHARE_TIMES, _BODIES_TIMES = (2.0, 4.0), (1.5, 3.0)
"""By what factor shares of facies and numbers of bodies may be off, beyond what chance makes of them."""
_VARIOGRAM_TIMES, _VARIOGRAM_LEAST = (3.0, 10.0), 0.01
"""How many times as far off as by chance variograms may be, and how far they always may."""
_CONNECTIVITY_TIMES, _CONNECTIVITY_LEAST = (3.0, 10.0), 0.01
"""The same of what hangs together, pairs of cells of one facies."""
_LEAST_SHARE = 0.002
"""Of the cells: so much is nothing."""
_STANDARD_ERRORS = 2.5
_MOST_ISOLATED = 0.01
"""Of the data, beyond the share of the image's cells: what a verdict does not mention."""
_NOT_HELD_OUT = (
    "These may be cells that it learnt, so that this tells little: its training noted another image, or another corner "
    "of it that was held out."
)
_LEAST_VARIETY = 0.6
"""Of realizations against crops of the image; at most its inverse."""


def describe_verdict(found: ModelEvaluation, scores: dict[str, float], names: Sequence[str]) -> str:
    """
    Return in plain words whether the model can be trusted.

    Parameters
    ----------
    found : ModelEvaluation
        What was found.
    scores : dict
        The same as numbers, from `summarise`.
    names : sequence of str
        Of the facies.
    """
    of_patterns, patterns = _judge_patterns(scores)
    of_variograms = _grade(found.fidelity.variogram_difference, _variogram_limits(found))
    of_connectivity, connectivity = _judge_connectivity(found)
    of_shares, shares = _judge_shares(found, names)
    of_bodies, bodies = _judge_bodies(found, names)
    likeness = _WORDS[max(of_patterns, of_variograms, of_connectivity, of_shares, of_bodies)]
    n_rows, n_cols = found.realizations.shape[1:]
    sentences = (
        f"Realizations of {n_rows} x {n_cols} cells {likeness}{patterns}.",
        shares,
        bodies,
        connectivity,
        _describe_variograms(found) if of_variograms else "",
        _describe_variety(scores["variety"]),
        _describe_data(scores),
        _describe_hidden_cells(scores),
        "" if found.is_held_out else _NOT_HELD_OUT,
    )
    return " ".join(filter(None, sentences))


def _grade(value: float, limits: tuple[float, float]) -> int:
    """Return how many of the limits a value exceeds: 0, 1 or 2."""
    return sum(bool(value > limit) for limit in limits)


def _judge_patterns(scores: dict[str, float]) -> tuple[int, str]:
    """Return the grade of small patterns, and in words how far they are; nothing where nodata lies in all of them."""
    bits = scores["pattern_divergence"]
    if math.isnan(bits):
        return 0, ""
    times = bits / max(1e-9, scores["reference_divergence"])
    grade = 2 if bits >= _FARTHEST_PATTERNS else _grade(times, _PATTERN_TIMES)
    return grade, f": frequencies of small patterns are {times:.1f} times as far from those of the image as by chance"


def _judge_shares(found: ModelEvaluation, names: Sequence[str]) -> tuple[int, str]:
    """Return the grade of the facies' shares, and in words how far they are from the image's."""
    ours, theirs = found.measured.proportions, found.image_shares
    spread = np.maximum(ours.std(axis=0), found.reference.proportions.std(axis=0))  # a few realizations tell no spread
    tolerance = _STANDARD_ERRORS * spread / np.sqrt(len(ours)) + _LEAST_SHARE
    off = np.abs(ours.mean(axis=0) - theirs)
    if (off <= tolerance).all():
        return 0, f"Shares of facies differ from those there by {off.max():.1%} of the cells at most, as by chance."
    factor = np.abs(np.log((ours.mean(axis=0) + _LEAST_SHARE) / (theirs + _LEAST_SHARE)))
    worst = int(np.where(off <= tolerance, 0.0, factor).argmax())
    return _grade(float(np.exp(factor[worst])), _SHARE_TIMES), (
        f"Shares of facies differ from those there by up to {off.max():.1%} of the cells; for its size most of all "
        f"that of {_called(names[worst])}: {ours.mean(axis=0)[worst]:.1%} instead of {theirs[worst]:.1%}."
    )


def _called(name: str) -> str:
    """Return what a facies is called amidst a sentence."""
    return f"facies {name}" if name.lstrip("-").isdigit() else name


def _judge_bodies(found: ModelEvaluation, names: Sequence[str]) -> tuple[int, str]:
    """Return the grade of the numbers of bodies, and in words the worst one if it is bad."""
    of_image = found.reference.n_bodies.mean(axis=0) + 0.5
    ours, others = (np.log((fidelity.bodies + 0.5) / of_image) for fidelity in (found.fidelity, found.among_crops))
    beyond = np.abs(ours) - np.abs(others)
    worst = int(beyond.argmax())
    grade = _grade(float(np.exp(beyond[worst])), _BODIES_TIMES)
    if not grade:
        return 0, ""
    called = _called(names[worst])
    return grade, (
        f"{called[0].upper()}{called[1:]} lies in {np.exp(ours[worst]):.1f} times as many bodies as in the image: its "
        f"pieces are {'broken up' if ours[worst] > 0 else 'joined'}."
    )


def _judge_connectivity(found: ModelEvaluation) -> tuple[int, str]:
    """Return the grade of what hangs together, and in words how far it is from the image's if that is bad."""
    ours, others = (fidelity.connectivity_misfit for fidelity in (found.fidelity, found.by_chance))
    grade = _grade(ours / max(others, _CONNECTIVITY_LEAST), _CONNECTIVITY_TIMES)
    if not grade:
        return 0, ""
    return grade, (
        f"What hangs together differs: of the pairs of cells of one facies, up to {found.measured.lags[-1]} cells "
        f"apart, {ours:.1%} too many or too few lie in one body, by chance {others:.1%}."
    )


def _variogram_limits(found: ModelEvaluation) -> tuple[float, float]:
    by_chance = max(found.by_chance.variogram_difference, _VARIOGRAM_LEAST)
    return _VARIOGRAM_TIMES[0] * by_chance, _VARIOGRAM_TIMES[1] * by_chance


def _describe_variograms(found: ModelEvaluation) -> str:
    return (
        f"Variograms are up to {found.fidelity.variogram_difference:.3f} off, by chance "
        f"{found.by_chance.variogram_difference:.3f}."
    )


def _describe_variety(variety: float) -> str:
    if variety < _LEAST_VARIETY:
        return "They resemble one another more than crops of it do: the model has less variety than the image."
    if variety > 1 / _LEAST_VARIETY:
        return "They differ from one another more than crops of it do."
    return "They differ from one another as crops of it do."


def _describe_data(scores: dict[str, float]) -> str:
    if scores["isolated_data"] <= scores["isolated_in_image"] + _MOST_ISOLATED:
        return ""
    return (
        f"Of the data given to it {scores['isolated_data']:.1%} stay single cells that nothing around agrees with, "
        f"of the image's cells {scores['isolated_in_image']:.1%}: train it longer before you simulate with data."
    )


def _describe_hidden_cells(scores: dict[str, float]) -> str:
    ratio, low, high = (scores[name] for name in ("log_loss_ratio", "log_loss_ratio_low", "log_loss_ratio_high"))
    if not (high < 1 or low > 1):
        found = f"{ratio - 1:+.0%}"
        within = "" if math.isnan(low) else f" (95 % interval {low - 1:+.0%} to {high - 1:+.0%})"
        return f"At hidden cells the model is not shown to be better or worse than kriging: log loss {found}{within}."
    near, far = sorted(abs(bound - 1) for bound in (low, high))
    side = "below" if ratio < 1 else "above"
    return (
        f"At hidden cells the model's log loss is {abs(ratio - 1):.0%} {side} that of the better kriging (95 % "
        f"interval {near:.0%} to {far:.0%})."
    )
