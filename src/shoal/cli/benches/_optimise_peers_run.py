"""Runs one peer of `shoal bench optimise`: `python _optimise_peers_run.py PEER INSTANCES`; prints times and objectives as JSON.

It runs in the peer's own virtual environment, where Shoal is not. The file of instances is a list of objects in kW, kWh
and currency per MWh. Each peer builds its model and solves it, as its users do for each new day; imports are not timed,
and neither is one run before.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def solve_linopy(day: dict[str, Any]) -> float:
    """Return the objective by linopy with HiGHS."""
    linopy: Any = importlib.import_module("linopy")
    pandas: Any = importlib.import_module("pandas")
    xarray: Any = importlib.import_module("xarray")
    steps, hours = len(day["price_per_mwh"]), day["interval_h"]
    time_index = pandas.RangeIndex(steps, name="t")
    price = xarray.DataArray(day["price_per_mwh"], coords=[time_index])
    low = xarray.DataArray(day["energy_min_kwh"], coords=[time_index])
    high = xarray.DataArray(day["energy_max_kwh"], coords=[time_index])
    model = linopy.Model()
    charge = model.add_variables(lower=0, upper=day["charge_limit_kw"], coords=[time_index], name="charge")
    discharge = model.add_variables(
        lower=0, upper=day["discharge_limit_kw"], coords=[time_index], name="discharge"
    )
    energy = model.add_variables(lower=low, upper=high, name="energy")
    change = (
        energy
        - (hours * day["charge_efficiency_frac"]) * charge
        + (hours / day["discharge_efficiency_frac"]) * discharge
    )
    model.add_constraints(change.isel(t=[0]) == day["initial_energy_kwh"], name="first")
    before = energy.shift(t=1).isel(t=slice(1, None))
    model.add_constraints(change.isel(t=slice(1, None)) - before == 0, name="rest")
    model.add_objective(((price * (hours / 1000.0)) * (charge - discharge)).sum())
    model.solve(solver_name="highs", output_flag=False)
    return -float(model.objective.value)


def solve_pypsa(day: dict[str, Any]) -> float:
    """Return the objective by PyPSA with HiGHS."""
    pypsa: Any = importlib.import_module("pypsa")
    pandas: Any = importlib.import_module("pandas")
    steps = len(day["price_per_mwh"])
    network = pypsa.Network()
    network.set_snapshots(range(steps))
    network.snapshot_weightings = network.snapshot_weightings.astype(float) * day["interval_h"]
    network.add("Bus", "bus")
    most_mw = day["charge_limit_kw"] + day["discharge_limit_kw"]
    price = pandas.Series(day["price_per_mwh"], index=network.snapshots)
    network.add("Generator", "grid", bus="bus", p_nom=most_mw, p_min_pu=-1.0, marginal_cost=price)
    final = pandas.Series(float("nan"), index=network.snapshots)
    final.iloc[-1] = day["energy_min_kwh"][-1]
    network.add(
        "StorageUnit",
        "battery",
        bus="bus",
        p_nom=day["charge_limit_kw"],
        max_hours=day["energy_capacity_kwh"] / day["charge_limit_kw"],
        efficiency_store=day["charge_efficiency_frac"],
        efficiency_dispatch=day["discharge_efficiency_frac"],
        state_of_charge_initial=day["initial_energy_kwh"],
        state_of_charge_set=final,
    )
    network.optimize(solver_name="highs", log_to_console=False, output_flag=False)
    return -float(network.objective) / 1000.0


def solve_cvxpy(day: dict[str, Any]) -> float:
    """Return the objective by CVXPY with HiGHS."""
    cvxpy: Any = importlib.import_module("cvxpy")
    numpy: Any = importlib.import_module("numpy")
    steps, hours = len(day["price_per_mwh"]), day["interval_h"]
    price = numpy.array(day["price_per_mwh"])
    charge, discharge = cvxpy.Variable(steps, nonneg=True), cvxpy.Variable(steps, nonneg=True)
    energy = cvxpy.Variable(steps + 1)
    stored = hours * day["charge_efficiency_frac"] * charge
    released = hours / day["discharge_efficiency_frac"] * discharge
    problem = cvxpy.Problem(
        cvxpy.Maximize(price @ (discharge - charge) * (hours / 1000.0)),
        [
            energy[0] == day["initial_energy_kwh"],
            energy[1:] == energy[:-1] + stored - released,
            energy[1:] >= numpy.array(day["energy_min_kwh"]),
            energy[1:] <= numpy.array(day["energy_max_kwh"]),
            charge <= day["charge_limit_kw"],
            discharge <= day["discharge_limit_kw"],
        ],
    )
    return float(problem.solve(solver=cvxpy.HIGHS))


def solve_emhass(day: dict[str, Any]) -> float:
    """Return the objective by EMHASS: its own optimisation, of a home without loads and sun."""
    pandas: Any = importlib.import_module("pandas")
    numpy: Any = importlib.import_module("numpy")
    emhass: Any = importlib.import_module("emhass")
    optimization: Any = importlib.import_module("emhass.optimization")
    root = Path(emhass.__file__).parent
    conf = json.loads((root / "data" / "config_defaults.json").read_text(encoding="utf-8"))
    steps, hours, capacity_wh = len(day["price_per_mwh"]), day["interval_h"], 1e3 * day["energy_capacity_kwh"]
    lists = [key for key, value in conf.items() if isinstance(value, list) and "deferrable" in key]
    # It counts the limit of discharging at the cells, that of charging at the terminals.
    conf |= {key: [] for key in lists} | {
        "optimization_time_step": pandas.Timedelta(hours=hours),
        "delta_forecast_daily": pandas.Timedelta(hours=hours * steps),
        "time_zone": "UTC",
        "number_of_deferrable_loads": 0,
        "set_use_battery": True,
        "set_nodischarge_to_grid": False,
        "battery_charge_power_max": 1e3 * day["charge_limit_kw"],
        "battery_discharge_power_max": 1e3 * day["discharge_limit_kw"] / day["discharge_efficiency_frac"],
        "battery_charge_efficiency": day["charge_efficiency_frac"],
        "battery_discharge_efficiency": day["discharge_efficiency_frac"],
        "battery_nominal_energy_capacity": capacity_wh,
        "battery_minimum_state_of_charge": 0.0,
        "battery_maximum_state_of_charge": 1.0,
        "maximum_power_from_grid": 2e3 * day["charge_limit_kw"],
        "maximum_power_to_grid": 2e3 * day["discharge_limit_kw"],
        "lp_solver_mip_rel_gap": 1e-9,
        "num_threads": 1,
    }
    paths = {"root_path": root, "data_path": Path.cwd()}
    problem = optimization.Optimization(
        conf, conf, conf, "unit_load_cost", "unit_prod_price", "profit", paths, logging.getLogger("emhass")
    )
    index = pandas.date_range("2026-01-01", periods=steps, freq=pandas.Timedelta(hours=hours), tz="UTC")
    # In thousandths of the currency: otherwise small differences drown in the solver's tolerances.
    price, none = numpy.array(day["price_per_mwh"]), numpy.zeros(steps)
    frame = pandas.DataFrame({"unit_load_cost": price, "unit_prod_price": price}, index=index)
    share = 1e3 * day["initial_energy_kwh"] / capacity_wh
    result = problem.perform_optimization(frame, none, none, price, price, soc_init=share, soc_final=share)
    return float(-(result["P_grid"].to_numpy() * price).sum() * hours / 1e6)


def solve_flexmeasures(day: dict[str, Any]) -> float:
    """Return the objective by the device scheduler of FlexMeasures, with HiGHS."""
    flask: Any = importlib.import_module("flask")
    pandas: Any = importlib.import_module("pandas")
    scheduling: Any = importlib.import_module("flexmeasures.data.models.planning.linear_optimization")
    steps, hours = len(day["price_per_mwh"]), day["interval_h"]
    index = pandas.date_range("2026-01-01", periods=steps, freq=pandas.Timedelta(hours=hours), tz="UTC")
    device = pandas.DataFrame(float("nan"), index=index, columns=["equals", "derivative equals"])
    # Stocks are in kW times an interval, counted from what is stored at first.
    device["min"] = [(kwh - day["initial_energy_kwh"]) / hours for kwh in day["energy_min_kwh"]]
    device["max"] = [(kwh - day["initial_energy_kwh"]) / hours for kwh in day["energy_max_kwh"]]
    device["derivative min"], device["derivative max"] = -day["discharge_limit_kw"], day["charge_limit_kw"]
    device["derivative up efficiency"] = day["charge_efficiency_frac"]
    device["derivative down efficiency"] = day["discharge_efficiency_frac"]
    device["efficiency"], device["stock delta"] = 1.0, 0.0
    site = pandas.DataFrame({"derivative min": float("nan"), "derivative max": float("nan")}, index=index)
    price = pandas.Series(day["price_per_mwh"], index=index) * hours / 1000.0
    app = flask.Flask("bench")
    app.config.from_object(importlib.import_module("flexmeasures.utils.config_defaults").Config)
    with app.app_context():
        _, cost, _, _ = scheduling.device_scheduler(
            [device],
            site,
            commitment_quantities=[pandas.Series(0.0, index=index)],
            commitment_downwards_deviation_price=[price],
            commitment_upwards_deviation_price=[price],
            initial_stock=0.0,
        )
    return -float(cost)


SOLVERS: dict[str, Callable[[dict[str, Any]], float]] = {
    "linopy": solve_linopy,
    "pypsa": solve_pypsa,
    "cvxpy": solve_cvxpy,
    "emhass": solve_emhass,
    "flexmeasures": solve_flexmeasures,
}


def main(peer: str, path: str) -> None:
    """Solve every instance with a peer; print how long each took and its objective."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    days = json.loads(Path(path).read_text(encoding="utf-8"))
    solve = SOLVERS[peer]
    solve(days[0])
    took_s, values = [], []
    for day in days:
        began_s = time.perf_counter()
        values.append(solve(day))
        took_s.append(time.perf_counter() - began_s)
    sys.stdout.write("\n" + json.dumps({"took_s": took_s, "values": values}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
