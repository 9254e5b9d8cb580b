"""A training image keeps a block of itself from training, knows how coarse a lattice it bears, and refuses the rest."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import TrainingImageError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.image_cautions import image_cautions, trend_of
from oadg.core.contract.training_image import (
    CORNERS,
    MAX_LEVEL,
    TrainingImage,
    image_of_codes,
    mean_thickness,
)


def stripes(thickness, shape=(400, 400)):
    """Return codes 1 and 2 in horizontal stripes."""
    return np.repeat(1 + np.arange(shape[0])[:, None] // thickness % 2, shape[1], axis=1)


def image_of(codes, **options):
    return image_of_codes(codes, np.ones(codes.shape, dtype=bool), **options)


def mark_places(shape, corner="lower right"):
    """Return an image whose facies tell what is held out (2 and 3), the gap around it (1), and the rest (0)."""
    image = TrainingImage(np.zeros(shape, dtype=np.int16), build_facies_table([10, 20, 30, 40]))
    row, col = (n - held for n, held in zip(shape, image.held_out.shape))
    place = np.zeros(shape, dtype=np.int16)
    place[row - image.gap :, col - image.gap :] = 1
    place[row:, col:] = 2
    place[row::2, col:] = 3
    upper, left = CORNERS[corner]
    return replace(image, class_index=place[:: -1 if upper else 1, :: -1 if left else 1])


@st.composite
def images_and_windows(draw):
    image = mark_places((draw(st.integers(64, 200)), draw(st.integers(64, 200))), draw(st.sampled_from(list(CORNERS))))
    return image, tuple(draw(st.integers(1, side)) for side in image.largest_window())


@given(images_and_windows(), st.integers(0, 10_000))
def test_no_window_shares_a_cell_with_what_is_held_out_or_its_gap(drawn, seed):
    image, shape = drawn
    window = image.draw_window(shape, np.random.default_rng(seed))
    cells = image.cut(window)
    assert cells.shape == shape == window[2:]
    rows, cols = (np.arange(first, first + side) for first, side in zip(window[:2], shape))
    on_image = np.outer((rows >= 0) & (rows < image.shape[0]), (cols >= 0) & (cols < image.shape[1]))
    assert np.array_equal(cells, np.where(on_image, 0, -1)), "-1 beyond the image"
    for of_axis, side in zip((on_image.any(axis=1), on_image.any(axis=0)), shape):
        assert of_axis.sum() >= min(12, side)


@given(images_and_windows(), st.integers(0, 10_000))
def test_held_out_windows_lie_in_the_block(drawn, seed):
    image, shape = drawn
    window = image.draw_held_out_window(shape, np.random.default_rng(seed))
    assert window[2:] == tuple(min(sides) for sides in zip(shape, image.held_out.shape)), "as large as the block allows"
    assert image.cut(window).shape == window[2:]
    assert (image.cut(window) >= 2).all()


@pytest.mark.parametrize("corner", CORNERS)
def test_windows_reach_every_cell_that_they_may(corner):
    image, rng = mark_places((64, 80), corner), np.random.default_rng(0)
    seen, tested = np.zeros(image.shape, dtype=bool), np.zeros(image.shape, dtype=bool)
    for reached, place, shape in [
        (seen, image.draw_window, (40, 50)),
        (tested, image.draw_held_out_window, (6, 9)),
    ]:
        for _ in range(3000):
            top, left, n_rows, n_cols = place(shape, rng)
            reached[max(0, top) : top + n_rows, max(0, left) : left + n_cols] = True
    assert np.array_equal(seen, image.class_index == 0)
    assert np.array_equal(tested, image.class_index >= 2)


def test_the_borders_of_an_image_are_seen_as_often_as_its_middle():
    """Facies may be at home there; windows are as large as the image allows."""
    image, rng = mark_places((160, 200)), np.random.default_rng(0)
    seen = np.zeros(image.shape)
    for _ in range(4000):
        top, left, n_rows, n_cols = image.draw_window((100, 120), rng)
        seen[max(0, top) : top + n_rows, max(0, left) : left + n_cols] += 1
    assert seen[:4, :60].mean() > 0.6 * seen[50:54, :60].mean()
    assert seen[:60, :4].mean() > 0.6 * seen[:60, 50:54].mean()


@pytest.mark.parametrize(
    ("shape", "held_out", "gap"), [((64, 64), (16, 16), 6), ((100, 400), (25, 100), 10), ((1000, 2000), (250, 500), 64)]
)
def test_what_is_held_out_is_a_quarter_of_each_side_behind_a_gap(shape, held_out, gap):
    image = TrainingImage(np.zeros(shape, dtype=np.int16), build_facies_table([1, 2]))
    assert image.held_out.shape == held_out
    assert image.gap == gap
    assert image.largest_window() == (shape[0] - held_out[0] - gap, shape[1] - held_out[1] - gap)
    image.class_index[-1, -1] = 1
    assert image.held_out[-1, -1] == 1, "the block is the lower right corner"


@pytest.mark.parametrize(("thickness", "level"), [(1, 2), (4, 2), (5, 2), (8, 3), (16, 4), (20, 4)])
def test_nodes_of_the_coarsest_lattice_are_no_further_apart_than_stripes_are_thick(thickness, level):
    image = image_of(stripes(thickness))
    assert image.coarsest_level == level
    assert image_of(stripes(thickness).T).coarsest_level == level, "along whichever axis"


def test_the_thinnest_facies_decides_on_the_coarsest_lattice():
    codes = stripes(20)
    codes[40:45] = 3  # a single layer of five cells
    assert image_of(codes).coarsest_level == 2


@pytest.mark.parametrize(
    ("shape", "level"), [((64, 400), 1), ((95, 95), 1), ((96, 400), 2), ((400, 191), 2), ((400, 192), 3)]
)
def test_a_small_image_holds_two_dozen_nodes_of_its_coarsest_lattice(shape, level):
    assert image_of(stripes(20, shape)).coarsest_level == level


def test_the_coarsest_lattice_has_a_limit():
    rows = np.repeat(np.arange(1, 3), 800)[:, None]
    assert image_of(np.repeat(rows, 1600, axis=1)).coarsest_level == MAX_LEVEL == 5


def test_thickness_by_hand():
    cells = np.array(
        [
            [1, 1, 0, 0, 1],
            [1, 1, 0, 0, 1],
            [0, 0, 0, 0, 1],
        ]
    )
    # Facies 1: 7 cells in five runs along rows, and three along columns. Facies 0: 8 cells, in three and four runs.
    assert mean_thickness(cells, 1) == pytest.approx(7 / 5)
    assert mean_thickness(cells, 0) == pytest.approx(8 / 4)
    assert mean_thickness(cells.T, 1) == mean_thickness(cells, 1)
    assert mean_thickness(cells, 2) == 0


@pytest.mark.parametrize("thickness", [1, 3, 10])
def test_stripes_are_as_thick_as_they_are_drawn(thickness):
    cells = stripes(thickness, (60, 90))
    assert mean_thickness(cells, 1) == mean_thickness(cells.T, 2) == thickness


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32])
def test_codes_become_class_indices_whatever_their_type(dtype):
    codes = np.array([7, 100, 3], dtype=dtype)[stripes(5, (64, 64)) + (np.arange(64) == 0) * 1 - 1]
    known = np.ones(codes.shape, dtype=bool)
    known[:9, :9] = False
    image = image_of_codes(codes, known, styles={100: ("sand", "#123456")}, cell_size=25.0, origin="by hand")
    assert image.facies.codes.tolist() == [3, 7, 100]
    assert (image.facies.names, image.facies.colors[2]) == (["3", "7", "sand"], "#123456")
    assert image.class_index.dtype == np.int16
    assert (image.class_index[~known] == -1).all()
    assert np.array_equal(image.facies.codes[image.class_index[known]], codes[known])
    assert (image.cell_size, image.origin, image.stray) == (25.0, "by hand", {})
    assert image.proportions == pytest.approx([(codes[known] == code).mean() for code in (3, 7, 100)])


def test_nodata_may_be_any_value():
    codes = stripes(5, (64, 64)).astype(np.float32)
    known = np.ones(codes.shape, dtype=bool)
    known[:2] = False
    codes[0], codes[1] = np.nan, 0.5
    image = image_of_codes(codes, known)
    assert image.facies.codes.tolist() == [1, 2]
    assert np.array_equal(image.class_index < 0, ~known)


def test_stray_codes_become_unknown_and_are_told():
    codes = stripes(8)  # 160,000 cells, so that 15 are below the share
    codes[0, :15], codes[7, 7] = 77, -9
    image = image_of(codes)
    assert image.facies.codes.tolist() == [1, 2]
    assert image.stray == {77: 15, -9: 1}
    assert np.array_equal(image.class_index < 0, np.isin(codes, [77, -9]))
    told = " ".join(image_cautions(image, 20))
    assert "so rare that they are taken for errors, and their cells for unknown: -9 (1 cells), 77 (15 cells)." in told


@pytest.mark.parametrize(("side", "n_cells"), [(400, 16), (64, 1), (1000, 25)])
def test_a_rare_facies_is_no_error_of_the_image(side, n_cells):
    codes = stripes(8, (side, side))
    codes[0, :n_cells] = 77
    image = image_of(codes)
    assert image.facies.codes.tolist() == [1, 2, 77]
    assert image.stray == {}
    codes[0, n_cells - 1] = 1
    if n_cells > 1:
        assert list(image_of(codes).stray) == [77], "one cell less, and it is"


def test_an_image_of_many_thick_bodies_needs_no_caution():
    assert image_cautions(image_of(stripes(8)), 20) == []


def test_an_image_that_shows_its_patterns_few_times_over_needs_a_caution():
    (told,) = image_cautions(image_of(stripes(8, (80, 90))), 20)
    assert "image of 80 x 90 cells shows its largest structures few times over" in told


def test_a_facies_thicker_than_the_model_sees_needs_a_caution():
    assert image_cautions(image_of(stripes(8)), 1) == [], "eight cells are seen, and no stripe is thicker"
    codes = np.where(np.arange(400)[:, None] < 300, 1, stripes(4))
    told = image_cautions(image_of(codes, styles={1: ("mud", None)}), 5)[0]
    # 300 rows, and then twelve stripes of four: 348 rows in 13 runs; and nodes are four cells apart.
    assert "The facies mud is 27 cells thick on average, and the model sees 20 cells to each side" in told


def test_a_facies_of_one_corner_is_learnt_and_another_corner_is_held_out():
    codes = stripes(8)
    codes[-60:, -60:] = 5
    image = image_of(codes, styles={5: ("coal", None)})
    assert image.held_out_corner != "lower right"
    assert image.unlearnt == ()
    assert image_cautions(image, 20) == []


def test_a_facies_of_the_held_out_corner_alone_needs_a_caution():
    """Where each corner has one of its own."""
    codes = stripes(8)
    for number, (rows, cols) in enumerate(itertools.product((slice(60), slice(-60, None)), repeat=2)):
        codes[rows, cols][::8] = 5 + number
    image = image_of(codes, styles={k: (f"coal {k}", None) for k in range(5, 9)})
    told = image_cautions(image, 20)[0]
    assert "occur only in the" in told
    (unlearnt,) = image.unlearnt
    assert f"never sees them: {image.facies.names[unlearnt]}" in told
    assert (image.held_out == unlearnt).any()


def test_a_trend_needs_a_caution():
    """Sand is nowhere in the north and everywhere in the south; without the trend, no word."""
    chance = np.random.default_rng(0).random((300, 400))
    for trend, n_told in ((np.linspace(0, 1, 300)[:, None], 2), (0.5, 0)):
        image = image_of(np.where(chance < trend, 1, 2), styles={1: ("sand", None), 2: ("mud", None)})
        told = [text for text in image_cautions(image, 20) if "does not know where a cell lies" in text]
        assert len(told) == n_told
        assert not told or "The share of the facies sand goes from 8 % on one side" in told[0]
        assert not told or "to 92 % on the other" in told[0]


def test_shares_of_a_trend_by_hand():
    """Columns of blocks with shares of 0, 1/5 … 1: all is the trend; of nodata nothing is counted."""
    row, col = np.indices((60, 60))
    codes = (row % 5 < col // 10).astype(int)
    assert trend_of(codes, 1) == pytest.approx((1, 0, 1))
    codes[:30, :20] = -1
    assert trend_of(codes, 1) == pytest.approx((1, 0, 1))
    assert trend_of(np.zeros((60, 60), int), 1) == (0, 0, 0)


def test_hundreds_of_stray_codes_are_not_listed_all():
    codes = stripes(8)
    codes[0, :200] = np.arange(100, 300)
    (told,) = image_cautions(image_of(codes), 20)
    assert told.endswith("109 (1 cells) and 190 more.")


def test_a_facies_of_few_cells_needs_a_caution():
    codes = stripes(8)
    codes[:32, :40] = 5
    (told,) = image_cautions(image_of(codes, styles={5: ("coal", None)}), 20)
    assert told.startswith("These facies cover less than 1 % of the training image")
    assert told.endswith(": coal.")


def with_a_cell_of(value):
    codes = stripes(8, (70, 80)).astype(float)
    codes[5, 5] = value
    return codes


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.ones((3, 70, 80)), r"has rows and columns, and no more; this one is \(3, 70, 80\)"),
        (stripes(8, (63, 80)), r"has 63 x 80 cells; it needs at least 64 x 64 .*Use a larger image"),
        (stripes(8, (80, 63)), r"has 80 x 63 cells; it needs at least 64 x 64"),
        (
            with_a_cell_of(0.37),
            r"holds 0\.37, which is no facies code: .*'Reclassify by table'",
        ),
        (with_a_cell_of(np.nan), r"holds nan, which is no facies code"),
        (np.arange(64 * 66).reshape(64, 66) // 64, r"holds 66 different values; at most 32 facies are possible"),
        (np.full((70, 80), 4), r"holds one facies only \(4\); there is nothing to learn. Check that band and nodata"),
    ],
    ids=["bands", "low", "narrow", "broken", "nan", "too many", "one"],
)
def test_codes_that_are_no_training_image(codes, message):
    with pytest.raises(TrainingImageError, match=message):
        image_of(codes)


def test_one_facies_and_strays_are_one_facies():
    codes = np.full((400, 400), 4)
    codes[0, 0] = 5
    with pytest.raises(TrainingImageError, match=r"holds one facies only \(4\)"):
        image_of(codes)


def test_what_is_known_has_the_shape_of_the_codes_and_is_something():
    codes = stripes(8, (70, 80))
    with pytest.raises(TrainingImageError, match=r"has rows and columns, and no more; this one is \(70, 80\)"):
        image_of_codes(codes, np.ones((80, 70), dtype=bool))
    with pytest.raises(TrainingImageError, match=r"holds nodata only. Check its nodata value"):
        image_of_codes(codes, np.zeros((70, 80), dtype=bool))


def test_a_quarter_of_the_cells_must_be_known():
    codes, known = stripes(8, (80, 100)), np.zeros((80, 100), dtype=bool)
    known[60:] = True
    assert (image_of_codes(codes, known).class_index >= 0).mean() == 0.25
    known[60] = False
    with pytest.raises(TrainingImageError, match=r"Only 24 % of .* cells hold a facies; at least 25 % are needed\."):
        image_of_codes(codes, known)


def test_what_is_held_out_must_hold_something():
    codes, known = stripes(8, (80, 100)), np.ones((80, 100), dtype=bool)
    for rows in (slice(20), slice(60, 80)):
        for cols in (slice(25), slice(75, 100)):
            known[rows, cols] = False
    with pytest.raises(TrainingImageError, match=r"corners .* hold nodata only\. Clip the image"):
        image_of_codes(codes, known)
    known[79, 0] = True
    assert image_of_codes(codes, known).held_out_corner == "lower left", "of corners without contacts a known one"


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02])
def test_the_block_is_where_there_is_something_to_tell(share):
    """Lower right, unless next to nothing but one facies is there; then where most else is."""
    codes, known = stripes(8, (400, 400)), np.ones((400, 400), dtype=bool)
    codes[300:, 300:] = 1
    codes[300 : 300 + int(100 * share * 2), 300:350] = 2
    known[300:, :40] = False
    codes[:50, :100] = 1
    corner, block = ("lower right", codes[300:, 300:]) if share > 0.01 else ("upper right", codes[:100, 300:])
    image = image_of_codes(codes, known)
    assert image.held_out_corner == corner
    assert np.array_equal(image.held_out, block - 1)


@pytest.mark.parametrize(("n_cells", "is_first"), [(900, True), (901, False)])
def test_no_more_than_half_of_a_facies_is_held_out(n_cells, is_first):
    codes = stripes(8)
    codes[100:130, 100:130] = 5
    block = codes[300:, 300:].copy()
    block.flat[:n_cells] = 5
    codes[300:, 300:] = block
    assert (image_of(codes).held_out_corner == "lower right") == is_first


def test_of_corners_that_would_do_the_one_where_most_is_to_be_told_apart_is_held_out():
    """Not the one of which most is known."""
    codes, known = stripes(8), np.ones((400, 400), dtype=bool)
    codes[300:, :] = 1
    codes[:100, 300:] = 1
    codes[:5, 300:] = 2
    known[:20, :100] = False
    assert image_of_codes(codes, known).held_out_corner == "upper left"


def test_many_rare_codes_are_facies_too_many_and_no_errors():
    codes = np.arange(128 * 128).reshape(128, 128)
    with pytest.raises(TrainingImageError, match=r"16,384 different values; at most 32 facies"):
        image_of_codes(codes, np.ones(codes.shape, dtype=bool))


@pytest.mark.parametrize("value", [-3.4e38, np.inf, 2.0**31])
def test_values_that_no_code_can_have(value):
    codes = stripes(8, (80, 100)).astype(float)
    codes[3, 4] = value
    with pytest.raises(TrainingImageError, match=r"which is no facies code: .* a nodata value has to be declared"):
        image_of_codes(codes, np.ones(codes.shape, dtype=bool))


def test_an_unknown_symmetry_is_refused():
    with pytest.raises(TrainingImageError, match=r"symmetry 'some' is unknown; choose one of none, half turn, flips, "):
        image_of(stripes(8), symmetry="some")
