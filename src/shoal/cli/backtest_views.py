"""What a back-test's storage did, as charts: maps of all days, and single days with price and offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli import backtest_charts as charts
from shoal.cli.backtest_money import calendar, daily
from shoal.cli.backtest_words import money

if TYPE_CHECKING:
    from shoal.cli.backtest_runs import Tested

Floats = NDArray[np.float64]

_ROWS: Final = 48
_STORED: Final = charts.ramp((247, 250, 252), (158, 202, 225), (49, 130, 189), (8, 48, 107))
_PRICES: Final = charts.ramp((5, 80, 140), (150, 200, 225), (245, 240, 225), (250, 170, 80), (150, 20, 20))
_MISSING: Final = (128, 128, 128)


def maps(tested: Tested) -> str:
    """Return stored energy and price of every day, a column each."""
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
        body += charts.months(calendar(tested), axis.top + axis.height + 18)
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


def chosen_days(tested: Tested) -> list[tuple[str, str, int]]:
    """Return a title, a note and the position of the days worth a closer look."""
    earned, perfect = daily(tested)
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
                f"Earned {money(earned[at])} of {money(perfect[at])}. "
                "The other lines are the price from which something was for sale and the one up to which something would have "
                "been bought. Beneath, what was stored."
            )
            found.append((f"{title}: {tested.days.day[at]}", note, at))
    return found


def close_up(tested: Tested, at: int) -> str:
    """Return a day with its price, what was offered, and what was stored."""
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
        at_x, anchor = charts.x_of(hour / max(hours, 1)), "end" if hour == hours else "middle"
        body += charts.text(at_x, foot, words, anchor=anchor)
    legend = (
        '<p class="legend"><span class="price-key">price</span><span class="sell-key">sells from</span>'
        '<span class="buy-key">buys up to</span><span class="stored-key">stored</span></p>'
    )
    return legend + charts.svg(foot + 10, f"Price, offers and stored energy on {days.day[at]}", body)
