"""The energy of a group's sites between instants, from their registers in the history: what every settlement begins with.

A site counts from the instant at which it joins the group until it leaves. Samples under suspicion do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR
from shoal.settle.energy import boundary_registers, interval_energy
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.twin.membership import NO_GROUP, Spans, groups_below

MARGIN_NS = 6 * NS_PER_HOUR
"""Samples this far outside the day are read too, to interpolate across gaps at its ends."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeteredGroup:
    """What a group's meters say of B intervals.

    Attributes:
        rows: Fleet rows of the N sites with a battery that were in the group for some of the time, ascending.
        delivered_wh: B energies of all of them, charging positive.
        estimated: B, whether some reading was estimated.
        throughput_wh: N energies that each site moved while it was in the group.
    """

    rows: NDArray[np.int64]
    delivered_wh: NDArray[np.int64]
    estimated: NDArray[np.bool_]
    throughput_wh: NDArray[np.int64]


def meter_group(
    fleet: Fleet,
    group_id: GroupId,
    *,
    bounds_ns: NDArray[np.int64],
    history: History,
    memberships: Memberships | None = None,
) -> MeteredGroup:
    """Return what a group's meters say.

    Args:
        fleet: The fleet as registered.
        group_id: The group.
        bounds_ns: The intervals' boundaries: B + 1 instants.
        history: The telemetry.
        memberships: Who was in the group when; those who are in it now were all the time when None.

    Raises:
        UnavailableError: when history or the memberships cannot be read.
    """
    spans = _spans_in(fleet, group_id, bounds_ns, memberships)
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
    delivered_wh: NDArray[np.int64] = energy.delivered_wh.sum(axis=0)
    estimated: NDArray[np.bool_] = np.any(energy.estimated & (np.diff(line_ns, axis=1) > 0), axis=0)
    throughput_wh = np.zeros(len(rows), dtype=np.int64)
    np.add.at(throughput_wh, line_row, energy.throughput_wh.sum(axis=1))
    return MeteredGroup(
        rows=rows, delivered_wh=delivered_wh, estimated=estimated, throughput_wh=throughput_wh
    )


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
