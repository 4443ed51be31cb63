"""Plans of very many storages in one call: a row each, in arrays that the caller may keep and give again.

Each row is the same exact plan that `plan_storage` makes, without a Python object for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _storage_rows as rows
from shoal.optimise._inputs import column
from shoal.optimise._storage_inputs import check_loss, check_numbers
from shoal.optimise.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StorageBatch:
    """Storages as columns; each as the attribute of that name of `Storage`, shape (N,)."""

    charge_limit_kw: NDArray[np.float64]
    discharge_limit_kw: NDArray[np.float64]
    charge_efficiency_frac: NDArray[np.float64]
    discharge_efficiency_frac: NDArray[np.float64]
    energy_capacity_kwh: NDArray[np.float64]
    initial_energy_kwh: NDArray[np.float64]
    throughput_cost_per_mwh: NDArray[np.float64]
    terminal_value_per_mwh: NDArray[np.float64]
    standing_loss_frac_per_h: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = np.size(self.charge_limit_kw)
        capacity = column("energy_capacity_kwh", self.energy_capacity_kwh, length=count, low=0.0)
        column("charge_limit_kw", self.charge_limit_kw, length=count, low=0.0)
        column("discharge_limit_kw", self.discharge_limit_kw, length=count, low=0.0)
        column("charge_efficiency_frac", self.charge_efficiency_frac, length=count, above=0.0, high=1.0)
        column("discharge_efficiency_frac", self.discharge_efficiency_frac, length=count, above=0.0, high=1.0)
        initial = column("initial_energy_kwh", self.initial_energy_kwh, length=count, low=0.0)
        column("throughput_cost_per_mwh", self.throughput_cost_per_mwh, length=count, low=0.0)
        column("terminal_value_per_mwh", self.terminal_value_per_mwh, length=count)
        column("standing_loss_frac_per_h", self.standing_loss_frac_per_h, length=count, low=0.0, high=0.999)
        if (initial > capacity).any():
            row = int(np.argmax(initial > capacity))
            raise InvalidInputError(
                field=f"initial_energy_kwh[{row}]",
                value=float(initial[row]),
                fix=f"give at most {capacity[row]}",
            )

    @classmethod
    def of(cls, storages: Sequence[Storage]) -> StorageBatch:
        """Return storages as columns.

        Raises:
            InvalidInputError: one of them has depth costs, which a batch does not know.
        """
        for row, storage in enumerate(storages):
            if storage.depth_costs:
                raise InvalidInputError(
                    field=f"storages[{row}].depth_costs", value=storage.depth_costs, fix="plan it by itself"
                )
        table = np.array([storage.column() for storage in storages]).reshape(-1, rows.STORAGE_COLUMNS)
        names = cls.__slots__
        return cls(**{name: table[:, at].copy() for at, name in enumerate(names)})

    def table(self) -> NDArray[np.float64]:
        """Return a row a storage, in the order of the compiled kernels."""
        return np.ascontiguousarray(
            np.column_stack([np.asarray(getattr(self, name), np.float64) for name in self.__slots__])
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchPlan:
    """Plans of N storages over T intervals.

    Attributes:
        power_kw: Mean power at the terminals, charging positive, shape (N, T).
        energy_kwh: Stored energy at the start of each interval and at the end, shape (N, T + 1); of no rows when it was
            not asked for.
        value: Income less cost and wear, and the terminal value, in currency, shape (N,).
        marginal_value_per_mwh: Worth of a MWh stored at the start, shape (N,).
        exact: Whether each is proven to be the optimum, shape (N,).
    """

    power_kw: NDArray[np.float64]
    energy_kwh: NDArray[np.float64]
    value: NDArray[np.float64]
    marginal_value_per_mwh: NDArray[np.float64]
    exact: NDArray[np.bool_]

    @classmethod
    def empty(cls, count: int, steps: int, *, with_energy: bool = False) -> BatchPlan:
        """Return room for the plans of `count` storages."""
        return cls(
            power_kw=np.empty((count, steps)),
            energy_kwh=np.empty((count if with_energy else 0, steps + 1)),
            value=np.empty(count),
            marginal_value_per_mwh=np.empty(count),
            exact=np.empty(count, np.bool_),
        )


def plan_storage_batch(
    batch: StorageBatch,
    prices_per_mwh: NDArray[np.float64],
    interval_h: float,
    *,
    price_row: NDArray[np.int64] | None = None,
    into: BatchPlan | None = None,
    node_limit: int = 20_000,
) -> BatchPlan:
    """Return the best schedule of each storage.

    Args:
        batch: The storages.
        prices_per_mwh: Prices of energy at the terminals, a row for each place: shape (P, T), or (T,) for one.
        interval_h: Length of every interval, in hours.
        price_row: The row of prices of each storage, shape (N,); the only one when None, or its own when there are N.
        into: Room that is filled and returned; new room without the stored energy when None.
        node_limit: As of `plan_storage`, for each storage.

    Raises:
        InvalidInputError: An array has the wrong shape, or prices are not finite.
    """
    check_numbers(interval_h, node_limit)
    prices = np.require(np.atleast_2d(np.asarray(prices_per_mwh, np.float64)), requirements=["C", "W"])
    if prices.ndim != 2 or prices.size == 0 or not np.isfinite(prices).all():
        raise InvalidInputError(
            field="prices_per_mwh",
            value=f"shape {prices.shape}",
            fix="give finite prices, a row for each place",
        )
    table = batch.table()
    count, (places, steps) = len(table), prices.shape
    check_loss(float(table[:, rows.LOSS_FRAC_PER_H].max(initial=0.0)), steps * interval_h)
    if price_row is None:
        if places not in (1, count):
            raise InvalidInputError(
                field="price_row",
                value=None,
                fix=f"say which of the {places} rows of prices each storage has",
            )
        price_row = np.zeros(count, np.int64) if places == 1 else np.arange(count)
    if price_row.shape != (count,) or (count and not 0 <= price_row.min() <= price_row.max() < places):
        raise InvalidInputError(
            field="price_row",
            value=f"shape {price_row.shape}",
            fix=f"give {count} rows from 0 to {places - 1}",
        )
    plan = BatchPlan.empty(count, steps) if into is None else into
    if plan.power_kw.shape != (count, steps) or plan.energy_kwh.shape not in (
        (0, steps + 1),
        (count, steps + 1),
    ):
        raise InvalidInputError(
            field="into", value=f"shape {plan.power_kw.shape}", fix=f"give room for {count} plans of {steps}"
        )
    rows.plan_rows(
        table,
        prices,
        np.require(price_row, np.int64, ["C", "W"]),
        interval_h,
        node_limit,
        plan.power_kw,
        plan.energy_kwh,
        plan.value,
        plan.marginal_value_per_mwh,
        plan.exact,
    )
    return plan
