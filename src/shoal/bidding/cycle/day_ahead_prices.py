"""What a bid for the day ahead knows of prices: facts as days and hours, forecasts as the intervals of its delivery day.

Days follow the market's clock: one with a clock change has its true hours, a product of quarters of an hour its quarters.
"""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.known import Series, Situation
from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.prices import PriceOutlook
from shoal.forecast.prices_days import Curve, DayClock, PriceDays, on_intervals, price_days
from shoal.market.registry import market_module


def days_of(situation: Situation, prices: Series, load: Series | None, *, target_days: int) -> PriceDays:
    """Return what is known of prices, and of the load if it is forecast, as days of 24 hours with those to forecast."""
    return price_days(
        _curve(prices),
        clock=_clock(situation),
        target=date.fromisoformat(situation.gate.delivery_date),
        target_days=target_days,
        exogenous={} if load is None or not len(load.start_ns) else {"load": _curve(load)},
    )


def on_bounds(
    situation: Situation, outlook: PriceOutlook, bounds_ns: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return central prices and quantiles of a forecast for intervals, within the market's floor and cap.

    A forecast beyond what the market can clear at would see spreads that cannot be.
    """
    clock, limits = _clock(situation), price_limits(situation)
    central, quantile = (
        np.clip(on_intervals(bounds_ns[:-1], clock=clock, first_day=outlook.first_day, level=level), *limits)
        for level in (outlook.central_per_mwh, outlook.quantile_per_mwh)
    )
    return central, quantile


def told_of(days: PriceDays, outlook: PriceOutlook) -> tuple[str, ...]:
    """Say in a sentence what the forecast rests on."""
    said = f"prices forecast by {outlook.way} from {days.days.count} days"
    if days.exogenous:
        said += f" and {', '.join(days.exogenous)}"
    apart = []
    if len(days.tail_per_mwh):
        apart.append(f"{len(days.tail_per_mwh)} before it were not out and are forecast, too")
    if days.dropped_count:
        apart.append(f"{days.dropped_count} had gaps and are bridged")
    if days.filled_count:
        apart.append(f"{days.filled_count} hours are interpolated")
    return ("; ".join((said, *apart)),)


def bounds_of(situation: Situation, days_count: int) -> NDArray[np.int64]:
    """Return the boundaries of the intervals of the delivery day and of the days after it."""
    market, gate = market_module(situation.gate.market_id), situation.gate
    day = date.fromisoformat(gate.delivery_date)
    days = [market.bounds_ns(gate.product_id, day + timedelta(days=ahead)) for ahead in range(days_count)]
    return np.unique(np.concatenate(days))


def price_limits(situation: Situation) -> tuple[float, float]:
    """Return the floor and the cap of the delivery day."""
    gate = situation.gate
    day = date.fromisoformat(gate.delivery_date)
    return market_module(gate.market_id).price_limits(gate.product_id, day)


def parts_of(situation: Situation, hourly_per_mwh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return prices of hours from the day's start on as prices of the product's intervals."""
    bounds_ns = bounds_of(situation, 1)
    return np.repeat(hourly_per_mwh, NS_PER_HOUR // int(bounds_ns[1] - bounds_ns[0]))


def hourly_means(series: Series) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return hourly means of the intervals that are known."""
    there = np.isfinite(series.value[:, 0])
    start_ns, price = series.start_ns[there], series.value[there, 0]
    hour_ns, row = np.unique(start_ns // NS_PER_HOUR * NS_PER_HOUR, return_inverse=True)
    if not len(hour_ns):
        return hour_ns, price
    mean = np.bincount(row, weights=price) / np.bincount(row)
    return hour_ns, np.asarray(mean, dtype=np.float64)


def zone_of(situation: Situation) -> ZoneInfo:
    """Return the zone of the market's clock."""
    return ZoneInfo(market_module(situation.gate.market_id).rules.zone)


def _curve(series: Series) -> Curve:
    return Curve(start_ns=series.start_ns, end_ns=series.end_ns, value=series.value[:, 0])


def _clock(situation: Situation) -> DayClock:
    rules = market_module(situation.gate.market_id).rules
    return DayClock(zone=rules.zone, day_start=rules.day_start)
