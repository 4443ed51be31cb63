"""What the stores know of a delivered day, as `attribute_day` wants it: the plans behind its bids, award, meters, prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from shoal.bidding.cycle.decision import Decision, PlannedIntervals
from shoal.bidding.cycle.known import Situation
from shoal.bidding.cycle.ports import FactReader
from shoal.bidding.cycle.projection import budgets_of, projected
from shoal.bidding.settling_ports import day_prices, delivered_as_of
from shoal.bidding.settling_stages import DayRecords, lead_product
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.market.contract import Market
from shoal.market.settlement import settlement_intervals
from shoal.optimise.storage import Storage
from shoal.optimise.storage_limits import ThroughputBudget
from shoal.store.cycles import Cycles
from shoal.store.settlings import Settlings

BEFORE_NS: Final = 48 * NS_PER_HOUR
"""Gates of what is delivered in a day close at most so long before it."""


def day_records(
    cycles: Cycles,
    facts: FactReader,
    settlings: Settlings,
    market: Market,
    resource_id: str,
    day: date,
    *,
    as_of_ns: int,
) -> DayRecords:
    """Return what is kept of a delivered day.

    Args:
        cycles: Decisions, bids, awards, settlements.
        facts: Prices and meters.
        settlings: Shares.
        market: The market.
        resource_id: Whose day.
        day: The delivery day.
        as_of_ns: Prices and meters as they were known at this instant.

    Raises:
        InvalidInputError: when nothing was bid, awarded or settled that day.
    """
    place = (resource_id, market.rules.market_id, day.isoformat())
    award = settlings.newest_award(*place)
    versions = cycles.settlements(*place)
    point = award.settlement_point if award is not None else _settlement_point(cycles, *place)
    if point is None and not versions:
        fix = f"choose one for which {resource_id} bid in {market.rules.market_id}"
        raise InvalidInputError(field="day", value=day.isoformat(), fix=fix)
    lead = lead_product(market, day, award)
    storage, budgets, plans = _planned(cycles, market, resource_id, day, lead)
    delivered = delivered_as_of(facts, resource_id, place[1], market, day, as_of_ns=as_of_ns)
    newest = versions[-1] if versions else None
    return DayRecords(
        market=market,
        resource_id=resource_id,
        day=day,
        award=award,
        delivered=delivered or None,
        prices=day_prices(facts, point or "", market, day, as_of_ns=as_of_ns),
        settlement=newest,
        storage=storage,
        budgets=budgets,
        plan_kw=stitched(plans, market.delivery_intervals(lead, day)),
        shares=None if newest is None else settlings.shares(*place, version=newest.version),
    )


def stitched(plans: Sequence[tuple[int, PlannedIntervals]], grid: Sequence[Interval]) -> dict[int, float]:
    """Return the planned power of each interval of a grid by its start, by the newest plan that was for it.

    Args:
        plans: Plans in the order in which they were made, each with the start of what its gate covered.
        grid: The intervals.
    """
    found: dict[int, float] = {}
    for covers_start_ns, plan in plans:
        rows = list(zip(plan.start_ns, plan.end_ns, plan.power_kw, strict=True))
        for at in grid:
            if at.start_ns < covers_start_ns:
                continue
            parts = [
                (min(at.end_ns, end_ns) - max(at.start_ns, start_ns), power_kw)
                for start_ns, end_ns, power_kw in rows
                if start_ns < at.end_ns and at.start_ns < end_ns
            ]
            if parts:
                moved = sum(held_ns * power_kw for held_ns, power_kw in parts)
                found[at.start_ns] = moved / (at.end_ns - at.start_ns)
    return found


def _settlement_point(cycles: Cycles, resource_id: str, market_id: str, delivery_date: str) -> str | None:
    bids = cycles.bids(resource_id=resource_id, market_id=market_id, delivery_date=delivery_date)
    return bids[-1].bid.settlement_point if bids else None


def _planned(
    cycles: Cycles, market: Market, resource_id: str, day: date, lead: str
) -> tuple[Storage | None, tuple[ThroughputBudget, ...], list[tuple[int, PlannedIntervals]]]:
    """Return the storage as the day began and its budgets, and the plans behind bids of the lead product as they were made."""
    intervals = settlement_intervals(market.rules, day)
    start_ns, end_ns = intervals[0].start_ns, intervals[-1].end_ns
    storage: Storage | None = None
    budgets: tuple[ThroughputBudget, ...] = ()
    grid = market.delivery_intervals(lead, day)
    distance_ns = 0
    plans: list[tuple[int, int, PlannedIntervals]] = []
    auction = market.product(lead).gates[0].kind == "auction"
    for name in cycles.decision_ids(resource_id, from_ns=start_ns - BEFORE_NS, to_ns=end_ns):
        record = cycles.decision(name)
        if record.market_id != market.rules.market_id:
            continue
        about = msgspec.json.decode(record.situation, type=Situation)
        covers = about.gate.covers
        if covers.end_ns <= start_ns or covers.start_ns >= end_ns:
            continue
        away_ns = abs(covers.start_ns - start_ns)
        if storage is None or away_ns <= distance_ns:
            storage, distance_ns = projected(about), away_ns  # of equally near ones the newest knows best
            budgets = budgets_of(about, grid[0], len(grid))
        plan = msgspec.json.decode(record.decision, type=Decision).plan
        # what is planned after an auction moves no position that was bought in it
        if plan is not None and (about.gate.kind == "auction") == auction:
            plans.append((about.as_of_ns, covers.start_ns, plan))
    plans.sort(key=lambda one: one[0])
    return storage, budgets, [(covers_start_ns, plan) for _, covers_start_ns, plan in plans]
