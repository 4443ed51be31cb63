"""An independent optimum of a home: a mixed-integer programme given to HiGHS, no kernel of ours."""

from __future__ import annotations

from dataclasses import dataclass, field

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.optimise.home import NO_STORAGE, Home

Floats = NDArray[np.float64]


@dataclass
class _Rows:
    highs: highspy.Highs
    cost: list[float] = field(default_factory=list)

    def column(self, low: float, high: float, cost: float, *, whole: bool = False) -> int:
        self.highs.addCol(cost, low, high, 0, [], [])
        at = len(self.cost)
        self.cost.append(cost)
        if whole:
            self.highs.changeColIntegrality(at, highspy.HighsVarType.kInteger)
        return at

    def add(self, low: float, high: float, entries: dict[int, float]) -> None:
        self.highs.addRow(low, high, len(entries), list(entries), list(entries.values()))


def least_cost(
    home: Home, import_per_kwh: Floats, export_per_kwh: Floats, interval_h: float, *, gap: float = 1e-9
) -> float | None:
    """Return the least cost of a home that meets every wish; None when none can."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (("output_flag", False), ("mip_rel_gap", gap), ("mip_abs_gap", 1e-9)):
        highs.setOptionValue(option, value)
    for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance", "mip_feasibility_tolerance"):
        highs.setOptionValue(option, 1e-9)
    rows, inf = _Rows(highs), highspy.kHighsInf
    battery = home.storage or NO_STORAGE
    steps, kept = home.load_kw.size, (1.0 - battery.standing_loss_frac_per_h) ** interval_h
    charge_kwh, discharge_kwh = battery.charge_limit_kw * interval_h, battery.discharge_limit_kw * interval_h
    import_kwh = min(home.import_limit_kw * interval_h, 1e3)
    export_kwh = min(home.export_limit_kw * interval_h, 1e3)
    before = rows.column(battery.initial_energy_kwh, battery.initial_energy_kwh, 0.0)
    peak = rows.column(home.demand_so_far_kw, inf, home.demand_charge_per_kw)
    car_entries: dict[int, float] = {}
    for t in range(steps):
        charged = rows.column(0.0, charge_kwh, 0.0)
        given = rows.column(0.0, discharge_kwh, battery.throughput_cost_per_mwh / 1e3)
        cut = rows.column(0.0, float(home.solar_potential_kw[t]) * interval_h, 0.0)
        bought = rows.column(0.0, import_kwh, float(import_per_kwh[t]))
        sold = rows.column(0.0, export_kwh, -float(export_per_kwh[t]))
        worth = -battery.terminal_value_per_mwh / 1e3 if t == steps - 1 else 0.0
        after = rows.column(0.0, battery.energy_capacity_kwh, worth)
        charging, buying = rows.column(0.0, 1.0, 0.0, whole=True), rows.column(0.0, 1.0, 0.0, whole=True)
        net = {bought: 1.0, sold: -1.0, charged: -1.0, given: 1.0, cut: -1.0}
        if home.ev is not None and home.ev.start_step <= t < home.ev.end_step:
            car = rows.column(0.0, home.ev.limit_kw * interval_h, 0.0)
            net[car], car_entries[car] = -1.0, 1.0
        base = float(home.load_kw[t] - home.solar_potential_kw[t]) * interval_h
        rows.add(base, base, net)
        rows.add(
            0.0,
            0.0,
            {
                after: 1.0,
                before: -kept,
                charged: -battery.charge_efficiency_frac,
                given: 1.0 / battery.discharge_efficiency_frac,
            },
        )
        rows.add(-inf, 0.0, {charged: 1.0, charging: -charge_kwh})
        rows.add(-inf, discharge_kwh, {given: 1.0, charging: discharge_kwh})
        most = 60.0 * interval_h
        rows.add(-inf, 0.0, {bought: 1.0, buying: -most})
        rows.add(-inf, most, {sold: 1.0, buying: most})
        rows.add(-inf, 0.0, {bought: 1.0 / interval_h, peak: -1.0})
        for one in battery.depth_costs:
            short = rows.column(0.0, inf, one.cost_per_mwh_h * interval_h / 1e3)
            rows.add(one.below_kwh, inf, {short: 1.0, after: 1.0})
        before = after
    if home.ev is not None:
        rows.add(home.ev.energy_kwh, home.ev.energy_kwh, car_entries)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    found: float = highs.getInfo().objective_function_value
    return found - home.demand_charge_per_kw * home.demand_so_far_kw
