"""A small plant for the tests of the doors: two homes and a big battery, with the news that it would send."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from shoal.domain.fleet import NAMEPLATE, Fleet, Group, Resource
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.live import (
    Aggregates,
    Quarantined,
    QuarantineState,
    ResourceState,
    WorkflowRun,
    WorkflowStep,
)

T0_NS: Final = 1_612_972_800_000_000_000
"""2021-02-10T16:00Z, ten in the morning in Texas: the gate of the eleventh."""
GRID: Final = HierarchyId("grid")
WEATHER: Final = HierarchyId("weather")
HOMES: Final = ResourceId("homes")
BESS: Final = ResourceId("bess")


def _group(name: str, hierarchy: HierarchyId, parent: str | None, level: int) -> Group:
    parent_id = None if parent is None else GroupId(parent)
    return Group(
        group_id=GroupId(name), hierarchy_id=hierarchy, parent_id=parent_id, name=name.title(), level=level
    )


def _resource(name: ResourceId, point: str) -> Resource:
    return Resource(
        resource_id=name,
        market_id="ercot-da",
        settlement_point=point,
        group_id=GroupId(name),
        throughput_cost_per_mwh=10.0,
        owner_share_frac=0.8,
    )


def make_fleet() -> Fleet:
    """Two roots in the grid, `homes` and `storage`; one in the weather zones, which must not count twice."""
    nameplate = NAMEPLATE.empty(3)
    nameplate["charge_limit_kw"] = nameplate["discharge_limit_kw"] = [5.0, 7.0, 10_000.0]
    nameplate["energy_capacity_kwh"] = [10.0, 14.0, 20_000.0]
    groups = (
        _group("homes", GRID, None, 0),
        _group("feeder-1", GRID, "homes", 1),
        _group("storage", GRID, None, 0),
        _group("bess", GRID, "storage", 1),
        _group("texas", WEATHER, None, 0),
    )
    return Fleet(
        site_ids=(SiteId("home-0"), SiteId("home-1"), SiteId("bess-0")),
        nameplate=nameplate,
        latitude_deg=np.array([31.0, 32.0, 33.0]),
        longitude_deg=np.array([-97.0, -98.0, -99.0]),
        groups=groups,
        leaf_group={
            GRID: np.array([1, 1, 3], dtype=np.int32),
            WEATHER: np.array([4, 4, -1], dtype=np.int32),
        },
        resources=(_resource(HOMES, "LZ_NORTH"), _resource(BESS, "HB_NORTH")),
    )


def aggregates(t_ns: int = T0_NS, *, bess_kw: float = 50.0, **changes: Any) -> Aggregates:
    """One home of two is fresh; the columns go: homes, feeder-1, storage, bess, texas."""
    columns: dict[str, Any] = {
        "sites": [2, 2, 1, 1, 2],
        "fresh": [1, 1, 1, 1, 1],
        "stale": [1, 1, 0, 0, 1],
        "unknown": [0, 0, 0, 0, 0],
        "capacity_kw": [12.0, 12.0, 10_000.0, 10_000.0, 12.0],
        "fresh_kw": [5.0, 5.0, 10_000.0, 10_000.0, 5.0],
        "battery_kw": [-2.0, -2.0, bess_kw, bess_kw, -2.0],
        "solar_kw": [-3.0, -3.0, 0.0, 0.0, -3.0],
        "load_kw": [1.0, 1.0, 0.0, 0.0, 1.0],
        "ev_kw": [0.5, 0.5, 0.0, 0.0, 0.5],
        "grid_kw": [-3.5, -3.5, bess_kw, bess_kw, -3.5],
        "energy_kwh": [4.0, 4.0, 10_001.0, 10_001.0, 4.0],
        "fresh_capacity_kwh": [10.0, 10.0, 20_000.0, 20_000.0, 10.0],
        "charge_headroom_kw": [7.0, 7.0, 9_950.0, 9_950.0, 7.0],
        "discharge_headroom_kw": [3.0, 3.0, 10_050.0, 10_050.0, 3.0],
        "oldest_age_s": [120.0, 120.0, 2.0, 2.0, 120.0],
        "suspect": [0, 0, 0, 0, 0],
        "expected_kw": [-3.0, -3.0, bess_kw, bess_kw, -3.0],
        "low_kw": [-9.0, -9.0, bess_kw, bess_kw, -9.0],
        "high_kw": [5.0, 5.0, bess_kw, bess_kw, 5.0],
        "grid_expected_kw": [-4.5, -4.5, bess_kw, bess_kw, -4.5],
        "grid_low_kw": [-12.0, -12.0, bess_kw, bess_kw, -12.0],
        "grid_high_kw": [4.0, 4.0, bess_kw, bess_kw, 4.0],
        "firm_charge_kw": [1.0, 1.0, 9_950.0, 9_950.0, 1.0],
        "firm_discharge_kw": [0.0, 0.0, 10_050.0, 10_050.0, 0.0],
    }
    return Aggregates(t_ns=t_ns, **{**columns, **changes})


def resource_state(t_ns: int = T0_NS, resource_id: str = BESS, **changes: Any) -> ResourceState:
    hour_ns = t_ns // NS_PER_HOUR * NS_PER_HOUR
    values: dict[str, Any] = {
        "t_ns": t_ns,
        "resource_id": resource_id,
        "start_ns": hour_ns,
        "end_ns": hour_ns + NS_PER_HOUR,
        "award_wh": -5_000_000,
        "delivered_wh": -1_000_000,
        "target_kw": -5_000.0,
        "measured_kw": -4_900.0,
        "shortfall_kw": -100.0,
        "sites": 1,
        "fresh_sites": 1,
        "commanded": 1,
        "energy_kwh": 15_000.0,
        "energy_capacity_kwh": 20_000.0,
        "coverage_kw_frac": 1.0,
    }
    return ResourceState(**{**values, **changes})


def run_record(
    workflow_id: str = "bid-bess-2021-02-11", *, finished: bool = True, **changes: Any
) -> WorkflowRun:
    values: dict[str, Any] = {
        "workflow_id": workflow_id,
        "kind": "bid",
        "resource_id": BESS,
        "delivery_date": "2021-02-11",
        "gate_ns": T0_NS,
        "started_ns": T0_NS - NS_PER_HOUR,
        "finished_ns": T0_NS - 59 * NS_PER_MINUTE if finished else None,
        "status": "accepted" if finished else "made",
        "rung": "fresh",
        "rung_reason": "",
        "steps": [WorkflowStep(name="fresh", took_s=0.5, outcome="ok")] * (2 if finished else 1),
    }
    return WorkflowRun(**{**values, **changes})


def quarantine(total: int = 2) -> QuarantineState:
    return QuarantineState(
        t_ns=T0_NS,
        total=total,
        by_reason={"magic": total},
        recent=[
            Quarantined(
                arrival_ns=T0_NS + number * NS_PER_MINUTE,
                site_id="home-0",
                reason="magic",
                detail="begins with b'xx'",
                size_bytes=12,
            )
            for number in range(2)
        ],
    )
