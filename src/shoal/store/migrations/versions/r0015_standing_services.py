"""Keep the services that stand for days: peak shaving at a feeder, smoothing behind a farm."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "standing_service",
        sa.Column("service_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('standing', 'stopped')", name=op.f("ck_standing_service_state")),
        sa.PrimaryKeyConstraint("service_id", name="pk_standing_service"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("standing_service")
