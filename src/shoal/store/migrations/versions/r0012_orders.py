"""Keep orders, kill switches, canary trials and the audit of who asked what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "fleet_order",
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('standing', 'cancelled', 'aborted')", name=op.f("ck_fleet_order_state")
        ),
        sa.CheckConstraint("end_ns > start_ns", name=op.f("ck_fleet_order_ends_after_start")),
        sa.PrimaryKeyConstraint("order_id", name="pk_fleet_order"),
    )
    op.create_index("ix_fleet_order_end_ns", "fleet_order", ["end_ns"])
    op.create_table(
        "fleet_stop",
        sa.Column("stop_id", sa.String(length=64), nullable=False),
        sa.Column("released_ns", sa.BigInteger(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stop_id", name="pk_fleet_stop"),
    )
    op.create_index("ix_fleet_stop_released_ns", "fleet_stop", ["released_ns"])
    op.create_table(
        "order_trial",
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('watching', 'passed', 'failed')", name=op.f("ck_order_trial_state")),
        sa.PrimaryKeyConstraint("order_id", name="pk_order_trial"),
    )
    op.create_table(
        "order_audit",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.CheckConstraint("outcome IN ('done', 'refused')", name=op.f("ck_order_audit_outcome")),
        sa.PrimaryKeyConstraint("number", name="pk_order_audit"),
    )
    op.create_index("ix_order_audit_subject_number", "order_audit", ["subject", "number"])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("order_audit", "order_trial", "fleet_stop", "fleet_order"):
        op.drop_table(name)
