"""The model beside SIS: equal when they are one, blind to what is hidden, and a page that says what came of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oadg.core.contract.errors import Cancelled, ConditioningError, JobError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.folds import folds_by_location
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import MODEL
from oadg.core.contract.side_by_side_job import (
    COUNTED_MODEL,
    COUNTED_SIS,
    KRIGING_OF_SIS,
    METHODS,
    PROPORTIONS,
    REFERENCE,
    SIS,
    SimulationComparisonJob,
    SimulationComparisonResult,
)
from oadg.core.evaluation import side_by_side
from oadg.core.evaluation.side_by_side import SideBySide, Simulated, compare_simulations, simulators
from oadg.core.evaluation.side_by_side_page import side_by_side_page
from oadg.core.evaluation.side_by_side_run import run_simulation_comparison
from oadg.core.model.facies_model import FaciesModel

EVIL = "<b>sand</b> & gravel"
FACIES = FaciesTable((Facies(3, EVIL, "#e69f00"), Facies(-1, "clay", "#56b4e9"), Facies(7, "silt", "#009e73")))
GRID = Grid(west=0.0, north=160.0, cell_size=10.0, n_rows=16, n_cols=24)


def bands():
    """Return the class index of every cell: bands from north to south."""
    return np.tile(np.arange(24) // 4 % 3, (16, 1))


@pytest.fixture
def job(tmp_path):
    """Forty-one observations of three bands; two of them share a cell, with different facies."""
    cells = np.random.default_rng(0).choice(16 * 24, 40, replace=False)
    easting, northing = GRID.centre_of(*np.divmod(cells, 24))
    class_index = bands().ravel()[cells]
    easting, northing = np.append(easting, easting[0] + 1), np.append(northing, northing[0])
    class_index = np.append(class_index, (class_index[0] + 1) % 3)
    return SimulationComparisonJob(
        grid=GRID,
        facies=FACIES,
        easting=tuple(easting.tolist()),
        northing=tuple(northing.tolist()),
        class_index=tuple(class_index.tolist()),
        fold=tuple(folds_by_location(easting, northing, GRID, 4).tolist()),
        model_path="",
        work_folder=str(tmp_path),
        subject="wells, facies",
        unit="meters",
        device="cpu",
        n_realizations=3,
    )


@pytest.fixture
def real_job(job, tiny_network, tmp_path):
    FaciesModel("tiny", tiny_network).save(tmp_path / "tiny.safetensors")
    return replace(job, model_path=str(tmp_path / "tiny.safetensors"), quality="preview")


def with_reference(job, class_index):
    path = Path(job.work_folder) / "reference.npy"
    np.save(path, class_index.astype(np.int16))
    return replace(job, reference_path=str(path))


def with_mask(job, inside):
    path = Path(job.work_folder) / "mask.npy"
    np.save(path, inside)
    return replace(job, mask_path=str(path))


def truth_teller(asked):
    """Return a method that knows the bands, and notes what it was asked."""

    def simulate(known, progress):
        asked.append(known)
        progress(0.5, "telling the truth")
        maps = np.repeat(np.where(known < 0, bands(), known)[None], 3, axis=0).astype(np.int16)
        return Simulated((maps[0] == np.arange(3)[:, None, None]).astype(float), maps, 1.5)

    return simulate


def test_sis_beside_itself_is_equal_in_everything(job):
    own = simulators(job)[SIS]
    found = compare_simulations(job, {MODEL: own, SIS: own})
    for ours, theirs in ((MODEL, KRIGING_OF_SIS), (COUNTED_MODEL, COUNTED_SIS)):
        assert found.hidden.scores[ours] == found.hidden.scores[theirs]
        assert (found.gains[ours].mean, found.gains[ours].low, found.gains[ours].high) == (0, 0, 0)
    timeless = [
        {**found.numbers[name], "seconds": 0, "reference_misfit": 0, "connectivity_misfit": 0} for name in (MODEL, SIS)
    ]
    assert timeless[0] == timeless[1]
    assert found.findings[0].startswith("At hidden observations neither the model nor SIS is shown to be better")


def test_both_methods_are_asked_for_what_the_job_says(job, monkeypatch, tmp_path):
    asked = []

    def run(request, progress):
        asked.append(request)
        np.save(tmp_path / "maps.npy", np.zeros((5, *GRID.shape), dtype=np.uint8))
        return SimpleNamespace(
            realizations_path=tmp_path / "maps.npy",
            probability_path=tmp_path / "maps.npy",
            seconds=1.0,
            device="cpu",
            model_id="m",
        )

    for name in ("run_simulation", "run_indicator_simulation"):
        monkeypatch.setattr(side_by_side, name, run)
    job = replace(job, model_path="m.safetensors", quality="preview", seed=7, n_realizations=5)
    job = with_mask(job, np.ones(GRID.shape, dtype=bool))
    known = np.full(GRID.shape, -1)
    known[2, 5], known[3, 4] = 1, 2
    for simulate in simulators(job).values():
        simulate(known, lambda fraction, text: None)
    for request in asked:
        for what in ("grid", "facies", "mask_path", "n_realizations", "seed", "work_folder"):
            assert getattr(request, what) == getattr(job, what)
        assert (request.row, request.col, request.class_index) == ((2, 3), (5, 4), (1, 2))
    of_model, _ = asked
    assert (of_model.model_path, of_model.quality, of_model.device) == (job.model_path, "preview", "cpu")


def test_the_seed_decides_which_pieces_of_a_reference_are_compared(job):
    job = with_reference(job, np.random.default_rng(0).integers(0, 3, (40, 50)))
    first, again, others = (
        compare_simulations(replace(job, seed=seed), {n: truth_teller([]) for n in (MODEL, SIS)}).crops
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != others).any()


def test_both_miss_what_is_hidden_and_see_all_that_is_not(job):
    asked = {MODEL: [], SIS: []}
    found = compare_simulations(job, {name: truth_teller(of_method) for name, of_method in asked.items()})
    row, col, _ = GRID.cell_of(*job.places.T)
    for of_model, of_sis in zip(asked[MODEL], asked[SIS]):
        assert (of_model == of_sis).all()
    for number, known in enumerate(asked[MODEL][:-1]):
        hidden = np.array(job.fold) == number
        assert (known[row[hidden], col[hidden]] == -1).all()
        assert (known[row[~hidden], col[~hidden]] >= 0).all()
        assert (known >= 0).sum() == len(set(zip(row[~hidden], col[~hidden])))
    assert (asked[MODEL][-1] == found.known).all()
    assert len(asked[MODEL]) == job.n_folds + 1
    assert (found.known >= 0).sum() == 40, "two observations share a cell"


def test_scores_of_who_knows_the_truth(job):
    """Of 41 observations it misses the one that another outvoted in its cell."""
    found = compare_simulations(job, {MODEL: truth_teller([]), SIS: simulators(job)[SIS]})
    for name in (MODEL, COUNTED_MODEL):
        assert found.hidden.scores[name]["accuracy"] == pytest.approx(40 / 41)
        assert found.hidden.scores[name]["brier"] == pytest.approx(2 / 41)
    assert found.hidden.scores[MODEL]["log_loss"] < found.hidden.scores[KRIGING_OF_SIS]["log_loss"]
    assert found.numbers[MODEL]["bodies"] == 6
    assert found.numbers[MODEL]["seconds"] == 1.5
    assert found.n_honoured(MODEL) == found.n_honoured(SIS) == 40


def sayer(probability, realizations):
    """Return a method whose probabilities and maps have nothing to do with each other, nor with what it is shown."""
    maps = np.stack(realizations).astype(np.int16)
    return lambda known, progress: Simulated(probability, maps, 1.0)


def test_probabilities_and_maps_are_judged_apart_and_each_with_its_own_gain(job):
    """The one knows much, and draws each facies as often as any; the other draws the truth mostly and knows nothing."""
    true, nothing = (bands() == np.arange(3)[:, None, None]).astype(float), np.full((3, *GRID.shape), 1 / 3)
    in_turn = [(bands() + k) % 3 for k in range(3)]
    knows, draws = sayer(0.1 + 0.7 * true, in_turn), sayer(nothing, [*in_turn[:1] * 4, in_turn[1]])
    for ours, theirs, n_maps, is_better in ((knows, draws, 3, True), (draws, knows, 5, False)):
        found = compare_simulations(job, {MODEL: ours, SIS: theirs})
        losses = [found.hidden.scores[name]["log_loss"] for name in (MODEL, KRIGING_OF_SIS, COUNTED_MODEL, COUNTED_SIS)]
        assert (losses[1:3] if is_better else losses[::3]) == pytest.approx([np.log(3)] * 2)
        first, second = (found.gains[name] for name in (MODEL, COUNTED_MODEL))
        assert (first.mean > 0) == (second.mean < 0) == is_better
        words, others = ("better", "lower"), ("worse", "higher")
        for finding, start, gain, (verdict, side) in (
            (found.findings[0], "At hidden observations the model is", first, words if is_better else others),
            (
                found.findings[1],
                f"The {n_maps} maps of the model, counted, are",
                second,
                others if is_better else words,
            ),
        ):
            assert finding.startswith(f"{start} {verdict} than")
            assert f"{abs(gain.mean):.1f} % {side}" in finding
            assert f"gain: {gain.low:+.1f} to {gain.high:+.1f} %" in finding


def test_what_knows_no_places_says_what_the_visible_observations_have_of_each_facies(job):
    found = compare_simulations(job, {MODEL: truth_teller([]), SIS: truth_teller([])})
    fold, class_index = np.array(job.fold), np.array(job.class_index)
    shares = [np.bincount(class_index[fold != k], minlength=3) / (fold != k).sum() for k in fold]
    assert found.hidden.probabilities[PROPORTIONS].T == pytest.approx(np.array(shares))


def test_what_is_no_better_than_what_knows_no_places_is_told_so(job):
    true, in_turn = (bands() == np.arange(3)[:, None, None]).astype(float), [(bands() + k) % 3 for k in range(3)]
    knows, errs = (sayer(0.1 + 0.7 * said, in_turn) for said in (true, np.roll(true, 1, axis=0)))
    for ours, theirs, is_told in ((errs, errs, True), (knows, errs, False), (errs, knows, False)):
        told = compare_simulations(job, {MODEL: ours, SIS: theirs}).findings[1]
        assert told.startswith("Neither is shown to be better than the facies' shares") == is_told


def test_each_map_and_number_is_told_of_its_own_method(job):
    """Maps of a facies alone beside the truth; variograms and pairs are those of the observations and the reference."""
    found = compare_simulations(
        with_reference(job, bands()),
        {MODEL: truth_teller([]), SIS: sayer(np.full((3, *GRID.shape), 1 / 3), np.zeros((2, *GRID.shape)))},
    )
    of_model, of_sis = found.numbers[MODEL], found.numbers[SIS]
    share = (found.known[found.known >= 0] == 0).mean()
    assert of_sis["share_difference"] == pytest.approx(1 - share)
    assert of_sis["variogram_misfit"] > 0.9 > 0.3 > of_model["variogram_misfit"]
    assert (
        "A map of the model has 6 bodies (patches of one facies) on average, one of SIS 1, one of the reference 6."
        in (found.findings)
    )
    ours, theirs, own = (100 * found.numbers[name]["variogram_misfit"] for name in (MODEL, SIS, REFERENCE))
    told = (
        f"{ours:.0f} % of the sill for the model's maps, {theirs:.0f} % for those of SIS ({own:.0f} % for the reference"
    )
    assert f"Variograms are off those of the observations by {told}" in found.verdict


def test_of_a_reference_that_tells_nothing_nothing_is_told(job):
    """Where one of the two has no number, as where too little of a reference is known."""
    found = compare_simulations(with_reference(job, bands()), {n: truth_teller([]) for n in (MODEL, SIS)})
    words = "how often two cells of a facies lie in one body is off by"
    assert words in found.verdict
    found.numbers[SIS]["connectivity_misfit"] = float("nan")
    assert words not in found.verdict
    assert "variograms are off by 0 % of the sill for the model's maps, 0 % for those of SIS" in found.verdict


def test_a_reference_is_what_it_is_like(job):
    """The truth itself as reference: who knows the truth is no way from it."""
    found = compare_simulations(
        with_reference(job, bands()), {MODEL: truth_teller([]), SIS: simulators(job)[SIS]}
    ).numbers
    assert found[MODEL]["reference_misfit"] == pytest.approx(0, abs=0.01)
    assert found[MODEL]["connectivity_misfit"] == 0
    assert found[SIS]["reference_misfit"] > 0.02
    assert found[SIS]["connectivity_misfit"] > 0.02
    assert found[REFERENCE]["reference_misfit"] == 0
    assert found[REFERENCE]["bodies"] == 6
    assert np.isnan(found[REFERENCE]["seconds"])


def test_the_mask_holds_for_realizations_and_reference_alike(job):
    inside = np.ones(GRID.shape, dtype=bool)
    row, col, _ = GRID.cell_of(*job.places.T)
    inside[:, :3] = False
    keep = inside[row, col]
    fold = np.unique(np.array(job.fold)[keep], return_inverse=True)[1]
    kept = {name: tuple(np.array(getattr(job, name))[keep].tolist()) for name in ("easting", "northing", "class_index")}
    some = replace(with_mask(job, inside), **kept, fold=tuple(fold.tolist()))
    found = compare_simulations(with_reference(some, bands()), {n: simulators(some)[SIS] for n in (MODEL, SIS)})
    for maps in (found.crops, found.maps[SIS].realizations):
        assert (maps[:, ~inside] == -1).all()
        assert (maps[:, inside] >= 0).all()
    with pytest.raises(JobError, match="observations lie where the mask simulates nothing.*larger mask"):
        compare_simulations(with_mask(job, inside))


def test_realizations_that_miss_an_observation_are_told_of(job):
    def careless(known, progress):
        maps = np.zeros((3, *GRID.shape), dtype=np.int16)
        return Simulated(np.full((3, *GRID.shape), 1 / 3), maps, 1.0)

    found = compare_simulations(job, {MODEL: careless, SIS: simulators(job)[SIS]})
    missed = int((found.known > 0).sum())
    assert found.n_honoured(MODEL) == 40 - missed
    assert f"Realizations of model miss {missed} of 40 observed cells!" in found.verdict


def test_a_cell_is_honoured_by_all_realizations_and_a_reference_counts_within_the_mask():
    maps = np.array([[[0, 1, 1]], [[0, 0, 1]]])
    crops = np.array([[[0, -1, -1]], [[0, 1, -1]]])
    nothing = dict.fromkeys(("hidden", "pairs", "lags", "measured", "beside"))
    found = SideBySide(
        known=np.array([[0, 1, -1]]),
        inside=np.array([[True, True, False]]),
        maps={MODEL: Simulated(np.zeros((2, 1, 3)), maps, 1.0)},
        crops=crops,
        **nothing,
    )
    assert found.n_honoured(MODEL) == 1, "the second one is missed once"
    assert found.known_share == 0.75
    assert replace(found, crops=None).known_share == 1


def test_the_engines_run_leaves_a_page_and_numbers_that_belong_together(real_job):
    told = []
    job = with_reference(real_job, np.tile(bands(), (2, 2)))
    result = run_simulation_comparison(job, lambda fraction, text: told.append(fraction))
    assert set(result.scores) == {*METHODS, PROPORTIONS}
    assert set(result.reproduction) == {MODEL, SIS, REFERENCE}
    loss, of_kriging = (result.scores[name]["log_loss"] for name in (MODEL, KRIGING_OF_SIS))
    gain = result.gains[MODEL]
    assert gain["mean"] == pytest.approx(100 * (of_kriging - loss) / of_kriging)
    assert gain["low"] < gain["mean"] < gain["high"]
    assert result.reproduction[REFERENCE]["seconds"] is None
    assert result.reproduction[REFERENCE]["reference_misfit"] == 0
    assert result.model_id.startswith("tiny")
    assert told[0] == 0
    assert told[-1] == 1
    assert told == sorted(told)
    assert SimulationComparisonResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    page = Path(result.page_path).read_text(encoding="utf-8")
    assert "tiny-" in page
    assert "quality preview" in page


def test_both_honour_all_and_the_same_job_gives_the_same(real_job):
    found, again = (compare_simulations(real_job) for _ in range(2))
    for name in (MODEL, SIS):
        assert found.n_honoured(name) == 40
        assert (found.maps[name].realizations == again.maps[name].realizations).all()
    assert found.hidden.scores == again.hidden.scores


def test_each_step_is_a_chance_to_cancel(real_job):
    def cancel(fraction, text):
        if text.startswith("Fold 3 of 4, SIS"):
            raise Cancelled("The run was cancelled.")

    with pytest.raises(Cancelled):
        run_simulation_comparison(real_job, cancel)
    assert not list(Path(real_job.work_folder).glob("*.html"))


@pytest.fixture
def page(job):
    job = with_reference(job, np.tile(bands(), (2, 2)))
    return side_by_side_page(job, compare_simulations(job, {MODEL: truth_teller([]), SIS: simulators(job)[SIS]}))


def test_the_page_answers_first_in_plain_words(page):
    title = "<h1>Model or SIS: which is better on these data, and how sure is that? wells, facies</h1>"
    assert page.index(title) < page.index("At hidden observations the model is better than SIS") < page.index("<h2>")
    assert "95 % interval of the gain" in page[: page.index("<h2>")]


def test_the_page_warns_of_counting_and_explains_its_rulers(page):
    assert "3 maps is a coarser answer than a probability, which costs either method log loss" in page
    assert "Kriging&#x27;s probabilities are what SIS draws from" in page
    for ruler in (
        "Log loss",
        "Brier score",
        "Accuracy",
        "Gain",
        "Variogram misfit",
        "Connected pairs",
        "Body",
        "Share",
    ):
        assert f"<p>{ruler}: " in page


def test_the_page_shows_maps_plots_and_numbers_of_both(page):
    assert page.count("<image xlink:href=") == 3 + 3 + 3
    assert page.count('stroke="#1f2933" stroke-width="0.7"') == 6 * 40, "observations on each realization"
    for name in ("clay", "silt"):
        for plot in ("variogram in all directions", "variogram north to south", "connectivity west to east"):
            assert f"{name}, {plot}" in page
        assert f'<th scope="row">share of {name}</th>' in page
        assert f'<th scope="row">bodies of {name}</th>' in page
    assert page.count("predicted probability") == 4
    assert '<th scope="row">the observations&#x27; shares</th>' in page
    assert re.search(r"SIS, simple kriging, .* \(ranges, if any, in meters\)", page)
    assert '<th scope="row">observed cells honoured</th><td>40</td><td>40</td><td></td><td>40</td>' in page


def test_the_page_stands_alone_and_escapes_names(page):
    assert EVIL not in page
    assert "&lt;b&gt;sand&lt;/b&gt; &amp; gravel" in page
    assert not re.search(r'<script|<link|<img|src=|href="(?!data:image/png;base64,)', page)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


def test_the_page_warns_of_a_reference_with_holes(job):
    holes = bands()
    holes[:, ::4] = -1
    holed = with_reference(job, holes)
    html = side_by_side_page(holed, compare_simulations(holed, {n: simulators(holed)[SIS] for n in (MODEL, SIS)}))
    assert "Of the reference 75 % of the cells are known" in html


@pytest.mark.parametrize("reference", ["the same cells", "pieces"])
def test_maps_count_only_where_the_reference_is_known(job, reference):
    """The truth with holes as reference: who knows it is no way from it, though its own maps are whole."""
    holes = np.where(np.arange(16)[:, None] % 8 < 4, bands(), -1)
    holed = with_reference(job, holes if reference == "the same cells" else np.tile(holes, (2, 1)))
    own = simulators(job)[SIS]
    found, whole = (compare_simulations(asked, {MODEL: truth_teller([]), SIS: own}) for asked in (holed, job))
    numbers = found.numbers
    assert numbers[MODEL]["bodies"] == numbers[REFERENCE]["bodies"] >= 12
    assert whole.numbers[MODEL]["bodies"] == 6
    assert numbers[MODEL]["connectivity"] == numbers[REFERENCE]["connectivity"]
    assert numbers[MODEL]["reference_misfit"] == pytest.approx(0, abs=0.01)
    assert numbers[MODEL]["connectivity_misfit"] == 0
    assert (found.beside[SIS].shares != found.measured[SIS].shares).any()
    for name in (MODEL, SIS):
        for what in ("variogram_misfit", "share_difference"):
            assert numbers[name][what] == whole.numbers[name][what], "these are not held against the reference"
    assert "Of the reference 50 % of the cells are known: bodies" in found.verdict
    assert "Of the reference" not in whole.verdict


def test_a_reference_that_is_hardly_known_is_refused_before_the_work(job):
    hardly, asked = np.where(np.random.default_rng(0).permutation(384).reshape(16, 24) < 3, bands(), -1), []
    with pytest.raises(
        ConditioningError,
        match=r"Where cells are simulated, 0\.78 % of the reference are known, the rest is nodata; below 10 % .*Use a",
    ):
        compare_simulations(with_reference(job, hardly), {n: truth_teller(asked) for n in (MODEL, SIS)})
    assert not asked


def test_references_that_do_not_fit(real_job):
    with pytest.raises(
        JobError, match="reference has 16 rows x 23 columns, the grid 16 x 24: pieces .*Use a larger reference"
    ):
        compare_simulations(with_reference(real_job, bands()[:, :-1]))
    with pytest.raises(JobError, match="reference has 15 rows x 24 columns, the grid 16 x 24"):
        compare_simulations(with_reference(real_job, bands()[:-1]))
    with pytest.raises(ConditioningError, match="0 % of the best known of .* pieces of the reference"):
        compare_simulations(
            with_reference(real_job, np.full((20, 30), -1)), {n: truth_teller([]) for n in (MODEL, SIS)}
        )


def test_a_job_survives_the_way_to_the_engine(job):
    assert SimulationComparisonJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    most = replace(job, n_realizations=200)
    assert SimulationComparisonJob.from_dict(most.to_dict()) == most


def test_where_memory_ends_fewer_realizations_help(job):
    assert "fewer realizations" in job.REMEDY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_realizations": 1}, "1 realizations are asked for; between 2 and 200 can be compared"),
        ({"n_realizations": 201}, "between 2 and 200"),
        ({"quality": "best"}, "The quality 'best' is unknown"),
        ({"seed": -1}, "The seed is -1"),
        ({"fold": (0,) * 41}, "at least two are needed"),
    ],
)
def test_jobs_that_cannot_be(job, changes, message):
    with pytest.raises(JobError, match=message):
        replace(job, **changes)
