"""Where a storage will stand when what is bid for begins: as measured, and after what was awarded or fixed until then."""

from __future__ import annotations

from dataclasses import replace

from shoal.bidding.cycle.known import Situation
from shoal.domain.interval import NS_PER_HOUR
from shoal.optimise.storage import Storage

ENERGY_PRODUCTS = frozenset({"energy", "day-ahead", "real-time", "imbalance", "reduction"})
KW_PER_W = 1e-3


def projected(situation: Situation) -> Storage:
    """Return the storage at the start of what the gate covers.

    Awards of energy that are still to be delivered before it are taken as delivered, manual power as carried out; neither
    beyond empty or full.
    """
    storage, until_ns = situation.storage, situation.gate.covers_start_ns
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
    energy_kwh = storage.initial_energy_kwh
    for start_ns, end_ns, power_kw in sorted(spans):
        held_ns = min(end_ns, until_ns) - max(start_ns, situation.as_of_ns)
        if held_ns <= 0:
            continue
        energy_kwh += stored_kwh(storage, power_kw * held_ns / NS_PER_HOUR)
        energy_kwh = min(max(energy_kwh, 0.0), storage.energy_capacity_kwh)
    return replace(storage, initial_energy_kwh=energy_kwh)


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
