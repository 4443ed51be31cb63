"""What a home's owner receives, day by day: the shares of the newest version of each settled day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Engine, and_, func, select

from shoal.domain.ids import SiteId
from shoal.settle.statement import Statement
from shoal.store.database import reading
from shoal.store.schema import SITE_SHARE, STATEMENT

_STATEMENT = msgspec.json.Decoder(Statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeShare:
    """A home's share of one settled day.

    Attributes:
        resource_id: Of which resource.
        delivery_date: Of which day.
        version: Of which version of its statement.
        amount: In 1e-8 currency units.
        currency: Which.
        known_ns: When the version was kept.
    """

    resource_id: str
    delivery_date: str
    version: int
    amount: int
    currency: str
    known_ns: int


class HomeShares:
    """Shares in a migrated database. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of_site(
        self, site_id: SiteId, resources: Sequence[str], *, from_date: str, to_date: str
    ) -> list[HomeShare]:
        """Return a home's shares of the days in `[from_date, to_date)`, by day, each of its newest version."""
        newest = (
            select(
                STATEMENT.c.resource_id, STATEMENT.c.delivery_date, func.max(STATEMENT.c.version).label("no")
            )
            .where(
                STATEMENT.c.resource_id.in_(list(resources)),
                STATEMENT.c.delivery_date >= from_date,
                STATEMENT.c.delivery_date < to_date,
            )
            .group_by(STATEMENT.c.resource_id, STATEMENT.c.delivery_date)
            .subquery()
        )
        same = [
            table.c[name] == newest.c[name]
            for table in (STATEMENT, SITE_SHARE)
            for name in ("resource_id", "delivery_date")
        ]
        query = (
            select(SITE_SHARE, STATEMENT.c.known_ns, STATEMENT.c.payload)
            .select_from(newest)
            .join(STATEMENT, and_(*same[:2], STATEMENT.c.version == newest.c.no))
            .join(SITE_SHARE, and_(*same[2:], SITE_SHARE.c.version == newest.c.no))
            .where(SITE_SHARE.c.site_id == site_id)
            .order_by(SITE_SHARE.c.delivery_date, SITE_SHARE.c.resource_id)
        )
        with reading(self._engine) as connection:
            return [
                HomeShare(
                    resource_id=row.resource_id,
                    delivery_date=row.delivery_date,
                    version=row.version,
                    amount=int(row.amount),
                    currency=_STATEMENT.decode(row.payload).currency,
                    known_ns=int(row.known_ns),
                )
                for row in connection.execute(query)
            ]

    def days(self, resources: Sequence[str]) -> list[str]:
        """Return every day of which some resource has a statement, the newest first."""
        query = (
            select(STATEMENT.c.delivery_date)
            .where(STATEMENT.c.resource_id.in_(list(resources)))
            .distinct()
            .order_by(STATEMENT.c.delivery_date.desc())
        )
        with reading(self._engine) as connection:
            return [str(day) for day in connection.execute(query).scalars()]
