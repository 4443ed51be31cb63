"""What the interface answers about one site: what it does now, its history, its orders, its device, what happened."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from shoal.api.answers import QualityFlag, Signal, TwinGrade
from shoal.api.live.state import Alarm

AskKind: TypeAlias = Literal[
    "power", "charge", "hold", "local", "setpoint", "call", "prices", "envelope", "droop"
]
SiteTier: TypeAlias = Literal["samples", "5min", "1h"]


class SiteAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What one order asks of a site.

    `site_kw` is the site's own part, charging positive; None where the controller decides it in each cycle, as it does for
    set-points and calls, or where no power is asked. `all_kw` is what all sites of the order do together, None where it
    is not said. `until_ms` is when it ends or was ended.
    """

    order_id: str
    program: str
    kind: AskKind
    from_ms: int
    until_ms: int
    state: Literal["standing", "cancelled", "aborted"]
    site_kw: float | None
    all_kw: float | None
    soc_frac: float | None
    by: str
    at_ms: int
    reason: str


class SiteStop(msgspec.Struct, frozen=True, kw_only=True):
    """A kill switch that holds for a site; `kind` says of what."""

    stop_id: str
    kind: Literal["site", "group", "fleet"]
    target: str
    since_ms: int
    by: str
    reason: str


class SiteReported(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says that it follows.

    `following` is the version of the desired state, 0 when the device decides by itself and None when it does not say;
    `heard_ms` the device's time of the sample that says so. `refused` is the newest refusal of the last day.
    """

    following: int | None
    heard_ms: int | None
    refused_ms: int | None
    refused: str


class SiteNow(msgspec.Struct, frozen=True, kw_only=True):
    """What a site does now, load-positive; None where it is not measured.

    `grid_kw` is what the connection takes, from what is measured behind it; None without the load. `reserve_frac` is
    the state of charge that its owner keeps. `asked` are the orders in force, the one that goes first on top.
    """

    site_id: str
    as_of_ms: int
    grade: TwinGrade
    heard_ms: int | None
    age_s: float | None
    signals: list[Signal]
    grid_kw: float | None
    soc_frac: float | None
    energy_kwh: float | None
    energy_capacity_kwh: float
    reserve_frac: float
    flags: list[QualityFlag]
    stop: SiteStop | None
    asked: list[SiteAsked]
    reported: SiteReported


class SiteSilence(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time of which nothing is on record."""

    from_ms: int
    to_ms: int


class SiteHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A site's history as columns, up to its newest sample; powers load-positive, None where not measured.

    A point is the mean over at most `step_s`; samples under suspicion are counted and left out. `gap` says that between
    the point before and this one the site was silent for longer than `gap_after_s`, and `silences` says when. Up to
    `seam_ms` it comes from history, after it from the twin; a gap there is no silence: history is behind. `following` is
    the newest version that the site followed.
    """

    site_id: str
    from_ms: int
    to_ms: int
    tier: SiteTier
    step_s: float
    gap_after_s: float
    seam_ms: int | None
    t_ms: list[int]
    battery_kw: list[float | None]
    solar_kw: list[float | None]
    load_kw: list[float | None]
    ev_kw: list[float | None]
    grid_kw: list[float | None]
    soc_frac: list[float | None]
    following: list[int | None]
    gap: list[bool]
    silences: list[SiteSilence]
    samples: int
    suspect_samples: int


class SiteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One order, and what the site did meanwhile.

    `measured_kw` is the mean of what the battery did within the order, None when nothing was heard; `heard_frac` the
    share of that time that the samples cover, `followed_frac` the share of the samples that followed an instruction.
    """

    order: SiteAsked
    measured_kw: float | None
    heard_frac: float
    followed_frac: float | None


class SiteCommands(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of a site's battery against what it did, as columns, and order by order, the newest first.

    `commanded_kw` is None where no power was asked of the site, or where its part is decided in each cycle.
    """

    site_id: str
    from_ms: int
    to_ms: int
    step_s: float
    t_ms: list[int]
    commanded_kw: list[float | None]
    measured_kw: list[float | None]
    following: list[int | None]
    gap: list[bool]
    orders: list[SiteResponse]


class SiteParameter(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a device: what a service assumes, what the device says, and whether that is too far off."""

    resource_id: str
    service: str
    name: Literal["droop", "deadband", "ramp", "response", "power", "firmware"]
    assumed: str
    reported: str | None
    drifted: bool


class SiteDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A site's device: its connection, its secret, its settings, and the alarms that concern it.

    `enrolled_ms` is when the device, or the gateway before it, was given its secret; None when it has none.
    `withheld_kw` is the capacity that services can no longer count on.
    """

    site_id: str
    as_of_ms: int
    device_type: str
    gateway_id: str | None
    gateway_unit: int | None
    grade: TwinGrade
    heard_ms: int | None
    age_s: float | None
    signals: list[Signal]
    flags: list[QualityFlag]
    enrolled_ms: int | None
    revoked_ms: int | None
    firmware: str | None
    reported_ms: int | None
    parameters: list[SiteParameter]
    withheld_kw: float
    alarms: list[Alarm]


SiteHappened: TypeAlias = Literal[
    "asked",
    "ended",
    "refused",
    "left",
    "returned",
    "joined",
    "withdrew",
    "opted_out",
    "promised",
    "paid",
    "noted",
]


class SiteEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a site; `subject` is the order, program or day that it is about.

    `amount` is what the owner receives of a settled day, in `currency`; `words` are the plant's own, for people.
    """

    at_ms: int
    what: SiteHappened
    subject: str
    by: str
    words: str
    amount: str | None
    currency: str | None


class SiteEvents(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a site, the newest first; `truncated` when there was more than asked for."""

    site_id: str
    events: list[SiteEvent]
    truncated: bool


SITE_TYPES: Final = (SiteNow, SiteHistory, SiteCommands, SiteDevice, SiteEvents)
"""For the contract."""
