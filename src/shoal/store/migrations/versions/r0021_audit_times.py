"""Read the newest steps of alarms and of bids without reading all of them."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_alarm_event_t_ns_number_action", "alarm_event", ["t_ns", "number", "action"])
    op.create_index(
        "ix_market_bid_step_at_ns_idempotency_key_step_no",
        "market_bid_step",
        ["at_ns", "idempotency_key", "step_no"],
    )


def downgrade() -> None:
    """Drop the indexes."""
    op.drop_index("ix_market_bid_step_at_ns_idempotency_key_step_no", "market_bid_step")
    op.drop_index("ix_alarm_event_t_ns_number_action", "alarm_event")
