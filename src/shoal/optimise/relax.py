"""Never an empty plan: wishes have an order, and where they cannot all hold, the least important gives way, least.

Wishes are taken from the most important to the least; each is granted as far as the storage and the wishes before it
allow. That is the lexicographic optimum: no wish could be granted more without taking from a more important one. For
bounds of energy and of power it is exact, because what one storage can reach is an interval at every boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number
from shoal.optimise.relax_limits import (
    LimitedPlan,
    Limits,
    can_be_held,
    energy_change,
    knows_all,
    least_discharge_kwh,
    net_load,
    physical_limits,
    plan_within,
    reachable_energy,
)
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
WishKind: TypeAlias = Literal[
    "energy_floor", "energy_ceiling", "power_exactly", "power_floor", "power_ceiling", "discharge_budget"
]
# Less than this share of the capacity, or of the power, is rounding, not a wish given up.
_TELL_FRAC = 1e-8
# A bound that misses by less than this share holds: solvers bear with more.
_ROUNDING_FRAC = 1e-12
_HALVINGS = 60
_LET_OUT_FRACS = (1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10)
_UNITS = {"energy_floor": "kWh", "energy_ceiling": "kWh", "discharge_budget": "kWh"}
_SAYS = {
    "energy_floor": "at least {:.6g} kWh stored",
    "energy_ceiling": "at most {:.6g} kWh stored",
    "power_exactly": "a net load of {:.6g} kW",
    "power_floor": "a net load of at least {:.6g} kW",
    "power_ceiling": "a net load of at most {:.6g} kW",
    "discharge_budget": "at most {:.6g} kWh discharged",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Something that is asked of a plan.

    Attributes:
        name: Who or what asks: ``ready by seven``, ``reserve up``; unique among the wishes of a plan.
        kind: What is bounded: stored energy at boundaries (kWh), net load in intervals (kW, charging positive), or all
            that is discharged at the terminals (kWh; a cycle budget).
        values: The bound at each row from `start_row` on; one for a budget.
        start_row: The first boundary (0 is the start of the first interval) or interval; 0 for a budget.
    """

    name: str
    kind: WishKind
    values: tuple[float, ...]
    start_row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """A wish that could not be granted in full, at one boundary or interval.

    Attributes:
        name: The wish.
        kind: What it bounds.
        row: The boundary or interval; 0 for a budget.
        asked: What was asked for, in the unit of the kind.
        granted: What is held instead.
        because: The more important wish that stands against it; empty when the storage itself does.
        sentence: The same in English.
    """

    name: str
    kind: WishKind
    row: int
    asked: float
    granted: float
    because: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What wishes came to: limits that can be held, and what had to give way."""

    limits: Limits
    relaxations: tuple[Relaxation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedPlan:
    """The best plan within what wishes came to."""

    plan: LimitedPlan
    agreement: Agreement


def keep_energy(name: str, boundary_rows: tuple[int, int], energy_kwh: float) -> Wish:
    """Return the wish that at least so much is stored from a boundary up to, not including, another.

    A target is one boundary; what backs a reserve held in intervals ``[a, b)`` is the boundaries ``[a, b + 1)``.
    """
    first, stop = boundary_rows
    return Wish(name=name, kind="energy_floor", values=(energy_kwh,) * (stop - first), start_row=first)


def leave_room(name: str, boundary_rows: tuple[int, int], energy_kwh: float) -> Wish:
    """Return the wish that at most so much is stored from a boundary up to, not including, another."""
    first, stop = boundary_rows
    return Wish(name=name, kind="energy_ceiling", values=(energy_kwh,) * (stop - first), start_row=first)


def commit_power(name: str, start_row: int, power_kw: Sequence[float]) -> Wish:
    """Return the wish that the net load (charging positive) is exactly this in the intervals from `start_row` on."""
    return Wish(name=name, kind="power_exactly", values=tuple(power_kw), start_row=start_row)


def cap_discharge(name: str, energy_kwh: float) -> Wish:
    """Return the wish that no more than this is delivered over the whole plan: a budget of cycles."""
    return Wish(name=name, kind="discharge_budget", values=(energy_kwh,))


def agree(
    storage: Storage,
    interval_h: float,
    wishes: Sequence[Wish],
    *,
    physical: Limits,
) -> Agreement:
    """Return limits that can be held, granting wishes in their order, the most important first.

    Within a wish, what is nearer in time is granted first. A wish of several rows that cannot be granted in full is
    granted at each row as far as possible.

    Args:
        storage: The storage, with its stored energy at the start.
        interval_h: Length of every interval, in hours.
        wishes: The wishes, the most important first.
        physical: What the storage itself can do (`shoal.optimise.relax_limits.physical_limits`).

    Raises:
        InvalidInputError: A wish is malformed, or two have the same name.
    """
    knows_all(storage)
    _check(wishes, physical.steps)
    number("interval_h", interval_h, above=0.0)
    agreed, before = physical, [physical]
    given_way: list[Relaxation] = []
    for wish in wishes:
        for offset, asked in enumerate(wish.values):
            row = wish.start_row + offset
            granted = _granted(storage, interval_h, agreed, wish.kind, row, asked)
            agreed = _tightened(agreed, wish, row, granted)
            if _shortfall(wish.kind, asked, granted) > _TELL_FRAC * _size(storage, wish.kind):
                because = _who(storage, interval_h, before, wishes, wish, row, asked)
                given_way.append(_relaxation(wish, row, asked, granted, because))
        before.append(agreed)
    return Agreement(limits=agreed, relaxations=tuple(given_way))


def plan_agreed(
    storage: Storage,
    price_per_mwh: Floats,
    interval_h: float,
    wishes: Sequence[Wish],
    *,
    charge_limit_kw: Floats | None = None,
    discharge_limit_kw: Floats | None = None,
) -> AgreedPlan:
    """Return the best plan that grants the wishes, in their order, as far as they can be granted: there always is one.

    Args:
        storage: The storage, with its stored energy at the start.
        price_per_mwh: Price of energy at the terminals in each interval, shape (T,).
        interval_h: Length of every interval, in hours.
        wishes: The wishes, the most important first.
        charge_limit_kw: A limit for each interval; the lower of it and the storage's own holds.
        discharge_limit_kw: Likewise for discharging.

    Raises:
        InvalidInputError: An input is malformed; wishes that contradict each other are not an error.
    """
    price = column("price_per_mwh", price_per_mwh)
    physical = physical_limits(
        storage, price.size, charge_limit_kw=charge_limit_kw, discharge_limit_kw=discharge_limit_kw
    )
    agreement = agree(storage, interval_h, wishes, physical=physical)
    plan = plan_within(storage, price, interval_h, agreement.limits)
    return AgreedPlan(plan=plan, agreement=agreement)


def _granted(
    storage: Storage, interval_h: float, agreed: Limits, kind: WishKind, row: int, asked: float
) -> float:
    """Return what can be granted of one bound, the nearest to what is asked."""
    if kind == "discharge_budget":
        least = least_discharge_kwh(storage, interval_h, agreed)
        assert least is not None, "what was agreed so far can be held"
        return max(asked, least)
    low, high = _achievable(storage, interval_h, agreed, kind, row)
    nearest = _nearest(kind, asked, low, high)
    if abs(nearest - asked) <= _ROUNDING_FRAC * _size(storage, kind):
        nearest = asked
    if not np.isfinite(agreed.budget_kwh):
        return _held_to_rounding(storage, interval_h, agreed, kind, row, nearest)
    name = Wish(name="", kind=kind, values=())
    if can_be_held(storage, interval_h, _tightened(agreed, name, row, nearest), slack_frac=_ROUNDING_FRAC):
        return nearest
    # With a budget what can be reached is still convex: halve between a plan that keeps it and what is asked.
    held = _held(storage, interval_h, agreed, kind, row)
    refused = nearest
    for _ in range(_HALVINGS):
        middle = 0.5 * (held + refused)
        if can_be_held(storage, interval_h, _tightened(agreed, name, row, middle), slack_frac=_ROUNDING_FRAC):
            held = middle
        else:
            refused = middle
    return held


def _held_to_rounding(
    storage: Storage, interval_h: float, agreed: Limits, kind: WishKind, row: int, bound: float
) -> float:
    """Return a bound at the edge of what can be achieved, let out by as little as makes it hold after rounding."""
    wish = Wish(name="", kind=kind, values=())
    signs = (-1.0,) if kind.endswith("floor") else (1.0,) if kind.endswith("ceiling") else (-1.0, 1.0)
    for frac in (0.0, *_LET_OUT_FRACS):
        for sign in signs:
            out = bound + sign * frac * _size(storage, kind)
            if reachable_energy(storage, interval_h, _tightened(agreed, wish, row, out)) is not None:
                return out
    return _held(storage, interval_h, agreed, kind, row)


def _size(storage: Storage, kind: WishKind) -> float:
    """Return the size of the storage in the unit of a wish."""
    if kind.startswith("power"):
        return max(storage.charge_limit_kw, storage.discharge_limit_kw)
    return storage.energy_capacity_kwh


def _nearest(kind: WishKind, asked: float, low: float, high: float) -> float:
    if kind.endswith("floor"):
        return min(asked, high)
    if kind.endswith("ceiling"):
        return max(asked, low)
    return min(max(asked, low), high)


def _achievable(
    storage: Storage, interval_h: float, agreed: Limits, kind: WishKind, row: int
) -> tuple[float, float]:
    """Return the least and the most that plans within the limits (the budget aside) have of one quantity."""
    reach = reachable_energy(storage, interval_h, agreed)
    assert reach is not None, "what was agreed so far can be held"
    low, high = reach
    if kind.startswith("energy"):
        return float(low[row]), float(high[row])
    bounds = np.array([agreed.least_kw[row], agreed.most_kw[row]])
    least, most = energy_change(storage, bounds, interval_h)
    ends = np.array([max(least, low[row + 1] - high[row]), min(most, high[row + 1] - low[row])])
    lowest, highest = net_load(storage, ends, interval_h)
    # Rounding must not turn a bound that just holds into one that contradicts another.
    lowest, highest = np.clip((lowest, highest), bounds[0], bounds[1])
    return float(lowest), float(max(lowest, highest))


def _held(storage: Storage, interval_h: float, agreed: Limits, kind: WishKind, row: int) -> float:
    """Return what the plan that discharges least has of one quantity: it is within the budget."""
    plan = plan_within(
        replace(storage, throughput_cost_per_mwh=1.0, terminal_value_per_mwh=0.0),
        np.zeros(agreed.steps),
        interval_h,
        replace(agreed, budget_kwh=np.inf),
    )
    if kind.startswith("energy"):
        return float(plan.energy_kwh[row])
    return float(plan.charge_kw[row] - plan.discharge_kw[row])


def _tightened(limits: Limits, wish: Wish, row: int, bound: float) -> Limits:
    """Return the limits with one bound more, under the wish's name where it is the tighter."""
    name = wish.name
    if wish.kind == "discharge_budget":
        if bound >= limits.budget_kwh:
            return limits
        return replace(limits, budget_kwh=bound, budget_name=name)
    if wish.kind == "energy_floor":
        values, names = _raised(limits.floor_kwh, limits.floor_names, row, bound, name)
        return replace(limits, floor_kwh=values, floor_names=names)
    if wish.kind == "energy_ceiling":
        values, names = _lowered(limits.ceiling_kwh, limits.ceiling_names, row, bound, name)
        return replace(limits, ceiling_kwh=values, ceiling_names=names)
    if wish.kind != "power_ceiling":
        values, names = _raised(limits.least_kw, limits.least_names, row, bound, name)
        limits = replace(limits, least_kw=values, least_names=names)
    if wish.kind != "power_floor":
        values, names = _lowered(limits.most_kw, limits.most_names, row, bound, name)
        limits = replace(limits, most_kw=values, most_names=names)
    return limits


def _raised(
    values: Floats, names: tuple[str, ...], row: int, bound: float, name: str
) -> tuple[Floats, tuple[str, ...]]:
    if bound <= values[row]:
        return values, names
    raised = values.copy()
    raised[row] = bound
    return raised, (*names[:row], name, *names[row + 1 :])


def _lowered(
    values: Floats, names: tuple[str, ...], row: int, bound: float, name: str
) -> tuple[Floats, tuple[str, ...]]:
    lowered, named = _raised(-values, names, row, -bound, name)
    return -lowered, named


def _shortfall(kind: WishKind, asked: float, granted: float) -> float:
    if kind.endswith("floor"):
        return asked - granted
    return granted - asked if kind != "power_exactly" else abs(granted - asked)


def _who(
    storage: Storage,
    interval_h: float,
    before: Sequence[Limits],
    wishes: Sequence[Wish],
    wish: Wish,
    row: int,
    asked: float,
) -> str:
    """Return the first wish after which the bound could no longer be held; none when it never could."""
    for place, limits in enumerate(before):
        granted = _granted(storage, interval_h, limits, wish.kind, row, asked)
        if _shortfall(wish.kind, asked, granted) > _TELL_FRAC * _size(storage, wish.kind):
            return wishes[place - 1].name if place else ""
    # Its own earlier rows have used up what there was.
    return wish.name


def _relaxation(wish: Wish, row: int, asked: float, granted: float, because: str) -> Relaxation:
    if wish.kind == "discharge_budget":
        where = ""
    elif wish.kind.startswith("energy"):
        where = f" at boundary {row}"
    else:
        where = f" in interval {row}"
    reason = {"": "the storage cannot do more", wish.name: "its earlier part has used up what there was"}.get(
        because, f"'{because}' comes first"
    )
    says = _SAYS[wish.kind]
    unit = _UNITS.get(wish.kind, "kW")
    sentence = (
        f"'{wish.name}' asked for {says.format(asked)}{where} and gets {granted:.6g} {unit} "
        f"({abs(granted - asked):.4g} {unit} given up): {reason}."
    )
    return Relaxation(
        name=wish.name,
        kind=wish.kind,
        row=row,
        asked=asked,
        granted=granted,
        because=because,
        sentence=sentence,
    )


def _check(wishes: Sequence[Wish], steps: int) -> None:
    seen: set[str] = set()
    for wish in wishes:
        field = f"wish {wish.name!r}"
        if not wish.name or wish.name in seen:
            raise InvalidInputError(field="name", value=wish.name, fix="give each wish a name of its own")
        seen.add(wish.name)
        if wish.kind not in _SAYS:
            raise InvalidInputError(field=field, value=wish.kind, fix=f"choose one of {', '.join(_SAYS)}")
        for bound in wish.values:
            number(field, bound)
        rows = 1 if wish.kind == "discharge_budget" else steps + wish.kind.startswith("energy")
        if not wish.values or wish.start_row < 0 or wish.start_row + len(wish.values) > rows:
            value = f"rows {wish.start_row} to {wish.start_row + len(wish.values)}"
            raise InvalidInputError(
                field=field, value=value, fix=f"stay within 0 to {rows}, at least one row"
            )
