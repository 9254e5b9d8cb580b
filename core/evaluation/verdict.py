"""What an evaluation of a model comes to, in plain words: the worst of what was compared decides."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from ..contract.words import percent
from ..measures.scores import t_quantile
from .hidden_cells import HiddenCells
from .likeness import ModelEvaluation

_WORDS = ("look like the image", "resemble the image", "do not look like the image")
_PATTERN_TIMES = 5.0, 25.0
"""Up to so many times as far as by chance realizations look like the image, or resemble it."""
_FARTHEST_PATTERNS = 0.5
"""Bits by which the frequencies of small patterns may differ; where crops are small, chance makes much of it, too."""
_ODDS_TIMES, _BODIES_TIMES = (1.5, 3.0), (1.5, 3.0)
"""By what factor the odds of facies and numbers of bodies may be off, where that is beyond chance."""
_BOUNDARY_TIMES = 1.08, 1.5
"""The same of the length of boundaries."""
_FORBIDDEN = 0.01, 0.05
"""Share of the boundaries between facies that never touch in the image."""
_VARIOGRAM_TIMES, _VARIOGRAM_LEAST = (3.0, 10.0), 0.01
"""How many times as far off as by chance variograms may be, and how far they always may."""
_CONNECTIVITY_TIMES, _CONNECTIVITY_LEAST = (3.0, 10.0), 0.01
"""The same of what hangs together, pairs of cells of one facies."""
_SIZE_TIMES = 1.25
"""By what factor bodies are larger, or smaller, for their number to be told by that."""
_LEAST_SHARE = 0.002
"""Of the cells: so much is nothing."""
_LEAST_SPREAD = 0.5
"""Of the spread of shares over crops, which differ most where the image has a trend: a few realizations may by chance
be alike that much, and hardly more."""
_RARELY = 0.01
"""How often a mean is beyond the limits of chance, on either side."""
_MOST_ISOLATED = 0.01
"""Of the data, beyond the share of the image's cells: what a verdict does not mention."""
_NOT_HELD_OUT = (
    "These may be cells that it learnt, so that this tells little: its training noted another image, or another corner "
    "of it that was held out."
)
_ONE_FACIES = "How well it predicts hidden cells is not known: where they would be, the image has one facies only."
_LEAST_VARIETY, _MUCH_VARIETY = (0.6, 0.3), 1.7
"""Of realizations over that of crops; much of it is told, but no fault, for crops share one image and overlap."""
_AGREEMENT, _STANDARD_ERRORS_OF_PAIRS = (0.03, 0.2), 3.0
"""How far realizations may agree at the same place, beyond what chance makes of it, which has a long tail."""
_FEWEST = 8
"""Realizations that tell how they differ from one another."""


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
    grades, words = zip(
        _judge_patterns(scores),
        _judge_shares(found, names),
        _judge_bodies(found, names),
        _judge_boundary(found),
        _judge_contacts(found, names),
        _judge_connectivity(found),
        _judge_variograms(found),
        _judge_variety(found, scores["variety"]),
    )
    n_rows, n_cols = found.realizations.shape[1:]
    sentences = (
        f"Realizations of {n_rows} x {n_cols} cells {_WORDS[max(grades)]}{words[0]}.",
        *words[1:],
        *(_describe_hidden(found.hidden, scores) if found.hidden else (_ONE_FACIES,)),
    )
    return " ".join(filter(None, sentences))


def _grade(value: float, limits: tuple[float, float]) -> int:
    """Return how many of the limits a value exceeds: 0, 1 or 2."""
    return sum(bool(value > limit) for limit in limits)


def _judge_patterns(scores: dict[str, float]) -> tuple[int, str]:
    """Return the grade of small patterns, and in words how far they are; nothing where nodata lies in all of them."""
    bits, by_chance = scores["pattern_divergence"], scores["reference_divergence"]
    if math.isnan(bits) or math.isnan(by_chance):
        return 0, ""
    times = bits / max(1e-9, by_chance)
    grade = 2 if bits >= _FARTHEST_PATTERNS else _grade(times, _PATTERN_TIMES)
    return grade, f": frequencies of small patterns are {times:.1f} times as far from those of the image as by chance"


def _chance(found: ModelEvaluation, what: str, draws: float, *, of_crops: float = 1.0) -> np.ndarray:
    """
    Return how far the mean of a statistic of maps, or of maps and facies, may be from that of the image by chance.

    The difference has `draws` times the variance of one map: 1 / n for each mean over n maps. The image is a draw, too,
    as large as some crops, of what it stands for. The worst of some facies is beyond as rarely as a single one. Maps
    are taken to spread as they do, and at least by a share of what crops do.
    """
    ours, crops = (getattr(statistics, what) for statistics in (found.measured, found.reference))
    spread = np.maximum(ours.std(axis=0, ddof=1), of_crops * crops.std(axis=0, ddof=1))
    limit = t_quantile(1 - _RARELY / spread.size, 2 * (len(ours) - 1))
    return np.asarray(limit * spread * np.sqrt(draws))


def _judge_shares(found: ModelEvaluation, names: Sequence[str]) -> tuple[int, str]:
    """Return the grade of the facies' shares, and in words how far they are from the image's."""
    ours, theirs = found.measured.proportions.mean(axis=0), found.image_shares
    off, draws = np.abs(ours - theirs), 1 / len(found.realizations)
    is_off = off > _chance(found, "proportions", draws, of_crops=_LEAST_SPREAD) + _LEAST_SHARE
    if not is_off.any():
        most = percent(off.max(), 1)
        return 0, f"Shares of facies differ from those there by {most} of the cells at most, as by chance."
    times = np.exp(np.abs(_log_odds(ours) - _log_odds(theirs)))
    worst = int(np.where(is_off, times, 0.0).argmax())
    chance = _chance(found, "proportions", draws + 1 / found.crops_in_image) + _LEAST_SHARE
    grade = _grade(float(np.where(off > chance, times, 1.0).max()), _ODDS_TIMES)
    is_nearly_missed = bool(times[worst] > _ODDS_TIMES[1])  # or nearly everywhere, whatever the image may stand for
    return max(grade, int(is_nearly_missed)), (
        f"Shares of facies differ from those there by up to {percent(off.max(), 1)} of the cells; for its size most "
        f"of all that of {_called(names[worst])}: {percent(ours[worst], 1)} instead of {percent(theirs[worst], 1)}."
    )


def _log_odds(share: np.ndarray) -> np.ndarray:
    return np.asarray(np.log((share + _LEAST_SHARE) / (1 - share + _LEAST_SHARE)))


def _called(name: str) -> str:
    """Return what a facies is called amidst a sentence."""
    return f"facies {name}" if name.lstrip("-").isdigit() else name


def _judge_bodies(found: ModelEvaluation, names: Sequence[str]) -> tuple[int, str]:
    """Return the grade of the numbers of bodies, and in words the worst one if it is bad."""
    ours, of_crops = (statistics.n_bodies.mean(axis=0) for statistics in (found.measured, found.reference))
    times = np.exp(np.abs(np.log((ours + 0.5) / (of_crops + 0.5))))
    draws = 2 / len(found.realizations) + 1 / found.crops_in_image
    beyond = np.where(np.abs(ours - of_crops) > _chance(found, "n_bodies", draws), times, 1.0)
    worst = int(beyond.argmax())
    grade = _grade(float(beyond[worst]), _BODIES_TIMES)
    if not grade:
        return 0, ""
    called = _called(names[worst])
    ratio = (ours[worst] + 0.5) / (of_crops[worst] + 0.5)
    share, of_image = (statistics.proportions[:, worst].mean() for statistics in (found.measured, found.reference))
    larger = share / max(1e-9, of_image) / ratio  # a body, on average
    if ratio > 1:
        why = "its pieces are broken up" if larger < 1 / _SIZE_TIMES else "there are too many of them"
    else:
        why = "its pieces are joined" if larger > _SIZE_TIMES else "there are too few of them, or none"
    return grade, f"{called[0].upper()}{called[1:]} lies in {ratio:.1f} times as many bodies as in the image: {why}."


def _judge_boundary(found: ModelEvaluation) -> tuple[int, str]:
    """Return the grade of the length of boundaries, and in words what is wrong with it if it is bad."""
    ours, of_crops, ratio = found.measured.boundary.mean(), found.reference.boundary.mean(), found.boundary_ratio
    draws = 2 / len(found.realizations) + 1 / found.crops_in_image
    is_off = np.abs(ours - of_crops) > _chance(found, "boundary", draws)
    grade = _grade(max(ratio, 1 / max(1e-9, ratio)), _BOUNDARY_TIMES) if is_off else 0
    if not grade:
        return 0, ""
    told = (
        "long: bodies are thinner, rougher or smaller" if ratio > 1 else "short: bodies are thicker, smoother or larger"
    )
    return grade, f"Boundaries between facies are {percent(abs(ratio - 1))} too {told} than in the image."


def _judge_contacts(found: ModelEvaluation, names: Sequence[str]) -> tuple[int, str]:
    """Return the grade of boundaries between facies that never touch in the image, and in words the worst of them."""
    forbidden = np.where(found.image_contacts == 0, found.contacts, 0.0)
    grade = _grade(float(forbidden.sum()), _FORBIDDEN)
    if not grade:
        return 0, ""
    first, second = (_called(names[k]) for k in divmod(int(forbidden.argmax()), len(names)))
    return grade, (
        f"Of the boundaries {percent(forbidden.sum(), 1)} lie between facies that never touch in the image, most of "
        f"them between {first} and {second}."
    )


def _judge_connectivity(found: ModelEvaluation) -> tuple[int, str]:
    """Return the grade of what hangs together, and in words how far it is from the image's if that is bad."""
    ours, others = (fidelity.connectivity_misfit for fidelity in (found.fidelity, found.by_chance))
    grade = _grade(ours / max(others, _CONNECTIVITY_LEAST), _CONNECTIVITY_TIMES)
    if not grade:
        return 0, ""
    return grade, (
        f"What hangs together differs: of the pairs of cells of one facies, up to {found.measured.lags[-1]} cells "
        f"apart, {percent(ours, 1)} too many or too few lie in one body, by chance {percent(others, 1)}."
    )


def _judge_variograms(found: ModelEvaluation) -> tuple[int, str]:
    """Return the grade of variograms, and in words how far they are from the image's if that is bad."""
    ours, others = (fidelity.variogram_difference for fidelity in (found.fidelity, found.by_chance))
    grade = _grade(ours / max(others, _VARIOGRAM_LEAST), _VARIOGRAM_TIMES)
    return grade, f"Variograms are up to {ours:.3f} off, by chance {others:.3f}." if grade else ""


def _judge_variety(found: ModelEvaluation, variety: float) -> tuple[int, str]:
    """Return the grade of how realizations differ from one another, over how crops do and at the same place."""
    if len(found.realizations) < _FEWEST:
        return 0, (
            f"{len(found.realizations)} realizations are too few to tell whether they differ from one another as crops "
            "of the image do."
        )
    agreement, error = found.fidelity.agreement, found.among_crops.agreement_error
    of_places = _grade(agreement - _STANDARD_ERRORS_OF_PAIRS * error, _AGREEMENT)
    grade = max(of_places, sum(variety < least for least in _LEAST_VARIETY))
    if of_places:
        return grade, (
            f"Realizations resemble one another at the same place, {percent(agreement)} of the way from chance to "
            "being equal: bodies come back where they were."
        )
    if grade:
        return grade, (
            "Realizations resemble one another more than crops of the image do: the model has less variety than it."
        )
    as_much = "more than" if variety > _MUCH_VARIETY else "as"
    return 0, f"Realizations differ from one another {as_much} crops of the image do."


def _describe_hidden(hidden: HiddenCells, scores: dict[str, float]) -> Sequence[str]:
    """Return sentences about what the model makes of data."""
    seen = "" if hidden.is_held_out else _NOT_HELD_OUT
    return _describe_data(scores), _describe_hidden_cells(scores), seen


def _describe_data(scores: dict[str, float]) -> str:
    if scores["isolated_data"] <= scores["isolated_in_image"] + _MOST_ISOLATED:
        return ""
    return (
        f"Of the data given to it {percent(scores['isolated_data'], 1)} stay single cells that nothing around agrees "
        f"with, of the image's cells {percent(scores['isolated_in_image'], 1)}: train it longer before you simulate "
        "with data."
    )


def _describe_hidden_cells(scores: dict[str, float]) -> str:
    ratio, low, high = (scores[name] for name in ("log_loss_ratio", "log_loss_ratio_low", "log_loss_ratio_high"))
    if not (high < 1 or low > 1):
        found, least, most = (percent(one - 1, sign="+") for one in (ratio, low, high))
        within = "" if math.isnan(low) else f" (95 % interval {least} to {most})"
        return f"At hidden cells the model is not shown to be better or worse than kriging: log loss {found}{within}."
    near, far = sorted(abs(bound - 1) for bound in (low, high))
    side = "below" if ratio < 1 else "above"
    return (
        f"At hidden cells the model's log loss is {percent(abs(ratio - 1))} {side} that of the better kriging (95 % "
        f"interval {percent(near)} to {percent(far)})."
    )
