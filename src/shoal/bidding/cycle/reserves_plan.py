"""Energy and reserve of one storage over some hours, planned together, in whole lots and backed whatever clears.

The scenario programme says how much reserve is worth holding. What was awarded or fixed before comes first: the reserve is
a wish that gives way where it must, so there is always a plan. Last of all the path of stored energy is counted in lots, and
no more reserve is offered than every path that may come of the orders backs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.reserves_backing import Backing
from shoal.bidding.cycle.reserves_scenarios import HourScenarios
from shoal.optimise.relax import Relaxation, Wish, agree, commit_power
from shoal.optimise.relax_limits import LimitedPlan, Limits, net_load, physical_limits, plan_within
from shoal.optimise.scenario import plan_scenarios
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk, ScenarioPlan
from shoal.optimise.storage import Storage, plan_storage

Floats = NDArray[np.float64]
HOUR_H: Final = 1.0
GAP_FRAC: Final = 1e-3
_ITERATIONS: Final = 60
_SLACK_FRAC: Final = 1e-9
_LOT_SLACK: Final = 1e-9
_IDLE_FRAC: Final = 1e-7
_RESERVE_STEP_FRAC: Final = 0.02
ENERGY_BEHIND: Final = "energy behind reserve"
ROOM_FOR: Final = "room for reserve"
POWER_UP: Final = "power for reserve upwards"
POWER_DOWN: Final = "power for reserve downwards"
OFFERED: Final = frozenset({ENERGY_BEHIND, ROOM_FOR, POWER_UP, POWER_DOWN})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoPlan:
    """Energy and reserve together.

    Attributes:
        reserve_kw: What is worth holding, T hours by P products; trading below may leave less of it.
        cost_per_mw: What a MW held costs, T x P: the least price at which it is worth it.
        energy: The best plan of energy beside it, over the whole horizon.
        limits: What that plan keeps to.
        relaxations: What had to give way.
        scenarios: The programme behind it.
        price_per_mwh: Expected prices of the horizon, H >= T.
    """

    reserve_kw: Floats
    cost_per_mw: Floats
    energy: LimitedPlan
    limits: Limits
    relaxations: tuple[Relaxation, ...]
    scenarios: ScenarioPlan
    price_per_mwh: Floats


def co_optimise(
    storage: Storage,
    scenarios: HourScenarios,
    products: tuple[ReserveProduct, ...],
    *,
    horizon_per_mwh: Floats,
    risk: Risk,
    fixed_kw: dict[int, float],
    awarded: Backing | None = None,
    without: frozenset[int] = frozenset(),
) -> CoPlan:
    """Return the plan of T hours that is worth most, of an hour each.

    Args:
        storage: The storage at the start.
        scenarios: Prices of the T hours; its products are those of `products`.
        products: What may be held.
        horizon_per_mwh: Expected prices of the T hours and what comes after: they say what energy left at the end is worth.
        risk: How much the worst scenarios count.
        fixed_kw: Net load of hours that is decided elsewhere, by their number.
        awarded: What reserve awarded before keeps back.
        without: Hours in which no reserve is offered.

    Raises:
        InvalidInputError: when the storage has no power or no capacity, or loses energy by standing.
    """
    steps = scenarios.energy_per_mwh.shape[1]
    ahead = plan_storage(storage, horizon_per_mwh, HOUR_H)
    worth = float(ahead.marginal_value_per_mwh[steps])
    chosen = plan_scenarios(
        replace(storage, terminal_value_per_mwh=worth if np.isfinite(worth) else 0.0),
        PriceScenarios(
            real_time_per_mwh=scenarios.energy_per_mwh,
            reserve_per_mw=scenarios.reserve_per_mw if products else None,
        ),
        HOUR_H,
        products=products,
        risk=risk,
        gap_frac=GAP_FRAC,
        iterations=_ITERATIONS,
    )
    # in even steps: energy is not moved for the sake of the last kilowatts
    step_kw = np.array([_RESERVE_STEP_FRAC * _power_kw(storage, one) for one in products])
    reserve = np.round(np.maximum(chosen.reserve_kw, 0.0) / step_kw) * step_kw
    reserve[sorted(without)] = 0.0
    wishes = [commit_power(f"fixed in hour {row}", row, (kw,)) for row, kw in sorted(fixed_kw.items())]
    wishes += _kept(awarded, storage) if awarded is not None else []
    up_kw, down_kw, need_kwh, room_kwh = demands(reserve, products, storage)
    wishes += [
        Wish(name=ENERGY_BEHIND, kind="energy_floor", values=_both_ends(need_kwh)),
        Wish(
            name=ROOM_FOR,
            kind="energy_ceiling",
            values=tuple(storage.energy_capacity_kwh - kwh for kwh in _both_ends(room_kwh)),
        ),
        Wish(name=POWER_UP, kind="power_floor", values=tuple((up_kw - storage.discharge_limit_kw).tolist())),
        Wish(
            name=POWER_DOWN, kind="power_ceiling", values=tuple((storage.charge_limit_kw - down_kw).tolist())
        ),
    ]
    physical = physical_limits(storage, len(horizon_per_mwh))
    agreement = agree(storage, HOUR_H, wishes, physical=physical)
    return CoPlan(
        reserve_kw=reserve,
        cost_per_mw=chosen.reserve_cost_per_mw,
        energy=plan_within(storage, horizon_per_mwh, HOUR_H, agreement.limits),
        limits=agreement.limits,
        relaxations=agreement.relaxations,
        scenarios=chosen,
        price_per_mwh=horizon_per_mwh,
    )


def _power_kw(storage: Storage, product: ReserveProduct) -> float:
    return storage.discharge_limit_kw if product.direction == "up" else storage.charge_limit_kw


def demands(
    reserve_kw: Floats, products: tuple[ReserveProduct, ...], storage: Storage
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return, for each interval, what reserve needs: power up and down (kW), energy and room (kWh)."""
    is_up = np.array([one.direction == "up" for one in products], dtype=np.bool_)
    hours = np.array([one.duration_h for one in products], dtype=np.float64)
    up, down = reserve_kw[:, is_up], reserve_kw[:, ~is_up]
    need: Floats = up @ hours[is_up] / storage.discharge_efficiency_frac
    room: Floats = down @ hours[~is_up] * storage.charge_efficiency_frac
    return up.sum(axis=1), down.sum(axis=1), need, room


def whole_lots(storage: Storage, plan: CoPlan, *, steps: int, lot_kw: float, least_kw: float) -> Floats:
    """Return the plan's net load of the first T hours in whole lots, its path within what the plan keeps to where it can.

    Args:
        storage: The storage.
        plan: The plan.
        steps: T.
        lot_kw: Every net load is a whole multiple.
        least_kw: The smallest that is traded.
    """
    limits, energy_kwh = plan.limits, storage.initial_energy_kwh
    slack_kwh = _SLACK_FRAC * storage.energy_capacity_kwh
    idle_kw = _IDLE_FRAC * max(storage.charge_limit_kw, storage.discharge_limit_kw)
    found = np.zeros(steps)
    for t in range(steps):
        planned_kw = float(plan.energy.charge_kw[t] - plan.energy.discharge_kw[t])
        wanted_kw = float(
            net_load(storage, np.array([plan.energy.energy_kwh[t + 1] - energy_kwh]), HOUR_H)[0]
        )
        near = {
            floor(wanted_kw / lot_kw + _LOT_SLACK) * lot_kw,
            ceil(wanted_kw / lot_kw - _LOT_SLACK) * lot_kw,
        }
        order = sorted({*near, 0.0}, key=lambda kw, wanted=wanted_kw: (abs(kw - wanted), kw))  # type: ignore[misc]
        if abs(planned_kw) <= idle_kw:
            order.remove(0.0)
            order.insert(0, 0.0)
        held, possible = None, 0.0
        for kw in order:
            after_kwh = energy_kwh + stored_by(storage, kw)
            can = -storage.discharge_limit_kw - idle_kw <= kw <= storage.charge_limit_kw + idle_kw
            can &= -slack_kwh <= after_kwh <= storage.energy_capacity_kwh + slack_kwh
            if not can or 0.0 < abs(kw) < least_kw - idle_kw:
                continue
            possible = possible or kw
            within = limits.floor_kwh[t + 1] - slack_kwh <= after_kwh <= limits.ceiling_kwh[t + 1] + slack_kwh
            if within and limits.least_kw[t] - idle_kw <= kw <= limits.most_kw[t] + idle_kw:
                held = kw
                break
        found[t] = possible if held is None else held
        energy_kwh = min(max(energy_kwh + stored_by(storage, found[t]), 0.0), storage.energy_capacity_kwh)
    return found


def stored_by(storage: Storage, net_kw: float) -> float:
    """Return by how much an hour of a net load changes what is stored, in kWh."""
    if net_kw > 0:
        return net_kw * HOUR_H * storage.charge_efficiency_frac
    return net_kw * HOUR_H / storage.discharge_efficiency_frac


def may_fail(
    change_kwh: Floats, preference: Floats, *, initial_kwh: float, limits: Limits
) -> NDArray[np.bool_]:
    """Return which orders may fail to clear, in any combination, with the stored energy within its limits.

    Args:
        change_kwh: What each order changes when it clears, shape (T,).
        preference: What is gained by letting it fail; those below zero never may.
        initial_kwh: Stored energy at the start.
        limits: Floors and ceilings at the boundaries.
    """
    steps = len(change_kwh)
    lowest = initial_kwh + np.cumsum(change_kwh)
    highest = lowest.copy()
    floor_kwh, ceiling_kwh = limits.floor_kwh[1 : steps + 1], limits.ceiling_kwh[1 : steps + 1]
    found = np.zeros(steps, dtype=np.bool_)
    for row in np.argsort(-preference, kind="stable").tolist():
        lost = float(change_kwh[row])
        if preference[row] < 0.0 or lost == 0.0:
            continue
        if lost > 0.0:
            found[row] = bool((lowest[row:] - lost >= floor_kwh[row:]).all())
            lowest[row:] -= lost * found[row]
        else:
            found[row] = bool((highest[row:] - lost <= ceiling_kwh[row:]).all())
            highest[row:] -= lost * found[row]
    return found


def backed(
    reserve_kw: Floats,
    products: tuple[ReserveProduct, ...],
    storage: Storage,
    *,
    net_kw: Floats,
    removable: NDArray[np.bool_],
    lot_kw: float,
) -> Floats:
    """Return the reserve in whole lots that is backed whatever clears of energy and of reserve.

    Where there is too little, all products of a direction give way in the same proportion.

    Args:
        reserve_kw: What is wanted, T x P.
        products: The products.
        storage: The storage at the start.
        net_kw: Net load of each interval if its order clears, shape (T,).
        removable: Whether the order may fail to clear, shape (T,).
        lot_kw: Every quantity is a whole multiple.
    """
    change = np.array([stored_by(storage, kw) for kw in net_kw.tolist()])
    lost = np.where(removable, change, 0.0)
    path = storage.initial_energy_kwh + np.append(0.0, np.cumsum(change))
    lowest = path - np.append(0.0, np.cumsum(np.maximum(lost, 0.0)))
    highest = path - np.append(0.0, np.cumsum(np.minimum(lost, 0.0)))
    least_kw = np.where(removable, np.minimum(net_kw, 0.0), net_kw)
    most_kw = np.where(removable, np.maximum(net_kw, 0.0), net_kw)
    up_kw, down_kw, need_kwh, room_kwh = demands(reserve_kw, products, storage)
    capacity = storage.energy_capacity_kwh
    share_up = np.minimum(
        _share(np.minimum(lowest[:-1], lowest[1:]), need_kwh),
        _share(storage.discharge_limit_kw + least_kw, up_kw),
    )
    share_down = np.minimum(
        _share(capacity - np.maximum(highest[:-1], highest[1:]), room_kwh),
        _share(storage.charge_limit_kw - most_kw, down_kw),
    )
    is_up = np.array([one.direction == "up" for one in products], dtype=np.bool_)
    shares = np.where(is_up[None, :], share_up[:, None], share_down[:, None])
    lots: Floats = np.floor(reserve_kw * shares / lot_kw + _LOT_SLACK) * lot_kw
    return lots


def _share(there: Floats, wanted: Floats) -> Floats:
    """Return which share of what is wanted there is, in [0, 1]."""
    share = np.divide(np.maximum(there, 0.0), wanted, out=np.ones_like(wanted), where=wanted > 0.0)
    return np.asarray(np.minimum(share, 1.0))


def _both_ends(interval_kwh: Floats) -> tuple[float, ...]:
    """Return what holds at the boundaries of what must hold at both ends of each interval."""
    return tuple(np.maximum(np.append(interval_kwh, 0.0), np.append(0.0, interval_kwh)).tolist())


def _kept(awarded: Backing, storage: Storage) -> list[Wish]:
    capacity = storage.energy_capacity_kwh
    return [
        Wish(
            name="energy behind awarded reserve",
            kind="energy_floor",
            values=tuple(awarded.floor_kwh.tolist()),
        ),
        Wish(
            name="room for awarded reserve",
            kind="energy_ceiling",
            values=tuple((capacity - awarded.room_kwh).tolist()),
        ),
        Wish(
            name="power for awarded reserve upwards",
            kind="power_floor",
            values=tuple((awarded.up_kw - storage.discharge_limit_kw).tolist()),
        ),
        Wish(
            name="power for awarded reserve downwards",
            kind="power_ceiling",
            values=tuple((storage.charge_limit_kw - awarded.down_kw).tolist()),
        ),
    ]
