"""Keep which alarms were put aside for a while, by whom and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "alarm_shelf",
        sa.Column("step_no", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("peak_sites", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.CheckConstraint("action IN ('shelved', 'returned')", name=op.f("ck_alarm_shelf_action")),
        sa.ForeignKeyConstraint(["number"], ["alarm.number"], name="fk_alarm_shelf_number"),
        sa.PrimaryKeyConstraint("step_no", name="pk_alarm_shelf"),
    )
    op.create_index("ix_alarm_shelf_number_step_no", "alarm_shelf", ["number", "step_no"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_alarm_shelf_number_step_no", "alarm_shelf")
    op.drop_table("alarm_shelf")
