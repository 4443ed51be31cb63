"""Every day of 2015 to 2035 in every market: the right number of intervals, and gates before delivery.

The right number comes from the laws of daylight saving, written here by themselves: the United States change on the second
Sunday of March and the first of November, Europe on the last Sundays of March and October, the market time of the NEM never.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import numpy as np
import pytest

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.contract import Market
from shoal.market.registry import MODULES
from tests.property.market.specimens import days_between

DAYS: Final = days_between(date(2015, 1, 1), date(2035, 12, 31))
AMERICA: Final = ("America/Chicago", "America/Los_Angeles")
EUROPE: Final = ("Europe/Brussels", "Europe/London")
STEADY: Final = ("Australia/Brisbane",)


def sunday(year: int, month: int, number: int) -> date:
    """Return the n-th Sunday of a month, counted from 1, or from its end with -1."""
    days = days_between(date(year, month, 1), date(year, month, 28) + timedelta(days=6))
    return [day for day in days if day.month == month and day.weekday() == 6][
        number - 1 if number > 0 else number
    ]


def hours_of(zone: str, day: date) -> int:
    """Return the length of a local day."""
    if zone in STEADY:
        return 24
    american = zone in AMERICA
    assert american or zone in EUROPE, f"write down the law of {zone}"
    if day == (sunday(day.year, 3, 2) if american else sunday(day.year, 3, -1)):
        return 23
    if day == (sunday(day.year, 11, 1) if american else sunday(day.year, 10, -1)):
        return 25
    return 24


@pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
def test_every_day_has_the_right_number_of_intervals_and_gates_before_it(market: Market) -> None:
    hours = np.array([hours_of(market.rules.zone, day) for day in DAYS])
    alike = {(product.gates, product.lengths): product for product in market.rules.products}
    assert all(product.gates for product in alike.values())
    for product in alike.values():
        name = product.product_id
        bounds = [market.bounds_ns(name, day) for day in DAYS]
        length_ns = np.array([bound[1] - bound[0] for bound in bounds])
        counts = np.array([len(bound) - 1 for bound in bounds])
        assert (counts * length_ns == hours * NS_PER_HOUR).all()
        starts = np.concatenate([bound[:-1] for bound in bounds])
        assert (np.diff(starts) == np.repeat(length_ns, counts)[:-1]).all()
        first_ns = np.array([bound[0] for bound in bounds])
        last_ns = np.array([bound[-1] for bound in bounds])
        assert (last_ns[:-1] == first_ns[1:]).all()
        for rule in product.gates:
            if rule.kind == "interval":
                assert rule.lead_ns > 0
        # An interval's gate is its start less a lead, the same every day; a day's gate is a wall time of its own.
        daily = all(rule.kind != "interval" for rule in product.gates)
        for day, start_ns in list(zip(DAYS, first_ns.tolist(), strict=True))[:: 1 if daily else 31]:
            if any(rule.kind == "interval" for rule in product.gates):
                interval = market.interval_at(name, start_ns)
                assert market.closes_ns(name, interval) < start_ns
            else:
                gate = market.gates(name, day)[0]
                assert gate.closes_ns < start_ns == gate.covers.start_ns


@pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
@pytest.mark.parametrize("year", range(2015, 2036, 5))
def test_days_around_clock_changes_have_every_gate_before_its_interval(market: Market, year: int) -> None:
    changes = [sunday(year, 3, 2), sunday(year, 3, -1), sunday(year, 10, -1), sunday(year, 11, 1)]
    alike = {(product.gates, product.lengths): product for product in market.rules.products}
    for change in changes:
        for number in (-1, 0, 1):
            day = change + timedelta(days=number)
            for product in alike.values():
                gates = market.gates(product.product_id, day)
                assert all(gate.closes_ns < gate.covers.start_ns for gate in gates)
                each = [gate.covers for gate in gates if gate.kind == "interval"]
                if each:
                    assert tuple(each) == market.delivery_intervals(product.product_id, day)


def test_known_days_of_each_market() -> None:
    known = {market.rules.market_id: market for market in MODULES}

    def count(market_id: str, product: str, day: date) -> int:
        return len(known[market_id].delivery_intervals(product, day))

    assert count("nem", "energy", date(2025, 4, 6)) == 288  # daylight saving ends in Sydney
    assert [
        count("ercot", "day-ahead", date(2025, 3, 9)),
        count("ercot", "real-time", date(2025, 11, 2)),
    ] == [23, 100]
    assert [
        count("sdac", "day-ahead", date(2025, 3, 30)),
        count("sdac", "day-ahead", date(2025, 10, 26)),
    ] == [23, 100]
    assert [count("sdac", "day-ahead", day) for day in (date(2025, 9, 30), date(2025, 10, 1))] == [24, 96]
    assert [count("gb", "imbalance", date(2025, 3, 30)), count("gb", "imbalance", date(2025, 10, 26))] == [
        46,
        50,
    ]
    assert [count("peak", "reduction", date(2025, 3, 9)), count("peak", "reduction", date(2025, 11, 2))] == [
        23,
        25,
    ]
