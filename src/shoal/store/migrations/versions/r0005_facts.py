"""Keep facts: what was said of every series, about which intervals, and when it was known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "fact_series",
        sa.Column("series_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.String(length=300), nullable=False),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("span_ns", sa.BigInteger(), nullable=True),
        sa.Column("facts", sa.BigInteger(), nullable=False),
        sa.Column("latest_start_ns", sa.BigInteger(), nullable=True),
        sa.Column("latest_end_ns", sa.BigInteger(), nullable=True),
        sa.Column("latest_known_ns", sa.BigInteger(), nullable=True),
        sa.Column("last_record", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("series_no", name="pk_fact_series"),
        sa.UniqueConstraint("series_id", name="uq_fact_series_series_id"),
    )
    op.create_index("ix_fact_series_last_record", "fact_series", ["last_record"])
    op.create_table(
        "fact_source",
        sa.Column("source_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("source_no", name="pk_fact_source"),
        sa.UniqueConstraint("name", name="uq_fact_source_name"),
    )
    op.create_table(
        "fact_block",
        sa.Column("series_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("facts", sa.Integer(), nullable=False),
        sa.Column("first_start_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_start_ns", sa.BigInteger(), nullable=False),
        sa.Column("first_known_ns", sa.BigInteger(), nullable=False),
        sa.Column("first_record", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["series_no"], ["fact_series.series_no"], name="fk_fact_block_series_no"),
        sa.PrimaryKeyConstraint("series_no", "part_no", "block_no", name="pk_fact_block"),
    )
    op.create_table(
        "fact_quarantine",
        sa.Column("series_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("known_ns", sa.BigInteger(), nullable=False),
        sa.Column("source_no", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_no"], ["fact_series.series_no"], name="fk_fact_quarantine_series_no"
        ),
        sa.ForeignKeyConstraint(
            ["source_no"], ["fact_source.source_no"], name="fk_fact_quarantine_source_no"
        ),
        sa.PrimaryKeyConstraint("series_no", "start_ns", "revision", "digest", name="pk_fact_quarantine"),
    )
    op.create_index("ix_fact_quarantine_known_ns", "fact_quarantine", ["known_ns"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index("ix_fact_quarantine_known_ns", "fact_quarantine")
    op.drop_table("fact_quarantine")
    op.drop_table("fact_block")
    op.drop_table("fact_source")
    op.drop_index("ix_fact_series_last_record", "fact_series")
    op.drop_table("fact_series")
