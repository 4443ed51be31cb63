"""Words on charts of a back-test: none covers another, none leaves the picture, and no zero has a sign."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from shoal.cli import backtest_charts as charts
from shoal.cli.backtest_words import money, percent


@given(st.lists(st.floats(charts.LEFT, charts.WIDTH - charts.RIGHT), max_size=12).map(sorted))
def test_numbers_over_bars_cover_no_other_and_stay_inside(xs: list[float]) -> None:
    words = ["18.1k of 25.97k"] * len(xs)
    body, rows = charts.in_rows(xs, words)
    found = [(float(x), float(y)) for x, y in re.findall(r'<text x="([\d.e+]+)" y="([\d.e+-]+)"', body)]
    assert len(found) == len(xs)
    assert len({y for _, y in found}) == rows
    half = 6.6 * 15 / 2
    for at, (x, y) in enumerate(found):
        assert x - half >= charts.LEFT - 0.1
        assert x + half <= charts.WIDTH - charts.RIGHT + 0.1
        assert all(abs(x - other) >= 2 * half - 0.1 or y != level for other, level in found[:at])


def test_amounts_and_shares_are_written_for_people() -> None:
    assert [money(one) for one in (0.4, -0.4, -0.6, 1_234.5, -98_765.4)] == [
        "0",
        "0",
        "−1",
        "1,234",
        "−98,765",
    ]
    assert (percent(0.814), percent(None)) == ("81.4 %", "–")
    bar = charts.hanging_bar(10, "lost", 50.0, -50.0, low=-50.0, high=100.0, kind="lost")
    left = charts.hanging_x(-50.0, low=-50.0, high=100.0)
    assert f'x="{left:g}"' in bar
    assert "lost</text>" in bar
