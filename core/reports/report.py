"""
One self-contained HTML page of tables and drawings: no script, no style sheet or picture beside it.

Each function returns a piece of HTML, and `page` puts sections of them together. All text that comes in is escaped;
the pieces themselves are taken as they are. Drawings are SVG with a description for those who do not see them.
"""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass
from html import escape
from typing import Collection, Mapping, Sequence

import numpy as np

from ..contract.errors import JobError
from .drawing import Frame, circle, drawing, label, paletted_png, span_of, ticks

COLORS = ("#2f6690", "#c8553d", "#5b8e7d", "#8f6c9f", "#b38a2e", "#7a8288")
"""Of series, in this order: muted, and distinct for the colour-blind."""

_LONGEST_SIDE, _SIDE_IN_A_ROW = 520, 180
"""Of a map on its own, and of one among others at least about so many; pixels."""

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1f2933; background: #fbfaf8;
  max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #dcd8d0; }
p { margin: .5rem 0; max-width: 46rem; }
figure { display: inline-block; vertical-align: bottom; margin: .75rem 1.5rem .75rem 0; max-width: 100%; }
figcaption, caption { font-size: .875rem; color: #52606d; text-align: left; padding-bottom: .35rem; max-width: 40rem; }
figcaption { max-width: 27rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #e4e0d8; text-align: left; }
thead th { border-bottom: 2px solid #bdb7ab; vertical-align: bottom; }
td.number, th.number { text-align: right; }
tr.strong td, tr.strong th { font-weight: 600; background: #eef3f7; }
tbody th { font-weight: 400; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: #2f6690; }
svg { max-width: 100%; height: auto; background: #fff; border: 1px solid #e4e0d8; border-radius: 4px; }
svg text { font: 12px system-ui, "Segoe UI", Arial, sans-serif; fill: #52606d; }
"""


@dataclass(frozen=True)
class Section:
    """
    A part of a page.

    Parameters
    ----------
    heading : str
        Text.
    body : str
        HTML, from the functions of this module.
    """

    heading: str
    body: str


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """
    Put a page together.

    Parameters
    ----------
    title, lead : str
        Text of the title, and of the paragraphs below it, one a line.
    sections : sequence of Section
        In their order.

    Returns
    -------
    str
        The whole HTML document; write it as UTF-8.
    """
    opening = "\n".join(map(paragraph, lead.splitlines()))
    body = "\n".join(f"<section><h2>{escape(s.heading)}</h2>\n{s.body}\n</section>" for s in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{opening}\n{body}\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str) -> str:
    """Return text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "", strong: Sequence[int] = ()
) -> str:
    """
    Return a table whose first column names the rows.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences of str, int, float or None
        Numbers stand to the right: floats with three decimals, integers with thousands apart. None and NaN are a dash.
    caption : str
        Says what the table shows.
    strong : sequence of int
        Numbers of the rows to put forward.

    Raises
    ------
    JobError
        When a row is not as long as the header.
    """
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise JobError(
                f"Row {number} of the table {caption!r} has {len(row)} cells; the header has {len(header)} columns. "
                "Give each row one cell for each column."
            )
    is_number = [any(_is_number(row[column]) for row in rows) for column in range(len(header))]
    kind = [' class="number"' if number else "" for number in is_number]
    head = "".join(f'<th scope="col"{k}>{escape(text)}</th>' for k, text in zip(kind, header))
    lines = []
    for number, row in enumerate(rows):
        first, *rest = (escape(_formatted(cell)) for cell in row)
        cells = "".join(f"<td{k}>{text}</td>" for k, text in zip(kind[1:], rest))
        mark = ' class="strong"' if number in strong else ""
        lines.append(f'<tr{mark}><th scope="row"{kind[0]}>{first}</th>{cells}</tr>')
    return _framed_table(head, lines, caption)


def confusion_table(counts: np.ndarray, names: Sequence[str], *, caption: str = "") -> str:
    """
    Return a confusion matrix as a table, each row shaded by its shares.

    Parameters
    ----------
    counts : int array, shape (n_facies, n_facies)
        Rows are what was found, columns what was predicted.
    names : sequence of str
        Names of the facies.
    caption : str
        Says what the table shows.
    """
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in [*names, "all"])
    lines = []
    for name, row in zip(names, counts):
        share = row / max(1, int(row.sum()))
        cells = "".join(
            f'<td class="number" style="background: rgba(47, 102, 144, {0.6 * s:.2f})">{int(n):,}</td>'
            for s, n in zip(share, row)
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="number">{int(row.sum()):,}</td></tr>')
    return _framed_table(f'<th scope="col">found \\ predicted</th>{head}', lines, caption)


def _framed_table(head: str, lines: Sequence[str], caption: str) -> str:
    """Return a table of the HTML of its header and of its rows."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def reliability_plot(
    predicted: np.ndarray, observed: np.ndarray, number: np.ndarray, *, caption: str = "Reliability"
) -> str:
    """
    Draw observed frequencies over predicted probabilities; below, how many pairs each bin holds.

    Parameters
    ----------
    predicted, observed : array, shape (n_bins,)
        As `scores.Reliability` has them; NaN in empty bins.
    number : int array, shape (n_bins,)
        Pairs of a facies and a point in each bin.
    caption : str
        Says what the drawing shows.
    """
    frame = Frame((0, 1), (0, 1), 380, 300, "predicted probability", "observed frequency")
    number, diagonal = np.asarray(number), np.array([0, 1])
    n_bins, most = len(number), max(1, int(number.max()))
    # The bars of the counts stand on the axis and take a fifth of the height at most.
    bars = [
        frame.bar((k / n_bins, (k + 1) / n_bins), (0, 0.2 * n / most), "#e4e0d8", f"{int(n):,} pairs")
        for k, n in enumerate(number)
    ]
    x, y = np.asarray(predicted)[number > 0], np.asarray(observed)[number > 0]
    titles = [f"predicted {a:.3f}, observed {b:.3f}" for a, b in zip(x, y)]
    lines = [frame.line(diagonal, diagonal, "#9aa5b1", dashed=True), frame.line(x, y, COLORS[0])]
    return figure(frame.svg([*bars, *lines, frame.dots(x, y, COLORS[0], titles)], caption), caption)


def line_plot(
    x: np.ndarray,
    series: Mapping[str, np.ndarray],
    *,
    spread: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    dots_only: Collection[str] = (),
    from_zero: bool = False,
    x_label: str = "",
    y_label: str = "",
    caption: str = "",
    size: tuple[float, float] = (480, 300),
) -> str:
    """
    Draw series over a common axis.

    Parameters
    ----------
    x : array, shape (n,)
        Places on the axis.
    series : mapping of str to array, shape (n,)
        By name; points of NaN are left out.
    spread : mapping of str to pair of arrays, shape (n,), optional
        Between what a series varies, by its name.
    dots_only : collection of str
        Names of the series that no line joins.
    from_zero : bool
        Let the upright axis begin at 0.
    x_label, y_label, caption : str
        Say what the drawing shows.
    size : (float, float)
        Width and height, pixels.
    """
    spread = spread or {}
    bounds = [bound for pair in spread.values() for bound in pair]
    shown = [*series.values(), *bounds, *([np.zeros(1)] if from_zero else [])]
    lowest, highest = span_of(np.concatenate([np.asarray(v, dtype=float) for v in shown]))
    y_span = (0.0 if from_zero else lowest, highest)
    widest = max(len(text) for _, text in ticks(y_span))
    frame = Frame(span_of(x), y_span, *size, x_label, y_label, left=max(Frame.left, 24 + 7 * widest))
    colors = dict(zip(series, itertools.cycle(COLORS)))
    bands, parts = [], []
    for name, y in series.items():
        held = np.isfinite(y) & np.isfinite(x)
        place, value = np.asarray(x)[held], np.asarray(y)[held]
        if name in spread:
            low, high = (bound[held] for bound in spread[name])
            bands.append(frame.band(place, low, high, colors[name]))
        if name not in dots_only:
            parts.append(frame.line(place, value, colors[name]))
        parts.append(frame.dots(place, value, colors[name]))
    return figure(frame.svg([*bands, *parts], caption), caption, colors)


def histogram(
    counts: np.ndarray, labels: Sequence[str], *, expected: float | None = None, x_label: str = "", caption: str = ""
) -> str:
    """
    Draw counts as upright bars, such as those of ranks.

    Parameters
    ----------
    counts : array, shape (n,)
        At least 0.
    labels : sequence of str
        Below the bars; empty ones are left out.
    expected : float, optional
        A dashed line across, where the bars should end.
    x_label, caption : str
        Say what the drawing shows.
    """
    top = max(float(np.max(counts)), expected or 0.0, 1e-12)
    frame = Frame((0, len(counts)), (0, 1.05 * top), 380, 220, x_label, "number", x_ticks=False)
    parts = []
    for k, (n, text) in enumerate(zip(counts, labels)):
        parts.append(frame.bar((k, k + 1), (0, n), COLORS[0], f"{text}: {n:g}"))
        parts.append(label(frame.x(k + 0.5), frame.y(0) + 15, text))
    if expected is not None:
        parts.append(frame.line(np.array([0, len(counts)]), np.full(2, expected), "#1f2933", dashed=True))
    return figure(frame.svg(parts, caption), caption)


def bar_chart(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    reference: float = 0.0,
    x_label: str = "",
    caption: str = "",
) -> str:
    """
    Draw values as lying bars, one below the other, with their intervals.

    Parameters
    ----------
    labels : sequence of str
        Names of the bars.
    values, low, high : sequence of float
        Ends of the bars, and bounds of their intervals if there are any.
    reference : float
        Where the bars begin, marked by a line.
    x_label, caption : str
        Say what the drawing shows.
    """
    ends = np.concatenate([np.asarray(v, dtype=float) for v in (values, low, high, [reference]) if v is not None])
    left, n_bars = 16 + 6.5 * max(map(len, labels)), len(labels)
    frame = Frame(span_of(ends), (0, n_bars), 420 + left, 54 + 24 * n_bars, x_label, left=left, y_ticks=False)
    parts = []
    for k, (text, value) in enumerate(zip(labels, values)):
        middle = n_bars - k - 0.5
        parts.append(label(left - 8, frame.y(middle) + 4, text, "end"))
        parts.append(
            frame.bar((reference, value), (middle - 0.33, middle + 0.33), COLORS[0] + "bb", f"{text}: {value:.3f}")
        )
        if low is not None and high is not None:
            parts.append(frame.line(np.array([low[k], high[k]]), np.full(2, middle), "#1f2933"))
    parts.append(frame.line(np.full(2, reference), np.array([0, n_bars]), "#1f2933"))
    return figure(frame.svg(parts, caption), caption)


def scatter_map(
    easting: np.ndarray,
    northing: np.ndarray,
    colors: Sequence[str],
    *,
    legend: Mapping[str, str] | None = None,
    titles: Sequence[str] | None = None,
    caption: str = "",
) -> str:
    """
    Draw points as a map: north is up, and both axes have one scale.

    Parameters
    ----------
    easting, northing : array, shape (n,)
        World coordinates, in one unit.
    colors : sequence of str
        Colour of each point, such as `#2f6690`.
    legend : mapping of str to str, optional
        Name to colour.
    titles : sequence of str, optional
        What is shown when the pointer rests on a point.
    caption : str
        Says what the drawing shows.

    Raises
    ------
    JobError
        When there is not one colour for each point.
    """
    if not len(easting) == len(northing) == len(colors):
        raise JobError(
            f"The map {caption!r} has {len(easting)} eastings, {len(northing)} northings and {len(colors)} colours; "
            "each point needs one of each."
        )
    (west, east), (south, north) = span_of(easting), span_of(northing)
    scale = _LONGEST_SIDE / max(east - west, north - south)
    dots = [
        circle(scale * (x - west), scale * (north - y), 4, color, title)
        for x, y, color, title in zip(easting, northing, colors, titles or [""] * len(colors))
    ]
    return figure(drawing(scale * (east - west), scale * (north - south), dots, caption), caption, legend)


def maps_in_a_row(
    maps: np.ndarray, colors: Sequence[str], *, legend: Mapping[str, str] | None = None, caption: str = ""
) -> str:
    """
    Show maps side by side, small ones with several pixels a cell.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index of each cell, negative where there is none; row 0 is on top.
    colors : sequence of str
        Of each class.
    legend : mapping of str to str, optional
        Name to colour.
    caption : str
        Says what the maps are.
    """
    pictures = []
    for number, class_index in enumerate(maps, start=1):
        content = base64.b64encode(paletted_png(class_index, colors)).decode("ascii")
        n_rows, n_cols = class_index.shape
        scale = max(1, round(_SIDE_IN_A_ROW / max(n_rows, n_cols)))
        pictures.append(
            f'<img src="data:image/png;base64,{content}" width="{scale * n_cols}" height="{scale * n_rows}" '
            f'alt="{escape(caption)}, {number}" style="margin: 2px; image-rendering: pixelated">'
        )
    return figure("\n".join(pictures), caption, legend)


def folded(summary: str, body: str) -> str:
    """Return HTML that shows when its summary, a text, is clicked."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float, np.integer, np.floating)) and not isinstance(cell, bool)


def _formatted(cell: object) -> str:
    if cell is None or (isinstance(cell, (float, np.floating)) and np.isnan(cell)):
        return "–"
    if isinstance(cell, (float, np.floating)):
        return f"{cell:.3f}"
    return f"{cell:,}" if _is_number(cell) else str(cell)


def figure(svg: str, caption: str, legend: Mapping[str, str] | None = None) -> str:
    """Return a drawing with its caption above and its legend (name to colour) beside the caption."""
    keys = "".join(
        f' <span style="white-space: nowrap"><span style="color: {escape(color)}">&#9632;</span> {escape(name)}</span>'
        for name, color in (legend or {}).items()
    )
    return f"<figure><figcaption>{escape(caption)}{keys}</figcaption>\n{svg}</figure>"
