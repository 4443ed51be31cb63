"""What the HTTP interface answers beyond the page's state: sites, twins, groups, alerts, awards, statements, history.

Money is a decimal string with every digit that is settled, so that sums of it are exact. Signs and instants are those
of the page's state.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from shoal.api.live.state import Alarm, AlertNow, AwardedInterval, Group, SettlementStatus

TwinGrade: TypeAlias = Literal["fresh", "suspect", "stale", "unknown"]
"""Of a site or a signal; who counts how is in the sums of the groups."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One site: what stands there, its nameplate by column, and the group it hangs from in each hierarchy.

    One behind a gateway is its unit `gateway_unit`, counted from 1; one with a connection of its own has None for both.
    """

    site_id: str
    device_type: str
    gateway_id: str | None
    gateway_unit: int | None
    latitude_deg: float
    longitude_deg: float
    nameplate: dict[str, float]
    groups: dict[str, str]


class SitePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sites, in the order of the registry."""

    total: int
    offset: int
    limit: int
    sites: list[Site]


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """The group that a site hangs from in one hierarchy now, and the names of the groups from the root down to it."""

    hierarchy_id: str
    group_id: str
    path: list[str]


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One power of a site as it was last measured, and how old that is; never measured, all three are None."""

    signal: Literal["battery", "solar", "load", "ev"]
    power_kw: float | None
    age_s: float | None
    grade: TwinGrade | None


class QualityFlag(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of a sample, in words; one that is suspect counts neither in sums nor for settlement."""

    flag: str
    about: str
    suspect: bool


class SiteDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A site with its twin as its shard has it.

    `grade` is how the site counts in the sums. `heard_ms` is the device's time of the newest sample; it and what follows
    from it are None for a site that was never heard. `latest` has the columns of the telemetry table, None where the
    device does not measure one. `token` grows with every new owner of the shard.
    """

    site: Site
    memberships: list[Membership]
    shard: int
    token: int
    as_of_ms: int
    grade: TwinGrade
    heard_ms: int | None
    age_s: float | None
    signals: list[Signal]
    soc_frac: float | None
    energy_kwh: float | None
    flags: list[QualityFlag]
    latest: dict[str, float | int | None] | None


class TwinRow(msgspec.Struct, frozen=True, kw_only=True):
    """One site of a list; see `SiteDetail`."""

    site_id: str
    grade: TwinGrade
    heard_ms: int | None
    age_s: float | None
    flags: list[str]
    battery_kw: float | None
    soc_frac: float | None


class TwinPage(msgspec.Struct, frozen=True, kw_only=True):
    """Sites of a group in one state, in the order of the registry.

    `looked_at` of the group's `sites` were looked at before the list was full; `more` when there may be further ones.
    """

    group_id: str | None
    state: str
    as_of_ms: int
    sites: int
    looked_at: int
    more: bool
    twins: list[TwinRow]


class OwnedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work, and who does it.

    `group` is ``live`` for the twins, ``history`` for the historian. `owner` is empty when nobody owns the unit, and is
    not `alive` when its owner is gone but not replaced yet. `position` is up to where in the journal its state was kept
    last, `journal_end` the newest message there is and `behind` what lies between: what a new owner would have to catch
    up with. They are None for work without a journal.
    """

    group: str
    unit: str
    owner: str
    alive: bool
    token: int
    position: int | None
    journal_end: int | None
    behind: int | None


class Hierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """One tree, or several beside each other, of groups."""

    hierarchy_id: str
    roots: int
    groups: int
    levels: int


class GroupPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the groups that were asked for, with their newest figures; none before the first figures came."""

    as_of_ms: int | None
    total: int
    offset: int
    limit: int
    groups: list[Group]


class GroupDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One group with its newest figures, and those above it, the root first."""

    as_of_ms: int
    group: Group
    path: list[Group]


class TouchedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group and how many of its sites are inside an area."""

    hierarchy_id: str
    group_id: str
    name: str
    level: int
    sites: int


class AlertDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A weather alert with what of the fleet it touches.

    `in_force` is whether it holds now. `groups` are those with the most sites inside, at most 200 of `groups_touched`;
    `site_ids` the first 1,000 of its sites, and `/api/alerts/{key}/sites` gives all.
    """

    summary: AlertNow
    alert_id: str
    taken_ms: int
    taken_by: str
    in_force: bool
    groups_touched: int
    groups: list[TouchedGroup]
    site_ids: list[str]


class AlertSites(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sites inside an alert's area, in the order of the registry."""

    key: str
    total: int
    offset: int
    limit: int
    site_ids: list[str]


class Award(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one auction for one resource and day."""

    resource_id: str
    market_id: str
    settlement_point: str
    delivery_date: str
    version: int
    published_ms: int
    intervals: list[AwardedInterval]


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one settled day; received amounts are positive."""

    resource_id: str
    delivery_date: str
    version: int
    known_ms: int
    status: SettlementStatus
    currency: str
    award_mwh: float
    delivered_mwh: float
    award_amount: str
    imbalance_amount: str
    deviation_charge: str
    net_amount: str


class SettledInterval(msgspec.Struct, frozen=True, kw_only=True):
    """One settled interval."""

    start_ms: int
    end_ms: int
    award_mwh: float
    delivered_mwh: float
    price_per_mwh: float
    award_amount: str
    imbalance_amount: str
    deviation_charge: str
    net_amount: str
    estimated: bool


class SiteShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one site's owner receives of a day."""

    site_id: str
    amount: str


class StatementDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A settled day down to its intervals and shares; the shares and the operator's part add up to the net amount."""

    summary: StatementRow
    intervals: list[SettledInterval]
    shares: list[SiteShare]
    operator_amount: str


class HistoryColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of an answer, with its type as Arrow names it."""

    name: str
    type: str


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a question about history; `truncated` when there were more rows than asked for."""

    columns: list[HistoryColumn]
    rows: list[list[Any]]
    truncated: bool
    took_s: float


class EnergyLine(msgspec.Struct, frozen=True, kw_only=True):
    """Energy by register in whole Wh, and of how many sites; None where the line has no sites.

    The `sites_without_reading` are in `sites`, and not in the energy. `coverage_frac` is the share of the sites' time that
    lies between two readings of the site.
    """

    charge_wh: int
    discharge_wh: int
    import_wh: int
    export_wh: int
    sites: int
    sites_without_reading: int
    coverage_frac: float | None


class GroupEnergyLine(EnergyLine, frozen=True, kw_only=True):
    """A group with all below it, over the time for which sites hung there; a site that moved counts in both groups."""

    group_id: str
    parent_id: str | None
    name: str
    level: int


class EnergyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of the groups of a hierarchy over an interval; the roots and `no_group` add up to `total`, to the watt-hour."""

    hierarchy_id: str
    from_ms: int
    to_ms: int
    groups: list[GroupEnergyLine]
    no_group: EnergyLine
    total: EnergyLine


class AlarmPage(msgspec.Struct, frozen=True, kw_only=True):
    """Cleared alarms, the latest first; `next` asks for those before them, and is None when there are none."""

    alarms: list[Alarm]
    next: str | None


class AlarmStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of an alarm, and the alarm after it; `by` is who was behind it, empty for nobody."""

    t_ms: int
    action: Literal["raised", "updated", "acknowledged", "cleared"]
    by: str
    alarm: Alarm


class AlarmDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm with every step of it, in order."""

    alarm: Alarm
    steps: list[AlarmStep]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who the caller is, and what the caller may.

    `operator` is the name under which commands are kept, None for somebody who may give none. `mode` is ``open`` where
    nobody is asked, ``token`` for a program, ``user`` for somebody who has signed in, and None for nobody; `sign_in` is
    whether people sign in here. `sites` are a homeowner's own, None for all. `until_ms` is when the session ends, on the
    clock on the wall; `now_ms` is that clock.
    """

    operator: str | None
    name: str | None
    mode: Literal["open", "token", "user"] | None
    sign_in: bool
    roles: list[str]
    rights: list[Literal["see", "operate", "trade", "administer", "home"]]
    sites: list[str] | None
    until_ms: int | None
    now_ms: int


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in; `sessions` is how often the person is signed in now. Instants are of the wall's clock."""

    name: str
    roles: list[str]
    sites: list[str]
    made_ms: int
    made_by: str
    password_ms: int
    sessions: int


class UserStepView(msgspec.Struct, frozen=True, kw_only=True):
    """A change of who may sign in, or a person's signing in or out."""

    number: int
    at_ms: int
    by: str
    action: str
    subject: str
    detail: str


class HistoryTier(msgspec.Struct, frozen=True, kw_only=True):
    """What one tier of history holds, and its first and last hour or day."""

    files: int
    bytes: int
    first: str
    last: str


class HistoryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What history holds; `positions` by shard of the journal, `parts` are files that wait to be merged."""

    positions: dict[str, int]
    tiers: dict[str, HistoryTier]
    parts: int


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process turns."""

    role: str
    status: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this role can serve; its neighbours do not count. `last_message_age_s` is None before the first."""

    role: str
    status: str
    reason: str
    sites: int
    page_built: bool
    last_message_age_s: float | None
