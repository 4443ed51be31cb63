"""The tables of trained models: what was trained, who is champion since when, and the contest that runs."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from shoal.store.schema import METADATA

_SERIES: Final = String(300)
_VERSION: Final = String(200)

MODEL: Final = Table(
    "model",
    METADATA,
    Column("version", _VERSION, primary_key=True),
    Column("series_id", _SERIES, nullable=False),
    # The training that it comes from: itself, or what it was before it went on learning.
    Column("root_version", _VERSION, nullable=False),
    # What the training was asked for; a state that learned on has that of its root.
    Column("asked_ns", BigInteger, nullable=False),
    Column("from_ns", BigInteger, nullable=False),
    Column("to_ns", BigInteger, nullable=False),
    Column("kept_ns", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("scores", Text, nullable=False),
    Index("ix_model_series_id", "series_id", "asked_ns"),
    Index("ix_model_root_version", "root_version"),
)
PROMOTION: Final = Table(
    "model_promotion",
    METADATA,
    Column("series_id", _SERIES, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("version", _VERSION, nullable=False),
    Column("since_ns", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)
CONTEST: Final = Table(
    "model_contest",
    METADATA,
    Column("series_id", _SERIES, primary_key=True),
    Column("scored_to_ns", BigInteger, nullable=False),
    Column("contest", Text, nullable=False),
)
