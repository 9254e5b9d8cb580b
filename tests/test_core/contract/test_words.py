"""Numbers in sentences."""

import pytest

from oadg.core.contract.words import counted, percent


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((1, "row"), "1 row"),
        ((0, "row"), "0 rows"),
        ((1200, "row"), "1,200 rows"),
        ((1, "has none", "have none"), "1 has none"),
        ((2, "has none", "have none"), "2 have none"),
    ],
)
def test_a_noun_or_a_verb_agrees_with_its_number(asked, expected):
    assert counted(*asked) == expected


def test_shares_have_one_style():
    assert (percent(0.094), percent(0.0944, 1), percent(0.09, sign="+"), percent(-1)) == (
        "9 %",
        "9.4 %",
        "+9 %",
        "-100 %",
    )
