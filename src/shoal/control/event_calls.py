"""Calls of events between a person and the controller: as an order is kept, and as the event is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from shoal.control.asking import check_asked
from shoal.control.emergency import EventPolicy
from shoal.control.emergency_plan import EventCall, GroupTarget
from shoal.control.peak import PEAK_POLICY
from shoal.control.peak import PROGRAM as PEAK
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, ResourceId
from shoal.domain.interval import NS_PER_MINUTE, Interval
from shoal.programs.program import ProgramBook
from shoal.settle.baseline_rules import baseline_rule
from shoal.store.ledger import Ledger
from shoal.store.order_records import AuditEntry, CallSpec, GroupCall, Order, Scope

BATTERY: Final = "battery"
"""Delivery is measured at the battery's own meter; everything else names a baseline."""
STATE: Final = "@events"
"""Under this name the ledger keeps what storms and events remember."""
POLICIES: Final[Mapping[str, EventPolicy]] = {PEAK: PEAK_POLICY}
"""How events of a program are run; others as `EventPolicy` by itself."""
STEP_NS: Final = 15 * NS_PER_MINUTE
"""Events begin and end where metering intervals do."""


def make_call(
    *,
    event_id: str,
    program: str,
    targets: Iterable[tuple[str, float]],
    window: Interval,
    by: str,
    now_ns: int,
    reason: str = "",
    feeds_in: bool = True,
    measure: str = BATTERY,
    price_per_mwh: float = 0.0,
    owner_share_permille: int = 800,
    currency: str = "USD",
) -> Order:
    """Return a call as it is kept.

    Args:
        event_id: Its name.
        program: For whom.
        targets: Groups, and the kW that each is to deliver throughout.
        window: When.
        by: Who calls.
        now_ns: The present instant; notice is given now.
        reason: Why.
        feeds_in: Whether homes may feed into the grid; else they take off their own load and no more.
        measure: How delivery is measured.
        price_per_mwh: What a delivered MWh is paid.
        owner_share_permille: The owners' part of it.
        currency: Of the price.

    Raises:
        InvalidInputError: when a target is no power, or the measure is not known.
    """
    groups = group_calls(targets)
    if measure != BATTERY:
        baseline_rule(measure)
    return Order(
        order_id=event_id,
        program=program,
        scope=Scope(groups=tuple(one.group for one in groups)),
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        spec=CallSpec(
            targets=groups,
            called_ns=now_ns,
            feeds_in=feeds_in,
            measure=measure,
            price_cents_per_mwh=round(price_per_mwh * 100),
            owner_share_permille=owner_share_permille,
            currency=currency,
        ),
        by=by,
        at_ns=now_ns,
        reason=reason,
    )


def group_calls(targets: Iterable[tuple[str, float]]) -> tuple[GroupCall, ...]:
    """Return what groups are to deliver, from names and kW.

    Raises:
        InvalidInputError: when one is no power.
    """
    groups = []
    for group, power_kw in targets:
        if not 0 < power_kw < 1e9:
            raise InvalidInputError(field="target", value=power_kw, fix="give kilowatts above 0")
        groups.append(GroupCall(group=group, target_w=round(power_kw * 1e3)))
    return tuple(groups)


def check_call(order: Order, fleet: Fleet, book: ProgramBook, *, now_ns: int) -> None:
    """Refuse a call that this plant cannot carry out.

    Raises:
        InvalidInputError: naming the field that is wrong.
        UnknownIdError: when it names a group that does not exist.
    """
    check_asked(order, fleet, book, now_ns=now_ns)
    spec = order.spec
    if not isinstance(spec, CallSpec):
        raise InvalidInputError(field="spec", value=type(spec).__name__, fix="this is no call of an event")
    if book.program(order.program).kind != "power":
        raise InvalidInputError(
            field="program", value=order.program, fix="events are of programs that ask for power"
        )
    if order.start_ns % STEP_NS or order.end_ns % STEP_NS:
        raise InvalidInputError(
            field="window", value=(order.start_ns, order.end_ns), fix="begin and end at quarters of an hour"
        )
    notice_s = book.program(order.program).minimum_notice_s
    if spec.called_ns > book.program(order.program).latest_notice_ns(order.start_ns):
        raise InvalidInputError(
            field="start",
            value=order.start_ns,
            fix=f"{order.program} promises {notice_s / 60:g} minutes of notice",
        )
    call_of(order, fleet)


def call_of(order: Order, fleet: Fleet) -> EventCall:
    """Return a call as the event is run: groups as they are now; a site that hangs below two counts in the first.

    Raises:
        InvalidInputError: when it begins before it is called.
    """
    spec = order.spec
    assert isinstance(spec, CallSpec)
    named: set[int] = set()
    groups = []
    for one in spec.targets:
        rows = (
            fleet.battery_rows_in(GroupId(one.group)).tolist()
            if GroupId(one.group) in fleet.group_number
            else []
        )
        own = tuple(row for row in sorted(rows) if row not in named)
        named.update(own)
        groups.append(GroupTarget(group_id=one.group, target_w=one.target_w, rows=own))
    return EventCall(
        event_id=order.order_id,
        program=order.program,
        called_ns=spec.called_ns,
        window=Interval(start_ns=order.start_ns, end_ns=order.end_ns),
        groups=tuple(groups),
    )


def left_of(lines: Iterable[AuditEntry]) -> dict[str, int]:
    """Return who has left an event and when, from its lines in the audit in any order."""
    left: dict[str, int] = {}
    for line in sorted(lines, key=lambda one: one.number):
        if line.action == "leave":
            left.setdefault(line.detail, line.at_ns)
        elif line.action == "return":
            left.pop(line.detail, None)
    return left


def event_order(orders: Iterable[Order], event_id: str) -> Order:
    """Return a call by its name.

    Raises:
        UnknownIdError: when there is none.
    """
    for order in orders:
        if order.order_id == event_id and isinstance(order.spec, CallSpec):
            return order
    raise UnknownIdError("event", event_id)


def policy_of(program: str) -> EventPolicy:
    """Return how events of a program are run."""
    return POLICIES.get(program, EventPolicy())


def kept_of(ledger: Ledger, event_id: str) -> dict[str, Any]:
    """Return what the controller remembers of an event: its phase and what it expects; empty before it is taken up."""
    kept = ledger.load_state(ResourceId(STATE))
    if kept is None:
        return {}
    found: dict[str, Any] = msgspec.json.decode(kept.state)["events"].get(event_id, {})
    return found
