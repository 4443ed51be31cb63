"""A back-test as one page to look at: it asks for nothing outside itself, and follows light and dark.

Value by day, what was stored when, single days with price and offers, where the value went, and the worst days; every
chart has its numbers in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest import AMOUNTS_PER_UNIT
from shoal.cli import backtest_charts as charts

if TYPE_CHECKING:
    from shoal.cli.backtest import Tested

Floats = NDArray[np.float64]

_ROWS: Final = 48
_WORST: Final = 10
_STORED: Final = charts.ramp((247, 250, 252), (158, 202, 225), (49, 130, 189), (8, 48, 107))
_PRICES: Final = charts.ramp((5, 80, 140), (150, 200, 225), (245, 240, 225), (250, 170, 80), (150, 20, 20))
_MISSING: Final = (128, 128, 128)
_FORECAST: Final = "shape"


def write_report(path: Path, tested: Tested) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_html(tested), encoding="utf-8")


def report_html(tested: Tested) -> str:
    """Return the page."""
    style = resources.files("shoal.cli").joinpath("backtest_report.css").read_text(encoding="utf-8")
    market, storage = tested.setting.market, tested.setting.storage
    name = f"{market.market_id} {tested.point}".strip()
    facts = (
        f"{tested.days.day[0]} to {tested.days.day[-1]}, {storage.discharge_limit_kw / 1e3:g} MW and "
        f"{storage.energy_capacity_kwh / 1e3:g} MWh, "
        f"{100 * storage.charge_efficiency_frac * storage.discharge_efficiency_frac:.0f} % round trip, "
        f"wear {storage.throughput_cost_per_mwh:g} {market.currency}/MWh"
    )
    sections = [
        _section("Value by day", _value_note(tested), _value_by_day(tested)),
        _section("Earned so far", "Summed from the first day on.", _cumulated(tested)),
        _section("Where the value went", _waterfall_note(tested), _waterfall(tested)),
        _section(
            "Stored energy and price",
            "Each column is a day, from its start at the top. Dark is full; red is dear, blue is cheap or below zero.",
            _maps(tested),
        ),
        *(_section(title, note, _close_up(tested, at)) for title, note, at in _chosen_days(tested)),
        _section("Worst days", "Where most was lost against hindsight.", _worst_days(tested)),
        _section("All days", "", f"<details><summary>Show the table</summary>{_all_days(tested)}</details>"),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Back-test: {escape(name)}, {escape(tested.strategy)}</title><style>{style}</style></head>"
        f"<body><header><h1>{escape(name)} <span>{escape(tested.strategy)}</span></h1>"
        f"<p>{escape(facts)}</p></header><main>{_tiles(tested)}{_strategies(tested)}"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, note: str, body: str) -> str:
    told = f"<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>"


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────


def _money(amount: float) -> str:
    sign = "−" if amount < 0 else ""
    return f"{sign}{abs(amount):,.0f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _tiles(tested: Tested) -> str:
    score, currency = tested.score, tested.setting.market.currency
    best = (
        max((one.share_of_perfect_foresight or 0.0, name) for name, one in tested.baselines.items())
        if tested.baselines
        else (0.0, "–")
    )
    tiles = [
        (f"{_money(score.revenue)} {currency}", "earned, net of wear"),
        (_percent(score.share_of_perfect_foresight), "of perfect foresight"),
        (_percent(score.share_without_richest_days), "without its four richest days"),
        (_percent(score.perfect_share_in_richest_days), "of all value lies in those four"),
        (_percent(best[0]), f"best baseline: {best[1]}"),
        (f"{score.cycles:,.0f}", "full cycles"),
    ]
    cells = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in tiles)
    return f'<ul class="tiles">{cells}</ul>'


def _strategies(tested: Tested) -> str:
    everyone = {tested.strategy: tested.score, **tested.baselines}
    rows = [
        (
            name,
            _money(one.revenue),
            _percent(one.share_of_perfect_foresight),
            _percent(one.share_without_richest_days),
            f"{one.cycles:,.0f}",
        )
        for name, one in everyone.items()
    ]
    rows.append(
        ("perfect foresight", _money(tested.score.revenue_perfect_foresight), "100.0 %", "100.0 %", "")
    )
    head = (
        "strategy",
        f"revenue, {tested.setting.market.currency}",
        "share",
        "without four richest days",
        "cycles",
    )
    return _section("Beside the baselines", "Same battery, same costs, same prices.", _table(head, rows))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


# ── value ───────────────────────────────────────────────────────────────────────────────────────────────────


def _daily(tested: Tested) -> tuple[Floats, Floats]:
    """Return what each day earned and what hindsight would have, in currency."""
    return tested.days.amount / AMOUNTS_PER_UNIT, tested.days.perfect_amount / AMOUNTS_PER_UNIT


def _calendar(tested: Tested) -> list[tuple[int, int, int]]:
    return [(day.year, day.month, day.day) for day in tested.days.day]


def _value_note(tested: Tested) -> str:
    return (
        f"In {tested.setting.market.currency} a day. Blue is what was earned, the pale bar behind it what hindsight would "
        "have; bars that are cut off carry their number."
    )


def _value_by_day(tested: Tested) -> str:
    earned, perfect = _daily(tested)
    top = max(float(np.quantile(perfect, 0.97)) * 1.4, 1.0)
    low = min(float(earned.min()), 0.0)
    axis = charts.Axis(low=low, high=top, height=240)
    marks = charts.round_steps(low, top)
    titles = [
        f"{day}: earned {_money(a)}, hindsight {_money(b)}"
        for day, a, b in zip(tested.days.day, earned.tolist(), perfect.tolist(), strict=True)
    ]
    body = charts.grid(axis, marks, [charts.short(mark) for mark in marks])
    body += charts.bars(axis, perfect, "hindsight", titles) + charts.bars(axis, earned, "earned", titles)
    beyond = np.flatnonzero(perfect > top).tolist()
    last_x = -1e9
    for at in beyond:
        x = charts.x_of((at + 0.5) / len(perfect))
        row = 0 if x - last_x > 70 else 1
        last_x = x
        words = (
            f"{charts.short(round(float(earned[at]), -1))} of {charts.short(round(float(perfect[at]), -1))}"
        )
        body += charts.text(x, charts.TOP - 3 + 12 * row, words, anchor="middle", kind="note")
    body += charts.months(_calendar(tested), axis.top + axis.height + 18)
    return charts.svg(axis.top + axis.height + charts.BOTTOM, "Value earned by day beside hindsight", body)


def _cumulated(tested: Tested) -> str:
    earned, perfect = (np.cumsum(x) for x in _daily(tested))
    lines = {"hindsight-line": perfect, "earned-line": earned}
    names = {"hindsight-line": "perfect foresight", "earned-line": tested.strategy}
    if _FORECAST in tested.baseline_days:
        lines["shape-line"] = np.cumsum(tested.baseline_days[_FORECAST].amount / AMOUNTS_PER_UNIT)
        names["shape-line"] = _FORECAST
    low = min(0.0, *(float(line.min()) for line in lines.values()))
    axis = charts.Axis(low=low, high=float(perfect.max()) * 1.03 + 1.0, height=220)
    marks = charts.round_steps(axis.low, axis.high)
    body = charts.grid(axis, marks, [charts.short(mark) for mark in marks])
    for kind, line in lines.items():
        body += charts.steps(axis, line, kind)
        body += charts.text(
            charts.WIDTH - charts.RIGHT - 4,
            axis.y(float(line[-1])) - 6,
            names[kind],
            anchor="end",
            kind="note",
        )
    body += charts.months(_calendar(tested), axis.top + axis.height + 18)
    return charts.svg(axis.top + axis.height + charts.BOTTOM, "Earned so far, by day", body)


def _waterfall_note(tested: Tested) -> str:
    return (
        "From perfect foresight to what was earned: what a schedule on the usual shape of the day loses by not knowing "
        "the prices, and what offers that answer to the price win back."
    )


def _waterfall(tested: Tested) -> str:
    if _FORECAST not in tested.baseline_days:
        return "<p>The schedule on the usual shape was not run.</p>"
    earned, perfect = _daily(tested)
    planned = tested.baseline_days[_FORECAST].amount / AMOUNTS_PER_UNIT
    rich = np.zeros(len(earned), np.bool_)
    rich[tested.days.richest()] = True
    rows: list[tuple[str, str, str, str]] = []
    body, top = "", 10
    total = float(perfect.sum())
    span = max(total, 1e-9)
    for title, days in (
        ("All days", np.ones_like(rich)),
        ("The four richest days", rich),
        ("All others", ~rich),
    ):
        p, f, e = (float(x[days].sum()) for x in (perfect, planned, earned))
        body += charts.text(charts.LEFT, top + 8, title, kind="head")
        top += 18
        for name, start, end, kind in (
            ("perfect foresight", 0.0, p, "hindsight"),
            ("not knowing the prices", f, p, "lost"),
            ("offers that answer to the price", f, e, "earned" if e >= f else "lost"),
            ("earned", 0.0, e, "earned"),
        ):
            left, right = sorted((max(start, 0.0) / span, max(end, 0.0) / span))
            scale = 0.62
            x = charts.LEFT + 200 + left * scale * (charts.WIDTH - charts.LEFT)
            wide = max((right - left) * scale * (charts.WIDTH - charts.LEFT), 1.0)
            change = -(end - start) if name.startswith("not") else end - start
            body += charts.text(charts.LEFT + 190, top + 13, name, anchor="end")
            body += f'<rect x="{x:.1f}" y="{top}" width="{wide:.1f}" height="18" class="{kind}"/>'
            share = f"{_money(change)} ({100 * change / p:.0f} %)" if p else _money(change)
            body += charts.text(x + wide + 6, top + 13, share, kind="note")
            top += 22
        top += 10
        rows.append((title, _money(p), _money(f - p), f"{_money(e - f)} / {_money(e)}"))
    head = ("days", "perfect foresight", "not knowing the prices", "offers that answer / earned")
    return charts.svg(top, "From perfect foresight to what was earned", body) + _table(head, rows)


# ── maps ────────────────────────────────────────────────────────────────────────────────────────────────────


def _maps(tested: Tested) -> str:
    outcome, capacity = tested.outcome, tested.setting.storage.energy_capacity_kwh
    first = outcome.first_index
    price = tested.series.price_per_mwh[first : first + len(outcome.amount)]
    stored = _by_time_of_day(tested, outcome.energy_kwh[:-1] / capacity)
    bent = _by_time_of_day(tested, np.arcsinh(price / 50.0))
    shown = 0.5 + bent / 9.0  # the middle colour is a price of zero
    parts = []
    for title, shares, colours in (
        ("Stored energy", stored, _STORED),
        ("Price", np.clip(shown, 0.0, 1.0), _PRICES),
    ):
        axis = charts.Axis(low=0.0, high=24.0, height=192)
        picture = charts.heat_map(np.where(np.isfinite(shares), shares, np.nan), colours, _MISSING)
        body = (
            f'<image href="{picture}" x="{charts.LEFT}" y="{axis.top}" '
            f'width="{charts.WIDTH - charts.LEFT - charts.RIGHT}" height="{axis.height}" '
            'preserveAspectRatio="none" style="image-rendering:pixelated"/>'
        )
        begin = tested.setting.market.day_start.hour
        for hour in range(0, 25, 6):
            y = axis.top + axis.height * hour / 24.0
            body += charts.text(charts.LEFT - 8, y + 4, f"{(begin + hour) % 24:02d}:00", anchor="end")
        body += charts.months(_calendar(tested), axis.top + axis.height + 18)
        parts.append(f"<h3>{title}</h3>" + charts.svg(axis.top + axis.height + charts.BOTTOM, title, body))
    return "".join(parts)


def _by_time_of_day(tested: Tested, values: Floats) -> Floats:
    """Return means as rows of the time since the day began and a column for each day."""
    first, days = tested.outcome.first_index, tested.days
    slots = tested.setting.market.slots_count
    begin = tested.setting.market.day_start
    shift = (begin.hour * 60 + begin.minute) * slots // (24 * 60)
    slot = (tested.series.slot_number[first : first + len(values)] - shift) % slots
    rows = min(_ROWS, slots)
    row = slot * rows // slots
    column = np.repeat(np.arange(len(days.day)), np.diff(days.first_index))
    total, seen = np.zeros((rows, len(days.day))), np.zeros((rows, len(days.day)))
    np.add.at(total, (row, column), values)
    np.add.at(seen, (row, column), 1.0)
    return np.divide(total, seen, out=np.full_like(total, np.nan), where=seen > 0)


# ── single days ─────────────────────────────────────────────────────────────────────────────────────────────


def _chosen_days(tested: Tested) -> list[tuple[str, str, int]]:
    """Return a title, a note and the position of the days worth a closer look."""
    earned, perfect = _daily(tested)
    lost = perfect - earned
    typical = int(np.argsort(perfect)[len(perfect) // 2])
    chosen = [
        ("The richest day", int(tested.days.richest(1)[0])),
        ("The day with the greatest loss", int(np.argmax(lost))),
        ("A day in the middle", typical),
    ]
    done: set[int] = set()
    found = []
    for title, at in chosen:
        if at not in done:
            done.add(at)
            note = (
                f"Earned {_money(earned[at])} of {_money(perfect[at])}. The line is the price; the shaded bands are where "
                "it sold (above) or bought (below). Beneath, what was stored."
            )
            found.append((f"{title}: {tested.days.day[at]}", note, at))
    return found


def _close_up(tested: Tested, at: int) -> str:
    outcome, days = tested.outcome, tested.days
    low, high = int(days.first_index[at]), int(days.first_index[at + 1])
    first = outcome.first_index
    price = tested.series.price_per_mwh[first + low : first + high]
    sell, buy = outcome.sell_limit_per_mwh[low:high], outcome.buy_limit_per_mwh[low:high]
    top = max(float(price.max()), 100.0)
    bottom = min(float(price.min()), -20.0)
    axis = charts.Axis(low=bottom * 1.3, high=top * 1.3, height=230, bend=60.0)
    marks = [
        m for m in (-1000, -300, -100, -30, 0, 30, 100, 300, 1000, 3000, 10000) if axis.low <= m <= axis.high
    ]
    body = charts.grid(axis, [float(m) for m in marks], [charts.short(float(m)) for m in marks])
    body += charts.steps(axis, sell, "sell-line") + charts.steps(axis, buy, "buy-line")
    body += charts.steps(axis, price, "price-line")
    stored = charts.Axis(
        low=0.0, high=tested.setting.storage.energy_capacity_kwh, height=80, top=axis.top + axis.height + 22
    )
    full = tested.setting.storage.energy_capacity_kwh
    body += charts.grid(stored, [0.0, full], ["empty", "full"])
    body += charts.area(stored, outcome.energy_kwh[low : high + 1], "stored")
    foot = stored.top + stored.height + 16
    begin, hours = (
        tested.setting.market.day_start.hour,
        round((high - low) * tested.setting.market.interval_h),
    )
    for hour in range(0, hours + 1, 3):
        words = f"{(begin + hour) % 24:02d}:00"
        body += charts.text(charts.x_of(hour / max(hours, 1)), foot, words, anchor="middle")
    legend = (
        '<p class="legend"><span class="price-key">price</span><span class="sell-key">sells from</span>'
        '<span class="buy-key">buys up to</span><span class="stored-key">stored</span></p>'
    )
    return legend + charts.svg(foot + 10, f"Price, offers and stored energy on {days.day[at]}", body)


def _worst_days(tested: Tested) -> str:
    earned, perfect = _daily(tested)
    rows = [_day_row(tested, at, earned, perfect) for at in np.argsort(earned - perfect)[:_WORST].tolist()]
    return _table(_DAY_HEAD, rows)


_DAY_HEAD: Final = ("day", "earned", "hindsight", "lost", "highest price", "stored then", "lowest price")


def _all_days(tested: Tested) -> str:
    earned, perfect = _daily(tested)
    return _table(_DAY_HEAD, [_day_row(tested, at, earned, perfect) for at in range(len(earned))])


def _day_row(tested: Tested, at: int, earned: Floats, perfect: Floats) -> tuple[str, ...]:
    low, high = int(tested.days.first_index[at]), int(tested.days.first_index[at + 1])
    first = tested.outcome.first_index
    price = tested.series.price_per_mwh[first + low : first + high]
    peak = int(np.argmax(price))
    stored = tested.outcome.energy_kwh[low + peak] / tested.setting.storage.energy_capacity_kwh
    return (
        str(tested.days.day[at]),
        _money(float(earned[at])),
        _money(float(perfect[at])),
        _money(float(perfect[at] - earned[at])),
        f"{price[peak]:,.0f}",
        f"{100 * stored:.0f} %",
        f"{price.min():,.0f}",
    )
