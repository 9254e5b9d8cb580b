"""The evaluation harness: surveys as they are announced, and measures that find what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evaluate_universal.figures import figures_of
from benchmarks.evaluate_universal.measures import BETTER_KRIGING, OURS, Compared, Refined, against_first_pass, halved
from benchmarks.evaluate_universal.pages import evaluation_page
from benchmarks.evaluate_universal.remembered import remembered
from benchmarks.evaluate_universal.surveys import (
    calibration_truth,
    inside_survey,
    outside_survey,
    survey_of_map,
    yardstick_methods,
)
from benchmarks.outside_prior import DESIGNS, MECHANISMS, draw_cells, draw_map, draw_n_facies
from oadg.core.contract.errors import ConditioningError
from oadg.core.evaluation.surveys import score
from oadg.core.kriging.yardsticks import YARDSTICKS
from oadg.core.measures.scores import PairedInterval, Reliability

SHAPE = (60, 45)
FACIES = np.repeat([[0, 1, 2, 3]], 4, axis=0)  # a column of each of four facies


@pytest.mark.parametrize("n_facies", [2, 5, 17])
@pytest.mark.parametrize("kind", MECHANISMS)
def test_maps_show_some_of_their_facies_and_descend_from_their_seed(kind, n_facies):
    first, same, other = (draw_map(np.random.default_rng(seed), kind, SHAPE, n_facies) for seed in (1, 1, 2))
    assert first.shape == SHAPE
    assert first.min() >= 0
    assert first.max() < n_facies
    assert len(np.unique(first)) >= 2
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize("n_data", [1, 50, 2000])
@pytest.mark.parametrize("design", DESIGNS)
def test_designs_visit_as_many_cells_as_they_are_told(design, n_data):
    facies = np.indices(SHAPE).sum(axis=0) // 20
    assert draw_cells(np.random.default_rng(3), design, facies, n_data).sum() == n_data


def test_preferential_surveys_seek_the_rarer_facies():
    facies = (np.indices(SHAPE)[0] < 10).astype(int)
    visited = draw_cells(np.random.default_rng(0), "preferential", facies, 200)
    assert facies.mean() < 0.2
    assert facies[visited].mean() > 0.5


def test_boreholes_stand_in_few_columns():
    visited = draw_cells(np.random.default_rng(0), "boreholes", np.zeros((100, 100), dtype=int), 100)
    assert visited.any(axis=0).sum() < 10


def test_few_facies_are_more_common():
    rng = np.random.default_rng(0)
    number = np.bincount([draw_n_facies(rng) for _ in range(2000)], minlength=18)
    assert number[:2].sum() == 0
    assert number[2] > number[5] > number[17] > 0


def test_surveys_have_the_sizes_announced_and_descend_from_seed_and_number():
    for draw in (outside_survey, inside_survey):
        first, same, other = draw(1, 3), draw(1, 3), draw(1, 4)
        assert all(100 <= n <= 140 for n in first.known.shape)
        assert 50 <= len(first.places) <= 1000
        assert 2 <= first.n_facies <= 17
        assert len(first.targets) == 400
        assert (first.known == same.known).all()
        assert first.known.shape != other.known.shape or (first.known != other.known).any()


def test_kinds_and_designs_meet_each_other_all():
    pairs = {(s.kind, s.design) for s in (outside_survey(0, number) for number in range(18))}
    assert {kind for kind, _ in pairs} == set(MECHANISMS)
    assert {design for _, design in pairs} == set(DESIGNS)
    assert len(pairs) == 18


def test_the_truth_of_a_calibration_holds_no_surprise():
    truth = calibration_truth(0, 1)
    observed = truth.known >= 0
    assert (truth.known[observed] == truth.facies[observed]).all()
    assert set(np.unique(truth.facies)) == set(np.unique(truth.facies[observed])) == set(range(truth.n_facies))


def test_halved_cells_hold_each_observation_within_its_old_cell():
    survey = outside_survey(0, 0)
    fine = halved(survey, 0)
    n_rows, n_cols = survey.known.shape
    inside = fine.reshape(n_rows, 2, n_cols, 2)
    assert fine.shape == (2 * n_rows, 2 * n_cols)
    assert ((inside >= 0).sum(axis=(1, 3)) == (survey.known >= 0)).all()
    assert (inside.max(axis=(1, 3)) == survey.known).all()


def realizations(probability, n, rng):
    """Draw cells independently from probabilities (2, n_rows, n_cols)."""
    return (rng.random((n, *probability.shape[1:])) >= probability[0]).astype(np.uint8)


def test_an_ensemble_of_the_first_pass_agrees_with_it_and_another_does_not():
    rng = np.random.default_rng(0)
    known = np.full((40, 40), -1)
    known[::8, ::8] = rng.integers(0, 2, (5, 5))
    probability = np.full((2, 40, 40), 0.5)
    probability[:, :20] = np.array([0.8, 0.2])[:, None, None]
    alike = against_first_pass(known, 2, probability, realizations(probability, 50, rng))
    assert [b.verdict for b in alike.bias] == [0, 0]
    assert abs(alike.squared_bias) < 0.001
    shifted = probability + np.array([0.1, -0.1])[:, None, None]
    apart = against_first_pass(known, 2, probability, realizations(shifted, 50, rng))
    assert [b.verdict for b in apart.bias] == [1, -1]
    assert apart.squared_bias == pytest.approx(0.01, abs=0.001)


def test_a_question_is_answered_once_and_remembered_until_it_changes(tmp_path):
    survey, asked = outside_survey(0, 2), []

    def method(survey):
        asked.append(survey)
        return np.full((survey.n_facies, len(survey.targets)), 1 / survey.n_facies)

    for _ in range(2):
        assert remembered("even", method, tmp_path)(survey) == pytest.approx(method(survey))
    assert len(asked) == 3
    remembered("other", method, tmp_path)(survey)
    remembered("even", method, tmp_path)(replace(survey, targets=survey.targets[:9]))
    assert len(asked) == 5


def compared(ours, kriging, observed=0.5):
    scores = {"log_loss": ours, "brier": 0.5, "accuracy": 0.5, "sharpness_bits": 1.0}
    bins = Reliability(np.array([0.1, 0.5, np.nan]), np.array([0.1, observed, np.nan]), np.array([300, 200, 0]))
    difference = ours - kriging
    return Compared(
        kind="halos",
        design="roads",
        n_facies=3,
        n_data=100,
        n_targets=400,
        scores={OURS: scores, BETTER_KRIGING: {**scores, "log_loss": kriging}},
        difference=PairedInterval(difference, difference - 0.01, difference + 0.01),
        reliability={OURS: bins, BETTER_KRIGING: bins},
    )


def verdicts(**found):
    return {target["text"]: target for target in figures_of(found)["targets"]}


def test_a_model_that_is_better_everywhere_meets_its_targets():
    found = verdicts(outside=[compared(0.9, 1.0), compared(0.8, 0.9)])
    assert [target["verdict"] for target in found.values()] == ["met"] * 3


def test_what_is_missed_is_said_and_by_how_much():
    found = verdicts(outside=[compared(0.90, 1.0, observed=0.6), compared(1.05, 1.0, observed=0.6)])
    ratio, worse, reliability = found.values()
    assert (ratio["verdict"], ratio["measured"]) == ("missed by 0.025", pytest.approx(0.975))
    assert (worse["verdict"], worse["measured"]) == ("missed by 1", 1)
    assert (reliability["verdict"], reliability["measured"]) == ("missed by 0.05", pytest.approx(0.1))


def test_bins_of_few_pairs_are_not_judged():
    """The bin of .5 holds 200 pairs on each survey where .9 was observed; 40 of them prove nothing."""
    whole = compared(0.9, 1.0, observed=0.9)
    fifth = {name: replace(bins, number=bins.number // 5) for name, bins in whole.reliability.items()}
    judged, ignored = (
        figures_of({"outside": [c, c]})["targets"][2] for c in (whole, replace(whole, reliability=fifth))
    )
    assert judged["measured"] == pytest.approx(0.4)
    assert ignored["measured"] == 0


def test_the_page_says_what_the_figures_say():
    figures = figures_of(
        {
            "outside": [compared(0.9, 1.0), compared(1.05, 1.0)],
            "cell_size": [Refined("halos", 100, 1.0, 1.1, 0.1, 0.08), Refined("parcels", 80, 1.0, 0.98, -0.02, 0.0)],
        }
    )
    page = evaluation_page(
        {**figures, "model_id": "tiny-0", "seed": 1, "minutes": 2.0, "processes": 1, "n_tasks": 5, "n_done": 4}
    )
    for text in ("2 of 4 targets are met", "missed by 0.025", "halos", "1.100", "tiny-0", "1 of 5 tasks were left"):
        assert text in page


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


def test_yardsticks_are_scored_at_the_same_points(survey):
    found = {name: score(method(survey), survey.truth) for name, method in yardstick_methods().items()}
    assert set(found) == set(YARDSTICKS)
    assert {scored.loss.shape for scored in found.values()} == {(len(survey.targets),)}
    assert found["proportions"].mean_loss == pytest.approx(-np.log(np.where(survey.truth == 0, 1 / 3, 2 / 3)).mean())
