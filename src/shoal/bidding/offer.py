"""From a price forecast to price-quantity orders that can be delivered whichever of them clear.

The plan is the exact optimum on the expected prices. An order carries the price at which it would rather not clear (the
marginal value of stored energy at the day's end) only when its not clearing can never make another order undeliverable;
all others take any price.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import Interval
from shoal.market.types import AwardedInterval, Order, Side
from shoal.optimise.envelope import removable_orders
from shoal.optimise.storage import Storage, StoragePlan, plan_storage
from shoal.optimise.storage_limits import StorageLimits, ThroughputBudget, plan_storage_within

KW_PER_MW: Final = 1e3
LEAST_PREFERRED: Final = -1e12


class OrderRules(Protocol):
    """What an auction says of orders: `shoal.market.rules.DayAheadMarket`, or one product of a market."""

    def price_limits(self, delivery_date: date) -> tuple[float, float]:
        """Return the floor and the cap in force on a delivery day."""
        ...

    def clip_price(self, price_per_mwh: float, *, delivery_date: date, side: Side) -> float:
        """Return the nearest limit price that the market takes."""
        ...

    def round_quantity_mw(self, quantity_mw: float) -> float:
        """Return the quantity rounded down to the step, 0 below the minimum."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Orders with the plan behind them.

    Attributes:
        orders: What is to be sent to the market.
        plan: The optimum over the whole horizon; the orders cover its beginning.
        priced: For each order, whether it carries a limit of its own.
    """

    orders: tuple[Order, ...]
    plan: StoragePlan
    priced: tuple[bool, ...]


def carry_forward(storage: Storage, commitments: list[AwardedInterval], *, now_ns: int) -> Storage:
    """Return the storage as it will stand after the awards still to be delivered."""
    energy_kwh = storage.initial_energy_kwh
    for award in sorted(commitments, key=lambda a: a.start_ns):
        left = (award.end_ns - max(award.start_ns, now_ns)) / (award.end_ns - award.start_ns)
        if left <= 0:
            continue
        terminal_kwh = award.energy_wh * min(left, 1.0) / 1e3
        if terminal_kwh > 0:
            energy_kwh += terminal_kwh * storage.charge_efficiency_frac
        else:
            energy_kwh += terminal_kwh / storage.discharge_efficiency_frac
        energy_kwh = min(max(energy_kwh, 0.0), storage.energy_capacity_kwh)
    return replace(storage, initial_energy_kwh=energy_kwh)


def make_offer(
    *,
    market: OrderRules,
    delivery_date: date,
    intervals: tuple[Interval, ...],
    expected_price_per_mwh: NDArray[np.float64],
    storage: Storage,
    budgets: tuple[ThroughputBudget, ...] = (),
) -> Offer:
    """Return the offer for one delivery day.

    Args:
        market: Its rules.
        delivery_date: The day, in the market's zone.
        intervals: The day's intervals.
        expected_price_per_mwh: Expected prices from the first interval on; a longer horizon than the day gives the energy left
            at its end a value.
        storage: The resource at the start of the day.
        budgets: How much may be discharged, by stretches of the horizon; kept whichever orders clear, for a sale that does
            not clear discharges nothing.
    """
    interval_h = intervals[0].duration_h
    plan = plan_in_budgets(storage, expected_price_per_mwh, interval_h, budgets)
    hours = len(intervals)
    quantity_mw, change_kwh = _whole_lots(market, plan, storage, hours, interval_h)
    expected = expected_price_per_mwh[:hours]
    # All orders of the day are given at once: energy that one of them does not move stays until the day's end, so its
    # worth there is the limit. Its worth within the day would count on orders that cannot be changed any more.
    gain, loss = plan.marginal_gain_per_mwh[hours], plan.marginal_loss_per_mwh[hours]
    sell_limit = gain / storage.discharge_efficiency_frac + storage.throughput_cost_per_mwh
    buy_limit = loss * storage.charge_efficiency_frac
    limit = np.where(quantity_mw > 0, buy_limit, sell_limit)
    margin = np.where(quantity_mw > 0, limit - expected, expected - limit)
    removable = removable_orders(
        change_kwh,
        energy_capacity_kwh=storage.energy_capacity_kwh,
        initial_energy_kwh=storage.initial_energy_kwh,
        # an order whose limit is unbounded gains nothing from carrying one
        preference=np.where(np.isfinite(margin), -margin, LEAST_PREFERRED),
    )
    floor, cap = market.price_limits(delivery_date)
    orders: list[Order] = []
    priced: list[bool] = []
    for index in np.flatnonzero(quantity_mw):
        buys = quantity_mw[index] > 0
        take_any = cap if buys else floor
        # a limit beyond the expected price in the wrong direction would refuse what the plan wants: never set one
        own = bool(removable[index]) and margin[index] >= 0 and np.isfinite(limit[index])
        price = (
            market.clip_price(
                float(limit[index]), delivery_date=delivery_date, side="buy" if buys else "sell"
            )
            if own
            else take_any
        )
        orders.append(
            Order(
                start_ns=intervals[index].start_ns,
                end_ns=intervals[index].end_ns,
                side="buy" if buys else "sell",
                quantity_mw=abs(float(quantity_mw[index])),
                limit_price_per_mwh=price,
            )
        )
        priced.append(own)
    return Offer(orders=tuple(orders), plan=plan, priced=tuple(priced))


def plan_in_budgets(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    budgets: tuple[ThroughputBudget, ...],
    *,
    node_limit: int = 20_000,
) -> StoragePlan:
    """Return the schedule of the highest value that keeps all budgets, as `plan_storage` does where there are none."""
    if not budgets:
        return plan_storage(storage, price_per_mwh, interval_h, node_limit=node_limit)
    plan = plan_storage_within(
        storage, price_per_mwh, interval_h, StorageLimits(budgets=budgets), node_limit=node_limit
    )
    assert isinstance(plan, StoragePlan), "to stand still keeps every budget"
    return plan


def _whole_lots(
    market: OrderRules, plan: StoragePlan, storage: Storage, hours: int, interval_h: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round the plan to tradable quantities (buying positive) such that the stored energy stays within limits."""
    quantity_mw = np.zeros(hours)
    change_kwh = np.zeros(hours)
    energy_kwh = storage.initial_energy_kwh
    for t in range(hours):
        net_kw = float(plan.charge_kw[t] - plan.discharge_kw[t])
        if net_kw > 0:
            room_kw = (storage.energy_capacity_kwh - energy_kwh) / storage.charge_efficiency_frac / interval_h
            lots_mw = market.round_quantity_mw(min(net_kw, room_kw) / KW_PER_MW)
            change_kwh[t] = lots_mw * KW_PER_MW * interval_h * storage.charge_efficiency_frac
            quantity_mw[t] = lots_mw
        elif net_kw < 0:
            held_kw = energy_kwh * storage.discharge_efficiency_frac / interval_h
            lots_mw = market.round_quantity_mw(min(-net_kw, held_kw) / KW_PER_MW)
            change_kwh[t] = -lots_mw * KW_PER_MW * interval_h / storage.discharge_efficiency_frac
            quantity_mw[t] = -lots_mw
        energy_kwh = min(max(energy_kwh + change_kwh[t], 0.0), storage.energy_capacity_kwh)
    return quantity_mw, change_kwh
