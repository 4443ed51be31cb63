"""Where a storage will stand when what is bid for begins: as measured, and after what was awarded or fixed until then."""

from __future__ import annotations

from dataclasses import replace

from shoal.bidding.cycle.known import Situation
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.optimise.storage import Storage
from shoal.optimise.storage_limits import ThroughputBudget

ENERGY_PRODUCTS = frozenset({"energy", "day-ahead", "real-time", "imbalance", "reduction"})
KW_PER_W = 1e-3


def projected(situation: Situation) -> Storage:
    """Return the storage at the start of what the gate covers.

    Awards of energy that are still to be delivered before it are taken as delivered, manual power as carried out; neither
    beyond empty or full.
    """
    storage, until_ns = situation.storage, situation.gate.covers_start_ns
    energy_kwh = storage.initial_energy_kwh
    for start_ns, end_ns, power_kw in _decided(situation):
        held_ns = min(end_ns, until_ns) - max(start_ns, situation.as_of_ns)
        if held_ns <= 0:
            continue
        energy_kwh += stored_kwh(storage, power_kw * held_ns / NS_PER_HOUR)
        energy_kwh = min(max(energy_kwh, 0.0), storage.energy_capacity_kwh)
    return replace(storage, initial_energy_kwh=energy_kwh)


def budgets_of(situation: Situation, first: Interval, steps_count: int) -> tuple[ThroughputBudget, ...]:
    """Return the situation's budgets of days for a plan over intervals as long as the first, less what is already sold.

    Power that is awarded or fixed outside of what the plan covers is discharged on the same budgets. An interval that lies
    in two days counts in both.

    Args:
        situation: The situation.
        first: The first interval of the plan.
        steps_count: How many there are.
    """
    length_ns = first.end_ns - first.start_ns
    found = []
    for day in situation.day_budgets:
        first_row = max((day.start_ns - first.start_ns) // length_ns, 0)
        last_row = min(-(-(day.end_ns - first.start_ns) // length_ns), steps_count) - 1
        if first_row > last_row:
            continue
        sold_kwh = 0.0
        for start_ns, end_ns, power_kw in _decided(situation):
            before_ns = min(end_ns, day.end_ns, first.start_ns) - max(
                start_ns, day.start_ns, situation.as_of_ns
            )
            if before_ns > 0:
                sold_kwh += max(-power_kw, 0.0) * before_ns / NS_PER_HOUR
        found.append(
            ThroughputBudget(
                first_row=first_row,
                last_row=last_row,
                discharge_kwh=max(day.discharge_kwh - sold_kwh, 0.0),
            )
        )
    return tuple(found)


def _decided(situation: Situation) -> list[tuple[int, int, float]]:
    """Return the spans of power that is awarded, or fixed where nothing is awarded, charging positive, in order."""
    spans = [
        (one.start_ns, one.end_ns, one.power_w * KW_PER_W)
        for one in situation.commitments
        if one.product in ENERGY_PRODUCTS
    ]
    awarded = sorted((start_ns, end_ns) for start_ns, end_ns, _ in spans)
    for one in situation.fixed:
        spans += [
            (start_ns, end_ns, one.power_kw)
            for start_ns, end_ns in _outside(one.start_ns, one.end_ns, awarded)
        ]
    return sorted(spans)


def _outside(start_ns: int, end_ns: int, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of a span that are in none of some sorted spans: what is awarded is not counted as fixed, too."""
    parts: list[tuple[int, int]] = []
    for taken_start_ns, taken_end_ns in taken:
        if taken_end_ns <= start_ns or taken_start_ns >= end_ns:
            continue
        if taken_start_ns > start_ns:
            parts.append((start_ns, taken_start_ns))
        start_ns = taken_end_ns
    return [*parts, (start_ns, end_ns)] if start_ns < end_ns else parts


def stored_kwh(storage: Storage, terminal_kwh: float) -> float:
    """Return by how much energy at the terminals, charging positive, changes what is stored."""
    if terminal_kwh > 0:
        return terminal_kwh * storage.charge_efficiency_frac
    return terminal_kwh / storage.discharge_efficiency_frac
