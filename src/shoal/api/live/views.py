"""From records of the plant to the page's words: resources, their delivery, workflow runs, quarantine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from shoal.api.live.state import (
    Alarm,
    Alarms,
    Bid,
    Delivery,
    Money,
    PriceSeries,
    Quarantine,
    Quarantined,
    Resource,
    WorkflowRun,
    WorkflowStep,
    to_ms,
)
from shoal.domain import alarms, live
from shoal.domain.fleet import Fleet

_WH_PER_MWH: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryHour:
    """Energy of one interval, load-positive; `delivered_mwh` is None before it was settled."""

    start_ms: int
    award_mwh: float
    delivered_mwh: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTotals:
    """Sums over the settled days of a resource; see `Resource`."""

    revenue: float
    award_total_mwh: float
    delivered_total_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the ledger says, in the page's words."""

    prices: tuple[PriceSeries, ...] = ()
    bids: tuple[Bid, ...] = ()
    delivery: Mapping[str, tuple[DeliveryHour, ...]] = field(default_factory=dict)
    totals: Mapping[str, ResourceTotals] = field(default_factory=dict)
    money: Money
    runs: tuple[WorkflowRun, ...] = ()


def resource_views(
    fleet: Fleet, states: Mapping[str, live.ResourceState], totals_by_resource: Mapping[str, ResourceTotals]
) -> list[Resource]:
    """Return the resources of which something is known, in the fleet's order."""
    names = {group.group_id: group.name for group in fleet.groups}
    views = []
    for resource in fleet.resources:
        state = states.get(resource.resource_id)
        if state is None:
            continue  # nothing is known of it yet, and nothing is not zero
        totals = totals_by_resource.get(resource.resource_id)
        award_mwh = totals.award_total_mwh if totals else 0.0
        delivered_mwh = totals.delivered_total_mwh if totals else 0.0
        capacity_kwh = state.energy_capacity_kwh
        views.append(
            Resource(
                resource_id=resource.resource_id,
                name=names.get(resource.group_id, resource.resource_id),
                market_id=resource.market_id,
                settlement_point=resource.settlement_point,
                sites=state.sites,
                fresh_sites=state.fresh_sites,
                measured_kw=state.measured_kw,
                target_kw=state.target_kw,
                shortfall_kw=abs(state.shortfall_kw),
                energy_kwh=state.energy_kwh,
                energy_capacity_kwh=capacity_kwh,
                soc_frac=state.energy_kwh / capacity_kwh if capacity_kwh > 0 else None,
                coverage_kw_frac=state.coverage_kw_frac,
                hour_start_ms=to_ms(state.start_ns),
                hour_end_ms=to_ms(state.end_ns),
                award_mwh=state.award_wh / _WH_PER_MWH,
                delivered_mwh=state.delivered_wh / _WH_PER_MWH,
                revenue=totals.revenue if totals else None,
                award_total_mwh=award_mwh,
                delivered_total_mwh=delivered_mwh,
                delivered_share=delivered_mwh / award_mwh if award_mwh > 0 else None,
            )
        )
    return views


def delivery_views(
    fleet: Fleet,
    seen: Mapping[str, Mapping[int, live.ResourceState]],
    booked: Mapping[str, tuple[DeliveryHour, ...]],
) -> list[Delivery]:
    """Return settled hours as settled, and others as the controller last saw them, or as not known."""
    made = []
    for resource in fleet.resources:
        hours = {
            to_ms(start_ns): DeliveryHour(
                start_ms=to_ms(start_ns),
                award_mwh=state.award_wh / _WH_PER_MWH,
                delivered_mwh=state.delivered_wh / _WH_PER_MWH,
            )
            for start_ns, state in seen.get(resource.resource_id, {}).items()
        }
        for hour in booked.get(resource.resource_id, ()):
            if hour.delivered_mwh is not None or hour.start_ms not in hours:
                hours[hour.start_ms] = hour
        rows = [hours[start_ms] for start_ms in sorted(hours)]
        if rows:
            made.append(
                Delivery(
                    resource_id=resource.resource_id,
                    start_ms=[row.start_ms for row in rows],
                    award_mwh=[row.award_mwh for row in rows],
                    delivered_mwh=[row.delivered_mwh for row in rows],
                )
            )
    return made


def alarm_view(alarm: alarms.Alarm) -> Alarm:
    """Return an alarm as the page shows it."""
    facts = msgspec.structs.asdict(alarm)
    for name in ("raised", "updated", "acknowledged", "returned", "cleared"):
        t_ns = facts.pop(f"{name}_ns")
        facts[f"{name}_ms"] = None if t_ns is None else to_ms(t_ns)
    return Alarm(**{**facts, "kind": alarm.kind.value, "severity": alarm.severity.value})


def alarms_view(held: alarms.LiveAlarms | None) -> Alarms:
    """Return the alarms that stand; none before the first word of them."""
    if held is None:
        return Alarms(active_count=0, active=[])
    return Alarms(active_count=held.active_count, active=[alarm_view(alarm) for alarm in held.active])


def quarantine_view(held: live.QuarantineState) -> Quarantine:
    """Return what was set aside, the newest example first."""
    recent = [
        Quarantined(
            arrival_ms=to_ms(one.arrival_ns),
            site_id=one.site_id,
            reason=one.reason,
            detail=one.detail,
            size_bytes=one.size_bytes,
        )
        for one in sorted(held.recent, key=lambda one: -one.arrival_ns)
    ]
    return Quarantine(total=held.total, by_reason=dict(held.by_reason), recent=recent)


def run_view(run: live.WorkflowRun) -> WorkflowRun:
    """Return a workflow run in the page's words."""
    return WorkflowRun(
        workflow_id=run.workflow_id,
        kind=run.kind,
        resource_id=run.resource_id,
        delivery_date=run.delivery_date,
        gate_ms=to_ms(run.gate_ns),
        started_ms=to_ms(run.started_ns),
        finished_ms=None if run.finished_ns is None else to_ms(run.finished_ns),
        status=run.status,
        rung=run.rung,
        rung_reason=run.rung_reason,
        steps=[WorkflowStep(name=s.name, took_s=s.took_s, outcome=s.outcome) for s in run.steps],
    )
