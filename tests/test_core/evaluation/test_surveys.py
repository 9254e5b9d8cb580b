"""Surveys: the model is asked at their targets; scores, and an interval that holds what it promises."""

import numpy as np
import pytest

from oadg.core.evaluation.surveys import Survey, model_method, probability_map, score
from oadg.core.measures.scores import ratio_interval
from oadg.core.model.facies_model import FaciesModel


def test_the_model_is_asked_at_the_cells_of_the_targets(tiny_network):
    known = np.full((4, 4), -1)
    known[[0, 2, 3], [1, 3, 3]] = 0, 1, 1
    targets, truth = np.argwhere(known < 0) + 0.5, np.zeros(13, dtype=int)
    survey = Survey(np.argwhere(known >= 0) + 0.5, np.array([0, 1, 1]), targets, truth, known, 2)
    model = FaciesModel("tiny", tiny_network)
    at_targets, everywhere = model_method(model)(survey), probability_map(model, survey)
    assert everywhere.shape == (2, 4, 4)
    for number, (row, col) in enumerate(survey.targets.astype(int)):
        assert at_targets[:, number] == pytest.approx(everywhere[:, row, col])


def test_being_sure_and_wrong_costs_what_the_floor_leaves():
    sure = score(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([0, 1]))
    assert sure.loss == pytest.approx([np.log(1.01), np.log(101)])
    assert (sure.accuracy, sure.brier) == (0.5, 1.0)


def test_the_interval_of_a_ratio_holds_the_ratio_as_often_as_it_says():
    """Surveys differ far more than methods do; the interval must not notice."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        reference = rng.gamma(4.0, 0.25, 60)
        losses = 0.9 * reference + 0.05 * rng.standard_normal(60)
        interval = ratio_interval(losses, reference)
        held += interval.low <= 0.9 <= interval.high
        assert interval.high - interval.low < 0.04
    assert held / 400 == pytest.approx(0.95, abs=0.03)
