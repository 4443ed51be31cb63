"""Which events owners sit out: lines of the audit of orders, so that the controller sees them with any other change.

A word is one line and is never changed; coming back is another. The newest of a home and an event counts.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Engine, select

from shoal.domain.ids import SiteId
from shoal.store.database import insert_into, reading, writing
from shoal.store.order_schema import FLEET_ORDER, ORDER_AUDIT

SKIP: Final = "skip"
UNSKIP: Final = "unskip"
_LOCK: Final = "orders"


class EventSkips:
    """Skipped events in a migrated database. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def skip(self, order_id: str, site_id: SiteId, *, by: str, at_ns: int) -> bool:
        """Keep that a home sits an event out; return whether that is news."""
        return self._say(SKIP, order_id, site_id, by, at_ns)

    def take_back(self, order_id: str, site_id: SiteId, *, by: str, at_ns: int) -> bool:
        """Keep that a home takes part again; return whether that is news."""
        return self._say(UNSKIP, order_id, site_id, by, at_ns)

    def of_site(self, site_id: SiteId, *, after_ns: int) -> dict[str, int]:
        """Return the events, of those that end after an instant, that a home sits out, and since when."""
        return {event: sites[site_id] for event, sites in self._standing(after_ns, site_id).items() if sites}

    def standing(self, *, after_ns: int) -> dict[str, dict[str, int]]:
        """Return who sits out which event, of those that end after an instant, and since when."""
        return {event: sites for event, sites in self._standing(after_ns, None).items() if sites}

    def _standing(self, after_ns: int, site_id: SiteId | None) -> dict[str, dict[str, int]]:
        audit = ORDER_AUDIT.c
        query = (
            select(audit.subject, audit.detail, audit.action, audit.at_ns)
            .join(FLEET_ORDER, FLEET_ORDER.c.order_id == audit.subject)
            .where(FLEET_ORDER.c.end_ns > after_ns, audit.action.in_((SKIP, UNSKIP)))
            .order_by(audit.number)
        )
        if site_id is not None:
            query = query.where(audit.detail == site_id)
        found: dict[str, dict[str, int]] = {}
        with reading(self._engine) as connection:
            for event, site, action, at_ns in connection.execute(query):
                sites = found.setdefault(event, {})
                if action == SKIP:
                    sites.setdefault(site, int(at_ns))
                else:
                    sites.pop(site, None)
        return found

    def _say(self, action: str, order_id: str, site_id: SiteId, by: str, at_ns: int) -> bool:
        with writing(self._engine, lock=_LOCK) as connection:
            sits_out = _newest(connection, order_id, site_id) == SKIP
            if sits_out == (action == SKIP):
                return False
            values = {
                "at_ns": at_ns,
                "by": by,
                "action": action,
                "subject": order_id,
                "outcome": "done",
                "reason": "the owner's word",
                "detail": str(site_id),
            }
            connection.execute(insert_into(connection, ORDER_AUDIT).values(values))
        return True


def _newest(connection: Connection, order_id: str, site_id: SiteId) -> str | None:
    audit = ORDER_AUDIT.c
    query = (
        select(audit.action)
        .where(audit.subject == order_id, audit.action.in_((SKIP, UNSKIP)), audit.detail == site_id)
        .order_by(audit.number.desc())
        .limit(1)
    )
    found: str | None = connection.execute(query).scalar()
    return found
