"""Cross-validation by location: whether the model is better than simpler maps, on the user's own observations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..contract.conditioning import place_on_grid
from ..contract.job import MODEL
from ..contract.validation_job import CrossValidationJob, CrossValidationResult
from ..kriging.yardsticks import YARDSTICKS
from ..machine.device import choose_device
from ..model.facies_model import FaciesModel
from ..sampling.probability import facies_probability_from_data
from .comparison import Comparison
from .validation_page import validation_page

FromData = Callable[[np.ndarray], np.ndarray]
"""Facies probabilities (n_facies, n_rows, n_cols) from hard data (n_rows, n_cols), -1 where nothing is known."""

Progress = Callable[[float, str], None]


def run_cross_validation(job: CrossValidationJob, progress: Progress) -> CrossValidationResult:
    """
    Hide the observations fold by fold, predict them from the others by every method, and compare.

    Parameters
    ----------
    job : CrossValidationJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done, before each pass; what it raises (`Cancelled`) ends the run.

    Returns
    -------
    CrossValidationResult
        The numbers, and where the probabilities and the page lie.

    Raises
    ------
    OadgError
        For a model, device or job that does not fit.
    """
    began = time.monotonic()
    progress(0.0, "Reading the model")
    device = choose_device(job.device)
    model = FaciesModel.load(Path(job.model_path), device)
    model.check_takes(job.facies, job.grid.shape)
    done, text = 0.0, ""

    def tell(fraction: float, words: str) -> None:
        nonlocal done, text
        done, text = fraction, words
        progress(fraction, words)

    def from_data(known: np.ndarray) -> np.ndarray:
        hard_data = torch.as_tensor(known, dtype=torch.int64, device=device)
        return facies_probability_from_data(model, hard_data, len(job.facies), on_pass=lambda: progress(done, text))

    comparison = Comparison(predict_hidden(job, from_data, tell), np.array(job.class_index), np.array(job.fold))
    progress(1.0, "Writing the page")
    probability, log_loss, page = (
        os.path.join(job.work_folder, name) for name in ("probability.npy", "log_loss.npy", "report.html")
    )
    np.save(probability, comparison.probabilities[MODEL].astype(np.float32))
    np.save(log_loss, comparison.losses[MODEL].astype(np.float32))
    Path(page).write_text(validation_page(job, comparison, model.model_id), encoding="utf-8")
    gain = comparison.gains[comparison.kriging]
    return CrossValidationResult(
        probability_path=probability,
        log_loss_path=log_loss,
        page_path=page,
        scores=comparison.scores,
        better_kriging=comparison.kriging,
        gain=gain.mean,
        gain_low=gain.low,
        gain_high=gain.high,
        verdict=comparison.verdict,
        device=str(device),
        model_id=model.model_id,
        seconds=time.monotonic() - began,
    )


def predict_hidden(
    job: CrossValidationJob, from_data: FromData, tell: Progress = lambda fraction, text: None
) -> dict[str, np.ndarray]:
    """
    Predict each observation while its fold is hidden, by the model and by every yardstick.

    The model sees the cells that hold the other observations. Cells of hidden observations are empty, whole, so none is
    given away by a neighbour in its cell; the yardsticks miss the same observations, for a cell lies in one fold.

    Parameters
    ----------
    job : CrossValidationJob
        Observations, folds and grid.
    from_data : callable
        The model.
    tell : callable
        Told the fraction done and what is being done.

    Returns
    -------
    dict
        `MODEL` and the names of `YARDSTICKS` to float array (n_facies, n_points): the probabilities at each
        observation.
    """
    places, class_index, fold = job.places, np.array(job.class_index), np.array(job.fold)
    n_facies = len(job.facies)
    known = place_on_grid(places[:, 0], places[:, 1], class_index, job.grid, job.facies).on_grid(job.grid.shape)
    row, col, _ = job.grid.cell_of(places[:, 0], places[:, 1])
    probabilities = {name: np.empty((n_facies, len(places))) for name in (MODEL, *YARDSTICKS)}
    for number in range(job.n_folds):
        hidden = fold == number
        seen = known.copy()
        seen[row[hidden], col[hidden]] = -1
        for step, name in enumerate(probabilities):
            tell((number + step / len(probabilities)) / job.n_folds, f"Fold {number + 1} of {job.n_folds}")
            if name == MODEL:
                predicted = from_data(seen)[:, row[hidden], col[hidden]]
            else:
                predicted = YARDSTICKS[name](places[~hidden], class_index[~hidden], places[hidden], n_facies)
            probabilities[name][:, hidden] = predicted
    return probabilities
