"""Sequential indicator simulation: statistics of what it draws, exact data."""

import numpy as np
import pytest

from oadg.core.contract.errors import ConditioningError, JobError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.core.contract.indicator_job import IndicatorJob
from oadg.core.kriging import neighbourhood
from oadg.core.kriging.indicators import Covariance
from oadg.core.kriging.neighbourhood import Estimator
from oadg.core.sampling import indicator_simulation
from oadg.core.sampling.indicator_run import _describe, run_indicator_simulation
from oadg.core.sampling.indicator_simulation import simulate_indicators
from oadg.core.sampling.path import dispersed_rank

SPHERICAL = Covariance("spherical", 12.0, 0.1)
SHARES = np.array([0.5, 0.3, 0.2])


def data(shape, n_data, seed=0):
    """Return hard data (class index, -1 elsewhere) at random cells."""
    rng = np.random.default_rng(seed)
    known = np.full(shape, -1)
    known.ravel()[rng.permutation(known.size)[:n_data]] = rng.choice(3, n_data, p=SHARES)
    return known


def test_data_are_honoured_and_what_is_outside_stays_empty():
    known = data((20, 30), 40)
    inside = np.indices(known.shape)[0] < 15
    known[~inside] = -1
    maps = simulate_indicators(known, inside, Estimator([SPHERICAL] * 3, SHARES), 4, seed=1)
    assert (maps[:, known >= 0] == known[known >= 0]).all()
    assert (maps[:, ~inside] == -1).all()
    assert (maps[:, inside] >= 0).all()
    assert len({m.tobytes() for m in maps}) == 4


def test_a_realization_depends_on_seed_and_number_only(monkeypatch):
    known, inside = data((16, 16), 10), np.ones((16, 16), dtype=bool)
    estimator = Estimator([SPHERICAL] * 3, SHARES)
    many = simulate_indicators(known, inside, estimator, 5, seed=3)
    monkeypatch.setattr(neighbourhood, "_CELLS_AT_ONCE", 50)
    assert (simulate_indicators(known, inside, estimator, 2, seed=3) == many[:2]).all()
    assert (simulate_indicators(known, inside, estimator, 2, seed=4) != many[:2]).any()


def test_without_correlation_it_draws_the_shares():
    nothing = np.full((40, 40), -1)
    maps = simulate_indicators(
        nothing, nothing < 0, Estimator([Covariance("spherical", 1.0, 1.0)] * 3, SHARES), 4, seed=0
    )
    shares = np.bincount(maps.ravel(), minlength=3) / maps.size
    assert shares == pytest.approx(SHARES, abs=4 * np.sqrt(0.25 / maps.size))


def test_the_variogram_of_what_it_draws_is_the_model_s():
    """Within what clipped estimates and few neighbours cost: some hundredths at short lags, none at long ones."""
    nothing = np.full((60, 60), -1)
    covariance = Covariance("spherical", 10.0, 0.0)
    maps = simulate_indicators(nothing, nothing < 0, Estimator([covariance] * 2, np.array([0.6, 0.4])), 30, seed=5)
    ones = maps == 1
    variance = ones.mean() * (1 - ones.mean())
    for lag in (1, 3, 6, 12, 20):
        found = 0.5 * (ones[:, :, lag:] != ones[:, :, :-lag]).mean()
        expected = variance * (1 - float(covariance(np.array(lag))))
        assert found == pytest.approx(expected, abs=0.035), lag


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kriging": "universal"}, "The kriging 'universal' is unknown"),
        ({"n_neighbours": 0}, "0 neighbours are asked for"),
        ({"covariance": "linear", "range": 3.0}, "The covariance 'linear' is unknown"),
        ({"covariance": "spherical"}, "needs a kind and a range, or neither"),
        ({"covariance": "spherical", "range": -3.0}, "The covariance's range is -3; it must be a positive distance"),
        ({"nugget": 0.5}, "A nugget of 0.5 is given, but the covariance is to be fitted"),
        ({"n_realizations": -1}, "-1 realizations are asked for"),
        ({"seed": -1}, "The seed is -1"),
    ],
)
def test_jobs_that_cannot_be(change, message):
    facies = FaciesTable((Facies(1, "a", "#112233"), Facies(2, "b", "#445566")))
    job = {"grid": Grid(0, 0, 1, 4, 4), "facies": facies, "row": (0,), "col": (0,), "class_index": (0,)}
    assert IndicatorJob.from_dict(IndicatorJob(**job, work_folder="w").to_dict()) == IndicatorJob(
        **job, work_folder="w"
    )
    with pytest.raises(JobError, match=message):
        IndicatorJob(**job, work_folder="w", **change)


def test_a_job_without_observations_is_refused_in_words(tmp_path):
    facies = FaciesTable((Facies(1, "a", "#112233"), Facies(2, "b", "#445566")))
    job = IndicatorJob(str(tmp_path), Grid(0, 0, 1, 4, 4), facies, (), (), ())
    with pytest.raises(ConditioningError, match="There are no observations"):
        run_indicator_simulation(job, lambda *_: None)


@pytest.mark.parametrize(
    ("kind", "nugget", "used"), [("gaussian", 0.0, 0.01), ("gaussian", 0.2, 0.2), ("exponential", 0.0, 0.0)]
)
def test_a_given_gaussian_covariance_has_some_nugget(kind, nugget, used, tmp_path):
    """Without any its weights are wild."""
    rng = np.random.default_rng(0)
    row, col = (tuple(rng.permutation(30)[:12].tolist()) for _ in range(2))
    facies = FaciesTable((Facies(1, "a", "#112233"), Facies(2, "b", "#445566")))
    given = {"covariance": kind, "range": 10.0, "nugget": nugget}
    job = IndicatorJob(str(tmp_path), Grid(0, 0, 1, 30, 30), facies, row, col, (0, 1) * 6, **given)
    assert f"{kind} range 10 nugget {used:.2g}" in run_indicator_simulation(job, lambda *_: None).model_id


@pytest.mark.parametrize(
    ("second", "told"),
    [(0.2, "range 10 nugget 0.2"), (1.0, "a: spherical range 10 nugget 0.2; b: pure nugget")],
)
def test_covariances_are_told_with_their_facies_and_without_a_range_that_says_nothing(second, told, tmp_path):
    facies = FaciesTable((Facies(1, "a", "#112233"), Facies(2, "b", "#445566")))
    job = IndicatorJob(str(tmp_path), Grid(0, 0, 2, 30, 30), facies, (0, 9), (0, 9), (0, 1))
    covariances = tuple(Covariance("spherical", 5.0, nugget) for nugget in (0.2, second))
    assert _describe(Estimator(covariances, np.array([0.5, 0.5])), job).endswith(told)


@pytest.mark.parametrize("shape", [(30, 30), (4, 300), (1, 200)])
def test_an_estimate_is_made_of_as_many_visited_cells_as_there_are(shape):
    """Early cells, which decide the large scale, and cells of thin grids and masks have them far away."""
    rank = dispersed_rank(shape, np.random.default_rng(3))
    mask = np.ones(shape, bool) if shape[0] < 30 else np.abs(np.subtract(*np.indices(shape))) < 2
    cells = np.argwhere(mask)
    cells = cells[np.argsort(rank[mask])]
    found, there = indicator_simulation._visited(cells, rank, mask, 16)
    assert (there.sum(axis=1) == np.minimum(np.arange(len(cells)), 16)).all()
    flat = np.where(there, found[..., 0] * shape[1] + found[..., 1], -1 - np.arange(16))
    assert all(np.unique(of_cell).size == 16 for of_cell in flat), "none twice"
    earlier = rank[found[..., 0], found[..., 1]] < rank[tuple(cells.T)][:, None]
    assert (earlier & mask[found[..., 0], found[..., 1]])[there].all()


def test_the_variogram_of_an_elongated_grid_is_the_model_s_too():
    estimator = Estimator([Covariance("exponential", 60.0, 0.0)] * 2, np.array([0.5, 0.5]))
    shape, maps = (4, 600), []
    for seed in range(6):
        maps.append(simulate_indicators(np.full(shape, -1), np.ones(shape, bool), estimator, 10, seed=seed))
    simulated = np.concatenate(maps)
    for lag in (4, 16):
        gamma = 2 * (simulated[:, :, lag:] != simulated[:, :, :-lag]).mean()  # of the sill, .25
        assert gamma == pytest.approx(1 - np.exp(-3 * lag / 60), abs=0.05)
