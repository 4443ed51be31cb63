"""Lines of the audit about one order and about what its sites' devices refused, within a bound however long the audit is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, func, select

from shoal.store.database import reading
from shoal.store.order_records import AuditEntry
from shoal.store.order_schema import ORDER_AUDIT

LINES_LOOKED_AT: Final = 20_000
"""So many of the newest lines are looked through for refusals: the audit grows for ever."""
MOST_STEPS: Final = 2_000


class OrderLines:
    """The audit, by order. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def refusals(self, *, since_ns: int) -> list[tuple[str, str]]:
        """Return which sites' devices refused something since an instant, and why, the newest first."""
        audit = ORDER_AUDIT.c
        newest = select(func.coalesce(func.max(audit.number), 0)).scalar_subquery()
        query = (
            select(audit.subject, audit.reason)
            .where(
                audit.number > newest - LINES_LOOKED_AT,
                audit.action == "report",
                audit.outcome == "refused",
                audit.at_ns >= since_ns,
            )
            .order_by(audit.number.desc())
        )
        with reading(self._engine) as connection:
            return [(site, reason) for site, reason in connection.execute(query)]

    def steps(self, subjects: Sequence[str]) -> list[AuditEntry]:
        """Return the lines about some subjects, the oldest first; of very many the newest."""
        query = (
            select(ORDER_AUDIT)
            .where(ORDER_AUDIT.c.subject.in_(list(subjects)))
            .order_by(ORDER_AUDIT.c.number.desc())
            .limit(MOST_STEPS)
        )
        with reading(self._engine) as connection:
            found = [AuditEntry(**row) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda line: (line.at_ns, line.number))
