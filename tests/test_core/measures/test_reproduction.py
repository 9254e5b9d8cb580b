"""Reproduction: one ruler for sparse data and full maps, by hand and against plain counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oadg.core.contract.errors import ConditioningError
from oadg.core.measures.fidelity import variogram
from oadg.core.measures.reproduction import (
    DataPairs,
    connected_lags,
    crops_like,
    known_like,
    measure_maps,
    variogram_misfit,
)


def draw(seed, shape=(12, 15), share_known=0.3, n_facies=3):
    """Return a map, and data at some of its cells."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_facies, shape)
    return truth, np.where(rng.random(shape) < share_known, truth, -1)


def sill_of(known, n_facies=3):
    shares = np.array([(known[known >= 0] == k).mean() for k in range(n_facies)])
    return shares * (1 - shares)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 1.0))
def test_variograms_of_data_are_those_of_a_plain_count(seed, share):
    _, known = draw(seed, (7, 9), share)
    cells = np.argwhere(known >= 0)
    if len(cells) < 2:
        return
    pairs = DataPairs.of(known)
    found, n_lags = pairs.variograms(known, 3), pairs.n_lags
    longest = max(np.hypot(*np.ptp(cells, axis=0)) / 3, np.hypot(*pairs.offset.T).min())
    differs, number = np.zeros((3, 3, n_lags)), np.zeros((3, n_lags))
    for i, first in enumerate(cells):
        for second in cells[:i]:
            south, east = np.abs(first - second)
            if np.hypot(south, east) > longest:
                continue
            lag = min(int(np.hypot(south, east) / longest * n_lags), n_lags - 1)
            for direction, is_along in enumerate((True, south >= east, east >= south)):
                number[direction, lag] += is_along
                for k in range(3):
                    unlike = (known[tuple(first)] == k) != (known[tuple(second)] == k)
                    differs[k, direction, lag] += is_along * 0.5 * unlike
    assert pairs.n_pairs_of_lags == pytest.approx(number[0])
    assert np.isnan(found).all(axis=0).tolist() == (number == 0).tolist()
    expected = np.where(number > 0, differs / np.maximum(number, 1), np.nan)
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_variogram_of_a_full_map_at_one_offset_is_that_of_fidelity():
    truth, _ = draw(3)
    for axis in (0, 1):
        known = np.full(truth.shape, -1)
        known[0, 0], known[3 * (axis == 0), 3 * (axis == 1)] = 0, 1
        pairs = DataPairs.of(known)
        assert pairs.distance[0].tolist() == [3]
        for k in range(3):
            assert pairs.variograms(truth, 3)[k, 0, 0] == pytest.approx(variogram(truth[None], k, 3, axis))


def test_directions_are_told_apart():
    """Stripes from north to south do not vary along themselves."""
    stripes = np.tile(np.arange(16) // 2 % 2, (16, 1))
    everywhere, south, east = DataPairs.of(stripes).variograms(stripes, 2)[0]
    assert south[1] < everywhere[1] < east[1]


@given(seed=st.integers(0, 500), share=st.floats(0.1, 1.0))
def test_the_datas_own_map_is_no_way_from_the_data(seed, share):
    truth, known = draw(seed, share_known=share)
    if (known >= 0).sum() < 2:
        return
    pairs, sill = DataPairs.of(known), sill_of(known)
    own = pairs.variograms(known, 3)
    assert not sill.any() or variogram_misfit(own, own, pairs, sill) == 0
    full = DataPairs.of(truth)
    assert variogram_misfit(full.variograms(truth, 3), full.variograms(truth, 3), full, sill_of(truth)) == 0


def test_misfit_by_hand():
    """Of two facies both are .1 off a sill of .25, at the one lag that has pairs."""
    known = np.array([[0, 1]])
    pairs = DataPairs.of(known)
    expected = np.full((2, 3, 1), 0.25)
    assert variogram_misfit(expected - 0.1, expected, pairs, np.array([0.25, 0.25])) == pytest.approx(0.4)
    assert np.isnan(variogram_misfit(expected * np.nan, expected, pairs, np.array([0.25, 0.25])))
    assert np.isnan(variogram_misfit(expected, expected, pairs, np.zeros(2))), "one facies has no sill"
    along = expected - np.array([0, 0.1, 0.2])[:, None]
    assert variogram_misfit(along, expected, pairs, np.array([0.25, 0.25])) == 0, "in all directions together"


def test_lags_count_by_their_pairs():
    pairs = DataPairs(np.array([[0, 1], [0, 2]]), np.array([1, 3]), np.array([0, 1]))
    expected = np.full((1, 3, 2), 0.25)
    found = variogram_misfit(expected - np.array([0.1, 0.0]), expected, pairs, np.array([0.25]))
    assert found == pytest.approx(np.sqrt(0.1**2 / 4) / 0.25)


def test_measures_by_hand():
    one = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, -1, 0]])
    pairs = DataPairs.of(one)
    found = measure_maps(np.stack([one, np.zeros_like(one)]), 2, pairs, np.array([1, 3]))
    assert found.bodies.tolist() == [[3, 2], [1, 0]]
    assert found.shares == pytest.approx(np.array([[8 / 15, 7 / 15], [1, 0]]))
    # Facies 1, three columns apart: (2, 0)-(2, 3), one body; three rows apart: no pair.
    assert found.connectivity[0, 1, 1, 1] == 1
    assert np.isnan(found.connectivity[0, 1, 0, 1])
    assert np.isnan(found.connectivity[1, 1]).all()
    assert found.mean_connectivity[1, 1, 1] == 1, "of the map that has a pair"
    assert np.isnan(found.mean_connectivity[1, 0, 1])
    assert found.n_pairs[0, 1, 1].tolist() == [4, 1]
    assert found.connectivity_misfit(found) == 0
    assert found.connectivity_misfit(replace(found, connectivity=found.connectivity - 0.25)) == pytest.approx(0.25)
    assert np.isnan(found.connectivity_misfit(replace(found, connectivity=found.connectivity * np.nan)))
    apart = found.connectivity - np.array([0, 1])[None, :, None, None]
    counted = np.where(np.isfinite(found.mean_connectivity), found.n_pairs.mean(axis=0), 0)
    misfit = replace(found, connectivity=apart).connectivity_misfit(found)
    assert misfit == pytest.approx(counted[1].sum() / counted.sum())
    assert misfit < 0.5, "though half of the numbers are off by 1"
    others = replace(found, connectivity=apart, n_pairs=np.ones_like(found.n_pairs))
    assert others.connectivity_misfit(found) == misfit, "the pairs of what is expected count"
    assert np.isnan(measure_maps(np.full((1, 4, 4), -1), 2, pairs, np.array([1])).mean_connectivity).all()


def test_offsets_that_a_map_does_not_have_do_not_count():
    pairs = DataPairs(np.array([[0, 1], [1, 0]]), np.array([1, 3]), np.array([0, 0]))
    assert pairs.variograms(np.array([[0, 1, 0]]), 2)[:, 0] == pytest.approx(0.5)
    assert pairs.variograms(np.array([[0, 1], [0, 1]]), 2)[:, 0] == pytest.approx(0.5 / 4)


def test_bodies_of_maps_hang_together_at_corners():
    board = np.indices((8, 8)).sum(axis=0)[None] % 2
    found = measure_maps(board, 2, DataPairs.of(board[0]), np.array([2]))
    assert found.bodies.tolist() == [[1, 1]]
    assert (found.connectivity == 1).all()


def test_lags_of_connectivity_reach_as_far_as_variograms_and_half_the_map():
    _, known = draw(0, (40, 90))
    lags = connected_lags(DataPairs.of(known), known.shape)
    assert (lags[0], lags[-1]) == (1, 31), "a third of the diagonal"
    assert (np.diff(lags) > 0).all()
    assert connected_lags(DataPairs.of(known), (20, 30))[-1] == 15
    assert connected_lags(DataPairs.of(np.array([[0, 1]])), (1, 2)).tolist() == [1]


def test_connectivity_along_a_narrow_map_is_told_by_its_longer_side():
    """At the one lag within half its shorter side two cells of a facies are connected, whatever the facies are."""
    across, along = np.tile(np.arange(40) // 4 % 2, (3, 1)), np.repeat([[0], [1], [1]], 40, axis=1)
    pairs = DataPairs.of(across)
    lags = connected_lags(pairs, across.shape)
    assert lags[-1] == 12
    for turn in (np.asarray, np.transpose):
        short, long = (0, 1) if turn is np.asarray else (1, 0)
        measured = measure_maps(np.stack([turn(across), turn(along)]), 2, pairs, lags)
        assert np.isnan(measured.connectivity[:, :, short, lags >= 3]).all()
        assert (measured.connectivity[0, :, long, (lags > 4) & (lags < 12)] == 0).all()
        assert (measured.connectivity[1, :, long] == 1).all()


def test_crops_are_pieces_of_the_reference_with_the_mask_of_the_grid():
    reference = np.arange(80).reshape(8, 10)
    inside = np.ones((3, 4), dtype=bool)
    inside[0, 0] = False
    crops = crops_like(reference, inside, 5, seed=1)
    assert crops.shape == (5, 3, 4)
    assert (crops[:, 0, 0] == -1).all()
    assert (np.diff(crops[:, 1:], axis=2) == 1).all()
    assert (np.diff(crops[:, :, 1:], axis=1) == 10).all()
    assert len({crop.tobytes() for crop in crops}) == 5
    assert (crops == crops_like(reference, inside, 5, seed=1)).all()
    whole = crops_like(reference, np.ones((8, 10), dtype=bool), 5)
    assert (whole == reference).all()
    assert len(whole) == 1, "there is one place"


def test_crops_lie_where_the_reference_is_known():
    reference = np.full((30, 30), -1)
    reference[:, 15:] = 1
    assert (crops_like(reference, np.ones((4, 4), dtype=bool), 3) == 1).all()
    with pytest.raises(ConditioningError, match=r"0 % of the best known of \d+ pieces of the reference.*Use a refer"):
        crops_like(np.full((9, 9), -1), np.ones((4, 4), dtype=bool), 3)


def test_crops_come_from_the_last_place_too_and_are_as_known_as_where_cells_are_simulated():
    reference = np.full((8, 10), -1)
    reference[5:, 6:] = 1
    assert (crops_like(reference, np.ones((3, 4), dtype=bool), 20)[0] == 1).all()
    corner = np.zeros((4, 5), dtype=bool)
    corner[0, 0] = True
    assert (crops_like(np.where(corner, 1, -1), corner, 3) == np.where(corner, 1, -1)).all()


def test_pieces_that_are_hardly_known_are_left_out():
    reference = np.full((9, 12), -1)
    reference[:, :4] = 1
    crops = crops_like(reference, np.ones((9, 4), dtype=bool), 9)
    assert sorted((crops >= 0).mean(axis=(1, 2))) == [0.25, 0.5, 0.75, 1]
    masked = known_like(np.zeros((6, 9, 4), dtype=int), crops)
    assert [(one >= 0).tolist() for one in masked] == [(crops[i % 4] >= 0).tolist() for i in range(6)]


def test_fewer_than_two_data():
    with pytest.raises(ConditioningError, match="There are 1 cells with observations; a variogram needs two"):
        DataPairs.of(np.array([[-1, 0]]))
