"""A back-test as one page to look at: it asks for nothing outside itself, and follows light and dark.

Value by day, what was stored when, single days with price and offers, where the value went, and the worst days; every
chart has its numbers in a table.
"""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.backtest_money import cumulated, daily, value_by_day, value_note, waterfall, waterfall_note
from shoal.cli.backtest_told import title
from shoal.cli.backtest_views import chosen_days, close_up, maps
from shoal.cli.backtest_words import money, percent, table

if TYPE_CHECKING:
    from shoal.cli.backtest_runs import Tested

Floats = NDArray[np.float64]

_WORST: Final = 10


def write_report(path: Path, tested: Tested) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_html(tested), encoding="utf-8")


def report_html(tested: Tested) -> str:
    """Return the page."""
    style = resources.files("shoal.cli").joinpath("backtest_report.css").read_text(encoding="utf-8")
    market, storage = tested.setting.market, tested.setting.storage
    name = title(tested)
    facts = (
        f"{tested.days.day[0]} to {tested.days.day[-1]}, {storage.discharge_limit_kw / 1e3:g} MW and "
        f"{storage.energy_capacity_kwh / 1e3:g} MWh, "
        f"{100 * storage.charge_efficiency_frac * storage.discharge_efficiency_frac:.0f} % round trip, "
        f"wear {storage.throughput_cost_per_mwh:g} {market.currency}/MWh"
    )
    sections = [
        _section("Value by day", value_note(tested), value_by_day(tested)),
        _section("Earned so far", "Summed from the first day on.", cumulated(tested)),
        _section("Where the value went", waterfall_note(tested), waterfall(tested)),
        _section(
            "Stored energy and price",
            "Each column is a day, from its start at the top. Dark is full; red is dear, blue is cheap or below zero.",
            maps(tested),
        ),
        *(_section(head, note, close_up(tested, at)) for head, note, at in chosen_days(tested)),
        _section("Worst days", "Where most was lost against hindsight.", _worst_days(tested)),
        _section("All days", "", f"<details><summary>Show the table</summary>{_all_days(tested)}</details>"),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Back-test: {escape(name)}, {escape(tested.strategy)}</title><style>{style}</style></head>"
        f"<body><header><h1>{escape(name)} <span>bid for by {escape(tested.strategy)}</span></h1>"
        f"<p>{escape(facts)}</p></header><main>{_tiles(tested)}{_strategies(tested)}"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, note: str, body: str) -> str:
    told = f"<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>"


def _tiles(tested: Tested) -> str:
    score, currency = tested.score, tested.setting.market.currency
    best = (
        max((one.share_of_perfect_foresight or 0.0, name) for name, one in tested.baselines.items())
        if tested.baselines
        else (0.0, "–")
    )
    tiles = [
        (money(score.revenue), f"{currency} earned, net of wear"),
        (percent(score.share_of_perfect_foresight), "of perfect foresight"),
        (percent(score.share_without_richest_days), "without its four richest days"),
        (percent(score.perfect_share_in_richest_days), "of all value lies in those four"),
        (percent(best[0]), f"best baseline: {best[1]}"),
        (f"{score.cycles:,.0f}", "full cycles"),
    ]
    if tested.daily is not None:
        tiles.insert(2, (percent(tested.daily.share), "of foresight day by day"))
    cells = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in tiles)
    return f'<ul class="tiles">{cells}</ul>'


def _strategies(tested: Tested) -> str:
    everyone = {tested.strategy: tested.score, **tested.baselines}
    rows = [
        (
            name,
            money(one.revenue),
            percent(one.share_of_perfect_foresight),
            percent(one.share_without_richest_days),
            f"{one.cycles:,.0f}",
        )
        for name, one in everyone.items()
    ]
    rows.append(
        ("perfect foresight", money(tested.score.revenue_perfect_foresight), "100.0 %", "100.0 %", "")
    )
    head = (
        "strategy",
        f"revenue, {tested.setting.market.currency}",
        "share",
        "without four richest days",
        "cycles",
    )
    return _section("Beside the baselines", "Same battery, same costs, same prices.", table(head, rows))


def _worst_days(tested: Tested) -> str:
    earned, perfect = daily(tested)
    rows = [_day_row(tested, at, earned, perfect) for at in np.argsort(earned - perfect)[:_WORST].tolist()]
    return table(_DAY_HEAD, rows)


_DAY_HEAD: Final = ("day", "earned", "hindsight", "lost", "highest price", "stored then", "lowest price")


def _all_days(tested: Tested) -> str:
    earned, perfect = daily(tested)
    return table(_DAY_HEAD, [_day_row(tested, at, earned, perfect) for at in range(len(earned))])


def _day_row(tested: Tested, at: int, earned: Floats, perfect: Floats) -> tuple[str, ...]:
    low, high = int(tested.days.first_index[at]), int(tested.days.first_index[at + 1])
    first = tested.outcome.first_index
    price = tested.series.price_per_mwh[first + low : first + high]
    peak = int(np.argmax(price))
    stored = tested.outcome.energy_kwh[low + peak] / tested.setting.storage.energy_capacity_kwh
    return (
        str(tested.days.day[at]),
        money(float(earned[at])),
        money(float(perfect[at])),
        money(float(perfect[at] - earned[at])),
        f"{price[peak]:,.0f}",
        f"{100 * stored:.0f} %",
        f"{price.min():,.0f}",
    )
