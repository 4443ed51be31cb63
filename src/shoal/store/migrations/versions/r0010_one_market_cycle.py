"""Bids and awards of the first day-ahead path move to where those of every market are; its forecasts are facts now.

A bid whose outcome was open goes on where it was: a draft whose gate has closed is withdrawn, others are read back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ROWS = 500
_PRODUCT = "day-ahead"
_ZONE = ZoneInfo("America/Chicago")
_GATE = time(10)
"""Of the one market there was, on the day before delivery."""
_NS_PER_S = 1_000_000_000
_NS_PER_H = 3_600 * _NS_PER_S
_STATE = {"building": "draft"}

_NEW_BID = sa.table(
    "market_bid",
    *(
        sa.column(name)
        for name in (
            "idempotency_key",
            "resource_id",
            "market_id",
            "delivery_date",
            "revision",
            "gate_key",
            "closes_ns",
            "decision_id",
            "author",
            "created_ns",
            "state",
            "content_digest",
            "bid",
            "receipt",
        )
    ),
)
_NEW_STEP = sa.table(
    "market_bid_step",
    *(sa.column(name) for name in ("idempotency_key", "step_no", "at_ns", "state", "by", "said")),
)
_NEW_AWARD = sa.table(
    "market_award",
    *(
        sa.column(name)
        for name in ("resource_id", "market_id", "delivery_date", "version", "known_ns", "award")
    ),
)


def upgrade() -> None:
    """Move the rows and drop the tables."""
    connection = op.get_bind()
    for rows in _batches(connection, "SELECT * FROM bid ORDER BY idempotency_key"):
        connection.execute(_NEW_BID.insert(), [_bid(row) for row in rows])
        connection.execute(_NEW_STEP.insert(), [step for row in rows for step in _steps(row)])
    for rows in _batches(connection, "SELECT * FROM award ORDER BY resource_id, delivery_date, version"):
        connection.execute(_NEW_AWARD.insert(), [_award(row) for row in rows])
    for name in ("bid", "award", "forecast"):
        op.drop_table(name)


def downgrade() -> None:
    """Make the tables again, empty: what has been bid since then has no place in them."""
    op.create_table(
        "forecast",
        sa.Column("workflow_id", sa.String(length=200), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("settlement_point", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("issued_ns", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "resource_id", "model", name="pk_forecast"),
    )
    op.create_index("ix_forecast_settlement_point_issued_ns", "forecast", ["settlement_point", "issued_ns"])
    op.create_table(
        "bid",
        sa.Column("idempotency_key", sa.String(length=200), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("bid", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("rung", sa.String(length=200), nullable=False),
        sa.Column("rung_reason", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("submitted_ns", sa.BigInteger(), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("received_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status IN ('building', 'submitted', 'accepted', 'rejected', 'unknown')",
            name=op.f("ck_bid_status"),
        ),
        sa.PrimaryKeyConstraint("idempotency_key", name="pk_bid"),
        sa.UniqueConstraint(
            "resource_id", "delivery_date", "revision", name="uq_bid_resource_id_delivery_date_revision"
        ),
    )
    op.create_index("ix_bid_delivery_date", "bid", ["delivery_date"])
    op.create_table(
        "award",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("delivery_date", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("published_ns", sa.BigInteger(), nullable=False),
        sa.Column("award", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", "delivery_date", "version", name="pk_award"),
    )
    op.create_index("ix_award_resource_id_start_ns", "award", ["resource_id", "start_ns"])


def _batches(connection: sa.Connection, query: str) -> Iterator[list[Any]]:
    found = connection.execute(sa.text(query)).mappings().all()
    for first in range(0, len(found), _ROWS):
        yield list(found[first : first + _ROWS])


def _bid(row: Any) -> dict[str, Any]:
    """Return a bid as it is kept now."""
    old = json.loads(row["bid"])
    new = {name: value for name, value in old.items() if name != "orders"}
    new["offers"] = [{"shape": "orders", "product": _PRODUCT, "orders": old["orders"]}]
    content = json.dumps([new[name] for name in ("resource_id", "market_id", "delivery_date", "offers")])
    receipt = None if row["receipt"] is None else _receipt(json.loads(row["receipt"]))
    return {
        "idempotency_key": row["idempotency_key"],
        "resource_id": row["resource_id"],
        "market_id": old["market_id"],
        "delivery_date": row["delivery_date"],
        "revision": row["revision"],
        "gate_key": f"{old['market_id']}-{_PRODUCT}-{row['delivery_date']}",
        "closes_ns": _closes_ns(row["delivery_date"]),
        "decision_id": "",
        "author": "",
        "created_ns": row["created_ns"],
        "state": _STATE.get(row["status"], row["status"]),
        "content_digest": hashlib.sha256(content.encode()).hexdigest(),
        "bid": json.dumps(new),
        "receipt": receipt,
    }


def _receipt(old: dict[str, Any]) -> str:
    new = {name: old[name] for name in ("idempotency_key", "bid_id", "received_ns")}
    new |= {"state": old["status"], "reason": old.get("reason", ""), "fix": old.get("detail", "")}
    return json.dumps(new)


def _steps(row: Any) -> Iterator[dict[str, Any]]:
    """Yield the steps of a bid as far as they are known."""
    steps = [("draft", row["created_ns"]), ("submitted", row["submitted_ns"])]
    state = _STATE.get(row["status"], row["status"])
    if state not in {"draft", "submitted"}:
        steps.append((state, row["received_ns"] or row["submitted_ns"] or row["created_ns"]))
    known = [(name, at_ns) for name, at_ns in steps if at_ns is not None]
    for number, (name, at_ns) in enumerate(known):
        said = f"made on rung {row['rung']}" if number == 0 else ""
        yield {
            "idempotency_key": row["idempotency_key"],
            "step_no": number,
            "at_ns": at_ns,
            "state": name,
            "by": "bidding",
            "said": said,
        }


def _award(row: Any) -> dict[str, Any]:
    old = json.loads(row["award"])
    new = {name: value for name, value in old.items() if name != "intervals"}
    new["quantities"] = [
        {
            "product": _PRODUCT,
            "start_ns": one["start_ns"],
            "end_ns": one["end_ns"],
            "power_w": one["energy_wh"] * _NS_PER_H // (one["end_ns"] - one["start_ns"]),
            "price_per_mwh": one["price_per_mwh"],
        }
        for one in old["intervals"]
    ]
    return {
        "resource_id": row["resource_id"],
        "market_id": old["market_id"],
        "delivery_date": row["delivery_date"],
        "version": row["version"],
        "known_ns": row["published_ns"],
        "award": json.dumps(new),
    }


def _closes_ns(delivery_date: str) -> int:
    gate = datetime.combine(date.fromisoformat(delivery_date) - timedelta(days=1), _GATE, _ZONE)
    return int(gate.astimezone(UTC).timestamp()) * _NS_PER_S
