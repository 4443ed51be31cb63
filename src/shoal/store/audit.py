"""Who did what, in one list: orders and stops, alarms, bids, proposals, people, devices; the newest first.

Each source is read in its own order, the newest of it first, and the lists are merged. A page says how far it got in each
source, so that the next one goes on from there: no line is told twice and none is left out, whatever is added meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec
from sqlalchemy import ColumnElement, Engine, Select, and_, literal, or_, select

from shoal.domain.errors import InvalidInputError
from shoal.store.cycle_schema import CONSENT, MARKET_BID_STEP
from shoal.store.database import reading
from shoal.store.devices import ENROLLED, REVOKED
from shoal.store.order_schema import ORDER_AUDIT
from shoal.store.proposal_schema import PROPOSAL
from shoal.store.schema import ALARM, ALARM_EVENT
from shoal.store.shelf_schema import ALARM_SHELF
from shoal.store.user_schema import USER_STEP

AuditKind: TypeAlias = Literal["orders", "alarms", "bids", "proposals", "people", "devices"]
KINDS: Final[tuple[AuditKind, ...]] = get_args(AuditKind)
Key: TypeAlias = list[int | str]
_MOST_CURSOR_CHARACTERS: Final = 4_000
_CURSOR: Final = msgspec.json.Decoder(dict[str, Key])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One line.

    Attributes:
        kind: Of what.
        at_ns: When: of people and devices on the machine's clock, else on the plant's.
        by: Who; empty for the plant itself.
        action: What was done, a stable word.
        about: The order, stop, alarm, bid, person or device.
        outcome: Whether it was done.
        detail: The rest of it, for people.
    """

    kind: AuditKind
    at_ns: int
    by: str
    action: str
    about: str
    outcome: Literal["done", "refused"]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which lines are asked for; what is left out lets all through.

    Attributes:
        kinds: Those of these kinds.
        by: Those of somebody whose name contains it, in any case.
        about: Those about something whose name contains it, in any case.
        from_ns: Those from this instant on.
        until_ns: Those before this instant.
        people_only: Leave out what the plant did by itself.
    """

    kinds: tuple[AuditKind, ...] = KINDS
    by: str = ""
    about: str = ""
    from_ns: int | None = None
    until_ns: int | None = None
    people_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some lines, and how to ask for those before them (empty: there are none)."""

    lines: tuple[AuditLine, ...]
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where lines come from: the key decides the order, ascending with time."""

    name: str
    kind: AuditKind
    columns: dict[str, ColumnElement[Any]]
    key: tuple[ColumnElement[Any], ...]
    where: ColumnElement[bool]
    by_people: ColumnElement[bool]
    line: Callable[[dict[str, Any]], tuple[str, str]]
    registry: bool = False


def _words(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


_ORDERS: Final = ORDER_AUDIT.c
_STEPS: Final = USER_STEP.c
_OF_DEVICES: Final = (ENROLLED, REVOKED)
_BY_HAND: Final = and_(MARKET_BID_STEP.c.by != "", ~MARKET_BID_STEP.c.by.startswith("bidding-"))
"""Bidding processes call themselves so."""


def _people(name: str, kind: AuditKind, where: ColumnElement[bool]) -> _Source:
    return _Source(
        name=name,
        kind=kind,
        columns={
            "at_ns": _STEPS.at_ns,
            "by": _STEPS.by,
            "action": _STEPS.action,
            "about": _STEPS.subject,
            "detail": _STEPS.detail,
        },
        key=(_STEPS.step_no,),
        where=where,
        by_people=literal(True),
        line=lambda row: ("done", row["detail"]),
        registry=True,
    )


SOURCES: Final[tuple[_Source, ...]] = (
    _Source(
        name="orders",
        kind="orders",
        columns={
            "at_ns": _ORDERS.at_ns,
            "by": _ORDERS.by,
            "action": _ORDERS.action,
            "about": _ORDERS.subject,
            "outcome": _ORDERS.outcome,
            "reason": _ORDERS.reason,
            "detail": _ORDERS.detail,
        },
        key=(_ORDERS.number,),
        where=literal(True),
        by_people=and_(
            _ORDERS.by.not_in(("", "control", "prices")), _ORDERS.action.not_in(("report", "result"))
        ),
        line=lambda row: (row["outcome"], _words(row["reason"], row["detail"])),
    ),
    _Source(
        name="alarms",
        kind="alarms",
        columns={
            "at_ns": ALARM_EVENT.c.t_ns,
            "by": ALARM_EVENT.c.by,
            "action": ALARM_EVENT.c.action,
            "about": ALARM.c.subject,
            "alarm_kind": ALARM.c.kind,
            "number": ALARM_EVENT.c.number,
        },
        key=(ALARM_EVENT.c.t_ns, ALARM_EVENT.c.number, ALARM_EVENT.c.action),
        where=ALARM_EVENT.c.number == ALARM.c.number,
        by_people=ALARM_EVENT.c.by != "",
        line=lambda row: ("done", f"alarm {row['number']}: {row['alarm_kind'].replace('_', ' ')}"),
    ),
    _Source(
        name="shelf",
        kind="alarms",
        columns={
            "at_ns": ALARM_SHELF.c.at_ns,
            "by": ALARM_SHELF.c.by,
            "action": ALARM_SHELF.c.action,
            "about": ALARM.c.subject,
            "reason": ALARM_SHELF.c.reason,
            "number": ALARM_SHELF.c.number,
        },
        key=(ALARM_SHELF.c.step_no,),
        where=ALARM_SHELF.c.number == ALARM.c.number,
        by_people=ALARM_SHELF.c.by != "",
        line=lambda row: ("done", _words(f"alarm {row['number']}", row["reason"])),
    ),
    _Source(
        name="bids",
        kind="bids",
        columns={
            "at_ns": MARKET_BID_STEP.c.at_ns,
            "by": MARKET_BID_STEP.c.by,
            "action": MARKET_BID_STEP.c.state,
            "about": MARKET_BID_STEP.c.idempotency_key,
            "detail": MARKET_BID_STEP.c.said,
        },
        key=(MARKET_BID_STEP.c.at_ns, MARKET_BID_STEP.c.idempotency_key, MARKET_BID_STEP.c.step_no),
        where=literal(True),
        by_people=_BY_HAND,
        line=lambda row: ("refused" if row["action"] == "rejected" else "done", row["detail"]),
    ),
    _Source(
        name="words",
        kind="bids",
        columns={
            "at_ns": CONSENT.c.at_ns,
            "by": CONSENT.c.by,
            "action": CONSENT.c.kind,
            "about": CONSENT.c.subject,
            "detail": CONSENT.c.said,
        },
        key=(CONSENT.c.consent_no,),
        where=literal(True),
        by_people=CONSENT.c.by != "",
        line=lambda row: ("done", row["detail"]),
    ),
    _Source(
        name="proposed",
        kind="proposals",
        columns={
            "at_ns": PROPOSAL.c.at_ns,
            "by": PROPOSAL.c.by,
            "action": literal("proposed"),
            "about": PROPOSAL.c.proposal_id,
            "title": PROPOSAL.c.title,
            "reason": PROPOSAL.c.reason,
        },
        key=(PROPOSAL.c.at_ns, PROPOSAL.c.proposal_id),
        where=literal(True),
        by_people=PROPOSAL.c.by != "",
        line=lambda row: ("done", _words(row["title"], row["reason"])),
    ),
    _Source(
        name="decided",
        kind="proposals",
        columns={
            "at_ns": PROPOSAL.c.decided_ns,
            "by": PROPOSAL.c.decided_by,
            "action": PROPOSAL.c.state,
            "about": PROPOSAL.c.proposal_id,
            "title": PROPOSAL.c.title,
            "note": PROPOSAL.c.note,
            "result": PROPOSAL.c.result,
        },
        key=(PROPOSAL.c.decided_ns, PROPOSAL.c.proposal_id),
        where=PROPOSAL.c.decided_ns.is_not(None),
        by_people=PROPOSAL.c.decided_by != "",
        line=lambda row: ("done", _words(row["title"], row["note"], row["result"])),
    ),
    _people("people", "people", _STEPS.action.not_in(_OF_DEVICES)),
    _people("devices", "devices", _STEPS.action.in_(_OF_DEVICES)),
)


_Told: TypeAlias = tuple[AuditLine, str, Key]
"""A line, the source that it is from, and its key there."""


class Audit:
    """The list in migrated databases. Calls block; an asynchronous caller runs them in a thread.

    Args:
        database: With orders, alarms and bids.
        registry: With people and devices; it may be the same.
    """

    def __init__(self, database: Engine, registry: Engine) -> None:
        self._database = database
        self._registry = registry

    def page(self, limit: int, *, only: AuditFilter | None = None, before: str = "") -> AuditPage:
        """Return the newest lines, or those before another page.

        Args:
            limit: How many at most.
            only: Which ones; None for all.
            before: What the other page said.

        Raises:
            InvalidInputError: when `before` is nothing that was said.
            UnavailableError: when a database cannot be reached.
        """
        only = only or AuditFilter()
        reached = _reached(before)
        found: dict[str, list[_Told]] = {}
        for source in SOURCES:
            if source.kind in only.kinds:
                found[source.name] = self._read(source, only, limit + 1, reached.get(source.name))
        merged = heapq.merge(*found.values(), key=lambda one: one[0].at_ns, reverse=True)
        some = [one for one, _ in zip(merged, range(limit + 1), strict=False)]
        # of a source that gave nothing yet the next page begins with its first line: what comes later is newer
        places = {name: [1, *rows[0][2]] if rows else [] for name, rows in found.items()}
        places |= {name: [0, *key] for _, name, key in some[:limit]}
        return AuditPage(
            lines=tuple(line for line, _, _ in some[:limit]),
            before=_cursor(places) if len(some) > limit else "",
        )

    def _read(self, source: _Source, only: AuditFilter, limit: int, reached: Key | None) -> list[_Told]:
        if reached == []:
            return []
        query = narrowed(source, only, reached).limit(limit)
        with reading(self._registry if source.registry else self._database) as connection:
            return [_told(source, dict(row)) for row in connection.execute(query).mappings()]


def _told(source: _Source, row: dict[str, Any]) -> _Told:
    outcome, detail = source.line(row)
    line = AuditLine(
        kind=source.kind,
        at_ns=row["at_ns"],
        by=row["by"],
        action=row["action"],
        about=row["about"],
        outcome="refused" if outcome == "refused" else "done",
        detail=detail,
    )
    return line, source.name, [row[f"key_{place}"] for place in range(len(source.key))]


def narrowed(source: _Source, only: AuditFilter, reached: Key | None) -> Select[Any]:
    """Return the query for a source's lines, the newest first, from a place on where one was reached."""
    columns = source.columns
    shown = [column.label(name) for name, column in columns.items()]
    keys = [column.label(f"key_{place}") for place, column in enumerate(source.key)]
    conditions = [source.where]
    for text, name in ((only.by, "by"), (only.about, "about")):
        if text:
            conditions.append(columns[name].icontains(text, autoescape=True))
    if only.from_ns is not None:
        conditions.append(columns["at_ns"] >= only.from_ns)
    if only.until_ns is not None:
        conditions.append(columns["at_ns"] < only.until_ns)
    if only.people_only:
        conditions.append(source.by_people)
    if reached is not None:
        conditions.append(_from(source.key, reached))
    query = select(*shown, *keys).where(*conditions)
    return query.order_by(*(column.desc() for column in source.key))


def _from(key: Sequence[ColumnElement[Any]], reached: Key) -> ColumnElement[bool]:
    """Return the condition that a key is before another, place by place, or is the same where the first number says so."""
    with_it, *held = reached
    fits = [isinstance(value, one.type.python_type) for one, value in zip(key, held, strict=False)]
    if len(held) != len(key) or not all(fits) or any(isinstance(one, int) and one >= 2**63 for one in held):
        raise _not_said("")
    places = list(zip(key, held, strict=True))
    steps = [
        and_(*(one == value for one, value in places[:place]), column < value)
        for place, (column, value) in enumerate(places)
    ]
    if with_it:
        steps.append(and_(*(one == value for one, value in places)))
    # implied by the rest, but only so does a database begin there and not at the newest
    return and_(key[0] <= held[0], or_(*steps))


def _cursor(reached: dict[str, Key]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(reached)).rstrip(b"=").decode()


def _reached(before: str) -> dict[str, Key]:
    if not before:
        return {}
    if len(before) > _MOST_CURSOR_CHARACTERS:
        raise _not_said(before)
    try:
        return _CURSOR.decode(base64.urlsafe_b64decode(before + "=" * (-len(before) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _not_said(before) from error


def _not_said(before: str) -> InvalidInputError:
    return InvalidInputError(field="before", value=before[:40], fix="give `next` of the page before")
