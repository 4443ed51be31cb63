"""From a storage, prices and products to the scenario programme per unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._scenario_kernel import DOWN, FLOOR, LINKS, ROOM, SHIFT, UP
from shoal.optimise._scenario_programme import Programme
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk
from shoal.optimise.storage import KWH_PER_MWH, Storage

Floats = NDArray[np.float64]
# A bound of zero width would leave the method no inside; the first stage is put back into its true bounds afterwards.
_LEAST_WIDTH = 1e-7
# The chord is let out by this share, so that it does not share multipliers with the limits of power.
_CHORD_ROOM = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """What a programme was built of, per unit.

    Attributes:
        power_kw: The unit of power; energy is of an hour of it.
        price_per_mwh: The unit of price.
        interval_h: Length of an interval.
        up: Which products are held upwards, shape (P,).
        energy_per_mw: Stored energy that a unit of a product needs behind it, or room, shape (P,).
        shift_per_mw: Change of stored energy an interval that a unit of a product is expected to bring, shape (P,).
        limit_mw: The most of each product, shape (P,).
        bucket_index: In which bucket of the grid each scenario's day-ahead price is, shape (S, T).
        buckets_count: How many buckets there are.
        storage: The storage.
        real_time_per_mwh: Prices per unit of price, shape (S, T).
        wear_per_mwh: Wear per unit of price.
    """

    power_kw: float
    price_per_mwh: float
    interval_h: float
    up: NDArray[np.bool_]
    energy_per_mw: Floats
    shift_per_mw: Floats
    limit_mw: Floats
    bucket_index: NDArray[np.int64]
    buckets_count: int
    storage: Storage
    real_time_per_mwh: Floats
    wear_per_mwh: float

    @property
    def money_amount(self) -> float:
        """The unit of money, in currency."""
        return self.power_kw / KWH_PER_MWH * self.price_per_mwh

    def split(self, x: Floats) -> tuple[Floats, Floats]:
        """Return reserve (P, T) and energy sold (T, K) of a first stage."""
        steps, products = self.bucket_index.shape[1], self.up.size
        reserve = x[: products * steps].reshape(products, steps)
        start = (products + 2) * steps
        return reserve, x[start : start + steps * self.buckets_count].reshape(steps, self.buckets_count)


def build(
    storage: Storage,
    scenarios: PriceScenarios,
    interval_h: float,
    products: tuple[ReserveProduct, ...],
    risk: Risk,
    grid_per_mwh: Floats | None,
) -> tuple[Frame, Programme]:
    """Return the programme and what it was built of; `grid_per_mwh` None leaves the auction out."""
    s = storage
    power_kw = max(s.charge_limit_kw, s.discharge_limit_kw)
    price = float(np.abs(scenarios.real_time_per_mwh).mean()) or 1.0
    steps = scenarios.steps
    most_charge, most_discharge = s.charge_limit_kw / power_kw, s.discharge_limit_kw / power_kw
    capacity, start = s.energy_capacity_kwh / power_kw, s.initial_energy_kwh / power_kw
    up = np.array([p.direction == "up" for p in products], dtype=np.bool_)
    per_energy = np.where(up, 1.0 / s.discharge_efficiency_frac, s.charge_efficiency_frac)
    energy = np.array([p.duration_h for p in products]) * per_energy
    calls = np.array([p.call_frac for p in products])
    both = most_charge + most_discharge
    limits = np.array([both if p.limit_kw is None else min(p.limit_kw / power_kw, both) for p in products])
    bucket, buckets = np.zeros((scenarios.count, steps), np.int64), 0
    if grid_per_mwh is not None and scenarios.day_ahead_per_mwh is not None:
        buckets = grid_per_mwh.shape[1] + 1
        bucket = (scenarios.day_ahead_per_mwh[:, :, None] >= grid_per_mwh[None]).sum(axis=2).astype(np.int64)
    frame = Frame(
        power_kw=power_kw,
        price_per_mwh=price,
        interval_h=interval_h,
        up=up,
        energy_per_mw=energy,
        shift_per_mw=np.where(up, -1.0, 1.0) * interval_h * calls * per_energy,
        limit_mw=limits,
        bucket_index=bucket,
        buckets_count=buckets,
        storage=s,
        real_time_per_mwh=np.ascontiguousarray(scenarios.real_time_per_mwh / price),
        wear_per_mwh=s.throughput_cost_per_mwh / price,
    )
    by_paid = _paid(frame, scenarios)
    by_first = _first_profit(frame, scenarios, calls, by_paid)
    # A tail of everything is the mean.
    risk_weight = risk.weight if risk.level > _LEAST_WIDTH else 0.0
    if risk_weight > 0.0:
        by_first = np.hstack([by_first, np.zeros((scenarios.count, 1))])
    width = by_first.shape[1]
    first, column, entry, limit = _first_rows(frame, steps, start, capacity, most_charge, most_discharge)
    lowest, highest = _ranges(frame, steps, capacity, most_charge, most_discharge, width)
    kappa = 1.0 / (s.charge_efficiency_frac * interval_h)
    # One interval moves no more than the capacity and what is called: keeps the chord tight.
    moved = capacity + float(np.abs(frame.shift_per_mw) @ limits)
    chord_charge = min(most_charge, moved * kappa)
    chord_discharge = min(most_discharge, moved * s.discharge_efficiency_frac / interval_h)
    phi = 1.0 / (s.charge_efficiency_frac * s.discharge_efficiency_frac)
    rt = frame.real_time_per_mwh
    terminal = s.terminal_value_per_mwh / price
    if risk_weight > 0.0:
        chain = interval_h * (np.abs(rt) * max(most_charge, most_discharge) + frame.wear_per_mwh)
        reach = np.abs(by_first[:, :-1]) @ np.maximum(-lowest[:-1], highest[:-1])
        most = float((chain.sum(axis=1) + reach).max()) + abs(terminal) * capacity
        lowest[-1], highest[-1] = -most, most
    programme = Programme(
        by_discharge=interval_h * (rt * (1.0 - phi) - frame.wear_per_mwh),
        by_change=-interval_h * kappa * rt,
        by_first=by_first,
        by_paid=by_paid,
        terminal=np.array([terminal]),
        start=np.array([start]),
        constants=np.array([kappa, phi, most_charge, most_discharge, capacity]),
        chord=(1.0 - _CHORD_ROOM)
        * np.stack([np.full(rt.shape, 1.0 / chord_charge), np.full(rt.shape, 1.0 / chord_discharge)]),
        links=_links(frame, steps, width),
        first=first,
        column_index=column,
        entry=entry,
        limit=limit,
        lowest=lowest,
        highest=highest,
        probability=scenarios.probability(),
        risk_frac=risk_weight,
        tail_frac=1.0 - risk.level,
    )
    return frame, programme


def first_guess(frame: Frame, programme: Programme) -> Floats:
    """Return a first stage to start from: little reserve, and a curve that rises."""
    x = np.zeros(programme.links.shape[1])
    reserve, sold = frame.split(x)
    reserve[:] = 0.05 * frame.limit_mw[:, None] / max(frame.up.size, 1)
    start = reserve.size
    x[start : start + 2 * programme.steps] = 0.2 * programme.constants[4]
    if sold.size:
        sold[:] = 0.5 * (np.arange(frame.buckets_count) + 0.5) / frame.buckets_count - 0.25
    return x


def _paid(frame: Frame, scenarios: PriceScenarios) -> Floats:
    """Return what is paid for holding a unit of reserve in each scenario, shape (S, P T)."""
    if scenarios.reserve_per_mw is None:
        return np.zeros((scenarios.count, 0))
    priced = np.moveaxis(scenarios.reserve_per_mw, 2, 1) * (frame.interval_h / frame.price_per_mwh)
    return np.ascontiguousarray(priced.reshape(scenarios.count, -1))


def _first_profit(frame: Frame, scenarios: PriceScenarios, calls: Floats, paid: Floats) -> Floats:
    """Return what a unit of each unknown of the first stage earns in each scenario, shape (S, X)."""
    count, steps = scenarios.count, scenarios.steps
    rt, h = frame.real_time_per_mwh, frame.interval_h
    called = [
        h * calls[k] * ((rt - frame.wear_per_mwh) if upward else -rt) for k, upward in enumerate(frame.up)
    ]
    parts = [paid + np.hstack(called)] if called else []
    parts.append(np.zeros((count, 2 * steps)))
    if frame.buckets_count and scenarios.day_ahead_per_mwh is not None:
        curve = np.zeros((count, steps, frame.buckets_count))
        spread = h * (scenarios.day_ahead_per_mwh / frame.price_per_mwh - rt)
        np.put_along_axis(curve, frame.bucket_index[:, :, None], spread[:, :, None], axis=2)
        parts.append(curve.reshape(count, -1))
    return np.ascontiguousarray(np.hstack(parts))


def _links(frame: Frame, steps: int, width: int) -> Floats:
    links = np.zeros((LINKS, steps, width))
    t = np.arange(steps)
    for k, upward in enumerate(frame.up):
        links[SHIFT, t, k * steps + t] = frame.shift_per_mw[k]
        links[UP if upward else DOWN, t, k * steps + t] = 1.0
    start = frame.up.size * steps
    links[FLOOR, t, start + t] = 1.0
    links[ROOM, t, start + steps + t] = 1.0
    return links.reshape(LINKS * steps, width)


def _ranges(
    frame: Frame, steps: int, capacity: float, most_charge: float, most_discharge: float, width: int
) -> tuple[Floats, Floats]:
    lowest, highest = np.zeros(width), np.zeros(width)
    reserve, sold = frame.split(highest)
    reserve[:] = np.maximum(frame.limit_mw, _LEAST_WIDTH)[:, None]
    highest[reserve.size : reserve.size + 2 * steps] = capacity
    sold[:] = most_discharge
    frame.split(lowest)[1][:] = -most_charge
    return lowest, highest


def _first_rows(
    frame: Frame, steps: int, start: float, capacity: float, most_charge: float, most_discharge: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Return the rows of the first stage: begin of each row, columns, entries, right sides.

    The bounds of reserve come first, the lower ones, then the upper ones.
    """
    products, t = frame.up.size, np.arange(steps)
    size = products * steps
    rows: list[tuple[list[NDArray[np.int64]], list[float], float | Floats]] = [
        ([np.arange(size)], [-1.0], 0.0),
        ([np.arange(size)], [1.0], np.repeat(np.maximum(frame.limit_mw, _LEAST_WIDTH), steps)),
    ]
    for upward, kept in ((True, size), (False, size + steps)):
        those = np.flatnonzero(frame.up == upward)
        need = [float(frame.energy_per_mw[k]) for k in those]
        rows.append(([*(k * steps + t for k in those), kept + t], [*need, -1.0], 0.0))
        rows.append(([*(k * steps + t[1:] for k in those), kept + t[:-1]], [*need, -1.0], 0.0))
        if those.size:
            at_start = max(start if upward else capacity - start, _LEAST_WIDTH)
            rows.append(([k * steps + t[:1] for k in those], need, at_start))
    buckets, curve = frame.buckets_count, size + 2 * steps
    if buckets:
        for k in range(buckets - 1):
            rows.append(([curve + t * buckets + k, curve + t * buckets + k + 1], [1.0, -1.0], 0.0))
        ups, downs = ([k * steps + t for k in np.flatnonzero(frame.up == way)] for way in (True, False))
        rows.append(([curve + t * buckets + buckets - 1, *ups], [1.0] * (1 + len(ups)), most_discharge))
        rows.append(([curve + t * buckets, *downs], [-1.0, *([1.0] * len(downs))], most_charge))
    columns, entries, limits, lengths = [], [], [], []
    for members, coefficients, limit in rows:
        block = np.stack(members, axis=1)
        columns.append(block.ravel())
        entries.append(np.broadcast_to(coefficients, block.shape).ravel())
        limits.append(np.broadcast_to(limit, block.shape[:1]))
        lengths.append(np.full(block.shape[0], block.shape[1]))
    first = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return (
        first,
        np.concatenate(columns).astype(np.int64),
        np.concatenate(entries).astype(np.float64),
        np.concatenate(limits).astype(np.float64),
    )
