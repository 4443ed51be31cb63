"""Keep people: who may sign in as what, who is signed in, and what was changed about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "page_user",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("sites", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("password_ns", sa.BigInteger(), nullable=False),
        sa.Column("made_ns", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_page_user"),
    )
    op.create_table(
        "page_session",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("made_ns", sa.BigInteger(), nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_name"], ["page_user.name"], name="fk_page_session_user_name", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name="pk_page_session"),
    )
    op.create_index("ix_page_session_user_name", "page_session", ["user_name"])
    op.create_table(
        "user_step",
        sa.Column("step_no", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("step_no", name="pk_user_step"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("user_step", "page_session", "page_user"):
        op.drop_table(name)
