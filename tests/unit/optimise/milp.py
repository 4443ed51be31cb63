"""An independent optimum of one storage within bounds: a mixed-integer programme given to HiGHS, no kernel of ours.

Columns are what is drawn and delivered in each interval, the stored energy after it, and the direction.
"""

from __future__ import annotations

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.optimise.relax_limits import Limits
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]


def best_within(
    storage: Storage, interval_h: float, limits: Limits, cost: Floats, *, tie: float = 0.0
) -> Floats | None:
    """Return drawn (kW), delivered (kW) and stored (kWh) at the least `cost` of those 3T columns, or None.

    `tie` adds that much per kW delivered, to choose among equals.
    """
    steps = limits.steps
    drawn, given, stored, charging = (np.arange(steps) + k * steps for k in range(4))
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (
        ("output_flag", False),
        ("primal_feasibility_tolerance", 1e-10),
        ("dual_feasibility_tolerance", 1e-10),
        ("mip_feasibility_tolerance", 1e-10),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-11),
        ("threads", 1),
    ):
        solver.setOptionValue(option, value)
    costs = np.concatenate([cost, np.zeros(steps)])
    costs[given] += tie
    lower = np.zeros(4 * steps)
    upper = np.ones(4 * steps)
    upper[drawn], upper[given] = storage.charge_limit_kw, storage.discharge_limit_kw
    lower[stored], upper[stored] = limits.floor_kwh[1:], limits.ceiling_kwh[1:]
    for column in range(4 * steps):
        solver.addVar(float(lower[column]), float(upper[column]))
        solver.changeColCost(column, float(costs[column]))

    def row(low: float, high: float, *entries: tuple[np.int64, float]) -> None:
        columns = np.array([column for column, _ in entries], dtype=np.int32)
        solver.addRow(low, high, len(entries), columns, np.array([entry for _, entry in entries]))

    for t in range(steps):
        solver.changeColIntegrality(int(charging[t]), highspy.HighsVarType.kInteger)
        row(-highspy.kHighsInf, 0.0, (drawn[t], 1.0), (charging[t], -storage.charge_limit_kw))
        row(-highspy.kHighsInf, storage.discharge_limit_kw, (given[t], 1.0),
            (charging[t], storage.discharge_limit_kw))  # fmt: skip
        row(float(limits.least_kw[t]), float(limits.most_kw[t]), (drawn[t], 1.0), (given[t], -1.0))
        balance = [(stored[t], 1.0), (drawn[t], -storage.charge_efficiency_frac * interval_h)]
        balance.append((given[t], interval_h / storage.discharge_efficiency_frac))
        start_kwh = storage.initial_energy_kwh if t == 0 else 0.0
        if t:
            balance.append((stored[t - 1], -1.0))
        row(start_kwh, start_kwh, *balance)
    if np.isfinite(limits.budget_kwh):
        row(-highspy.kHighsInf, limits.budget_kwh, *((column, interval_h) for column in given))
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.array(solver.getSolution().col_value)[: 3 * steps]


def best_value_within(storage: Storage, price: Floats, interval_h: float, limits: Limits) -> float | None:
    """Return the value of the best schedule within the limits, in currency; None when there is none."""
    steps = limits.steps
    cost = np.zeros(3 * steps)
    cost[:steps] = price * interval_h / 1e3
    cost[steps : 2 * steps] = (storage.throughput_cost_per_mwh - price) * interval_h / 1e3
    cost[3 * steps - 1] = -storage.terminal_value_per_mwh / 1e3
    found = best_within(storage, interval_h, limits, cost)
    return None if found is None else float(-cost @ found)
