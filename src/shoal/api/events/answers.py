"""What the interface answers about events: what was called, and how it goes."""

from __future__ import annotations

from typing import Final

import msgspec


class TargetView(msgspec.Struct, frozen=True, kw_only=True):
    """What a group delivers throughout, kW to discharge."""

    group: str
    power_kw: float


class ExpectedView(msgspec.Struct, frozen=True, kw_only=True):
    """What may be expected of an event, kW; nine times out of ten it is between `low_kw` and `high_kw`."""

    target_kw: float
    asked_kw: float
    expected_kw: float
    low_kw: float
    high_kw: float
    missing_kw: float
    sites: dict[str, int]


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it stands; `phase` is where the controller is with it."""

    event_id: str
    revision: int
    program: str
    targets: tuple[TargetView, ...]
    called_ms: int
    start_ms: int
    end_ms: int
    state: str
    by: str
    reason: str
    phase: str
    expected: ExpectedView | None
    left: dict[str, int]
    results: tuple[str, ...]


EVENT_TYPES: Final = (EventView,)
"""For the contract."""
