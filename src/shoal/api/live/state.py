"""The page's state as data: what `/api/live` sends, see `shoal.api.live.messages`.

Power is load-positive (charging, consumption, import > 0; discharge, generation, export < 0). Instants are whole
milliseconds since 1970 in UTC, intervals are half-open. Absent is None, never zero. The page's own types have the
same names and the same fields.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

MS_PER_NS: Final = 1_000_000
BidStatus: TypeAlias = Literal["building", "submitted", "accepted", "rejected", "unknown"]
RoleStatus: TypeAlias = Literal["up", "starting", "down"]
SettlementStatus: TypeAlias = Literal["settled", "provisional"]
Severity: TypeAlias = Literal["notice", "warning", "major", "critical"]
AlertSeverity: TypeAlias = Literal["extreme", "severe", "moderate", "minor", "unknown"]


def to_ms(t_ns: int) -> int:
    """Return an instant in whole milliseconds, rounded down."""
    return t_ns // MS_PER_NS


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run of recorded days: its span, and how much of it is done."""

    from_ms: int
    to_ms: int
    done_frac: float


class FleetNow(msgspec.Struct, frozen=True, kw_only=True):
    """All sites at one instant.

    `battery_kw`, `solar_kw`, `load_kw`, `ev_kw`, `grid_kw`, the energies and the headroom are sums over the fresh sites.
    `battery_expected_kw` is the best estimate of the true battery power, silent and suspect sites included, and
    `battery_low_kw` to `battery_high_kw` hold it nine times out of ten; the three of `grid` are the same at the
    connection points. Of a fleet with several roots the ends are sums of the roots' ends, so the interval is rather
    too wide. `firm_charge_kw` and `firm_discharge_kw` are headroom to commit: what is left of it when the silent sites
    do their worst, nineteen times out of twenty for charging, nine out of ten for discharging. The shares are None
    where there is nothing to have a share of, `oldest_age_s` when some site was never heard.
    """

    sites: int
    fresh: int
    stale: int
    unknown: int
    suspect: int
    capacity_kw: float
    coverage_count_frac: float | None
    coverage_kw_frac: float | None
    oldest_age_s: float | None
    battery_kw: float
    battery_expected_kw: float
    battery_low_kw: float
    battery_high_kw: float
    solar_kw: float
    load_kw: float
    ev_kw: float
    grid_kw: float
    grid_expected_kw: float
    grid_low_kw: float
    grid_high_kw: float
    energy_kwh: float
    energy_capacity_kwh: float
    soc_frac: float | None
    charge_headroom_kw: float
    discharge_headroom_kw: float
    firm_charge_kw: float
    firm_discharge_kw: float


class TwinsNow(msgspec.Struct, frozen=True, kw_only=True):
    """How the twins keep up.

    `applied` counts the samples in the figures or before them, `lag` the messages that wait in the journal. The sites of
    shards that are not among the `live_shards` of all `shards` count as unknown.
    """

    applied: int
    lag: int
    shards: int
    live_shards: int


class FleetSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet over time, as columns of one length; `battery_kw` is the sum over fresh sites, see `FleetNow`."""

    t_ms: list[int] = []
    battery_kw: list[float | None] = []
    expected_kw: list[float | None] = []
    low_kw: list[float | None] = []
    high_kw: list[float | None] = []
    solar_kw: list[float | None] = []
    load_kw: list[float | None] = []
    soc_frac: list[float | None] = []
    coverage_kw_frac: list[float | None] = []


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What a market sees, in the present market interval.

    `shortfall_kw` is how much of the target could not be shared out, never negative. `revenue`, `award_total_mwh` (energy
    awarded in either direction) and `delivered_total_mwh` (how much of that was delivered in the awarded direction)
    sum over the settled days.
    """

    resource_id: str
    name: str
    market_id: str
    settlement_point: str
    sites: int
    fresh_sites: int
    measured_kw: float
    target_kw: float
    shortfall_kw: float
    energy_kwh: float
    energy_capacity_kwh: float
    soc_frac: float | None
    coverage_kw_frac: float
    hour_start_ms: int
    hour_end_ms: int
    award_mwh: float
    delivered_mwh: float
    revenue: float | None
    award_total_mwh: float
    delivered_total_mwh: float
    delivered_share: float | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a hierarchy at one instant, with `children` nodes right below it; see `FleetNow` for the figures.

    `expected_kw`, `low_kw` and `high_kw` are of the batteries. `commanded_kw` is what the controller commands of
    `commanded_sites` of them; `deviation_frac` is how far the group is from that, what its other sites do by themselves
    left out, as a share of its rated power. Both are None where nobody is commanded a power.
    """

    group_id: str
    hierarchy_id: str
    parent_id: str | None
    name: str
    level: int
    children: int
    sites: int
    fresh: int
    stale: int
    unknown: int
    suspect: int
    capacity_kw: float
    coverage_count_frac: float | None
    coverage_kw_frac: float | None
    oldest_age_s: float | None
    battery_kw: float
    expected_kw: float
    low_kw: float
    high_kw: float
    grid_kw: float
    grid_expected_kw: float
    grid_low_kw: float
    grid_high_kw: float
    soc_frac: float | None
    firm_charge_kw: float
    firm_discharge_kw: float
    commanded_kw: float | None
    commanded_sites: int
    deviation_frac: float | None


class PriceSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a settlement point by interval, per MWh: published ones, and quantiles of the latest forecast."""

    settlement_point: str
    start_ms: list[int]
    actual: list[float | None]
    q05: list[float | None]
    q50: list[float | None]
    q95: list[float | None]


class NextGate(msgspec.Struct, frozen=True, kw_only=True):
    """The first gate to come, and whose bid for it stands already."""

    market_id: str
    delivery_date: str
    gate_ms: int
    resources_ready: list[str]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a bid; the side gives the direction."""

    start_ms: int
    end_ms: int
    side: Literal["buy", "sell"]
    quantity_mw: float
    limit_price_per_mwh: float


class AwardedInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What was awarded in one interval: bought positive, sold negative."""

    start_ms: int
    end_ms: int
    energy_mwh: float
    price_per_mwh: float


class Bid(msgspec.Struct, frozen=True, kw_only=True):
    """A bid, the rung of the ladder that made it, and its award once there is one."""

    resource_id: str
    delivery_date: str
    status: BidStatus
    rung: str
    rung_reason: str
    gate_ms: int
    submitted_ms: int | None
    orders: list[Order]
    award: list[AwardedInterval] | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Awarded and metered energy by interval; `delivered_mwh` is None where nothing is known yet."""

    resource_id: str
    start_ms: list[int]
    award_mwh: list[float]
    delivered_mwh: list[float | None]


class MoneyDay(msgspec.Struct, frozen=True, kw_only=True):
    """A settled day; provisional while it rests on estimated meter readings."""

    delivery_date: str
    resource_id: str
    revenue: float
    award_mwh: float
    delivered_mwh: float
    status: SettlementStatus


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What was earned. `perfect_foresight` is None unless it is known what could have been earned."""

    currency: str
    revenue: float | None
    perfect_foresight: float | None
    by_day: list[MoneyDay]


class WorkflowStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a workflow run."""

    name: str
    took_s: float
    outcome: str


class WorkflowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a durable workflow: the rung it took, and why."""

    workflow_id: str
    kind: str
    resource_id: str
    delivery_date: str
    gate_ms: int
    started_ms: int
    finished_ms: int | None
    status: str
    rung: str
    rung_reason: str
    steps: list[WorkflowStep]


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One message that was set aside, with the reason."""

    arrival_ms: int
    site_id: str
    reason: str
    detail: str
    size_bytes: int


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """What was set aside so far: counters by reason and the latest examples."""

    total: int
    by_reason: dict[str, int]
    recent: list[Quarantined]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should know of, from when it was raised until it is cleared.

    `scope` says what `subject` is: a site, a group, the whole fleet, or a part of the plant. Of a group, `sites` of its
    `of_sites` are concerned now; `detail` is ``scattered`` when they only lie in it. `value` is what was measured of a
    part, in the unit that `detail` names; for lost samples it is their number. `returned_ms` is when the trouble ended of
    an alarm that stays until somebody takes note of it.
    """

    number: int
    kind: str
    severity: Severity
    scope: Literal["site", "group", "fleet", "part"]
    subject: str
    name: str
    hierarchy_id: str
    sites: int
    of_sites: int
    peak_sites: int
    examples: list[str]
    value: float | None
    detail: str
    count: int
    raised_ms: int
    updated_ms: int
    acknowledged_ms: int | None
    acknowledged_by: str
    note: str
    returned_ms: int | None
    cleared_ms: int | None
    merged_into_number: int | None
    split_from_number: int | None


class Alarms(msgspec.Struct, frozen=True, kw_only=True):
    """The alarms that stand, the most urgent first; `active_count` counts those beyond the list too."""

    active_count: int
    active: list[Alarm]


class AlertNow(msgspec.Struct, frozen=True, kw_only=True):
    """A weather alert that is in force or to come, and what of the fleet lies in its area.

    `from_ms` is None for one that holds since it was taken.
    """

    key: str
    event: str
    severity: AlertSeverity
    from_ms: int | None
    until_ms: int
    sites: int
    charge_kw: float
    discharge_kw: float
    capacity_kwh: float


class RoleHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How one part of the plant is."""

    role: str
    status: RoleStatus
    restarts: int
    since_ms: int | None


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows.

    `speed` is plant seconds a real second: 1 is real time, None as fast as possible. `groups` are the roots of the
    hierarchies alone (`/api/groups` opens what is below them), `alerts` those that touch a site, the worst first.
    """

    now_ms: int
    zone: str
    speed: float | None
    run: Run | None
    fleet: FleetNow | None
    fleet_series: FleetSeries
    twins: TwinsNow | None
    resources: list[Resource]
    groups: list[Group]
    prices: list[PriceSeries]
    next_gate: NextGate | None
    bids: list[Bid]
    delivery: list[Delivery]
    money: Money
    runs: list[WorkflowRun]
    quarantine: Quarantine
    alarms: Alarms
    alerts: list[AlertNow]
    health: list[RoleHealth]
