"""What reserve keeps back from trading: power beside it, energy under it, room above it.

A MW upwards needs discharge (or charging that can stop) beside what is traded, and at either end of its interval energy
in the store for as long as it must be sustained; a MW downwards needs charging and room. So all that is held may be called
at any moment and in any order, each for its duration, and the store neither runs dry nor over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.known import Situation
from shoal.market.awards import AwardedQuantity
from shoal.market.contract import Market, Product
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage

KW_PER_W: Final = 1e-3
_SECONDS_PER_H: Final = 3_600.0
_FOLLOW_ON_S: Final = {"1sec": 6.0, "6sec": 60.0, "60sec": 240.0, "5min": 300.0, "reg": 300.0}
"""How long each frequency service works until the next one takes over (AEMO, market ancillary service specification); a
regulating unit is moved for a dispatch interval."""
CONTINGENCY: Final = ("1sec", "6sec", "60sec", "5min")
"""Services that answer one event after the other: they share power, not energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Reserve of one product in one span of time.

    Attributes:
        product: The product.
        is_up: Whether a call is more to the grid.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        power_kw: What is held, >= 0.
        duration_h: How long all of it must be sustained.
        shares_power: Products of the same name here follow one another: only the largest of them takes power.
    """

    product: str
    is_up: bool
    start_ns: int
    end_ns: int
    power_kw: float
    duration_h: float
    shares_power: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backing:
    """What reserve takes from T intervals, T + 1 boundaries.

    Attributes:
        up_kw: Discharging power that must stay free, shape (T,).
        down_kw: Charging power that must stay free, shape (T,).
        floor_kwh: Energy that must be in store, shape (T + 1,).
        room_kwh: Room that must be left, shape (T + 1,).
    """

    up_kw: NDArray[np.float64]
    down_kw: NDArray[np.float64]
    floor_kwh: NDArray[np.float64]
    room_kwh: NDArray[np.float64]


def sustain_h(product: Product, day: date) -> float:
    """Return how long an award of a product must be sustained on a delivery day."""
    valid = [one.sustain_h for one in product.sustain if one.effective_from <= day]
    if valid:
        return valid[-1]
    follow_on_s = next((_FOLLOW_ON_S[end] for end in _FOLLOW_ON_S if product.product_id.endswith(end)), None)
    return (_SECONDS_PER_H if follow_on_s is None else follow_on_s) / _SECONDS_PER_H


def power_group(product: Product) -> str:
    """Return the name under which a product shares its power with those that follow it."""
    follows = any(product.product_id.endswith(end) for end in CONTINGENCY)
    return f"contingency {product.direction}" if follows and not product.sustain else product.product_id


def awarded(market: Market, quantities: Iterable[AwardedQuantity]) -> tuple[Held, ...]:
    """Return the reserve among awards."""
    products = {one.product_id: one for one in market.rules.products if one.kind == "capacity"}
    return tuple(
        Held(
            product=one.product,
            is_up=products[one.product].direction == "up",
            start_ns=one.start_ns,
            end_ns=one.end_ns,
            power_kw=one.power_w * KW_PER_W,
            duration_h=sustain_h(products[one.product], market.delivery_date(one.start_ns)),
            shares_power=power_group(products[one.product]),
        )
        for one in quantities
        if one.product in products and one.power_w > 0
    )


def backing_of(held: Sequence[Held], storage: Storage, bounds_ns: Sequence[int]) -> Backing:
    """Return what reserve keeps back in the intervals between some boundaries; what touches an interval counts in all of it.

    Args:
        held: The reserve.
        storage: Its efficiencies.
        bounds_ns: T + 1 instants, ascending.
    """
    steps = len(bounds_ns) - 1
    up_kw, down_kw = np.zeros(steps), np.zeros(steps)
    need_kwh, room_kwh = np.zeros(steps), np.zeros(steps)
    for row in range(steps):
        largest_kw: dict[tuple[bool, str], dict[str, float]] = {}
        for one in held:
            if one.start_ns >= bounds_ns[row + 1] or one.end_ns <= bounds_ns[row]:
                continue
            # a span within the interval: what is held one after the other counts once, the largest
            of_group = largest_kw.setdefault((one.is_up, one.shares_power), {})
            of_group[one.product] = max(of_group.get(one.product, 0.0), one.power_kw)
        for (is_up, _), of_group in largest_kw.items():
            (up_kw if is_up else down_kw)[row] += max(of_group.values())
        durations_h = {one.product: one.duration_h for one in held}
        for (is_up, _), of_group in largest_kw.items():
            energy_kwh = sum(kw * durations_h[product] for product, kw in of_group.items())
            if is_up:
                need_kwh[row] += energy_kwh / storage.discharge_efficiency_frac
            else:
                room_kwh[row] += energy_kwh * storage.charge_efficiency_frac
    return Backing(
        up_kw=up_kw,
        down_kw=down_kw,
        floor_kwh=np.maximum(np.append(need_kwh, 0.0), np.append(0.0, need_kwh)),
        room_kwh=np.maximum(np.append(room_kwh, 0.0), np.append(0.0, room_kwh)),
    )


def less_reserve(
    storage: Storage, *, up_kw: float, down_kw: float, floor_kwh: float, room_kwh: float
) -> Storage:
    """Return what of a storage is left for trading: its powers less, its window of energy between floor and room."""
    floor_kwh = min(floor_kwh, storage.energy_capacity_kwh)
    window_kwh = max(storage.energy_capacity_kwh - floor_kwh - room_kwh, 0.0)
    return replace(
        storage,
        charge_limit_kw=max(storage.charge_limit_kw - down_kw, 0.0),
        discharge_limit_kw=max(storage.discharge_limit_kw - up_kw, 0.0),
        energy_capacity_kwh=window_kwh,
        initial_energy_kwh=min(max(storage.initial_energy_kwh - floor_kwh, 0.0), window_kwh),
    )


def held_back(situation: Situation, storage: Storage) -> Storage:
    """Return what awarded reserve leaves of a storage for whatever a gate covers; the storage itself when none is awarded.

    Args:
        situation: Its gate and its commitments.
        storage: The resource at the start of what the gate covers.
    """
    market = market_module(situation.gate.market_id)
    held = awarded(market, situation.commitments)
    if not held:
        return storage
    covers = situation.gate.covers
    kept = backing_of(held, storage, (covers.start_ns, covers.end_ns))
    return less_reserve(
        storage,
        up_kw=float(kept.up_kw[0]),
        down_kw=float(kept.down_kw[0]),
        floor_kwh=float(kept.floor_kwh.max()),
        room_kwh=float(kept.room_kwh.max()),
    )
