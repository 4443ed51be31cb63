"""Keep what the offers of services assume of devices, and what devices say that they are set to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "assumed_parameters",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("said_by", sa.String(length=200), nullable=False),
        sa.Column("said_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_assumed_parameters_site_id"),
        sa.PrimaryKeyConstraint("resource_id", "service", "site_id", name="pk_assumed_parameters"),
    )
    op.create_table(
        "device_parameters",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("t_ns", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_device_parameters_site_id"),
        sa.PrimaryKeyConstraint("site_id", name="pk_device_parameters"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("device_parameters", "assumed_parameters"):
        op.drop_table(name)
