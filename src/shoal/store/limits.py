"""Limits at connection points in the database: who may draw and feed in how much, always and for a while.

Every change makes a version grow by which a reader knows whether to read again, and leaves a line in the audit of orders.
An envelope needs a static limit beneath it: that is what holds when the envelope has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, bindparam, delete, select

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import checked_id
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.store.database import insert_into, reading, writing
from shoal.store.limit_records import ConnectionLimit, LimitKind, OperatingEnvelope
from shoal.store.limit_schema import CONNECTION_LIMIT, OPERATING_ENVELOPE
from shoal.store.order_schema import ORDER_AUDIT
from shoal.store.schema import REGISTRY_VERSION

ACTION: Final = "limit"
VERSION_NAME: Final = "limits"
MOST_W: Final = 10**12
KEPT_NS: Final = 7 * 24 * NS_PER_HOUR
"""So long an envelope that is over stays on record."""
LONGEST_NS: Final = 14 * 24 * NS_PER_HOUR
_BEYOND_NS: Final = 2**63
_LOCK: Final = "limits"
_NAME_CHARACTERS: Final = 200
_BATCH_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingLimits:
    """All that is on record and not over.

    Attributes:
        version: Of all of it.
        limits: What always holds, by kind and target.
        envelopes: What holds for a while, the earliest issued first.
    """

    version: int
    limits: tuple[ConnectionLimit, ...]
    envelopes: tuple[OperatingEnvelope, ...]


class LimitStore:
    """Limits in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    Args:
        engine: From `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self) -> int:
        """Return a number that grows with every change; 0 before the first."""
        with reading(self._engine) as connection:
            return _version(connection)

    def standing(self, t_ns: int) -> StandingLimits:
        """Return every static limit, and the envelopes that are not over at an instant."""
        limits, envelopes = CONNECTION_LIMIT, OPERATING_ENVELOPE
        with reading(self._engine) as connection:
            version = _version(connection)
            static = connection.execute(select(limits).order_by(limits.c.kind, limits.c.target)).all()
            query = select(envelopes).where(envelopes.c.end_ns > t_ns)
            order = (envelopes.c.issued_ns, envelopes.c.kind, envelopes.c.target, envelopes.c.start_ns)
            passing = connection.execute(query.order_by(*order)).all()
        return StandingLimits(
            version=version,
            limits=tuple(_limit(row) for row in static),
            envelopes=tuple(_envelope(row) for row in passing),
        )

    def put(self, limits: Sequence[ConnectionLimit]) -> None:
        """Let limits stand in place of those of the same targets.

        Raises:
            InvalidInputError: when one is out of range, limits nothing, or names a target twice.
        """
        if not limits:
            return
        for one in limits:
            checked_id("target", one.target)
            if one.import_limit_w is None and one.export_limit_w is None:
                raise InvalidInputError(field="limit", value=one.target, fix="give import, export or both")
            for name in ("import_limit_w", "export_limit_w"):
                _check_power(name, getattr(one, name))
        _check_once(limits)
        rows = [
            {
                "kind": one.kind,
                "target": one.target,
                "import_limit_w": one.import_limit_w,
                "export_limit_w": one.export_limit_w,
                "said_by": one.by[:_NAME_CHARACTERS],
                "said_ns": one.at_ns,
                "reason": one.reason[:_NAME_CHARACTERS],
            }
            for one in limits
        ]
        first = limits[0]
        with writing(self._engine, lock=_LOCK) as connection:
            _upsert(connection, CONNECTION_LIMIT, rows, ("kind", "target"))
            _count_change(connection)
            lines = [(one.target, one.reason, _words(one)) for one in _few(limits)]
            _note(connection, first.at_ns, first.by, lines)

    def clear(self, kind: LimitKind, target: str, *, by: str, at_ns: int, reason: str = "") -> None:
        """Take a limit back, with the envelopes that stand on it.

        Raises:
            UnknownIdError: when there is no such limit.
        """
        with writing(self._engine, lock=_LOCK) as connection:
            for table in (OPERATING_ENVELOPE, CONNECTION_LIMIT):
                same = (table.c.kind == kind) & (table.c.target == target)
                gone = connection.execute(delete(table).where(same)).rowcount
            if not gone:
                raise UnknownIdError(f"limit of {kind}", target)
            _count_change(connection)
            _note(connection, at_ns, by, [(target, reason, f"no limit of {kind} {target} any more")])

    def put_envelopes(self, envelopes: Sequence[OperatingEnvelope]) -> int:
        """Keep envelopes; one of the same target, beginning and issue is replaced. Return how many.

        Raises:
            InvalidInputError: when one is out of range, or its target has no static limit to fall back to.
        """
        if not envelopes:
            return 0
        for one in envelopes:
            _check_span(one)
            for name in ("import_limit_w", "export_limit_w"):
                _check_power(name, getattr(one, name))
        rows = [
            {
                "kind": one.kind,
                "target": one.target,
                "start_ns": one.start_ns,
                "issued_ns": one.issued_ns,
                "end_ns": one.end_ns,
                "import_limit_w": one.import_limit_w,
                "export_limit_w": one.export_limit_w,
                "said_by": one.by[:_NAME_CHARACTERS],
                "said_ns": one.at_ns,
            }
            for one in envelopes
        ]
        first = envelopes[0]
        with writing(self._engine, lock=_LOCK) as connection:
            _check_static(connection, envelopes)
            old = OPERATING_ENVELOPE.c.end_ns < first.at_ns - KEPT_NS
            connection.execute(delete(OPERATING_ENVELOPE).where(old))
            _drop_replaced(connection, rows)
            _upsert(connection, OPERATING_ENVELOPE, rows, ("kind", "target", "start_ns", "issued_ns"))
            _count_change(connection)
            _note(connection, first.at_ns, first.by, [(first.target, "", _batch_words(envelopes))])
        return len(rows)

    def withdraw(self, kind: LimitKind, target: str, *, by: str, at_ns: int, reason: str = "") -> int:
        """Take back the envelopes of a target that are not over, so that its static limit holds at once.

        Returns:
            How many there were.
        """
        table = OPERATING_ENVELOPE
        same = (table.c.kind == kind) & (table.c.target == target) & (table.c.end_ns > at_ns)
        with writing(self._engine, lock=_LOCK) as connection:
            gone = int(connection.execute(delete(table).where(same)).rowcount)
            if gone:
                _count_change(connection)
                _note(connection, at_ns, by, [(target, reason, f"{gone} envelopes withdrawn")])
        return gone


def _version(connection: Connection) -> int:
    query = select(REGISTRY_VERSION.c.version).where(REGISTRY_VERSION.c.name == VERSION_NAME)
    return int(connection.execute(query).scalar_one_or_none() or 0)


def _count_change(connection: Connection) -> None:
    insert = insert_into(connection, REGISTRY_VERSION).values(name=VERSION_NAME, version=1)
    grown = {"version": REGISTRY_VERSION.c.version + 1}
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=grown))


def _upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], key: Sequence[str]) -> None:
    insert = insert_into(connection, table)
    others = {name: insert.excluded[name] for name in rows[0] if name not in key}
    statement = insert.on_conflict_do_update(index_elements=list(key), set_=others)
    for first in range(0, len(rows), _BATCH_ROWS):
        connection.execute(statement, list(rows[first : first + _BATCH_ROWS]))


def _drop_replaced(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Take out what has not begun and never will hold: envelopes of older issue within these.

    Whoever issues a day ahead every few minutes would leave hundreds of issues of each stretch to be read again and again.
    """
    table = OPERATING_ENVELOPE
    within = (
        (table.c.kind == bindparam("b_kind"))
        & (table.c.target == bindparam("b_target"))
        & (table.c.start_ns >= bindparam("b_from"))
        & (table.c.end_ns <= bindparam("b_end"))
        & (table.c.issued_ns < bindparam("b_issued"))
    )
    statement = delete(table).where(within)
    each = [
        {
            "b_kind": row["kind"],
            "b_target": row["target"],
            "b_from": max(row["start_ns"], row["said_ns"]),
            "b_end": row["end_ns"],
            "b_issued": row["issued_ns"],
        }
        for row in rows
    ]
    for first in range(0, len(each), _BATCH_ROWS):
        connection.execute(statement, each[first : first + _BATCH_ROWS])


def _check_power(name: str, power_w: int | None) -> None:
    if power_w is not None and not 0 <= power_w <= MOST_W:
        raise InvalidInputError(field=name, value=power_w, fix=f"give whole watts from 0 to {MOST_W}")


def _check_once(limits: Sequence[ConnectionLimit]) -> None:
    seen: set[tuple[str, str]] = set()
    for one in limits:
        if (one.kind, one.target) in seen:
            raise InvalidInputError(field="target", value=one.target, fix="name each once")
        seen.add((one.kind, one.target))


def _check_span(one: OperatingEnvelope) -> None:
    if not 0 <= one.start_ns < one.end_ns < _BEYOND_NS or not 0 <= one.issued_ns < _BEYOND_NS:
        raise InvalidInputError(field="envelope", value=one.target, fix="give an end after its beginning")
    if one.end_ns - one.start_ns > LONGEST_NS:
        raise InvalidInputError(
            field="envelope", value=one.target, fix="at most 14 days; what holds for good is a limit"
        )


def _check_static(connection: Connection, envelopes: Sequence[OperatingEnvelope]) -> None:
    limits = CONNECTION_LIMIT
    wanted = {(one.kind, one.target) for one in envelopes}
    query = select(limits.c.kind, limits.c.target)
    if len(wanted) <= _BATCH_ROWS // 2:
        query = query.where(limits.c.target.in_(sorted({target for _, target in wanted})))
    known = {(row.kind, row.target) for row in connection.execute(query)}
    missing = sorted(wanted - known)
    if missing:
        raise InvalidInputError(
            field="envelope",
            value=missing[0][1],
            fix="give it a static limit first: that holds when the envelope has ended",
        )


def _few(limits: Sequence[ConnectionLimit]) -> Iterable[ConnectionLimit]:
    """Return those that the audit names one by one: a few, else only the first."""
    return limits if len(limits) <= _BATCH_ROWS else limits[:1]


def _words(one: ConnectionLimit) -> str:
    def of(power_w: int | None) -> str:
        return "any" if power_w is None else f"{power_w / 1e3:g} kW"

    return f"{one.kind} {one.target}: import {of(one.import_limit_w)}, export {of(one.export_limit_w)}"


def _batch_words(envelopes: Sequence[OperatingEnvelope]) -> str:
    last_ns = max(one.end_ns for one in envelopes)
    targets = len({(one.kind, one.target) for one in envelopes})
    return f"{len(envelopes)} envelopes of {targets} targets, the last until {iso(last_ns)}"


def _note(connection: Connection, at_ns: int, by: str, lines: Sequence[tuple[str, str, str]]) -> None:
    rows = [
        {
            "at_ns": at_ns,
            "by": by[:_NAME_CHARACTERS],
            "action": ACTION,
            "subject": subject,
            "outcome": "done",
            "reason": reason[:_NAME_CHARACTERS],
            "detail": detail,
        }
        for subject, reason, detail in lines
    ]
    connection.execute(insert_into(connection, ORDER_AUDIT), rows)


def _limit(row: Any) -> ConnectionLimit:
    return ConnectionLimit(
        kind=row.kind,
        target=row.target,
        import_limit_w=row.import_limit_w,
        export_limit_w=row.export_limit_w,
        by=row.said_by,
        at_ns=row.said_ns,
        reason=row.reason,
    )


def _envelope(row: Any) -> OperatingEnvelope:
    return OperatingEnvelope(
        kind=row.kind,
        target=row.target,
        start_ns=row.start_ns,
        end_ns=row.end_ns,
        issued_ns=row.issued_ns,
        import_limit_w=row.import_limit_w,
        export_limit_w=row.export_limit_w,
        by=row.said_by,
        at_ns=row.said_ns,
    )
