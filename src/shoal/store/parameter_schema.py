"""The tables of parameters: what the offers of services assume of devices, and what devices say that they are set to."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, String, Table, Text

from shoal.store.schema import METADATA

_ID: Final = String(64)
_NAME: Final = String(200)

ASSUMED_PARAMETERS: Final = Table(
    "assumed_parameters",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("service", _ID, primary_key=True),
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("said", Text, nullable=False),
    Column("said_by", _NAME, nullable=False),
    Column("said_ns", BigInteger, nullable=False),
)

DEVICE_PARAMETERS: Final = Table(
    "device_parameters",
    METADATA,
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("t_ns", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
)
