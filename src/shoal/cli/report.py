"""The report of a run: what each part counted, held against what the others counted.

Nothing here is taken from the part that it judges: what was sent is counted at the homes, what arrived is counted in the
history, gates and duplicates are counted by the market, delivered energy comes from the homes' own meters.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from shoal.cli.history_store import open_history
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.market.registry import market
from shoal.market.types import Award
from shoal.optimise.storage import Storage, plan_storage
from shoal.runtime.settings import Settings
from shoal.settle.statement import AMOUNT_PER_CURRENCY, price_cents_per_mwh, settle_interval
from shoal.simulate.prices import prices_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run was."""

    fleet: Fleet
    span: Interval
    settings: Settings
    wall_s: float
    peak_rss_bytes: int
    restarts: dict[str, int]
    stage_wall_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivery:
    award_wh: int
    delivered_wh: int
    moved_wh: int
    met_wh: int
    amount: int


def make_report(run: Run, accounts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report from the accounts of ``homes``, ``market``, ``telemetry`` and ``bidding``."""
    homes, exchange, telemetry, bidding = (accounts[n] for n in ("homes", "market", "telemetry", "bidding"))
    with closing(open_history(run.settings)) as history:
        rows, distinct = history.count_distinct()
    awards = [msgspec.convert(award, Award) for award in exchange["awards"]]
    own = {
        (a.resource_id, a.delivery_date): _from_meters(run, a, homes["meters"][a.resource_id]) for a in awards
    }
    inside = {key: value for key, value in own.items() if value is not None}
    statements = {
        (s["resource_id"], s["delivery_date"]): s
        for s in bidding["statements"]
        if (s["resource_id"], s["delivery_date"]) in inside
    }
    award_wh = sum(abs(d.award_wh) for d in inside.values())
    met_wh = sum(d.met_wh for d in inside.values())
    money_error = bidding["split_error"] + sum(
        _money_error(run, d, statements.get(key), key[0]) for key, d in inside.items()
    )
    meter_gap_wh = sum(
        abs(d.delivered_wh - (statements[key]["delivered_wh"] if key in statements else 0))
        for key, d in inside.items()
    )
    balance_kwh = (homes["residual_wh"] + meter_gap_wh) / 1e3 + homes["stored_balance_error_kwh"]
    foresight = {
        r.resource_id: _perfect_foresight(run, r, homes["meters"][r.resource_id]) for r in run.fleet.resources
    }
    revenue = {
        r.resource_id: sum(s["net_amount"] for key, s in statements.items() if key[0] == r.resource_id)
        / AMOUNT_PER_CURRENCY
        for r in run.fleet.resources
    }
    return {
        "sites": len(run.fleet.site_ids),
        "sim_hours": run.span.duration_h,
        "wall_s": round(run.wall_s, 3),
        "samples_sent": homes["created"],
        "samples_applied": distinct,
        "samples_lost": homes["created"] - distinct,
        "samples_twice_in_history": rows - distinct,
        "duplicates_dropped": telemetry["duplicates"],
        "quarantined": telemetry["quarantined"],
        "coverage_mean": round(telemetry["coverage_mean"], 6),
        "bids_submitted": exchange["bids_received"],
        "bids_accepted": exchange["bids_accepted"],
        "bids_duplicate": exchange["bids_duplicate"],
        "gates_total": exchange["gates_passed"],
        "gates_missed": exchange["gates_missed"],
        "rungs": bidding["rungs"],
        "award_mwh": award_wh / 1e6,
        "delivered_mwh": sum(d.moved_wh for d in inside.values()) / 1e6,
        "delivered_share": met_wh / award_wh if award_wh else None,
        "delivered_share_by_resource": _share_by_resource(inside),
        "energy_moved_kwh": homes["moved_wh"] / 1e3,
        "energy_balance_error_kwh": balance_kwh,
        "revenue": round(sum(revenue.values()), 2),
        "revenue_by_resource": {k: round(v, 2) for k, v in revenue.items()},
        "revenue_perfect_foresight": round(sum(foresight.values()), 2),
        "revenue_perfect_foresight_by_resource": {k: round(v, 2) for k, v in foresight.items()},
        "currency": market("ercot-da").currency,
        "money_balance_error": money_error / AMOUNT_PER_CURRENCY,
        "lease_violations": homes["lease_violations"],
        "reserve_violations": homes["reserve_violations"],
        "limit_violations": homes["limit_violations"],
        "violation_examples": homes["examples"][:5],
        "peak_rss_mb": round(run.peak_rss_bytes / 1e6, 1),
        "restarts": run.restarts,
        "stage_wall_s": {k: round(v, 2) for k, v in run.stage_wall_s.items()},
        "homes": homes["statistics"],
        "telemetry": dict(telemetry),
        "bidding": bidding["statistics"],
    }


def _money_error(run: Run, delivery: _Delivery, statement: Mapping[str, Any] | None, resource_id: str) -> int:
    """Return by how much a statement and its shares differ from what the homes' own meters make of the award."""
    if statement is None:
        return abs(delivery.amount)
    resource = next(r for r in run.fleet.resources if r.resource_id == resource_id)
    owners = abs(delivery.amount) * round(resource.owner_share_frac * 1_000) // 1_000
    owners = -owners if delivery.amount < 0 else owners
    return abs(delivery.amount - int(statement["net_amount"])) + abs(owners - int(statement["shares_amount"]))


def _share_by_resource(inside: Mapping[tuple[str, str], _Delivery]) -> dict[str, float | None]:
    shares: dict[str, float | None] = {}
    for resource in sorted({key[0] for key in inside}):
        mine = [d for key, d in inside.items() if key[0] == resource]
        total = sum(abs(d.award_wh) for d in mine)
        shares[resource] = sum(d.met_wh for d in mine) / total if total else None
    return shares


def _from_meters(run: Run, award: Award, meters: list[list[int]]) -> _Delivery | None:
    """Return what the homes' own meters say of an awarded day; None when it lies outside the run."""
    if award.intervals[0].start_ns < run.span.start_ns or award.intervals[-1].end_ns > run.span.end_ns:
        return None
    reading = {t_ns: net_wh for t_ns, net_wh, _ in meters}
    charge_permille = market(award.market_id).deviation_charge_permille
    delivered = moved = met = amount = awarded = 0
    for interval in award.intervals:
        wh = reading[interval.end_ns] - reading[interval.start_ns]
        same_way = wh * interval.energy_wh > 0
        met += min(abs(wh), abs(interval.energy_wh)) if same_way else 0
        delivered += wh
        moved += abs(wh)
        awarded += abs(interval.energy_wh)
        amount += settle_interval(
            start_ns=interval.start_ns,
            end_ns=interval.end_ns,
            award_wh=interval.energy_wh,
            delivered_wh=wh,
            price_cents_per_mwh=price_cents_per_mwh(interval.price_per_mwh),
            deviation_charge_permille=charge_permille,
        ).net_amount
    return _Delivery(award_wh=awarded, delivered_wh=delivered, moved_wh=moved, met_wh=met, amount=amount)


def _perfect_foresight(run: Run, resource: Resource, meters: list[list[int]]) -> float:
    """Return what the resource could have earned at most, had every price of the run been known at its start."""
    rows = run.fleet.rows_in(resource.group_id)
    plate = run.fleet.nameplate[rows]
    usable = (plate["energy_capacity_kwh"] * (1.0 - plate["reserve_frac"])).sum()
    stored = next(stored_wh for t_ns, _, stored_wh in meters if t_ns >= run.span.start_ns) / 1e3
    _, cents = prices_over(resource.settlement_point, run.span)
    storage = Storage(
        charge_limit_kw=float(plate["charge_limit_kw"].sum()),
        discharge_limit_kw=float(plate["discharge_limit_kw"].sum()),
        charge_efficiency_frac=float(plate["charge_efficiency_frac"].max()),
        discharge_efficiency_frac=float(plate["discharge_efficiency_frac"].max()),
        energy_capacity_kwh=float(usable),
        initial_energy_kwh=min(float(stored), float(usable)),
    )
    hours = run.span.duration_s * 1e9 / NS_PER_HOUR
    prices = cents.astype(np.float64)[: int(hours)] / 100.0
    if not len(prices):
        return 0.0  # a run of less than an hour has nothing to sell
    return float(plan_storage(storage, prices, 1.0).value)
