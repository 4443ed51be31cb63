"""What a device answers to a set-point or a document: taken, taken in part or refused, and what it follows now."""

from __future__ import annotations

from typing import Literal

import msgspec

from shoal.domain.orders import OrderReport, ReportOutcome
from shoal.domain.outcome import Curtailed, Outcome, Rejected
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_owner import events_of

_ENCODER = msgspec.json.Encoder()


def report_of(
    columns: AgentColumns,
    row: int,
    *,
    kind: Literal["desired", "orders"],
    version: int,
    outcome: Outcome,
    now_ns: int,
    mode: str = "",
    reason: str = "",
) -> OrderReport:
    """Return what the site in `row` says of a message that it was sent.

    Args:
        columns: The agents.
        row: The site.
        kind: Of the message.
        version: Its version; 0 when it could not be read.
        outcome: What the agent made of it.
        now_ns: The device's time.
        mode: What it follows now, see `shoal.edge.agent.MODE_NAMES`; left out when it is not known.
        reason: Said when it was simply taken; otherwise the outcome's own is.
    """
    said: ReportOutcome = "applied"
    if isinstance(outcome, Rejected):
        said, reason = "refused", outcome.reason
    elif isinstance(outcome, Curtailed):
        said, reason = "curtailed", outcome.reason
    return OrderReport(
        kind=kind,
        version=version,
        outcome=said,
        reason=reason,
        t_ns=now_ns,
        mode=mode,
        opted_out=tuple(event.event_id for event in events_of(columns, row, now_ns) if event.opted_out),
    )


def encode_report(report: OrderReport) -> bytes:
    """Return the message that carries a report."""
    return _ENCODER.encode(report)
