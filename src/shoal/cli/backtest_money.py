"""What a back-test earned, as charts: by day, summed up, and from perfect foresight down to what was delivered."""

from __future__ import annotations

import itertools
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest import AMOUNTS_PER_UNIT
from shoal.cli import backtest_charts as charts
from shoal.cli.backtest_told import days_of
from shoal.cli.backtest_words import money, table

if TYPE_CHECKING:
    from shoal.cli.backtest_runs import Tested

Floats = NDArray[np.float64]

_CUT_OFF: Final = 8
"""So many days may rise above the chart."""
_BELOW: Final = 0.4
"""The chart reaches so far below zero at most, as a share of what it reaches above."""


def daily(tested: Tested) -> tuple[Floats, Floats]:
    """Return what each day earned and what hindsight would have, in currency."""
    return tested.days.amount / AMOUNTS_PER_UNIT, tested.days.perfect_amount / AMOUNTS_PER_UNIT


def calendar(tested: Tested) -> list[tuple[int, int, int]]:
    """Return year, month and day of each day."""
    return [(day.year, day.month, day.day) for day in tested.days.day]


def value_note(tested: Tested) -> str:
    """Say what the chart of days shows."""
    return (
        f"In {tested.setting.market.currency} a day. Blue is what was earned, the pale bar behind it what hindsight would "
        "have; bars that are cut off carry their number."
    )


def value_by_day(tested: Tested) -> str:
    """Return a bar for each day, what was earned before what hindsight would have."""
    earned, perfect = daily(tested)
    top = max(float(np.quantile(perfect, 0.97)) * 1.4, 1.0)
    if len(perfect) > _CUT_OFF:
        top = max(top, float(np.sort(perfect)[-_CUT_OFF - 1]) * 1.02)
    low = min(max(float(earned.min()), -_BELOW * top), 0.0)
    beyond = np.flatnonzero((perfect > top) | (earned < low)).tolist()
    words = [
        f"{charts.short(round(float(earned[at]), -1))} of {charts.short(round(float(perfect[at]), -1))}"
        for at in beyond
    ]
    labels, rows = charts.in_rows([charts.x_of((at + 0.5) / len(perfect)) for at in beyond], words)
    axis = charts.Axis(low=low, high=top, height=240, top=charts.TOP + max(rows - 1, 0) * charts.ROW)
    marks = charts.round_steps(low, top)
    titles = [
        f"{day}: earned {money(a)}, hindsight {money(b)}"
        for day, a, b in zip(tested.days.day, earned.tolist(), perfect.tolist(), strict=True)
    ]
    body = charts.grid(axis, marks, [charts.short(mark) for mark in marks])
    body += charts.bars(axis, perfect, "hindsight", titles) + charts.bars(axis, earned, "earned", titles)
    body += labels
    body += charts.months(calendar(tested), axis.top + axis.height + 18)
    return charts.svg(axis.top + axis.height + charts.BOTTOM, "Value earned by day beside hindsight", body)


def cumulated(tested: Tested) -> str:
    """Return what was earned so far, with the best baseline and hindsight beside it."""
    earned, perfect = (np.cumsum(x) for x in daily(tested))
    lines = {"hindsight-line": perfect, "earned-line": earned}
    names = {"hindsight-line": "perfect foresight", "earned-line": tested.strategy}
    others = {name: one.revenue for name, one in tested.baselines.items() if name != tested.strategy}
    if others:
        best = max(others, key=lambda name: others[name])
        lines["shape-line"] = np.cumsum(tested.baseline_days[best].amount / AMOUNTS_PER_UNIT)
        names["shape-line"] = f"{best}, best baseline"
    low = min(0.0, *(float(line.min()) for line in lines.values()))
    axis = charts.Axis(low=low, high=max(float(perfect.max()), low) * 1.03 + 1.0, height=220)
    marks = charts.round_steps(axis.low, axis.high)
    body = charts.grid(axis, marks, [charts.short(mark) for mark in marks])
    for kind, line in lines.items():
        body += charts.steps(axis, line, kind)
    body += charts.months(calendar(tested), axis.top + axis.height + 18)
    keys = "".join(
        f'<span class="{kind}-key">{escape(names[kind])} {money(float(line[-1]))}</span>'
        for kind, line in lines.items()
    )
    picture = charts.svg(axis.top + axis.height + charts.BOTTOM, "Earned so far, by day", body)
    return f'<p class="legend">{keys}</p>{picture}'


_SCHEDULED: Final = "what a schedule on the usual shape of the day loses by not knowing the prices"
_PLANNED: Final = "what the plans behind the bids, carried out as they are, lose by not knowing the prices"


def waterfall_note(tested: Tested) -> str:
    """Say what the stages are."""
    planned = _PLANNED if tested.rungs else _SCHEDULED
    return (
        f"From perfect foresight to what was earned: {planned}, what offers that answer to the price win back, and what "
        "is lost where the storage could not follow. Each interval is settled at every stage, so the steps sum to the last unit."
    )


_STEP_NAMES: Final = ("not knowing the prices", "offers that answer to the price", "execution")


def waterfall(tested: Tested) -> str:
    """Return the stages of attribution as bars that hang from each other: all days, the richest four, all others."""
    by_day = days_of(tested)
    rich = np.zeros(len(by_day), np.bool_)
    rich[tested.days.richest()] = True
    groups = [
        (title, by_day[days].sum(axis=0) / AMOUNTS_PER_UNIT)
        for title, days in (
            ("All days", np.ones_like(rich)),
            ("The four richest days", rich),
            ("All others", ~rich),
        )
        if days.any()
    ]
    low = min(0.0, *(float(stages.min()) for _, stages in groups))
    high = max(1e-9, *(float(stages.max()) for _, stages in groups))
    rows: list[tuple[str, ...]] = []
    body, top = "", 10
    for title, stages in groups:
        body += charts.text(charts.LEFT, top + 8, title, kind="head")
        top += 18
        values = stages.tolist()
        bars = [("perfect foresight", 0.0, values[0], "hindsight")]
        for name, start, end in zip(_STEP_NAMES, values, values[1:], strict=False):
            bars.append((name, start, end, "earned" if end >= start else "lost"))
        bars.append(("earned", 0.0, values[-1], "earned"))
        for name, start, end, kind in bars:
            body += charts.hanging_bar(top, name, start, end, low=low, high=high, kind=kind)
            body += charts.text(
                charts.hanging_x(max(start, end), low=low, high=high) + 6,
                top + 13,
                _part(end - start, values[0]),
                kind="note",
            )
            top += 22
        top += 10
        steps = [money(after - before) for before, after in itertools.pairwise(values)]
        rows.append((title, money(values[0]), *steps, money(values[-1])))
    head = ("days", "perfect foresight", *_STEP_NAMES, "earned")
    return charts.svg(top, "From perfect foresight to what was earned", body) + table(head, rows)


def _part(amount: float, whole: float) -> str:
    share = money(100.0 * amount / whole) if whole > 0 else ""
    return f"{money(amount)} ({share} %)" if share else money(amount)
