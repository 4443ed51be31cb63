"""Keep what waits for a second person, and the previews that orders were launched from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "proposal",
        sa.Column("proposal_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.String(length=200), nullable=False),
        sa.Column("decided_ns", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'approved', 'refused', 'withdrawn')", name=op.f("ck_proposal_state")
        ),
        sa.CheckConstraint("expires_ns > at_ns", name=op.f("ck_proposal_expires_later")),
        sa.PrimaryKeyConstraint("proposal_id", name="pk_proposal"),
    )
    op.create_index("ix_proposal_kind_at_ns", "proposal", ["kind", "at_ns"])
    op.create_index("ix_proposal_subject", "proposal", ["subject"])
    op.create_table(
        "order_preview",
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name="pk_order_preview"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("order_preview")
    op.drop_index("ix_proposal_subject", "proposal")
    op.drop_index("ix_proposal_kind_at_ns", "proposal")
    op.drop_table("proposal")
