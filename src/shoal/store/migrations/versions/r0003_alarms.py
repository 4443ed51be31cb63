"""Keep alarms and every step of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "alarm",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.Column("cleared_ns", sa.BigInteger(), nullable=True),
        sa.Column("alarm", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_alarm"),
    )
    op.create_index("ix_alarm_cleared_ns_number", "alarm", ["cleared_ns", "number"])
    op.create_table(
        "alarm_event",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("t_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("alarm", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "action IN ('raised', 'updated', 'acknowledged', 'cleared')", name="ck_alarm_event_action"
        ),
        sa.ForeignKeyConstraint(["number"], ["alarm.number"], name="fk_alarm_event_number"),
        sa.PrimaryKeyConstraint("number", "t_ns", "action", name="pk_alarm_event"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("alarm_event")
    op.drop_index("ix_alarm_cleared_ns_number", "alarm")
    op.drop_table("alarm")
