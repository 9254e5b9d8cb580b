"""Reports: pages that a browser can read, whose text is text, and drawings that put values where they belong."""

import base64
import re
import struct
from xml.etree import ElementTree

import numpy as np
import pytest

from oadg.core.contract.errors import JobError
from oadg.core.reports import drawing, report
from oadg.core.reports.report_maps import observed_maps

EVIL = '<script>alert("x")</script> & more'
PIECES = {
    "paragraph": report.paragraph(EVIL),
    "table": report.table([EVIL, "n"], [[EVIL, 1], ["b", None]], caption=EVIL, strong=[0]),
    "confusion": report.confusion_table(np.array([[3, 1], [0, 0]]), [EVIL, "b"], caption=EVIL),
    "reliability": report.reliability_plot(
        np.array([0.1, np.nan, 0.9]), np.array([0, np.nan, 1]), np.array([4, 0, 2]), caption=EVIL
    ),
    "line": report.line_plot(np.arange(3), {EVIL: np.array([1, np.nan, 3])}, x_label=EVIL, y_label=EVIL, caption=EVIL),
    "spread": report.line_plot(
        np.arange(3),
        {EVIL: np.array([1, np.nan, 3]), "b": np.array([2, 2, 2])},
        spread={EVIL: (np.array([0, np.nan, 2]), np.array([2, np.nan, 4]))},
        dots_only=["b"],
        from_zero=True,
        caption=EVIL,
    ),
    "folded": report.folded(EVIL, report.paragraph("below")),
    "histogram": report.histogram(np.array([3, 0, 5]), ["0", EVIL, ""], expected=2.5, x_label=EVIL, caption=EVIL),
    "bars": report.bar_chart([EVIL, "b"], [0.9, 1.1], low=[0.8, 1.0], high=[1.0, 1.2], reference=1.0, caption=EVIL),
    "map": report.scatter_map(
        np.array([0, 1]),
        np.array([5, 9]),
        ["#123456", '"/>'],
        legend={EVIL: "#123456"},
        titles=[EVIL, ""],
        caption=EVIL,
    ),
}
HREF = "{http://www.w3.org/1999/xlink}href"
pieces = pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)


@pieces
def test_text_stays_text(piece):
    """What comes in shows up as it is, and nowhere as a tag; the piece is well formed."""
    tree = ElementTree.fromstring(piece)
    assert "script" not in {element.tag for element in tree.iter()}
    assert any(EVIL in text for text in tree.itertext()) or any(EVIL in e.attrib.values() for e in tree.iter())


@pieces
def test_no_number_is_lost(piece):
    assert "nan" not in piece
    assert "inf" not in piece


def test_a_page_stands_alone():
    page = report.page(EVIL, [report.Section(EVIL, piece) for piece in PIECES.values()], lead=EVIL)
    assert page.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in page
    assert '<meta charset="utf-8">' in page
    assert not re.search(r"<script|<link|<img|(src|href)=", page)
    assert page.count("<section>") == page.count("</section>") == len(PIECES)


def test_drawings_describe_themselves():
    for name in ("reliability", "line", "histogram", "bars", "map"):
        svg = ElementTree.fromstring(PIECES[name]).find(".//{http://www.w3.org/2000/svg}svg")
        assert svg.attrib["role"] == "img"
        assert svg.attrib["aria-label"] == EVIL


def test_cells_of_a_table():
    html = report.table(["method", "loss", "n"], [["ours", 0.93844, 12345], ["none", float("nan"), None]], strong=[0])
    assert '<th scope="col">method</th><th scope="col" class="number">loss</th>' in html
    assert (
        '<tr class="strong"><th scope="row">ours</th><td class="number">0.938</td><td class="number">12,345</td>'
        in html
    )
    assert html.count('<td class="number">–</td>') == 2


def test_a_frame_takes_values_to_pixels():
    frame = drawing.Frame((0, 10), (0, 1), 166, 154, left=52)
    assert (frame.x(0), frame.x(10)) == (52, 152)
    assert (frame.y(0), frame.y(1)) == (110, 10)
    assert 'points="102.0,60.0"' in frame.line(np.array([5]), np.array([0.5]), "#000")


@pytest.mark.parametrize(
    ("span", "texts"),
    [
        ((0, 1), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ((-0.1, 5.1), ["0", "1", "2", "3", "4", "5"]),
        ((0.981, 1.019), ["0.985", "0.990", "0.995", "1.000", "1.005", "1.010", "1.015"]),
        ((0, 6000), ["0", "1,000", "2,000", "3,000", "4,000", "5,000", "6,000"]),
    ],
)
def test_ticks_are_round(span, texts):
    assert [text for _, text in drawing.ticks(span)] == texts


@pytest.mark.parametrize(("value", "top"), [(1.0, "1.0"), (0.012, "0.012")])
def test_a_line_plot_from_zero_ends_at_its_highest_value(value, top):
    plot = report.line_plot(np.arange(3), {"a": np.full(3, value)}, from_zero=True)
    assert re.findall('text-anchor="end">([^<]+)<', plot)[-1] == top


def test_long_numbers_on_the_upright_axis_leave_room_for_its_name():
    plot = report.line_plot(np.arange(3), {"a": np.array([0.9984, 0.999, 1.0])}, y_label="share")
    right, text = re.search('<text x="([0-9.]+)" y="[0-9.]+" text-anchor="end">([^<]+)<', plot).groups()
    assert float(right) - 7 * len(text) > 13


@pytest.mark.parametrize("values", [[], [np.nan], [0.0], [5.0, 5.0], [-1.0, np.nan, 3.0]])
def test_spans_are_never_empty_and_hold_the_values(values):
    low, high = drawing.span_of(np.array(values))
    assert low < high
    assert all(low < value < high for value in values if np.isfinite(value))


def test_north_is_up():
    tree = ElementTree.fromstring(report.scatter_map(np.array([0, 0]), np.array([0, 9]), ["#south", "#north"]))
    y = {dot.attrib["fill"]: float(dot.attrib["cy"]) for dot in tree.iter("{http://www.w3.org/2000/svg}circle")}
    assert y["#north"] < y["#south"]


def test_a_spread_is_shaded_between_its_bounds_and_dots_are_not_joined():
    tree = ElementTree.fromstring(PIECES["spread"])
    svg = "{http://www.w3.org/2000/svg}"
    band, line = tree.find(f".//{svg}polygon"), tree.findall(f".//{svg}polyline")
    assert len(line) == 1, "only the first series is joined"
    assert len(tree.findall(f".//{svg}circle")) == 2 + 3
    (x0, low), (x1, _), _, (_, high) = (tuple(map(float, pair.split(","))) for pair in band.attrib["points"].split())
    (_, first), (_, last) = (tuple(map(float, pair.split(","))) for pair in line[0].attrib["points"].split())
    assert x0 < x1
    assert first == pytest.approx((low + high) / 2, abs=0.1)
    assert last < first < low, "pixels grow downward"
    assert low == pytest.approx(300 - 44), "0 is the lower end of the axis"


def test_observations_lie_where_they_belong_on_every_map():
    maps = np.array([[[0, 1, 1]], [[1, 0, -1]]])
    html = observed_maps(
        maps, ["#aa0000", "#00bb00"], np.array([0]), np.array([2]), np.array([1]), legend={EVIL: "#aa0000"}, width=300
    )
    tree = ElementTree.fromstring(html)
    svg = "{http://www.w3.org/2000/svg}"
    assert EVIL in "".join(tree.itertext())
    assert [image.attrib[HREF][:22] for image in tree.iter(f"{svg}image")] == ["data:image/png;base64,"] * 2
    dots = [(d.attrib["cx"], d.attrib["cy"], d.attrib["fill"]) for d in tree.iter(f"{svg}circle")]
    assert dots == [("250.0", "50.0", "#00bb00")] * 2


def test_large_maps_are_thinned():
    maps, nowhere = np.zeros((1, 2500, 10), dtype=int), np.empty(0, dtype=int)
    image = ElementTree.fromstring(observed_maps(maps, ["#aa0000"], nowhere, nowhere, nowhere)).find(
        ".//{http://www.w3.org/2000/svg}image"
    )
    png = base64.b64decode(image.attrib[HREF].split(",")[1])
    assert struct.unpack(">II", png[16:24]) == (5, 1250)
    assert (image.attrib["width"], image.attrib["height"]) == ("1", "290")


def test_rows_that_do_not_fit_the_header():
    with pytest.raises(
        JobError, match="Row 1 of the table 'scores' has 1 cells; the header has 2 columns. Give each row"
    ):
        report.table(["a", "b"], [["x", 1], ["y"]], caption="scores")


def test_points_without_a_colour():
    with pytest.raises(JobError, match="map 'rocks' has 2 eastings, 2 northings and 1 colours; each point needs one"):
        report.scatter_map(np.zeros(2), np.zeros(2), ["#000000"], caption="rocks")
