"""What a decision planned, interval by interval: what is done, what binds, and at which price it would do otherwise.

Nothing is guessed. A decision keeps its thresholds, or keeps all prices that its optimum was made for; then the optimum is
solved again, exactly, and has to come out as it was kept. Bands say themselves from which prices on they are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.decision import PlannedIntervals
from shoal.bidding.cycle.known import Situation
from shoal.bidding.cycle.projection import budgets_of, projected
from shoal.bidding.cycle.reserves_backing import held_back
from shoal.bidding.desk_views import Told
from shoal.bidding.offer import plan_in_budgets
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.market.bids import BandOffer
from shoal.market.registry import market_module
from shoal.optimise.reasons import explain_plan, finite, said_of
from shoal.optimise.relax_limits import knows_all
from shoal.optimise.storage import Storage, StoragePlan, plan_storage
from shoal.optimise.storage_limits import ThroughputBudget

Action: TypeAlias = Literal["charge", "discharge", "rest"]
Basis: TypeAlias = Literal["optimum", "decision", "offer", "none"]

_CLOSE_FRAC: Final = 1e-6
"""Of its limits, by which a plan that is solved again may differ from the one that was kept."""
_STILL_FRAC: Final = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One interval.

    Attributes:
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        action: What is done.
        power_kw: At the terminals, charging positive; None where the price decides.
        price_per_mwh: What is expected, None where nothing is.
        worth_per_mwh: Of a MWh more in store, None where nothing says it.
        charge_below_per_mwh: Below this price of the interval it would charge; None where no price makes it.
        discharge_above_per_mwh: Above this price it would discharge; None where no price makes it.
        binding: The limits that it is up against.
        by_hand: Whether a person decided it.
    """

    start_ns: int
    end_ns: int
    action: Action
    power_kw: float | None
    price_per_mwh: float | None
    worth_per_mwh: float | None = None
    charge_below_per_mwh: float | None = None
    discharge_above_per_mwh: float | None = None
    binding: tuple[str, ...] = ()
    by_hand: bool = False

    @property
    def flip(self) -> tuple[float, Action] | None:
        """The nearest price at which something else would be done, and what; None where none changes it."""
        below, above = self.charge_below_per_mwh, self.discharge_above_per_mwh
        if self.action == "charge":
            # beyond the edge of charging it rests, unless discharging pays from there on already
            return None if below is None else (below, "discharge" if above == below else "rest")
        if self.action == "discharge":
            return None if above is None else (above, "charge" if above == below else "rest")
        sides: list[tuple[float, Action]] = []
        if below is not None:
            sides.append((below, "charge"))
        if above is not None:
            sides.append((above, "discharge"))
        own = self.price_per_mwh
        if not sides or (own is None and len(sides) > 1):
            return sides[0] if sides else None
        return min(sides, key=lambda one: abs(one[0] - (own or 0.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTold:
    """What a decision planned.

    Attributes:
        rows: N intervals.
        energy_kwh: N + 1 stored energies; only the first where the price decides what is done.
        capacity_kwh: What the resource can hold.
        basis: What the thresholds rest on.
        why_none: Why there are none, empty when there are.
    """

    rows: tuple[PlanRow, ...]
    energy_kwh: tuple[float, ...]
    capacity_kwh: float
    basis: Basis
    why_none: str = ""


def plan_of(told: Told) -> PlanTold | None:
    """Return what a decision planned, None when it kept neither a plan nor bands.

    Raises:
        InvalidInputError: what was kept cannot be planned with.
    """
    plan = told.decision.plan
    if plan is None:
        return _of_bands(told)
    if not isinstance(plan.charge_below_per_mwh, msgspec.UnsetType):
        return _planned(told, plan, basis="decision")
    if isinstance(plan.after_per_mwh, msgspec.UnsetType):
        why = f"rung {told.record.rung} keeps no prices after its intervals, so what would change it is not known"
        return _planned(told, plan, basis="none", why=why)
    return _solved_again(told, plan, np.array((*plan.price_per_mwh, *plan.after_per_mwh)))


def _planned(told: Told, plan: PlannedIntervals, *, basis: Basis, why: str = "") -> PlanTold:
    count = len(plan.start_ns)
    below, above, binding = plan.charge_below_per_mwh, plan.discharge_above_per_mwh, plan.binding
    return PlanTold(
        rows=tuple(
            _row(
                told.about,
                plan,
                row,
                below=None if isinstance(below, msgspec.UnsetType) else below[row],
                above=None if isinstance(above, msgspec.UnsetType) else above[row],
                binding=() if isinstance(binding, msgspec.UnsetType) else binding[row],
            )
            for row in range(count)
        ),
        energy_kwh=plan.energy_kwh,
        capacity_kwh=told.about.storage.energy_capacity_kwh,
        basis=basis,
        why_none=why,
    )


def _row(
    about: Situation,
    plan: PlannedIntervals,
    row: int,
    *,
    below: float | None,
    above: float | None,
    binding: tuple[str, ...],
) -> PlanRow:
    start_ns, end_ns, power_kw = plan.start_ns[row], plan.end_ns[row], plan.power_kw[row]
    return PlanRow(
        start_ns=start_ns,
        end_ns=end_ns,
        action=_action(about.storage, power_kw),
        power_kw=power_kw,
        price_per_mwh=plan.price_per_mwh[row],
        worth_per_mwh=plan.value_per_mwh[row + 1] if np.isfinite(plan.value_per_mwh[row + 1]) else None,
        charge_below_per_mwh=below,
        discharge_above_per_mwh=above,
        binding=binding,
        by_hand=any(one.start_ns < end_ns and start_ns < one.end_ns for one in about.fixed),
    )


def _action(storage: Storage, power_kw: float) -> Action:
    still_kw = _STILL_FRAC * max(storage.charge_limit_kw, storage.discharge_limit_kw)
    return "charge" if power_kw > still_kw else "discharge" if power_kw < -still_kw else "rest"


def _solved_again(told: Told, plan: PlannedIntervals, price_per_mwh: NDArray[np.float64]) -> PlanTold:
    """Return the plan with the thresholds of its optimum, which is solved once more from what the decision was made from."""
    about = told.about
    storage = held_back(about, projected(about))
    first = Interval(start_ns=plan.start_ns[0], end_ns=plan.end_ns[0])
    budgets = budgets_of(about, first, len(price_per_mwh))
    hours = first.duration_h

    again = plan_in_budgets(storage, price_per_mwh, hours, budgets)
    rows = range(len(plan.start_ns))
    net_kw = (again.charge_kw - again.discharge_kw)[: len(rows)]
    close_kw = _CLOSE_FRAC * max(storage.charge_limit_kw, storage.discharge_limit_kw, 1e-9)
    if not np.allclose(net_kw, plan.power_kw, rtol=0.0, atol=close_kw):
        why = "solved again it comes out otherwise: it was made by another release"
        return _planned(told, plan, basis="none", why=why)
    if not _keeps(budgets, plan_storage(storage, price_per_mwh, hours), hours):
        why = "a day's budget of discharge is used up, which couples its intervals: no single price tells of one"
        return _planned(told, plan, basis="none", why=why)
    explained = explain_plan(
        storage,
        price_per_mwh,
        hours,
        again,
        rows=rows,
        solve=None if _is_plain(storage) else lambda price: plan_storage(storage, price, hours),
    )
    told_rows = []
    for one in explained:
        # at its edges an interval rests: beside a budget that is only known where the rest then keeps it, too
        sure = one.decision == "idle" or _keeps(
            budgets, _resting(storage, price_per_mwh, hours, one.row) if budgets else again, hours
        )
        told_rows.append(
            _row(
                about,
                plan,
                one.row,
                below=finite(one.charge_below_per_mwh) if sure else None,
                above=finite(one.discharge_above_per_mwh) if sure else None,
                binding=tuple(said_of(limit) for limit in one.bindings),
            )
        )
    return PlanTold(
        rows=tuple(told_rows),
        energy_kwh=plan.energy_kwh,
        capacity_kwh=storage.energy_capacity_kwh,
        basis="optimum",
    )


def _resting(storage: Storage, price_per_mwh: NDArray[np.float64], hours: float, row: int) -> StoragePlan:
    """Return the best plan that does nothing in one interval, budgets left aside."""
    free_kw = np.full(len(price_per_mwh), np.inf)
    free_kw[row] = 0.0
    return plan_storage(
        storage,
        price_per_mwh,
        hours,
        charge_limit_kw=np.minimum(free_kw, storage.charge_limit_kw),
        discharge_limit_kw=np.minimum(free_kw, storage.discharge_limit_kw),
    )


def _keeps(budgets: tuple[ThroughputBudget, ...], plan: StoragePlan, hours: float) -> bool:
    """Whether a plan leaves something of every budget."""
    spent_kwh = [float(plan.discharge_kw[one.first_row : one.last_row + 1].sum()) * hours for one in budgets]
    return all(
        kwh < one.discharge_kwh * (1.0 - _CLOSE_FRAC) for kwh, one in zip(spent_kwh, budgets, strict=True)
    )


def _is_plain(storage: Storage) -> bool:
    """Whether the slopes of the value of stored energy say all: no standing loss, no wear by depth."""
    try:
        knows_all(storage)
    except InvalidInputError:
        return False
    return True


def _of_bands(told: Told) -> PlanTold | None:
    """Return what bands of energy say: from which prices on they are taken."""
    market = market_module(told.record.market_id)
    sides: dict[str, BandOffer] = {
        one.side: one
        for one in told.decision.offers
        if isinstance(one, BandOffer) and market.product(one.product).kind == "energy"
    }
    spans = sorted({(one.start_ns, one.end_ns) for offer in sides.values() for one in offer.intervals})
    if not spans:
        return None
    about = told.about
    rows = [
        PlanRow(
            start_ns=start_ns,
            end_ns=end_ns,
            action="rest",
            power_kw=None,
            price_per_mwh=None,
            charge_below_per_mwh=_edge(sides.get("load"), start_ns, max),
            discharge_above_per_mwh=_edge(sides.get("gen"), start_ns, min),
        )
        for start_ns, end_ns in spans
    ]
    return PlanTold(
        rows=tuple(rows),
        energy_kwh=(projected(about).initial_energy_kwh,),
        capacity_kwh=about.storage.energy_capacity_kwh,
        basis="offer",
    )


def _edge(offer: BandOffer | None, start_ns: int, of: Callable[[Sequence[float]], float]) -> float | None:
    """Return the outermost price of the bands that hold something in an interval."""
    prices = [
        price
        for one in (() if offer is None else offer.intervals)
        if one.start_ns == start_ns and one.max_avail_mw > 0.0
        for price, mw in zip(offer.band_price_per_mwh if offer else (), one.band_avail_mw, strict=True)
        if mw > 0.0
    ]
    return of(prices) if prices else None
