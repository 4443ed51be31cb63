"""What one storage must keep to, by interval, whoever asked for it, and the best plan within that.

Bounds of stored energy hold at the T + 1 boundaries, bounds of net load (charging positive) in the T intervals, a
budget on what is discharged over all of them. Energy bounds and net load alone make a chain, where what can be reached
is exact; the budget is priced, and the plan mixes the two best paths at the price where it just holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number
from shoal.optimise._scenario_chain import best_chain, reachable
from shoal.optimise.storage import KWH_PER_MWH, Storage

Floats = NDArray[np.float64]
# A budget may be overstepped by this share of the capacity: what rounding leaves of one that just holds.
SLACK_FRAC = 1e-8
_SNAP_FRAC = 1e-10
_GAP_FRAC = 1e-12
# The price of a budget converges in a handful of steps, each of which removes a corner of a polygon.
_MOST_PRICINGS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Limits:
    """Bounds of a plan, each with the name of who asked for it; an empty name is the storage itself.

    Attributes:
        floor_kwh: The least stored energy at each boundary, shape (T + 1,).
        ceiling_kwh: The most.
        least_kw: The least net load in each interval, charging positive, shape (T,).
        most_kw: The most.
        budget_kwh: The most that may be discharged in all, at the terminals; infinite without one.
        floor_names: Who asked for each floor.
        ceiling_names: Who asked for each ceiling.
        least_names: Who asked for each least net load.
        most_names: Who asked for each most.
        budget_name: Who asked for the budget.
    """

    floor_kwh: Floats
    ceiling_kwh: Floats
    least_kw: Floats
    most_kw: Floats
    budget_kwh: float
    floor_names: tuple[str, ...]
    ceiling_names: tuple[str, ...]
    least_names: tuple[str, ...]
    most_names: tuple[str, ...]
    budget_name: str = ""

    @property
    def steps(self) -> int:
        """How many intervals there are."""
        return self.least_kw.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitedPlan:
    """The best schedule within limits.

    Attributes:
        charge_kw: Mean power drawn in each interval, >= 0, shape (T,).
        discharge_kw: Mean power delivered, >= 0; zero wherever `charge_kw` is not.
        energy_kwh: Stored energy at the boundaries, shape (T + 1,).
        value: Income less cost and wear, and the terminal value, in currency.
        value_bound: No schedule within the limits is worth more, in currency.
        budget_price_per_mwh: What one MWh more of the budget would add; 0 when it does not bind.
    """

    charge_kw: Floats
    discharge_kw: Floats
    energy_kwh: Floats
    value: float
    value_bound: float
    budget_price_per_mwh: float


def physical_limits(
    storage: Storage,
    steps: int,
    *,
    charge_limit_kw: Floats | None = None,
    discharge_limit_kw: Floats | None = None,
) -> Limits:
    """Return the limits of the storage itself, and of its power by interval where that is lower.

    Raises:
        InvalidInputError: A limit has the wrong shape or is negative.
    """
    number("steps", steps, low=1)
    most, least = np.full(steps, storage.charge_limit_kw), np.full(steps, -storage.discharge_limit_kw)
    if charge_limit_kw is not None:
        most = np.minimum(most, column("charge_limit_kw", charge_limit_kw, length=steps, low=0.0))
    if discharge_limit_kw is not None:
        least = np.maximum(least, -column("discharge_limit_kw", discharge_limit_kw, length=steps, low=0.0))
    return Limits(
        floor_kwh=np.zeros(steps + 1),
        ceiling_kwh=np.full(steps + 1, storage.energy_capacity_kwh),
        least_kw=least,
        most_kw=most,
        budget_kwh=np.inf,
        floor_names=("",) * (steps + 1),
        ceiling_names=("",) * (steps + 1),
        least_names=("",) * steps,
        most_names=("",) * steps,
    )


def knows_all(storage: Storage) -> None:
    """Refuse a storage with properties that the chain of this module does not have.

    Raises:
        InvalidInputError: The storage loses energy by standing, or wears by depth.
    """
    number("standing_loss_frac_per_h", storage.standing_loss_frac_per_h, high=0.0)
    if storage.depth_costs:
        raise InvalidInputError(field="depth_costs", value=len(storage.depth_costs), fix="give none here")


def energy_change(storage: Storage, net_kw: Floats, interval_h: float) -> Floats:
    """Return the change of stored energy, in kWh, of a net load held for an interval."""
    loss = 1.0 / storage.discharge_efficiency_frac
    change: Floats = np.where(net_kw > 0.0, storage.charge_efficiency_frac, loss) * net_kw * interval_h
    return change


def net_load(storage: Storage, change_kwh: Floats, interval_h: float) -> Floats:
    """Return the net load, in kW, that changes the stored energy so in an interval."""
    gain = 1.0 / storage.charge_efficiency_frac
    load: Floats = (
        np.where(change_kwh > 0.0, gain, storage.discharge_efficiency_frac) * change_kwh / interval_h
    )
    return load


def reachable_energy(storage: Storage, interval_h: float, limits: Limits) -> tuple[Floats, Floats] | None:
    """Return the least and the most stored energy at each boundary of plans within the limits, the budget aside.

    None when there is no plan. Each of the two is itself a plan's path.
    """
    least = energy_change(storage, limits.least_kw, interval_h)
    most = energy_change(storage, limits.most_kw, interval_h)
    floor, ceiling = limits.floor_kwh.copy(), limits.ceiling_kwh.copy()
    floor[0] = max(floor[0], storage.initial_energy_kwh)
    ceiling[0] = min(ceiling[0], storage.initial_energy_kwh)
    low, high = np.empty(floor.size), np.empty(floor.size)
    if np.any(limits.least_kw > limits.most_kw) or reachable(least, most, floor, ceiling, low, high) >= 0:
        return None
    return low, high


def least_discharge_kwh(storage: Storage, interval_h: float, limits: Limits) -> float | None:
    """Return the least that any plan within the limits (the budget aside) delivers; None when there is no plan."""
    found = _path(storage, np.zeros(limits.steps), interval_h, limits, KWH_PER_MWH, 1, terminal_per_mwh=0.0)
    return None if found is None else _discharged(storage, found[0])


def can_be_held(
    storage: Storage, interval_h: float, limits: Limits, *, slack_frac: float = SLACK_FRAC
) -> bool:
    """Whether there is a plan within the limits; `slack_frac` of the capacity may exceed the budget."""
    if reachable_energy(storage, interval_h, limits) is None:
        return False
    if not np.isfinite(limits.budget_kwh):
        return True
    least = least_discharge_kwh(storage, interval_h, limits)
    return least is not None and least <= limits.budget_kwh + slack_frac * storage.energy_capacity_kwh


def plan_within(
    storage: Storage,
    price_per_mwh: Floats,
    interval_h: float,
    limits: Limits,
    *,
    node_limit: int = 20_000,
) -> LimitedPlan:
    """Return the schedule of the highest value within the limits, never charging and discharging in one interval.

    With a budget that binds, the value is that of a mix of two paths: the best there is unless very negative prices
    make the value convex, which `value_bound` then shows.

    Args:
        storage: The storage, with its stored energy at the start.
        price_per_mwh: Price of energy at the terminals in each interval, shape (T,).
        interval_h: Length of every interval, in hours.
        limits: What to keep to.
        node_limit: How many relaxations may be solved for each path.

    Raises:
        InvalidInputError: An array is malformed, or there is no plan within the limits.
    """
    knows_all(storage)
    price = column("price_per_mwh", price_per_mwh, length=limits.steps)
    number("interval_h", interval_h, above=0.0)
    wear = storage.throughput_cost_per_mwh
    free = _path(storage, price, interval_h, limits, wear, node_limit)
    if free is None:
        raise InvalidInputError(field="limits", value="no plan keeps to them", fix="relax the wishes first")
    slack_kwh = SLACK_FRAC * storage.energy_capacity_kwh
    if _discharged(storage, free[0]) <= limits.budget_kwh + slack_kwh:
        return _limited(storage, price, interval_h, free[0], free[1], 0.0)
    thrifty = _path(storage, np.zeros(price.size), interval_h, limits, KWH_PER_MWH, 1, terminal_per_mwh=0.0)
    if thrifty is None or _discharged(storage, thrifty[0]) > limits.budget_kwh + slack_kwh:
        raise InvalidInputError(field="budget_kwh", value=limits.budget_kwh, fix="relax the wishes first")
    return _within_budget(storage, price, interval_h, limits, node_limit, free[0], thrifty[0])


def _within_budget(
    storage: Storage,
    price: Floats,
    interval_h: float,
    limits: Limits,
    node_limit: int,
    over: Floats,
    under: Floats,
) -> LimitedPlan:
    """Return the plan at the price of the budget between a path that exceeds it and one that does not."""
    # What has to be discharged may exceed the budget by rounding.
    slack_kwh = SLACK_FRAC * storage.energy_capacity_kwh
    budget, extra, bound = max(limits.budget_kwh, _discharged(storage, under)), 0.0, np.inf
    for _ in range(_MOST_PRICINGS):
        spent = [_discharged(storage, path) for path in (over, under)]
        worth = [_worth(storage, price, path) for path in (over, under)]
        extra = max((worth[0] - worth[1]) / max(spent[0] - spent[1], 1e-300), 0.0) * KWH_PER_MWH
        corner = worth[1] - extra / KWH_PER_MWH * spent[1]
        wear = storage.throughput_cost_per_mwh + extra
        found = _path(storage, price, interval_h, limits, wear, node_limit)
        assert found is not None, "a price does not change which paths there are"
        bound = min(bound, found[1] + extra / KWH_PER_MWH * budget)
        if found[1] <= corner + _GAP_FRAC * (1.0 + abs(corner)):
            break
        if _discharged(storage, found[0]) > budget + slack_kwh:
            over = found[0]
        else:
            under = found[0]
    spent = [_discharged(storage, path) for path in (over, under)]
    share = (budget - spent[1]) / (spent[0] - spent[1]) if spent[0] > spent[1] else 0.0
    share = min(max(share, 0.0), 1.0)
    return _limited(storage, price, interval_h, share * over + (1.0 - share) * under, bound, extra)


def _path(
    storage: Storage,
    price: Floats,
    interval_h: float,
    limits: Limits,
    wear_per_mwh: float,
    node_limit: int,
    *,
    terminal_per_mwh: float | None = None,
) -> tuple[Floats, float] | None:
    """Return the best path and a bound on the value of any, or None when there is none."""
    ranges = reachable_energy(storage, interval_h, limits)
    if ranges is None:
        return None
    low, high = ranges
    least = energy_change(storage, limits.least_kw, interval_h)
    most = np.maximum(energy_change(storage, limits.most_kw, interval_h), least)
    # No more than the reachable ends allow: keeps the chord of a very negative price tight.
    most = np.maximum(np.minimum(most, high[1:] - low[:-1]), least)
    least = np.minimum(np.maximum(least, low[1:] - high[:-1]), most)
    charge = price / (KWH_PER_MWH * storage.charge_efficiency_frac)
    discharge = (price - wear_per_mwh) / KWH_PER_MWH * storage.discharge_efficiency_frac
    terminal = storage.terminal_value_per_mwh if terminal_per_mwh is None else terminal_per_mwh
    stake = float(np.abs(charge).sum() + np.abs(discharge).sum() + abs(terminal))
    path = np.empty(price.size + 1)
    path[0] = storage.initial_energy_kwh
    value, bound, _ = best_chain(
        charge,
        discharge,
        least,
        most,
        low,
        high,
        terminal / KWH_PER_MWH,
        _GAP_FRAC * stake * storage.energy_capacity_kwh,
        node_limit,
        path,
    )
    return (path, max(bound, value)) if np.isfinite(value) else None


def _discharged(storage: Storage, path: Floats) -> float:
    """Return what a path delivers at the terminals, in kWh."""
    return float(np.maximum(-np.diff(path), 0.0).sum()) * storage.discharge_efficiency_frac


def _worth(storage: Storage, price: Floats, path: Floats) -> float:
    """Return what a path is worth, wear and terminal value included, in currency."""
    drawn = net_load(storage, np.diff(path), 1.0)
    worn = storage.throughput_cost_per_mwh * np.maximum(-drawn, 0.0).sum()
    return float(storage.terminal_value_per_mwh * path[-1] - price @ drawn - worn) / KWH_PER_MWH


def _limited(
    storage: Storage, price: Floats, interval_h: float, path: Floats, bound: float, extra_per_mwh: float
) -> LimitedPlan:
    change = np.diff(path)
    change[np.abs(change) <= _SNAP_FRAC * storage.energy_capacity_kwh] = 0.0
    load = net_load(storage, change, interval_h)
    value = _worth(storage, price, path)
    return LimitedPlan(
        charge_kw=np.minimum(np.maximum(load, 0.0), storage.charge_limit_kw),
        discharge_kw=np.minimum(np.maximum(-load, 0.0), storage.discharge_limit_kw),
        energy_kwh=path,
        value=value,
        value_bound=max(bound, value),
        budget_price_per_mwh=extra_per_mwh,
    )
