"""Every table of the database, declared once; the migrations are held equal to this by a test.

Registry tables say what is installed and who belongs where, valid in `[valid_from_ns, valid_until_ns)` (no
end: NULL). Ledger tables keep facts with both times: what they are about, and when they were known.
Times are UTC nanoseconds, money is whole 1e-8 currency units, energy in payloads is whole Wh.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shoal.domain.fleet import NAMEPLATE

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID: Final = String(64)
_NAME: Final = String(200)
_DATE: Final = String(10)
_ENDS_AFTER_START: Final = "valid_until_ns IS NULL OR valid_until_ns > valid_from_ns"


def _effective_dates() -> tuple[Column[int], Column[int | None], CheckConstraint]:
    return (
        Column("valid_from_ns", BigInteger, primary_key=True, autoincrement=False),
        Column("valid_until_ns", BigInteger, nullable=True),
        CheckConstraint(_ENDS_AFTER_START, name="ends_after_start"),
    )


# -- registry

# A number that grows with every change of sites, groups and memberships.
REGISTRY_VERSION: Final = Table(
    "registry_version",
    METADATA,
    Column("name", _ID, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

GATEWAY: Final = Table(
    "gateway",
    METADATA,
    Column("gateway_id", _ID, primary_key=True),
    Column("gateway_no", Integer, nullable=False, unique=True),
)

SITE: Final = Table(
    "site",
    METADATA,
    Column("site_id", _ID, primary_key=True),
    Column("site_no", Integer, nullable=False, unique=True),
    Column("latitude_deg", Double, nullable=False),
    Column("longitude_deg", Double, nullable=False),
    *(Column(column.name, Double, nullable=False) for column in NAMEPLATE.columns),
    Column("device_type", Integer, nullable=False, server_default=text("0")),
    # Both or neither: without a gateway the site has a connection of its own.
    Column("gateway_id", _ID, ForeignKey("gateway.gateway_id"), nullable=True),
    Column("gateway_unit", Integer, nullable=True),
    CheckConstraint("device_type BETWEEN 0 AND 255", name="device_type"),
    CheckConstraint(
        "(gateway_unit IS NULL) = (gateway_id IS NULL) AND gateway_unit BETWEEN 1 AND 65535",
        name="gateway_unit",
    ),
    Index(None, "gateway_id", "gateway_unit", unique=True),
)

HIERARCHY: Final = Table("hierarchy", METADATA, Column("hierarchy_id", _ID, primary_key=True))

GROUP_NODE: Final = Table(
    "group_node",
    METADATA,
    Column("group_id", _ID, primary_key=True),
    Column("group_no", Integer, nullable=False, unique=True),
    Column("hierarchy_id", _ID, ForeignKey("hierarchy.hierarchy_id"), nullable=False),
    Column("parent_id", _ID, nullable=True),
    Column("name", _NAME, nullable=False),
    Column("level", Integer, nullable=False),
    UniqueConstraint("group_id", "hierarchy_id"),
    # A parent is a node of the same hierarchy.
    ForeignKeyConstraint(["parent_id", "hierarchy_id"], ["group_node.group_id", "group_node.hierarchy_id"]),
)

MEMBERSHIP: Final = Table(
    "membership",
    METADATA,
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("hierarchy_id", _ID, primary_key=True),
    Column("group_id", _ID, nullable=False),
    *_effective_dates(),
    ForeignKeyConstraint(["group_id", "hierarchy_id"], ["group_node.group_id", "group_node.hierarchy_id"]),
    # For the next change after an instant.
    Index(None, "valid_from_ns"),
    Index(
        None,
        "valid_until_ns",
        sqlite_where=text("valid_until_ns IS NOT NULL"),
        postgresql_where=text("valid_until_ns IS NOT NULL"),
    ),
)

# The highest priority goes first. Truth values are 0 and 1.
PROGRAM: Final = Table(
    "program",
    METADATA,
    Column("program_id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("kind", String(16), nullable=False, server_default="power"),
    Column("reserve", String(16), nullable=False, server_default="keep"),
    Column("exclusive", Integer, nullable=False, server_default=text("0")),
    Column("beside_exclusive", Integer, nullable=False, server_default=text("0")),
    Column("may_opt_out", Integer, nullable=False, server_default=text("1")),
    Column("minimum_notice_s", Integer, nullable=False, server_default=text("0")),
    Column("pays", String(16), nullable=False, server_default="nothing"),
    Column("terms", _ID, nullable=False, server_default=""),
)

ENROLMENT: Final = Table(
    "enrolment",
    METADATA,
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("program_id", _ID, ForeignKey("program.program_id"), primary_key=True),
    *_effective_dates(),
    # Who agreed to which version of the terms, and when; who withdrew that, and when.
    Column("consented_by", _NAME, nullable=False, server_default=""),
    Column("consented_ns", BigInteger, nullable=True),
    Column("terms", _ID, nullable=False, server_default=""),
    Column("withdrawn_by", _NAME, nullable=False, server_default=""),
    Column("withdrawn_ns", BigInteger, nullable=True),
    # One tree by the key: read for the whole fleet in half the time.
    sqlite_with_rowid=False,
)

OPT_OUT: Final = Table(
    "opt_out",
    METADATA,
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("program_id", _ID, ForeignKey("program.program_id"), primary_key=True),
    *_effective_dates(),
    Column("said_by", _NAME, nullable=False),
    Column("said_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

OWNER_PROMISE: Final = Table(
    "owner_promise",
    METADATA,
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    # In the unit that the kind names.
    Column("amount", Double, nullable=False),
    *_effective_dates(),
    Column("said_by", _NAME, nullable=False),
    Column("said_ns", BigInteger, nullable=False),
    CheckConstraint("kind IN ('reserve_frac', 'cycle_wh_per_day')", name="kind"),
    CheckConstraint("amount >= 0", name="amount"),
    sqlite_with_rowid=False,
)

# When an owner keeps a site to itself, by the clock of a zone; `said` as `shoal.programs.hours` writes it.
OWNER_HOURS: Final = Table(
    "owner_hours",
    METADATA,
    Column("site_id", _ID, ForeignKey("site.site_id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("said", String(1_000), nullable=False),
    *_effective_dates(),
    Column("said_by", _NAME, nullable=False),
    Column("said_ns", BigInteger, nullable=False),
    CheckConstraint("kind IN ('not_available')", name="kind"),
    sqlite_with_rowid=False,
)

RESOURCE: Final = Table(
    "resource",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("resource_no", Integer, nullable=False, unique=True),
    Column("market_id", _ID, nullable=False),
    Column("settlement_point", _ID, nullable=False),
    Column("group_id", _ID, ForeignKey("group_node.group_id"), nullable=False),
    Column("throughput_cost_per_mwh", Double, nullable=False),
    Column("owner_share_frac", Double, nullable=False),
)

DEVICE_CREDENTIAL: Final = Table(
    "device_credential",
    METADATA,
    # A site or a gateway.
    Column("device_id", _ID, primary_key=True),
    Column("salt", LargeBinary(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("revoked_ns", BigInteger, nullable=True),
)

# -- ledger

WORKFLOW_RUN: Final = Table(
    "workflow_run",
    METADATA,
    Column("workflow_id", _NAME, primary_key=True),
    Column("kind", _NAME, nullable=False),
    Column("resource_id", _ID, nullable=False),
    Column("delivery_date", _DATE, nullable=False),
    Column("gate_ns", BigInteger, nullable=False),
    Column("started_ns", BigInteger, nullable=False, index=True),
    Column("finished_ns", BigInteger, nullable=True),
    Column("status", _NAME, nullable=False),
    Column("rung", _NAME, nullable=False),
    Column("rung_reason", Text, nullable=False),
    Column("steps", Text, nullable=False),
)

STATEMENT: Final = Table(
    "statement",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("delivery_date", _DATE, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("known_ns", BigInteger, nullable=False),
    Column("net_amount", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

SITE_SHARE: Final = Table(
    "site_share",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("delivery_date", _DATE, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("site_id", _ID, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["resource_id", "delivery_date", "version"],
        ["statement.resource_id", "statement.delivery_date", "statement.version"],
    ),
)

FENCE: Final = Table(
    "fence",
    METADATA,
    Column("issuer", _ID, primary_key=True),
    Column("token", BigInteger, nullable=False),
)

CONTROLLER_STATE: Final = Table(
    "controller_state",
    METADATA,
    Column("resource_id", _ID, primary_key=True),
    Column("issuer", _ID, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("saved_ns", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

# Each alarm as it stands, and every step of it; `alarm` is its JSON.
ALARM: Final = Table(
    "alarm",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("subject", _ID, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Column("cleared_ns", BigInteger, nullable=True),
    Column("alarm", Text, nullable=False),
    Index(None, "cleared_ns", "number"),
)

ALARM_EVENT: Final = Table(
    "alarm_event",
    METADATA,
    Column("number", BigInteger, ForeignKey("alarm.number"), primary_key=True, autoincrement=False),
    Column("t_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("action", String(16), primary_key=True),
    # Who was behind it; empty for nobody.
    Column("by", _NAME, nullable=False),
    Column("alarm", Text, nullable=False),
    CheckConstraint("action IN ('raised', 'updated', 'acknowledged', 'cleared')", name="action"),
    # The audit reads the newest steps of all alarms.
    Index(None, "t_ns", "number", "action"),
)

WEATHER_ALERT: Final = Table(
    "weather_alert",
    METADATA,
    # A digest of what its issuer calls it.
    Column("key", String(16), primary_key=True),
    Column("taken_ns", BigInteger, nullable=False),
    Column("taken_by", _NAME, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    Column("alert", Text, nullable=False),
    Index(None, "until_ns"),
)

# -- facts: what was said of every series, about which intervals, and when it was known; see `shoal.store.facts`

FACT_SERIES: Final = Table(
    "fact_series",
    METADATA,
    Column("series_no", Integer, primary_key=True, autoincrement=False),
    Column("series_id", String(300), nullable=False, unique=True),
    # JSON; NULL for a series without one.
    Column("contract", Text, nullable=True),
    # Values a fact, and how much time a part of the series covers: fixed by the contract or the first fact.
    Column("width", Integer, nullable=True),
    Column("span_ns", BigInteger, nullable=True),
    Column("facts", BigInteger, nullable=False),
    Column("latest_start_ns", BigInteger, nullable=True),
    Column("latest_end_ns", BigInteger, nullable=True),
    Column("latest_known_ns", BigInteger, nullable=True),
    Column("last_record", BigInteger, nullable=False, index=True),
)

FACT_SOURCE: Final = Table(
    "fact_source",
    METADATA,
    Column("source_no", Integer, primary_key=True, autoincrement=False),
    Column("name", _NAME, nullable=False, unique=True),
)

FACT_BLOCK: Final = Table(
    "fact_block",
    METADATA,
    Column("series_no", Integer, ForeignKey("fact_series.series_no"), primary_key=True, autoincrement=False),
    Column("part_no", BigInteger, primary_key=True, autoincrement=False),
    Column("block_no", BigInteger, primary_key=True, autoincrement=False),
    Column("facts", Integer, nullable=False),
    Column("first_start_ns", BigInteger, nullable=False),
    Column("last_start_ns", BigInteger, nullable=False),
    Column("first_known_ns", BigInteger, nullable=False),
    Column("first_record", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

FACT_QUARANTINE: Final = Table(
    "fact_quarantine",
    METADATA,
    Column("series_no", Integer, ForeignKey("fact_series.series_no"), primary_key=True, autoincrement=False),
    Column("start_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    # Of what was said and by whom: the same broken word is kept once, however often it is repeated.
    Column("digest", String(16), primary_key=True),
    Column("end_ns", BigInteger, nullable=False),
    Column("known_ns", BigInteger, nullable=False),
    Column("source_no", Integer, ForeignKey("fact_source.source_no"), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Index(None, "known_ns"),
)
