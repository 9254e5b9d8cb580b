"""Is a model of a training image good? Realizations against crops of it, and hidden cells against their truth."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping

import numpy as np
import torch

from ..contract.errors import ConditioningError, JobError
from ..contract.job import MODEL
from ..contract.training_image import CORNERS, TrainingImage
from ..kriging.yardsticks import YARDSTICKS, better_kriging
from ..measures.fidelity import (
    Fidelity,
    Statistics,
    averaged,
    compare,
    contact_shares,
    isolated_share,
    measure,
)
from ..measures.scores import PairedInterval, Reliability, pooled_reliability, ratio_interval
from ..model.facies_model import FaciesModel
from ..sampling.realizations import simulate_in_batches
from ..sampling.start import Start
from .crops import check_known, compare_halves, draw_crops, draw_places, pattern_side_of
from .surveys import MethodScores, Survey, model_method, score

N_SURVEYS = 20
SURVEY_SIDE = 128
N_TARGETS = 400
N_GIVEN = 2
"""Realizations of each survey, given its data."""
FEWEST_TILES = 4
"""Of the held-out block that hold targets, for an interval: what lies in one of them resembles itself."""
_WIDE_BLOCK = 375
"""Cells a side from which a block has four tiles along each side, not two: smaller tiles are too much alike."""
FEWEST_PAIRS = 200
"""Of a facies and a point in a bin of the reliability diagram, for the bin to count."""
_SHARES = (0.001, 0.02)
"""Of a survey's cells that are data, from and to."""
_N_OTHERS = 3  # draws of other crops, whose mean is told
_N_MEASURED = 2 + _N_OTHERS + 4  # sets of maps: realizations and crops, other crops, and halves both ways
_SHARE_OF_REALIZATIONS, _SHARE_OF_COMPARISON = 0.8, 0.1  # of the progress


@dataclass(frozen=True)
class ModelEvaluation:
    """
    What an evaluation found.

    Parameters
    ----------
    realizations, crops : int array, shape (n, n_rows, n_cols)
        Class index; -1 in a crop where the image has no facies.
    measured, reference : Statistics
        Of realizations, and of crops.
    fidelity, among_crops : Fidelity
        Of realizations to crops, and of other crops to these, on average.
    among_halves : Fidelity or None
        Of crops of one half of the image to those of the other, on average over both ways to halve it; None when the
        halves are too narrow, or mostly unknown.
    image_shares : array, shape (n_facies,)
        Of the facies in all of the image.
    contacts, image_contacts : array, shape (n_facies, n_facies)
        Share of the boundaries between two facies, above the diagonal: of realizations, and of the image.
    crops_in_image : float
        How many crops hold as many known cells as the image.
    surveys : mapping of str to list of MethodScores
        By method, on the same surveys: the model is 'model'.
    tiles : int array, shape (n_targets,)
        In which tile of the held-out block the targets of all surveys lie, one survey after the other.
    reliability : Reliability
        Of the model, over all surveys.
    isolated, isolated_in_image : float
        Share of the data whose facies none of the 8 cells around has: in realizations given these data, on average over
        surveys; and of all cells of the image.
    is_held_out : bool
        Whether the surveys lie where the model's training noted that it held out the image; True if it noted nothing.
    seconds_per_realization : float
        Wall time.
    """

    realizations: np.ndarray
    crops: np.ndarray
    measured: Statistics
    reference: Statistics
    fidelity: Fidelity
    among_crops: Fidelity
    among_halves: Fidelity | None
    image_shares: np.ndarray
    contacts: np.ndarray
    image_contacts: np.ndarray
    crops_in_image: float
    surveys: dict[str, list[MethodScores]]
    tiles: np.ndarray
    reliability: Reliability
    isolated: float
    isolated_in_image: float
    is_held_out: bool
    seconds_per_realization: float

    @property
    def boundary_ratio(self) -> float:
        """Length of boundaries in realizations over that in crops."""
        ours, of_crops = (float(s.boundary.mean()) for s in (self.measured, self.reference))
        return ours / max(1e-9, of_crops)

    @property
    def by_chance(self) -> Fidelity:
        """
        What chance makes of it: `among_crops`, or what the halves tell if that is more.

        Crops overlap, so that many of them are as alike as the image is to itself. But it is one draw of what it stands
        for: from that it is half as far as its halves are from one another, for each of them is half as large and errs
        by itself; and divergences go with the square.
        """
        crops, halves = self.among_crops, self.among_halves
        if halves is None:
            return crops
        patterns = {
            step: _larger(bits, halves.pattern_divergence[step] / 4) for step, bits in crops.pattern_divergence.items()
        }
        return replace(
            crops,
            pattern_divergence=patterns,
            variogram_difference=_larger(crops.variogram_difference, halves.variogram_difference / 2),
            connectivity_misfit=_larger(crops.connectivity_misfit, halves.connectivity_misfit / 2),
        )


def _larger(first: float, second: float) -> float:
    """Return the larger one of two numbers, or the one that is not NaN."""
    return float(np.fmax(first, second))


def evaluate_model(
    model: FaciesModel,
    image: TrainingImage,
    *,
    shape: tuple[int, int],
    n_realizations: int,
    quality: str = "standard",
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> ModelEvaluation:
    """
    Compare realizations with crops of an image, and predict hidden cells of its held-out block.

    Parameters
    ----------
    model : FaciesModel
        What is judged.
    image : TrainingImage
        What it should look like.
    shape : (int, int)
        Rows and columns of realizations and of crops.
    n_realizations : int
        How many of each.
    quality : str
        One of the model's.
    seed : int
        Of realizations, crops and surveys.
    progress : callable
        Told the fraction done and what is being done.

    Raises
    ------
    ConditioningError
        When the image's held-out block holds one facies only.
    TrainingImageError
        When too little of the image is known.
    """
    rng, n_facies = np.random.default_rng([seed, 1]), len(image.facies)
    crops, *others = (draw_crops(image.class_index, shape, n_realizations, rng) for _ in range(1 + _N_OTHERS))
    check_known(crops, *others)
    hidden = draw_surveys_of(image.held_out, n_facies, N_SURVEYS, rng)
    if not hidden:
        raise ConditioningError(
            "The held-out block of the training image holds one facies only, so that there is nothing to predict in "
            "it. Use a larger image."
        )
    began = time.monotonic()

    def tell(done: int) -> None:
        progress(_SHARE_OF_REALIZATIONS * (done / n_realizations), f"{done} of {n_realizations} realizations")

    realizations = simulate_freely(model, shape, n_realizations, quality=quality, seed=seed, on_batch=tell)
    seconds = (time.monotonic() - began) / n_realizations
    pattern_side, n_measured = pattern_side_of(crops, others[0], n_facies), 0

    def statistics(maps: np.ndarray) -> Statistics:
        nonlocal n_measured
        share = _SHARE_OF_REALIZATIONS + _SHARE_OF_COMPARISON * n_measured / _N_MEASURED
        progress(share, "Comparing them with the image")
        n_measured += 1
        return measure(maps, n_facies, most_side=pattern_side)

    reference = statistics(crops)
    measured = statistics(np.where(crops < 0, -1, realizations))  # where crops know nothing, nor do these
    among_crops = averaged([compare(statistics(pieces), reference) for pieces in others])
    among_halves = compare_halves(image.class_index, shape, statistics, rng)
    surveys, isolated = _ask(model, hidden, quality, seed, progress)
    return ModelEvaluation(
        realizations=realizations,
        crops=crops,
        measured=measured,
        reference=reference,
        fidelity=compare(measured, reference),
        among_crops=among_crops,
        among_halves=among_halves,
        image_shares=image.proportions,
        contacts=contact_shares(realizations.astype(np.int64), n_facies),
        image_contacts=contact_shares(image.class_index[None], n_facies),
        crops_in_image=float((image.class_index >= 0).sum() / (crops >= 0).sum(axis=(1, 2)).mean()),
        surveys=surveys,
        tiles=_tiles_of(hidden, image.held_out.shape),
        reliability=pooled_reliability([s.reliability for s in surveys[MODEL]]),
        isolated=isolated,
        isolated_in_image=isolated_share(image.class_index[None], np.argwhere(image.class_index >= 0)),
        is_held_out=_is_held_out(image, model.provenance.get("image")),
        seconds_per_realization=seconds,
    )


def _ask(
    model: FaciesModel, hidden: list[Survey], quality: str, seed: int, progress: Callable[[float, str], None]
) -> tuple[dict[str, list[MethodScores]], float]:
    """Return the scores of the model and of simple methods on surveys, and the mean share of their isolated data."""
    surveys: dict[str, list[MethodScores]] = {name: [] for name in (MODEL, *YARDSTICKS)}
    isolated, before = [], _SHARE_OF_REALIZATIONS + _SHARE_OF_COMPARISON
    for number, survey in enumerate(hidden):
        progress(before + (1 - before) * number / len(hidden), f"Hidden cells of survey {number + 1} of {len(hidden)}")
        for name, scores in score_survey(model, survey).items():
            surveys[name].append(scores)
        isolated.append(_isolated_of(model, survey, quality, seed + number))
    return surveys, float(np.mean(isolated))


def _isolated_of(model: FaciesModel, survey: Survey, quality: str, seed: int) -> float:
    """Return the share of a survey's data that are isolated in realizations given them."""
    cells = np.argwhere(survey.known >= 0)
    given = _simulate(model, torch.from_numpy(survey.known), N_GIVEN, quality=quality, seed=seed, at_once=N_GIVEN)
    return isolated_share(given, cells)


def _is_held_out(image: TrainingImage, noted: Mapping[str, Any] | None) -> bool:
    """Whether the held-out block of an image is that of a training, which noted what image it had."""
    if not noted:
        return True
    corner = noted.get("held_out_corner", next(iter(CORNERS)))  # in earlier versions it was always the first
    shape, proportions = (noted.get("n_rows"), noted.get("n_cols")), noted.get("proportions", ())
    is_same = shape == image.shape and len(proportions) == len(image.proportions)
    return bool(is_same and corner == image.held_out_corner and np.allclose(proportions, image.proportions, atol=1e-4))


def simulate_freely(
    model: FaciesModel,
    shape: tuple[int, int],
    n_realizations: int,
    *,
    quality: str = "standard",
    seed: int = 0,
    on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """
    Simulate realizations without data.

    Returns
    -------
    uint8 array, shape (n_realizations, n_rows, n_cols)
        Class index.

    Raises
    ------
    JobError
        For a model that has no facies of its own.
    """
    if model.facies is None:
        raise JobError(f"The model {model.name} has no facies of its own: it fits itself to data, and needs some.")
    nothing = torch.full(shape, -1, dtype=torch.int64)
    return _simulate(model, nothing, n_realizations, quality=quality, seed=seed, on_batch=on_batch)


def _simulate(
    model: FaciesModel,
    known: torch.Tensor,
    n_realizations: int,
    *,
    quality: str,
    seed: int,
    at_once: int | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Simulate realizations (n_realizations, n_rows, n_cols) with a model of an image, given data, -1 elsewhere."""
    known = known.to(next(model.network.parameters()).device)
    batches = simulate_in_batches(
        model,
        Start.of(model, known, len(model.facies or ())),
        n_realizations,
        quality=quality,
        seed=seed,
        at_once=at_once,
    )
    parts: list[np.ndarray] = []
    on_batch(0)
    for batch in batches:
        parts.append(batch.cpu().numpy().astype(np.uint8))
        on_batch(sum(map(len, parts)))
    return np.concatenate(parts)


def draw_surveys_of(class_index: np.ndarray, n_facies: int, n_surveys: int, rng: np.random.Generator) -> list[Survey]:
    """
    Survey windows of an image (n_rows, n_cols), whose facies keep their numbers, observed or not.

    Windows where fewer than two facies were observed are left out, for no simple method says anything there.
    """
    shape = (min(SURVEY_SIDE, class_index.shape[0]), min(SURVEY_SIDE, class_index.shape[1]))
    surveys = []
    for row, col in draw_places(class_index, shape, n_surveys, rng):
        window = class_index[row : row + shape[0], col : col + shape[1]]
        low, high = np.log(_SHARES)
        n_data = max(8, int(np.exp(rng.uniform(low, high)) * window.size))
        cells = rng.permutation(np.argwhere(window >= 0))
        data, targets = cells[:n_data], cells[n_data : n_data + N_TARGETS]
        known = np.full(window.shape, -1, dtype=np.int64)
        known[tuple(data.T)] = window[tuple(data.T)]
        if len(targets) and np.unique(window[tuple(data.T)]).size >= 2:
            surveys.append(
                Survey(
                    places=data + 0.5,
                    class_index=window[tuple(data.T)].astype(np.int64),
                    targets=targets + 0.5,
                    truth=window[tuple(targets.T)].astype(np.int64),
                    known=known,
                    n_facies=n_facies,
                    corner=(int(row), int(col)),
                )
            )
    return surveys


def _tiles_of(surveys: list[Survey], shape: tuple[int, ...]) -> np.ndarray:
    """Return in which tile of a block (n_rows, n_cols) each target of its surveys lies, shape (n_targets,)."""
    n_along = 4 if min(shape) >= _WIDE_BLOCK else 2
    places = np.concatenate([survey.targets + survey.corner for survey in surveys])
    row, col = (places * n_along / shape).astype(int).T
    return row * n_along + col


def score_survey(model: FaciesModel, survey: Survey) -> dict[str, MethodScores]:
    """Return the scores on a survey of the model, as 'model', and of the simple methods."""
    found = {MODEL: score(model_method(model)(survey), survey.truth)}
    observed, class_index = np.unique(survey.class_index, return_inverse=True)
    for name, method in YARDSTICKS.items():
        probability = np.zeros((survey.n_facies, len(survey.truth)))
        probability[observed] = method(survey.places, class_index, survey.targets, len(observed))
        found[name] = score(probability, survey.truth)
    return found


def mean_losses(found: ModelEvaluation) -> dict[str, float]:
    """Return the mean log loss of each method over the targets of all surveys, nats."""
    return {name: float(_losses(found, name).mean()) for name in found.surveys}


def _losses(found: ModelEvaluation, method: str) -> np.ndarray:
    """Return the log loss of a method at each target of all surveys, nats."""
    return np.concatenate([scores.loss for scores in found.surveys[method]])


def _loss_ratio(found: ModelEvaluation, kriging: str) -> PairedInterval:
    """
    Return the model's log loss over a kriging's, with the wider one of two intervals.

    Surveys overlap, so that they tell less than their number: tiles count. But surveys differ in how many data they
    have, too, which all tiles that they lie in share.
    """
    ours, theirs = _losses(found, MODEL), _losses(found, kriging)
    if np.unique(found.tiles).size < FEWEST_TILES:
        return PairedInterval(float(ours.mean() / theirs.mean()), math.nan, math.nan)
    survey = np.repeat(np.arange(len(found.surveys[MODEL])), [scores.loss.size for scores in found.surveys[MODEL]])
    groups = [found.tiles, survey] if survey[-1] else [found.tiles]
    return max((ratio_interval(ours, theirs, groups=group) for group in groups), key=lambda interval: interval.high)


def summarise(found: ModelEvaluation) -> dict[str, float]:
    """Return the scores by the names that `EvaluationResult` has."""
    losses = mean_losses(found)
    kriging = better_kriging(losses)
    ratio = _loss_ratio(found, kriging)
    bodies = (found.fidelity.bodies + 0.5) / (found.reference.n_bodies.mean(axis=0) + 0.5)
    counted = found.reliability.number >= FEWEST_PAIRS
    misses = np.abs(found.reliability.observed - found.reliability.predicted)[counted]
    return {
        "pattern_divergence": found.fidelity.pattern_divergence[1],
        "reference_divergence": found.by_chance.pattern_divergence[1],
        "variogram_difference": found.fidelity.variogram_difference,
        "connectivity_misfit": found.fidelity.connectivity_misfit,
        "proportion_difference": float(np.abs(found.measured.proportions.mean(axis=0) - found.image_shares).max()),
        "bodies_ratio": float(bodies[np.abs(np.log(bodies)).argmax()]),
        "boundary_ratio": found.boundary_ratio,
        "agreement": found.fidelity.agreement,
        "forbidden_contacts": float(found.contacts[found.image_contacts == 0].sum()),
        "variety": found.fidelity.within / max(1e-12, found.among_crops.within),
        "log_loss": losses[MODEL],
        "log_loss_kriging": losses[kriging],
        "log_loss_ratio": ratio.mean,
        "log_loss_ratio_low": ratio.low,
        "log_loss_ratio_high": ratio.high,
        "isolated_data": found.isolated,
        "isolated_in_image": found.isolated_in_image,
        "largest_miscalibration": float(misses.max()) if misses.size else float("nan"),
        "seconds_per_realization": found.seconds_per_realization,
    }
