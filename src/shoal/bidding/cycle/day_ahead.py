"""Bids into a day-ahead auction: the exact optimum on expected prices, as orders that can be delivered whichever of them clear.

fresh           like days over up to two years of prices, with what is forecast of load; days not out yet are forecast, too
quick           similar hours of the last weeks; all prices have to be out
older_forecast  the last forecast that was recorded
simple          the mean of the last days at each local hour
idle            no orders
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.day_ahead_prices import (
    bounds_of,
    days_of,
    hourly_means,
    on_bounds,
    parts_of,
    price_limits,
    told_of,
    zone_of,
)
from shoal.bidding.cycle.decision import (
    Decision,
    ExpectedPrices,
    GateStrategy,
    PlannedIntervals,
    RungOf,
    register,
)
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.bidding.cycle.projection import budgets_of, projected
from shoal.bidding.cycle.reserves_backing import held_back
from shoal.bidding.offer import Offer, make_offer
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.forecast.price import forecast_prices
from shoal.forecast.prices import HISTORY_DAYS as RECIPE_DAYS
from shoal.forecast.prices import MODEL, price_outlook
from shoal.market.bids import Orders
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.types import Order
from shoal.optimise.storage import Storage

HISTORY_DAYS: Final = RECIPE_DAYS + 3
QUICK_DAYS: Final = 120
HORIZON_H: Final = 48
HORIZON_DAYS: Final = 2
"""The day that is bid for, and the next, so that what is left at its end has a value."""
AFTER_FRAC: Final = 0.7
"""Prices after the day are less sure than those of the day: what is kept for them must be worth it at so much of them."""
TYPICAL_DAYS: Final = 7
OLDEST_FORECAST_H: Final = 72
FAN_LEVELS: Final = (0.05, 0.5, 0.95)
_AMOUNT_PER_CURRENCY: Final = 1e8


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRules:
    """One product of a market as an auction's rules of orders."""

    market: Market
    product_id: str

    def price_limits(self, delivery_date: date) -> tuple[float, float]:
        """Return the floor and the cap in force on a delivery day."""
        return self.market.price_limits(self.product_id, delivery_date)

    def clip_price(self, price_per_mwh: float, *, delivery_date: date, side: Literal["buy", "sell"]) -> float:
        """Return the nearest limit price that the market takes."""
        return self.market.clip_price(self.product_id, price_per_mwh, day=delivery_date, side=side)

    def round_quantity_mw(self, quantity_mw: float) -> float:
        """Return the quantity rounded down to the step, 0 below the minimum."""
        return self.market.round_quantity_mw(self.product_id, quantity_mw)


def prices_of(situation: Situation) -> SeriesId:
    """Return the series of published prices."""
    gate = situation.gate
    return price_series(gate.market_id, situation.settlement_point, gate.product_id)


def forecast_series(situation: Situation) -> SeriesId:
    """Return the series of expected prices that earlier decisions recorded."""
    return SeriesId(f"forecast/{prices_of(situation)}")


def load_forecast(situation: Situation) -> SeriesId:
    """Return the series of what is forecast of the load where the price is made."""
    return SeriesId(f"load/{situation.gate.market_id}/{situation.settlement_point}/forecast")


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of the last two years, for the load that was and is forecast, and for forecasts of prices."""
    start_ns = situation.gate.covers_start_ns
    from_ns = start_ns - HISTORY_DAYS * 24 * NS_PER_HOUR
    end_ns = start_ns + HORIZON_H * NS_PER_HOUR
    return (
        Question(series_id=prices_of(situation), from_ns=from_ns, to_ns=start_ns),
        Question(series_id=load_forecast(situation), from_ns=from_ns, to_ns=end_ns),
        Question(
            series_id=forecast_series(situation),
            from_ns=start_ns - OLDEST_FORECAST_H * NS_PER_HOUR,
            to_ns=end_ns,
        ),
    )


def fresh(known: Known) -> Decision:
    """Bid on the best forecast that facts alone give."""
    situation = known.situation
    prices, load = known.facts[prices_of(situation)], known.facts.get(load_forecast(situation))
    days = days_of(situation, prices, load, target_days=HORIZON_DAYS)
    outlook = price_outlook(days)
    bounds_ns = bounds_of(situation, HORIZON_DAYS)
    expected, quantile = on_bounds(situation, outlook, bounds_ns)
    forecast = _expected(bounds_ns, expected, outlook.quantile_level, quantile)
    planned = expected.copy()
    after = planned[len(bounds_of(situation, 1)) - 1 :]
    np.minimum(after, AFTER_FRAC * after, out=after)
    return _decision(situation, planned, "fresh", forecast=forecast, said=told_of(days, outlook))


def quick(known: Known) -> Decision:
    """Bid on similar hours; raises when prices that should be out are not known."""
    situation = known.situation
    hour_ns, price = hourly_means(known.facts[prices_of(situation)])
    start_ns = situation.gate.covers_start_ns
    if not len(hour_ns) or int(hour_ns[-1]) + NS_PER_HOUR < start_ns:
        ends = iso(int(hour_ns[-1]) + NS_PER_HOUR) if len(hour_ns) else "nothing is known"
        raise InvalidInputError(
            field="price history", value=ends, fix=f"prices up to {iso(start_ns)} should be out"
        )
    forecast = forecast_prices(
        start_ns=hour_ns[-24 * QUICK_DAYS :],
        price_per_mwh=price[-24 * QUICK_DAYS :],
        target_start_ns=_hours(situation),
        zone=zone_of(situation),
        issued_ns=situation.as_of_ns,
    )
    bounds_ns = np.append(forecast.start_ns, forecast.start_ns[-1] + NS_PER_HOUR)
    return _decision(
        situation,
        parts_of(situation, forecast.expected_per_mwh),
        "quick",
        forecast=_expected(
            bounds_ns, forecast.expected_per_mwh, forecast.quantile_level, forecast.quantile_per_mwh
        ),
    )


def older(known: Known) -> Decision:
    """Bid on the last forecast that was recorded, an hour without one as the same hour of the day before."""
    situation = known.situation
    series = known.facts[forecast_series(situation)]
    by_hour = dict(zip(series.start_ns.tolist(), series.value[:, 0].tolist(), strict=True))
    expected = []
    for hour_ns in _hours(situation).tolist():
        found = (
            by_hour.get(hour_ns - back * 24 * NS_PER_HOUR) for back in range(OLDEST_FORECAST_H // 24 + 3)
        )
        price = next((one for one in found if one is not None and np.isfinite(one)), None)
        if price is None:
            raise InvalidInputError(field="forecast", value=iso(hour_ns), fix="no hour like it was forecast")
        expected.append(price)
    return _decision(situation, parts_of(situation, np.array(expected)), "older_forecast")


def simple(known: Known) -> Decision:
    """Bid on what the same local hour cost lately."""
    situation = known.situation
    hour_ns, price = hourly_means(known.facts[prices_of(situation)])
    hour_ns, price = hour_ns[-24 * TYPICAL_DAYS :], price[-24 * TYPICAL_DAYS :]
    if len(hour_ns) < 24:
        raise InvalidInputError(
            field="price history", value=f"{len(hour_ns)} hours", fix="a day at least is needed"
        )
    zone = zone_of(situation)
    local = np.array([to_datetime(int(t), zone).hour for t in hour_ns])
    mean = np.array([price[local == h].mean() if (local == h).any() else price.mean() for h in range(24)])
    hourly = mean[[to_datetime(int(t), zone).hour for t in _hours(situation)]]
    return _decision(situation, parts_of(situation, hourly), "simple")


def idle(known: Known) -> Decision:
    """Bid without orders: valid, never wrong, earns nothing; raises when anything stands already."""
    situation = known.situation
    if situation.standing is not None:
        raise InvalidInputError(field="standing", value="a bid", fix="it is better left as it is")
    orders = Orders(product=situation.gate.product_id, orders=())
    return Decision(rung="idle", offers=(orders,), reasons=("nothing could be planned: no orders",))


def _decision(
    situation: Situation,
    expected: NDArray[np.float64],
    rung: str,
    *,
    forecast: ExpectedPrices | None = None,
    said: tuple[str, ...] = (),
) -> Decision:
    """Return the orders of the day on expected prices of its intervals and those after it."""
    if not np.isfinite(expected).all():
        raise InvalidInputError(field="expected price", value="not finite", fix="check the forecast's inputs")
    market = market_module(situation.gate.market_id)
    day = date.fromisoformat(situation.gate.delivery_date)
    intervals = market.delivery_intervals(situation.gate.product_id, day)
    expected = np.clip(expected, *price_limits(situation))
    storage = held_back(situation, projected(situation))
    offer = make_offer(
        market=ProductRules(market=market, product_id=situation.gate.product_id),
        delivery_date=day,
        intervals=intervals,
        expected_price_per_mwh=expected,
        storage=storage,
        budgets=budgets_of(situation, intervals[0], len(expected)),
    )
    fixed = [Interval(start_ns=one.start_ns, end_ns=one.end_ns) for one in situation.fixed]
    orders = tuple(
        order
        for order in offer.orders
        if not any(one.start_ns < order.end_ns and order.start_ns < one.end_ns for one in fixed)
    )
    return Decision(
        rung=rung,
        offers=(
            Orders(
                product=situation.gate.product_id,
                orders=(*orders, *taken_back(situation, orders, market, day)),
            ),
        ),
        reasons=(*_reasons(offer, expected, storage), *said),
        plan=_plan(offer, expected, intervals),
        expected_amount=round(offer.plan.value * _AMOUNT_PER_CURRENCY),
        forecast=forecast,
    )


def taken_back(
    situation: Situation, orders: tuple[Order, ...], market: Market, day: date
) -> tuple[Order, ...]:
    """Return what takes back standing orders of intervals in which nothing is wanted any more.

    What a revision does not list stands, so such an interval is listed with the least that can be bought, at the lowest
    price that there is.
    """
    product_id = situation.gate.product_id
    listed = {order.start_ns for order in orders}
    fixed = [(one.start_ns, one.end_ns) for one in situation.fixed]
    stale = {
        order.start_ns: order.end_ns
        for offer in (() if situation.standing is None else situation.standing.offers)
        if isinstance(offer, Orders) and offer.product == product_id
        for order in offer.orders
        if order.start_ns not in listed
        and not any(start_ns < order.end_ns and order.start_ns < end_ns for start_ns, end_ns in fixed)
    }
    floor, _ = market.price_limits(product_id, day)
    least_mw = market.product(product_id).quantity_minimum_mw
    return tuple(
        Order(
            start_ns=start_ns,
            end_ns=end_ns,
            side="buy",
            quantity_mw=least_mw,
            limit_price_per_mwh=floor,
        )
        for start_ns, end_ns in sorted(stale.items())
    )


def _expected(
    bounds_ns: NDArray[np.int64],
    mean_per_mwh: NDArray[np.float64],
    level: NDArray[np.float64],
    quantile_per_mwh: NDArray[np.float64],
) -> ExpectedPrices:
    """Return a forecast as decisions keep it."""
    low, middle, high = (int(np.abs(level - wanted).argmin()) for wanted in FAN_LEVELS)
    return ExpectedPrices(
        start_ns=tuple(bounds_ns[:-1].tolist()),
        end_ns=tuple(bounds_ns[1:].tolist()),
        mean_per_mwh=tuple(mean_per_mwh.tolist()),
        low_per_mwh=tuple(quantile_per_mwh[:, low].tolist()),
        middle_per_mwh=tuple(quantile_per_mwh[:, middle].tolist()),
        high_per_mwh=tuple(quantile_per_mwh[:, high].tolist()),
    )


def _plan(offer: Offer, expected: NDArray[np.float64], intervals: tuple[Interval, ...]) -> PlannedIntervals:
    count = len(intervals)
    plan = offer.plan
    return PlannedIntervals(
        start_ns=tuple(one.start_ns for one in intervals),
        end_ns=tuple(one.end_ns for one in intervals),
        power_kw=tuple((plan.charge_kw - plan.discharge_kw)[:count].tolist()),
        energy_kwh=tuple(plan.energy_kwh[: count + 1].tolist()),
        price_per_mwh=tuple(expected[:count].tolist()),
        value_per_mwh=tuple(plan.marginal_value_per_mwh[: count + 1].tolist()),
        after_per_mwh=tuple(expected[count:].tolist()),
    )


def _reasons(offer: Offer, expected: NDArray[np.float64], storage: Storage) -> tuple[str, ...]:
    """Say in sentences what the plan rests on."""
    plan = offer.plan
    bought, sold = plan.charge_kw > 0, plan.discharge_kw > 0
    said = []
    if bought.any():
        said.append(f"charges while prices are expected up to {expected[: len(bought)][bought].max():.2f}")
    if sold.any():
        said.append(f"discharges while they are expected from {expected[: len(sold)][sold].min():.2f} up")
    if not (bought.any() or sold.any()):
        spread = float(expected.max() - expected.min())
        said.append(f"stands still: an expected spread of {spread:.2f} does not pay for losses and wear")
    full = int((plan.energy_kwh >= storage.energy_capacity_kwh * (1 - 1e-9)).sum())
    if full and storage.energy_capacity_kwh > 0:
        said.append(f"is full at {full} of {len(plan.energy_kwh)} instants: more capacity would earn more")
    return tuple(said)


def _hours(situation: Situation) -> NDArray[np.int64]:
    """Return the starts of the hours that are planned for: the day and what comes after it."""
    steps = np.arange(HORIZON_H + 1, dtype=np.int64)
    return situation.gate.covers_start_ns + steps * NS_PER_HOUR


def leaves(situation: Situation, decision: Decision) -> tuple[Facts, ...]:
    """Leave a new forecast for later decisions and for people: mean, low, middle and high of each hour."""
    forecast = decision.forecast
    if forecast is None:
        return ()
    columns = (
        forecast.mean_per_mwh,
        forecast.low_per_mwh,
        forecast.middle_per_mwh,
        forecast.high_per_mwh,
    )
    return (
        Facts(
            series_id=forecast_series(situation),
            source=f"shoal {situation.strategy}/{situation.strategy_version}",
            known_ns=situation.as_of_ns,
            start_ns=np.array(forecast.start_ns, dtype=np.int64),
            end_ns=np.array(forecast.end_ns, dtype=np.int64),
            value=np.array(columns).T,
        ),
    )


DAY_AHEAD: Final = register(
    GateStrategy(
        name="day-ahead",
        version=f"3-{MODEL}",
        about="The exact optimum on expected prices, as orders that can be delivered whichever of them clear.",
        questions=questions,
        rungs=(
            RungOf(name="fresh", decide=fresh, share=0.6),
            RungOf(name="quick", decide=quick, share=0.4),
            RungOf(name="older_forecast", decide=older, share=0.6),
            RungOf(name="simple", decide=simple, share=1.0),
            RungOf(name="idle", decide=idle, share=1.0, light=True),
        ),
        leaves=leaves,
        counts_cycles=True,
    )
)
