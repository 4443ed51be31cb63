"""What happened to one site: its orders, what its device refused, its owner's consents, and what it was paid. Blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.api.site.answers import SiteAsked, SiteEvent, SiteEvents, SiteHappened
from shoal.api.site.orders import SiteOrderBook
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.settle.statement import Statement, format_amount
from shoal.store.order_records import AuditEntry
from shoal.store.site_records import SiteRecords

PAST_NS: Final = 90 * 24 * NS_PER_HOUR
"""How far back orders are looked for."""
PAID_DAYS: Final = 31
"""Of so many settled days a resource's share is looked up."""
_DIGITS: Final = 8
_STATEMENT: Final = msgspec.json.Decoder(Statement)
_LINES: Final[dict[str, SiteHappened]] = {"leave": "left", "return": "returned", "report": "refused"}


def site_events(
    plant: Plant, records: SiteRecords, orders: SiteOrderBook, row: int, *, now_ns: int, limit: int
) -> SiteEvents:
    """Return what happened to a site until now, the newest first.

    Raises:
        UnavailableError: when the database cannot be reached.
    """
    site = plant.fleet.site_ids[row]
    asked = orders.between(row, now_ns - PAST_NS, now_ns + 1, now_ns=now_ns)
    found = [
        *_of_orders(asked, now_ns),
        *_of_lines(records.lines(site, [one.order_id for one in asked], limit + 1)),
        *_of_owner(plant, site),
        *_of_money(plant, records, site, row),
    ]
    past = [one for one in found if one.at_ms <= to_ms(now_ns)]
    past.sort(key=lambda one: (one.at_ms, one.what, one.subject), reverse=True)
    return SiteEvents(site_id=site, events=past[:limit], truncated=len(past) > limit)


def _event(at_ms: int, what: SiteHappened, subject: str, by: str, words: str = "") -> SiteEvent:
    return SiteEvent(at_ms=at_ms, what=what, subject=subject, by=by, words=words, amount=None, currency=None)


def _of_orders(asked: list[SiteAsked], now_ns: int) -> Iterator[SiteEvent]:
    for one in asked:
        yield _event(
            one.from_ms, "asked", one.order_id, one.by, one.reason if one.state == "standing" else ""
        )
        if one.state != "standing" or one.until_ms * MS_PER_NS <= now_ns:
            yield _event(
                one.until_ms, "ended", one.order_id, "" if one.state == "standing" else one.by, one.state
            )


def _of_lines(lines: list[AuditEntry]) -> Iterator[SiteEvent]:
    for line in lines:
        words = " ".join(part for part in (line.reason, line.detail) if part)
        what = _LINES.get(line.action, "noted")
        owner = what in ("left", "returned")
        said = line.action if what == "noted" and not words else words
        yield _event(to_ms(line.at_ns), what, line.subject, line.by, "" if owner else said)


def _of_owner(plant: Plant, site: SiteId) -> Iterator[SiteEvent]:
    for one in plant.programs.enrolments(site):
        yield _event(to_ms(one.start_ns), "joined", one.program, one.consented_by, one.terms)
        if one.withdrawn_ns is not None:
            yield _event(to_ms(one.withdrawn_ns), "withdrew", one.program, one.withdrawn_by)
    for left in plant.programs.opt_outs(site):
        yield _event(to_ms(left.said_ns), "opted_out", left.program, left.said_by)
    for promise in plant.programs.promises(site):
        yield _event(to_ms(promise.said_ns), "promised", promise.kind, promise.said_by, f"{promise.amount:g}")


def _of_money(plant: Plant, records: SiteRecords, site: SiteId, row: int) -> Iterator[SiteEvent]:
    for resource in plant.fleet.resources:
        if not is_below(plant.fleet, row, resource.group_id):
            continue
        kept = sorted(plant.ledger.statements(resource.resource_id), key=lambda one: one.delivery_date)
        for one in kept[-PAID_DAYS:]:
            amount = records.share(site, resource.resource_id, one.delivery_date, one.version)
            if amount is not None:
                yield SiteEvent(
                    at_ms=to_ms(one.known_ns),
                    what="paid",
                    subject=one.delivery_date,
                    by=resource.resource_id,
                    words="",
                    amount=format_amount(amount, digits=_DIGITS),
                    currency=_STATEMENT.decode(one.payload).currency,
                )


def is_below(fleet: Fleet, row: int, group_id: GroupId) -> bool:
    """Whether a site hangs somewhere below a group."""
    number = fleet.group_number.get(group_id)
    if number is None:
        return False
    leaves = fleet.leaf_group[fleet.groups[number].hierarchy_id]
    at = int(leaves[row])
    while at >= 0 and at != number:
        at = int(fleet.parent_number[at])
    return at == number
