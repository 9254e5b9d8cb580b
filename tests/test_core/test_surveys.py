"""The evaluation: what methods may see, where they are asked, and intervals that hold what they promise."""

import numpy as np
import pytest

from oadg.core.contract.errors import ConditioningError
from oadg.core.contract.job import MODEL
from oadg.core.evaluation.surveys import (
    evaluate,
    model_method,
    probability_map,
    score,
    survey_of_map,
    yardstick_methods,
)
from oadg.core.kriging.yardsticks import YARDSTICKS
from oadg.core.measures.scores import ratio_interval
from oadg.core.model.facies_model import FaciesModel

FACIES = np.repeat([[0, 1, 2, 3]], 4, axis=0)  # a column of each of four facies


def visited(*cells):
    chosen = np.zeros(FACIES.shape, dtype=bool)
    chosen[tuple(np.transpose(cells))] = True
    return chosen


@pytest.fixture
def survey():
    return survey_of_map(FACIES, visited((0, 1), (2, 3), (3, 3)), kind="columns", design="by hand")


def test_facies_that_were_not_observed_are_hidden(survey):
    """Facies 1 and 3 were observed: they become 0 and 1, and nobody is asked where 0 and 2 lie."""
    assert survey.n_facies == 2
    assert survey.class_index.tolist() == [0, 1, 1]
    assert survey.known[[0, 2, 3], [1, 3, 3]].tolist() == [0, 1, 1]
    assert (survey.known >= 0).sum() == 3
    assert set(survey.targets[:, 1]) == {1.5, 3.5}
    assert survey.truth.tolist() == (survey.targets[:, 1] > 2).astype(int).tolist()


def test_targets_are_never_observed_cells(survey):
    cells = {tuple(cell) for cell in survey.targets}
    assert len(cells) == 2 * 4 - 3
    assert not cells & {tuple(place) for place in survey.places}


def test_targets_are_at_most_as_many_as_wanted():
    survey = survey_of_map(FACIES, visited((0, 0), (0, 1), (0, 2), (0, 3)), most_targets=5)
    assert len(survey.targets) == len(survey.truth) == 5
    assert len(np.unique(survey.targets, axis=0)) == 5


@pytest.mark.parametrize(
    ("chosen", "message"),
    [(visited((0, 0), (1, 0)), "observed 1 facies"), (np.ones((4, 4), dtype=bool), "leaves 0 cells")],
)
def test_surveys_that_compare_nothing_are_refused(chosen, message):
    with pytest.raises(ConditioningError, match=message):
        survey_of_map(FACIES, chosen)


def test_neighbouring_targets_share_a_block():
    facies = np.arange(400).reshape(20, 20) % 2
    survey = survey_of_map(facies, np.arange(400).reshape(20, 20) < 2)
    blocks = survey.blocks()
    assert set(blocks) == set(range(25))
    row, col = np.floor(survey.targets).astype(int).T
    assert blocks.tolist() == (row // 4 * 5 + col // 4).tolist()


def test_the_model_is_asked_at_the_cells_of_the_targets(survey, tiny_network):
    model = FaciesModel("tiny", tiny_network)
    at_targets, everywhere = model_method(model)(survey), probability_map(model, survey)
    assert everywhere.shape == (2, 4, 4)
    for number, (row, col) in enumerate(survey.targets.astype(int)):
        assert at_targets[:, number] == pytest.approx(everywhere[:, row, col])


def test_all_methods_are_scored_at_the_same_points(survey, tiny_network):
    methods = {MODEL: model_method(FaciesModel("tiny", tiny_network)), **yardstick_methods()}
    assert set(methods) == {MODEL, *YARDSTICKS}
    found = evaluate(survey, methods)
    assert {scored.loss.shape for scored in found.values()} == {(len(survey.targets),)}
    assert found["proportions"].mean_loss == pytest.approx(-np.log(np.where(survey.truth == 0, 1 / 3, 2 / 3)).mean())


def test_being_sure_and_wrong_costs_what_the_floor_leaves():
    sure = score(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([0, 1]))
    assert sure.loss == pytest.approx([np.log(1.01), np.log(101)])
    assert (sure.accuracy, sure.brier, sure.sharpness_bits) == (0.5, 1.0, 0.0)


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
