"""Hidden cells of a training image: what a model and kriging make of them, given few data beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Mapping

import numpy as np

from ..contract.job import MODEL
from ..contract.training_image import CORNERS, TrainingImage
from ..kriging.yardsticks import YARDSTICKS
from ..measures.fidelity import isolated_share
from ..measures.scores import PairedInterval, Reliability, pooled_reliability, ratio_interval
from ..model.facies_model import FaciesModel
from ..sampling.realizations import simulate_given
from ..training.image_examples import survey_windows
from .surveys import MethodScores, Survey, model_method, score

N_SURVEYS = 20
N_TARGETS = 400
N_GIVEN = 2
"""Realizations of each survey, given its data."""
FEWEST_TILES = 4
"""Of the held-out block that hold targets, for an interval: what lies in one of them resembles itself."""
_WIDE_BLOCK = 375
"""Cells a side from which a block has four tiles along each side, not two: smaller tiles are too much alike."""


@dataclass(frozen=True)
class SurveyedWindow:
    """
    A window of an image, its data, and what a model draws given these.

    Parameters
    ----------
    truth, known : int array, shape (n_rows, n_cols)
        Class index; of the window, -1 where the image has none, and of the data, -1 elsewhere.
    realizations : uint8 array, shape (N_GIVEN, n_rows, n_cols)
        Class index.
    """

    truth: np.ndarray
    known: np.ndarray
    realizations: np.ndarray


@dataclass(frozen=True)
class HiddenCells:
    """
    What was found at hidden cells.

    Parameters
    ----------
    scores : mapping of str to list of MethodScores
        By method, on the same surveys: the model is 'model'.
    tiles : int array, shape (n_targets,)
        In which tile of the held-out block the targets of all surveys lie, one survey after the other.
    reliability : Reliability
        Of the model, over all surveys.
    isolated : float
        Share of the data whose facies none of the 8 cells around has in realizations given these data, on average over
        surveys.
    shown : SurveyedWindow
        One of the surveys.
    is_held_out : bool
        Whether the surveys lie where the model's training noted that it held out the image; True if it noted nothing.
    """

    scores: Mapping[str, list[MethodScores]]
    tiles: np.ndarray
    reliability: Reliability
    isolated: float
    shown: SurveyedWindow
    is_held_out: bool

    def losses(self, method: str) -> np.ndarray:
        """Return the log loss of a method at each target of all surveys, nats, shape (n_targets,)."""
        return np.concatenate([scores.loss for scores in self.scores[method]])

    def loss_ratio(self, kriging: str) -> PairedInterval:
        """
        Return the model's log loss over a kriging's, with the wider one of two intervals.

        Surveys overlap, so that they tell less than their number: tiles count. But surveys differ in how many data
        they have, too, which all tiles that they lie in share.
        """
        ours, theirs = self.losses(MODEL), self.losses(kriging)
        if np.unique(self.tiles).size < FEWEST_TILES:
            return PairedInterval(float(ours.mean() / theirs.mean()), math.nan, math.nan)
        sizes = [scores.loss.size for scores in self.scores[MODEL]]
        survey = np.repeat(np.arange(len(sizes)), sizes)
        groups = [self.tiles, survey] if survey[-1] else [self.tiles]
        return max((ratio_interval(ours, theirs, groups=group) for group in groups), key=lambda interval: interval.high)


def ask_hidden_cells(
    model: FaciesModel,
    image: TrainingImage,
    *,
    quality: str,
    seed: int,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> HiddenCells | None:
    """
    Survey the held-out block of an image, and compare what a model and simple methods predict with the truth.

    Parameters
    ----------
    model : FaciesModel
        Of the image's facies.
    image : TrainingImage
        Whose block it is.
    quality : str
        Of the realizations given the data.
    seed : int
        Of surveys and realizations.
    progress : callable
        Told the fraction done and what is being done.

    Returns
    -------
    HiddenCells or None
        None where the block holds one facies only, so that there is nothing to predict.
    """
    surveys = draw_surveys_of(image.held_out, len(image.facies), N_SURVEYS, np.random.default_rng([seed, 2]))
    if not surveys:
        return None
    scores: dict[str, list[MethodScores]] = {name: [] for name in (MODEL, *YARDSTICKS)}
    given = []
    for number, survey in enumerate(surveys):
        progress(number / len(surveys), f"Hidden cells of survey {number + 1} of {len(surveys)}")
        for name, found in score_survey(model, survey).items():
            scores[name].append(found)
        given.append(simulate_given(model, survey.known, N_GIVEN, quality=quality, seed=seed + number, at_once=N_GIVEN))
    isolated = [isolated_share(maps, np.argwhere(survey.known >= 0)) for maps, survey in zip(given, surveys)]
    (row, col), (n_rows, n_cols) = surveys[0].corner, surveys[0].known.shape
    truth = image.held_out[row : row + n_rows, col : col + n_cols]
    return HiddenCells(
        scores=scores,
        tiles=tiles_of(surveys, image.held_out.shape),
        reliability=pooled_reliability([found.reliability for found in scores[MODEL]]),
        isolated=float(np.mean(isolated)),
        shown=SurveyedWindow(truth, surveys[0].known, given[0]),
        is_held_out=_is_held_out(image, model.provenance.get("image")),
    )


def _is_held_out(image: TrainingImage, noted: Mapping[str, Any] | None) -> bool:
    """Whether the held-out block of an image is that of a training, which noted what image it had."""
    if not noted:
        return True
    corner = noted.get("held_out_corner", next(iter(CORNERS)))  # in earlier versions it was always the first
    shape, proportions = (noted.get("n_rows"), noted.get("n_cols")), noted.get("proportions", ())
    is_same = shape == image.shape and len(proportions) == len(image.proportions)
    return bool(is_same and corner == image.held_out_corner and np.allclose(proportions, image.proportions, atol=1e-4))


def draw_surveys_of(class_index: np.ndarray, n_facies: int, n_surveys: int, rng: np.random.Generator) -> list[Survey]:
    """
    Survey windows of an image (n_rows, n_cols), whose facies keep their numbers, observed or not.

    Windows where fewer than two facies were observed are left out, for no simple method says anything there.
    """
    surveys = []
    for corner, window, known in survey_windows(class_index, n_surveys, rng):
        data = np.argwhere(known >= 0)
        targets = rng.permutation(np.argwhere((window >= 0) & (known < 0)))[:N_TARGETS]
        observed = window[tuple(data.T)]
        if len(targets) and np.unique(observed).size >= 2:
            surveys.append(
                Survey(
                    places=data + 0.5,
                    class_index=observed,
                    targets=targets + 0.5,
                    truth=window[tuple(targets.T)],
                    known=known,
                    n_facies=n_facies,
                    corner=corner,
                )
            )
    return surveys


def tiles_of(surveys: list[Survey], shape: tuple[int, ...]) -> np.ndarray:
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
