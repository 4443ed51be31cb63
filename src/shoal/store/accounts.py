"""Money: statements of each resource and day, and what each site gets of them. Whole 1e-8 currency units.

A statement and its shares are written together or not at all. A later version (a market's resettlement) replaces
the former in what is read; the former stays on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Select, and_, func, select

from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import ResourceId, SiteId
from shoal.store.database import bulk_insert, column_parts, insert_into, reading, writing
from shoal.store.records import Statement
from shoal.store.schema import SITE_SHARE, STATEMENT

_BATCH: Final = 20_000
_COLUMNS: Final = tuple(Statement.__dataclass_fields__)
_SHARE_COLUMNS: Final = ("resource_id", "delivery_date", "version", "site_id", "amount")


class Accounts:
    """Statements and shares in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_statement(
        self,
        statement: Statement,
        *,
        site_ids: Sequence[SiteId] = (),
        amounts: NDArray[np.int64] | None = None,
    ) -> None:
        """Keep a statement and each site's share of it; the same version again changes nothing.

        Args:
            statement: Of one resource, day and version.
            site_ids: N sites.
            amounts: N shares in 1e-8 currency units, received by the site positive.

        Raises:
            InvalidInputError: when the version was kept with other content, or sites and amounts do not match.
        """
        shares = [] if amounts is None else [int(amount) for amount in amounts]
        if len(shares) != len(site_ids):
            raise InvalidInputError(field="amounts", value=len(shares), fix=f"give {len(site_ids)} amounts")
        key = (statement.resource_id, statement.delivery_date, statement.version)
        with writing(self._engine) as connection:
            insert = insert_into(connection, STATEMENT).values(asdict(statement)).on_conflict_do_nothing()
            # A returned row says that it was inserted; the count of rows is not known on every driver.
            if connection.execute(insert.returning(STATEMENT.c.version)).first() is not None:
                rows = [(*key, site, amount) for site, amount in zip(site_ids, shares, strict=True)]
                bulk_insert(connection, SITE_SHARE, _SHARE_COLUMNS, rows, batch=_BATCH)
                return
            of_key = [STATEMENT.c[name] == value for name, value in zip(_SHARE_COLUMNS, key, strict=False)]
            kept = connection.execute(_select().where(*of_key)).mappings().one()
            ids, stored = _shares(connection, *key)
        same = {name: kept[name] for name in ("net_amount", "payload")}
        wanted = {"net_amount": statement.net_amount, "payload": statement.payload}
        if same != wanted or dict(zip(ids, stored.tolist(), strict=True)) != dict(
            zip(site_ids, shares, strict=True)
        ):
            raise InvalidInputError(
                field="statement.version", value=statement.version, fix="give a correction a higher version"
            )

    def statement(
        self, resource_id: ResourceId, delivery_date: str, *, as_of_ns: int | None = None
    ) -> Statement | None:
        """Return the latest version of a statement, as known at an instant or now; None when there is none."""
        query = (
            _select()
            .where(STATEMENT.c.resource_id == resource_id, STATEMENT.c.delivery_date == delivery_date)
            .order_by(STATEMENT.c.version.desc())
            .limit(1)
        )
        if as_of_ns is not None:
            query = query.where(STATEMENT.c.known_ns <= as_of_ns)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else Statement(**row)

    def statements(self, resource_id: ResourceId) -> list[Statement]:
        """Return the latest version of each day's statement of a resource, by day."""
        query = _select().where(STATEMENT.c.resource_id == resource_id)
        query = query.order_by(STATEMENT.c.delivery_date, STATEMENT.c.version)
        with reading(self._engine) as connection:
            latest = {row["delivery_date"]: row for row in connection.execute(query).mappings()}
        return [Statement(**row) for row in latest.values()]

    def site_shares(
        self, resource_id: ResourceId, delivery_date: str
    ) -> tuple[tuple[SiteId, ...], NDArray[np.int64]]:
        """Return the sites, by id, and their shares of the statement's latest version; empty without one."""
        newest = select(func.max(STATEMENT.c.version)).where(
            STATEMENT.c.resource_id == resource_id, STATEMENT.c.delivery_date == delivery_date
        )
        with reading(self._engine) as connection:
            version = connection.execute(newest).scalar_one()
            if version is None:
                return (), np.empty(0, dtype=np.int64)
            return _shares(connection, resource_id, delivery_date, version)

    def total_by_resource(self) -> dict[ResourceId, int]:
        """Return each resource's net amount over all days, from the latest version of each, by resource."""
        newest = (
            select(
                STATEMENT.c.resource_id,
                STATEMENT.c.delivery_date,
                func.max(STATEMENT.c.version).label("version"),
            )
            .group_by(STATEMENT.c.resource_id, STATEMENT.c.delivery_date)
            .subquery()
        )
        is_newest = and_(*(STATEMENT.c[column.name] == column for column in newest.c))
        query = (
            select(STATEMENT.c.resource_id, func.sum(STATEMENT.c.net_amount).label("total"))
            .join(newest, is_newest)
            .group_by(STATEMENT.c.resource_id)
            .order_by(STATEMENT.c.resource_id)
        )
        with reading(self._engine) as connection:
            return {ResourceId(row.resource_id): int(row.total) for row in connection.execute(query)}


def _select() -> Select[Any]:
    return select(*(STATEMENT.c[name] for name in _COLUMNS))


def _shares(
    connection: Connection, resource_id: str, delivery_date: str, version: int
) -> tuple[tuple[SiteId, ...], NDArray[np.int64]]:
    query = (
        select(SITE_SHARE.c.site_id, SITE_SHARE.c.amount)
        .where(
            SITE_SHARE.c.resource_id == resource_id,
            SITE_SHARE.c.delivery_date == delivery_date,
            SITE_SHARE.c.version == version,
        )
        .order_by(SITE_SHARE.c.site_id)
    )
    ids: list[SiteId] = []
    amounts: list[int] = []
    for sites, values in column_parts(connection, query):
        ids.extend(sites)
        amounts.extend(values)
    return tuple(ids), np.array(amounts, dtype=np.int64)
