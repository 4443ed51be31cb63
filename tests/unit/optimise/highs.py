"""An independent optimum of the storage problem: a mixed-integer programme given to HiGHS.

The binaries are settled first, then rounded, and the linear programme that is left is solved again, so that
the value does not carry the integrality tolerance.
"""

from __future__ import annotations

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]


def best_value(
    storage: Storage,
    price_per_mwh: Floats,
    interval_h: float,
    *,
    charge_limit_kw: Floats | None = None,
    discharge_limit_kw: Floats | None = None,
    exclusive: bool = True,
) -> float:
    """Return the optimal value in currency; not `exclusive` allows charging and discharging at once."""
    steps = price_per_mwh.size
    up_kw = np.full(steps, storage.charge_limit_kw) if charge_limit_kw is None else charge_limit_kw
    down_kw = np.full(steps, storage.discharge_limit_kw) if discharge_limit_kw is None else discharge_limit_kw
    if not exclusive:
        return _solve(storage, price_per_mwh, interval_h, up_kw, down_kw, exclusive=False)[0]
    charging = _solve(storage, price_per_mwh, interval_h, up_kw, down_kw, exclusive=True)[1]
    return _solve(
        storage,
        price_per_mwh,
        interval_h,
        np.where(charging, up_kw, 0.0),
        np.where(charging, 0.0, down_kw),
        exclusive=False,
    )[0]


def _solve(
    storage: Storage, price: Floats, interval_h: float, up_kw: Floats, down_kw: Floats, *, exclusive: bool
) -> tuple[float, NDArray[np.bool_]]:
    steps = price.size
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (
        ("output_flag", False),
        ("primal_feasibility_tolerance", 1e-10),
        ("dual_feasibility_tolerance", 1e-10),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-12),
        ("threads", 1),
    ):
        highs.setOptionValue(option, value)
    # Columns: energy drawn and delivered in each interval, stored energy after it, and the direction.
    drawn, delivered, stored, charging = (np.arange(steps) + k * steps for k in range(4))
    cost = np.zeros(4 * steps)
    cost[drawn] = price / 1000.0
    cost[delivered] = (storage.throughput_cost_per_mwh - price) / 1000.0
    cost[stored[-1]] = -storage.terminal_value_per_mwh / 1000.0
    limits = (up_kw * interval_h, down_kw * interval_h, np.full(steps, storage.energy_capacity_kwh))
    upper = np.concatenate([*limits, np.ones(steps)])
    for column in range(4 * steps):
        highs.addVar(0.0, float(upper[column]))
        highs.changeColCost(column, float(cost[column]))
    for t in range(steps):
        row = [(stored[t], 1.0), (drawn[t], -storage.charge_efficiency_frac)]
        row.append((delivered[t], 1.0 / storage.discharge_efficiency_frac))
        if t:
            row.append((stored[t - 1], -1.0))
        start_kwh = 0.0 if t else storage.initial_energy_kwh
        _add_row(highs, start_kwh, start_kwh, row)
        if exclusive:
            highs.changeColIntegrality(int(charging[t]), highspy.HighsVarType.kInteger)
            most_up, most_down = float(upper[drawn[t]]), float(upper[delivered[t]])
            _add_row(highs, -highspy.kHighsInf, 0.0, [(drawn[t], 1.0), (charging[t], -most_up)])
            _add_row(highs, -highspy.kHighsInf, most_down, [(delivered[t], 1.0), (charging[t], most_down)])
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    solution = np.array(highs.getSolution().col_value)
    return float(-highs.getInfo().objective_function_value), solution[charging] > 0.5


def _add_row(highs: highspy.Highs, low: float, high: float, entries: list[tuple[np.int64, float]]) -> None:
    columns = np.array([column for column, _ in entries], dtype=np.int32)
    highs.addRow(low, high, len(entries), columns, np.array([weight for _, weight in entries]))
