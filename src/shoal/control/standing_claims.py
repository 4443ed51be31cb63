"""What else is asked of the fleet while an order would run: who is busy with what goes first, and what would yield to it.

A site serves one dispatch at a time, as in `shoal.control.arbiter`: whoever goes first and names it has it. Everything that
overlaps the order's window counts as if it ran now, so that a look hours ahead does not find sites free that will be busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import MARKET
from shoal.control.dry_run import each_of
from shoal.control.event_calls import policy_of
from shoal.control.schedule import Enrolled, rows_of_order
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.programs.claims import Claim, PowerClaim
from shoal.programs.program import ProgramBook
from shoal.store.order_records import CallSpec, EventSpec, Order, SetPointSpec

AWARD: Final = "award:"
"""What claims of awards are named by, before the resource."""
Awarded: TypeAlias = Callable[[Resource, int], tuple[int, int, int] | None]
"""Returns (start_ns, end_ns, energy_wh) of the interval under way at an instant, or None."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Others:
    """What else is asked.

    Attributes:
        busy: Which sites something has that goes first (N).
        claims: What comes after the order and may lose by it.
    """

    busy: NDArray[np.bool_]
    claims: list[Claim]


def others_of(
    order: Order,
    standing: Sequence[Order],
    *,
    fleet: Fleet,
    book: ProgramBook,
    enrolled: Enrolled,
    kept_event: Callable[[str], dict[str, Any]],
    awarded: Awarded,
) -> Others:
    """Return what else is asked of the fleet while an order runs.

    Args:
        order: The order that is looked at.
        standing: Orders that stand.
        fleet: The fleet.
        book: The programs.
        enrolled: Who takes part in a program.
        kept_event: Returns what the controller remembers of a called event.
        awarded: What markets are owed.
    """
    busy = np.zeros(len(fleet.site_ids), dtype=np.bool_)
    claims: list[Claim] = []
    mine = _place(order, book)
    for one in standing:
        start_ns, end_ns = _span(one)
        apart = end_ns <= order.start_ns or order.end_ns <= start_ns
        if one.order_id == order.order_id or apart or one.program not in book.ids:
            continue
        if not isinstance(one.spec, EventSpec | SetPointSpec | CallSpec):
            continue
        rows = rows_of_order(one, fleet, enrolled)
        if _place(one, book) < mine:
            busy[rows] = True
            continue
        each_w = each_of(one, rows, fleet)
        if isinstance(one.spec, CallSpec):
            each_w = -told_w(kept_event(one.order_id), len(fleet.site_ids))[rows]
        if each_w.any() and book.program(one.program).kind in ("power", "local"):
            claims.append(
                PowerClaim(claim_id=f"order:{one.order_id}", program=one.program, rows=rows, each_w=each_w)
            )
    market = (book.position(MARKET) if MARKET in book.ids else len(book.ids), 1, 0, "")
    for resource in fleet.resources:
        found = awarded(resource, order.start_ns)
        if found is None or not found[2]:
            continue
        rows = fleet.battery_rows_in(resource.group_id)
        if market < mine:
            busy[rows] = True
            continue
        power_w = round(found[2] * NS_PER_HOUR / (found[1] - found[0]))
        claims.append(
            PowerClaim(claim_id=f"{AWARD}{resource.resource_id}", program=MARKET, rows=rows, power_w=power_w)
        )
    return Others(busy=busy, claims=claims)


def _span(order: Order) -> tuple[int, int]:
    """Return from when to when an order has its sites: a call from its notice on, until they are back to their own use."""
    if not isinstance(order.spec, CallSpec):
        return order.start_ns, order.end_ns
    policy = policy_of(order.program)
    return order.spec.called_ns, order.end_ns + int((policy.return_s + policy.prepare_s) * NS_PER_S)


def _place(order: Order, book: ProgramBook) -> tuple[int, int, int, str]:
    """Return what says who goes first: the program, then what devices run by themselves, then who began earlier."""
    rank = book.position(order.program) if order.program in book.ids else len(book.ids)
    return rank, 1 if isinstance(order.spec, SetPointSpec) else 0, order.start_ns, order.order_id


def told_w(kept: dict[str, Any], sites: int) -> NDArray[np.int64]:
    """Return what the controller asks of each of N sites for a called event now, discharging positive."""
    asked = np.zeros(sites, dtype=np.int64)
    said = np.array(kept.get("asked_w", ()), dtype=np.int64)[:sites]
    asked[: len(said)] = said
    return asked
