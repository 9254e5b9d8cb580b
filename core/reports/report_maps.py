"""Maps with observations on them, for a report."""

from __future__ import annotations

import base64
from html import escape
from typing import Mapping, Sequence

import numpy as np

from .drawing import drawing, paletted_png
from .report import figure

_MOST_PIXELS = 1000  # along a side of a picture; of larger maps every second, third … cell is shown
_MANY_POINTS = 100  # from here on, observations are drawn small


def observed_maps(
    maps: np.ndarray,
    colors: Sequence[str],
    row: np.ndarray,
    col: np.ndarray,
    class_index: np.ndarray,
    *,
    legend: Mapping[str, str] | None = None,
    caption: str = "",
    width: float = 290,
) -> str:
    """
    Show maps side by side with observations on them, as dots in the colours of what was observed.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index of each cell, negative where there is none; row 0 is on top.
    colors : sequence of str
        Of each class.
    row, col, class_index : int array, shape (n_points,)
        Cells and classes of the observations; none are fine.
    legend : mapping of str to str, optional
        Name to colour.
    caption : str
        Says what the maps are.
    width : float
        Of a map, pixels; one that is higher than wide has this height.
    """
    n_rows, n_cols = maps.shape[1:]
    scale = width / max(n_rows, n_cols)
    step = max(1, max(n_rows, n_cols) // _MOST_PIXELS)
    size = f'width="{scale * n_cols:.0f}" height="{scale * n_rows:.0f}"'
    radius = 1.5 if len(row) > _MANY_POINTS else 2.5
    dots = "".join(
        f'<circle cx="{scale * (x + 0.5):.1f}" cy="{scale * (y + 0.5):.1f}" r="{radius}" fill="{escape(colors[k])}" '
        'stroke="#1f2933" stroke-width="0.7"/>'
        for y, x, k in zip(row, col, class_index)
    )
    pictures = []
    for number, of_cells in enumerate(maps, start=1):
        content = base64.b64encode(paletted_png(of_cells[::step, ::step], colors)).decode("ascii")
        image = (  # xlink:href, for the viewer of results in QGIS 3 knows no plain href
            f'<image xlink:href="data:image/png;base64,{content}" {size} preserveAspectRatio="none" '
            'style="image-rendering: pixelated"/>'
        )
        pictures.append(drawing(scale * n_cols, scale * n_rows, [image, dots], f"{caption}, {number}"))
    return figure("\n".join(pictures), caption, legend)
