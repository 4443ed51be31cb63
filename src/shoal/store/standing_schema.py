"""The table of standing services: what is held for days at a feeder or behind a farm, as it was said last."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Column, Integer, String, Table, Text

from shoal.store.schema import METADATA

STANDING_SERVICE: Final = Table(
    "standing_service",
    METADATA,
    Column("service_id", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("said", Text, nullable=False),
    CheckConstraint("state IN ('standing', 'stopped')", name="state"),
)
