"""What the page shows of the ledger, from a real database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shoal.api.live.state import to_ms
from shoal.api.live.views import Books
from shoal.api.plant import Plant
from shoal.api.records.books import delivery_hours, read_books, totals_of
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.types import Award, AwardedInterval, Order
from shoal.settle.statement import day_statement, settle_interval
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger
from tests.unit.api.doors import (
    DAY,
    DAY_DATE,
    MARKET,
    make_plant,
    write_bid,
    write_day,
    write_statement,
)
from tests.unit.api.plants import BESS, HOMES, T0_NS, make_fleet


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path)


@pytest.fixture
def ledger(plant: Plant) -> Ledger:
    return plant.ledger


def read(ledger: Ledger, now_ns: int = T0_NS) -> Books:
    return read_books(ledger, FactStore(ledger.engine), make_fleet(), now_ns)


def test_an_empty_ledger_says_nothing(ledger: Ledger) -> None:
    books = read(ledger)
    assert (books.bids, books.runs, books.totals) == ((), (), {})
    assert books.money.revenue is None
    assert [series.start_ms for series in books.prices] == [[], []]


def test_prices_reach_as_far_as_published_and_the_forecast_fans_out_beyond(plant: Plant) -> None:
    write_day(plant)
    ledger = plant.ledger
    (series,) = [one for one in read(ledger).prices if one.settlement_point == "HB_NORTH"]
    assert (len(series.start_ms), series.actual[-2:]) == (25, [53.0, None])
    assert series.q05[-3:] == [None, 1.0, 4.0]
    assert series.q50[-1] == 5.0
    assert series.q95[-1] == 6.0


def test_prices_are_those_known_at_the_time(plant: Plant) -> None:
    write_day(plant)
    ledger = plant.ledger
    before_ns = MARKET.publication_ns(DAY_DATE) - 1
    (series,) = [one for one in read(ledger, before_ns).prices if one.settlement_point == "HB_NORTH"]
    assert series.start_ms == []


def test_bid_comes_with_its_award_once_there_is_one(plant: Plant) -> None:
    write_day(plant)
    ledger = plant.ledger
    (shown,) = read(ledger).bids
    assert (shown.resource_id, shown.delivery_date, shown.status, shown.rung) == (
        BESS,
        DAY,
        "accepted",
        "fresh",
    )
    assert shown.award is not None
    assert [item.energy_mwh for item in shown.award if item.energy_mwh] == [-5.0, -10.0]
    assert [order.quantity_mw for order in shown.orders] == [5.0, 10.0]
    assert shown.submitted_ms == to_ms(MARKET.gate_ns(DAY_DATE) - NS_PER_HOUR)
    (earlier,) = read(ledger, MARKET.publication_ns(DAY_DATE) - 1).bids
    assert earlier.award is None


def test_bid_that_was_revised_shows_what_stands_and_why(plant: Plant) -> None:
    write_day(plant)
    hour = MARKET.delivery_intervals(DAY_DATE)[19]
    revised = Order(
        start_ns=hour.start_ns, end_ns=hour.end_ns, side="buy", quantity_mw=2.0, limit_price_per_mwh=9.0
    )
    write_bid(plant.ledger, (revised,), gate_ns=MARKET.gate_ns(DAY_DATE), rung="simple", key="bess-1")
    (shown,) = read(plant.ledger).bids
    assert (shown.status, shown.rung, shown.rung_reason) == ("accepted", "simple", "fresh: too slow")
    assert [(order.side, order.quantity_mw) for order in shown.orders] == [
        ("sell", 5.0),
        ("sell", 10.0),
        ("buy", 2.0),
    ]


def test_resource_of_an_unknown_market_is_left_out(plant: Plant) -> None:
    write_day(plant)
    fleet = make_fleet()
    strange = replace(fleet, resources=tuple(replace(one, market_id="nowhere") for one in fleet.resources))
    books = read_books(plant.ledger, FactStore(plant.ledger.engine), strange, T0_NS)
    assert (books.prices, books.bids) == ((), ())


def test_money_is_what_was_settled(ledger: Ledger) -> None:
    net_amount = write_statement(ledger)
    books = read(ledger)
    assert books.money.revenue == pytest.approx(net_amount / 1e8)
    # 15 MWh sold, 5 bought back at the same price, and a tenth of that on top
    assert net_amount == (15 - 5) * 47 * 10**8 - 5 * 47 * 10**7
    (day,) = books.money.by_day
    assert (day.resource_id, day.award_mwh, day.delivered_mwh, day.status) == (BESS, 15.0, 10.0, "settled")
    assert books.totals[BESS].award_total_mwh == 15.0
    assert books.totals[BESS].delivered_total_mwh == 10.0
    assert HOMES not in books.totals


def test_money_that_rests_on_estimated_meters_is_provisional_until_a_better_statement(ledger: Ledger) -> None:
    write_statement(ledger, estimated=True)
    assert [day.status for day in read(ledger).money.by_day] == ["provisional"]
    write_statement(ledger, version=2)
    assert [day.status for day in read(ledger).money.by_day] == ["settled"]


def test_delivery_is_known_where_settled_and_open_where_only_awarded() -> None:
    def awarded(hour: int) -> AwardedInterval:
        start_ns = T0_NS + hour * NS_PER_HOUR
        return AwardedInterval(
            start_ns=start_ns, end_ns=start_ns + NS_PER_HOUR, energy_wh=1_000_000, price_per_mwh=1.0
        )

    award = Award(
        resource_id=BESS,
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=DAY,
        bid_id="b",
        version=1,
        published_ns=T0_NS,
        intervals=(awarded(-1), awarded(0), awarded(1)),
    )
    settled = settle_interval(
        start_ns=T0_NS,
        end_ns=T0_NS + NS_PER_HOUR,
        award_wh=1_000_000,
        delivered_wh=900_000,
        price_cents_per_mwh=100,
        deviation_charge_permille=0,
    )
    statement = day_statement(resource_id=BESS, delivery_date=DAY, currency="USD", intervals=[settled])
    hours = delivery_hours([award], [statement], from_ns=T0_NS)
    assert [(hour.start_ms, hour.delivered_mwh) for hour in hours] == [
        (to_ms(T0_NS), 0.9),
        (to_ms(T0_NS + NS_PER_HOUR), None),
    ]


@pytest.mark.parametrize(
    ("award_wh", "delivered_wh", "counted_wh"),
    [(-10, -4, 4), (-10, -15, 10), (-10, 3, 0), (10, 4, 4), (10, -4, 0), (0, 5, 0)],
)
def test_delivery_counts_up_to_the_award_and_in_its_direction(
    award_wh: int, delivered_wh: int, counted_wh: int
) -> None:
    interval = settle_interval(
        start_ns=T0_NS,
        end_ns=T0_NS + NS_PER_HOUR,
        award_wh=award_wh,
        delivered_wh=delivered_wh,
        price_cents_per_mwh=100,
        deviation_charge_permille=0,
    )
    totals = totals_of(
        [day_statement(resource_id=BESS, delivery_date=DAY, currency="USD", intervals=[interval])]
    )
    assert totals.delivered_total_mwh == counted_wh / 1e6
    assert totals.award_total_mwh == abs(award_wh) / 1e6
