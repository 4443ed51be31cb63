"""Very many homes as columns, and their answer to prices: sums by group, without a Python object for any home.

Loads and roofs are shared shapes with a scale each, tariffs are rows; a home is a few numbers. Each answer is the same exact plan
that `plan_home` makes, except that a price that makes a home non-convex leaves a gap, which the bound tells.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _home_rows as kernel
from shoal.optimise import _home_stage as stage
from shoal.optimise._home_optimum import cars_of
from shoal.optimise._inputs import column, number, whole_column
from shoal.optimise._storage_inputs import check_loss
from shoal.optimise._storage_rows import KWH_PER_MWH
from shoal.optimise.home import BREAK_TIMES, SHORT_TIMES
from shoal.optimise.storage_batch import StorageBatch

Floats = NDArray[np.float64]

Mixing = Literal["choose", "average"]
"""How a mixture of prices is realised: each home answers one of them, or keeps to the mean of its answers."""

_GAP_FRAC = 1e-6
"""A home's search ends at this share of what its energy is worth."""

_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupSums:
    """What the homes of each group do at some prices; only this leaves a process or a gateway.

    Attributes:
        energy_kwh: Net import in each interval, shape (G, T).
        cost: Their own cost in currency, without the fleet's price, with `penalty`, shape (G,).
        lower_bound: No plans at these prices cost less, the fleet's price included, shape (G,).
        penalty: What wishes that cannot be met were charged in `cost`, shape (G,); 0 as a rule.
    """

    energy_kwh: Floats
    cost: Floats
    lower_bound: Floats
    penalty: Floats

    @classmethod
    def zeros(cls, groups: int, steps: int) -> GroupSums:
        """Return the sums of no homes."""
        return cls(
            energy_kwh=np.zeros((groups, steps)),
            cost=np.zeros(groups),
            lower_bound=np.zeros(groups),
            penalty=np.zeros(groups),
        )

    def plus(self, other: GroupSums) -> GroupSums:
        """Return the sums of both."""
        return GroupSums(
            energy_kwh=self.energy_kwh + other.energy_kwh,
            cost=self.cost + other.cost,
            lower_bound=self.lower_bound + other.lower_bound,
            penalty=self.penalty + other.penalty,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HomePlans:
    """The plans of a run of homes, load-positive means of each interval, each of shape (n, T)."""

    battery_kw: Floats
    ev_kw: Floats
    solar_kw: Floats
    grid_kw: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HomeColumns:
    """Homes as columns; N homes, T intervals.

    Attributes:
        interval_h: Length of every interval, in hours.
        storage: The batteries; one of no capacity where there is none.
        load_kw: Shapes of consumption, shape (shapes, T).
        load_row: The shape of each home, shape (N,).
        load_scale: What it is multiplied with, shape (N,).
        solar_kw: Shapes of what roofs could generate, >= 0, shape (shapes, T).
        solar_row: The shape of each home, shape (N,).
        solar_scale: What it is multiplied with, >= 0, shape (N,).
        import_per_kwh: What net import costs, a row a tariff, shape (tariffs, T).
        export_per_kwh: What net export earns, shape (tariffs, T).
        tariff_row: The tariff of each home, shape (N,).
        group_of: The group of each home, shape (N,).
        feeder_of: The feeder of each group, shape (G,); every group hangs from one.
        ev_limit_kw: As of `EvSession`, shape (N,); 0 without a car. None when no home has one.
        ev_start_row: First interval in which the car may charge, shape (N,).
        ev_end_row: The one before which it must be done, at most T, shape (N,).
        ev_energy_kwh: Energy to charge, shape (N,).
        import_limit_kw: The highest net import of each site, shape (N,); None for no limits.
        export_limit_kw: The highest net export of each site, shape (N,); None for no limits.
        demand_charge_per_kw: As of `Home`, shape (N,); None for none.
        demand_so_far_kw: As of `Home`, shape (N,); None for 0.
        most_price_per_kwh: No fleet price will be further from 0 than this.
    """

    interval_h: float
    storage: StorageBatch
    load_kw: Floats
    load_row: NDArray[np.int64]
    load_scale: Floats
    solar_kw: Floats
    solar_row: NDArray[np.int64]
    solar_scale: Floats
    import_per_kwh: Floats
    export_per_kwh: Floats
    tariff_row: NDArray[np.int64]
    group_of: NDArray[np.int64]
    feeder_of: NDArray[np.int64]
    ev_limit_kw: Floats | None = None
    ev_start_row: NDArray[np.int64] | None = None
    ev_end_row: NDArray[np.int64] | None = None
    ev_energy_kwh: Floats | None = None
    import_limit_kw: Floats | None = None
    export_limit_kw: Floats | None = None
    demand_charge_per_kw: Floats | None = None
    demand_so_far_kw: Floats | None = None
    most_price_per_kwh: float = 10.0

    def chosen(self, rows: NDArray[np.int64]) -> HomeColumns:
        """Return some of the homes; shapes, tariffs and groups stay."""
        by_home = [
            name
            for name in (item.name for item in fields(self))
            if name.startswith(
                ("load_r", "load_s", "solar_r", "solar_s", "tariff", "group_of", "ev_", "demand_")
            )
            or name.endswith("limit_kw")
        ]
        taken = {name: getattr(self, name)[rows] for name in by_home if getattr(self, name) is not None}
        batteries = {item.name: getattr(self.storage, item.name)[rows] for item in fields(self.storage)}
        return replace(self, storage=StorageBatch(**batteries), **taken)


class HomeBatch:
    """Homes that answer prices; it remembers where each car's last search ended, which only saves time.

    Args:
        columns: The homes.

    Raises:
        InvalidInputError: an array has the wrong shape, or holds a number that is not finite or out of its range.
    """

    def __init__(self, columns: HomeColumns) -> None:
        self._interval_h = number("interval_h", columns.interval_h, above=0.0)
        self._most_per_kwh = number("most_price_per_kwh", columns.most_price_per_kwh, above=0.0)
        self._load_kwh = _table("load_kw", columns.load_kw) * columns.interval_h
        self.steps = self._load_kwh.shape[1]
        self._solar_kwh = _table("solar_kw", columns.solar_kw, self.steps, low=0.0) * columns.interval_h
        self._import_per_kwh = _table("import_per_kwh", columns.import_per_kwh, self.steps)
        self._export_per_kwh = _table("export_per_kwh", columns.export_per_kwh, self.steps)
        feeder_of = whole_column("feeder_of", columns.feeder_of)
        self.feeder_of = feeder_of
        self.groups, self.feeders = feeder_of.size, int(feeder_of.max(initial=-1)) + 1
        self._rows = _rows(
            columns, feeder_of, len(self._load_kwh), len(self._solar_kwh), len(self._import_per_kwh)
        )
        self.count = len(self._rows)
        self._homes = self._numbers(columns)
        self._scales = self._scale_columns(columns)
        self._cars = cars_of(self.count, float(self._import_per_kwh.mean()))
        self.homes_count = np.bincount(self._rows[:, kernel.GROUP_ROW], minlength=self.groups)
        self._factor = np.ones(self.groups)
        # Homes of a group that are alike take different prices, and every so manieth of them is a fair sample.
        self._ranks = self._ranks_in_groups()
        self._quantiles = (self._ranks * _GOLDEN + 0.5) % 1.0

    def sample(self, share: float) -> HomeBatch:
        """Return a batch of every so manieth home of each group, one at least, that answers for all of its group."""
        if share >= 1.0:
            return self
        group = self._rows[:, kernel.GROUP_ROW]
        shares = np.maximum(share, 1.0 / np.maximum(self.homes_count, 1))[group]
        ranks = self._ranks
        chosen = np.flatnonzero(np.floor((ranks + 1.0) * shares + 1e-9) > np.floor(ranks * shares + 1e-9))
        fewer = copy(self)
        fewer.count = chosen.size
        fewer._rows, fewer._homes, fewer._scales = (
            self._rows[chosen],
            self._homes[chosen],
            self._scales[chosen],
        )
        fewer._cars = self._cars[chosen]
        fewer._ranks = fewer._ranks_in_groups()
        fewer._quantiles = (fewer._ranks * _GOLDEN + 0.5) % 1.0
        answering = np.bincount(group[chosen], minlength=self.groups)
        fewer._factor = self.homes_count / np.maximum(answering, 1)
        return fewer

    def reach_kwh(self) -> tuple[Floats, Floats]:
        """Return the least and the most that each group can draw in each interval, whatever its prices, shape (G, T)."""
        group = self._rows[:, kernel.GROUP_ROW]

        def by_group(values: Floats) -> Floats:
            sums: Floats = np.bincount(group, weights=values, minlength=self.groups)[:, np.newaxis].astype(
                np.float64
            )
            return sums

        def shaped(shapes: Floats, row: NDArray[np.int64], scale: Floats) -> Floats:
            flat = np.bincount(group * len(shapes) + row, weights=scale, minlength=self.groups * len(shapes))
            return np.asarray(flat.reshape(self.groups, len(shapes)) @ shapes)

        load = shaped(self._load_kwh, self._rows[:, kernel.LOAD_ROW], self._scales[:, kernel.LOAD_SCALE])
        solar = shaped(self._solar_kwh, self._rows[:, kernel.SOLAR_ROW], self._scales[:, kernel.SOLAR_SCALE])
        cars = by_group(self._homes[:, stage.CAR_KWH])
        charge = by_group(self._homes[:, stage.CHARGE_KWH])
        return load - solar - by_group(self._homes[:, stage.DISCHARGE_KWH]), load + charge + cars

    def answer(self, prices_per_kwh: ArrayLike) -> GroupSums:
        """Return what the homes do at the fleet's prices of each feeder, shape (F, T).

        Raises:
            InvalidInputError: the prices have the wrong shape or are out of the range that was agreed on.
        """
        prices = np.asarray(prices_per_kwh, np.float64)[np.newaxis]
        return self._run(prices, np.ones((self.groups, 1)), "choose", 0, self.count, np.empty((0, 0, 0)))

    def realise(self, prices_per_kwh: ArrayLike, weights: ArrayLike, *, how: Mixing) -> GroupSums:
        """Return what the homes do under a mixture of prices; `lower_bound` is empty of meaning for a mean of plans.

        Args:
            prices_per_kwh: Rows of prices, shape (R, F, T).
            weights: The share of each row in each group, shape (G, R); each group's add up to 1.
            how: Whether each home answers one row, as many homes each as the weights say, or keeps to its mean.

        Raises:
            InvalidInputError: an array has the wrong shape or is out of range.
        """
        prices, shares = np.asarray(prices_per_kwh, np.float64), np.asarray(weights, np.float64)
        return self._run(prices, shares, how, 0, self.count, np.empty((0, 0, 0)))

    def plans(
        self, prices_per_kwh: ArrayLike, weights: ArrayLike, *, how: Mixing, first: int, count: int
    ) -> HomePlans:
        """Return the plans of `count` homes from `first` on, under a mixture of prices as of `realise`.

        Raises:
            InvalidInputError: an array has the wrong shape or is out of range.
        """
        last = min(first + count, self.count)
        room = np.empty((max(last - first, 0), kernel.PLAN_COLUMNS, self.steps))
        prices, shares = np.asarray(prices_per_kwh, np.float64), np.asarray(weights, np.float64)
        self._run(prices, shares, how, first, last, room)
        power = room / self._interval_h + 0.0
        return HomePlans(
            battery_kw=power[:, kernel.BATTERY_KWH],
            ev_kw=power[:, kernel.CAR_KWH],
            solar_kw=power[:, kernel.SOLAR_KWH],
            grid_kw=power[:, kernel.NET_KWH],
        )

    def _run(
        self, prices: Floats, weights: Floats, how: Mixing, first: int, last: int, plans: Floats
    ) -> GroupSums:
        if prices.ndim != 3 or prices.shape[1:] != (self.feeders, self.steps):
            raise InvalidInputError(
                field="prices_per_kwh",
                value=f"shape {prices.shape}",
                fix=f"give a row for each of {self.feeders} feeders and {self.steps} intervals",
            )
        if not (np.abs(prices) <= self._most_per_kwh).all():
            raise InvalidInputError(
                field="prices_per_kwh",
                value=float(np.abs(prices).max()),
                fix=f"stay within {self._most_per_kwh} of 0",
            )
        if weights.shape != (self.groups, len(prices)) or not (weights >= 0.0).all():
            raise InvalidInputError(
                field="weights", value=f"shape {weights.shape}", fix="give a share of each row in each group"
            )
        energy, sums = np.zeros((self.groups, self.steps)), np.zeros((self.groups, kernel.SUM_COLUMNS))
        kernel.answer_rows(
            self._homes[first:last], self._rows[first:last], self._scales[first:last], self._load_kwh, self._solar_kwh,
            self._import_per_kwh, self._export_per_kwh, np.require(prices, requirements=["C", "W"]),
            np.require(weights, requirements=["C", "W"]), self._quantiles[first:last], how == "average",
            self._cars[first:last], energy, sums, plans
        )  # fmt: skip
        sums *= self._factor[:, np.newaxis]
        energy *= self._factor[:, np.newaxis]
        cost, bound, penalty = sums[:, kernel.COST], sums[:, kernel.BOUND], sums[:, kernel.PENALTY]
        return GroupSums(energy_kwh=energy, cost=cost, lower_bound=bound, penalty=penalty)

    def _numbers(self, columns: HomeColumns) -> Floats:
        """Return a row of the kernel's numbers for each home."""
        count, hours, storage = self.count, columns.interval_h, columns.storage
        batteries = storage.table()
        if len(batteries) != count:
            raise InvalidInputError(field="storage", value=f"{len(batteries)} rows", fix=f"give {count}")
        check_loss(float(batteries[:, 8].max(initial=0.0)), self.steps * hours)
        homes = np.zeros((count, stage.HOME_COLUMNS))
        holds = batteries[:, 4] > 0.0
        homes[:, stage.CHARGE_KWH] = batteries[:, 0] * hours * holds
        homes[:, stage.DISCHARGE_KWH] = batteries[:, 1] * hours * holds
        homes[:, stage.CHARGE_FRAC] = batteries[:, 2]
        homes[:, stage.DISCHARGE_FRAC] = batteries[:, 3]
        homes[:, stage.CAPACITY_KWH] = batteries[:, 4]
        homes[:, stage.INITIAL_KWH] = batteries[:, 5]
        homes[:, stage.WEAR_PER_KWH] = batteries[:, 6] / KWH_PER_MWH
        homes[:, stage.TERMINAL_PER_KWH] = batteries[:, 7] / KWH_PER_MWH
        homes[:, stage.KEPT_FRAC] = (1.0 - batteries[:, 8]) ** hours
        homes[:, stage.IMPORT_KWH] = _limits("import_limit_kw", columns.import_limit_kw, count) * hours
        homes[:, stage.EXPORT_KWH] = _limits("export_limit_kw", columns.export_limit_kw, count) * hours
        charges = _optional("demand_charge_per_kw", columns.demand_charge_per_kw, count)
        homes[:, stage.DEMAND_PER_KWH] = charges / hours
        homes[:, stage.DEMAND_KWH] = _optional("demand_so_far_kw", columns.demand_so_far_kw, count) * hours
        if columns.ev_limit_kw is not None:
            start = whole_column("ev_start_row", _given(columns.ev_start_row), length=count)
            end = whole_column("ev_end_row", _given(columns.ev_end_row), length=count)
            limit = _optional("ev_limit_kw", columns.ev_limit_kw, count) * hours
            energy = _optional("ev_energy_kwh", columns.ev_energy_kwh, count)
            start, end = np.clip(start, 0, self.steps), np.clip(end, 0, self.steps)
            homes[:, stage.CAR_START], homes[:, stage.CAR_END] = start, np.maximum(start, end)
            # What no charger could give is no wish; what only a limit forbids is one, and is charged for.
            homes[:, stage.CAR_ENERGY_KWH] = np.minimum(energy, limit * np.maximum(end - start, 0))
            homes[:, stage.CAR_KWH] = np.where(homes[:, stage.CAR_ENERGY_KWH] > 0.0, limit, 0.0)
        price = np.maximum(np.abs(self._import_per_kwh), np.abs(self._export_per_kwh)).max(axis=1)
        round_trip = homes[:, stage.CHARGE_FRAC] * homes[:, stage.DISCHARGE_FRAC]
        worst = price[self._rows[:, kernel.TARIFF_ROW]] + self._most_per_kwh + homes[:, stage.DEMAND_PER_KWH]
        worst = np.maximum(worst, np.abs(homes[:, stage.TERMINAL_PER_KWH])) / round_trip
        homes[:, stage.SHORT_PER_KWH] = SHORT_TIMES * (worst + homes[:, stage.WEAR_PER_KWH])
        homes[:, stage.BREAK_PER_KWH] = BREAK_TIMES * homes[:, stage.SHORT_PER_KWH] / round_trip
        return homes

    def _ranks_in_groups(self) -> Floats:
        """Return the place of each home in its group, neighbours being alike: by car, battery, roof and load."""
        group, homes, scales = self._rows[:, kernel.GROUP_ROW], self._homes, self._scales
        car = homes[:, stage.CAR_ENERGY_KWH] > 0.0
        order = np.lexsort(
            (
                homes[:, stage.INITIAL_KWH],
                scales[:, kernel.SOLAR_SCALE],
                homes[:, stage.CAPACITY_KWH],
                homes[:, stage.DISCHARGE_KWH],
                car,
                self._rows[:, kernel.TARIFF_ROW],
                group,
            )
        )
        starts = np.concatenate(([0], np.cumsum(np.bincount(group, minlength=self.groups))))[:-1]
        ranks = np.empty(group.size)
        ranks[order] = np.arange(group.size) - starts[group[order]]
        return ranks

    def _scale_columns(self, columns: HomeColumns) -> Floats:
        scales = np.empty((self.count, kernel.SCALE_COLUMNS))
        scales[:, kernel.LOAD_SCALE] = column("load_scale", columns.load_scale, length=self.count)
        scales[:, kernel.SOLAR_SCALE] = column("solar_scale", columns.solar_scale, length=self.count, low=0.0)
        used = np.abs(self._load_kwh).sum(axis=1)[self._rows[:, kernel.LOAD_ROW]] * np.abs(
            scales[:, kernel.LOAD_SCALE]
        )
        moved = used + self._homes[:, stage.CAR_ENERGY_KWH] + self._homes[:, stage.CAPACITY_KWH] + 1e-3
        price = np.abs(self._import_per_kwh).mean(axis=1)[self._rows[:, kernel.TARIFF_ROW]] + 1e-3
        scales[:, kernel.GAP] = _GAP_FRAC * price * moved
        return scales


def _table(field: str, values: Floats, steps: int | None = None, *, low: float | None = None) -> Floats:
    array = np.array(values, np.float64, ndmin=2)
    if array.ndim != 2 or array.size == 0 or (steps is not None and array.shape[1] != steps):
        raise InvalidInputError(field=field, value=f"shape {array.shape}", fix="give rows of equal length")
    column(field, array.ravel(), low=low)
    return array


def _rows(
    columns: HomeColumns, feeder_of: NDArray[np.int64], loads: int, solars: int, tariffs: int
) -> NDArray[np.int64]:
    group = whole_column("group_of", columns.group_of)
    found = np.empty((group.size, kernel.ROW_COLUMNS), np.int64)
    for at, field, values, size in (
        (kernel.GROUP_ROW, "group_of", group, feeder_of.size),
        (kernel.LOAD_ROW, "load_row", columns.load_row, loads),
        (kernel.SOLAR_ROW, "solar_row", columns.solar_row, solars),
        (kernel.TARIFF_ROW, "tariff_row", columns.tariff_row, tariffs),
    ):
        found[:, at] = whole_column(field, values, length=group.size)
        if group.size and not 0 <= found[:, at].min() <= found[:, at].max() < size:
            raise InvalidInputError(
                field=field, value=int(found[:, at].max()), fix=f"give rows from 0 to {size - 1}"
            )
    if feeder_of.size and feeder_of.min() < 0:
        raise InvalidInputError(
            field="feeder_of", value=int(feeder_of.min()), fix="number the feeders from 0"
        )
    found[:, kernel.FEEDER_ROW] = feeder_of[group] if feeder_of.size else 0
    return found


def _optional(field: str, values: Floats | None, count: int) -> Floats:
    return np.zeros(count) if values is None else column(field, values, length=count, low=0.0)


def _limits(field: str, values: Floats | None, count: int) -> Floats:
    if values is None:
        return np.full(count, np.inf)
    array = np.asarray(values, np.float64)
    if array.shape != (count,) or not (array >= 0.0).all():
        raise InvalidInputError(
            field=field, value=f"shape {array.shape}", fix=f"give {count} limits of at least 0"
        )
    return array


def _given(values: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.empty(0, np.int64) if values is None else values
