"""Keep what comes of settlements: how each version compares with its shadow, and what each home receives of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _version_of() -> tuple[sa.Column[str] | sa.Column[int], ...]:
    return (
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("market_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
    )


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "settlement_check",
        *_version_of(),
        sa.Column("check_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("known_ns", sa.BigInteger(), nullable=False),
        sa.Column("disputes", sa.Integer(), nullable=False),
        sa.Column("unchecked", sa.Integer(), nullable=False),
        sa.Column("checked", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "resource_id", "market_id", "delivery_date", "version", "check_no", name="pk_settlement_check"
        ),
    )
    op.create_table(
        "settlement_share",
        *_version_of(),
        sa.Column("operator_amount", sa.BigInteger(), nullable=False),
        sa.Column("owner_share_permille", sa.Integer(), nullable=False),
        sa.Column("key_sites", sa.LargeBinary(), nullable=False),
        sa.Column("key_weight_wh", sa.LargeBinary(), nullable=False),
        sa.Column("key_of", sa.LargeBinary(), nullable=False),
        sa.Column("sites", sa.LargeBinary(), nullable=False),
        sa.Column("owner_amount", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "resource_id", "market_id", "delivery_date", "version", name="pk_settlement_share"
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("settlement_share")
    op.drop_table("settlement_check")
