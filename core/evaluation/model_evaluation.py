"""The evaluation of a model of a training image, from job to page: what the engine runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import numpy as np

from ..contract.training_image import TrainingImage
from ..contract.training_job import EvaluationJob, EvaluationResult, piece_shape
from ..machine.device import choose_device
from ..model.facies_model import FaciesModel
from .likeness import evaluate_model, summarise
from .model_page import evaluation_page
from .verdict import describe_verdict


def run_evaluation(job: EvaluationJob, progress: Callable[[float, str], None]) -> EvaluationResult:
    """
    Evaluate a model, and write the page into the job's work folder.

    Parameters
    ----------
    job : EvaluationJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done; what it raises (`Cancelled`) ends the run.

    Raises
    ------
    OadgError
        For a model, device or image that does not fit.
    """
    began = time.monotonic()
    progress(0.0, "Reading the model")
    device = choose_device(job.device)
    model = FaciesModel.load(Path(job.model_path), device)
    class_index = np.load(job.image_path, allow_pickle=False)
    shape = piece_shape(class_index.shape, job.side)
    model.check_takes(job.facies, shape)
    model.schedule_of(job.quality)  # there has to be one
    image = TrainingImage(class_index, job.facies)
    found = evaluate_model(
        model,
        image,
        shape=shape,
        n_realizations=job.n_realizations,
        quality=job.quality,
        seed=job.seed,
        progress=progress,
    )
    scores = summarise(found)
    verdict = describe_verdict(found, scores, job.facies.names)
    page_path = Path(job.work_folder) / "evaluation.html"
    page_path.write_text(evaluation_page(job, found, verdict, model.model_id), encoding="utf-8")
    return EvaluationResult(
        page_path=str(page_path),
        scores=scores,
        verdict=verdict,
        device=str(device),
        model_id=model.model_id,
        seconds=time.monotonic() - began,
    )
