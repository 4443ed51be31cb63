"""The best schedule of one storage against known prices, and what a stored kWh is worth along it.

A storage never charges and discharges in the same interval. With a price negative enough that wasting energy
in the round trip would pay, that rule makes the problem non-convex, and a linear programme overstates the
value; the plan here is the true optimum, by branch and bound over the few intervals concerned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number
from shoal.optimise._storage_kernel import branch_and_bound, marginal_slopes

KWH_PER_MWH = 1000.0
# Branching stops at this share of the money that could move; rounding stays below it.
_GAP_FRAC = 1e-12
# A change of stored energy below this share of the capacity is rounding, not a command to a battery.
_SNAP_FRAC = 1e-12
# A given schedule may overstep a limit by this share of it: what a sum of rounded powers needs.
_FEASIBLE_FRAC = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A battery, or many seen as one, as an optimiser needs it.

    Attributes:
        charge_limit_kw: The highest charging power at the AC terminals, >= 0.
        discharge_limit_kw: The highest discharging power at the AC terminals, >= 0.
        charge_efficiency_frac: Stored energy per energy drawn at the terminals, in (0, 1].
        discharge_efficiency_frac: Energy delivered at the terminals per stored energy released, in (0, 1].
        energy_capacity_kwh: Usable stored energy when full; the reserve is not part of it.
        initial_energy_kwh: Usable stored energy at the start, from 0 to the capacity.
        throughput_cost_per_mwh: Wear, per MWh discharged at the terminals, >= 0.
        terminal_value_per_mwh: What a MWh still stored at the end is worth; may be negative.

    Raises:
        InvalidInputError: A field is not finite or out of its range.
    """

    charge_limit_kw: float
    discharge_limit_kw: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float
    energy_capacity_kwh: float
    initial_energy_kwh: float
    throughput_cost_per_mwh: float = 0.0
    terminal_value_per_mwh: float = 0.0

    def __post_init__(self) -> None:
        number("charge_limit_kw", self.charge_limit_kw, low=0.0)
        number("discharge_limit_kw", self.discharge_limit_kw, low=0.0)
        number("charge_efficiency_frac", self.charge_efficiency_frac, above=0.0, high=1.0)
        number("discharge_efficiency_frac", self.discharge_efficiency_frac, above=0.0, high=1.0)
        number("energy_capacity_kwh", self.energy_capacity_kwh, low=0.0)
        number("initial_energy_kwh", self.initial_energy_kwh, low=0.0, high=self.energy_capacity_kwh)
        number("throughput_cost_per_mwh", self.throughput_cost_per_mwh, low=0.0)
        number("terminal_value_per_mwh", self.terminal_value_per_mwh)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoragePlan:
    """A schedule over T intervals and what it is worth.

    Attributes:
        charge_kw: Mean power drawn in each interval, >= 0, shape (T,).
        discharge_kw: Mean power delivered in each interval, >= 0; zero wherever `charge_kw` is not, shape
            (T,).
        energy_kwh: Stored energy at the start of each interval and at the end, shape (T + 1,).
        value: Income less cost and wear, and the terminal value, in currency.
        value_bound: No schedule is worth more than this, in currency; `value` up to rounding if `exact`.
        marginal_value_per_mwh: Worth of a MWh stored at the planned energy at the start of each interval and
            at the end: halfway between the next two, or the finite one of them, shape (T + 1,).
        marginal_gain_per_mwh: What one MWh more would add; minus infinity when full, shape (T + 1,).
        marginal_loss_per_mwh: What one MWh less would cost; infinity when empty, shape (T + 1,).
        nodes: How many relaxations were solved; 1 when nothing had to be branched on.
        exact: Whether this is proven to be the optimum.

    The loss is at least the gain, except where a negative price makes value convex in stored energy for a
    stretch.
    """

    charge_kw: NDArray[np.float64]
    discharge_kw: NDArray[np.float64]
    energy_kwh: NDArray[np.float64]
    value: float
    value_bound: float
    marginal_value_per_mwh: NDArray[np.float64]
    marginal_gain_per_mwh: NDArray[np.float64]
    marginal_loss_per_mwh: NDArray[np.float64]
    nodes: int
    exact: bool


def plan_storage(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    *,
    charge_limit_kw: NDArray[np.float64] | None = None,
    discharge_limit_kw: NDArray[np.float64] | None = None,
    node_limit: int = 20_000,
) -> StoragePlan:
    """Return the schedule of the highest value that never charges and discharges in one interval.

    Args:
        storage: The storage, with its stored energy at the start of the first interval.
        price_per_mwh: Price of energy at the terminals in each interval, shape (T,), T >= 1; may be negative.
        interval_h: Length of every interval, in hours.
        charge_limit_kw: A limit for each interval, shape (T,); the lower of it and the storage's own holds.
        discharge_limit_kw: Likewise for discharging.
        node_limit: How many relaxations may be solved before the best plan so far is returned with
            ``exact=False``; only long runs of negative prices on a storage of few intervals come near it.

    Raises:
        InvalidInputError: An array has the wrong shape, is empty, or holds NaN or an out-of-range number.

    Example:
        >>> battery = Storage(charge_limit_kw=5, discharge_limit_kw=5, charge_efficiency_frac=1.0,
        ...     discharge_efficiency_frac=1.0, energy_capacity_kwh=10, initial_energy_kwh=0)
        >>> plan = plan_storage(battery, np.array([20.0, 100.0]), 1.0)
        >>> plan.charge_kw.tolist(), plan.discharge_kw.tolist(), plan.value
        ([5.0, 0.0], [0.0, 5.0], 0.4)
    """
    price = column("price_per_mwh", price_per_mwh)
    if price.size == 0:
        raise InvalidInputError(field="price_per_mwh", value="no intervals", fix="give at least one price")
    number("interval_h", interval_h, above=0.0)
    number("node_limit", node_limit, low=1)
    charge_limit = _limit("charge_limit_kw", charge_limit_kw, storage.charge_limit_kw, price.size)
    discharge_limit = _limit("discharge_limit_kw", discharge_limit_kw, storage.discharge_limit_kw, price.size)

    capacity_kwh = storage.energy_capacity_kwh
    # What one interval can move; never more than the capacity, which also keeps the relaxation tight.
    charge_reach = np.minimum(charge_limit * interval_h * storage.charge_efficiency_frac, capacity_kwh)
    discharge_reach = np.minimum(
        discharge_limit * interval_h / storage.discharge_efficiency_frac, capacity_kwh
    )
    charge_per_kwh = price / (KWH_PER_MWH * storage.charge_efficiency_frac)
    wear_per_kwh = storage.throughput_cost_per_mwh / KWH_PER_MWH
    discharge_per_kwh = (price / KWH_PER_MWH - wear_per_kwh) * storage.discharge_efficiency_frac
    terminal_per_kwh = storage.terminal_value_per_mwh / KWH_PER_MWH
    at_stake = float(np.abs(charge_per_kwh) @ charge_reach + np.abs(discharge_per_kwh) @ discharge_reach)
    at_stake += abs(terminal_per_kwh) * capacity_kwh

    path = np.empty(price.size + 1)
    bound, nodes, exact = branch_and_bound(
        charge_per_kwh,
        discharge_per_kwh,
        charge_reach,
        discharge_reach,
        capacity_kwh,
        storage.initial_energy_kwh,
        terminal_per_kwh,
        _GAP_FRAC * at_stake,
        node_limit,
        path,
    )
    gain, loss = np.empty(price.size + 1), np.empty(price.size + 1)
    marginal_slopes(
        charge_per_kwh,
        discharge_per_kwh,
        charge_reach,
        discharge_reach,
        capacity_kwh,
        terminal_per_kwh,
        path,
        gain,
        loss,
    )
    change = np.diff(path)
    change[np.abs(change) <= _SNAP_FRAC * capacity_kwh] = 0.0
    charge_kw = np.maximum(change, 0.0) / (storage.charge_efficiency_frac * interval_h)
    discharge_kw = np.maximum(-change, 0.0) * (storage.discharge_efficiency_frac / interval_h)
    np.minimum(charge_kw, charge_limit, out=charge_kw)
    np.minimum(discharge_kw, discharge_limit, out=discharge_kw)
    value = plan_value(storage, price, charge_kw, discharge_kw, interval_h)
    return StoragePlan(
        charge_kw=charge_kw,
        discharge_kw=discharge_kw,
        energy_kwh=path,
        value=value,
        value_bound=max(bound, value),
        marginal_value_per_mwh=_between(gain, loss, terminal_per_kwh) * KWH_PER_MWH,
        marginal_gain_per_mwh=gain * KWH_PER_MWH,
        marginal_loss_per_mwh=loss * KWH_PER_MWH,
        nodes=nodes,
        exact=exact,
    )


def plan_value(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    charge_kw: NDArray[np.float64],
    discharge_kw: NDArray[np.float64],
    interval_h: float,
) -> float:
    """Return what a given schedule is worth, in currency, terminal value included.

    Raises:
        InvalidInputError: An array is malformed, or the storage cannot follow the schedule: a power above its
            limit, both directions in one interval, or stored energy out of its range.
    """
    price = column("price_per_mwh", price_per_mwh)
    charge = column("charge_kw", charge_kw, length=price.size, low=0.0)
    discharge = column("discharge_kw", discharge_kw, length=price.size, low=0.0)
    number("interval_h", interval_h, above=0.0)
    _refuse(
        "charge_kw", charge, charge > storage.charge_limit_kw * (1 + _FEASIBLE_FRAC), "keep within the limit"
    )
    _refuse(
        "discharge_kw",
        discharge,
        discharge > storage.discharge_limit_kw * (1 + _FEASIBLE_FRAC),
        "keep within the limit",
    )
    _refuse("discharge_kw", discharge, (charge > 0) & (discharge > 0), "leave it 0 while charging")
    change = charge * storage.charge_efficiency_frac - discharge / storage.discharge_efficiency_frac
    energy = storage.initial_energy_kwh + np.cumsum(change) * interval_h
    slack_kwh = _FEASIBLE_FRAC * storage.energy_capacity_kwh
    out = (energy < -slack_kwh) | (energy > storage.energy_capacity_kwh + slack_kwh)
    _refuse("energy_kwh", energy, out, f"stay between 0 and {storage.energy_capacity_kwh}")
    income = price @ (discharge - charge) - storage.throughput_cost_per_mwh * discharge.sum()
    final_kwh = float(energy[-1]) if energy.size else storage.initial_energy_kwh
    return float(income * interval_h + storage.terminal_value_per_mwh * final_kwh) / KWH_PER_MWH


def _limit(field: str, given: NDArray[np.float64] | None, own_kw: float, length: int) -> NDArray[np.float64]:
    if given is None:
        return np.full(length, own_kw)
    return np.minimum(column(field, given, length=length, low=0.0), own_kw)


def _refuse(field: str, values: NDArray[np.float64], bad: NDArray[np.bool_], fix: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInputError(field=f"{field}[{row}]", value=float(values[row]), fix=fix)


def _between(
    gain: NDArray[np.float64], loss: NDArray[np.float64], terminal_per_kwh: float
) -> NDArray[np.float64]:
    """Return the midpoint, the finite end, or (a storage of no capacity has neither) the terminal value."""
    low = np.where(np.isfinite(gain), gain, loss)
    high = np.where(np.isfinite(loss), loss, gain)
    middle = np.full(gain.shape, terminal_per_kwh)
    finite = np.isfinite(low) & np.isfinite(high)
    middle[finite] = 0.5 * (low[finite] + high[finite])
    return middle
