"""Energy and reserve offered to a day-ahead auction that clears both: a storage curve for each hour, and services beside it.

A curve says what is done at every price of its hour, nothing too, so a revision replaces all of a day. What it moves is in
whole lots; it carries a price limit only where every path that may come of it still backs the reserve. The energy is moved
whether a service is awarded or not, so an award costs nothing more: services are offered at any price. Those that stand and
are not wanted any more are left at the smallest quantity and the highest price: the auction knows no withdrawal.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from math import inf
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.day_ahead import FAN_LEVELS
from shoal.bidding.cycle.decision import Decision, ExpectedPrices, PlannedIntervals
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.bidding.cycle.projection import projected
from shoal.bidding.cycle.reserves_backing import awarded, backing_of, sustain_h
from shoal.bidding.cycle.reserves_offers import (
    AT_ANY_PRICE,
    KW_PER_MW,
    AuctionDay,
    auction_day,
    curve_of,
    left_alone,
    services_beside,
)
from shoal.bidding.cycle.reserves_plan import (
    HOUR_H,
    OFFERED,
    CoPlan,
    backed,
    co_optimise,
    may_fail,
    whole_lots,
)
from shoal.bidding.cycle.reserves_plan import stored_by as stored_by_hour
from shoal.bidding.cycle.reserves_scenarios import (
    HISTORY_DAYS,
    MOST_SCENARIOS,
    HourScenarios,
    hour_scenarios,
    hourly_means,
    seed_of,
)
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.market.bids import Offer, Orders, StorageCurves
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.reasons import Reason, explain_plan, finite, said_of
from shoal.optimise.scenario_inputs import ReserveProduct, Risk
from shoal.optimise.storage import Storage, plan_storage

Floats = NDArray[np.float64]
AFTER_H: Final = 24
"""Hours beyond the day that say what energy left at its end is worth."""
TOLD: Final = 4
_AMOUNT_PER_CURRENCY: Final = 1e8
_RISK_LEVEL: Final = 0.9
_RISK_WEIGHT: Final = 0.2


def service_series(situation: Situation) -> dict[str, SeriesId]:
    """Return the series of prices of every service that the day has."""
    gate = situation.gate
    market = market_module(gate.market_id)
    return {
        one.product_id: price_series(gate.market_id, situation.settlement_point, one.product_id)
        for one in market.products(date.fromisoformat(gate.delivery_date))
        if one.kind == "capacity"
    }


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of energy and of all services of the last months."""
    gate = situation.gate
    from_ns = gate.covers_start_ns - (HISTORY_DAYS + 1) * 24 * NS_PER_HOUR
    energy = price_series(gate.market_id, situation.settlement_point, gate.product_id)
    return tuple(
        Question(series_id=one, from_ns=from_ns, to_ns=gate.covers_start_ns)
        for one in (energy, *service_series(situation).values())
    )


def co_optimised(known: Known) -> Decision:
    """Bid energy and services, planned together over scenarios of their prices.

    Raises:
        InvalidInputError: when prices that should be out are not known, or the storage cannot hold reserve.
    """
    situation = known.situation
    day = auction_day(situation)
    scenarios = day_scenarios(known, day.intervals)
    storage = projected(situation)
    products = tuple(
        ReserveProduct(
            name=one.name,
            direction="up" if one.direction == "up" else "down",
            duration_h=sustain_h(one, day.date),
            limit_kw=min(
                storage.discharge_limit_kw if one.direction == "up" else storage.charge_limit_kw,
                situation.less.service_limit_kw.get(name, inf),
            ),
        )
        for name in scenarios.products
        for one in day.services
        if one.product_id == name
    )
    bounds = (*(one.start_ns for one in day.intervals), day.intervals[-1].end_ns)
    expected = scenarios.expected_per_mwh
    horizon = np.concatenate([expected, expected[:AFTER_H]])
    fixed_kw = {
        row: kw for row, one in enumerate(day.intervals) if (kw := _fixed_kw(situation, one)) is not None
    }
    plan = co_optimise(
        storage,
        scenarios,
        products,
        horizon_per_mwh=horizon,
        risk=Risk(
            level=situation.settings.get("risk_level", _RISK_LEVEL),
            weight=situation.settings.get("risk_weight", _RISK_WEIGHT),
        ),
        fixed_kw=fixed_kw,
        awarded=backing_of(
            awarded(day.market, (*situation.commitments, *left_alone(situation, day))), storage, bounds
        ),
        without=frozenset(fixed_kw),
    )
    return _decision(situation, day, storage, scenarios, products, plan, frozenset(fixed_kw))


def curves_of(decision: Decision, situation: Situation, *, rung: str) -> Decision:
    """Return a decision of orders for energy alone as curves, which leave nothing standing beside them."""
    day = auction_day(situation)
    by_start = {
        order.start_ns: order
        for offer in decision.offers
        if isinstance(offer, Orders) and offer.product == day.energy.product_id
        for order in offer.orders
    }
    fixed = [one for one in day.intervals if _fixed_kw(situation, one) is not None]
    curves = []
    for interval in day.intervals:
        order = by_start.get(interval.start_ns)
        if interval in fixed:
            continue
        if order is None:
            curves.append(curve_of(day, interval, 0.0, AT_ANY_PRICE))
        else:
            mw = order.quantity_mw if order.side == "sell" else -order.quantity_mw
            curves.append(curve_of(day, interval, mw, order.limit_price_per_mwh))
    energy = StorageCurves(product=day.energy.product_id, intervals=tuple(curves))
    offers: tuple[Offer, ...] = (energy, *services_beside(situation, day, {}))
    return msgspec.structs.replace(decision, rung=rung, offers=offers)


def day_scenarios(known: Known, intervals: tuple[Interval, ...]) -> HourScenarios:
    """Return scenarios of the hours of a day from all prices that are out.

    Raises:
        InvalidInputError: when the day before is not known, or fewer than seven days are.
    """
    situation = known.situation
    gate = situation.gate
    market = market_module(gate.market_id)
    zone = ZoneInfo(market.rules.zone)
    start_ns = intervals[0].start_ns
    name = price_series(gate.market_id, situation.settlement_point, gate.product_id)
    energy = hourly_means(known.facts.get(name), until_ns=start_ns)
    if not energy or max(energy) + NS_PER_HOUR < start_ns:
        ends = iso(max(energy) + NS_PER_HOUR) if energy else "nothing is known"
        raise InvalidInputError(
            field="price history", value=ends, fix=f"prices up to {iso(start_ns)} should be out"
        )
    cells = {}
    for hour_ns in energy:
        local = to_datetime(hour_ns, zone)
        cells[hour_ns] = local.toordinal(), local.hour
    day_no = date.fromisoformat(gate.delivery_date).toordinal()
    return hour_scenarios(
        energy,
        {
            product: hourly_means(known.facts.get(series), until_ns=start_ns)
            for product, series in service_series(situation).items()
        },
        cells=cells,
        target_cells=[(day_no, to_datetime(one.start_ns, zone).hour) for one in intervals],
        price_limits=market.price_limits(gate.product_id, date.fromisoformat(gate.delivery_date)),
        seed=seed_of(situation),
        most_count=int(situation.settings.get("scenarios_count", MOST_SCENARIOS)),
    )


def _fixed_kw(situation: Situation, interval: Interval) -> float | None:
    """Return the mean power that is decided elsewhere in an interval, None when nothing is."""
    parts = [
        one.power_kw * (min(one.end_ns, interval.end_ns) - max(one.start_ns, interval.start_ns))
        for one in situation.fixed
        if one.start_ns < interval.end_ns and interval.start_ns < one.end_ns
    ]
    return sum(parts) / (interval.end_ns - interval.start_ns) if parts else None


def _decision(
    situation: Situation,
    day: AuctionDay,
    storage: Storage,
    scenarios: HourScenarios,
    products: tuple[ReserveProduct, ...],
    plan: CoPlan,
    fixed: frozenset[int],
) -> Decision:
    steps = len(day.intervals)
    lot_kw = day.energy.quantity_step_mw * KW_PER_MW
    net_kw = whole_lots(
        storage, plan, steps=steps, lot_kw=lot_kw, least_kw=day.energy.quantity_minimum_mw * KW_PER_MW
    )
    for row in fixed:  # what is fixed is no order of ours, and need not be in whole lots
        net_kw[row] = plan.energy.charge_kw[row] - plan.energy.discharge_kw[row]
    limit, removable = _limits(storage, plan, net_kw, fixed)
    reserve_kw = backed(
        plan.reserve_kw,
        products,
        storage,
        net_kw=net_kw,
        removable=removable,
        lot_kw=min(one.quantity_step_mw for one in day.services) * KW_PER_MW if day.services else lot_kw,
    )
    # the plan moves in even steps, which may be a little more than devices back
    most_kw = np.array([situation.less.service_limit_kw.get(name, inf) for name in scenarios.products])
    reserve_kw = np.minimum(reserve_kw, most_kw)
    curves = tuple(
        curve_of(
            day,
            interval,
            round(-float(net_kw[row]) / KW_PER_MW, 6),
            float(limit[row]) if removable[row] else AT_ANY_PRICE,
        )
        for row, interval in enumerate(day.intervals)
        if row not in fixed
    )
    wanted = {name: reserve_kw[:, k].tolist() for k, name in enumerate(scenarios.products)}
    offers: tuple[Offer, ...] = (
        StorageCurves(product=day.energy.product_id, intervals=curves),
        *services_beside(situation, day, wanted),
    )
    reasons = explain_plan(
        storage, plan.price_per_mwh, HOUR_H, plan.energy, limits=plan.limits, rows=range(steps)
    )
    said = _said(reasons, scenarios, products, reserve_kw, plan)
    return Decision(
        rung="co_optimised",
        offers=offers,
        reasons=said,
        relaxed=tuple(
            one.sentence for one in plan.relaxations if one.name not in OFFERED or one.asked != one.granted
        ),
        plan=_planned(day, storage, plan, net_kw, reasons),
        expected_amount=round(plan.scenarios.mean_amount * _AMOUNT_PER_CURRENCY),
        forecast=_expected(day, scenarios),
    )


def _expected(day: AuctionDay, scenarios: HourScenarios) -> ExpectedPrices:
    low, middle, high = np.quantile(scenarios.energy_per_mwh, FAN_LEVELS, axis=0)
    return ExpectedPrices(
        start_ns=tuple(one.start_ns for one in day.intervals),
        end_ns=tuple(one.end_ns for one in day.intervals),
        mean_per_mwh=tuple(scenarios.expected_per_mwh.tolist()),
        low_per_mwh=tuple(low.tolist()),
        middle_per_mwh=tuple(middle.tolist()),
        high_per_mwh=tuple(high.tolist()),
    )


def _limits(
    storage: Storage, plan: CoPlan, net_kw: Floats, fixed: frozenset[int]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the price at which each order would rather not clear, and whether it may be let fail.

    What an order does not move stays until the day's end: its worth there is the limit.
    """
    steps = len(net_kw)
    change = np.array([stored_by_hour(storage, kw) for kw in net_kw.tolist()])
    end_kwh = min(max(storage.initial_energy_kwh + float(change.sum()), 0.0), storage.energy_capacity_kwh)
    after = plan_storage(
        replace(storage, initial_energy_kwh=end_kwh), np.ascontiguousarray(plan.price_per_mwh[steps:]), HOUR_H
    )
    gain, loss = float(after.marginal_gain_per_mwh[0]), float(after.marginal_loss_per_mwh[0])
    sell = gain / storage.discharge_efficiency_frac + storage.throughput_cost_per_mwh
    buy = loss * storage.charge_efficiency_frac
    expected = plan.price_per_mwh[:steps]
    limit = np.where(net_kw > 0.0, buy, sell)
    margin = np.where(net_kw > 0.0, limit - expected, expected - limit)
    # a limit on the wrong side of the expected price would refuse what the plan wants
    preference = np.where(np.isfinite(limit) & (margin >= 0.0), 1.0 / (1.0 + np.abs(margin)), -1.0)
    preference[sorted(fixed)] = -1.0
    return limit, may_fail(change, preference, initial_kwh=storage.initial_energy_kwh, limits=plan.limits) & (
        net_kw != 0.0
    )


def _planned(
    day: AuctionDay, storage: Storage, plan: CoPlan, net_kw: Floats, reasons: tuple[Reason, ...]
) -> PlannedIntervals:
    steps = len(day.intervals)
    energy = [storage.initial_energy_kwh]
    for kw in net_kw.tolist():
        energy.append(min(max(energy[-1] + stored_by_hour(storage, kw), 0.0), storage.energy_capacity_kwh))
    worth = [0.0 if one.stored_value_per_mwh is None else one.stored_value_per_mwh for one in reasons]
    return PlannedIntervals(
        start_ns=tuple(one.start_ns for one in day.intervals),
        end_ns=tuple(one.end_ns for one in day.intervals),
        power_kw=tuple(net_kw.tolist()),
        energy_kwh=tuple(energy),
        price_per_mwh=tuple(plan.price_per_mwh[:steps].tolist()),
        value_per_mwh=(*worth, worth[-1]),
        charge_below_per_mwh=tuple(finite(one.charge_below_per_mwh) for one in reasons),
        discharge_above_per_mwh=tuple(finite(one.discharge_above_per_mwh) for one in reasons),
        binding=tuple(tuple(said_of(limit) for limit in one.bindings) for one in reasons),
    )


def _said(
    reasons: tuple[Reason, ...],
    scenarios: HourScenarios,
    products: tuple[ReserveProduct, ...],
    reserve_kw: Floats,
    plan: CoPlan,
) -> tuple[str, ...]:
    """Say what is held, what it costs, and what the hours that move most rest on."""
    said = []
    mean = scenarios.reserve_per_mw.mean(axis=0)
    for k, product in enumerate(products):
        hours = np.flatnonzero(reserve_kw[:, k] > 0.0)
        if len(hours):
            said.append(
                f"holds up to {reserve_kw[:, k].max() / KW_PER_MW:.1f} MW of {product.name.lower()} in {len(hours)} "
                f"hours: expected at {mean[hours, k].mean():.2f}, it costs {plan.cost_per_mw[hours, k].mean():.2f}"
            )
        else:
            said.append(
                f"holds no {product.name.lower()}: expected at {mean[:, k].mean():.2f}, it would cost "
                f"{plan.cost_per_mw[:, k].mean():.2f}"
            )
    moving = sorted(reasons, key=lambda one: (-abs(one.power_kw), one.row))[:TOLD]
    said += [f"hour {one.row}: {one.sentence}" for one in sorted(moving, key=lambda one: one.row)]
    low, high = plan.scenarios.tail_amount, plan.scenarios.mean_amount
    said.append(
        f"earns {high:.0f} in the mean of {len(scenarios.energy_per_mwh)} scenarios, {low:.0f} in the worst tenth"
    )
    return tuple(said)
