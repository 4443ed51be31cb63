"""Why a plan does what it does: what binds, what a stored MWh is worth, and the price that would change its mind.

Hold one interval idle and ask what a stored kWh given to, or taken from, the rest of the plan would be worth: below the
first, charging pays, above the second, discharging does. Those are the two prices at which the best plan changes its
decision in that interval, all other prices held; they do not depend on the interval's own price.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number
from shoal.optimise._scenario_chain import injection_slopes
from shoal.optimise.relax_limits import (
    Limits,
    energy_change,
    knows_all,
    physical_limits,
    plan_within,
    reachable_energy,
)
from shoal.optimise.storage import KWH_PER_MWH, Storage, StoragePlan

Floats = NDArray[np.float64]
Decision: TypeAlias = Literal["charge", "idle", "discharge"]
BindingKind: TypeAlias = Literal[
    "full", "empty", "charge_limit", "discharge_limit", "energy_floor", "energy_ceiling", "power", "budget"
]
_CLOSE_FRAC = 1e-7
_HALVINGS = 60
# Beyond this many times the largest price (and this price) nobody asks what would flip a decision.
_FAR_TIMES = 10.0
_FAR_PER_MWH = 10_000.0


class Schedule(Protocol):
    """What is explained: a `StoragePlan`, a `LimitedPlan`, or anything else with these columns."""

    @property
    def charge_kw(self) -> Floats:
        """Mean power drawn in each interval, shape (T,)."""

    @property
    def discharge_kw(self) -> Floats:
        """Mean power delivered, shape (T,)."""

    @property
    def energy_kwh(self) -> Floats:
        """Stored energy at the boundaries, shape (T + 1,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A limit that an interval is up against.

    Attributes:
        kind: What it is; ``power`` is a bound of net load that somebody asked for.
        name: Who asked for it; empty for the storage itself.
    """

    kind: BindingKind
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why one interval of a plan is as it is.

    Attributes:
        row: The interval.
        decision: What is done.
        power_kw: Net load, charging positive.
        price_per_mwh: The interval's price.
        bindings: The limits that it is up against, at its end where they are of energy.
        charge_below_per_mwh: Below this price of the interval, at the terminals, the best plan charges in it; minus
            infinity when it never does.
        discharge_above_per_mwh: Above this price it discharges, wear paid; infinity when it never does.
        stored_value_per_mwh: What a MWh more in the store during the interval would be worth to the plan as it is,
            halfway between one more and one less; None when neither is possible.
        flip_per_mwh: The nearest price of the interval at which the decision changes; None when no price changes it.
        sentence: The same in English.
    """

    row: int
    decision: Decision
    power_kw: float
    price_per_mwh: float
    bindings: tuple[Binding, ...]
    charge_below_per_mwh: float
    discharge_above_per_mwh: float
    stored_value_per_mwh: float | None
    flip_per_mwh: float | None
    sentence: str


def explain_plan(
    storage: Storage,
    price_per_mwh: Floats,
    interval_h: float,
    plan: Schedule,
    *,
    limits: Limits | None = None,
    rows: Sequence[int] | None = None,
    solve: Callable[[Floats], Schedule] | None = None,
) -> tuple[Reason, ...]:
    """Return the reasons of a plan's intervals.

    The thresholds are exact by the slopes of the value of stored energy. Where that value is not concave (prices so
    negative that burning energy would pay) or a budget couples all intervals, they are found by solving again and
    halving: the plan's answer to a price only ever goes one way.

    Args:
        storage: The storage that the plan is of.
        price_per_mwh: The prices it was made for, shape (T,).
        interval_h: Length of every interval, in hours.
        plan: An optimal plan.
        limits: What it had to keep to; the storage's own limits when None.
        rows: Which intervals; all when None.
        solve: The solver that made the plan, from prices to a plan, where it knows more than `limits` say (standing
            loss, wear by depth, budgets by day): thresholds are then found by solving again with it.

    Raises:
        InvalidInputError: An input is malformed.
    """
    price = column("price_per_mwh", price_per_mwh)
    number("interval_h", interval_h, above=0.0)
    held = physical_limits(storage, price.size) if limits is None else limits
    for name, values, size in (
        ("charge_kw", plan.charge_kw, price.size),
        ("discharge_kw", plan.discharge_kw, price.size),
        ("energy_kwh", plan.energy_kwh, price.size + 1),
        ("limits", held.least_kw, price.size),
    ):
        column(name, values, length=size)
    wanted = range(price.size) if rows is None else rows
    if any(not 0 <= row < price.size for row in wanted):
        raise InvalidInputError(field="rows", value=list(wanted), fix=f"stay within 0 to {price.size - 1}")
    worth: list[float | None] = [None] * price.size
    if solve is None:
        knows_all(storage)
        worth = _stored_value(storage, price, interval_h, held, plan)
    elif isinstance(plan, StoragePlan):
        worth = [float(value) for value in plan.marginal_value_per_mwh[1:]]
    budgeted = np.isfinite(held.budget_kwh)
    spent = float(np.sum(plan.discharge_kw)) * interval_h
    tight = budgeted and spent >= held.budget_kwh - _CLOSE_FRAC * storage.energy_capacity_kwh
    reasons = []
    for row in wanted:
        again = _halved(storage, price, solve, row) if solve is not None else None
        thresholds = again or _thresholds(storage, price, interval_h, held, row)
        bindings = _bindings(storage, held, plan, row, tight=bool(tight))
        reasons.append(_reason(storage, price, plan, row, bindings, thresholds, worth[row]))
    return tuple(reasons)


def said_of(binding: Binding) -> str:
    """Return a limit in words."""
    return _SAYS[binding.kind].format(binding.name)


def finite(price_per_mwh: float) -> float | None:
    """Return a threshold, None where no price is one."""
    return price_per_mwh if np.isfinite(price_per_mwh) else None


def decision_of(storage: Storage, plan: Schedule, row: int) -> Decision:
    """Return what a plan does in an interval; less than a ten-millionth of the power is idle."""
    close_kw = _CLOSE_FRAC * max(storage.charge_limit_kw, storage.discharge_limit_kw)
    if plan.charge_kw[row] > close_kw:
        return "charge"
    return "discharge" if plan.discharge_kw[row] > close_kw else "idle"


def _thresholds(
    storage: Storage, price: Floats, interval_h: float, limits: Limits, row: int
) -> tuple[float, float]:
    """Return the price below which the interval charges, and the one above which it discharges."""
    close_kw = _CLOSE_FRAC * max(storage.charge_limit_kw, storage.discharge_limit_kw)
    if limits.least_kw[row] > close_kw:
        return np.inf, np.inf
    if limits.most_kw[row] < -close_kw:
        return -np.inf, -np.inf
    can_charge, can_discharge = limits.most_kw[row] > close_kw, limits.least_kw[row] < -close_kw
    least, most = limits.least_kw.copy(), limits.most_kw.copy()
    least[row], most[row] = 0.0, 0.0
    idle = replace(limits, least_kw=least, most_kw=most)
    if reachable_energy(storage, interval_h, idle) is None:
        return _forced(storage, interval_h, limits, row)

    def again(prices: Floats) -> Schedule:
        return plan_within(storage, prices, interval_h, limits)

    others = np.delete(price, row)
    gain, loss = storage.charge_efficiency_frac, storage.discharge_efficiency_frac
    wear = storage.throughput_cost_per_mwh
    # Below this price an interval would rather burn energy than idle: the value is not concave there.
    burning = -wear * loss / (1.0 / gain - loss) if gain * loss < 1.0 else -np.inf
    if np.isfinite(limits.budget_kwh) or (others < burning).any():
        return _halved(storage, price, again, row)
    plan = plan_within(storage, np.where(np.arange(price.size) == row, 0.0, price), interval_h, idle)
    more, less = _slopes(storage, price, interval_h, idle, plan.energy_kwh)
    below = float(more[row]) * KWH_PER_MWH * gain if can_charge else -np.inf
    above = float(less[row]) * KWH_PER_MWH / loss + wear if can_discharge else np.inf
    if min(below, above) < burning and can_charge and can_discharge:
        return _halved(storage, price, again, row)
    return below, above


def _forced(storage: Storage, interval_h: float, limits: Limits, row: int) -> tuple[float, float]:
    """Return the thresholds of an interval that cannot idle: it charges, or discharges, at any price."""
    most = limits.most_kw.copy()
    most[row] = min(most[row], 0.0)
    falling = replace(limits, most_kw=most)
    return (np.inf, np.inf) if reachable_energy(storage, interval_h, falling) is None else (-np.inf, -np.inf)


def _halved(
    storage: Storage, price: Floats, solve: Callable[[Floats], Schedule], row: int
) -> tuple[float, float]:
    """Return the thresholds by solving again; the net load never rises with the interval's own price."""
    far = _FAR_PER_MWH + _FAR_TIMES * float(np.abs(price).max())

    def decide(asked: float) -> Decision:
        tried = price.copy()
        tried[row] = asked
        return decision_of(storage, solve(tried), row)

    def last(wanted: tuple[Decision, ...]) -> float:
        """Return up to which price the decision is one of those wanted."""
        low, high = -far, far
        if decide(low) not in wanted:
            return -np.inf
        if decide(high) in wanted:
            return np.inf
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            if decide(middle) in wanted:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    return last(("charge",)), last(("charge", "idle"))


def _slopes(
    storage: Storage, price: Floats, interval_h: float, limits: Limits, path: Floats
) -> tuple[Floats, Floats]:
    """Return what a kWh given to and taken from the store in each interval is worth, in currency."""
    more, less = np.empty(price.size), np.empty(price.size)
    injection_slopes(
        price / (KWH_PER_MWH * storage.charge_efficiency_frac),
        (price - storage.throughput_cost_per_mwh) / KWH_PER_MWH * storage.discharge_efficiency_frac,
        energy_change(storage, limits.least_kw, interval_h),
        energy_change(storage, limits.most_kw, interval_h),
        limits.floor_kwh,
        limits.ceiling_kwh,
        storage.terminal_value_per_mwh / KWH_PER_MWH,
        np.ascontiguousarray(path, dtype=np.float64),
        more,
        less,
    )
    return more, less


def _stored_value(
    storage: Storage, price: Floats, interval_h: float, limits: Limits, plan: Schedule
) -> list[float | None]:
    more, less = _slopes(storage, price, interval_h, limits, plan.energy_kwh)
    values: list[float | None] = []
    for gain, loss in zip(more * KWH_PER_MWH, less * KWH_PER_MWH, strict=True):
        finite = [float(one) for one in (gain, loss) if np.isfinite(one)]
        values.append(sum(finite) / len(finite) if finite else None)
    return values


def _bindings(
    storage: Storage, limits: Limits, plan: Schedule, row: int, *, tight: bool
) -> tuple[Binding, ...]:
    found: list[Binding] = []
    close_kw = _CLOSE_FRAC * max(storage.charge_limit_kw, storage.discharge_limit_kw)
    close_kwh = _CLOSE_FRAC * storage.energy_capacity_kwh
    net_kw = float(plan.charge_kw[row] - plan.discharge_kw[row])
    if net_kw >= limits.most_kw[row] - close_kw:
        name = limits.most_names[row]
        found.append(Binding(kind="power" if name else "charge_limit", name=name))
    if net_kw <= limits.least_kw[row] + close_kw and (
        not found or limits.least_names[row] != limits.most_names[row]
    ):
        name = limits.least_names[row]
        found.append(Binding(kind="power" if name else "discharge_limit", name=name))
    energy_kwh = float(plan.energy_kwh[row + 1])
    if energy_kwh >= limits.ceiling_kwh[row + 1] - close_kwh:
        name = limits.ceiling_names[row + 1]
        found.append(Binding(kind="energy_ceiling" if name else "full", name=name))
    if energy_kwh <= limits.floor_kwh[row + 1] + close_kwh:
        name = limits.floor_names[row + 1]
        found.append(Binding(kind="energy_floor" if name else "empty", name=name))
    if tight:
        found.append(Binding(kind="budget", name=limits.budget_name))
    return tuple(found)


def _reason(
    storage: Storage,
    price: Floats,
    plan: Schedule,
    row: int,
    bindings: tuple[Binding, ...],
    thresholds: tuple[float, float],
    worth: float | None,
) -> Reason:
    below, above = thresholds
    own = float(price[row])
    decision = decision_of(storage, plan, row)
    flips = {"charge": (below,), "idle": (below, above), "discharge": (above,)}[decision]
    finite = [one for one in flips if np.isfinite(one)]
    flip = min(finite, key=lambda one: abs(one - own)) if finite else None
    power_kw = float(plan.charge_kw[row] - plan.discharge_kw[row])
    return Reason(
        row=row,
        decision=decision,
        power_kw=power_kw,
        price_per_mwh=own,
        bindings=bindings,
        charge_below_per_mwh=below,
        discharge_above_per_mwh=above,
        stored_value_per_mwh=worth,
        flip_per_mwh=flip,
        sentence=_sentence(decision, power_kw, own, bindings, below, above, flip),
    )


_SAYS: dict[BindingKind, str] = {
    "full": "full at the end",
    "empty": "empty at the end",
    "charge_limit": "at the charging limit",
    "discharge_limit": "at the discharging limit",
    "energy_floor": "down to what '{}' keeps",
    "energy_ceiling": "up to the room that '{}' leaves",
    "power": "at the power that '{}' asks for",
    "budget": "with the budget of '{}' used up",
}


def _sentence(
    decision: Decision,
    power_kw: float,
    price: float,
    bindings: tuple[Binding, ...],
    below: float,
    above: float,
    flip: float | None,
) -> str:
    does = {"charge": "Charges", "discharge": "Discharges"}.get(decision, "Idles")
    amount = "" if decision == "idle" else f" {abs(power_kw):.4g} kW"
    if decision == "idle":
        sides = [f"charging pays below {below:.2f}" if np.isfinite(below) else "charging is not possible"]
        sides.append(
            f"discharging above {above:.2f}" if np.isfinite(above) else "discharging is not possible"
        )
        because = ", ".join(sides)
    elif flip is None:
        because = "because its limits leave nothing else"
    else:
        edge = "below" if decision == "charge" else "above"
        because = f"because that pays {edge} {flip:.2f}"
    up_against = [said_of(one) for one in bindings]
    limited = f"; {' and '.join(up_against)}" if up_against else ""
    would = "no price would flip it" if flip is None else f"would flip at {flip:.2f}"
    return f"{does}{amount} at {price:.2f}: {because}{limited}; {would}."
