"""Storage plans under further limits: targets of stored energy, wishes that may be bought off, and throughput budgets.

The answer is the best plan, or a list of the limits that cannot be kept and by how much each misses: never a plan that
breaks one in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _storage_rows as rows
from shoal.optimise._inputs import column, number
from shoal.optimise._storage_budget import BudgetProblem, BudgetSolution
from shoal.optimise._storage_inputs import (
    FEASIBLE_FRAC,
    check_numbers,
    limit_column,
    price_column,
    ramp_rows,
    terminal_columns,
)
from shoal.optimise._storage_rows import KWH_PER_MWH
from shoal.optimise.storage import Storage, StoragePlan, TerminalValue, plan_of, solve

_Column: TypeAlias = NDArray[np.float64]
_Limits: TypeAlias = tuple[_Column, _Column, _Column, _Column]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputBudget:
    """So much may be discharged within a stretch of intervals: a cycle limit of a day, a warranty over the horizon.

    Attributes:
        first_row: The first interval of the stretch.
        last_row: The last one, itself included.
        discharge_kwh: How much may be discharged at the terminals, >= 0.
    """

    first_row: int
    last_row: int
    discharge_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StorageLimits:
    """What holds beside the storage's own limits; None sets no limit. Levels are those at the end of an interval.

    Attributes:
        charge_limit_kw: A limit for each interval; the lower of it and the storage's own holds, shape (T,).
        discharge_limit_kw: Likewise for discharging, shape (T,).
        energy_min_kwh: Stored energy is at least this, shape (T,); 0 where there is no target.
        energy_max_kwh: Stored energy is at most this, shape (T,).
        wish_kwh: Stored energy should be at least this, shape (T,); what is missing costs
            `shortfall_cost_per_mwh` and nothing else.
        shortfall_cost_per_mwh: What a MWh below the wish costs, >= 0, shape (T,).
        budgets: How much may be discharged, by stretches that may overlap.
    """

    charge_limit_kw: NDArray[np.float64] | None = None
    discharge_limit_kw: NDArray[np.float64] | None = None
    energy_min_kwh: NDArray[np.float64] | None = None
    energy_max_kwh: NDArray[np.float64] | None = None
    wish_kwh: NDArray[np.float64] | None = None
    shortfall_cost_per_mwh: NDArray[np.float64] | None = None
    budgets: tuple[ThroughputBudget, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConflict:
    """A limit that cannot be kept together with those before it.

    Attributes:
        limit: Which kind of limit.
        row: Its interval, or the number of the budget.
        asked_kwh: What it asks for.
        reachable_kwh: The nearest that can be had, once all conflicts before it are eased.
    """

    limit: Literal["energy_min", "energy_max", "throughput"]
    row: int
    asked_kwh: float
    reachable_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageInfeasible:
    """No schedule keeps all limits.

    Attributes:
        conflicts: In order of time; with each eased to what is reachable there is a plan, unless the energy limits then
            ask for more than the budgets give. Budgets are looked at when the energy limits can be kept.
    """

    conflicts: tuple[LimitConflict, ...]


def day_budgets(steps: int, per_day_steps: int, discharge_kwh: float) -> tuple[ThroughputBudget, ...]:
    """Return a budget of so much for each day, the last of which may be cut short."""
    return tuple(
        ThroughputBudget(
            first_row=first, last_row=min(first + per_day_steps, steps) - 1, discharge_kwh=discharge_kwh
        )
        for first in range(0, steps, per_day_steps)
    )


def plan_storage_within(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    limits: StorageLimits,
    *,
    terminal: TerminalValue | None = None,
    node_limit: int = 20_000,
) -> StoragePlan | StorageInfeasible:
    """Return the schedule of the highest value that keeps the limits, or which of them cannot be kept.

    Args:
        storage: The storage, with its stored energy at the start of the first interval.
        price_per_mwh: Price of energy at the terminals in each interval, shape (T,), T >= 1; may be negative.
        interval_h: Length of every interval, in hours.
        limits: What the plan must keep.
        terminal: What energy left at the end is worth; instead of the storage's one number for all of it.
        node_limit: As of `plan_storage`.

    Raises:
        InvalidInputError: An array has the wrong shape or holds NaN or an out-of-range number, or a budget names
            intervals that there are not.
    """
    price = price_column(price_per_mwh)
    check_numbers(interval_h, node_limit)
    steps = price.size
    checked = (
        limit_column("charge_limit_kw", limits.charge_limit_kw, steps),
        limit_column("discharge_limit_kw", limits.discharge_limit_kw, steps),
        limit_column("energy_min_kwh", limits.energy_min_kwh, steps),
        limit_column("energy_max_kwh", limits.energy_max_kwh, steps),
    )
    wish = _wish(limits, storage.energy_capacity_kwh, steps)
    _check_budgets(limits.budgets, steps)
    plan = solve(storage, price, interval_h, *checked, terminal, wish, node_limit)
    if plan is None:
        slack_kwh = FEASIBLE_FRAC * storage.energy_capacity_kwh
        found = _energy_conflicts(storage, steps, interval_h, *checked, slack_kwh)
        return StorageInfeasible(
            conflicts=tuple(found or _energy_conflicts(storage, steps, interval_h, *checked, 0.0))
        )
    if not limits.budgets:
        return plan
    spent_kwh = [
        float(plan.discharge_kw[b.first_row : b.last_row + 1].sum()) * interval_h for b in limits.budgets
    ]
    if plan.exact and all(s <= b.discharge_kwh for s, b in zip(spent_kwh, limits.budgets, strict=True)):
        return msgspec.structs.replace(plan, budget_price_per_mwh=np.zeros(len(limits.budgets)))
    problem = _budget_problem(storage, price, interval_h, checked, terminal, wish, limits.budgets)
    solution = problem.solve(node_limit)
    if not isinstance(solution, BudgetSolution):
        return StorageInfeasible(
            conflicts=tuple(
                LimitConflict(
                    limit="throughput",
                    row=row,
                    asked_kwh=budget.discharge_kwh,
                    reachable_kwh=budget.discharge_kwh + over,
                )
                for row, (budget, over) in enumerate(zip(limits.budgets, solution, strict=True))
                if over > 0.0
            )
        )
    return _plan_of_budgets(storage, price, interval_h, checked, terminal, wish, problem, solution)


def _wish(
    limits: StorageLimits, capacity_kwh: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    if (limits.wish_kwh is None) != (limits.shortfall_cost_per_mwh is None):
        raise InvalidInputError(
            field="wish_kwh", value=limits.wish_kwh, fix="give it together with shortfall_cost_per_mwh"
        )
    if limits.wish_kwh is None or limits.shortfall_cost_per_mwh is None:
        return None
    return (
        column("wish_kwh", limits.wish_kwh, length=steps, low=0.0, high=capacity_kwh),
        column("shortfall_cost_per_mwh", limits.shortfall_cost_per_mwh, length=steps, low=0.0),
    )


def _check_budgets(budgets: tuple[ThroughputBudget, ...], steps: int) -> None:
    for row, budget in enumerate(budgets):
        number(f"budgets[{row}].discharge_kwh", budget.discharge_kwh, low=0.0)
        if not 0 <= budget.first_row <= budget.last_row < steps:
            raise InvalidInputError(
                field=f"budgets[{row}]",
                value=(budget.first_row, budget.last_row),
                fix=f"name intervals from 0 to {steps - 1}",
            )


def _energy_conflicts(
    storage: Storage,
    steps: int,
    interval_h: float,
    charge_limit_kw: NDArray[np.float64],
    discharge_limit_kw: NDArray[np.float64],
    energy_min_kwh: NDArray[np.float64],
    energy_max_kwh: NDArray[np.float64],
    slack_kwh: float,
) -> list[LimitConflict]:
    """Go forward with the range that can be reached; where it misses a limit, go on from the nearest."""
    capacity = storage.energy_capacity_kwh
    kept = (1.0 - storage.standing_loss_frac_per_h) ** interval_h
    least, most = storage.initial_energy_kwh, storage.initial_energy_kwh
    found: list[LimitConflict] = []
    for t in range(steps):
        up_kw = min(storage.charge_limit_kw, float(charge_limit_kw[t]) if charge_limit_kw.size else np.inf)
        down_kw = min(
            storage.discharge_limit_kw, float(discharge_limit_kw[t]) if discharge_limit_kw.size else np.inf
        )
        most = min(kept * most + up_kw * interval_h * storage.charge_efficiency_frac, capacity)
        least = max(kept * least - down_kw * interval_h / storage.discharge_efficiency_frac, 0.0)
        if energy_max_kwh.size and (cap := float(energy_max_kwh[t])) < most:
            if cap < least - slack_kwh:
                found.append(LimitConflict(limit="energy_max", row=t, asked_kwh=cap, reachable_kwh=least))
            most = max(cap, least)
        if energy_min_kwh.size and (target := float(energy_min_kwh[t])) > least:
            if target > most + slack_kwh:
                found.append(LimitConflict(limit="energy_min", row=t, asked_kwh=target, reachable_kwh=most))
            least = min(target, most)
    return found


def _budget_problem(
    storage: Storage,
    price: NDArray[np.float64],
    interval_h: float,
    checked: _Limits,
    terminal: TerminalValue | None,
    wish: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    budgets: tuple[ThroughputBudget, ...],
) -> BudgetProblem:
    steps = price.size
    prepared = np.empty((rows.PREPARED_ROWS, steps + 1))
    rows.prepare(storage.column(), price, interval_h, *checked, prepared)
    scale = prepared[rows.P_SCALE]
    end_kwh, end_per_kwh = terminal_columns(storage, terminal)
    if not end_kwh.size:
        end_kwh = np.array([storage.energy_capacity_kwh])
        end_per_kwh = np.array([storage.terminal_value_per_mwh / KWH_PER_MWH])
    ramp_kwh, ramp_per_kwh = ramp_rows(storage, steps, interval_h, wish)
    if ramp_kwh.size:
        ramp_kwh, ramp_per_kwh = ramp_kwh / scale, ramp_per_kwh * scale
    return BudgetProblem(
        prepared=prepared,
        end_kwh=end_kwh / scale[-1],
        end_per_kwh=end_per_kwh * scale[-1],
        ramp_kwh=ramp_kwh,
        ramp_per_kwh=ramp_per_kwh,
        initial_kwh=storage.initial_energy_kwh,
        delivered_frac=storage.discharge_efficiency_frac * scale[1:],
        stretches=tuple((budget.first_row, budget.last_row + 1) for budget in budgets),
        budget_kwh=np.array([budget.discharge_kwh for budget in budgets]),
    )


def _plan_of_budgets(
    storage: Storage,
    price: NDArray[np.float64],
    interval_h: float,
    checked: _Limits,
    terminal: TerminalValue | None,
    wish: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    problem: BudgetProblem,
    solution: BudgetSolution,
) -> StoragePlan:
    plan = np.empty((rows.PLAN_ROWS, price.size + 1))
    plan[rows.ENERGY] = solution.energy_kwh
    problem.fill_slopes(solution, plan)
    own, scale = storage.column(), problem.prepared[rows.P_SCALE]
    rows.present_slopes(own, scale, plan)
    charge_kw, discharge_kw = plan[rows.CHARGED][:-1], plan[rows.DISCHARGED][:-1]
    rows.schedule(own, interval_h, checked[0], checked[1], scale, plan[rows.ENERGY], charge_kw, discharge_kw)
    value = rows.schedule_value(
        own,
        price,
        interval_h,
        *terminal_columns(storage, terminal),
        *ramp_rows(storage, price.size, interval_h, wish),
        charge_kw,
        discharge_kw,
    )
    return plan_of(
        plan,
        value,
        max(solution.value_bound, value),
        solution.nodes,
        exact=solution.exact,
        budget_price_per_mwh=solution.price_per_kwh * KWH_PER_MWH,
    )
