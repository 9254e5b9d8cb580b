"""Laws of the facies table: stable codes, one colour each, and clear refusals."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import FaciesError
from oadg.core.contract.facies import (
    MAX_FACIES,
    PALETTE,
    Facies,
    FaciesTable,
    are_codes,
    build_facies_table,
    check_facies_count,
    match_facies,
    sort_facies,
)

texts = st.lists(st.text(min_size=1, max_size=8).filter(lambda s: s.strip() == s), min_size=2, max_size=32, unique=True)
codes = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=32, unique=True)


@given(texts, st.randoms(use_true_random=False))
def test_text_codes_depend_on_the_set_of_names_only(names, random):
    repeated = names + random.choices(names, k=10)
    random.shuffle(repeated)
    table = build_facies_table(repeated)
    assert table == build_facies_table(names)
    assert table.names == sort_facies(names)
    assert table.codes.tolist() == list(range(1, len(names) + 1))


def test_texts_that_are_numbers_are_in_the_order_of_these():
    assert build_facies_table(["10", "-3", "2", "10"]).names == ["-3", "2", "10"]
    assert build_facies_table(["10.0", "2.0", "1.5"]).names == ["1.5", "2.0", "10.0"]
    assert build_facies_table(["10", "2", "2a"]).names == ["10", "2", "2a"]
    assert build_facies_table(["10", "2", "nan"]).names == ["10", "2", "nan"]


def test_names_are_in_alphabetical_order_in_capitals_or_not():
    table = build_facies_table(["sand", "Till", "clay", "Gravel", "Sand"])
    assert table.names == ["clay", "Gravel", "Sand", "sand", "Till"]


@given(codes)
def test_integer_codes_are_kept(values):
    table = build_facies_table(values)
    assert table.codes.tolist() == sorted(values)
    assert table.names == [str(v) for v in sorted(values)]


@given(codes, st.data())
def test_class_index_inverts_codes(values, data):
    table = FaciesTable(tuple(Facies(v, str(v), "#000000") for v in values))  # in any order
    asked = data.draw(st.lists(st.sampled_from(values), max_size=20))
    index = table.class_index(np.array(asked, dtype=np.int64))
    np.testing.assert_array_equal(table.codes[index], asked)


def test_a_map_of_codes_has_minus_one_where_nothing_is_known():
    table = FaciesTable((Facies(7, "sand", "#000000"), Facies(-2, "clay", "#ffffff")))
    codes = np.array([[-2.0, 99.0], [7.0, np.nan]])
    class_map = table.class_map(codes, np.isin(codes, table.codes))
    np.testing.assert_array_equal(class_map, [[1, -1], [0, -1]])
    assert class_map.dtype == np.int16


@pytest.mark.parametrize("type_", [np.int64, np.float32, np.float64])
def test_codes_are_whole_numbers_of_32_bits(type_):
    assert are_codes(np.array([-3, 0, 311], dtype=type_)).all()
    assert not are_codes(np.array([-(2**40), 2**40], dtype=type_)).any()
    assert not are_codes(np.array([0.5, np.nan, np.inf])).any()
    assert not are_codes(np.array([-(2**31)], dtype=np.int32)).any(), "whose absolute value is no such number"


@given(texts | codes, st.data())
def test_every_facies_of_a_table_is_found_in_it(values, data):
    labels = st.none() | st.sampled_from(["some longer label", "another one", "the last of them"])
    styles = {v: (data.draw(labels), None) for v in values}
    table = build_facies_table(values, styles)
    found = match_facies(values, {v: name for v, (name, _) in styles.items()}, table)
    assert found == {value: k for k, value in enumerate(sort_facies(values))}


def test_names_tell_before_numbers_if_all_are_told():
    table = FaciesTable((Facies(1, "clay", "#000000"), Facies(2, "sand", "#ffffff")))
    assert match_facies([1, 2], {1: "Sand", 2: "clay"}, table) == {1: 1, 2: 0}
    assert match_facies([1, 2, 1], {1: "rock", 2: "2"}, table) == {1: 0, 2: 1}
    with pytest.raises(FaciesError, match=r"The code 1 is called 'sand' .*, which has the code 2 here, among 1"):
        match_facies([1, 2], {1: "sand"}, table)
    assert match_facies([7, 2], {2: "sand"}, table) == {7: None, 2: 1}


def test_a_name_is_found_in_its_own_case_or_in_any_if_no_other_could_be_meant():
    table = FaciesTable(tuple(Facies(k, name, "#000000") for k, name in enumerate(("sand", "Sand", "Clay"))))
    assert match_facies(["Sand", "sand", "clay"], {}, table) == {"Sand": 1, "sand": 0, "clay": 2}
    assert match_facies(["SAND", "CLAY"], {}, table) == {"SAND": None, "CLAY": 2}


def test_accents_and_blanks_are_written_either_way():
    composed, apart = "l\u00f6ss", "lo\u0308ss"
    for known, asked in ((composed, apart), (apart, composed), (f" {apart} ", f"{composed} ")):
        table = FaciesTable((Facies(1, "clay", "#000000"), Facies(2, known, "#ffffff")))
        assert match_facies([asked], {}, table) == {asked: 1}
        assert match_facies([7], {7: asked}, table) == {7: 1}


def test_a_text_is_what_it_says_before_what_it_is_shown_as():
    table = FaciesTable((Facies(1, "clay", "#000000"), Facies(2, "sand", "#ffffff")))
    assert match_facies(["sand", "x"], {"sand": "clay", "x": "clay"}, table) == {"sand": 1, "x": 0}


def test_a_number_that_is_shown_as_itself_is_a_code_and_no_name():
    table = FaciesTable((Facies(1, "2", "#000000"), Facies(2, "3", "#ffffff")))
    assert match_facies([2], {2: "2"}, table) == match_facies([2], {}, table) == {2: 1}
    assert match_facies(["2"], {}, table) == {"2": 0}


@given(texts | codes)
def test_a_table_survives_json(values):
    table = build_facies_table(values)
    assert FaciesTable.from_list(json.loads(json.dumps(table.to_list()))) == table


@pytest.mark.parametrize("n_facies", [2, 16, MAX_FACIES])
def test_every_facies_has_a_colour_of_its_own(n_facies):
    colors = build_facies_table(range(n_facies)).colors
    assert all(re.fullmatch(r"#[0-9a-f]{6}", color) for color in colors)
    assert len(set(colors)) == len(colors)


def test_names_and_colours_come_from_the_style_and_the_rest_from_the_palette():
    table = build_facies_table([1, 2, 3], {1: ("sand", "#123456"), 2: (None, PALETTE[0]), 3: ("clay", None)})
    assert table.names == ["sand", "2", "clay"]
    assert table.colors[:2] == ["#123456", PALETTE[0]]
    assert table.colors[2] not in table.colors[:2]
    first, second = build_facies_table([1, 2], {2: (None, PALETTE[0])}).colors
    assert first != second == PALETTE[0], "nor is one taken that a later facies has"


def test_facies_that_share_a_name_in_the_style_stay_apart():
    table = build_facies_table([1, 2, 3], {1: ("sand", None), 2: ("sand", None), 3: (" ", None)})
    assert table.names == ["sand (1)", "sand (2)", "3"]


def test_a_made_up_name_does_not_collide_with_a_real_one():
    table = build_facies_table([1, 2, 3], {1: ("sand (3)", None), 2: ("sand", None), 3: ("sand", None)})
    assert len(set(table.names)) == 3


def test_numpy_integers_are_codes_too():
    assert build_facies_table(np.array([311, -1, 311])).codes.tolist() == [-1, 311]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"hold 0 facies; at least 2 are needed"),
        (["sand", "sand"], r"hold 1 facies \(only 'sand'\); at least 2 are needed"),
        (range(33), r"hold 33 facies; at most 32 are possible\. Is this the right field or band\?"),
    ],
)
def test_too_few_and_too_many_facies_are_refused(values, message):
    with pytest.raises(FaciesError, match=message):
        build_facies_table(list(values))


def test_as_many_facies_as_the_limit_are_accepted():
    check_facies_count(MAX_FACIES, [str(i) for i in range(MAX_FACIES)])
    assert len(build_facies_table(list(range(MAX_FACIES)))) == MAX_FACIES


def test_a_code_or_name_that_occurs_twice_is_refused():
    with pytest.raises(FaciesError, match="Some facies have the same code: 7"):
        FaciesTable((Facies(7, "sand", "#000000"), Facies(7, "clay", "#ffffff")))
    with pytest.raises(FaciesError, match="Some facies have the same name: sand"):
        FaciesTable((Facies(1, "sand", "#000000"), Facies(2, "sand", "#ffffff")))


def test_a_colour_that_pages_cannot_show_is_refused():
    with pytest.raises(FaciesError, match="The colour 'red' of the facies 'sand' cannot be read. Write it as #rrggbb"):
        FaciesTable((Facies(1, "sand", "red"), Facies(2, "clay", "#ffffff")))


@pytest.mark.parametrize("code", [0, 4, -(2**40), 2**40])
def test_an_unknown_code_is_named_with_the_known_ones(code):
    table = build_facies_table([1, 3])
    with pytest.raises(FaciesError, match=rf"not in the facies table: {code}. It has 1 1, 3 3"):
        table.class_index(np.array([1, code, 3]))


def test_facies_that_a_style_shows_as_one_are_told_apart_each_by_its_value():
    styles = {"Gravel": ("Coarse", "#111111"), "Sand": ("Coarse", "#111111"), "Clay": ("Clay", None)}
    assert build_facies_table(["Sand", "Gravel", "Clay"], styles).names == ["Clay", "Coarse (Gravel)", "Coarse (Sand)"]
    assert build_facies_table([1, 2], {1: ("2", None)}).names == ["2 (1)", "2"]
