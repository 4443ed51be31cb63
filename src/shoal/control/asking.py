"""Making orders from what a person says: names, units, who is meant, and how gently it begins. Shared by both doors."""

from __future__ import annotations

import hashlib
from typing import Final

from shoal.control.rebound import Gentle, gentle
from shoal.control.schedule import check_known, rows_of_order
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.programs.program import ProgramBook
from shoal.store.order_records import EventSpec, Order, Scope, SetPointSpec, StopKind
from shoal.store.orders import check_order, check_scope

LONGEST_NS: Final = 14 * 86_400 * NS_PER_S
"""No order lasts longer: what nobody renews ends."""


def named(kind: str, now_ns: int, *facts: object) -> str:
    """Return a name for an order or a stop, in the order of time; the same facts at the same instant give the same."""
    digest = hashlib.blake2b(repr((now_ns, facts)).encode(), digest_size=4).hexdigest()
    return f"{kind}-{now_ns // NS_PER_S:x}-{digest}"


def scope_of(*, sites: list[str] | None, groups: list[str] | None, fleet: bool) -> Scope:
    """Return who is meant.

    Raises:
        InvalidInputError: when nobody is named, or the fleet and others too.
    """
    scope = Scope(sites=tuple(sites or ()), groups=tuple(groups or ()), fleet=fleet)
    check_scope(scope)
    return scope


def power_w_of(*, charge_kw: float | None, discharge_kw: float | None) -> int:
    """Return a power in whole watts, charging positive, from what was said in one direction; 0 for neither.

    Raises:
        InvalidInputError: when both are given, or one is negative or no number.
    """
    if charge_kw is not None and discharge_kw is not None:
        raise InvalidInputError(
            field="power", value=(charge_kw, discharge_kw), fix="charge or discharge, not both"
        )
    said_kw = charge_kw if charge_kw is not None else discharge_kw or 0.0
    if not 0 <= said_kw < 1e9:
        raise InvalidInputError(
            field="power", value=said_kw, fix="give kilowatts from 0 on; the direction is its name"
        )
    return round(said_kw * 1e3) * (1 if charge_kw is not None else -1)


def target_of(scope: Scope) -> tuple[StopKind, str]:
    """Return what a kill switch names: one site, one group, or the fleet.

    Raises:
        InvalidInputError: when several are named.
    """
    if scope.fleet:
        return "fleet", ""
    if len(scope.sites) + len(scope.groups) != 1:
        raise InvalidInputError(
            field="scope", value=str(scope), fix="one kill switch stops one site, one group or the fleet"
        )
    return ("site", scope.sites[0]) if scope.sites else ("group", scope.groups[0])


def check_asked(order: Order, fleet: Fleet, book: ProgramBook, *, now_ns: int) -> None:
    """Refuse an order that this plant cannot carry out.

    Raises:
        InvalidInputError: naming the field that is wrong.
        UnknownIdError: when it names a site or group that does not exist.
    """
    check_order(order)
    book.position(order.program)
    if order.end_ns <= now_ns:
        raise InvalidInputError(field="end", value=order.end_ns, fix="it is over already")
    if order.end_ns - order.start_ns > LONGEST_NS:
        raise InvalidInputError(field="end", value=order.end_ns, fix="at most 14 days after the start")
    check_known(order.scope, fleet)
    rows = rows_of_order(order, fleet)
    if not len(rows):
        raise InvalidInputError(field="scope", value=str(order.scope), fix="nobody meant could do that")
    notice_ns = book.program(order.program).minimum_notice_s * NS_PER_S
    ahead_ns = order.start_ns - order.at_ns
    if isinstance(order.spec, EventSpec) and order.revision == 1 and ahead_ns < notice_ns:
        fix = f"{order.program} promises {notice_ns / NS_PER_S / 60:g} minutes of notice"
        raise InvalidInputError(field="start", value=order.start_ns, fix=fix)


def gently(order: Order, fleet: Fleet, *, limit_kw_per_min: float) -> Gentle:
    """Return how the sites of an order begin and end so that their sum stays below a slope.

    The largest step that they could make together is taken: from full power one way to what is asked, or back.

    Raises:
        InvalidInputError: when the limit is not positive.
    """
    rows = rows_of_order(order, fleet)
    plate = fleet.nameplate[rows]
    asked_kw = 0.0
    if isinstance(order.spec, EventSpec):
        asked_w = order.spec.battery_w * len(rows) if order.spec.group_w is None else order.spec.group_w
        asked_kw = asked_w / 1e3
    elif isinstance(order.spec, SetPointSpec):
        asked_kw = order.spec.power_w / 1e3
    other_kw = float(plate["charge_limit_kw" if asked_kw <= 0 else "discharge_limit_kw"].sum())
    return gentle(abs(asked_kw) + other_kw, limit_kw_per_min=limit_kw_per_min)
