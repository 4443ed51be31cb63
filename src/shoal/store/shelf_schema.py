"""The table of shelved alarms: every time somebody put one aside for a while, or took it back."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from shoal.store.schema import METADATA

ALARM_SHELF: Final = Table(
    "alarm_shelf",
    METADATA,
    Column("step_no", Integer, primary_key=True, autoincrement=True),
    Column("number", BigInteger, ForeignKey("alarm.number"), nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("action", String(16), nullable=False),
    Column("by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    # Of what was shelved: until when, and how it stood, so that a worse one comes back.
    Column("until_ns", BigInteger, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("peak_sites", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    CheckConstraint("action IN ('shelved', 'returned')", name="action"),
    Index(None, "number", "step_no"),
)
