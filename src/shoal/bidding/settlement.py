"""The settlement of a delivered day: meters against award at the real price, down to each home's share.

Everything is a whole number: watt-hours from registers, cents per MWh, amounts in 1e-8 currency units; so statements, shares and
the operator's part add up to the last unit. A site counts from the instant at which it joins the resource's group until it
leaves. Samples under suspicion do not count. A day may be settled again when late readings have come; the newest version counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet, Resource
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market
from shoal.market.types import Award
from shoal.settle.energy import boundary_registers, interval_energy
from shoal.settle.statement import (
    Statement,
    day_statement,
    price_cents_per_mwh,
    settle_interval,
    split_revenue,
)
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.twin.membership import NO_GROUP, Spans, groups_below

MARGIN_NS = 6 * NS_PER_HOUR
"""Samples this far outside the day are read too, to interpolate across gaps at its ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledDay:
    """A statement with its shares.

    Attributes:
        statement: The resource's statement.
        rows: Fleet rows of the N sites with a battery that were in its group for some of the day, ascending.
        owner_amount: What each of their owners receives, 1e-8 currency units.
        operator_amount: What the operator keeps.
        estimated_intervals: Intervals in which some meter reading was estimated.
    """

    statement: Statement
    rows: NDArray[np.int64]
    owner_amount: NDArray[np.int64]
    operator_amount: int
    estimated_intervals: int


def settle_day(
    *,
    fleet: Fleet,
    resource: Resource,
    award: Award,
    history: History,
    bounds_ns: NDArray[np.int64],
    memberships: Memberships | None = None,
) -> SettledDay:
    """Return the settlement of the award from the meters in the history.

    Args:
        fleet: The fleet as registered.
        resource: Whose day it is.
        award: What was awarded, every interval of the day listed.
        history: The telemetry.
        bounds_ns: The intervals' boundaries: B + 1 instants.
        memberships: Who was in the group when; those who are in it now were all day when None.

    Raises:
        UnavailableError: when history or the memberships cannot be read.
    """
    rules = market(resource.market_id)
    spans = _spans_in(fleet, resource.group_id, bounds_ns, memberships)
    rows, line_row = np.unique(spans.site_row, return_inverse=True)
    samples = history.registers(
        rows, from_ns=int(bounds_ns[0]) - MARGIN_NS, to_ns=int(bounds_ns[-1]) + MARGIN_NS
    )
    # A line is a site while it was in the group: where it was not, its boundaries coincide, and it has no energy.
    line_ns = np.clip(bounds_ns, spans.start_ns[:, None], spans.end_ns[:, None])
    energy = interval_energy(
        boundary_registers(
            site_row=np.searchsorted(rows, samples["site_no"]).astype(np.int64),
            ts_ns=samples["ts_ns"],
            charge_wh=samples["charge_wh"],
            discharge_wh=samples["discharge_wh"],
            boundary_ns=line_ns,
            line_row=line_row.astype(np.int64),
            site_count=len(rows),
        )
    )
    delivered_wh = energy.delivered_wh.sum(axis=0)
    estimated: NDArray[np.bool_] = np.any(energy.estimated & (np.diff(line_ns, axis=1) > 0), axis=0)
    throughput_wh = np.zeros(len(rows), dtype=np.int64)
    np.add.at(throughput_wh, line_row, energy.throughput_wh.sum(axis=1))
    intervals = [
        settle_interval(
            start_ns=awarded.start_ns,
            end_ns=awarded.end_ns,
            award_wh=awarded.energy_wh,
            delivered_wh=int(delivered_wh[index]),
            price_cents_per_mwh=price_cents_per_mwh(awarded.price_per_mwh),
            deviation_charge_permille=rules.deviation_charge_permille,
            estimated=bool(estimated[index]),
        )
        for index, awarded in enumerate(award.intervals)
    ]
    statement = day_statement(
        resource_id=resource.resource_id,
        delivery_date=award.delivery_date,
        currency=rules.currency,
        intervals=intervals,
    )
    owner_amount, operator_amount = np.zeros(0, dtype=np.int64), statement.net_amount
    if len(rows):
        owner_amount, operator_amount = split_revenue(
            statement.net_amount,
            owner_share_permille=round(resource.owner_share_frac * 1_000),
            weight_wh=throughput_wh,
        )
    return SettledDay(
        statement=statement,
        rows=rows,
        owner_amount=owner_amount,
        operator_amount=operator_amount,
        estimated_intervals=int(estimated.sum()),
    )


def bounds_of(market_id: str, delivery_date: str) -> NDArray[np.int64]:
    """Return the boundaries of a day's intervals."""
    intervals = market(market_id).delivery_intervals(date.fromisoformat(delivery_date))
    return np.array([*(i.start_ns for i in intervals), intervals[-1].end_ns], dtype=np.int64)


def _spans_in(
    fleet: Fleet, group_id: GroupId, bounds_ns: NDArray[np.int64], memberships: Memberships | None
) -> Spans:
    """Return the spans of the day over which sites with a battery were at or below a group."""
    start_ns, end_ns = int(bounds_ns[0]), int(bounds_ns[-1])
    number = fleet.group_number[group_id]
    if memberships is None:
        rows = fleet.battery_rows_in(group_id)
        return Spans(
            site_row=rows,
            group=np.full(len(rows), number, dtype=np.int32),
            start_ns=np.full(len(rows), start_ns),
            end_ns=np.full(len(rows), end_ns),
        )
    spans = memberships(fleet.groups[number].hierarchy_id, start_ns, end_ns)
    # What was registered since the fleet was published counts when the day is settled again with the new one.
    known = np.flatnonzero(
        (spans.site_row < len(fleet.site_ids)) & (spans.group < len(fleet.groups)) & (spans.group != NO_GROUP)
    )
    inside = groups_below(fleet.parent_number, number)
    has_battery = fleet.nameplate["energy_capacity_kwh"] > 0
    chosen = known[inside[spans.group[known]] & has_battery[spans.site_row[known]]]
    return Spans(
        site_row=spans.site_row[chosen],
        group=spans.group[chosen],
        start_ns=spans.start_ns[chosen],
        end_ns=spans.end_ns[chosen],
    )
