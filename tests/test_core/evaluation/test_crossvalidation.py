"""Cross-validation: nothing hidden is seen, every method answers the same questions, and the page says what came."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oadg.core.contract.errors import Cancelled, FaciesError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.folds import folds_by_location
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import MODEL, NEAREST
from oadg.core.contract.validation_job import CrossValidationJob
from oadg.core.evaluation.comparison import Comparison
from oadg.core.evaluation.crossvalidation import predict_hidden, run_cross_validation
from oadg.core.evaluation.validation_page import hidden_distance, map_distance, validation_page
from oadg.core.kriging.yardsticks import YARDSTICKS
from oadg.core.measures.scores import accuracy
from oadg.core.model.facies_model import FaciesModel

EVIL = "<b>sand</b> & gravel"
FACIES = FaciesTable((Facies(3, EVIL, "#e69f00"), Facies(-1, "clay", "#56b4e9"), Facies(7, "silt", "#009e73")))
GRID = Grid(west=0.0, north=200.0, cell_size=10.0, n_rows=20, n_cols=30)


@pytest.fixture
def job(tmp_path):
    """Sixty observations of three facies in bands; two of them share the first one's cell, one with another facies."""
    rng = np.random.default_rng(0)
    easting, northing = rng.uniform(1, 299, 60), rng.uniform(1, 199, 60)
    easting[-2:], northing[-2:] = 10 * (easting[0] // 10) + [2, 7], 10 * (northing[0] // 10) + 5
    class_index = (easting // 50).astype(int) % 3
    class_index[-1] = (class_index[0] + 1) % 3
    return CrossValidationJob(
        grid=GRID,
        facies=FACIES,
        easting=tuple(easting.tolist()),
        northing=tuple(northing.tolist()),
        class_index=tuple(class_index.tolist()),
        fold=tuple(folds_by_location(easting, northing, GRID, 5).tolist()),
        model_path="",
        work_folder=str(tmp_path),
        subject="wells, facies",
        unit="meters",
        device="cpu",
    )


@pytest.fixture
def real_job(job, tiny_network, tmp_path):
    FaciesModel("tiny", tiny_network).save(tmp_path / "tiny.safetensors")
    return replace(job, model_path=str(tmp_path / "tiny.safetensors"))


def certain(known):
    """Return probabilities that are certain of what is known, and even elsewhere."""
    return np.where(known < 0, 1 / 3, known == np.arange(3)[:, None, None])


def test_the_model_never_sees_what_is_hidden_and_all_that_is_not(job):
    asked = []
    probabilities = predict_hidden(job, lambda known: asked.append(known) or certain(known))
    assert probabilities[MODEL] == pytest.approx(np.full((3, 60), 1 / 3))
    assert len(asked) == job.n_folds
    row, col, _ = GRID.cell_of(*job.places.T)
    for number, known in enumerate(asked):
        hidden = np.array(job.fold) == number
        assert (known[row[hidden], col[hidden]] == -1).all()
        assert (known[row[~hidden], col[~hidden]] >= 0).all()
        assert (known >= 0).sum() == len(set(zip(row[~hidden], col[~hidden])))


def test_the_yardsticks_predict_the_same_observations_from_the_same_others(job):
    probabilities = predict_hidden(job, certain)
    assert list(probabilities) == [MODEL, *YARDSTICKS]
    hidden, class_index = np.array(job.fold) == 3, np.array(job.class_index)
    for name, yardstick in YARDSTICKS.items():
        alone = yardstick(job.places[~hidden], class_index[~hidden], job.places[hidden], 3)
        assert probabilities[name][:, hidden] == pytest.approx(alone)


def test_the_engines_run_leaves_numbers_that_belong_together(real_job):
    told = []
    result = run_cross_validation(real_job, lambda fraction, text: told.append(fraction))
    probability, log_loss = np.load(result.probability_path), np.load(result.log_loss_path)
    assert probability.shape == (3, 60)
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert log_loss.mean() == pytest.approx(result.scores[MODEL]["log_loss"], abs=1e-5)
    right = accuracy(probability, np.array(real_job.class_index))
    assert right == pytest.approx(result.scores[MODEL]["accuracy"], abs=0.02), "ties may be broken where it is stored"
    loss, of_kriging = (result.scores[name]["log_loss"] for name in (MODEL, result.better_kriging))
    assert result.gain == pytest.approx(100 * (of_kriging - loss) / of_kriging)
    assert result.gain_low < result.gain < result.gain_high
    assert result.verdict in Path(result.page_path).read_text(encoding="utf-8").replace("&#x27;", "'")
    assert (told[0], told[-1]) == (0, 1)
    assert told == sorted(told)
    assert result.model_id.startswith("tiny")


def test_each_pass_is_a_chance_to_cancel(real_job):
    def cancel(fraction, text):
        if text == "Fold 3 of 5":
            raise Cancelled("The run was cancelled.")

    with pytest.raises(Cancelled):
        run_cross_validation(real_job, cancel)
    assert not list(Path(real_job.work_folder).glob("*.html"))


def test_more_facies_than_the_model_takes(job, tiny_network, tmp_path):
    FaciesModel("tiny", tiny_network, max_facies=2).save(tmp_path / "tiny.safetensors")
    small = replace(job, model_path=str(tmp_path / "tiny.safetensors"))
    with pytest.raises(
        FaciesError, match="model tiny takes up to 2 facies; the observations hold 3. Group rare facies"
    ):
        run_cross_validation(small, lambda fraction, text: None)


@pytest.fixture
def page(job):
    comparison = Comparison(predict_hidden(job, certain), np.array(job.class_index), np.array(job.fold))
    return validation_page(job, comparison, "tiny-123")


def test_the_page_says_the_verdict_first_and_names_what_was_tested(page):
    assert page.index("<h1>Is this map better than simpler ones? wells, facies</h1>") < page.index("Here the model is")
    assert page.index("Here the model is") < page.index("<h2>")
    assert "60 observations of 3 facies were divided into 5 regions" in page
    assert "tiny-123, cells of 10 meters" in page
    for name in (MODEL, *YARDSTICKS):
        assert f'<th scope="row">{name}</th>' in page


def test_the_page_stands_alone_and_escapes_names(page):
    assert EVIL not in page
    assert "&lt;b&gt;sand&lt;/b&gt; &amp; gravel" in page
    assert not re.search(r"<script|<link|<img|(src|href)=", page)
    assert "nan" not in page


def test_the_page_draws_every_observation_and_counts_each_once(page, job):
    assert page.count("<title>observed ") == 2 * 60  # a map of what was observed, and one of the errors
    assert page.count("<title>fold ") == 60
    counts = re.search(r"found \\ predicted.*?</table>", page, re.DOTALL).group()
    totals = re.findall(r'<td class="number">(\d+)</td></tr>', counts)
    assert [int(n) for n in totals] == np.bincount(job.class_index).tolist()


def test_the_page_warns_of_what_the_folds_cannot_tell(job):
    """The third facies is seen in the first fold alone."""
    class_index = np.arange(60) % 2
    class_index[np.array(job.fold) == 0] = 2
    odd = replace(job, class_index=tuple(class_index.tolist()))
    comparison = Comparison(predict_hidden(odd, certain), class_index, np.array(job.fold))
    html = validation_page(odd, comparison, "tiny-123")
    assert "What to be careful about" in html
    assert "observed in one fold only: silt" in html


def test_a_careful_word_is_not_wasted(page):
    assert "What to be careful about" not in page


def test_distances_by_hand(job):
    """Four corners of a square of side 100, two folds: a hidden one lies 100 from the other side."""
    square = replace(
        job, easting=(50.0, 50.0, 150.0, 150.0), northing=(50.0, 150.0, 50.0, 150.0), class_index=(0, 1, 0, 1),
        fold=(0, 0, 1, 1),
    )  # fmt: skip
    assert hidden_distance(square) == 100
    middle = np.abs(np.linspace(0, 100, 1001) - 100 * (np.linspace(0, 100, 1001) > 50))
    expected = np.median(np.hypot(middle[:, None], middle[None, :]))
    assert map_distance(square) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("n_together", "n_folds", "words"),
    [
        (1, 2, "should be better than these figures; more folds are smaller"),
        (1, 6, r"about as hard as what the map has to do\."),
        (
            15,
            2,
            r"has to reach \d+\.\d times as far, and is worse there than these figures say; fewer folds are larger",
        ),
    ],
)
def test_the_page_tells_whether_the_map_is_easier_than_the_folds(job, n_together, n_folds, words):
    """Sixty places alone, or in clusters of so many; folds take turns, so that every cluster has each of them."""
    rng = np.random.default_rng(0)
    centre = rng.uniform(5, 195, (60 // n_together, 2)).repeat(n_together, axis=0)
    easting, northing = (centre + rng.uniform(-4, 4, (60, 2))).T
    grid = Grid(west=0.0, north=200.0, cell_size=0.2, n_rows=1000, n_cols=1000)
    fold = np.arange(60) % n_folds
    survey = replace(job, grid=grid, easting=tuple(easting), northing=tuple(northing), fold=tuple(fold.tolist()))
    comparison = Comparison(predict_hidden(survey, certain), np.array(job.class_index), fold)
    assert re.search(words, validation_page(survey, comparison, "tiny-123"))


def test_nearest_is_a_yardstick():
    assert NEAREST in YARDSTICKS
