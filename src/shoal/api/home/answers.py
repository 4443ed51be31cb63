"""What the interface answers a homeowner."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from shoal.api.answers import TwinGrade
from shoal.api.programs.answers import SiteEnrolment

HomeEventKind: TypeAlias = Literal["power", "charge", "hold", "local"]
HomeEventState: TypeAlias = Literal["ahead", "running", "over", "called off"]
HomeParty: TypeAlias = Literal["household", "operators", "traders", "administrators", "markets", "others"]


class HomeNow(msgspec.Struct, frozen=True, kw_only=True):
    """What a home does now, load-positive; None where it is not measured.

    `grid_kw` is what the connection takes, from what is measured behind it; None without the load. `age_s` is how old
    the newest sample is, None when the home was never heard.
    """

    site_id: str
    as_of_ms: int
    age_s: float | None
    grade: TwinGrade
    battery_kw: float | None
    solar_kw: float | None
    load_kw: float | None
    ev_kw: float | None
    grid_kw: float | None
    soc_frac: float | None
    energy_kwh: float | None


class HomeTold(msgspec.Struct, frozen=True, kw_only=True):
    """What the plant has told the home, by the controller's word.

    `taken` says whether the home's device has confirmed it, None when the controller does not answer: what was said is
    kept all the same, and counts as soon as it is back. `events` are those that the home follows or will.
    """

    taken: bool | None
    events: list[str]
    reserve_frac: float | None


class HomeReserve(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner keeps for outages, of the battery's capacity, and the least that can be chosen.

    `asked_frac` is what was asked of the plant, None for nothing beyond the least.
    """

    reserve_frac: float
    least_frac: float
    asked_frac: float | None
    asked_by: str
    asked_ms: int | None
    told: HomeTold


class HomeUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the home uses by itself, by its own hours of late: nine hours of ten are above `low_kw`, nine below `high_kw`.

    Without sun and without its car. None where fewer than `needed_hours` were measured.
    """

    low_kw: float | None
    usual_kw: float | None
    high_kw: float | None
    hours: int
    needed_hours: int
    days: int


class HomeProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A program that the home takes part in; `left_until_ms` is set while its owner has left it for a while, 0 for good."""

    program_id: str
    name: str
    kind: Literal["hold", "power", "capacity", "local"]
    pays: Literal["nothing", "energy", "capacity", "event"]
    since_ms: int | None
    left: bool
    left_until_ms: int | None


class HomeAlert(msgspec.Struct, frozen=True, kw_only=True):
    """A weather alert with the home inside."""

    event: str
    severity: str
    from_ms: int | None
    until_ms: int


class HomeStorm(msgspec.Struct, frozen=True, kw_only=True):
    """Storm watch: the plant fills the battery ahead of dangerous weather. `offered`: the home is enrolled in it."""

    offered: bool
    on: bool
    changed_ms: int | None
    alerts: list[HomeAlert]


class HomeSite(msgspec.Struct, frozen=True, kw_only=True):
    """A home of one's own. `stored_out_frac` of what leaves the battery's cells arrives in the home."""

    site_id: str
    as_of_ms: int
    zone: str
    energy_capacity_kwh: float
    charge_limit_kw: float
    discharge_limit_kw: float
    stored_out_frac: float
    reserve: HomeReserve
    use: HomeUse
    programs: list[HomeProgram]
    storm: HomeStorm


class HomePay(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is likely to pay the owner if the home does all that is asked from now on: an estimate, no promise."""

    amount: str
    currency: str
    energy_kwh: float


class HomeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that means the home.

    `asked_kw` is load-positive, None where it is not decided or is none. `pay` is None where the event pays nothing that is
    known now. `why_not` says why it cannot be skipped, empty where it can.
    """

    event_id: str
    program_id: str
    program: str
    kind: HomeEventKind
    from_ms: int
    until_ms: int
    state: HomeEventState
    asked_kw: float | None
    soc_frac: float | None
    reason: str
    pay: HomePay | None
    skipped_ms: int | None
    may_skip: bool
    why_not: str


class HomeEvents(msgspec.Struct, frozen=True, kw_only=True):
    """The events of a home: those under way and ahead, the soonest first, and those of late, the newest first."""

    site_id: str
    as_of_ms: int
    next: list[HomeEvent]
    past: list[HomeEvent]
    told: HomeTold


class HomeSkip(msgspec.Struct, frozen=True, kw_only=True):
    """What came of skipping an event, or of coming back.

    `in_force` says whether the event still stands in what the home was told, None when the controller does not answer.
    """

    site_id: str
    event_id: str
    skipped: bool
    at_ms: int
    in_force: bool | None
    told: HomeTold


class HomeDay(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner receives of a settled day; a later `version` takes the place of an earlier one."""

    date: str
    amount: str
    version: int
    settled_ms: int


class HomeMoney(msgspec.Struct, frozen=True, kw_only=True):
    """The settled days of a month in one currency, and their sum to the last digit."""

    currency: str
    total: str
    days: list[HomeDay]


class HomeEarnings(msgspec.Struct, frozen=True, kw_only=True):
    """What a home earned in a month, from settled shares alone: what is not settled yet is not in it.

    `months` are those in which something was settled, the newest first; `through` is the last settled day of the month.
    """

    site_id: str
    as_of_ms: int
    month: str
    money: list[HomeMoney]
    through: str | None
    months: list[str]


class HomeConsent(SiteEnrolment, frozen=True, kw_only=True):
    """A consent to a program, by its name: who gave it, to which terms, and when it was withdrawn."""

    program: str


class HomeReader(msgspec.Struct, frozen=True, kw_only=True):
    """Who sees what of the home: `people` who may, None where they are not counted, and what they see."""

    party: HomeParty
    people: int | None
    names: list[str]
    sees_live: bool
    sees_history: bool
    sees_name: bool


class HomeSharing(msgspec.Struct, frozen=True, kw_only=True):
    """What is shared with whom, and to what the owner has consented."""

    site_id: str
    as_of_ms: int
    readers: list[HomeReader]
    consents: list[HomeConsent]


HOME_TYPES: Final = (
    HomeNow,
    HomeSite,
    HomeReserve,
    HomeStorm,
    HomeEvents,
    HomeSkip,
    HomeEarnings,
    HomeSharing,
)
"""For the contract."""
