"""Bids for a day-ahead auction: what each rung needs, days with a clock change, quarters of an hour, prices that are not out."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import numpy as np
import pytest

from shoal.bidding.cycle import day_ahead
from shoal.bidding.cycle.decision import Decision, decide
from shoal.bidding.cycle.known import Known, Question, Series, Situation, gate_ref
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.market.bids import Orders
from shoal.market.registry import market_module
from shoal.market.types import Order
from shoal.optimise.storage import Storage

STORAGE: Final = Storage(
    charge_limit_kw=10_000.0,
    discharge_limit_kw=10_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=20_000.0,
    initial_energy_kwh=0.0,
)
POINTS: Final = {"ercot": "HB_NORTH", "sdac": "DE-LU"}


def situation(market_id: str, day: date) -> Situation:
    gate = gate_ref(market_id, day.isoformat(), market_module(market_id).gates("day-ahead", day)[0])
    return Situation(
        resource_id="big",
        settlement_point=POINTS[market_id],
        gate=gate,
        as_of_ns=gate.closes_ns - 100 * NS_PER_S,
        record_no=0,
        storage=STORAGE,
        strategy="day-ahead",
        strategy_version=day_ahead.DAY_AHEAD.version,
    )


def prices(market_id: str, first: date, last: date, seed: int = 4) -> Series:
    """Return prices of all intervals of the days from first to last: cheap at night, dear in the evening."""
    market = market_module(market_id)
    count = (last - first).days + 1
    bounds = [market.bounds_ns("day-ahead", first + timedelta(days=n)) for n in range(count)]
    start_ns = np.concatenate([one[:-1] for one in bounds])
    end_ns = np.concatenate([one[1:] for one in bounds])
    hour = np.concatenate([np.linspace(0.0, 24.0, len(one) - 1, endpoint=False) for one in bounds])
    shape = 40.0 + 30.0 * np.sin((hour - 13.0) / 12.0 * np.pi)
    value = np.round(shape + np.random.default_rng(seed).normal(0.0, 4.0, len(start_ns)), 2)
    return Series(
        start_ns=start_ns,
        end_ns=end_ns,
        value=value[:, None],
        known_ns=start_ns,
        revision=np.zeros_like(start_ns),
    )


def cut(series: Series, question: Question) -> Series:
    at = (series.start_ns >= question.from_ns) & (series.start_ns < question.to_ns)
    return Series(
        **{
            name: getattr(series, name)[at]
            for name in ("start_ns", "end_ns", "value", "known_ns", "revision")
        }
    )


def known(about: Situation, history: Series) -> Known:
    """Return what the store would answer when it has nothing but prices."""
    asked = day_ahead.questions(about)
    none = Series(
        start_ns=np.empty(0, np.int64),
        end_ns=np.empty(0, np.int64),
        value=np.empty((0, 1)),
        known_ns=np.empty(0, np.int64),
        revision=np.empty(0, np.int64),
    )
    facts = {one.series_id: none for one in asked}
    facts[day_ahead.prices_of(about)] = cut(history, asked[0])
    return Known(situation=about, facts=facts)


def orders_of(decision: Decision) -> tuple[Order, ...]:
    (offer,) = decision.offers
    assert isinstance(offer, Orders)
    return offer.orders


@pytest.mark.parametrize(
    ("market_id", "day", "count"),
    [
        ("ercot", date(2022, 3, 13), 23),
        ("ercot", date(2022, 6, 1), 24),
        ("ercot", date(2022, 11, 6), 25),
        ("sdac", date(2026, 3, 29), 92),
        ("sdac", date(2025, 10, 26), 100),
    ],
)
def test_fresh_bid_covers_the_true_intervals_of_the_day(market_id: str, day: date, count: int) -> None:
    about = situation(market_id, day)
    history = prices(market_id, day - timedelta(days=70), day - timedelta(days=1))
    decision = decide(known(about, history), "fresh")
    assert decision.plan is not None
    bounds_ns = market_module(market_id).bounds_ns("day-ahead", day)
    assert decision.plan.start_ns == tuple(bounds_ns[:-1].tolist())
    assert decision.plan.end_ns == tuple(bounds_ns[1:].tolist())
    assert len(decision.plan.start_ns) == count
    assert {order.side for order in orders_of(decision)} == {"buy", "sell"}
    assert {order.start_ns for order in orders_of(decision)} <= set(decision.plan.start_ns)
    assert decision.expected_amount is not None
    assert decision.expected_amount > 0
    assert any("like-days from 70 days" in reason for reason in decision.reasons)


@pytest.mark.parametrize("days", [1, 5, 10, 60])
def test_fresh_holds_from_the_second_day_of_a_plant_on(days: int) -> None:
    day = date(2022, 6, 1)
    history = prices("ercot", day - timedelta(days=days), day - timedelta(days=1))
    decision = decide(known(situation("ercot", day), history), "fresh")
    assert orders_of(decision)
    sold_ns = max(o.start_ns for o in orders_of(decision) if o.side == "sell")
    bought_ns = min(o.start_ns for o in orders_of(decision) if o.side == "buy")
    assert bought_ns < sold_ns


def test_rung_below_wants_prices_that_are_out_where_fresh_forecasts_them() -> None:
    day = date(2022, 6, 1)
    about = situation("ercot", day)
    late = known(about, prices("ercot", day - timedelta(days=70), day - timedelta(days=3)))
    decision = decide(late, "fresh")
    assert any("2 before it were not out" in reason for reason in decision.reasons)
    with pytest.raises(InvalidInputError, match="should be out"):
        decide(late, "quick")
    silent = known(about, prices("ercot", day - timedelta(days=70), day - timedelta(days=5)))
    with pytest.raises(InvalidInputError, match="4 days unknown"):
        decide(silent, "fresh")
    assert decide(silent, "simple").rung == "simple"


def test_forecast_is_left_for_the_rung_of_older_ones_and_for_people() -> None:
    day = date(2022, 6, 1)
    about = situation("ercot", day)
    decision = decide(
        known(about, prices("ercot", day - timedelta(days=70), day - timedelta(days=1))), "fresh"
    )
    (left,) = day_ahead.leaves(about, decision)
    assert left.series_id == "forecast/price/ercot/HB_NORTH/day-ahead"
    assert left.known_ns == about.as_of_ns
    assert left.value.shape == (48, 4)
    mean, low, middle, high = left.value.T
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert ((low < mean) & (mean < high)).all()
    assert decision.plan is not None
    np.testing.assert_array_equal(mean[:24], decision.plan.price_per_mwh)
    after = situation("ercot", day + timedelta(days=1))
    facts = {
        **known(after, prices("ercot", day, day)).facts,
        left.series_id: Series(
            start_ns=left.start_ns,
            end_ns=left.end_ns,
            value=left.value,
            known_ns=np.full(48, left.known_ns),
            revision=np.zeros(48, np.int64),
        ),
    }
    older = decide(Known(situation=after, facts=facts), "older_forecast")
    assert older.plan is not None
    np.testing.assert_array_equal(older.plan.price_per_mwh, mean[24:])


def test_no_spread_is_seen_beyond_the_cap() -> None:
    day = date(2021, 2, 18)
    history = prices("ercot", day - timedelta(days=40), day - timedelta(days=1))
    cap = market_module("ercot").price_limits("day-ahead", day)[1]
    value = history.value.copy()
    value[-4 * 24 :] = cap - 1.0 + np.linspace(0.0, 1.0, 96)[:, None]
    capped = Series(
        start_ns=history.start_ns,
        end_ns=history.end_ns,
        value=value,
        known_ns=history.known_ns,
        revision=history.revision,
    )
    decision = decide(known(situation("ercot", day), capped), "fresh")
    assert decision.plan is not None
    assert max(decision.plan.price_per_mwh) <= cap


def test_later_prices_change_no_bit_of_a_decision() -> None:
    day = date(2022, 6, 1)
    about = situation("ercot", day)
    history = prices("ercot", day - timedelta(days=70), day + timedelta(days=2))
    first = decide(known(about, history), "fresh").content()
    other = history.value.copy()
    other[history.start_ns >= about.gate.covers_start_ns] = 9_000.0
    later = Series(
        start_ns=history.start_ns,
        end_ns=history.end_ns,
        value=other,
        known_ns=history.known_ns,
        revision=history.revision,
    )
    assert decide(known(about, later), "fresh").content() == first


def test_load_forecast_where_it_is_known_is_part_of_the_forecast() -> None:
    day = date(2025, 12, 10)
    about = situation("sdac", day)
    first = day - timedelta(days=200)
    plain = known(about, prices("sdac", first, day - timedelta(days=1)))
    load = prices("sdac", first, day, seed=9)
    decision = decide(
        Known(situation=about, facts={**plain.facts, day_ahead.load_forecast(about): load}), "fresh"
    )
    assert any("from 200 days and load" in reason for reason in decision.reasons)
    assert decision.content() != decide(plain, "fresh").content()
