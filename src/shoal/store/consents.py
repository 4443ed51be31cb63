"""What people said about bidding: modes, approvals, manual bids. Nothing is ever changed; the newest word counts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from sqlalchemy import Engine, select

from shoal.store.cycle_schema import CONSENT
from shoal.store.database import insert_into, reading, writing

ConsentKind: TypeAlias = Literal["mode", "approval", "manual"]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said; `content` is its JSON."""

    kind: ConsentKind
    subject: str
    by: str
    at_ns: int
    content: bytes


class Consents:
    """Words about bidding in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def say(self, kind: ConsentKind, *, subject: str, by: str, at_ns: int, content: bytes) -> None:
        """Keep what somebody said.

        Args:
            kind: Of what.
            subject: The resource, or the key of the bid.
            by: Who.
            at_ns: When.
            content: As JSON.
        """
        with writing(self._engine) as connection:
            values = {"kind": kind, "subject": subject, "by": by, "at_ns": at_ns, "said": content.decode()}
            connection.execute(insert_into(connection, CONSENT).values(values))

    def said(self, kind: ConsentKind, *, subject: str, as_of_ns: int) -> list[Said]:
        """Return what was said of a subject until an instant, the earliest first."""
        query = (
            select(CONSENT)
            .where(CONSENT.c.kind == kind, CONSENT.c.subject == subject, CONSENT.c.at_ns <= as_of_ns)
            .order_by(CONSENT.c.at_ns, CONSENT.c.consent_no)
        )
        with reading(self._engine) as connection:
            return [
                Said(
                    kind=row.kind, subject=row.subject, by=row.by, at_ns=row.at_ns, content=row.said.encode()
                )
                for row in connection.execute(query)
            ]

    def subjects(self, kind: ConsentKind) -> list[str]:
        """Return everything of which such words were said."""
        query = select(CONSENT.c.subject).where(CONSENT.c.kind == kind).distinct().order_by(CONSENT.c.subject)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())
