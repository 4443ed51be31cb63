"""Charts of a back-test as text of SVG, drawn with the page's own colours so that they follow light and dark.

Every chart has a title for those who cannot see it; what it shows stands in a table as well.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH: Final = 1040
LEFT: Final = 64
RIGHT: Final = 16
TOP: Final = 14
BOTTOM: Final = 26
ROW: Final = 13
"""Pixels from one row of words to the next."""
_CHARACTER: Final = 6.6
"""About how wide a character of a note is."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A vertical axis from `low` (bottom) to `high` (top) in `height` pixels; `bend` makes it logarithmic beyond."""

    low: float
    high: float
    height: int
    top: int = TOP
    bend: float | None = None

    def y(self, value: float) -> float:
        """Return the pixel of a value, held within the axis."""
        low, high, at = (self._bent(v) for v in (self.low, self.high, value))
        share = (min(max(at, low), high) - low) / (high - low)
        return round(self.top + (1.0 - share) * self.height, 1)

    def _bent(self, value: float) -> float:
        return value if self.bend is None else float(np.arcsinh(value / self.bend))


def svg(height: int, title: str, body: str) -> str:
    """Return a chart of the page's width."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def x_of(share: float) -> float:
    """Return the pixel of a share of the width between the margins."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "tick") -> str:
    """Return words at a place."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def grid(axis: Axis, values: Sequence[float], labels: Sequence[str]) -> str:
    """Return horizontal lines with their labels on the left."""
    parts = []
    for value, label in zip(values, labels, strict=True):
        y = axis.y(value)
        kind = "zero" if value == 0 else "grid"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="{kind}"/>')
        parts.append(text(LEFT - 8, y + 4, label, anchor="end"))
    return "".join(parts)


def round_steps(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers between two values, about `count` of them."""
    span = max(high - low, 1e-9)
    raw = span / count
    size = 10.0 ** np.floor(np.log10(raw))
    step = next(size * one for one in (1.0, 2.0, 2.5, 5.0, 10.0) if size * one >= raw)
    first = np.ceil(low / step)
    return [float(k * step) for k in range(int(first), int(np.floor(high / step)) + 1)]


def short(value: float) -> str:
    """Return a number in few characters: 1,250 or 12.5k or 1.25m."""
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,.4g}m"
    if abs(value) >= 10_000:
        return f"{value / 1_000:,.4g}k"
    return f"{value:,.4g}"


def steps(axis: Axis, values: Floats, kind: str) -> str:
    """Return a line of steps over the whole width; it is broken where a value is missing."""
    count = len(values)
    path: list[str] = []
    pen_down = False
    for i, value in enumerate(values.tolist()):
        if not np.isfinite(value):
            pen_down = False
            continue
        y, left, right = axis.y(value), x_of(i / count), x_of((i + 1) / count)
        path.append(f"{'L' if pen_down else 'M'}{left:g} {y:g}H{right:g}")
        pen_down = True
    return f'<path d="{"".join(path)}" class="{kind}"/>'


def area(axis: Axis, values: Floats, kind: str) -> str:
    """Return what lies under a line through N + 1 values, down to the axis's low end."""
    count = len(values) - 1
    base = axis.y(axis.low)
    points = "".join(f"L{x_of(i / count):g} {axis.y(value):g}" for i, value in enumerate(values.tolist()))
    return f'<path d="M{LEFT} {base:g}{points}L{WIDTH - RIGHT} {base:g}Z" class="{kind}"/>'


def months(days: Sequence[tuple[int, int, int]], y: float) -> str:
    """Return the names of months under a row of days given as (year, month, day)."""
    parts = []
    narrow = (WIDTH - LEFT - RIGHT) * 30 / len(days) < _CHARACTER * len("Jan 2021 ")
    for at, (year, month, day) in enumerate(days):
        if day == 1 or (at == 0 and day < 20):
            name = _MONTHS[month - 1]
            if month == 1 or at == 0:
                name = f"{year}" if narrow else f"{name} {year}"
            parts.append(text(x_of(at / len(days)), y, name))
    return "".join(parts)


def bars(axis: Axis, values: Floats, kind: str, titles: Sequence[str]) -> str:
    """Return a bar for each value, from zero."""
    count = len(values)
    width = max((WIDTH - LEFT - RIGHT) / count - (1.0 if count < 200 else 0.4), 0.8)
    zero = axis.y(0.0)
    parts = []
    for i, (value, title) in enumerate(zip(values.tolist(), titles, strict=True)):
        y = axis.y(value)
        parts.append(
            f'<rect x="{x_of(i / count):g}" y="{min(y, zero):g}" width="{width:.1f}" '
            f'height="{abs(zero - y):.1f}" class="{kind}"><title>{escape(title)}</title></rect>'
        )
    return "".join(parts)


def in_rows(xs: Sequence[float], words: Sequence[str]) -> tuple[str, int]:
    """Return words above a chart near their places, in as many rows as they need so that none covers another, and how many."""
    ends: list[float] = []  # where each row is free again
    placed: list[tuple[float, int, str]] = []
    for x, word in zip(xs, words, strict=True):
        half = _CHARACTER * len(word) / 2
        x = min(max(x, LEFT + half), WIDTH - RIGHT - half)
        row = next((k for k, end in enumerate(ends) if end <= x - half), len(ends))
        ends[row : row + 1] = [x + half + _CHARACTER]
        placed.append((x, row, word))
    lowest = TOP - 4 + ROW * (len(ends) - 1)
    parts = [text(x, lowest - ROW * row, word, anchor="middle", kind="note") for x, row, word in placed]
    return "".join(parts), len(ends)


_HANG_LEFT: Final = 200
_HANG_SHARE: Final = 0.62


def hanging_x(value: float, *, low: float, high: float) -> float:
    """Return the pixel of a value among bars with names on their left and numbers on their right."""
    share = (value - low) / (high - low)
    return round(LEFT + _HANG_LEFT + share * _HANG_SHARE * (WIDTH - LEFT), 1)


def hanging_bar(top: int, name: str, start: float, end: float, *, low: float, high: float, kind: str) -> str:
    """Return a horizontal bar between two values with its name."""
    left, right = sorted(hanging_x(value, low=low, high=high) for value in (start, end))
    return (
        text(LEFT + _HANG_LEFT - 10, top + 13, name, anchor="end")
        + f'<rect x="{left:g}" y="{top}" width="{max(right - left, 1.0):.1f}" height="18" class="{kind}"/>'
    )


def heat_map(shares: Floats, colours: Sequence[tuple[int, int, int]], missing: tuple[int, int, int]) -> str:
    """Return rows x columns of shares from 0 to 1 as a picture that stands in the page itself."""
    table = np.array([*colours, missing], np.uint8)
    level = np.rint(np.nan_to_num(shares, nan=0.0) * (len(colours) - 1)).astype(np.int64)
    level = np.clip(level, 0, len(colours) - 1)
    level[~np.isfinite(shares)] = len(colours)
    pixels = table[level]
    height, width = shares.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ):
        png += struct.pack(">I", len(data)) + name + data
        png += struct.pack(">I", zlib.crc32(name + data))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def ramp(*stops: tuple[int, int, int], count: int = 64) -> list[tuple[int, int, int]]:
    """Return colours that lead from stop to stop."""
    at = np.linspace(0.0, len(stops) - 1.0, count)
    channels = [np.interp(at, np.arange(len(stops)), [stop[c] for stop in stops]) for c in range(3)]
    return [(int(r), int(g), int(b)) for r, g, b in zip(*channels, strict=True)]
