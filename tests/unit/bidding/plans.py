"""What the tests of the bidding path share: a storage, a market day, prices."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.offer import Offer, make_offer
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.types import Bid, Order
from shoal.optimise.storage import Storage

DAY = date(2021, 7, 2)
LONG_DAY = date(2021, 11, 7)
SHORT_DAY = date(2021, 3, 14)


def storage(**values: float) -> Storage:
    """Return a battery of 1 MW and 2 MWh, half full, with 5 % lost each way, unless `values` say otherwise."""
    plain: dict[str, Any] = {
        "charge_limit_kw": 1_000.0,
        "discharge_limit_kw": 1_000.0,
        "charge_efficiency_frac": 0.95,
        "discharge_efficiency_frac": 0.95,
        "energy_capacity_kwh": 2_000.0,
        "initial_energy_kwh": 1_000.0,
        "throughput_cost_per_mwh": 5.0,
    }
    return Storage(**{**plain, **values})


def two_peaks(hours: int, seed: int = 0) -> NDArray[np.float64]:
    """Return prices that are cheap at night and dear in the morning and the evening, a little different each day."""
    hour = np.arange(hours) % 24
    base = 30.0 + 25.0 * np.exp(-(((hour - 8) / 2.0) ** 2)) + 60.0 * np.exp(-(((hour - 19) / 2.5) ** 2))
    return base + np.random.default_rng(seed).normal(0.0, 3.0, hours)


def offer_for(day: date, prices: NDArray[np.float64], battery: Storage) -> Offer:
    return make_offer(
        market=MARKET,
        delivery_date=day,
        intervals=MARKET.delivery_intervals(day),
        expected_price_per_mwh=prices,
        storage=battery,
    )


def change_kwh(order: Order, battery: Storage) -> float:
    """Return what the order does to the stored energy when it clears."""
    energy_kwh = order.quantity_mw * 1e3 * (order.end_ns - order.start_ns) / NS_PER_HOUR
    if order.side == "buy":
        return energy_kwh * battery.charge_efficiency_frac
    return -energy_kwh / battery.discharge_efficiency_frac


def bid_of(day: date, orders: tuple[Order, ...]) -> Bid:
    return Bid(
        idempotency_key="k",
        resource_id="bess-1",
        market_id=MARKET.market_id,
        settlement_point="HB_NORTH",
        delivery_date=day.isoformat(),
        revision=1,
        orders=orders,
    )
