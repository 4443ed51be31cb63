"""The storage problem as a programme for HiGHS: the independent answer of the tests, and a peer of the benchmark.

Columns are the energy drawn and delivered in each interval and the energy stored after it, then what is missing below
each level that costs, the pieces of the terminal value, and the direction of each interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.cli.benches._optimise_instances import Instance
from shoal.optimise.storage import KWH_PER_MWH

Floats = NDArray[np.float64]
Wholes = NDArray[np.int64]

_INF = float(highspy.kHighsInf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Programme:
    """Minimise ``cost @ x`` with `low <= x <= high` and the rows within theirs; rows are stored one after the other."""

    cost: Floats
    low: Floats
    high: Floats
    row_low: Floats
    row_high: Floats
    starts: NDArray[np.int32]
    indices: NDArray[np.int32]
    entries: Floats
    charging: Wholes
    """Columns that are 0 or 1; none when both directions at once are allowed."""


class _Rows:
    """Rows of the same number of entries are added at once; a negative column is left out."""

    def __init__(self) -> None:
        self.counts: list[Wholes] = []
        self.columns: list[Wholes] = []
        self.entries: list[Floats] = []
        self.low: list[Floats] = []
        self.high: list[Floats] = []

    def add(
        self, pairs: list[tuple[Wholes, Floats | float]], low: Floats | float, high: Floats | float
    ) -> None:
        columns = np.column_stack([column for column, _ in pairs])
        entries = np.column_stack([np.broadcast_to(entry, len(columns)) for _, entry in pairs])
        held = columns >= 0
        self.counts.append(held.sum(axis=1))
        self.columns.append(columns[held])
        self.entries.append(entries[held])
        self.low.append(np.broadcast_to(low, len(columns)).astype(np.float64))
        self.high.append(np.broadcast_to(high, len(columns)).astype(np.float64))


def programme(instance: Instance, *, exclusive: bool) -> Programme:
    """Return the instance as a programme; not `exclusive` allows charging and discharging at once."""
    own, limits, steps, hours = instance.storage, instance.limits, instance.steps, instance.interval_h
    levels = [
        (np.full(steps, min(c.below_kwh, own.energy_capacity_kwh)), np.full(steps, c.cost_per_mwh_h * hours))
        for c in own.depth_costs
    ]
    if limits.wish_kwh is not None and limits.shortfall_cost_per_mwh is not None:
        levels.append((limits.wish_kwh, limits.shortfall_cost_per_mwh))
    ends = np.zeros(0) if instance.terminal is None else instance.terminal.end_kwh
    slopes = np.zeros(0) if instance.terminal is None else instance.terminal.slope_per_mwh
    sizes = [steps, steps, steps, len(levels) * steps, ends.size, steps if exclusive else 0]
    edges = np.cumsum([0, *sizes])
    drawn, delivered, stored, missing, piece, charging = (
        np.arange(edges[k], edges[k + 1]) for k in range(len(sizes))
    )
    most_up, most_down = (
        np.minimum(np.inf if given is None else given, limit) * hours * np.ones(steps)
        for given, limit in (
            (limits.charge_limit_kw, own.charge_limit_kw),
            (limits.discharge_limit_kw, own.discharge_limit_kw),
        )
    )
    low, high = np.zeros(edges[-1]), np.ones(edges[-1])
    high[drawn], high[delivered], high[missing] = most_up, most_down, _INF
    low[stored] = 0.0 if limits.energy_min_kwh is None else np.maximum(limits.energy_min_kwh, 0.0)
    high[stored] = np.minimum(
        own.energy_capacity_kwh, np.inf if limits.energy_max_kwh is None else limits.energy_max_kwh
    )
    high[piece] = np.diff(ends, prepend=0.0)
    cost = np.zeros(edges[-1])
    cost[drawn] = instance.price_per_mwh
    cost[delivered] = own.throughput_cost_per_mwh - instance.price_per_mwh
    cost[missing] = np.concatenate([per_mwh for _, per_mwh in levels]) if levels else 0.0
    if ends.size:
        cost[piece] = -slopes
    else:
        cost[stored[-1]] = -own.terminal_value_per_mwh
    # A direction is worth no more than what fits into the storage: the tighter, the less a tolerance leaks.
    most_up = np.minimum(most_up, own.energy_capacity_kwh / own.charge_efficiency_frac)
    most_down = np.minimum(most_down, own.energy_capacity_kwh * own.discharge_efficiency_frac)
    rows = _Rows()
    kept = (1.0 - own.standing_loss_frac_per_h) ** hours
    before = np.concatenate([[-1], stored[:-1]])
    at_start = np.zeros(steps)
    at_start[0] = kept * own.initial_energy_kwh
    rows.add(
        [
            (stored, 1.0),
            (before, -kept),
            (drawn, -own.charge_efficiency_frac),
            (delivered, 1.0 / own.discharge_efficiency_frac),
        ],
        at_start,
        at_start,
    )
    for number, (level, _) in enumerate(levels):
        rows.add([(missing[number * steps : (number + 1) * steps], 1.0), (stored, 1.0)], level, _INF)
    if ends.size:
        rows.add([*((np.array([p]), 1.0) for p in piece), (stored[-1:], -1.0)], 0.0, 0.0)
    for budget in limits.budgets:
        span = range(budget.first_row, budget.last_row + 1)
        rows.add([(delivered[t : t + 1], 1.0) for t in span], -_INF, budget.discharge_kwh)
    if exclusive:
        rows.add([(drawn, 1.0), (charging, -most_up)], -_INF, 0.0)
        rows.add([(delivered, 1.0), (charging, most_down)], -_INF, most_down)
    return Programme(
        cost=cost / KWH_PER_MWH,
        low=low,
        high=high,
        row_low=np.concatenate(rows.low),
        row_high=np.concatenate(rows.high),
        starts=np.concatenate([[0], np.cumsum(np.concatenate(rows.counts))]).astype(np.int32),
        indices=np.concatenate(rows.columns).astype(np.int32),
        entries=np.concatenate(rows.entries),
        charging=charging,
    )


def new_solver(*, precise: bool = False, gap_frac: float = 0.0) -> highspy.Highs:
    """Return a silent solver on one thread."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("mip_rel_gap", gap_frac)
    highs.setOptionValue("mip_abs_gap", 1e-12)
    if precise:
        highs.setOptionValue("primal_feasibility_tolerance", 1e-10)
        highs.setOptionValue("dual_feasibility_tolerance", 1e-10)
        highs.setOptionValue("mip_feasibility_tolerance", 1e-10)
    return highs


def pass_programme(highs: highspy.Highs, asked: Programme) -> None:
    """Hand a programme to a solver."""
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = asked.cost.size, asked.row_low.size
    model.col_cost_, model.col_lower_, model.col_upper_ = asked.cost, asked.low, asked.high
    model.row_lower_, model.row_upper_ = asked.row_low, asked.row_high
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_ = asked.starts, asked.indices
    model.a_matrix_.value_ = asked.entries
    if asked.charging.size:
        kinds = [highspy.HighsVarType.kContinuous] * asked.cost.size
        for column in asked.charging.tolist():
            kinds[column] = highspy.HighsVarType.kInteger
        model.integrality_ = kinds
    highs.passModel(model)


def run(highs: highspy.Highs) -> float | None:
    """Solve and return the value in currency; None when there is no solution.

    Raises:
        RuntimeError: the solver stopped for another reason.
    """
    highs.run()
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kOptimal:
        return float(-highs.getInfo().objective_function_value)
    if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
        return None
    raise RuntimeError(f"HiGHS stopped with {status}")


def best_value(instance: Instance, *, exclusive: bool = True) -> float | None:
    """Return the optimal value in currency, or None when the limits cannot be kept.

    The directions are settled first, then held, and the linear programme that is left is solved again, so that the value
    does not carry the tolerance of whole numbers.
    """
    asked = programme(instance, exclusive=exclusive)
    highs = new_solver(precise=True)
    pass_programme(highs, asked)
    value = run(highs)
    if value is None or not exclusive:
        return value
    chosen = np.round(np.array(highs.getSolution().col_value)[asked.charging])
    low, high = asked.low.copy(), asked.high.copy()
    low[asked.charging], high[asked.charging] = chosen, chosen
    held = replace(asked, low=low, high=high, charging=np.zeros(0, np.int64))
    again = new_solver(precise=True)
    pass_programme(again, held)
    return run(again)
