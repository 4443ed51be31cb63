"""What the services tell each other and the page while they run: small frozen records, JSON on the fabric."""

from __future__ import annotations

import msgspec


class Aggregates(msgspec.Struct, frozen=True, kw_only=True):
    """Every group at one instant, as columns in the order of `Fleet.groups`. Charging and consumption positive.

    Attributes:
        t_ns: The instant.
        sites: Sites of the group: fresh, stale, unknown and suspect ones.
        fresh: Sites of which every measured signal is within its timeout and free of suspicion.
        stale: Sites that were silent for longer.
        unknown: Sites that were silent for so long that their last values say nothing, or never heard.
        suspect: Sites that report, but what cannot be true.
        capacity_kw: Rated battery power.
        fresh_kw: The part of it whose battery signal is fresh: coverage by capacity is their ratio.
        battery_kw: Sum over fresh sites, as are the next three and `energy_kwh`.
        solar_kw: See there.
        load_kw: See there.
        ev_kw: See there.
        grid_kw: Sum of the four.
        energy_kwh: Energy stored; with `fresh_capacity_kwh` it gives the energy-weighted state of charge.
        fresh_capacity_kwh: Energy capacity of the batteries in `energy_kwh`.
        charge_headroom_kw: How much more the fresh batteries could charge.
        discharge_headroom_kw: How much more they could discharge.
        oldest_age_s: Age of the oldest newest sample; below 0 without sites.
        expected_kw: Best estimate of the true battery power, silent and suspect sites included.
        low_kw: The true battery power lies between this and `high_kw` nine times out of ten.
        high_kw: See there.
        grid_expected_kw: The same of the power at the connection points.
        grid_low_kw: See there.
        grid_high_kw: See there.
        firm_charge_kw: Headroom to commit: what fresh batteries can add whatever the silent ones do against it,
            nineteen times out of twenty.
        firm_discharge_kw: The same of discharging, nine times out of ten.
        applied: Samples in these sums or before them, over all shards that were heard from.
        lag: Messages that waited in the journal.
        shards: How many shards the plant has.
        live_shards: From how many of them these sums are; the sites of the others count as unknown.
        silence: What the table was learned from by which silent sites are reckoned with, for people.
    """

    t_ns: int
    sites: list[int]
    fresh: list[int]
    stale: list[int]
    unknown: list[int]
    suspect: list[int]
    capacity_kw: list[float]
    fresh_kw: list[float]
    battery_kw: list[float]
    solar_kw: list[float]
    load_kw: list[float]
    ev_kw: list[float]
    grid_kw: list[float]
    energy_kwh: list[float]
    fresh_capacity_kwh: list[float]
    charge_headroom_kw: list[float]
    discharge_headroom_kw: list[float]
    oldest_age_s: list[float]
    expected_kw: list[float]
    low_kw: list[float]
    high_kw: list[float]
    grid_expected_kw: list[float]
    grid_low_kw: list[float]
    grid_high_kw: list[float]
    firm_charge_kw: list[float]
    firm_discharge_kw: list[float]
    applied: int = 0
    lag: int = 0
    shards: int = 1
    live_shards: int = 1
    silence: str = ""


class ResourceState(msgspec.Struct, frozen=True, kw_only=True):
    """One resource in the present market interval, as its controller sees it. Charging positive."""

    t_ns: int
    resource_id: str
    start_ns: int
    end_ns: int
    award_wh: int
    delivered_wh: int
    target_kw: float
    measured_kw: float
    shortfall_kw: float
    sites: int
    fresh_sites: int
    commanded: int
    energy_kwh: float
    energy_capacity_kwh: float
    coverage_kw_frac: float


class WorkflowStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a workflow run."""

    name: str
    took_s: float
    outcome: str


class WorkflowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a durable workflow: which rung of the ladder it took, and why."""

    workflow_id: str
    kind: str
    resource_id: str
    delivery_date: str
    gate_ns: int
    started_ns: int
    finished_ns: int | None
    status: str
    rung: str
    rung_reason: str
    steps: list[WorkflowStep]


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One message or record that was set aside, with the reason.

    Attributes:
        arrival_ns: When the message reached the journal.
        site_id: Who sent it: the last token of its subject.
        reason: A stable code.
        detail: What was wrong, for people.
        size_bytes: Size of the whole message.
        payload_b64: The first 512 bytes of what was set aside: the record where it can be told, else the message.
        record: Position of the record in its message; -1 for the whole message.
        count: How many this one speaks for: a message with very many bad records names the first ones only.
    """

    arrival_ns: int
    site_id: str
    reason: str
    detail: str
    size_bytes: int
    payload_b64: str = ""
    record: int = -1
    count: int = 1


class HistoryLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far history is behind the journal, by unit: the age of the oldest sample that came and is not written, in s.

    It is said every `every_s` of plant time, which a fast clock makes long.
    """

    t_ns: int
    every_s: float
    behind_s: dict[str, float]


class QuarantineState(msgspec.Struct, frozen=True, kw_only=True):
    """What `member`, a process of the telemetry role, has set aside so far: counters by reason and the latest examples."""

    t_ns: int
    total: int
    by_reason: dict[str, int]
    recent: list[Quarantined]
    member: str = ""
