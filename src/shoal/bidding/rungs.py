"""The rungs of the day-ahead ladder: four ways to an offer, each leaning on less than the one above.

fresh            all published prices, a new forecast, the exact optimum
older_forecast   the last forecast that was made, the exact optimum
typical_shape    the mean of the last known days at each local hour, the exact optimum
standing         no orders at all: always valid, never wrong, earns nothing
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.ladder import Climbed, Rung, climb
from shoal.bidding.offer import Offer, make_offer
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.forecast.price import PriceForecast, forecast_prices
from shoal.market.rules import DayAheadMarket
from shoal.market.types import Order
from shoal.optimise.storage import Storage

HORIZON_DAYS: Final = 2
TYPICAL_DAYS: Final = 7
OLDEST_FORECAST_HOURS: Final = 72


class StoredForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as it is kept: hours, levels, quantiles, expectation."""

    settlement_point: str
    model: str
    issued_ns: int
    start_ns: list[int]
    quantile_level: list[float]
    quantile_per_mwh: list[list[float]]
    expected_per_mwh: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BidInputs:
    """Everything that a bid is made from; two bids from equal inputs are equal.

    Attributes:
        market: The rules.
        delivery_date: The day in the market's zone.
        intervals: Its intervals.
        history_start_ns: Starts of the hours with a published price, ascending.
        history_price_per_mwh: Their prices.
        storage: The resource as it will stand when the day begins.
        older: The last forecast made before, if any.
        now_ns: When the bid is made.
        settlement_point: The price location.
    """

    market: DayAheadMarket
    delivery_date: str
    intervals: tuple[Interval, ...]
    history_start_ns: NDArray[np.int64]
    history_price_per_mwh: NDArray[np.float64]
    storage: Storage
    older: StoredForecast | None
    now_ns: int
    settlement_point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBid:
    """Orders with the forecast behind them; `offer` is None on the rung without a plan."""

    orders: tuple[Order, ...]
    forecast: StoredForecast | None
    offer: Offer | None


def make_bid(
    inputs: Callable[[], BidInputs], *, forecast_budget_s: float, optimise_budget_s: float
) -> Climbed[MadeBid]:
    """Return a bid from the best rung that holds; what `inputs` raises counts as the failure of a rung."""
    budget_s = forecast_budget_s + optimise_budget_s
    known = cache(inputs)
    return climb(
        [
            Rung(name="fresh", make=lambda: _fresh(known()), budget_s=budget_s),
            Rung(name="older_forecast", make=lambda: _older(known()), budget_s=optimise_budget_s),
            Rung(name="typical_shape", make=lambda: _typical(known()), budget_s=optimise_budget_s),
        ],
        last=Rung(
            name="standing",
            make=lambda: MadeBid(orders=(), forecast=None, offer=None),
            budget_s=optimise_budget_s,
        ),
    )


def _horizon(inputs: BidInputs) -> NDArray[np.int64]:
    first = inputs.intervals[0].start_ns
    return first + np.arange(24 * HORIZON_DAYS + 1, dtype=np.int64) * NS_PER_HOUR


def _offer(inputs: BidInputs, expected: NDArray[np.float64], forecast: StoredForecast | None) -> MadeBid:
    if not np.isfinite(expected).all():
        raise InvalidInputError(field="expected price", value="not finite", fix="check the forecast's inputs")
    offer = make_offer(
        market=inputs.market,
        delivery_date=to_datetime(inputs.intervals[0].start_ns, inputs.market.zone).date(),
        intervals=inputs.intervals,
        expected_price_per_mwh=expected,
        storage=inputs.storage,
    )
    return MadeBid(orders=offer.orders, forecast=forecast, offer=offer)


def _fresh(inputs: BidInputs) -> MadeBid:
    published_to_ns = int(inputs.history_start_ns[-1]) + NS_PER_HOUR if len(inputs.history_start_ns) else 0
    if published_to_ns < inputs.intervals[0].start_ns:
        raise InvalidInputError(
            field="price history",
            value=f"ends {iso(published_to_ns)}",
            fix=f"prices up to {iso(inputs.intervals[0].start_ns)} should have been published",
        )
    forecast = forecast_prices(
        start_ns=inputs.history_start_ns,
        price_per_mwh=inputs.history_price_per_mwh,
        target_start_ns=_horizon(inputs),
        zone=inputs.market.zone,
        issued_ns=inputs.now_ns,
    )
    return _offer(inputs, forecast.expected_per_mwh, _stored(forecast, inputs.settlement_point))


def _older(inputs: BidInputs) -> MadeBid:
    older = inputs.older
    if older is None:
        raise InvalidInputError(field="forecast", value=None, fix="none was made before")
    if inputs.now_ns - older.issued_ns > OLDEST_FORECAST_HOURS * NS_PER_HOUR:
        raise InvalidInputError(
            field="forecast",
            value=f"issued {iso(older.issued_ns)}",
            fix=f"older than {OLDEST_FORECAST_HOURS} h",
        )
    by_hour = dict(zip(older.start_ns, older.expected_per_mwh, strict=True))
    return _offer(
        inputs, _by_same_hour(inputs, by_hour, days=int(timedelta(hours=OLDEST_FORECAST_HOURS).days)), older
    )


def _typical(inputs: BidInputs) -> MadeBid:
    recent = slice(-24 * TYPICAL_DAYS, None)
    start_ns, price = inputs.history_start_ns[recent], inputs.history_price_per_mwh[recent]
    if len(start_ns) < 24:
        raise InvalidInputError(
            field="price history", value=f"{len(start_ns)} hours", fix="a day at least is needed"
        )
    hour = np.array([to_datetime(int(t), inputs.market.zone).hour for t in start_ns])
    mean = np.array([price[hour == h].mean() if (hour == h).any() else price.mean() for h in range(24)])
    target = [to_datetime(int(t), inputs.market.zone).hour for t in _horizon(inputs)]
    return _offer(inputs, mean[target], None)


def _by_same_hour(inputs: BidInputs, by_hour: dict[int, float], *, days: int) -> NDArray[np.float64]:
    """Take each hour's price from the forecast, or from the same hour some days before."""
    expected = []
    for t in _horizon(inputs):
        for back in range(days + HORIZON_DAYS + 1):
            found = by_hour.get(int(t) - back * 24 * NS_PER_HOUR)
            if found is not None:
                expected.append(found)
                break
        else:
            raise InvalidInputError(field="forecast", value=iso(int(t)), fix="no hour like it was forecast")
    return np.array(expected)


def _stored(forecast: PriceForecast, settlement_point: str) -> StoredForecast:
    return StoredForecast(
        settlement_point=settlement_point,
        model=forecast.model,
        issued_ns=forecast.issued_ns,
        start_ns=forecast.start_ns.tolist(),
        quantile_level=forecast.quantile_level.tolist(),
        quantile_per_mwh=forecast.quantile_per_mwh.tolist(),
        expected_per_mwh=forecast.expected_per_mwh.tolist(),
    )
