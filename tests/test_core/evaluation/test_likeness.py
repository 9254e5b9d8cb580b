"""Judging a model: what is drawn and asked, and a page that says what was found."""

import math
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import FaciesError, JobError, TrainingImageError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.training_image import TrainingImage
from oadg.core.contract.training_job import MIN_EVALUATED_SIDE, EvaluationJob, piece_shape
from oadg.core.evaluation import hidden_cells, likeness
from oadg.core.evaluation.crops import draw_crops
from oadg.core.evaluation.hidden_cells import draw_surveys_of, score_survey, tiles_of
from oadg.core.evaluation.likeness import evaluate_model, summarise
from oadg.core.evaluation.model_evaluation import run_evaluation
from oadg.core.evaluation.model_page import evaluation_page
from oadg.core.evaluation.verdict import describe_verdict
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import Schedule
from oadg.core.sampling.realizations import simulate_freely

FACIES = FaciesTable(tuple(Facies(code, f"f{code}", "#112233") for code in (5, 7, 9)))


def _likeness(verdict):
    """What a verdict says of realizations without data."""
    return re.match(r"Realizations of \d+ x \d+ cells (.+? the image)", verdict).group(1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1, n_levels=2, n_classes=3)
    schedule = Schedule.even((2, 2), 3)
    return FaciesModel("tiny", FaciesNetwork(config).eval(), FACIES, 3, schedules={"standard": schedule})


@pytest.fixture(scope="module")
def image():
    row, col = np.mgrid[:100, :120]
    return TrainingImage(((row + 3 * np.sin(col / 7)) // 6 % 3).astype(np.int16), FACIES)


@pytest.fixture(autouse=True)
def few_surveys(monkeypatch):
    monkeypatch.setattr(hidden_cells, "N_SURVEYS", 3)


def test_crops_are_parts_of_the_image(image):
    crops = draw_crops(image.class_index, (20, 30), 5, np.random.default_rng(0))
    windows = np.lib.stride_tricks.sliding_window_view(image.class_index, (20, 30))
    for crop in crops:
        assert (windows == crop).all(axis=(2, 3)).any()


def test_crops_of_an_image_with_nodata_are_known_for_the_most_part_and_from_anywhere(image):
    cells = image.class_index.copy()
    cells[:, 60:] = -1
    crops = draw_crops(cells, (20, 30), 40, np.random.default_rng(0))
    assert ((crops >= 0).mean(axis=(1, 2)) >= 0.8).all()
    assert ((crops < 0).any(axis=(1, 2))).any(), "not the few places alone where all is known"
    cells[:, 25:] = -1
    assert ((draw_crops(cells, (20, 30), 8, np.random.default_rng(0)) >= 0).mean(axis=(1, 2)) > 0.5).all()


def test_nodata_of_the_image_makes_no_realization_worse(model, image, monkeypatch):
    """Realizations are measured where the crops know something."""
    cells = image.class_index.copy()
    cells[:30, 80:] = -1

    def crops(*_, **__):
        return draw_crops(image.class_index, (40, 40), 6, np.random.default_rng(9)).astype(np.uint8)

    monkeypatch.setattr(likeness, "simulate_freely", crops)
    scores = summarise(evaluate_model(model, TrainingImage(cells, FACIES), shape=(40, 40), n_realizations=6))
    assert scores["proportion_difference"] < 0.1
    assert 0.5 < scores["variety"] < 2
    assert 0.5 < scores["bodies_ratio"] < 2
    holes = np.where(np.arange(100)[:, None] % 4, -1, image.class_index)
    with pytest.raises(TrainingImageError, match="Pieces of 40 x 40 cells .* are nodata for the most part"):
        evaluate_model(model, TrainingImage(holes, FACIES), shape=(40, 40), n_realizations=6)


def test_surveys_keep_the_numbers_of_facies_and_hide_their_targets(image):
    surveys = draw_surveys_of(np.where(image.class_index == 0, 2, image.class_index), 3, 6, np.random.default_rng(0))
    assert surveys
    for survey in surveys:
        assert set(np.unique(survey.class_index)) == {1, 2}
        assert (survey.known[tuple(np.floor(survey.targets).astype(int).T)] == -1).all()
        assert (survey.known >= 0).sum() == len(survey.class_index)


def test_a_facies_that_was_not_observed_has_no_chance_with_the_simple_methods(model, image):
    two = np.where(image.class_index == 0, 2, image.class_index)
    survey = draw_surveys_of(two, 3, 1, np.random.default_rng(0))[0]
    scores = score_survey(model, survey)
    assert scores["model"].mean_loss > 0
    assert scores["proportions"].mean_loss < math.log(3), "shares of the two that were observed"


def test_windows_of_one_facies_are_left_out():
    assert draw_surveys_of(np.zeros((50, 50), dtype=int), 2, 5, np.random.default_rng(0)) == []


def test_realizations_without_data_do_not_depend_on_how_many_there_are(model):
    many = simulate_freely(model, (20, 24), 10, seed=3)
    assert many.shape == (10, 20, 24)
    assert set(np.unique(many)) <= {0, 1, 2}
    assert (simulate_freely(model, (20, 24), 2, seed=3) == many[:2]).all()


def test_a_universal_model_draws_nothing_without_data(model):
    universal = FaciesModel("universal", model.network)
    with pytest.raises(JobError, match="fits itself to data, and needs some"):
        simulate_freely(universal, (20, 20), 1)


def test_an_untrained_model_does_not_look_like_stripes(model, image):
    found = evaluate_model(model, image, shape=(40, 40), n_realizations=4)
    scores = summarise(found)
    assert scores["pattern_divergence"] > 5 * scores["reference_divergence"]
    assert scores["log_loss"] == pytest.approx(math.log(3), abs=0.1)
    assert scores["isolated_data"] > 0.02 > scores["isolated_in_image"]
    verdict = describe_verdict(found, scores, FACIES.names)
    assert _likeness(verdict) == "do not look like the image"
    assert "stay single cells that nothing around agrees with" in verdict
    chance = replace(found, among_crops=found.fidelity)  # where crops of an image differ by as much
    alike = {**scores, "reference_divergence": scores["pattern_divergence"]}
    assert _likeness(describe_verdict(chance, alike, FACIES.names)) == "do not look like the image"
    kept = {**scores, "isolated_data": scores["isolated_in_image"]}
    assert "single cells" not in describe_verdict(found, kept, FACIES.names)


def test_the_image_itself_looks_like_the_image(model, image, monkeypatch):
    def crops(*_, **__):
        return draw_crops(image.class_index, (40, 40), 6, np.random.default_rng(9)).astype(np.uint8)

    monkeypatch.setattr(likeness, "simulate_freely", crops)
    found = evaluate_model(model, image, shape=(40, 40), n_realizations=6)
    scores = summarise(found)
    assert scores["pattern_divergence"] < 5 * scores["reference_divergence"]
    assert scores["variety"] == pytest.approx(1, abs=0.4)
    assert _likeness(describe_verdict(found, scores, FACIES.names)) == "look like the image"


@pytest.fixture
def crops_found(model, image, monkeypatch):
    """Evaluate maps that stand for realizations: crops of the image that something was done to."""

    def run(spoil, n=6):
        def maps(*_, **__):
            return spoil(draw_crops(image.class_index, (40, 40), n, np.random.default_rng(9))).astype(np.uint8)

        monkeypatch.setattr(likeness, "simulate_freely", maps)
        found = evaluate_model(model, image, shape=(40, 40), n_realizations=n)
        return describe_verdict(found, summarise(found), FACIES.names)

    return run


def test_maps_of_other_shares_are_told_with_the_worst_facies(crops_found):
    def less(maps):
        return np.where((maps == 2) & (np.arange(40) % 40 < 34), 1, maps)

    verdict = crops_found(less)
    assert _likeness(verdict) != "look like the image"
    assert re.search(rf"Shares of facies differ .* that of {FACIES.names[2]}: \d+\.\d % instead of \d+\.\d %", verdict)


def test_maps_whose_bodies_are_broken_up_do_not_look_like_the_image(crops_found):
    """A speck of another facies here and there hardly changes small patterns."""

    def specks(maps):
        spoilt = np.random.default_rng(3).random(maps.shape) < 0.01
        return np.where(spoilt, (maps + 1) % 3, maps)

    verdict = crops_found(specks)
    assert _likeness(verdict) != "look like the image"
    assert "times as many bodies as in the image: its pieces are broken up" in verdict


def test_maps_without_a_facies_have_too_few_bodies_of_it_not_joined_ones(crops_found):
    verdict = crops_found(lambda maps: np.where(maps == 2, 1, maps))
    assert f"Facies {FACIES.names[2]}" in verdict or f"F{FACIES.names[2][1:]} lies in" in verdict
    assert "times as many bodies as in the image: there are too few of them, or none." in verdict


def test_facies_that_never_touch_in_the_image_are_told(judge):
    """Layers: 0 lies on 1, 1 on 2; a gap in 1 brings the others together."""
    row = np.arange(160) // 10 % 4
    cells = np.repeat(np.array([0, 1, 2, 1])[row][:, None], 160, axis=1)
    maps = [np.roll(cells, shift, axis=0)[:53, :53] for shift in range(0, 100, 5)]
    assert "never touch" not in _verdict(judge(cells, maps))
    for class_index in maps:
        class_index[:, :26] = np.where(class_index[:, :26] == 1, 0, class_index[:, :26])
    verdict = _verdict(judge(cells, maps))
    assert re.search(
        r"\d\d\.\d % lie between facies that never touch in the image, most of them between f0 and f2", verdict
    )
    assert _likeness(verdict) == "do not look like the image"


def test_maps_whose_bodies_are_cut_are_told_by_what_hangs_together(crops_found):
    """A stripe across all others, two cells wide, parts those of two facies and joins those of its own."""

    def cut(maps):
        return np.where(np.arange(40) // 2 == 10, 0, maps)

    verdict = crops_found(cut)
    assert _likeness(verdict) != "look like the image"
    assert re.search(r"hangs together differs: .* up to 16 cells apart, [1-9]\d?\.\d % too many or too few", verdict)


def test_noise_of_the_same_law_looks_like_noise(model, monkeypatch):
    """Patterns of 4 x 4 cells are all different there: smaller ones are compared."""
    rng = np.random.default_rng(0)
    image = TrainingImage(rng.choice(3, size=(120, 120), p=[0.6, 0.3, 0.1]).astype(np.int16), FACIES)
    maps = rng.choice(3, size=(8, 40, 40), p=[0.6, 0.3, 0.1]).astype(np.uint8)
    monkeypatch.setattr(likeness, "simulate_freely", lambda *_, **__: maps)
    found = evaluate_model(model, image, shape=(40, 40), n_realizations=8)
    assert found.reference.pattern_side < 4
    assert _likeness(describe_verdict(found, summarise(found), FACIES.names)) == "look like the image"


def smooth_field(n_rows, rng, thickness=1.0):
    """A smooth field of variance 1, whose law is known."""
    frequency = thickness * np.fft.fftfreq(2 * n_rows)
    filtered = np.exp(-300 * (frequency[:, None] ** 2 + frequency[None] ** 2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((2 * n_rows, 2 * n_rows))) * filtered).real
    return field[:n_rows, :n_rows] / np.sqrt((filtered**2).mean())


def cut(field, shift=0.0):
    """Three facies, of about 38, 41 and 21 % of the cells."""
    return np.digitize(field + shift, (-0.3, 0.8)).astype(np.int16)


def smooth_map(n_rows, rng):
    return cut(smooth_field(n_rows, rng))


def smooth_map_of_many(n_rows, rng):
    """Eight facies, some of them rare."""
    return np.argmax([smooth_field(n_rows, rng) + weight for weight in np.linspace(1, -1, 8)], axis=0).astype(np.int16)


def judged(monkeypatch, cells, maps):
    """Evaluate maps that stand for realizations against an image of any number of facies."""
    facies = FaciesTable(tuple(Facies(k, f"f{k}", "#112233") for k in range(int(cells.max()) + 1)))

    monkeypatch.setattr(likeness, "ask_hidden_cells", lambda *_, **__: None)
    monkeypatch.setattr(likeness, "simulate_freely", lambda *_, **__: np.stack(maps).astype(np.uint8))
    network = SimpleNamespace(config=SimpleNamespace(n_levels=1))
    untrained = SimpleNamespace(provenance={}, network=network)
    return evaluate_model(untrained, TrainingImage(cells, facies), shape=maps[0].shape, n_realizations=len(maps))


@pytest.fixture
def judge(monkeypatch):
    return partial(judged, monkeypatch)


def _verdict(found):
    return describe_verdict(found, summarise(found), [f"f{k}" for k in range(len(found.image_shares))])


@pytest.fixture(scope="module")
def alike():
    """What is found of maps of the law of the image; of a large one, so that chance has little part in it."""
    rng = np.random.default_rng(2)
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = judged(monkeypatch, smooth_map(160, rng), [smooth_map(32, rng) for _ in range(8)])
    return replace(found, among_halves=None, crops_in_image=1e4)


def verdict_of(found, **changed):
    return describe_verdict(found, {**summarise(found), **changed}, ["f0", "f1", "f2"])


def with_statistics(found, spreads=(1e-3, 1e-3), **changed):
    """Return what is found where statistics are these, of realizations and of crops: with these means."""
    ours, of_crops = (
        replace(statistics, **{what: np.multiply.outer(1 + spread, means[which]) for what, means in changed.items()})
        for which, statistics, spread in zip(
            (0, 1), (found.measured, found.reference), np.outer(spreads, np.resize([1, -1], 8))
        )
    )
    return replace(found, measured=ours, reference=of_crops)


@pytest.mark.parametrize(
    ("bits", "by_chance", "likeness_told"),
    [
        (0.1, 0.025, "look like the image"),
        (0.1, 0.015, "resemble the image"),
        (0.1, 0.003, "do not look like the image"),
        (0.6, 0.4, "do not look like the image"),
    ],
)
def test_small_patterns_are_held_against_chance_and_half_a_bit(alike, bits, by_chance, likeness_told):
    verdict = verdict_of(alike, pattern_divergence=bits, reference_divergence=by_chance)
    assert _likeness(verdict) == likeness_told
    assert f"patterns are {bits / by_chance:.1f} times as far" in verdict


def test_scores_are_those_of_realizations_and_what_chance_makes_of_them_that_of_crops(alike):
    fidelity = replace(
        alike.fidelity,
        pattern_divergence={1: 0.1, 2: 0.9, 4: 0.9},
        variogram_difference=0.2,
        connectivity_misfit=0.3,
        agreement=0.4,
        within=0.5,
    )
    crops = replace(alike.among_crops, pattern_divergence={1: 0.01, 2: 0.01, 4: 0.01}, agreement=0.04, within=0.25)
    found = with_statistics(alike, proportions=(np.array([0.5, 0.3, 0.2]), np.array([0.7, 0.1, 0.2])))
    scores = summarise(
        replace(
            found,
            fidelity=fidelity,
            among_crops=crops,
            among_halves=replace(crops, pattern_divergence={1: 0.08, 2: 0.01, 4: 0.01}),
            image_shares=np.array([0.45, 0.45, 0.1]),
            contacts=np.array([[0, 0.9, 0.03], [0, 0, 0.07], [0, 0, 0]]),
            image_contacts=np.array([[0, 1.0, 0], [0, 0, 0], [0, 0, 0]]),
        )
    )
    expected = {
        "pattern_divergence": 0.1,
        "reference_divergence": 0.02,
        "variogram_difference": 0.2,
        "connectivity_misfit": 0.3,
        "agreement": 0.4,
        "variety": 2.0,
        "proportion_difference": 0.15,
        "forbidden_contacts": 0.1,
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert math.isnan(scores["log_loss"])


@pytest.mark.parametrize("unknown", ["pattern_divergence", "reference_divergence"])
def test_patterns_that_nodata_leaves_out_here_or_there_are_not_told(alike, unknown):
    verdict = verdict_of(alike, **{unknown: math.nan})
    assert verdict.startswith("Realizations of 32 x 32 cells look like the image. ")


def test_seven_maps_are_too_few_to_tell_how_they_differ(alike):
    few = replace(alike, realizations=alike.realizations[:7])
    assert "7 realizations are too few to tell whether they differ" in verdict_of(few, variety=0.1)
    assert _likeness(verdict_of(few, variety=0.1)) == "look like the image"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("variogram_difference", "Variograms are up to 0.240 off, by chance {chance:.3f}."),
        ("connectivity_misfit", "24.0 % too many or too few lie in one body, by chance {percent:.1f} %."),
    ],
)
def test_what_two_points_tell_is_held_against_chance(alike, what, told):
    """What chance makes is told by other crops, or by half of what the image's halves differ by if that is more."""
    found = replace(alike, fidelity=replace(alike.fidelity, **{what: 0.24}))
    for of_crops, of_halves, chance, likeness_told in (
        (0.1, 0.01, 0.1, "look like the image"),
        (0.04, 0.01, 0.04, "resemble the image"),
        (0.04, 0.3, 0.15, "look like the image"),
        (0.02, 0.01, 0.02, "do not look like the image"),
    ):
        crops, halves = (replace(alike.among_crops, **{what: value}) for value in (of_crops, of_halves))
        verdict = verdict_of(replace(found, among_crops=crops, among_halves=halves))
        assert _likeness(verdict) == likeness_told
        is_told = likeness_told != "look like the image"
        assert (told.format(chance=chance, percent=100 * chance) in verdict) == is_told
    least = replace(alike, fidelity=replace(alike.fidelity, **{what: 0.025}))
    crops = replace(alike.among_crops, **{what: 0.001})
    assert _likeness(verdict_of(replace(least, among_crops=crops))) == "look like the image", "so little never matters"


@pytest.mark.parametrize(
    ("variety", "likeness_told", "told"),
    [
        (2.0, "look like the image", "Realizations differ from one another more than crops of the image do."),
        (1.0, "look like the image", "Realizations differ from one another as crops of the image do."),
        (0.5, "resemble the image", "the model has less variety than it."),
        (0.2, "do not look like the image", "the model has less variety than it."),
    ],
)
def test_too_little_variety_is_a_fault_and_much_of_it_is_none(alike, variety, likeness_told, told):
    verdict = verdict_of(alike, variety=variety)
    assert _likeness(verdict) == likeness_told
    assert told in verdict


@pytest.mark.parametrize(
    ("agreement", "error", "likeness_told"),
    [(0.1, 0.03, "look like the image"), (0.1, 0.02, "resemble the image"), (0.3, 0.02, "do not look like the image")],
)
def test_maps_may_agree_at_the_same_place_as_far_as_chance_goes(alike, agreement, error, likeness_told):
    fidelity = replace(alike.fidelity, agreement=agreement)
    crops = replace(alike.among_crops, agreement_error=error)
    verdict = verdict_of(replace(alike, fidelity=fidelity, among_crops=crops))
    assert _likeness(verdict) == likeness_told
    is_told = f"at the same place, {100 * agreement:.0f} % of the way from chance" in verdict
    assert is_told == (likeness_told != "look like the image")


@pytest.mark.parametrize(
    ("ours", "shares", "told"),
    [
        (24.0, (0.4, 0.4), "F1 lies in 2.4 times as many bodies as in the image: its pieces are broken up."),
        (24.0, (0.8, 0.4), "F1 lies in 2.4 times as many bodies as in the image: there are too many of them."),
        (3.5, (0.4, 0.4), "F1 lies in 0.4 times as many bodies as in the image: its pieces are joined."),
        (3.5, (0.15, 0.4), "F1 lies in 0.4 times as many bodies as in the image: there are too few of them, or none."),
    ],
)
def test_why_there_are_more_bodies_or_fewer(alike, ours, shares, told):
    """Their number and the share of their facies tell how large they are."""
    proportions = [np.array([(1 - share) / 2, share, (1 - share) / 2]) for share in shares]
    bodies = np.array([7.0, ours, 7.0]), np.array([7.0, 9.7, 7.0])
    found = with_statistics(alike, n_bodies=bodies, proportions=proportions)
    found = replace(found, fidelity=replace(found.fidelity, bodies=bodies[0]))
    assert told in verdict_of(found)
    assert summarise(found)["bodies_ratio"] == pytest.approx((ours + 0.5) / 10.2, rel=1e-3), "the worst one"
    assert "times as many bodies" not in verdict_of(replace(found, crops_in_image=1e-9)), "the image tells as little"


@pytest.mark.parametrize(
    ("length", "likeness_told", "told"),
    [
        (0.42, "look like the image", None),
        (0.48, "resemble the image", "20 % too long: bodies are thinner"),
        (0.64, "do not look like the image", "60 % too long"),
        (0.34, "resemble the image", "15 % too short: bodies are thicker"),
        (0.24, "do not look like the image", "40 % too short"),
    ],
)
def test_boundaries_are_long_or_short_beyond_what_the_image_itself_tells(alike, length, likeness_told, told):
    found = with_statistics(alike, boundary=(length, 0.4))
    verdict = verdict_of(found)
    assert _likeness(verdict) == likeness_told
    assert (told or "Shares") in verdict
    assert "Boundaries between" not in verdict_of(replace(found, crops_in_image=1e-9))
    for spreads in ((0.5, 1e-3), (1e-3, 0.5)):
        varied = with_statistics(alike, spreads, boundary=(length, 0.4))
        assert "Boundaries between" not in verdict_of(varied), "either of them may vary that much"


def test_a_facies_that_is_nearly_missed_is_no_chance_where_crops_of_a_trend_differ_most(alike):
    """Crops have nothing to 28 % of it; eight maps none of which has a hundredth are no draw of such crops."""
    theirs, spreads = np.array([0.5, 0.36, 0.14]), (1e-3, 1.0)
    found = with_statistics(alike, spreads, proportions=(np.array([0.6, 0.392, 0.008]), theirs))
    found = replace(found, image_shares=theirs, crops_in_image=4.0)
    verdict = verdict_of(found)
    assert "that of f2: 0.8 % instead of 14.0 %" in verdict
    assert _likeness(verdict) == "resemble the image", "the image may be a rare draw, but no look-alike lacks a facies"
    fewer = with_statistics(found, spreads, proportions=(np.array([0.5, 0.4, 0.1]), theirs))
    assert _likeness(verdict_of(fewer)) == "look like the image"
    assert "as by chance" in verdict_of(fewer)


def test_the_worst_share_is_worst_for_its_size(alike):
    """And a facies that the image lacks is little of one where it is drawn at three cells of a thousand."""
    theirs = np.array([0.5, 0.45, 0.05])
    found = with_statistics(alike, proportions=(np.array([0.58, 0.4, 0.02]), theirs))
    verdict = verdict_of(replace(found, image_shares=theirs))
    assert "by up to 8.0 % of the cells" in verdict
    assert "that of f2: 2.0 % instead of 5.0 %" in verdict
    assert _likeness(verdict) == "resemble the image"
    theirs = np.array([0.5, 0.5, 0.0])
    found = with_statistics(alike, proportions=(np.array([0.4985, 0.4985, 0.003]), theirs))
    verdict = verdict_of(replace(found, image_shares=theirs))
    assert "that of f2: 0.3 % instead of 0.0 %" in verdict
    assert _likeness(verdict) == "resemble the image"
    almost = with_statistics(alike, proportions=(np.array([0.4995, 0.4995, 0.001]), theirs))
    assert "0.1 % of the cells at most, as by chance" in verdict_of(replace(almost, image_shares=theirs))


@pytest.mark.parametrize(
    ("share", "likeness_told"),
    [(0.008, "look like the image"), (0.03, "resemble the image"), (0.06, "do not look like the image")],
)
def test_boundaries_that_the_image_lacks_count_by_their_share(alike, share, likeness_told):
    contacts = np.array([[0, 0.5, share], [0, 0, 0.5 - share], [0, 0, 0]])
    found = replace(alike, contacts=contacts, image_contacts=np.array([[0, 0.5, 0], [0, 0, 0.5], [0, 0, 0]]))
    assert summarise(found)["forbidden_contacts"] == pytest.approx(share)
    assert _likeness(verdict_of(found)) == likeness_told
    numbered = describe_verdict(found, summarise(found), ["5", "clay", "-7"])
    assert ("most of them between facies 5 and facies -7." in numbered) == (share > 0.01)


def test_single_data_are_told_where_the_image_has_fewer_single_cells(alike):
    found = replace(alike, hidden=SimpleNamespace(is_held_out=True))
    seen = {"log_loss_ratio": 1.0, "log_loss_ratio_low": 0.9, "log_loss_ratio_high": 1.1}
    for single, is_told in ((0.205, False), (0.23, True)):
        changed = {**seen, "isolated_data": single, "isolated_in_image": 0.2}
        scores = {**summarise(replace(found, hidden=None)), **changed}
        verdict = describe_verdict(found, scores, ["f0", "f1", "f2"])
        assert ("stay single cells" in verdict) == is_told


@pytest.mark.parametrize(
    ("maps_of", "likeness_told", "told"),
    [
        (lambda fields, _: map(cut, fields), "look like the image", "differ from one another as crops of the image do"),
        (
            lambda fields, _: [cut(0.9 * fields[0] + math.sqrt(1 - 0.9**2) * field) for field in fields[1:]],
            "do not look like the image",
            r"at the same place, 4\d % of the way from chance to being equal",
        ),
        (
            lambda fields, _: [cut(fields[number % 2]) for number in range(20)],
            "do not look like the image",
            r"at the same place, \d\d % of the way from chance to being equal",
        ),
        (
            lambda _, rng: [cut(smooth_field(53, rng, 1.25)) for _ in range(20)],
            "resemble the image",
            r"Boundaries between facies are \d\d % too short: bodies are thicker, smoother or larger than in the image",
        ),
        (
            lambda _, rng: [cut(smooth_field(53, rng, 0.8)) for _ in range(20)],
            "resemble the image",
            r"Boundaries between facies are \d\d % too long: bodies are thinner, rougher or smaller than in the image",
        ),
        (
            lambda fields, _: [cut(field, 0.5) for field in fields],
            "resemble the image",
            r"that of f2: 3\d\.\d % instead of 2\d\.\d %",
        ),
    ],
    ids=["perfect", "one skeleton", "copies of two", "thick", "thin", "other shares"],
)
def test_what_maps_of_a_known_law_are_found_to_be(judge, maps_of, likeness_told, told):
    rng = np.random.default_rng(2)
    cells, fields = smooth_map(160, rng), [smooth_field(53, rng) for _ in range(21)]
    verdict = _verdict(judge(cells, list(maps_of(fields, rng))))
    assert _likeness(verdict) == likeness_told
    assert re.search(told, verdict)


def test_a_perfect_model_of_many_facies_looks_like_the_image(judge):
    """The worst of eight facies is farther off than a single one, and the image is one draw of what it stands for."""
    rng = np.random.default_rng(0)
    cells = smooth_map_of_many(160, rng)
    found = judge(cells, [smooth_map_of_many(53, rng) for _ in range(20)])
    assert _likeness(_verdict(found)) == "look like the image"


def test_what_is_found_of_realizations_and_of_the_image_is_not_mixed_up(judge):
    """Maps that are the same one, of an image that lacks a quarter and has a single cell of its third facies."""
    rng = np.random.default_rng(2)
    cells = np.where(smooth_field(160, rng) > 0, 1, 0).astype(np.int16)
    cells[20, 100], cells[:, :40] = 2, -1
    found = judge(cells, 4 * [np.minimum(smooth_map(32, rng), 1)])
    assert found.fidelity.agreement == pytest.approx(1)
    assert found.fidelity.within == pytest.approx(0, abs=1e-9)
    assert found.fidelity.bodies.tolist() == found.measured.n_bodies[0].tolist()
    assert summarise(found)["variety"] == pytest.approx(0, abs=1e-9)
    assert found.image_contacts[:2, 2].sum() > 0, "though no crop has it"
    assert found.reference.proportions[:, 2].max() == 0
    assert found.isolated_in_image == pytest.approx(1 / (160 * 120)), "of the cells that are known"
    assert 120 * 160 / 32**2 <= found.crops_in_image < 120 * 160 / 32**2 / 0.8


def test_few_maps_do_not_tell_whether_they_differ(judge):
    rng = np.random.default_rng(2)
    found = judge(smooth_map(160, rng), 4 * [smooth_map(53, rng)])
    assert "realizations are too few to tell whether they differ from one another" in _verdict(found)


def test_shares_that_the_image_may_miss_itself_are_told_but_are_no_fault(judge):
    """The image is one draw of what it stands for: the smaller it is, the less it tells."""
    rng = np.random.default_rng(5)
    cells = smooth_map(160, rng)
    found = judge(cells, [cut(smooth_field(53, rng), 0.3) for _ in range(20)])
    for crops_in_image, likeness_told in [(2.0, "look like the image"), (50.0, "resemble the image")]:
        verdict = _verdict(replace(found, crops_in_image=crops_in_image))
        assert _likeness(verdict) == likeness_told
        assert re.search(r"Shares of facies differ .* that of f0: 2\d\.\d % instead of 3\d\.\d %", verdict)


def test_a_perfect_model_is_not_worse_for_more_realizations(model, monkeypatch):
    """Many crops of an image are as alike as the image is to itself, whatever it stands for: its halves are not."""
    rng = np.random.default_rng(4)
    image = TrainingImage(smooth_map(160, rng), FACIES)
    maps = np.stack([smooth_map(53, rng) for _ in range(100)]).astype(np.uint8)
    monkeypatch.setattr(likeness, "simulate_freely", lambda *_, **__: maps)
    found = evaluate_model(model, image, shape=(53, 53), n_realizations=100)
    assert found.among_crops.pattern_divergence[1] < found.fidelity.pattern_divergence[1] / 10
    assert _likeness(describe_verdict(found, summarise(found), FACIES.names)) == "look like the image"
    assert found.hidden.is_held_out, "a model that noted nothing is believed"


def test_an_image_is_half_as_far_from_what_it_stands_for_as_its_halves_are_from_each_other(model, image):
    found = evaluate_model(model, image, shape=(32, 32), n_realizations=2)
    crops, halves = found.among_crops, found.among_halves
    farther = replace(
        found,
        among_halves=replace(
            halves,
            pattern_divergence={step: 20 * bits for step, bits in crops.pattern_divergence.items()},
            variogram_difference=10 * crops.variogram_difference,
            connectivity_misfit=10 * crops.connectivity_misfit,
        ),
    ).by_chance
    expected = {step: 5 * bits for step, bits in crops.pattern_divergence.items()}
    assert farther.pattern_divergence == pytest.approx(expected)
    assert farther.variogram_difference == pytest.approx(5 * crops.variogram_difference)
    assert farther.connectivity_misfit == pytest.approx(5 * crops.connectivity_misfit)


def test_pieces_of_a_flat_image_are_long(model):
    assert piece_shape((100, 2000), 250) == (33, 250)
    assert piece_shape((2000, 100), 20) == (20, 20)
    assert piece_shape((64, 300), 250) == (MIN_EVALUATED_SIDE, 100)
    row, col = np.mgrid[:99, :300]
    image = TrainingImage((row // 5 + col // 60) % 3, FACIES)
    found = evaluate_model(model, image, shape=(33, 100), n_realizations=2)
    assert found.realizations.shape == found.crops.shape == (2, 33, 100)
    assert found.among_halves is not None
    assert found.measured.lags[-1] == 48, "up to half of the longer axis"
    assert np.isfinite(found.measured.variogram[:, 1]).all()
    assert _verdict(found).startswith("Realizations of 33 x 100 cells")


def test_narrow_images_have_no_halves_to_compare(model, image):
    found = evaluate_model(model, image, shape=(60, 60), n_realizations=2)
    assert found.among_halves is not None, "one way to halve it is left"
    narrow = TrainingImage(image.class_index[:70, :110], FACIES)
    found = evaluate_model(model, narrow, shape=(60, 60), n_realizations=2)
    assert found.among_halves is None
    assert found.by_chance is found.among_crops


def test_hidden_cells_that_training_may_have_seen_are_told(model, image):
    noted = {"n_rows": 100, "n_cols": 120, "proportions": [round(float(p), 5) for p in image.proportions]}
    for changed, is_held_out in [
        ({}, True),
        ({"held_out_corner": "lower right"}, True),
        ({"held_out_corner": "upper left"}, False),
        ({"n_rows": 200}, False),
        ({"proportions": [0.2, 0.3, 0.5]}, False),
    ]:
        found = evaluate_model(
            replace(model, provenance={"image": {**noted, **changed}}), image, shape=(33, 33), n_realizations=2
        )
        assert found.hidden.is_held_out == is_held_out
        verdict = describe_verdict(found, summarise(found), FACIES.names)
        assert ("These may be cells that it learnt" in verdict) != is_held_out


def test_nodata_in_all_patterns_leaves_patterns_out(model, image):
    row, col = np.mgrid[:100, :120]
    image = TrainingImage(np.where((row + col) % 2, -1, image.class_index), FACIES)
    found = evaluate_model(model, image, shape=(33, 33), n_realizations=2)
    scores = summarise(found)
    assert np.isnan(scores["pattern_divergence"])
    assert re.match(
        r"Realizations of \d+ x \d+ cells do not look like the image\. ", describe_verdict(found, scores, FACIES.names)
    )


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.8, 0.95, r"log loss is 12 % below that of the better kriging \(95 % interval 5 % to 20 %\)"),
        (1.05, 1.2, r"log loss is 12 % above that of the better kriging \(95 % interval 5 % to 20 %\)"),
        (0.9, 1.1, r"not shown to be better or worse than kriging: log loss \+0 % \(95 % interval -10 % to \+10 %\)"),
        (math.nan, math.nan, r"not shown to be better or worse than kriging: log loss \+0 %\."),
    ],
)
def test_hidden_cells_claim_no_more_than_their_interval(model, image, low, high, told):
    found = evaluate_model(model, image, shape=(33, 33), n_realizations=2)
    ratio = {0.8: 0.88, 1.05: 1.12}.get(low, 1.0)
    scores = {**summarise(found), "log_loss_ratio": ratio, "log_loss_ratio_low": low, "log_loss_ratio_high": high}
    assert re.search(told, describe_verdict(found, scores, FACIES.names))


def test_targets_in_a_corner_have_no_interval(model, image):
    cells = image.class_index.copy()
    cells[75:, 90:][:, 14:] = -1  # of the held-out block half is known
    scores = summarise(evaluate_model(model, TrainingImage(cells, FACIES), shape=(33, 33), n_realizations=2))
    assert scores["log_loss_ratio"] > 0
    assert np.isnan(scores["log_loss_ratio_low"])


def test_surveys_of_one_place_tell_no_more_than_one_of_them(model, image, monkeypatch):
    monkeypatch.setattr(hidden_cells, "N_SURVEYS", 1)
    found = evaluate_model(model, image, shape=(33, 33), n_realizations=2)
    once = summarise(found)
    repeated = {name: 20 * scores for name, scores in found.hidden.scores.items()}
    often = summarise(
        replace(found, hidden=replace(found.hidden, scores=repeated, tiles=np.tile(found.hidden.tiles, 20)))
    )
    assert once["log_loss_ratio_low"] < once["log_loss_ratio"] - 0.01
    for name in ("log_loss_ratio", "log_loss_ratio_low", "log_loss_ratio_high"):
        assert often[name] == pytest.approx(once[name])


def test_surveys_that_differ_more_than_tiles_widen_the_interval(model, image, monkeypatch):
    monkeypatch.setattr(hidden_cells, "N_SURVEYS", 1)
    found = evaluate_model(model, image, shape=(33, 33), n_realizations=2)
    of_one, tiles = found.hidden.scores, found.hidden.tiles
    ours, theirs = (replace(of_one["model"][0], loss=np.full(tiles.size, loss)) for loss in (2.0, 1.0))
    # At all targets of one of the two surveys twice the loss.
    scores = {**{name: 2 * [theirs] for name in of_one}, "model": [ours, theirs]}
    apart = summarise(replace(found, hidden=replace(found.hidden, scores=scores, tiles=np.tile(tiles, 2))))
    assert apart["log_loss_ratio"] == pytest.approx(1.5)
    assert (apart["log_loss"], apart["log_loss_kriging"]) == pytest.approx((1.5, 1.0))
    assert apart["log_loss_ratio_low"] < 0 < 3 < apart["log_loss_ratio_high"]


def test_the_largest_miscalibration_is_that_of_bins_that_hold_enough(model, image, monkeypatch):
    monkeypatch.setattr(hidden_cells, "N_SURVEYS", 1)
    found = evaluate_model(model, image, shape=(33, 33), n_realizations=2)
    predicted, observed = np.array([0.1, 0.5, 0.9, np.nan]), np.array([0.2, 0.45, 0.1, np.nan])
    for numbers, largest in (([200, 900, 199, 0], 0.1), ([200, 900, 200, 0], 0.8), ([199, 200, 9, 0], 0.05)):
        bins = replace(found.hidden.reliability, predicted=predicted, observed=observed, number=np.array(numbers))
        scores = summarise(replace(found, hidden=replace(found.hidden, reliability=bins)))
        assert scores["largest_miscalibration"] == pytest.approx(largest)
    few = replace(bins, number=np.array([1, 1, 1, 0]))
    assert math.isnan(
        summarise(replace(found, hidden=replace(found.hidden, reliability=few)))["largest_miscalibration"]
    )


@pytest.mark.parametrize(("side", "n_tiles"), [(62, 4), (380, 16)])
def test_targets_of_all_surveys_fall_into_tiles_of_their_block(side, n_tiles):
    block = np.random.default_rng(0).integers(0, 3, (side, side + 5))
    surveys = draw_surveys_of(block, 3, 40, np.random.default_rng(1))
    for survey in surveys:
        assert (block[tuple((survey.targets + survey.corner).astype(int).T)] == survey.truth).all()
    tiles = tiles_of(surveys, block.shape)
    assert np.unique(tiles).tolist() == list(range(n_tiles))
    assert len(tiles) == sum(len(survey.truth) for survey in surveys)


def test_an_image_whose_corners_hold_one_facies(model, image):
    cells = image.class_index.copy()
    cells[np.ix_([*range(25), *range(75, 100)], [*range(30), *range(90, 120)])] = 1
    image = TrainingImage(cells, FACIES)
    found = evaluate_model(model, image, shape=(33, 33), n_realizations=2)
    scores = summarise(found)
    assert found.hidden is None
    assert all(np.isnan(scores[name]) for name in scores if name.startswith("log_loss"))
    verdict = describe_verdict(found, scores, FACIES.names)
    assert re.search("resemble|look like", verdict), "what it draws is judged all the same"
    assert verdict.endswith("where they would be, the image has one facies only.")
    job = EvaluationJob("", "image.npy", FACIES, "model")
    text = evaluation_page(job, found, verdict, "tiny")
    assert "there is nothing to predict" in text
    drawn = [svg for svg in re.findall("<svg.*?</svg>", text, re.DOTALL) if "connected (share)" in svg]
    upright = [[float(tick) for tick in re.findall('text-anchor="end">([^<]+)<', svg)] for svg in drawn]
    assert upright, "variograms and connectivity are drawn"
    assert all(min(ticks) == 0 and max(ticks) == 1 for ticks in upright), "a share is drawn as one"


def test_the_page_holds_pictures_and_the_verdict(model, image, tmp_path):
    path = tmp_path / "tiny.safetensors"
    model.save(path)
    np.save(tmp_path / "image.npy", image.class_index)
    job = EvaluationJob(
        str(tmp_path), str(tmp_path / "image.npy"), FACIES, str(path), side=250, n_realizations=3, subject="<stripes>"
    )
    assert EvaluationJob.from_dict(job.to_dict()) == job
    told = []
    result = run_evaluation(job, lambda fraction, text: told.append(fraction))
    assert told == sorted(told)
    text = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert result.verdict in text.replace("&#x27;", "'")
    assert text.count("data:image/png;base64,") == 6 + 4, "maps, and a window with its data"
    assert "&lt;stripes&gt;" in text
    assert "3 realizations of 33 x 40 cells without data" in text, "a third of the image, along each axis"
    assert "Agreement of two maps beyond chance" in text
    assert "Boundaries between facies" in text
    assert not re.search(r"https?://(?!www\.w3\.org/(2000/svg|1999/xlink))", text), "it needs no other file"
    assert set(result.scores) >= {"pattern_divergence", "log_loss", "log_loss_kriging", "variety"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"quality": "fine"}, JobError, r"The model tiny has no schedule for the quality 'fine'; it has standard"),
        ({"facies": FaciesTable(FACIES.facies[:2])}, FaciesError, r"trained on the facies codes \[5, 7, 9\]"),
    ],
    ids=["quality", "facies"],
)
def test_jobs_that_do_not_fit(model, image, tmp_path, change, error, message):
    model.save(tmp_path / "tiny.safetensors")
    np.save(tmp_path / "image.npy", image.class_index)
    parts = {"side": 33, "n_realizations": 2, "facies": FACIES, **change}
    job = EvaluationJob(
        image_path=str(tmp_path / "image.npy"),
        model_path=str(tmp_path / "tiny.safetensors"),
        work_folder=str(tmp_path),
        **parts,
    )
    with pytest.raises(error, match=message):
        run_evaluation(job, lambda fraction, text: None)
    assert not (tmp_path / "evaluation.html").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 8}, "Realizations of 8 x 8 cells"),
        ({"n_realizations": 1}, "1 realizations are asked for"),
        ({"quality": "best"}, "The quality 'best' is unknown"),
        ({"seed": -1}, "The seed is -1"),
    ],
)
def test_jobs_that_cannot_be(change, message):
    with pytest.raises(JobError, match=message):
        EvaluationJob("work", "image.npy", FACIES, "model", **change)
