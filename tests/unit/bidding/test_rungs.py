"""The rungs of the ladder: each leans on less than the one above, and the last on nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from shoal.bidding.ladder import Climbed
from shoal.bidding.rungs import BidInputs, MadeBid, StoredForecast, make_bid
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR, to_datetime
from shoal.domain.outcome import Accepted
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from tests.unit.bidding.plans import DAY, LONG_DAY, SHORT_DAY, bid_of, storage, two_peaks

NOW_NS = MARKET.gate_ns(DAY) - NS_PER_HOUR


def inputs(day: date = DAY, *, history_h: int = 24 * 30, missing_h: int = 0) -> BidInputs:
    """Return inputs whose prices are known up to the day's start, but for the last `missing_h` hours."""
    intervals = MARKET.delivery_intervals(day)
    start_ns = intervals[0].start_ns + np.arange(-history_h, -missing_h, dtype=np.int64) * NS_PER_HOUR
    return BidInputs(
        market=MARKET,
        delivery_date=day.isoformat(),
        intervals=intervals,
        history_start_ns=start_ns,
        history_price_per_mwh=two_peaks(history_h)[: len(start_ns)],
        storage=storage(),
        older=None,
        now_ns=MARKET.gate_ns(day) - NS_PER_HOUR,
        settlement_point="HB_NORTH",
    )


def older_forecast(*, issued_h_ago: float, days_back: int = 1) -> StoredForecast:
    first_ns = MARKET.delivery_intervals(DAY)[0].start_ns - days_back * 24 * NS_PER_HOUR
    prices = two_peaks(49)
    return StoredForecast(
        settlement_point="HB_NORTH",
        model="m",
        issued_ns=NOW_NS - round(issued_h_ago * NS_PER_HOUR),
        start_ns=[first_ns + hour * NS_PER_HOUR for hour in range(49)],
        quantile_level=[0.5],
        quantile_per_mwh=[prices.tolist()],
        expected_per_mwh=prices.tolist(),
    )


def made(given: BidInputs, *, budget_s: float = 20.0) -> Climbed[MadeBid]:
    return make_bid(lambda: given, forecast_budget_s=budget_s, optimise_budget_s=budget_s)


def assert_valid(climbed: Climbed[MadeBid], day: date = DAY) -> None:
    bid = bid_of(day, climbed.value.orders)
    assert MARKET.validate(bid, received_ns=MARKET.gate_ns(day) - 1) == Accepted()


@pytest.mark.parametrize(("day", "hours"), [(DAY, 24), (LONG_DAY, 25), (SHORT_DAY, 23)])
def test_fresh_bid_carries_the_forecast_that_it_was_made_from(day: date, hours: int) -> None:
    climbed = made(inputs(day))
    assert (climbed.rung, climbed.reason) == ("fresh", "")
    assert_valid(climbed, day)
    forecast = climbed.value.forecast
    assert forecast is not None
    assert forecast.issued_ns == MARKET.gate_ns(day) - NS_PER_HOUR
    assert forecast.start_ns[:hours] == [interval.start_ns for interval in MARKET.delivery_intervals(day)]
    assert len(forecast.expected_per_mwh) == len(forecast.start_ns) == 49
    assert climbed.value.offer is not None
    assert climbed.value.orders


def test_bid_is_the_same_for_the_same_inputs() -> None:
    assert made(inputs()).value.orders == made(inputs()).value.orders


def test_stale_prices_fall_back_to_the_older_forecast() -> None:
    given = replace(inputs(missing_h=24), older=older_forecast(issued_h_ago=24))
    climbed = made(given)
    assert climbed.rung == "older_forecast"
    assert climbed.reason.startswith("fresh: price history")
    assert "should have been published" in climbed.reason
    assert climbed.value.forecast == given.older
    assert climbed.value.orders
    assert_valid(climbed)


def test_older_forecast_of_another_day_lends_its_hours() -> None:
    """It covers two days that end when the delivery day begins."""
    given = replace(inputs(missing_h=24), older=older_forecast(issued_h_ago=48, days_back=2))
    climbed = made(given)
    assert climbed.rung == "older_forecast"
    hours = {to_datetime(o.start_ns, MARKET.zone).hour for o in climbed.value.orders if o.side == "sell"}
    assert hours
    assert hours <= {6, 7, 8, 9, 10, 16, 17, 18, 19, 20, 21, 22}, "the same hours of the day are dear"
    assert_valid(climbed)


@pytest.mark.parametrize(
    ("older", "why"), [(None, "none was made before"), (older_forecast(issued_h_ago=73), "older than 72 h")]
)
def test_without_an_older_forecast_the_typical_shape_serves(older: StoredForecast | None, why: str) -> None:
    climbed = made(replace(inputs(missing_h=30), older=older))
    assert climbed.rung == "typical_shape"
    assert why in climbed.reason
    assert list(climbed.took_s) == ["fresh", "older_forecast", "typical_shape"]
    assert climbed.value.forecast is None
    assert climbed.value.orders
    assert_valid(climbed)


@pytest.mark.parametrize("history_h", [0, 23])
def test_with_nothing_known_the_standing_bid_holds(history_h: int) -> None:
    climbed = made(inputs(history_h=history_h))
    assert climbed.rung == "standing"
    assert_valid(climbed)


def test_standing_bid_names_every_reason() -> None:
    climbed = made(inputs(history_h=40, missing_h=30))
    assert (climbed.rung, climbed.value.orders, climbed.value.offer) == ("standing", (), None)
    for rung in ("fresh", "older_forecast", "typical_shape"):
        assert f"{rung}: " in climbed.reason
    assert "10 hours" in climbed.reason


def test_price_that_is_no_number_is_not_bid_on() -> None:
    given = inputs()
    given.history_price_per_mwh[-5] = np.nan
    climbed = made(given)
    assert climbed.rung == "standing"
    assert_valid(climbed)


def test_inputs_that_cannot_be_had_leave_the_standing_bid() -> None:
    def nothing() -> BidInputs:
        raise UnavailableError("ledger", "it is locked")

    climbed = make_bid(nothing, forecast_budget_s=5.0, optimise_budget_s=5.0)
    assert climbed.rung == "standing"
    assert climbed.reason.count("ledger is unavailable: it is locked") == 3


def test_no_time_at_all_leaves_the_standing_bid() -> None:
    climbed = made(inputs(), budget_s=0.0)
    assert climbed.rung == "standing"
    assert climbed.reason.startswith("fresh: step 'fresh' overran its budget of 0.000 s")
