"""The same fleet as one linear programme for HiGHS: every home's every interval, feeder limits and commitment at once."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.optimise.fleet_optimum import FleetTerms
from shoal.optimise.home_batch import HomeColumns
from shoal.optimise.storage_batch import StorageBatch

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Central:
    """What the whole programme costs, in currency, and how many numbers it took to tell it of every home."""

    cost: float
    numbers_count: int


class _Programme:
    """Columns and entries of a programme, collected as arrays; every row is an equality or a range."""

    def __init__(self) -> None:
        self.low: list[Floats] = []
        self.high: list[Floats] = []
        self.cost: list[Floats] = []
        self.entries: list[tuple[Whole, Whole, Floats]] = []
        self.row_low: list[Floats] = []
        self.row_high: list[Floats] = []
        self.columns_count = self.rows_count = 0

    def columns(
        self, low: Floats | float, high: Floats | float, cost: Floats | float, shape: tuple[int, int]
    ) -> Whole:
        for kept, values in ((self.low, low), (self.high, high), (self.cost, cost)):
            kept.append(np.broadcast_to(np.asarray(values, np.float64), shape).ravel())
        found = self.columns_count + np.arange(shape[0] * shape[1]).reshape(shape)
        self.columns_count += found.size
        return found

    def rows(self, low: Floats | float, high: Floats | float, shape: tuple[int, int]) -> Whole:
        for kept, values in ((self.row_low, low), (self.row_high, high)):
            kept.append(np.broadcast_to(np.asarray(values, np.float64), shape).ravel())
        found = self.rows_count + np.arange(shape[0] * shape[1]).reshape(shape)
        self.rows_count += found.size
        return found

    def put(self, row: Whole, column: Whole, value: Floats | float) -> None:
        row, column, number = np.broadcast_arrays(row, column, np.asarray(value, np.float64))
        self.entries.append((row.ravel(), column.ravel(), number.ravel()))

    def solve(self) -> float:
        """Return the least cost."""
        row, column, value = (np.concatenate([part[k] for part in self.entries]) for k in range(3))
        order = np.argsort(column, kind="stable")
        programme = highspy.HighsLp()
        programme.num_col_, programme.num_row_ = self.columns_count, self.rows_count
        programme.col_cost_ = np.concatenate(self.cost)
        programme.col_lower_, programme.col_upper_ = np.concatenate(self.low), np.concatenate(self.high)
        programme.row_lower_, programme.row_upper_ = (
            np.concatenate(self.row_low),
            np.concatenate(self.row_high),
        )
        programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        programme.a_matrix_.start_ = np.concatenate(
            ([0], np.cumsum(np.bincount(column, minlength=self.columns_count)))
        )
        programme.a_matrix_.index_, programme.a_matrix_.value_ = row[order], value[order]
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        highs.setOptionValue("output_flag", False)
        highs.passModel(programme)
        highs.run()
        assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        cost: float = highs.getInfo().objective_function_value
        return cost


def solve_central(homes: HomeColumns, terms: FleetTerms) -> Central:
    """Return the optimum of all homes and the fleet's terms at once, in which a battery could do both at once.

    No home of the benchmark's fleets gains by that, so it is the true optimum; it has no demand charges.
    """
    hours, steps = homes.interval_h, homes.load_kw.shape[1]
    count, storage = homes.load_row.size, homes.storage
    shape, inf = (count, steps), highspy.kHighsInf
    programme = _Programme()
    load = homes.load_kw[homes.load_row] * homes.load_scale[:, np.newaxis] * hours
    solar = homes.solar_kw[homes.solar_row] * homes.solar_scale[:, np.newaxis] * hours
    drawn = programme.columns(0.0, storage.charge_limit_kw[:, np.newaxis] * hours, 0.0, shape)
    wear = storage.throughput_cost_per_mwh[:, np.newaxis] / 1e3
    given = programme.columns(0.0, storage.discharge_limit_kw[:, np.newaxis] * hours, wear, shape)
    cut = programme.columns(0.0, solar, 0.0, shape)
    worth = np.zeros(shape)
    worth[:, -1] = -storage.terminal_value_per_mwh / 1e3
    stored = programme.columns(0.0, storage.energy_capacity_kwh[:, np.newaxis], worth, shape)
    bought = programme.columns(
        0.0, _limit(homes.import_limit_kw, count) * hours, homes.import_per_kwh[homes.tariff_row], shape
    )
    sold = programme.columns(
        0.0, _limit(homes.export_limit_kw, count) * hours, -homes.export_per_kwh[homes.tariff_row], shape
    )
    balance = programme.rows(load - solar, load - solar, shape)
    for column, value in ((bought, 1.0), (sold, -1.0), (drawn, -1.0), (given, 1.0), (cut, -1.0)):
        programme.put(balance, column, value)
    _cars(programme, homes, balance, hours)
    first = np.zeros(shape)
    first[:, 0] = storage.initial_energy_kwh
    energy = programme.rows(first, first, shape)
    programme.put(energy, stored, 1.0)
    programme.put(energy[:, 1:], stored[:, :-1], -1.0)
    programme.put(energy, drawn, -storage.charge_efficiency_frac[:, np.newaxis])
    programme.put(energy, given, 1.0 / storage.discharge_efficiency_frac[:, np.newaxis])
    wishes, feeders = terms.wishes(), len(terms.feeder_import_kwh)
    feeder = homes.feeder_of[homes.group_of]
    place = programme.rows(0.0, 0.0, (feeders, steps))
    programme.put(place[feeder], bought, 1.0)
    programme.put(place[feeder], sold, -1.0)
    total = programme.rows(wishes.committed_kwh, wishes.committed_kwh, (1, steps))
    price, excess = wishes.wholesale_per_kwh, wishes.excess_per_kwh
    for low, high, cost in (
        (np.maximum(-wishes.export_kwh, -inf), np.minimum(wishes.import_kwh, inf), price),
        (0.0, inf, price + excess),
        (-inf, 0.0, price - excess),
    ):
        column = programme.columns(low, high, cost, (feeders, steps))
        programme.put(place, column, -1.0)
        programme.put(total, column, 1.0)
    programme.put(total, programme.columns(0.0, inf, wishes.short_per_kwh, (1, steps)), -1.0)
    programme.put(total, programme.columns(0.0, inf, wishes.over_per_kwh, (1, steps)), 1.0)
    numbers = 2 * count * steps + len(StorageBatch.__slots__) * count + 6 * count
    return Central(cost=programme.solve(), numbers_count=numbers)


def _cars(programme: _Programme, homes: HomeColumns, balance: Whole, hours: float) -> None:
    if homes.ev_limit_kw is None or homes.ev_energy_kwh is None:
        return
    assert homes.ev_start_row is not None and homes.ev_end_row is not None
    at = np.arange(balance.shape[1])
    inside = (at >= homes.ev_start_row[:, np.newaxis]) & (at < homes.ev_end_row[:, np.newaxis])
    limit = np.where(inside, homes.ev_limit_kw[:, np.newaxis] * hours, 0.0)
    wanted = np.minimum(homes.ev_energy_kwh, limit.sum(axis=1))[:, np.newaxis]
    car = programme.columns(0.0, limit, 0.0, balance.shape)
    programme.put(balance, car, -1.0)
    programme.put(programme.rows(wanted, wanted, (len(wanted), 1)), car, 1.0)


def _limit(values: Floats | None, count: int) -> Floats:
    limits: Floats = np.full((count, 1), 1e3) if values is None else values[:, np.newaxis]
    return limits
