"""Give sites a gateway and a type, let gateways sign in, and number the states of the registry.

The table of assets goes: it said again what the nameplate says.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Written out, because SQLite can add a column in place but Alembic would rebuild the table, which the rows that refer
# to it forbid.
_SITE_COLUMNS: Final = (
    "device_type INTEGER DEFAULT 0 NOT NULL CONSTRAINT ck_site_device_type CHECK (device_type BETWEEN 0 AND 255)",
    "gateway_id VARCHAR(64) CONSTRAINT fk_site_gateway_id REFERENCES gateway (gateway_id)",
    "gateway_unit INTEGER CONSTRAINT ck_site_gateway_unit "
    "CHECK ((gateway_unit IS NULL) = (gateway_id IS NULL) AND gateway_unit BETWEEN 1 AND 65535)",
)


def upgrade() -> None:
    """Add gateways, the columns of sites, the indexes of effective dates and the registry's version."""
    op.create_table(
        "gateway",
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", name="pk_gateway"),
        sa.UniqueConstraint("gateway_no", name="uq_gateway_gateway_no"),
    )
    for column in _SITE_COLUMNS:
        op.execute(f"ALTER TABLE site ADD COLUMN {column}")
    op.create_index("ix_site_gateway_id_gateway_unit", "site", ["gateway_id", "gateway_unit"], unique=True)
    op.create_index("ix_membership_valid_from_ns", "membership", ["valid_from_ns"], unique=False)
    ended = sa.text("valid_until_ns IS NOT NULL")
    op.create_index(
        "ix_membership_valid_until_ns",
        "membership",
        ["valid_until_ns"],
        unique=False,
        sqlite_where=ended,
        postgresql_where=ended,
    )
    with op.batch_alter_table("device_credential") as batch:
        batch.drop_constraint("fk_device_credential_site_id", type_="foreignkey")
        batch.alter_column(
            "site_id", new_column_name="device_id", existing_type=sa.String(64), existing_nullable=False
        )
    op.create_table(
        "registry_version",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_registry_version"),
    )
    op.drop_table("asset")
    op.execute("INSERT INTO registry_version (name, version) VALUES ('fleet', 1)")


def downgrade() -> None:
    """Take them away again, the credentials of gateways with them, and write the assets down."""
    op.drop_table("registry_version")
    op.execute("DELETE FROM device_credential WHERE device_id NOT IN (SELECT site_id FROM site)")
    with op.batch_alter_table("device_credential") as batch:
        batch.alter_column(
            "device_id", new_column_name="site_id", existing_type=sa.String(64), existing_nullable=False
        )
    with op.batch_alter_table("device_credential") as batch:
        batch.create_foreign_key("fk_device_credential_site_id", "site", ["site_id"], ["site_id"])
    op.drop_index("ix_membership_valid_until_ns", "membership")
    op.drop_index("ix_membership_valid_from_ns", "membership")
    op.drop_index("ix_site_gateway_id_gateway_unit", "site")
    # A column that others depend on goes last.
    for column in ("gateway_unit", "gateway_id", "device_type"):
        op.execute(f"ALTER TABLE site DROP COLUMN {column}")
    op.drop_table("gateway")
    _create_assets()


def _create_assets() -> None:
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
    larger = "CASE WHEN charge_limit_kw > discharge_limit_kw THEN charge_limit_kw ELSE discharge_limit_kw END"
    for kind, rated, energy, condition in (
        ("battery", larger, "energy_capacity_kwh", f"{larger} > 0 OR energy_capacity_kwh > 0"),
        ("solar", "solar_limit_kw", "NULL", "solar_limit_kw > 0"),
        ("ev", "ev_limit_kw", "NULL", "ev_limit_kw > 0"),
        ("load", "NULL", "NULL", "1 = 1"),
    ):
        op.execute(
            "INSERT INTO asset (asset_id, site_id, kind, rated_kw, energy_kwh) "
            f"SELECT site_id || '-{kind}', site_id, '{kind}', {rated}, {energy} FROM site WHERE {condition}"
        )
