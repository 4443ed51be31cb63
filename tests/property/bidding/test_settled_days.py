"""A settled day in every market: its intervals add up to what was settled, and so does the way from perfect foresight."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from random import Random

import pytest

from shoal.bidding.settled_days import DayBook, SettledVersion, day_intervals, money_waterfall
from shoal.bidding.settling_stages import attribute_day
from shoal.market.contract import Market
from shoal.settle.waterfall import to_cents
from tests.property.bidding.test_settling_stages import each_market, records_of
from tests.property.market.test_shadow import DAYS


@each_market
@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
@pytest.mark.parametrize("seed", range(2))
def test_intervals_and_waterfall_come_to_what_was_settled(market: Market, day: date, seed: int) -> None:
    records = records_of(market, day, Random(seed))
    assert records.settlement is not None and records.award is not None
    book = DayBook(
        market=market,
        resource_id="north",
        day=day,
        award=records.award,
        delivered=records.delivered or (),
        settled_by="market",
        versions=(SettledVersion(settlement=records.settlement, checked=None),),
    )
    intervals = day_intervals(book)
    assert sum(one.amount or 0 for one in intervals) == records.settlement.amount
    assert sum(one.delivered_wh or 0 for one in intervals) == sum(
        one.delivered_wh for one in records.delivered or ()
    )
    fall = money_waterfall(attribute_day(records))
    assert fall.last_amount == records.settlement.amount
    assert fall.first_cents + sum(one.step_cents for one in fall.steps) == to_cents(records.settlement.amount)
    assert [one.name for one in fall.steps][-2:] == ["wear", "left in store"]


@each_market
def test_without_a_settlement_the_waterfall_ends_with_the_meters_at_published_prices(market: Market) -> None:
    if market.rules.market_id == "peak":
        return  # pays by performance: there is nothing to be said of it before it is settled
    records = replace(records_of(market, DAYS["autumn"], Random(3)), settlement=None)
    money = attribute_day(records)
    fall = money_waterfall(money)
    assert money.settled_as == "metered" and fall.last_amount == money.settled_amount
