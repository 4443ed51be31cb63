"""The tables of what waits for a second person, and of the previews that orders were launched from."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, String, Table, Text

from shoal.store.schema import METADATA

_ID: Final = String(64)
_NAME: Final = String(200)

PROPOSAL: Final = Table(
    "proposal",
    METADATA,
    Column("proposal_id", _ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    # What it is about: the order or bid that it would make or change.
    Column("subject", String(128), nullable=False),
    Column("title", Text, nullable=False),
    Column("amount", Float, nullable=False),
    # What would be done, and what the proposer saw of it; JSON.
    Column("body", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("by", _NAME, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_by", _NAME, nullable=False),
    Column("decided_ns", BigInteger, nullable=True),
    Column("note", Text, nullable=False),
    Column("result", Text, nullable=False),
    CheckConstraint("state IN ('waiting', 'approved', 'refused', 'withdrawn')", name="state"),
    CheckConstraint("expires_ns > at_ns", name="expires_later"),
    Index(None, "kind", "at_ns"),
    Index(None, "subject"),
)

ORDER_PREVIEW: Final = Table(
    "order_preview",
    METADATA,
    Column("order_id", _ID, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("by", _NAME, nullable=False),
    Column("said", Text, nullable=False),
)
