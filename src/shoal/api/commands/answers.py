"""What the interface answers about commands: orders, kill switches, lines of the audit."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """One order as it stands; `spec` says what is asked, powers in whole watts, charging positive."""

    order_id: str
    revision: int
    program: str
    sites: tuple[str, ...]
    groups: tuple[str, ...]
    fleet: bool
    start_ms: int
    end_ms: int
    spec: dict[str, Any]
    state: str
    by: str
    at_ms: int
    reason: str
    trial: str | None = None


class StopView(msgspec.Struct, frozen=True, kw_only=True):
    """One kill switch."""

    stop_id: str
    kind: str
    target: str
    since_ms: int
    by: str
    reason: str
    released_ms: int | None
    released_by: str
    release_reason: str


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit."""

    number: int
    at_ms: int
    by: str
    action: str
    subject: str
    outcome: str
    reason: str
    detail: str


COMMAND_TYPES: Final = (OrderView, StopView, AuditView)
"""For the contract."""
