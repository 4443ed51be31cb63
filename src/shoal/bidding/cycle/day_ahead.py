"""Bids into a day-ahead auction: the exact optimum on expected prices, as orders that can be delivered whichever of them clear.

fresh all published prices, a new forecast, the exact optimum older_forecast the last forecast that was recorded, the
exact optimum simple the mean of the last days at each local hour, the exact optimum
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.decision import Decision, GateStrategy, PlannedIntervals, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Series, Situation
from shoal.bidding.cycle.projection import projected
from shoal.bidding.offer import Offer, make_offer
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.forecast.price import forecast_prices
from shoal.market.bids import Orders
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.storage import Storage

HISTORY_DAYS: Final = 120
HORIZON_H: Final = 48
TYPICAL_DAYS: Final = 7
OLDEST_FORECAST_H: Final = 72
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


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of the last months and for forecasts of the days to come."""
    from_ns = situation.as_of_ns - HISTORY_DAYS * 24 * NS_PER_HOUR
    start_ns = situation.gate.covers_start_ns
    return (
        Question(series_id=prices_of(situation), from_ns=from_ns, to_ns=start_ns),
        Question(
            series_id=forecast_series(situation),
            from_ns=start_ns - OLDEST_FORECAST_H * NS_PER_HOUR,
            to_ns=start_ns + HORIZON_H * NS_PER_HOUR,
        ),
    )


def fresh(known: Known) -> Decision:
    """Bid on a new forecast; raises when prices that should be out are not known."""
    situation = known.situation
    hour_ns, price = _hourly(known.facts[prices_of(situation)])
    start_ns = situation.gate.covers_start_ns
    if not len(hour_ns) or int(hour_ns[-1]) + NS_PER_HOUR < start_ns:
        ends = iso(int(hour_ns[-1]) + NS_PER_HOUR) if len(hour_ns) else "nothing is known"
        raise InvalidInputError(
            field="price history", value=ends, fix=f"prices up to {iso(start_ns)} should be out"
        )
    forecast = forecast_prices(
        start_ns=hour_ns,
        price_per_mwh=price,
        target_start_ns=_hours(situation),
        zone=_zone(situation),
        issued_ns=situation.as_of_ns,
    )
    return _decision(situation, forecast.expected_per_mwh, "fresh")


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
    return _decision(situation, np.array(expected), "older_forecast")


def simple(known: Known) -> Decision:
    """Bid on what the same local hour cost lately."""
    situation = known.situation
    hour_ns, price = _hourly(known.facts[prices_of(situation)])
    hour_ns, price = hour_ns[-24 * TYPICAL_DAYS :], price[-24 * TYPICAL_DAYS :]
    if len(hour_ns) < 24:
        raise InvalidInputError(
            field="price history", value=f"{len(hour_ns)} hours", fix="a day at least is needed"
        )
    zone = _zone(situation)
    local = np.array([to_datetime(int(t), zone).hour for t in hour_ns])
    mean = np.array([price[local == h].mean() if (local == h).any() else price.mean() for h in range(24)])
    return _decision(situation, mean[[to_datetime(int(t), zone).hour for t in _hours(situation)]], "simple")


def idle(known: Known) -> Decision:
    """Bid without orders: valid, never wrong, earns nothing; raises when anything stands already."""
    situation = known.situation
    if situation.standing is not None:
        raise InvalidInputError(field="standing", value="a bid", fix="it is better left as it is")
    orders = Orders(product=situation.gate.product_id, orders=())
    return Decision(rung="idle", offers=(orders,), reasons=("nothing could be planned: no orders",))


def _decision(situation: Situation, hourly_per_mwh: NDArray[np.float64], rung: str) -> Decision:
    """Return the orders of the day on expected prices of the hours from its start on."""
    if not np.isfinite(hourly_per_mwh).all():
        raise InvalidInputError(field="expected price", value="not finite", fix="check the forecast's inputs")
    market = market_module(situation.gate.market_id)
    day = date.fromisoformat(situation.gate.delivery_date)
    intervals = market.delivery_intervals(situation.gate.product_id, day)
    parts = NS_PER_HOUR // (intervals[0].end_ns - intervals[0].start_ns)
    expected = np.repeat(hourly_per_mwh, parts)
    storage = projected(situation)
    offer = make_offer(
        market=ProductRules(market=market, product_id=situation.gate.product_id),
        delivery_date=day,
        intervals=intervals,
        expected_price_per_mwh=expected,
        storage=storage,
    )
    fixed = [Interval(start_ns=one.start_ns, end_ns=one.end_ns) for one in situation.fixed]
    orders = tuple(
        order
        for order in offer.orders
        if not any(one.start_ns < order.end_ns and order.start_ns < one.end_ns for one in fixed)
    )
    return Decision(
        rung=rung,
        offers=(Orders(product=situation.gate.product_id, orders=orders),),
        reasons=_reasons(offer, expected, storage),
        plan=_plan(offer, expected, intervals),
        expected_amount=round(offer.plan.value * _AMOUNT_PER_CURRENCY),
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


def leaves(situation: Situation, decision: Decision) -> tuple[Facts, ...]:
    """Leave a new forecast for later decisions: expected prices of the day's hours."""
    plan = decision.plan
    if decision.rung != "fresh" or plan is None:
        return ()
    start_ns = np.array(plan.start_ns, dtype=np.int64)
    hour_ns, first = np.unique(start_ns // NS_PER_HOUR * NS_PER_HOUR, return_index=True)
    return (
        Facts(
            series_id=forecast_series(situation),
            source=f"shoal {situation.strategy}/{situation.strategy_version}",
            known_ns=situation.as_of_ns,
            start_ns=hour_ns,
            end_ns=hour_ns + NS_PER_HOUR,
            value=np.array(plan.price_per_mwh)[first].reshape(-1, 1),
        ),
    )


def _hours(situation: Situation) -> NDArray[np.int64]:
    """Return the starts of the hours that are planned for: the day and what comes after it."""
    steps = np.arange(HORIZON_H + 1, dtype=np.int64)
    return situation.gate.covers_start_ns + steps * NS_PER_HOUR


def _hourly(series: Series) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return hourly means of the intervals that are known."""
    there = np.isfinite(series.value[:, 0])
    start_ns, price = series.start_ns[there], series.value[there, 0]
    hour_ns, row = np.unique(start_ns // NS_PER_HOUR * NS_PER_HOUR, return_inverse=True)
    if not len(hour_ns):
        return hour_ns, price
    mean = np.bincount(row, weights=price) / np.bincount(row)
    return hour_ns, np.asarray(mean, dtype=np.float64)


def _zone(situation: Situation) -> ZoneInfo:
    return ZoneInfo(market_module(situation.gate.market_id).rules.zone)


DAY_AHEAD: Final = register(
    GateStrategy(
        name="day-ahead",
        version="1",
        about="The exact optimum on expected prices, as orders that can be delivered whichever of them clear.",
        questions=questions,
        rungs=(
            RungOf(name="fresh", decide=fresh, share=0.6),
            RungOf(name="older_forecast", decide=older, share=0.6),
            RungOf(name="simple", decide=simple, share=1.0),
            RungOf(name="idle", decide=idle, share=1.0, light=True),
        ),
        leaves=leaves,
    )
)
