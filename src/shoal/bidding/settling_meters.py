"""What a resource delivered, from the registers in the history: by settlement interval, and what each home moved that day.

A site counts from the instant at which it joins the resource's group until it leaves. Samples under suspicion do not count.
Registers telescope, so the intervals of a site add up to its meter, gaps or not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.settling_ports import MeteredDay
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import Delivered
from shoal.market.contract import Market
from shoal.market.settlement import settlement_intervals
from shoal.settle.energy import boundary_registers, interval_energy
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.twin.membership import NO_GROUP, Spans, groups_below

MARGIN_NS = 6 * NS_PER_HOUR
"""Samples this far outside the day are read too, to interpolate across gaps at its ends."""


class HistoryMeters:
    """The meters of resources that are groups of sites.

    Args:
        fleet: Returns the fleet as it is registered now.
        history: The telemetry.
        memberships: Who was in a group when; those who are in it now were all day when None.
    """

    def __init__(
        self, *, fleet: Callable[[], Fleet], history: History, memberships: Memberships | None = None
    ) -> None:
        self._fleet = fleet
        self._history = history
        self._memberships = memberships

    def __call__(self, resource_id: str, market: Market, day: date, /) -> MeteredDay | None:
        """Return what was measured of a day, None for a resource that is not known.

        Raises:
            UnavailableError: when history or the memberships cannot be read.
        """
        fleet = self._fleet()
        group_id = next((one.group_id for one in fleet.resources if one.resource_id == resource_id), None)
        if group_id is None:
            return None
        intervals = settlement_intervals(market.rules, day)
        bounds_ns = np.array([*(one.start_ns for one in intervals), intervals[-1].end_ns], dtype=np.int64)
        spans = self._spans(fleet, group_id, int(bounds_ns[0]), int(bounds_ns[-1]))
        rows, line_row = np.unique(spans.site_row, return_inverse=True)
        samples = self._history.registers(
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
        there = np.diff(line_ns, axis=1) > 0
        delivered_wh: NDArray[np.int64] = energy.delivered_wh.sum(axis=0)
        estimated: NDArray[np.bool_] = np.any(energy.estimated & there, axis=0)
        weight_wh = np.zeros(len(rows), dtype=np.int64)
        np.add.at(weight_wh, line_row, energy.throughput_wh.sum(axis=1))
        return MeteredDay(
            delivered=tuple(
                Delivered(start_ns=at.start_ns, end_ns=at.end_ns, delivered_wh=wh, estimated=guessed)
                for at, wh, guessed in zip(intervals, delivered_wh.tolist(), estimated.tolist(), strict=True)
            ),
            site_ids=tuple(fleet.site_ids[row] for row in rows.tolist()),
            weight_wh=weight_wh,
        )

    def _spans(self, fleet: Fleet, group_id: GroupId, start_ns: int, end_ns: int) -> Spans:
        """Return the spans of a day over which sites with a battery were at or below a group."""
        number = fleet.group_number[group_id]
        if self._memberships is None:
            rows = fleet.battery_rows_in(group_id)
            return Spans(
                site_row=rows,
                group=np.full(len(rows), number, dtype=np.int32),
                start_ns=np.full(len(rows), start_ns),
                end_ns=np.full(len(rows), end_ns),
            )
        spans = self._memberships(fleet.groups[number].hierarchy_id, start_ns, end_ns)
        known = np.flatnonzero(
            (spans.site_row < len(fleet.site_ids))
            & (spans.group < len(fleet.groups))
            & (spans.group != NO_GROUP)
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
