"""Rows with effective dates, `[valid_from_ns, valid_until_ns)`: who is where, from when until when.

One rule serves all such tables: what is put at an instant holds from there to the next change already on record, and
what held before ends at that instant. The database refuses two rows valid at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, or_, select, update

from shoal.domain.ids import SiteId
from shoal.store.database import bulk_insert, column_parts
from shoal.store.schema import ENROLMENT, MEMBERSHIP, OPT_OUT, OWNER_HOURS, OWNER_PROMISE

Value: TypeAlias = tuple[Any, ...]
_FEW: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveTable:
    """A table in which a site has at most one row at an instant within a scope (a hierarchy, a program)."""

    table: Table
    scope: str
    values: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of a new row."""
        return ("site_id", self.scope, *self.values, "valid_from_ns", "valid_until_ns")


MEMBERSHIPS: Final = EffectiveTable(table=MEMBERSHIP, scope="hierarchy_id", values=("group_id",))
ENROLMENTS: Final = EffectiveTable(
    table=ENROLMENT, scope="program_id", values=("consented_by", "consented_ns", "terms")
)
OPT_OUTS: Final = EffectiveTable(table=OPT_OUT, scope="program_id", values=("said_by", "said_ns"))
PROMISES: Final = EffectiveTable(table=OWNER_PROMISE, scope="kind", values=("amount", "said_by", "said_ns"))
HOURS: Final = EffectiveTable(table=OWNER_HOURS, scope="kind", values=("said", "said_by", "said_ns"))


def any_value(_held: Value, _wanted: Value) -> bool:
    """Say that a row is as good as another, whatever it holds."""
    return True


def valid_at(table: Table, t_ns: int, *, by_index: bool = True) -> ColumnElement[bool]:
    """Return the condition that a row is valid at the instant.

    Args:
        table: Memberships or enrolments.
        t_ns: The instant.
        by_index: Whether the database may look the beginning up, which doubles the work when most rows are wanted.
    """
    start_ns = table.c.valid_from_ns if by_index else table.c.valid_from_ns + 0
    return and_(start_ns <= t_ns, _not_over(table, t_ns))


def _not_over(table: Table, t_ns: int) -> ColumnElement[bool]:
    return or_(table.c.valid_until_ns.is_(None), table.c.valid_until_ns > t_ns)


def put(
    connection: Connection,
    kind: EffectiveTable,
    scope: str,
    wanted: Mapping[SiteId, Value | None],
    at_ns: int,
    *,
    batch: int,
    same: Callable[[Value, Value], bool] = operator.eq,
) -> int:
    """Make each site's row say `wanted` from an instant on, None for no row at all.

    Rows are ended, deleted and inserted in bulk. One that holds at the instant stays when it says the `same`.

    Returns:
        How many sites changed.
    """
    rows = _rows_from(connection, kind, scope, wanted, at_ns)
    fresh: list[tuple[Any, ...]] = []
    ended: list[tuple[SiteId, int]] = []
    changed = 0
    for site, value in wanted.items():
        first = rows.get(site)
        current = first if first is not None and first.valid_from_ns <= at_ns else None
        if _says(None if current is None else current.value, value, same):
            continue
        changed += 1
        if current is not None:
            ended.append((site, current.valid_from_ns))
            until_ns = current.valid_until_ns
        else:
            until_ns = None if first is None else first.valid_from_ns
        if value is not None:
            fresh.append((site, scope, *value, at_ns, until_ns))
    _end(connection, kind, scope, ended, at_ns)
    bulk_insert(connection, kind.table, kind.columns, fresh, batch=batch)
    return changed


def _says(held: Value | None, wanted: Value | None, same: Callable[[Value, Value], bool]) -> bool:
    if held is None or wanted is None:
        return held is wanted
    return same(held, wanted)


class _Held(NamedTuple):
    """The first row of a site that is not over at an instant."""

    valid_from_ns: int
    valid_until_ns: int | None
    value: Value


def _rows_from(
    connection: Connection, kind: EffectiveTable, scope: str, sites: Mapping[SiteId, object], at_ns: int
) -> dict[SiteId, _Held]:
    table = kind.table
    values = [table.c[name] for name in kind.values]
    query = (
        select(table.c.site_id, table.c.valid_from_ns, table.c.valid_until_ns, *values)
        .where(table.c[kind.scope] == scope, _not_over(table, at_ns))
        # The earliest comes last, and so is the one that stays in the dictionary.
        .order_by(table.c.site_id, table.c.valid_from_ns.desc())
    )
    if len(sites) <= _FEW:
        query = query.where(table.c.site_id.in_(list(sites)))
    rows: dict[SiteId, _Held] = {}
    for ids, starts, ends, *held in column_parts(connection, query):
        of_site = zip(*held, strict=True) if held else repeat(())
        for site, start_ns, end_ns, value in zip(ids, starts, ends, of_site, strict=False):
            rows[site] = _Held(start_ns, end_ns, value)
    return rows


def _end(
    connection: Connection, kind: EffectiveTable, scope: str, rows: Sequence[tuple[SiteId, int]], at_ns: int
) -> None:
    """End rows, each named by site and beginning, at the instant; a row that begins there never was."""
    table = kind.table
    same = and_(
        table.c.site_id == bindparam("key"),
        table.c[kind.scope] == scope,
        table.c.valid_from_ns == bindparam("start_ns"),
    )
    for statement, chosen in (
        (delete(table).where(same), [row for row in rows if row[1] == at_ns]),
        (update(table).where(same).values(valid_until_ns=at_ns), [row for row in rows if row[1] != at_ns]),
    ):
        if chosen:
            connection.execute(statement, [{"key": site, "start_ns": start_ns} for site, start_ns in chosen])


def put_between(
    connection: Connection,
    kind: EffectiveTable,
    scope: str,
    wanted: Mapping[SiteId, Value | None],
    start_ns: int,
    end_ns: int | None,
    *,
    batch: int,
    same: Callable[[Value, Value], bool] = operator.eq,
) -> int:
    """Make each site's rows say `wanted` over `[start_ns, end_ns)` in place of all that is on record there.

    What is on record before and after stays. A row that covers all of it stays when it says the `same`.

    Args:
        connection: Inside `writing`.
        kind: The table.
        scope: The hierarchy, the program, the kind of promise.
        wanted: By site, None for no row at all.
        start_ns: From when.
        end_ns: Until when, None for good.
        batch: Rows a statement.
        same: Whether two values say the same.

    Returns:
        How many sites changed.
    """
    rows = _rows_between(connection, kind, scope, wanted, start_ns, end_ns)
    fresh: list[tuple[Any, ...]] = []
    ended: list[tuple[SiteId, int]] = []
    dropped: list[tuple[SiteId, int]] = []
    changed = 0
    for site, value in wanted.items():
        held = rows.get(site, [])
        if value is None and not held:
            continue
        if len(held) == 1 and _covers(held[0], start_ns, end_ns) and _says(held[0].value, value, same):
            continue
        changed += 1
        for row in held:
            (ended if row.valid_from_ns < start_ns else dropped).append((site, row.valid_from_ns))
            if end_ns is not None and (row.valid_until_ns is None or row.valid_until_ns > end_ns):
                fresh.append((site, scope, *row.value, end_ns, row.valid_until_ns))
        if value is not None:
            fresh.append((site, scope, *value, start_ns, end_ns))
    _end(connection, kind, scope, ended, start_ns)
    _drop(connection, kind, scope, dropped)
    bulk_insert(connection, kind.table, kind.columns, fresh, batch=batch)
    return changed


def _covers(row: _Held, start_ns: int, end_ns: int | None) -> bool:
    ends_late = row.valid_until_ns is None or (end_ns is not None and row.valid_until_ns >= end_ns)
    return row.valid_from_ns <= start_ns and ends_late


def _rows_between(
    connection: Connection,
    kind: EffectiveTable,
    scope: str,
    sites: Mapping[SiteId, object],
    start_ns: int,
    end_ns: int | None,
) -> dict[SiteId, list[_Held]]:
    table = kind.table
    values = [table.c[name] for name in kind.values]
    query = select(table.c.site_id, table.c.valid_from_ns, table.c.valid_until_ns, *values).where(
        table.c[kind.scope] == scope, _not_over(table, start_ns)
    )
    if end_ns is not None:
        query = query.where(table.c.valid_from_ns < end_ns)
    if len(sites) <= _FEW:
        query = query.where(table.c.site_id.in_(list(sites)))
    rows: dict[SiteId, list[_Held]] = {}
    for ids, starts, ends, *held in column_parts(connection, query):
        for site, from_ns, until_ns, value in zip(ids, starts, ends, zip(*held, strict=True), strict=True):
            if site in sites:
                rows.setdefault(site, []).append(_Held(from_ns, until_ns, value))
    return rows


def _drop(
    connection: Connection, kind: EffectiveTable, scope: str, rows: Sequence[tuple[SiteId, int]]
) -> None:
    table = kind.table
    same = and_(
        table.c.site_id == bindparam("key"),
        table.c[kind.scope] == scope,
        table.c.valid_from_ns == bindparam("start_ns"),
    )
    if rows:
        connection.execute(
            delete(table).where(same), [{"key": site, "start_ns": start_ns} for site, start_ns in rows]
        )
