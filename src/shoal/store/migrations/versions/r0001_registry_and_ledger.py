"""Create the registry and the ledger."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Of rows with the same key, at most one is valid at an instant. Written as triggers, because SQLite has no
# exclusion constraint and PostgreSQL's needs an extension that not every host allows.
_EXCLUSIVE: Final = {"membership": ("site_id", "hierarchy_id"), "enrolment": ("site_id", "program_id")}
_FOREVER: Final = "9223372036854775807"
_SQLITE: Final = """
CREATE TRIGGER {table}_{when}_exclusive AFTER {when} ON {table}
WHEN EXISTS (SELECT 1 FROM {table} o WHERE {overlaps})
BEGIN SELECT RAISE(ABORT, 'two rows of {table} are valid at one instant'); END
"""
_POSTGRESQL: Final = """
CREATE FUNCTION {table}_exclusive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Writers of one site wait for each other, so that neither misses the other's row.
    PERFORM 1 FROM site WHERE site_id = NEW.site_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT 1 FROM {table} o WHERE {overlaps}) THEN
        RAISE EXCEPTION 'two rows of {table} are valid at one instant' USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NULL;
END $$
"""
_POSTGRESQL_TRIGGER: Final = """
CREATE TRIGGER {table}_exclusive AFTER INSERT OR UPDATE ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_exclusive()
"""


def upgrade() -> None:
    """Create every table."""
    _create_registry()
    _create_ledger()
    for table, key in _EXCLUSIVE.items():
        _forbid_overlaps(table, key)


def _forbid_overlaps(table: str, key: tuple[str, ...]) -> None:
    overlaps = " AND ".join(
        [
            *(f"o.{column} = NEW.{column}" for column in key),
            "o.valid_from_ns <> NEW.valid_from_ns",
            f"o.valid_from_ns < COALESCE(NEW.valid_until_ns, {_FOREVER})",
            f"NEW.valid_from_ns < COALESCE(o.valid_until_ns, {_FOREVER})",
        ]
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRESQL.format(table=table, overlaps=overlaps))
        op.execute(_POSTGRESQL_TRIGGER.format(table=table))
        return
    for when in ("insert", "update"):
        op.execute(_SQLITE.format(table=table, overlaps=overlaps, when=when))


def _create_registry() -> None:
    op.create_table(
        "hierarchy",
        sa.Column("hierarchy_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("hierarchy_id", name="pk_hierarchy"),
    )
    op.create_table(
        "program",
        sa.Column("program_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("program_id", name="pk_program"),
    )
    op.create_table(
        "site",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("site_no", sa.Integer(), nullable=False),
        sa.Column("latitude_deg", sa.Double(), nullable=False),
        sa.Column("longitude_deg", sa.Double(), nullable=False),
        sa.Column("charge_limit_kw", sa.Double(), nullable=False),
        sa.Column("discharge_limit_kw", sa.Double(), nullable=False),
        sa.Column("energy_capacity_kwh", sa.Double(), nullable=False),
        sa.Column("charge_efficiency_frac", sa.Double(), nullable=False),
        sa.Column("discharge_efficiency_frac", sa.Double(), nullable=False),
        sa.Column("reserve_frac", sa.Double(), nullable=False),
        sa.Column("solar_limit_kw", sa.Double(), nullable=False),
        sa.Column("ev_limit_kw", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", name="pk_site"),
        sa.UniqueConstraint("site_no", name="uq_site_site_no"),
    )
    op.create_table(
        "group_node",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("group_no", sa.Integer(), nullable=False),
        sa.Column("hierarchy_id", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hierarchy_id"], ["hierarchy.hierarchy_id"], name="fk_group_node_hierarchy_id"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id", "hierarchy_id"],
            ["group_node.group_id", "group_node.hierarchy_id"],
            name="fk_group_node_parent_id_hierarchy_id",
        ),
        sa.PrimaryKeyConstraint("group_id", name="pk_group_node"),
        sa.UniqueConstraint("group_id", "hierarchy_id", name="uq_group_node_group_id_hierarchy_id"),
        sa.UniqueConstraint("group_no", name="uq_group_node_group_no"),
    )
    op.create_table(
        "asset",
        sa.Column("asset_id", sa.String(length=80), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rated_kw", sa.Double(), nullable=True),
        sa.Column("energy_kwh", sa.Double(), nullable=True),
        sa.CheckConstraint("kind IN ('battery', 'solar', 'ev', 'load')", name=op.f("ck_asset_kind")),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_asset_site_id"),
        sa.PrimaryKeyConstraint("asset_id", name="pk_asset"),
    )
    op.create_index("ix_asset_site_id", "asset", ["site_id"], unique=False)
    op.create_table(
        "device_credential",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_device_credential_site_id"),
        sa.PrimaryKeyConstraint("site_id", name="pk_device_credential"),
    )
    op.create_table(
        "enrolment",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("program_id", sa.String(length=64), nullable=False),
        sa.Column("valid_from_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_until_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "valid_until_ns IS NULL OR valid_until_ns > valid_from_ns",
            name=op.f("ck_enrolment_ends_after_start"),
        ),
        sa.ForeignKeyConstraint(["program_id"], ["program.program_id"], name="fk_enrolment_program_id"),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_enrolment_site_id"),
        sa.PrimaryKeyConstraint("site_id", "program_id", "valid_from_ns", name="pk_enrolment"),
    )
    op.create_table(
        "membership",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("hierarchy_id", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("valid_from_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_until_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "valid_until_ns IS NULL OR valid_until_ns > valid_from_ns",
            name=op.f("ck_membership_ends_after_start"),
        ),
        sa.ForeignKeyConstraint(
            ["group_id", "hierarchy_id"],
            ["group_node.group_id", "group_node.hierarchy_id"],
            name="fk_membership_group_id_hierarchy_id",
        ),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_membership_site_id"),
        sa.PrimaryKeyConstraint("site_id", "hierarchy_id", "valid_from_ns", name="pk_membership"),
    )
    op.create_table(
        "resource",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("resource_no", sa.Integer(), nullable=False),
        sa.Column("market_id", sa.String(length=64), nullable=False),
        sa.Column("settlement_point", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("throughput_cost_per_mwh", sa.Double(), nullable=False),
        sa.Column("owner_share_frac", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["group_node.group_id"], name="fk_resource_group_id"),
        sa.PrimaryKeyConstraint("resource_id", name="pk_resource"),
        sa.UniqueConstraint("resource_no", name="uq_resource_resource_no"),
    )


def _create_ledger() -> None:
    op.create_table(
        "price",
        sa.Column("settlement_point", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("known_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("price_per_mwh", sa.Double(), nullable=False),
        sa.CheckConstraint("end_ns > start_ns", name=op.f("ck_price_ends_after_start")),
        sa.PrimaryKeyConstraint("settlement_point", "source", "start_ns", "known_ns", name="pk_price"),
    )
    op.create_table(
        "forecast",
        sa.Column("workflow_id", sa.String(length=200), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("settlement_point", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("issued_ns", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "resource_id", "model", name="pk_forecast"),
    )
    op.create_index(
        "ix_forecast_settlement_point_issued_ns", "forecast", ["settlement_point", "issued_ns"], unique=False
    )
    op.create_table(
        "bid",
        sa.Column("idempotency_key", sa.String(length=200), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("bid", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("rung", sa.String(length=200), nullable=False),
        sa.Column("rung_reason", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("submitted_ns", sa.BigInteger(), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("received_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status IN ('building', 'submitted', 'accepted', 'rejected', 'unknown')",
            name=op.f("ck_bid_status"),
        ),
        sa.PrimaryKeyConstraint("idempotency_key", name="pk_bid"),
        sa.UniqueConstraint(
            "resource_id", "delivery_date", "revision", name="uq_bid_resource_id_delivery_date_revision"
        ),
    )
    op.create_index("ix_bid_delivery_date", "bid", ["delivery_date"], unique=False)
    op.create_table(
        "award",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("published_ns", sa.BigInteger(), nullable=False),
        sa.Column("award", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", "delivery_date", "version", name="pk_award"),
    )
    op.create_index("ix_award_resource_id_start_ns", "award", ["resource_id", "start_ns"], unique=False)
    op.create_table(
        "workflow_run",
        sa.Column("workflow_id", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("gate_ns", sa.BigInteger(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("finished_ns", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(length=200), nullable=False),
        sa.Column("rung", sa.String(length=200), nullable=False),
        sa.Column("rung_reason", sa.Text(), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", name="pk_workflow_run"),
    )
    op.create_index("ix_workflow_run_started_ns", "workflow_run", ["started_ns"], unique=False)
    op.create_table(
        "statement",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("known_ns", sa.BigInteger(), nullable=False),
        sa.Column("net_amount", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", "delivery_date", "version", name="pk_statement"),
    )
    op.create_table(
        "site_share",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["resource_id", "delivery_date", "version"],
            ["statement.resource_id", "statement.delivery_date", "statement.version"],
            name="fk_site_share_resource_id_delivery_date_version",
        ),
        sa.PrimaryKeyConstraint("resource_id", "delivery_date", "version", "site_id", name="pk_site_share"),
    )
    op.create_table(
        "fence",
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", name="pk_fence"),
    )
    op.create_table(
        "controller_state",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("saved_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", name="pk_controller_state"),
    )


def downgrade() -> None:
    """Drop every table, and all that is in them."""
    for table in (
        "controller_state",
        "fence",
        "site_share",
        "statement",
        "workflow_run",
        "award",
        "bid",
        "forecast",
        "price",
        "resource",
        "membership",
        "enrolment",
        "device_credential",
        "asset",
        "group_node",
        "site",
        "program",
        "hierarchy",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for table in _EXCLUSIVE:
            op.execute(f"DROP FUNCTION {table}_exclusive()")
