"""The tables of the market cycle: decisions, bids and their steps, awards, settlements, shares, who said what, who is at work."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from shoal.store.schema import METADATA

_ID: Final = String(64)
_NAME: Final = String(200)
_KEY: Final = String(300)
_DATE: Final = String(10)
_DIGEST: Final = String(64)

STATES: Final = ("draft", "submitted", "unknown", "accepted", "rejected", "superseded", "withdrawn")

# What was decided, knowing what. `situation`, `questions` and `known_digest` are what a replay needs; `decision` is its
# JSON, byte for byte. The long ones are compressed.
DECISION: Final = Table(
    "decision",
    METADATA,
    Column("decision_id", _KEY, primary_key=True),
    Column("resource_id", _ID, nullable=False),
    Column("market_id", _ID, nullable=False),
    Column("gate_key", _KEY, nullable=False),
    Column("closes_ns", BigInteger, nullable=False),
    Column("as_of_ns", BigInteger, nullable=False),
    Column("strategy", _NAME, nullable=False),
    Column("strategy_version", _NAME, nullable=False),
    Column("rung", _NAME, nullable=False),
    Column("shadow", Boolean, nullable=False),
    Column("trigger", _NAME, nullable=False),
    Column("situation", LargeBinary, nullable=False),
    Column("questions", Text, nullable=False),
    # Of what was known.
    Column("known_digest", _DIGEST, nullable=False),
    Column("tried", Text, nullable=False),
    Column("decision", LargeBinary, nullable=False),
    # Digests by series and day: they name what differs when a replay finds other facts.
    Column("known_parts", LargeBinary, nullable=False),
    Index(None, "resource_id", "closes_ns"),
)

MARKET_BID: Final = Table(
    "market_bid",
    METADATA,
    Column("idempotency_key", _KEY, primary_key=True),
    Column("resource_id", _ID, nullable=False),
    Column("market_id", _ID, nullable=False),
    Column("delivery_date", _DATE, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("gate_key", _KEY, nullable=False),
    Column("closes_ns", BigInteger, nullable=False),
    Column("decision_id", _KEY, nullable=False),
    # Who made it by hand; empty for the machine.
    Column("author", _NAME, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("content_digest", _DIGEST, nullable=False),
    Column("bid", Text, nullable=False),
    Column("receipt", Text, nullable=True),
    UniqueConstraint("resource_id", "market_id", "delivery_date", "revision"),
    CheckConstraint("state IN (" + ", ".join(f"'{state}'" for state in STATES) + ")", name="state"),
    Index(None, "resource_id", "market_id", "gate_key"),
    Index(None, "state"),
)

# Every step of a bid: who did what, when.
MARKET_BID_STEP: Final = Table(
    "market_bid_step",
    METADATA,
    Column("idempotency_key", _KEY, primary_key=True),
    Column("step_no", Integer, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("by", _NAME, nullable=False),
    Column("said", Text, nullable=False),
    # The audit reads the newest steps of all bids.
    Index(None, "at_ns", "idempotency_key", "step_no"),
)

MARKET_AWARD: Final = Table(
    "market_award",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("market_id", _ID, primary_key=True),
    Column("delivery_date", _DATE, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("known_ns", BigInteger, nullable=False),
    Column("award", Text, nullable=False),
)

MARKET_SETTLEMENT: Final = Table(
    "market_settlement",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("market_id", _ID, primary_key=True),
    Column("delivery_date", _DATE, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("known_ns", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("settlement", Text, nullable=False),
)

# A settlement beside its shadow, as often as the outcome differs.
SETTLEMENT_CHECK: Final = Table(
    "settlement_check",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("market_id", _ID, primary_key=True),
    Column("delivery_date", _DATE, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("check_no", Integer, primary_key=True, autoincrement=False),
    Column("known_ns", BigInteger, nullable=False),
    Column("disputes", Integer, nullable=False),
    Column("unchecked", Integer, nullable=False),
    Column("checked", Text, nullable=False),
)

# What each home receives of a settlement; sites and numbers are compressed columns.
SETTLEMENT_SHARE: Final = Table(
    "settlement_share",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("market_id", _ID, primary_key=True),
    Column("delivery_date", _DATE, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("operator_amount", BigInteger, nullable=False),
    # What the key of this version is made of, and which version's key splits which interval.
    Column("owner_share_permille", Integer, nullable=False),
    Column("key_sites", LargeBinary, nullable=False),
    Column("key_weight_wh", LargeBinary, nullable=False),
    Column("key_of", LargeBinary, nullable=False),
    Column("sites", LargeBinary, nullable=False),
    Column("owner_amount", LargeBinary, nullable=False),
)

# What people said: modes, approvals, manual bids. Nothing is changed, the newest word counts.
CONSENT: Final = Table(
    "consent",
    METADATA,
    Column("consent_no", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    # The resource, or the key of the bid.
    Column("subject", _KEY, nullable=False),
    Column("by", _NAME, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
    CheckConstraint("kind IN ('mode', 'approval', 'manual')", name="kind"),
    Index(None, "kind", "subject"),
)

# Who bids for a resource. A beat is a count, so that nobody's clock is compared with another's.
BIDDER_SLOT: Final = Table(
    "bidder_slot",
    METADATA,
    Column("slot", _NAME, primary_key=True),
    Column("holder", _NAME, nullable=False),
    Column("beat", BigInteger, nullable=False),
)
