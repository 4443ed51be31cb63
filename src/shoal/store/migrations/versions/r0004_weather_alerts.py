"""Keep weather alerts until some time after they end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "weather_alert",
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("taken_ns", sa.BigInteger(), nullable=False),
        sa.Column("taken_by", sa.String(length=200), nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_weather_alert"),
    )
    op.create_index("ix_weather_alert_until_ns", "weather_alert", ["until_ns"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_weather_alert_until_ns", "weather_alert")
    op.drop_table("weather_alert")
