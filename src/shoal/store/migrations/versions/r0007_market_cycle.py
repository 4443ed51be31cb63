"""Keep the market cycle: decisions, bids of every shape with their steps, awards, settlements, consent, slots of bidders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = (
    "decision",
    "market_bid",
    "market_bid_step",
    "market_award",
    "market_settlement",
    "consent",
    "bidder_slot",
)
_STATES = "'draft', 'submitted', 'unknown', 'accepted', 'rejected', 'superseded', 'withdrawn'"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "decision",
        sa.Column("decision_id", sa.String(length=300), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("market_id", sa.String(length=64), nullable=False),
        sa.Column("gate_key", sa.String(length=300), nullable=False),
        sa.Column("closes_ns", sa.BigInteger(), nullable=False),
        sa.Column("as_of_ns", sa.BigInteger(), nullable=False),
        sa.Column("strategy", sa.String(length=200), nullable=False),
        sa.Column("strategy_version", sa.String(length=200), nullable=False),
        sa.Column("rung", sa.String(length=200), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("trigger", sa.String(length=200), nullable=False),
        sa.Column("situation", sa.LargeBinary(), nullable=False),
        sa.Column("questions", sa.Text(), nullable=False),
        sa.Column("known_digest", sa.String(length=64), nullable=False),
        sa.Column("tried", sa.Text(), nullable=False),
        sa.Column("decision", sa.LargeBinary(), nullable=False),
        sa.Column("known_parts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decision"),
    )
    op.create_index("ix_decision_resource_id_closes_ns", "decision", ["resource_id", "closes_ns"])
    op.create_table(
        "market_bid",
        sa.Column("idempotency_key", sa.String(length=300), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("market_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("gate_key", sa.String(length=300), nullable=False),
        sa.Column("closes_ns", sa.BigInteger(), nullable=False),
        sa.Column("decision_id", sa.String(length=300), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("bid", sa.Text(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("idempotency_key", name="pk_market_bid"),
        sa.UniqueConstraint(
            "resource_id",
            "market_id",
            "delivery_date",
            "revision",
            name="uq_market_bid_resource_id_market_id_delivery_date_revision",
        ),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_market_bid_state"),
    )
    op.create_index(
        "ix_market_bid_resource_id_market_id_gate_key", "market_bid", ["resource_id", "market_id", "gate_key"]
    )
    op.create_index("ix_market_bid_state", "market_bid", ["state"])
    op.create_table(
        "market_bid_step",
        sa.Column("idempotency_key", sa.String(length=300), nullable=False),
        sa.Column("step_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("idempotency_key", "step_no", name="pk_market_bid_step"),
    )
    for name, extra in (
        ("market_award", [sa.Column("award", sa.Text(), nullable=False)]),
        (
            "market_settlement",
            [
                sa.Column("amount", sa.BigInteger(), nullable=False),
                sa.Column("settlement", sa.Text(), nullable=False),
            ],
        ),
    ):
        op.create_table(
            name,
            sa.Column("resource_id", sa.String(length=64), nullable=False),
            sa.Column("market_id", sa.String(length=64), nullable=False),
            sa.Column("delivery_date", sa.String(length=10), nullable=False),
            sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("known_ns", sa.BigInteger(), nullable=False),
            *extra,
            sa.PrimaryKeyConstraint(
                "resource_id", "market_id", "delivery_date", "version", name=f"pk_{name}"
            ),
        )
    op.create_table(
        "consent",
        sa.Column("consent_no", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("consent_no", name="pk_consent"),
        sa.CheckConstraint("kind IN ('mode', 'approval', 'manual')", name="ck_consent_kind"),
    )
    op.create_index("ix_consent_kind_subject", "consent", ["kind", "subject"])
    op.create_table(
        "bidder_slot",
        sa.Column("slot", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_bidder_slot"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in reversed(_TABLES):
        op.drop_table(name)
