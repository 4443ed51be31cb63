"""The best schedule of one storage against known prices, and what a stored kWh is worth along it.

A storage never charges and discharges in the same interval. With a price negative enough that wasting energy
in the round trip would pay, that rule makes the problem non-convex, and a linear programme overstates the
value; the plan here is the true optimum, by branch and bound over the few intervals concerned.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _storage_rows as rows
from shoal.optimise._inputs import column, number
from shoal.optimise._storage_inputs import (
    FEASIBLE_FRAC,
    check_loss,
    check_numbers,
    limit_column,
    price_column,
    ramp_rows,
    terminal_columns,
)
from shoal.optimise._storage_search import EXACT, INFEASIBLE

KWH_PER_MWH = rows.KWH_PER_MWH
_NONE = np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthCost:
    """Wear that grows with depth and time: each MWh missing below a level costs this much an hour.

    Attributes:
        below_kwh: The level of stored energy, >= 0.
        cost_per_mwh_h: Currency per MWh below the level and hour, >= 0; the ends of intervals count.
    """

    below_kwh: float
    cost_per_mwh_h: float

    def __post_init__(self) -> None:
        number("below_kwh", self.below_kwh, low=0.0)
        number("cost_per_mwh_h", self.cost_per_mwh_h, low=0.0)


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
        standing_loss_frac_per_h: Share of the stored energy that is lost in an hour, in [0, 1).
        depth_costs: Wear of deep discharge; the costs of several levels add up, so that deeper costs more.

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
    standing_loss_frac_per_h: float = 0.0
    depth_costs: tuple[DepthCost, ...] = ()

    def __post_init__(self) -> None:
        number("charge_limit_kw", self.charge_limit_kw, low=0.0)
        number("discharge_limit_kw", self.discharge_limit_kw, low=0.0)
        number("charge_efficiency_frac", self.charge_efficiency_frac, above=0.0, high=1.0)
        number("discharge_efficiency_frac", self.discharge_efficiency_frac, above=0.0, high=1.0)
        number("energy_capacity_kwh", self.energy_capacity_kwh, low=0.0)
        number("initial_energy_kwh", self.initial_energy_kwh, low=0.0, high=self.energy_capacity_kwh)
        number("throughput_cost_per_mwh", self.throughput_cost_per_mwh, low=0.0)
        number("terminal_value_per_mwh", self.terminal_value_per_mwh)
        number("standing_loss_frac_per_h", self.standing_loss_frac_per_h, low=0.0, high=0.999)

    def column(self) -> NDArray[np.float64]:
        """Return the numbers in the order of the compiled kernels."""
        return np.array(
            (
                self.charge_limit_kw,
                self.discharge_limit_kw,
                self.charge_efficiency_frac,
                self.discharge_efficiency_frac,
                self.energy_capacity_kwh,
                self.initial_energy_kwh,
                self.throughput_cost_per_mwh,
                self.terminal_value_per_mwh,
                self.standing_loss_frac_per_h,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TerminalValue:
    """What stored energy is worth at the end of a plan: concave, piecewise linear, zero at zero.

    Attributes:
        end_kwh: Where each piece ends, rising, from 0 to the storage's capacity, shape (K,), K >= 1.
        slope_per_mwh: What a MWh is worth in each piece, falling, shape (K,).

    Raises:
        InvalidInputError: The ends do not rise or the slopes do not fall.
    """

    end_kwh: NDArray[np.float64]
    slope_per_mwh: NDArray[np.float64]

    def __post_init__(self) -> None:
        end = column("end_kwh", self.end_kwh, low=0.0)
        slope = column("slope_per_mwh", self.slope_per_mwh, length=end.size)
        if end.size == 0:
            raise InvalidInputError(field="end_kwh", value="no pieces", fix="give at least one")
        _refuse("end_kwh", end, np.diff(end, prepend=0.0) < 0.0, "let them rise")
        _refuse("slope_per_mwh", slope, np.diff(slope, prepend=inf) > 0.0, "let them fall")
        object.__setattr__(self, "end_kwh", end)
        object.__setattr__(self, "slope_per_mwh", slope)


class StoragePlan(msgspec.Struct, frozen=True, kw_only=True, eq=False):
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
        budget_price_per_mwh: What one more MWh of each throughput budget would add, shape (budgets,).

    The loss is at least the gain, except where a negative price makes value convex in stored energy for a
    stretch. At a bound of `StorageLimits`, full and empty mean that bound. (A struct: it is made in a tenth of the time
    that a frozen dataclass takes, which counts beside a solve of a few microseconds.)
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
    budget_price_per_mwh: NDArray[np.float64] = msgspec.field(default_factory=lambda: _NONE)


def plan_storage(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    *,
    charge_limit_kw: NDArray[np.float64] | None = None,
    discharge_limit_kw: NDArray[np.float64] | None = None,
    terminal: TerminalValue | None = None,
    node_limit: int = 20_000,
) -> StoragePlan:
    """Return the schedule of the highest value that never charges and discharges in one interval.

    Args:
        storage: The storage, with its stored energy at the start of the first interval.
        price_per_mwh: Price of energy at the terminals in each interval, shape (T,), T >= 1; may be negative.
        interval_h: Length of every interval, in hours.
        charge_limit_kw: A limit for each interval, shape (T,); the lower of it and the storage's own holds.
        discharge_limit_kw: Likewise for discharging.
        terminal: What energy left at the end is worth; instead of the storage's one number for all of it.
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
    price = price_column(price_per_mwh)
    check_numbers(interval_h, node_limit)
    charge_limit = limit_column("charge_limit_kw", charge_limit_kw, price.size)
    discharge_limit = limit_column("discharge_limit_kw", discharge_limit_kw, price.size)
    plan = solve(
        storage, price, interval_h, charge_limit, discharge_limit, _NONE, _NONE, terminal, None, node_limit
    )
    assert plan is not None, "to stand still keeps every limit"
    return plan


def solve(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    charge_limit_kw: NDArray[np.float64],
    discharge_limit_kw: NDArray[np.float64],
    energy_min_kwh: NDArray[np.float64],
    energy_max_kwh: NDArray[np.float64],
    terminal: TerminalValue | None,
    wish: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    node_limit: int,
) -> StoragePlan | None:
    """Return the best plan for columns that were checked (an empty one sets no limit); None if there is none."""
    check_loss(storage.standing_loss_frac_per_h, price_per_mwh.size * interval_h)
    end_kwh, end_per_kwh = terminal_columns(storage, terminal)
    ramp_kwh, ramp_per_kwh = ramp_rows(storage, price_per_mwh.size, interval_h, wish)
    plan = np.empty((rows.PLAN_ROWS, price_per_mwh.size + 1))
    value, bound, nodes, status = rows.plan_row(
        storage.column(),
        price_per_mwh,
        interval_h,
        charge_limit_kw,
        discharge_limit_kw,
        energy_min_kwh,
        energy_max_kwh,
        end_kwh,
        end_per_kwh,
        ramp_kwh,
        ramp_per_kwh,
        node_limit,
        plan,
    )
    if status == INFEASIBLE:
        return None
    if status == rows.UNFIT:  # name what is not fit
        column("price_per_mwh", price_per_mwh)
        column("charge_limit_kw", charge_limit_kw, low=0.0)
        column("discharge_limit_kw", discharge_limit_kw, low=0.0)
        column("energy_min_kwh", energy_min_kwh, low=0.0)
        column("energy_max_kwh", energy_max_kwh, low=0.0)
    return plan_of(plan, value, bound, nodes, exact=status == EXACT)


def plan_of(
    plan_rows: NDArray[np.float64],
    value: float,
    value_bound: float,
    nodes: int,
    *,
    exact: bool,
    budget_price_per_mwh: NDArray[np.float64] = _NONE,
) -> StoragePlan:
    """Return the filled rows of a plan under their names."""
    energy, _, _, gain, loss, middle = plan_rows
    return StoragePlan(
        charge_kw=plan_rows[rows.CHARGED, :-1],
        discharge_kw=plan_rows[rows.DISCHARGED, :-1],
        energy_kwh=energy,
        value=value,
        value_bound=value_bound,
        marginal_value_per_mwh=middle,
        marginal_gain_per_mwh=gain,
        marginal_loss_per_mwh=loss,
        nodes=nodes,
        exact=exact,
        budget_price_per_mwh=budget_price_per_mwh,
    )


def plan_value(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    charge_kw: NDArray[np.float64],
    discharge_kw: NDArray[np.float64],
    interval_h: float,
    *,
    terminal: TerminalValue | None = None,
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
        "charge_kw", charge, charge > storage.charge_limit_kw * (1 + FEASIBLE_FRAC), "keep within the limit"
    )
    _refuse(
        "discharge_kw",
        discharge,
        discharge > storage.discharge_limit_kw * (1 + FEASIBLE_FRAC),
        "keep within the limit",
    )
    _refuse("discharge_kw", discharge, (charge > 0) & (discharge > 0), "leave it 0 while charging")
    change = charge * storage.charge_efficiency_frac - discharge / storage.discharge_efficiency_frac
    kept = (1.0 - storage.standing_loss_frac_per_h) ** interval_h
    scale = kept ** np.arange(1, price.size + 1)
    energy = scale * (storage.initial_energy_kwh + np.cumsum(change / scale) * interval_h)
    slack_kwh = FEASIBLE_FRAC * storage.energy_capacity_kwh
    out = (energy < -slack_kwh) | (energy > storage.energy_capacity_kwh + slack_kwh)
    _refuse("energy_kwh", energy, out, f"stay between 0 and {storage.energy_capacity_kwh}")
    return rows.schedule_value(
        storage.column(),
        price,
        interval_h,
        *terminal_columns(storage, terminal),
        *ramp_rows(storage, price.size, interval_h, None),
        charge,
        discharge,
    )


def _refuse(field: str, values: NDArray[np.float64], bad: NDArray[np.bool_], fix: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInputError(field=f"{field}[{row}]", value=float(values[row]), fix=fix)
