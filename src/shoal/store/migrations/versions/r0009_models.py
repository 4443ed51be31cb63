"""Keep trained models: what was trained, who is champion since when, and the contest that runs.

A plant that trained before this revision has the tables already, without the index over roots: they are taken as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables that are not there."""
    there = set(sa.inspect(op.get_bind()).get_table_names())
    if "model" not in there:
        op.create_table(
            "model",
            sa.Column("version", sa.String(length=200), nullable=False),
            sa.Column("series_id", sa.String(length=300), nullable=False),
            sa.Column("root_version", sa.String(length=200), nullable=False),
            sa.Column("asked_ns", sa.BigInteger(), nullable=False),
            sa.Column("from_ns", sa.BigInteger(), nullable=False),
            sa.Column("to_ns", sa.BigInteger(), nullable=False),
            sa.Column("kept_ns", sa.BigInteger(), nullable=False),
            sa.Column("digest", sa.String(length=64), nullable=False),
            sa.Column("size_bytes", sa.BigInteger(), nullable=False),
            sa.Column("scores", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("version", name="pk_model"),
        )
        op.create_index("ix_model_series_id", "model", ["series_id", "asked_ns"])
    op.create_index("ix_model_root_version", "model", ["root_version"])
    if "model_promotion" not in there:
        op.create_table(
            "model_promotion",
            sa.Column("series_id", sa.String(length=300), nullable=False),
            sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("version", sa.String(length=200), nullable=False),
            sa.Column("since_ns", sa.BigInteger(), nullable=False),
            sa.Column("reason", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("series_id", "number", name="pk_model_promotion"),
        )
    if "model_contest" not in there:
        op.create_table(
            "model_contest",
            sa.Column("series_id", sa.String(length=300), nullable=False),
            sa.Column("scored_to_ns", sa.BigInteger(), nullable=False),
            sa.Column("contest", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("series_id", name="pk_model_contest"),
        )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("model_contest", "model_promotion", "model"):
        op.drop_table(name)
