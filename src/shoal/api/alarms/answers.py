"""What the interface answers of alarms gathered by cause, and of those that were put aside for a while."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from shoal.api.live.state import Alarm, Severity


class AlarmKindCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many alarms of one kind there are."""

    kind: str
    count: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look next: a group, site, gateway, weather alert, alarm or market resource by its name, or the system."""

    kind: Literal["group", "site", "gateway", "alert", "alarm", "resource", "system"]
    id: str
    label: str


class AlarmMoney(msgspec.Struct, frozen=True, kw_only=True):
    """What hangs on the energy that a resource has sold in the interval under way, per hour of it.

    Power is sold at `sold_kw` for `price_per_mwh` until `until_ms`. `expected_per_h` counts what the other sites of the
    resource cannot make up for, between `low_per_h` and `high_per_h`, where none of them steps in. Amounts are decimal.
    """

    resource_id: str
    currency: str
    low_per_h: str
    expected_per_h: str
    high_per_h: str
    sold_kw: float
    price_per_mwh: float
    until_ms: int


class AlarmGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The alarms with one cause.

    `cause` names it as long as it stands. `kind` says what `subject` is: a group, a gateway, a weather alert, a type of
    device, a part of the plant by what is wrong with it, a kind of alarm that nothing explains, or all others. `severity`
    is the worst of those that are not put aside, or of all. `sites` are at least so many. `lost_kw` is the discharging
    power that cannot be counted on, certainly between `low_kw` and `high_kw`; all three are None for parts of the plant.
    `numbers` are the first of its `count` alarms, the most urgent first; `open_count` have not been taken note of, and
    `shelved_count` are put aside, all of them until `shelved_until_ms` at the earliest, else that is None.
    """

    cause: str
    kind: Literal["group", "gateway", "weather", "type", "part", "kind", "other"]
    subject: str
    name: str
    hierarchy_id: str
    path: list[str]
    severity: Severity
    kinds: list[AlarmKindCount]
    count: int
    open_count: int
    shelved_count: int
    shelved_until_ms: int | None
    acknowledged: bool
    sites: int
    since_ms: int
    oldest_age_s: float
    lost_kw: float | None
    low_kw: float | None
    high_kw: float | None
    money: list[AlarmMoney]
    numbers: list[int]
    evidence: list[Evidence]


class AlarmGroups(msgspec.Struct, frozen=True, kw_only=True):
    """Every alarm that stands in at most ten groups, the worst first; those that are put aside come last."""

    as_of_ms: int
    alarms: int
    groups: list[AlarmGroup]


class Shelved(msgspec.Struct, frozen=True, kw_only=True):
    """Until when an alarm is put aside, since when, by whom and why.

    `ended` says why it is not any more: the time is over, it got worse, or somebody took it back.
    """

    at_ms: int
    until_ms: int
    by: str
    reason: str
    ended: Literal["time", "worse", "returned"] | None


class GroupedAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm of a group, and whether it is put aside."""

    alarm: Alarm
    shelved: Shelved | None


class AlarmMembers(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms of one group, the most urgent first, page by page."""

    as_of_ms: int
    cause: str
    total: int
    offset: int
    limit: int
    alarms: list[GroupedAlarm]


class ShelfRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One step: an alarm was put aside until `until_ms`, or taken back."""

    number: int
    t_ms: int
    action: Literal["shelved", "returned"]
    by: str
    reason: str
    until_ms: int


class AlarmShelfNow(msgspec.Struct, frozen=True, kw_only=True):
    """How an alarm stands on the shelf, None when it never was there, and every step."""

    number: int
    shelved: Shelved | None
    steps: list[ShelfRecord]


class RefusedAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm of which no note could be taken, and why."""

    number: int
    why: str


class GroupAct(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an act on a group: how many alarms it was done to, how many are left for another go, who refused."""

    cause: str
    done: int
    left: int
    refused: list[RefusedAlarm]


class AlarmsAside(msgspec.Struct, frozen=True, kw_only=True):
    """How many alarms stand that nobody has put aside, by severity, and those that somebody has.

    `aside` are numbers of such alarms, the most urgent first; `aside_count` counts those beyond the list too.
    """

    standing: dict[str, int]
    aside_count: int
    aside: list[int]


ALARM_TYPES: Final = (AlarmGroups, AlarmMembers, AlarmShelfNow, GroupAct, AlarmsAside)
"""For the contract."""
