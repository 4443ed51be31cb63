"""What the interface answers about limits at connections, operating envelopes, and owners' hours."""

from __future__ import annotations

from typing import Final, Literal

import msgspec


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """What may always flow at the connection of a group or site; null where there is no limit."""

    kind: Literal["site", "group"]
    target: str
    import_limit_w: int | None
    export_limit_w: int | None
    by: str
    at_ms: int
    reason: str


class EnvelopeView(msgspec.Struct, frozen=True, kw_only=True):
    """What may flow there for a while instead."""

    kind: Literal["site", "group"]
    target: str
    start_ms: int
    end_ms: int
    issued_ms: int
    import_limit_w: int
    export_limit_w: int
    by: str


class BoundView(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that a group's limit holds back; `shadow_price_per_w` is in the split's own measure, not money."""

    claim: str
    direction: Literal["charge", "discharge"]
    held_w: int
    shadow_price_per_w: float


class GroupLimitView(msgspec.Struct, frozen=True, kw_only=True):
    """A limited group in the last cycle.

    The limits are those of the stretch that a set-point may last, less the margin. `flow_w` is what flows with what is
    asked, as far as it is known; it lies between `low_w` and `high_w` whatever the silent sites do.
    """

    group_id: str
    import_limit_w: int | None
    export_limit_w: int | None
    source: Literal["limit", "envelope"]
    flow_w: int
    low_w: int
    high_w: int
    sites: int
    silent_sites: int
    bound: list[BoundView]


class LimitsNow(msgspec.Struct, frozen=True, kw_only=True):
    """How the limits stood in the last cycle; the groups that hold something back come first."""

    t_ms: int
    groups: list[GroupLimitView]
    group_count: int
    limited_sites: int
    unknown: list[str]
    said: list[str]
    losses: list[str]


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, the envelopes that are not over, and what the last cycle made of them; null before the first."""

    limits: list[LimitView]
    envelopes: list[EnvelopeView]
    now: LimitsNow | None


class HoursView(msgspec.Struct, frozen=True, kw_only=True):
    """Hours in which an owner keeps the site from programs that ask for power, by the clock of a zone."""

    hours: str
    zone: str
    from_ms: int
    until_ms: int | None
    now: bool
    said_by: str
    said_ms: int


class SiteHoursView(msgspec.Struct, frozen=True, kw_only=True):
    """The hours on record of a site, the earliest first; `away` says whether it is kept now."""

    site_id: str
    away: bool
    hours: list[HoursView]


LIMIT_TYPES: Final = (LimitsView, SiteHoursView)
"""For the contract."""
