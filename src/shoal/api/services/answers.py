"""What the interface answers about standing services: what is held, what is done now, and what was reached day by day."""

from __future__ import annotations

from typing import Final

import msgspec


class ServiceNow(msgspec.Struct, frozen=True, kw_only=True):
    """How a service stands by its last cycle; powers in kW, charging and import positive.

    `why` is a stable word: shaving, charging, holding, smoothing, free, blind, fading, empty or fault. A measure is null
    while too little is heard from, `power_kw` while nothing is asked of the batteries.
    """

    why: str
    power_kw: float | None
    level_kw: float | None
    can_hold: bool
    needed_kwh: float
    spare_kwh: float
    counts: bool
    broken: bool
    without_kw: float | None
    with_kw: float | None
    coverage_frac: float
    oldest_age_s: float
    sites: int
    stored_kwh: float
    capacity_kwh: float
    fault: str


class ServiceDay(msgspec.Struct, frozen=True, kw_only=True):
    """What a service reached on a day; peaks are means of a quarter of an hour while the limit counted."""

    day: str
    peak_without_kw: float | None
    peak_with_kw: float | None
    ramp_without_kw_per_min: float
    ramp_with_kw_per_min: float
    charged_kwh: float
    discharged_kwh: float
    counted_s: float
    beyond_without_s: float
    beyond_s: float
    blind_s: float


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """One standing service; `now` is null before the controller has taken it up."""

    service_id: str
    revision: int
    kind: str
    program: str
    group: str
    measured_group: str
    meter: str
    target_kw: float
    ramp_kw_per_min: float
    windows: tuple[str, ...]
    zone: str
    start_ms: int
    end_ms: int | None
    state: str
    by: str
    at_ms: int
    reason: str
    now: ServiceNow | None
    days: tuple[ServiceDay, ...]


SERVICE_TYPES: Final = (ServiceView,)
"""For the contract."""
