"""Budgets of days as a plan over intervals has to keep them: what is sold before it is on the same day's budget."""

from __future__ import annotations

import msgspec
import pytest

from shoal.bidding.cycle.known import DayBudget, FixedPower, GateRef, Situation, canonical
from shoal.bidding.cycle.projection import budgets_of
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.market.awards import AwardedQuantity
from shoal.optimise.storage import Storage
from shoal.optimise.storage_limits import ThroughputBudget

H = NS_PER_HOUR
DAY_NS = 24 * H
FIRST = Interval(start_ns=DAY_NS + 6 * H, end_ns=DAY_NS + 7 * H)
STORAGE = Storage(
    charge_limit_kw=10.0,
    discharge_limit_kw=10.0,
    charge_efficiency_frac=1.0,
    discharge_efficiency_frac=1.0,
    energy_capacity_kwh=20.0,
    initial_energy_kwh=20.0,
)


def situation(*budgets: DayBudget, sold: tuple[AwardedQuantity, ...] = (), **more: object) -> Situation:
    about = Situation(
        resource_id="r",
        settlement_point="p",
        gate=GateRef(
            market_id="ercot-da",
            product_id="day-ahead",
            kind="auction",
            delivery_date="1970-01-02",
            covers_start_ns=FIRST.start_ns,
            covers_end_ns=FIRST.start_ns + DAY_NS,
            closes_ns=DAY_NS,
        ),
        as_of_ns=DAY_NS - 2 * H,
        record_no=1,
        storage=STORAGE,
        strategy="day-ahead",
        strategy_version="1",
        commitments=sold,
    )
    return msgspec.structs.replace(about, **({"budgets": budgets} if budgets else {}), **more)


def day(number: int, kwh: float) -> DayBudget:
    return DayBudget(start_ns=number * DAY_NS, end_ns=(number + 1) * DAY_NS, discharge_kwh=kwh)


def sale(start_ns: int, power_kw: float, hours: int = 1) -> AwardedQuantity:
    return AwardedQuantity(
        product="day-ahead",
        start_ns=start_ns,
        end_ns=start_ns + hours * H,
        power_w=round(power_kw * 1e3),
        price_per_mwh=1.0,
    )


def test_days_become_rows_and_days_that_are_not_planned_fall_away() -> None:
    found = budgets_of(situation(day(0, 5.0), day(1, 9.0), day(2, 7.0), day(9, 1.0)), FIRST, 48)
    assert found == (
        ThroughputBudget(first_row=0, last_row=17, discharge_kwh=9.0),
        ThroughputBudget(first_row=18, last_row=41, discharge_kwh=7.0),
    )


def test_what_is_sold_before_on_the_same_day_is_taken_off() -> None:
    sold = (
        sale(DAY_NS - 3 * H, -2.0, 2),  # one hour of it is still to come, on the day before
        sale(DAY_NS + H, -3.0),
        sale(DAY_NS + 2 * H, 8.0),  # charging spends nothing
        sale(FIRST.start_ns + H, -4.0),  # within what the plan covers
    )
    fixed = (FixedPower(start_ns=DAY_NS + H, end_ns=DAY_NS + 3 * H, power_kw=-1.0, reason="by hand"),)
    about = situation(day(1, 9.0), sold=sold, fixed=fixed)
    # of the manual power the hours that are awarded count as awarded
    (found,) = budgets_of(about, FIRST, 24)
    assert (found.first_row, found.last_row) == (0, 17)
    assert found.discharge_kwh == pytest.approx(9.0 - 3.0)
    spent = situation(day(1, 2.0), sold=sold)
    assert budgets_of(spent, FIRST, 24)[0].discharge_kwh == 0.0


def test_interval_across_midnight_counts_in_both_days() -> None:
    first = Interval(start_ns=DAY_NS - H // 2, end_ns=DAY_NS + H // 2)
    rows = [
        (one.first_row, one.last_row) for one in budgets_of(situation(day(0, 1.0), day(1, 1.0)), first, 30)
    ]
    assert rows == [(0, 0), (0, 24)]


def test_situation_without_budgets_is_kept_as_ever() -> None:
    assert b"budgets" not in canonical(situation())
    assert situation().day_budgets == ()
    kept = msgspec.json.decode(canonical(situation(day(1, 3.0))), type=Situation)
    assert kept.day_budgets == (day(1, 3.0),)
