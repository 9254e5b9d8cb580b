"""Statistics of maps, by hand; and a set of maps is as far from another as it should be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.measures.bodies import label_bodies
from oadg.core.measures.fidelity import (
    LAGS,
    PATTERN_STEPS,
    agreement_of_pairs,
    averaged,
    boundary_length,
    compare,
    connectivity,
    contact_shares,
    divergence_bits,
    euler_number,
    isolated_share,
    measure,
    pattern_histogram,
    variogram,
)


def stripes(n_maps=4, side=40, thickness=4):
    """Return maps of vertical stripes, each shifted by some cells."""
    col = np.arange(side)[None, None, :] + np.arange(n_maps)[:, None, None]
    return np.repeat(col // thickness % 2, side, axis=1)


def noise(n_maps=4, side=40, n_facies=2, seed=0):
    return np.random.default_rng(seed).integers(0, n_facies, (n_maps, side, side))


def of(*rows):
    """Return a map drawn with characters: '#' is facies 1, '?' unknown, '.' facies 0."""
    return np.array([[".#".find(character) for character in row] for row in rows])


histograms = st.dictionaries(st.integers(0, 12), st.floats(0.01, 1), min_size=1).map(
    lambda weight: {pattern: value / sum(weight.values()) for pattern, value in weight.items()}
)


def test_patterns_by_hand():
    maps = of("##.", "#..")[None]
    # Two patterns of 2 x 2 cells, read row by row as binary numbers: 1110 and 1000.
    assert pattern_histogram(maps, 2, side=2) == {0b1110: 0.5, 0b1000: 0.5}
    assert pattern_histogram(maps, 3, side=2) == {27 + 9 + 3: 0.5, 27: 0.5}
    assert pattern_histogram(maps, 2, side=1) == {0: 0.5, 1: 0.5}
    assert pattern_histogram(np.concatenate([maps, 0 * maps]), 2, side=2) == {0: 0.5, 0b1110: 0.25, 0b1000: 0.25}


def test_patterns_of_a_step_leave_out_what_lies_between():
    maps = of("#?.", "???", ".?#")[None]
    assert pattern_histogram(maps, 2, side=2, step=2) == {0b1001: 1.0}


def test_patterns_with_unknown_cells_do_not_count():
    maps = of("##.?", "#...")[None]
    assert pattern_histogram(maps, 2, side=2) == {0b1110: 0.5, 0b1000: 0.5}
    assert pattern_histogram(np.full((2, 5, 5), -1), 2, side=2) == {}


@given(seed=st.integers(0, 1000), n_facies=st.integers(2, 32), side=st.integers(1, 3), step=st.integers(1, 3))
def test_patterns_are_told_apart_as_a_plain_count_does(seed, n_facies, side, step):
    maps = np.random.default_rng(seed).integers(-1, n_facies, (2, 9, 11)).clip(0 if seed % 2 else -1)
    reach = (side - 1) * step
    windows = [
        tuple(m[row : row + reach + 1 : step, col : col + reach + 1 : step].ravel().tolist())
        for m in maps
        for row in range(9 - reach)
        for col in range(11 - reach)
    ]
    known = [window for window in windows if min(window) >= 0]
    expected = sorted(known.count(window) / len(known) for window in set(known))
    found = pattern_histogram(maps, n_facies, side=side, step=step)
    assert sorted(found.values()) == pytest.approx(expected)


def test_the_largest_patterns_do_not_overflow():
    """Of fifteen facies there are 15^16 patterns of 4 x 4 cells, which is just below 2^63."""
    assert pattern_histogram(np.full((1, 4, 4), 14), 15) == {15**16 - 1: 1.0}


def test_divergence_by_hand():
    # Against {a: 3/4, b: 1/4} when the other is {a: 1}: half the sum of 3/4 log2(6/7) + 1/4 log2(2) and log2(8/7).
    expected = (0.75 * np.log2(6 / 7) + 0.25 + np.log2(8 / 7)) / 2
    assert divergence_bits({0: 0.75, 1: 0.25}, {0: 1.0}) == pytest.approx(expected)
    assert divergence_bits({3: 0.5, 4: 0.5}, {5: 1.0}) == 1.0
    assert np.isnan([divergence_bits({}, {5: 1.0}), divergence_bits({5: 1.0}, {})]).all(), "of nothing"


@given(histograms, histograms)
def test_divergence_is_symmetric_and_between_equal_and_apart(first, second):
    found = divergence_bits(first, second)
    assert found == pytest.approx(divergence_bits(second, first), abs=1e-12)
    assert divergence_bits(first, first) == 0
    apart = {pattern + 100: share for pattern, share in second.items()}
    assert divergence_bits(first, apart) == pytest.approx(1)
    assert -1e-12 <= found <= 1 + 1e-12
    if set(first) != set(second):
        assert found > 0


def test_variogram_by_hand():
    maps = of("##..", "##.?")[None]
    # Along columns, one cell apart: six pairs, five of them known; two of them differ.
    assert variogram(maps, 1, 1, 1) == pytest.approx(0.5 * 2 / 5)
    assert variogram(maps, 1, 2, 1) == pytest.approx(0.5)  # three pairs, all of them different
    assert variogram(maps, 1, 1, 0) == 0
    assert variogram(maps, 2, 1, 1) == 0, "a facies that is not there"
    assert np.isnan([variogram(maps, 1, lag, 1) for lag in (4, 5, 9)]).all(), "no two cells are so far apart"
    assert variogram(np.concatenate([maps, 0 * maps]), 1, 1, 1) == pytest.approx(0.5 * 2 / 11)


def test_variogram_of_stripes_is_that_of_a_square_wave():
    maps = stripes()
    for lag, differ in [(1, 0.25), (2, 0.5), (4, 1.0), (8, 0.0)]:
        assert variogram(maps, 0, lag, 1) == pytest.approx(0.5 * differ, abs=0.02)
        assert variogram(maps, 0, lag, 1) == variogram(maps, 1, lag, 1), "of two facies both have the same"
        assert variogram(maps, 0, lag, 0) == 0


def test_connectivity_by_hand():
    one_map = of(
        "##.#",
        ".#..",
        "##.#",
        "...#",
    )
    maps, bodies = one_map[None], label_bodies(one_map, diagonal=True)[None]
    # Facies 1 two cells apart along columns: pairs (0,1)-(0,3) and (2,1)-(2,3), each of two bodies.
    assert connectivity(maps, bodies, 1, 2, 1) == 0
    # Two apart along rows: (0,0)-(2,0) and (0,1)-(2,1) are one body, (0,3)-(2,3) two.
    assert connectivity(maps, bodies, 1, 2, 0) == pytest.approx(2 / 3)
    assert connectivity(maps, bodies, 1, 1, 0) == 1
    assert connectivity(maps, bodies, 1, 3, 0) == 0  # (0,3)-(3,3)
    assert np.isnan(connectivity(maps, bodies, 2, 1, 0)), "a facies that is not there"


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        (("...", "...", "..."), 0),
        (("...", ".#.", "..."), 1),
        (("###", "###", "###"), 1),
        (("###", "#.#", "###"), 0),  # a hole
        ((".#.", "#.#", ".#."), 0),  # a hole between corners that touch
        (("#..", ".#.", "..#"), 1),  # corners touch
        (("#.#", "...", "#.#"), 4),
        (("#####", "#.#.#", "#####"), -1),  # two holes
        (("#####", "#...#", "#.#.#", "#...#", "#####"), 1),  # a body in the hole of another
        (("###", "#..", "###"), 1),  # a bay is no hole
        (("####", "#.?#", "####"), 0),  # what is unknown is not of the facies
    ],
)
def test_euler_number_by_hand(rows, number):
    assert euler_number(of(*rows), 1) == number
    assert euler_number(of(*rows).T, 1) == number


@given(seed=st.integers(0, 10_000), n_rows=st.integers(1, 12), n_cols=st.integers(1, 12), share=st.floats(0.1, 0.9))
def test_euler_number_is_bodies_less_holes(seed, n_rows, n_cols, share):
    """Holes are bodies of the rest, whose cells do not touch at corners, but for the one around the map."""
    cells = (np.random.default_rng(seed).random((n_rows, n_cols)) < share).astype(int)
    cells = np.pad(cells, 1)
    n_holes, n_bodies = (
        np.unique(label_bodies(cells, diagonal=diagonal)[cells == facies]).size
        for facies, diagonal in ((0, False), (1, True))
    )
    assert euler_number(cells, 1) == n_bodies - (n_holes - 1)


def test_measures_of_a_set_of_maps():
    maps = stripes(n_maps=3)
    maps[2, :, :20] = -1
    found = measure(maps, 3)
    assert found.lags.tolist() == [lag for lag in LAGS if lag < 20]
    assert found.proportions[:2] == pytest.approx(np.array([[0.5, 0.5, 0]] * 2), abs=0.03)
    assert found.proportions.sum(axis=1) == pytest.approx(1), "of the cells that are known"
    # Ten stripes of four; shifted by one cell, eleven.
    assert found.n_bodies[:2].tolist() == [[5, 5, 0], [6, 5, 0]]
    assert (found.euler == found.n_bodies).all(), "stripes have no holes"
    assert found.variogram.shape == found.connectivity.shape == (3, 2, len(found.lags))
    assert (found.connectivity[:2, 0] == 1).all(), "along a stripe all is connected"
    assert np.isnan(found.connectivity[2]).all()
    assert tuple(found.patterns) == PATTERN_STEPS
    for step, histogram in found.patterns.items():
        assert sum(histogram.values()) == pytest.approx(1), step
    assert len(found.patterns_of_maps) == 3


def test_two_points_are_compared_up_to_half_of_each_axis():
    found = measure(noise(2)[:, :20], 2)
    assert found.lags.tolist() == [lag for lag in LAGS if lag < 20]
    for curve in (found.variogram, found.connectivity):
        known = np.isfinite(curve).all(axis=0)
        assert known[1].all()
        assert known[0].tolist() == [lag < 10 for lag in found.lags]


def test_patterns_of_each_map_are_two_cells_apart_and_those_of_all_no_larger_than_asked():
    maps = noise(3, 20, seed=5)
    found = measure(maps, 2, most_side=2)
    assert found.pattern_side == 2
    assert found.patterns[4] == pattern_histogram(maps, 2, side=2, step=4)
    assert found.patterns_of_maps[1] == pattern_histogram(maps[1:2], 2, side=2, step=2)
    assert measure(maps, 2).patterns_of_maps[2] == pattern_histogram(maps[2:], 2, side=3, step=2)


def test_bodies_hang_together_at_corners():
    board = np.indices((12, 12)).sum(axis=0)[None] % 2
    found = measure(board, 2)
    assert found.n_bodies.tolist() == [[1, 1]]
    # Cells of the other facies, ten by ten without their border, are holes; half of them are of either.
    assert found.euler.tolist() == [[1 - 50, 1 - 50]]
    assert (found.connectivity[:, :, found.lags == 2] == 1).all()


def test_stripes_across_are_not_connected_far_away():
    found = measure(stripes(), 2)
    near, far = found.lags.tolist().index(1), found.lags.tolist().index(8)
    assert (found.connectivity[:, 1, near] == 1).all()
    assert (found.connectivity[:, 1, far] == 0).all()


@pytest.mark.parametrize("maps", [stripes(), noise(n_facies=3), noise(n_facies=20)], ids=["stripes", "noise", "many"])
def test_a_set_is_no_way_from_itself(maps):
    statistics = measure(maps, int(maps.max()) + 1)
    found = compare(statistics, statistics)
    assert set(found.pattern_divergence.values()) == {0.0}
    assert (found.proportion_difference == 0).all()
    assert found.variogram_difference == 0
    assert found.connectivity_difference == found.connectivity_misfit == 0
    # Of all pairs of maps, one in four is a map with itself.
    assert found.between == pytest.approx(found.within * 3 / 4)


def test_noise_is_far_from_stripes_and_other_stripes_are_near():
    reference = measure(stripes(), 2)
    near, far = (compare(measure(maps, 2), reference) for maps in (stripes(n_maps=6), noise()))
    for step in PATTERN_STEPS:
        assert far.pattern_divergence[step] > 0.8
        assert near.pattern_divergence[step] < 0.05
    assert far.variogram_difference > 0.2 > 0.05 > near.variogram_difference
    assert far.connectivity_difference > 0.5 > 0.05 > near.connectivity_difference
    assert far.between > 0.5 > near.between
    assert far.within > near.within


def test_differences_by_hand():
    dark, light = np.zeros((2, 20, 20), dtype=int), np.zeros((2, 20, 20), dtype=int)
    light[1] = 1
    found = compare(measure(light, 2), measure(dark, 2))
    assert found.proportion_difference.tolist() == [-0.5, 0.5]
    assert found.bodies.tolist() == [0.5, 0.5]
    assert found.within == 1, "the two maps have no pattern in common"
    assert found.between == 0.5
    assert found.variogram_difference == found.connectivity_difference == 0
    assert np.isnan(compare(measure(light[:1], 2), measure(dark, 2)).within), "one map has no other"


def test_the_average_of_comparisons_is_that_of_each_number():
    reference, *others = (measure(noise(seed=seed), 2) for seed in range(3))
    found = [compare(other, reference) for other in others]
    mean = averaged(found)
    for name in ("bodies", "proportion_difference", "between", "within", "variogram_difference", "agreement_error"):
        assert getattr(mean, name) == pytest.approx(sum(getattr(one, name) for one in found) / 2)
    assert mean.pattern_divergence[2] == pytest.approx(sum(one.pattern_divergence[2] for one in found) / 2)


def test_what_hangs_together_counts_by_its_pairs():
    """A stripe of three columns parts the rest of a map in two; a gap parts it, and joins the rest."""
    whole = np.zeros((1, 12, 14), dtype=int)
    whole[:, :, 5:8] = 1
    cut = whole.copy()
    cut[:, 6, 5:8] = 0
    found = compare(measure(cut, 2), measure(whole, 2))
    assert found.connectivity_difference == pytest.approx(3 / 6), "of the stripe's pairs four cells apart"
    # One of 8 and three of 6 pairs of the stripe, 2 and 4 cells apart, 3 in 14 of the cells; and of the rest, 4 cells
    # apart along rows, the one pair in four that lies on both sides. Weights: shares less the variogram.
    stripe, rest = 3 / 14, 11 / 14
    off = stripe * (1 / 8 + 3 / 6) + (rest - 3 / 10) / 4
    along_rows = [(rest - 1 / 13) + (stripe - 1 / 13), (rest - 2 / 12) + (stripe - 2 / 12), rest - 3 / 10]
    assert found.connectivity_misfit == pytest.approx(off / (3 * rest + 3 * stripe + sum(along_rows)))


def test_boundaries_by_hand():
    # Of the four pairs of known neighbours along either axis two are of different facies.
    assert boundary_length(of("##.", "#?.", "..#")) == pytest.approx(2 / 4 + 2 / 4)
    assert boundary_length(of("##..", "####")) == pytest.approx(1 / 6 + 2 / 4)
    assert boundary_length(of("#?", "?.")) == 0, "no neighbours are known"
    assert measure(stripes(thickness=4), 2).boundary == pytest.approx([1 / 4] * 4, abs=0.02), "of each map"


def test_agreement_by_hand():
    half, other = of("##..", "##.."), of("#.#.", "#.#.")
    assert agreement_of_pairs(np.stack([half, half, other]), 2) == pytest.approx([1, 0, 0])
    assert agreement_of_pairs(np.stack([half, 1 - half]), 2) == pytest.approx([-1])
    known = np.where(np.arange(4) < 2, half, -1)  # of the cells that both know, all agree, and chance makes half of it
    assert agreement_of_pairs(np.stack([half, known]), 2) == pytest.approx([1])
    assert agreement_of_pairs(half[None], 2).size == 0, "one map has no other"
    quarter = of("...#", "...#")  # chance is 5/8 of two such maps, and 1/2 of one with any other: 13/24 on average
    found = agreement_of_pairs(np.stack([quarter, quarter, half]), 2)
    assert found == pytest.approx(np.array([3 / 8, -1 / 4, -1 / 4]) / (11 / 24))
    assert agreement_of_pairs(np.zeros((2, 3, 3), dtype=int), 2) == pytest.approx([0]), "all of one facies"


def test_maps_that_share_a_part_agree_beyond_chance():
    apart, alike = noise(12, seed=1), noise(12, seed=1)
    alike[:, :, :20] = alike[0, :, :20]
    found = [compare(measure(maps, 2), measure(apart, 2)) for maps in (apart, alike)]
    assert abs(found[0].agreement) < 3 * found[0].agreement_error < 0.02
    assert found[1].agreement == pytest.approx(0.5, abs=0.02)


def test_contacts_by_hand():
    maps = np.array([[[0, 0, 1], [2, 0, -1]], [[1, 1, 1], [1, 1, 1]]])
    assert contact_shares(maps, 3) == pytest.approx(np.array([[0, 1 / 3, 2 / 3], [0, 0, 0], [0, 0, 0]]))
    assert not contact_shares(maps[1:], 3).any()


def test_isolated_cells_are_counted():
    one = np.zeros((1, 5, 5), dtype=np.uint8)
    one[0, 2, 2] = one[0, 0, 4] = 1
    assert isolated_share(one, np.array([[2, 2], [0, 4], [4, 0], [3, 3]])) == 0.5
    one[0, 1, 1] = 1
    assert isolated_share(one, np.array([[2, 2], [1, 1]])) == 0


@pytest.mark.parametrize("n_facies", [2, 15, 16, 32])
def test_any_number_of_facies_can_be_measured(n_facies):
    """Patterns become smaller where their number would not fit."""
    maps = noise(2, 30, n_facies, seed=1)
    found = measure(maps, n_facies)
    assert len(found.patterns[1]) > 0.9 * min(2 * 27 * 27, n_facies**4)
    assert all(0 <= pattern < 2**63 for histogram in found.patterns.values() for pattern in histogram)
    assert compare(found, measure(noise(2, 30, n_facies, seed=2), n_facies)).pattern_divergence[1] > 0.1
