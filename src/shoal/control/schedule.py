"""From orders to documents: who is meant at this moment, and what each of them reads.

Groups and enrolment are looked up anew each time, so who joins late is told what is left and who leaves is told no more.
Nothing here remembers: the same orders, fleet and enrolment give the same entries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry, Item
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.orders import DroopArming, Envelope, ScheduledEvent
from shoal.domain.telemetry import DeviceType
from shoal.store.order_records import DroopSpec, EnvelopeSpec, EventSpec, Order, PriceSpec, Scope

AHEAD_NS: Final = 36 * NS_PER_HOUR
"""So long before it begins an order is in the documents: a device that is cut off for a day still runs it."""

Enrolled: TypeAlias = Callable[[str], NDArray[np.int64] | None]
"""The rows enrolled in a program now, ascending; None for one that asks for no enrolment."""


def everybody(_program: str) -> NDArray[np.int64] | None:
    """Ask for no enrolment, whatever the program."""
    return None


def rows_in_scope(scope: Scope, fleet: Fleet) -> NDArray[np.int64]:
    """Return the rows that a scope means now, ascending; a name that is gone means nobody."""
    if scope.fleet:
        return np.arange(len(fleet.site_ids), dtype=np.int64)
    inside = np.zeros(len(fleet.site_ids), dtype=np.bool_)
    for group in scope.groups:
        if GroupId(group) in fleet.group_number:
            inside[fleet.rows_in(GroupId(group))] = True
    for site in scope.sites:
        row = fleet.row_of.get(SiteId(site))
        if row is not None:
            inside[row] = True
    return np.flatnonzero(inside)


def check_known(scope: Scope, fleet: Fleet) -> None:
    """Raise when a scope names somebody who does not exist.

    Raises:
        UnknownIdError: naming the site or group.
    """
    for group in scope.groups:
        if GroupId(group) not in fleet.group_number:
            raise UnknownIdError("group", group)
    for site in scope.sites:
        if SiteId(site) not in fleet.row_of:
            raise UnknownIdError("site", site)


def rows_of_order(order: Order, fleet: Fleet, enrolled: Enrolled = everybody) -> NDArray[np.int64]:
    """Return the rows that an order means now, ascending: in its scope, enrolled, and with a battery where it asks for one."""
    rows = rows_in_scope(order.scope, fleet)
    if not isinstance(order.spec, EnvelopeSpec | PriceSpec):
        rows = rows[fleet.nameplate["energy_capacity_kwh"][rows] > 0]
    if isinstance(order.spec, EnvelopeSpec) and order.spec.chargers_only:
        rows = rows[fleet.device_type[rows] == DeviceType.EV_CHARGER]
    taking_part = enrolled(order.program)
    return rows if taking_part is None else np.intersect1d(rows, taking_part, assume_unique=True)


def entry_of(
    order: Order,
    fleet: Fleet,
    *,
    enrolled: Enrolled = everybody,
    only: Collection[str] | None = None,
) -> Entry | None:
    """Return what an order puts into documents, None for one that is followed by set-points.

    Args:
        order: The order.
        fleet: The fleet.
        enrolled: Who takes part in a program.
        only: Only these sites: those of a canary trial that is not over.
    """
    rows = rows_of_order(order, fleet, enrolled)
    own_w = None
    if isinstance(order.spec, EventSpec) and order.spec.group_w is not None:
        own_w = split_by_rating_w(order.spec.group_w, rows, fleet)
    if only is not None:
        named = {fleet.row_of[SiteId(site)] for site in only if SiteId(site) in fleet.row_of}
        inside = np.isin(rows, np.fromiter(named, dtype=np.int64))
        rows = rows[inside]
        own_w = None if own_w is None else own_w[inside]
    item = _item(order)
    if item is None:
        return None
    return Entry(key=order.order_id, item=item, end_ns=order.end_ns, rows=rows, battery_w=own_w)


def _item(order: Order) -> Item | None:
    spec = order.spec
    if isinstance(spec, PriceSpec):
        return spec.prices
    if isinstance(spec, EventSpec):
        return ScheduledEvent(
            event_id=order.order_id,
            program=order.program,
            kind=spec.kind,
            start_ns=order.start_ns,
            end_ns=order.end_ns,
            battery_w=spec.battery_w,
            soc_frac=spec.soc_frac,
            solar_only=spec.solar_only,
            ramp_s=spec.ramp_s,
            spread_s=spec.spread_s,
            may_opt_out=spec.may_opt_out,
        )
    if isinstance(spec, EnvelopeSpec):
        return Envelope(
            start_ns=order.start_ns,
            end_ns=order.end_ns,
            import_limit_w=spec.import_limit_w,
            export_limit_w=spec.export_limit_w,
        )
    if isinstance(spec, DroopSpec):
        return DroopArming(
            start_ns=order.start_ns,
            end_ns=order.end_ns,
            reference_hz=spec.reference_hz,
            deadband_hz=spec.deadband_hz,
            full_deviation_hz=spec.full_deviation_hz,
            up_w=spec.up_w,
            down_w=spec.down_w,
        )
    return None


def split_by_rating_w(total_w: int, rows: NDArray[np.int64], fleet: Fleet) -> NDArray[np.int64]:
    """Return whole watts of each row that add up to `total_w`, or to all that they are rated for, in its direction."""
    plate = fleet.nameplate[rows]
    name = "charge_limit_kw" if total_w >= 0 else "discharge_limit_kw"
    rated_w = np.floor(plate[name] * 1e3 + 1e-6).astype(np.int64)
    all_w = int(rated_w.sum())
    wanted_w = min(abs(total_w), all_w)
    if all_w == 0:
        return np.zeros(len(rows), dtype=np.int64)
    # the watts that rounding leaves go where it took most; a site at its rating has a whole number already
    shares = [wanted_w * rating for rating in rated_w.tolist()]
    whole_w = np.array([share // all_w for share in shares], dtype=np.int64)
    rest = np.array([share % all_w for share in shares], dtype=np.float64)
    whole_w[np.argsort(-rest, kind="stable")[: wanted_w - int(whole_w.sum())]] += 1
    return whole_w if total_w >= 0 else -whole_w


def changes(wanted: Mapping[str, Entry], held: Mapping[str, Entry]) -> tuple[list[Entry], list[str]]:
    """Return which entries to put and which to drop so that what is held becomes what is wanted."""
    put = [entry for key, entry in wanted.items() if key not in held or not _equal(entry, held[key])]
    return put, [key for key in held if key not in wanted]


def _equal(one: Entry, other: Entry) -> bool:
    if not (one.says_same(other) and np.array_equal(one.rows, other.rows)):
        return False
    return one.battery_w is None or other.battery_w is None or np.array_equal(one.battery_w, other.battery_w)
