"""The tables of limits at connection points: those that always hold, and operating envelopes that end by themselves."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, Table

from shoal.store.schema import METADATA

_ID: Final = String(64)
_NAME: Final = String(200)

# NULL stands for no limit in that direction.
CONNECTION_LIMIT: Final = Table(
    "connection_limit",
    METADATA,
    Column("kind", String(8), primary_key=True),
    Column("target", _ID, primary_key=True),
    Column("import_limit_w", BigInteger, nullable=True),
    Column("export_limit_w", BigInteger, nullable=True),
    Column("said_by", _NAME, nullable=False),
    Column("said_ns", BigInteger, nullable=False),
    Column("reason", _NAME, nullable=False),
    CheckConstraint("kind IN ('site', 'group')", name="kind"),
    CheckConstraint("import_limit_w >= 0 AND export_limit_w >= 0", name="limits"),
)

OPERATING_ENVELOPE: Final = Table(
    "operating_envelope",
    METADATA,
    Column("kind", String(8), primary_key=True),
    Column("target", _ID, primary_key=True),
    Column("start_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("issued_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("import_limit_w", BigInteger, nullable=False),
    Column("export_limit_w", BigInteger, nullable=False),
    Column("said_by", _NAME, nullable=False),
    Column("said_ns", BigInteger, nullable=False),
    CheckConstraint("kind IN ('site', 'group')", name="kind"),
    CheckConstraint("import_limit_w >= 0 AND export_limit_w >= 0", name="limits"),
    CheckConstraint("end_ns > start_ns", name="ends_after_start"),
    Index(None, "end_ns"),
)
