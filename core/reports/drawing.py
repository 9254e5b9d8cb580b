"""What the drawings of a report are made of: a frame with axes, and SVG inside it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from html import escape
from typing import Sequence, Tuple

import numpy as np

Span = Tuple[float, float]

_TOP, _BOTTOM, _RIGHT = 10, 44, 14  # pixels around the axes


@dataclass(frozen=True)
class Frame:
    """
    The axes of a drawing, which take values to pixels.

    Parameters
    ----------
    x_span, y_span : (float, float)
        Lowest and highest value of the horizontal and the vertical axis.
    width, height : float
        Size of the drawing, pixels.
    x_label, y_label : str
        Names of the axes.
    left : float
        Room left of the vertical axis, pixels.
    x_ticks, y_ticks : bool
        Whether an axis shows values.
    """

    x_span: Span
    y_span: Span
    width: float
    height: float
    x_label: str = ""
    y_label: str = ""
    left: float = 52
    x_ticks: bool = True
    y_ticks: bool = True

    def x(self, value: float) -> float:
        """Return the pixel of a value on the horizontal axis."""
        low, high = self.x_span
        return self.left + (self.width - self.left - _RIGHT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Return the pixel of a value on the vertical axis."""
        low, high = self.y_span
        return _TOP + (self.height - _TOP - _BOTTOM) * (high - value) / (high - low)

    def line(self, x: np.ndarray, y: np.ndarray, color: str, *, dashed: bool = False) -> str:
        """Draw a line through points (n,), (n,)."""
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x, y))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8"{dash}/>'

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: str) -> str:
        """Shade what lies between two lines over the same places (n,)."""
        there = [f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x, low)]
        back = [f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x, high)][::-1]
        return f'<polygon points="{" ".join(there + back)}" fill="{color}" fill-opacity="0.15"/>'

    def dots(self, x: np.ndarray, y: np.ndarray, color: str, titles: Sequence[str] | None = None) -> str:
        """Draw points (n,), (n,); titles are shown when the pointer rests on them."""
        return "".join(
            circle(self.x(a), self.y(b), 3.5, color, title) for a, b, title in zip(x, y, titles or [""] * len(x))
        )

    def bar(self, x: Span, y: Span, color: str, title: str) -> str:
        """Fill a rectangle, less a pixel on either side where it is an upright one."""
        (left, right), (bottom, top) = map(self.x, x), map(self.y, y)
        return (
            f'<rect x="{min(left, right) + 1:.1f}" y="{top:.1f}" width="{max(abs(right - left) - 2, 0.5):.1f}" '
            f'height="{max(bottom - top, 0):.1f}" fill="{color}"><title>{escape(title)}</title></rect>'
        )

    def svg(self, parts: Sequence[str], caption: str) -> str:
        """Return the drawing: parts in front of the axes."""
        bottom, right = self.y(self.y_span[0]), self.x(self.x_span[1])
        middle = (_TOP + bottom) / 2
        axes = []
        for value, name in ticks(self.x_span) if self.x_ticks else []:
            axes += [
                _rule(self.x(value), _TOP, self.x(value), bottom),
                label(self.x(value), bottom + 15, name),
            ]
        for value, name in ticks(self.y_span) if self.y_ticks else []:
            axes += [
                _rule(self.left, self.y(value), right, self.y(value)),
                label(self.left - 6, self.y(value) + 4, name, "end"),
            ]
        axes.append(label((self.left + right) / 2, self.height - 8, self.x_label))
        axes.append(label(13, middle, self.y_label, turned=True))
        return drawing(self.width, self.height, [*axes, *parts], caption)


def span_of(values: np.ndarray) -> Span:
    """Return lowest and highest finite value, with a little room around; never empty."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = 0.04 * (high - low) or 0.5 * max(abs(low), 1.0)
    return low - room, high + room


def ticks(span: Span) -> list[tuple[float, str]]:
    """Return some four to eight round values of a span, with their texts."""
    rough = (span[1] - span[0]) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(np.log(factor * power / rough)))
    numbers = range(int(np.ceil(span[0] / step - 1e-9)), int(np.floor(span[1] / step + 1e-9)) + 1)
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    return [(number * step, f"{number * step:,.{decimals}f}") for number in numbers]


def circle(x: float, y: float, radius: float, color: str, title: str) -> str:
    """Return a filled circle, in pixels; the title is shown when the pointer rests on it."""
    shown = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{escape(color)}" stroke="#fff">{shown}</circle>'


def paletted_png(class_index: np.ndarray, colors: Sequence[str]) -> bytes:
    """
    Return a map as a PNG file, one pixel a cell.

    Parameters
    ----------
    class_index : int array, shape (n_rows, n_cols)
        Class index of each cell, negative where there is none.
    colors : sequence of str
        Of each class, such as `#2f6690`; cells without one are white.
    """
    n_rows, n_cols = class_index.shape
    palette = b"".join(bytes.fromhex(color[1:7]) for color in (*colors, "#ffffff"))
    pixels = np.where(class_index < 0, len(colors), class_index).astype(np.uint8)
    lines = np.concatenate([np.zeros((n_rows, 1), np.uint8), pixels], axis=1)  # each line begins with its filter, none

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", n_cols, n_rows, 8, 3, 0, 0, 0)  # 8 bits, with a palette
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def label(x: float, y: float, text: str, anchor: str = "middle", *, turned: bool = False) -> str:
    """Return text at pixels, upright when turned; nothing for no text."""
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>' if text else ""


def drawing(width: float, height: float, parts: Sequence[str], caption: str) -> str:
    """Return a whole SVG element; the caption describes it to those who do not see it."""
    body = "\n".join(part for part in parts if part)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{escape(caption)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">\n{body}\n</svg>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a thin line of the grid behind a drawing."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#eceae4"/>'
