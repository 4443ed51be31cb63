"""What the services tell each other and the page while they run: small frozen records, JSON on the fabric."""

from __future__ import annotations

import msgspec


class Aggregates(msgspec.Struct, frozen=True, kw_only=True):
    """Every group at one instant, as columns in the order of `Fleet.groups`.

    Sums run over fresh sites only; coverage says how much that is. `low_kw` and `high_kw` bound the true total
    battery power of the group with the silent sites included.
    """

    t_ns: int
    sites: list[int]
    fresh: list[int]
    stale: list[int]
    unknown: list[int]
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
    low_kw: list[float]
    high_kw: list[float]


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
    """One message or record that was set aside, with the reason."""

    arrival_ns: int
    site_id: str
    reason: str
    detail: str
    size_bytes: int


class QuarantineState(msgspec.Struct, frozen=True, kw_only=True):
    """What was set aside so far: counters by reason and the latest examples."""

    t_ns: int
    total: int
    by_reason: dict[str, int]
    recent: list[Quarantined]
