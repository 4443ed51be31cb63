"""The tables of orders: what is asked of the fleet, kill switches, canary trials, and the audit of all of it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, String, Table, Text

from shoal.store.schema import METADATA

_ID: Final = String(64)
_NAME: Final = String(200)

FLEET_ORDER: Final = Table(
    "fleet_order",
    METADATA,
    Column("order_id", _ID, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
    CheckConstraint("state IN ('standing', 'cancelled', 'aborted')", name="state"),
    CheckConstraint("end_ns > start_ns", name="ends_after_start"),
    Index(None, "end_ns"),
)

FLEET_STOP: Final = Table(
    "fleet_stop",
    METADATA,
    Column("stop_id", _ID, primary_key=True),
    Column("released_ns", BigInteger, nullable=True, index=True),
    Column("said", Text, nullable=False),
)

ORDER_TRIAL: Final = Table(
    "order_trial",
    METADATA,
    Column("order_id", _ID, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("said", Text, nullable=False),
    CheckConstraint("state IN ('watching', 'passed', 'failed')", name="state"),
)

ORDER_AUDIT: Final = Table(
    "order_audit",
    METADATA,
    # On SQLite only a plain INTEGER counts by itself.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("by", _NAME, nullable=False),
    Column("action", String(16), nullable=False),
    Column("subject", _ID, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("reason", _NAME, nullable=False),
    Column("detail", Text, nullable=False),
    CheckConstraint("outcome IN ('done', 'refused')", name="outcome"),
    Index(None, "subject", "number"),
)
