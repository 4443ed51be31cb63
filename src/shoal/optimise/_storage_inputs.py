"""Checks of what enters the storage solver, and its form in the columns of the compiled kernels."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number
from shoal.optimise._storage_rows import KWH_PER_MWH

if TYPE_CHECKING:
    from shoal.optimise.storage import Storage, TerminalValue

# A given schedule may overstep a limit by this share of it: what a sum of rounded powers needs.
FEASIBLE_FRAC = 1e-9
_LEAST_KEPT_FRAC = 1e-9
_NONE = np.empty(0)
_NO_RAMPS = np.empty((0, 0))


def price_column(price_per_mwh: ArrayLike) -> NDArray[np.float64]:
    """Return prices as a column of at least one; `solve` sees whether they are finite.

    Raises:
        InvalidInputError: they are not a column, or there are none.
    """
    price = price_per_mwh if _is_column(price_per_mwh) else np.array(column("price_per_mwh", price_per_mwh))
    if price.size == 0:
        raise InvalidInputError(field="price_per_mwh", value="no intervals", fix="give at least one price")
    return price


def limit_column(field: str, given: ArrayLike | None, length: int) -> NDArray[np.float64]:
    """Return a limit of each interval; an empty column sets none. `solve` sees whether they are fit.

    Raises:
        InvalidInputError: it is not a column of this length.
    """
    if given is None:
        return _NONE
    if _is_column(given) and given.size == length:
        return given
    return np.array(column(field, given, length=length, low=0.0))


def _is_column(given: ArrayLike) -> TypeGuard[NDArray[np.float64]]:
    """Whether an array can go to a compiled kernel as it is; a read-only one would be compiled for anew."""
    return (
        isinstance(given, np.ndarray)
        and given.dtype == np.float64
        and given.ndim == 1
        and bool(given.flags.carray)
    )


def check_numbers(interval_h: float, node_limit: int) -> None:
    """Refuse an interval of no length and a search of no nodes.

    Raises:
        InvalidInputError: either is out of its range.
    """
    if not (0.0 < interval_h < inf and node_limit >= 1):
        number("interval_h", interval_h, above=0.0)
        number("node_limit", node_limit, low=1)


def check_loss(loss_frac_per_h: float, duration_h: float) -> None:
    """Refuse a horizon at whose end next to nothing of the stored energy would be left: numbers would lose their digits.

    Raises:
        InvalidInputError: less than a billionth would be left.
    """
    if loss_frac_per_h > 0.0 and (1.0 - loss_frac_per_h) ** duration_h < _LEAST_KEPT_FRAC:
        raise InvalidInputError(
            field="standing_loss_frac_per_h",
            value=loss_frac_per_h,
            fix=f"plan less than {duration_h:g} h at once",
        )


def terminal_columns(
    storage: Storage, terminal: TerminalValue | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the pieces of the terminal value end, and their slopes per kWh; empty for the storage's own.

    Raises:
        InvalidInputError: the pieces do not end at the capacity.
    """
    if terminal is None:
        return _NONE, _NONE
    capacity_kwh = storage.energy_capacity_kwh
    if abs(terminal.end_kwh[-1] - capacity_kwh) > FEASIBLE_FRAC * capacity_kwh:
        raise InvalidInputError(
            field="terminal.end_kwh",
            value=float(terminal.end_kwh[-1]),
            fix=f"end at the capacity, {capacity_kwh}",
        )
    ends = np.minimum(terminal.end_kwh, capacity_kwh)
    ends[-1] = capacity_kwh
    return ends, terminal.slope_per_mwh / KWH_PER_MWH


def ramp_rows(
    storage: Storage,
    steps: int,
    interval_h: float,
    wish: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the levels below which energy costs at each instant, and how much per kWh; a row a reason.

    `wish` is a level and a cost per MWh at the end of each interval.
    """
    count = len(storage.depth_costs) + (wish is not None)
    if not count:
        return _NO_RAMPS, _NO_RAMPS
    level_kwh, cost_per_kwh = np.zeros((count, steps + 1)), np.zeros((count, steps + 1))
    for row, cost in enumerate(storage.depth_costs):
        level_kwh[row] = min(cost.below_kwh, storage.energy_capacity_kwh)
        cost_per_kwh[row] = cost.cost_per_mwh_h * interval_h / KWH_PER_MWH
    if wish is not None:
        level_kwh[-1, 1:], cost_per_kwh[-1, 1:] = wish[0], wish[1] / KWH_PER_MWH
    return level_kwh, cost_per_kwh
