"""What a plant without an optimum would do: fixed rules for every home, all homes at once as columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.fleet_optimum import FleetTerms
from shoal.optimise.home_batch import HomeColumns

Floats = NDArray[np.float64]


def greedy_cost(homes: HomeColumns, terms: FleetTerms, *, idle: bool = False) -> float:
    """Return what homes and fleet pay in currency when batteries keep solar and give all they have to the commitment.

    A battery takes what the roof has to spare; where energy is committed it discharges as fast as it can, and else covers
    the load; `idle` ones do nothing. A car charges at its limit from when it comes. Each export stays within the site's limit.
    """
    hours, steps, storage = homes.interval_h, homes.load_kw.shape[1], homes.storage
    wishes = terms.wishes()
    load = homes.load_kw[homes.load_row] * homes.load_scale[:, np.newaxis] * hours
    solar = homes.solar_kw[homes.solar_row] * homes.solar_scale[:, np.newaxis] * hours
    stored, cost = storage.initial_energy_kwh.copy(), np.zeros(load.shape[0])
    left = np.zeros(load.shape[0]) if homes.ev_energy_kwh is None else homes.ev_energy_kwh.copy()
    feeder_kwh = np.zeros_like(terms.feeder_import_kwh)
    feeder = homes.feeder_of[homes.group_of]
    for t in range(steps):
        net = load[:, t] - solar[:, t]
        if homes.ev_limit_kw is not None and homes.ev_start_row is not None:
            car = np.where(homes.ev_start_row <= t, np.minimum(homes.ev_limit_kw * hours, left), 0.0)
            left -= car
            net += car
        room = (storage.energy_capacity_kwh - stored) / storage.charge_efficiency_frac
        charge = np.minimum(np.clip(-net, 0.0, storage.charge_limit_kw * hours), room)
        able = np.minimum(storage.discharge_limit_kw * hours, stored * storage.discharge_efficiency_frac)
        given = able if wishes.short_per_kwh[t] > 0.0 else np.minimum(np.maximum(net, 0.0), able)
        charge = np.where(given > 0.0, 0.0, charge)
        if idle:
            charge, given = np.zeros_like(charge), np.zeros_like(given)
        stored += charge * storage.charge_efficiency_frac - given / storage.discharge_efficiency_frac
        net += charge - given
        if homes.export_limit_kw is not None:
            net = np.maximum(net, -homes.export_limit_kw * hours)
        price = np.where(
            net > 0.0, homes.import_per_kwh[homes.tariff_row, t], homes.export_per_kwh[homes.tariff_row, t]
        )
        cost += price * net + given * storage.throughput_cost_per_mwh / 1e3
        np.add.at(feeder_kwh[:, t], feeder, net)
    cost -= stored * storage.terminal_value_per_mwh / 1e3
    return float(cost.sum()) + terms.cost(feeder_kwh)
