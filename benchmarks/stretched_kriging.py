"""
What kriging gains by a direction: `python -m benchmarks.stretched_kriging`.

The yardsticks krige with the same range in all directions. Here one covariance is stretched along the azimuth, and by
the ratio, whose leave-one-out log loss is lowest, on surveys outside the prior that have few enough observations for
trying them all. One line a survey, then the ratios of mean losses.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from pathlib import Path

import numpy as np

from benchmarks.evaluate_universal.surveys import outside_survey
from oadg.core.contract.job import MODEL
from oadg.core.evaluation.surveys import Survey, model_method, score
from oadg.core.kriging.indicators import choose_by_leave_one_out, indicator_kriging, leave_one_out
from oadg.core.kriging.yardsticks import KRIGING
from oadg.core.machine.device import prepare_process
from oadg.core.measures.scores import log_loss_nats, ratio_interval
from oadg.core.model.facies_model import FaciesModel
from oadg.core.training.train_universal import SHIPPED

_MOST_DATA = 220
_RATIOS, _N_AZIMUTHS = (2.0, 4.5), 6
_STRETCHED, _BEST = "kriging, stretched", "best kriging"


def stretched_kriging(places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int) -> np.ndarray:
    """Krige with one covariance stretched as leave-one-out says; a yardstick, as `yardsticks` has them."""
    turned = itertools.product(_RATIOS, np.arange(_N_AZIMUTHS) * np.pi / _N_AZIMUTHS)
    best = np.inf
    for ratio, azimuth in ((1.0, 0.0), *turned):
        cos, sin = np.cos(azimuth), np.sin(azimuth)
        axes = np.array([[cos, -sin], [sin, cos]]) @ np.diag([ratio**-0.5, ratio**0.5])
        tried = choose_by_leave_one_out(places @ axes, class_index, n_facies)
        loss = log_loss_nats(leave_one_out(places @ axes, class_index, tried, n_facies), class_index).mean()
        if loss < best:
            best, chosen, covariances = loss, axes, tried
    return indicator_kriging(places @ chosen, class_index, targets @ chosen, covariances, n_facies)


def losses_of(survey: Survey, model: FaciesModel) -> dict[str, float]:
    """Return the mean log loss of each kriging, of the best of them with hindsight, and of the model."""
    asked = survey.places, survey.class_index, survey.targets, survey.n_facies
    losses = {
        name: score(method(*asked), survey.truth).mean_loss
        for name, method in {**KRIGING, _STRETCHED: stretched_kriging}.items()
    }
    better = min(losses[name] for name in KRIGING)
    own = score(model_method(model)(survey), survey.truth).mean_loss
    return {**losses, "better kriging": better, _BEST: min(losses.values()), MODEL: own}


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--surveys", type=int, default=210, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=20_261_125)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process()
    model = FaciesModel.load(arguments.model)
    surveys = (outside_survey(arguments.seed, number) for number in range(arguments.surveys))
    found = []
    for survey in surveys:
        if len(survey.places) <= _MOST_DATA:
            found.append(losses_of(survey, model))
            told = ", ".join(f"{name} {loss:.3f}" for name, loss in found[-1].items())
            logging.info("%s, %s: %s", survey.kind, survey.design, told)
    losses = {name: np.array([of[name] for of in found]) for name in found[0]}
    for first, second in ((MODEL, "better kriging"), (MODEL, _STRETCHED), (MODEL, _BEST)):
        ratio = ratio_interval(losses[first], losses[second])
        told = first, second, ratio.mean, ratio.low, ratio.high, len(found)
        logging.info("%s over %s: %.3f (%.3f to %.3f) on %d surveys", *told)


if __name__ == "__main__":
    main()
