"""What a resource delivered, from the registers in the history: by settlement interval, and what each home moved that day.

A site counts from the instant at which it joins the resource's group until it leaves. Samples under suspicion do not count.
Registers telescope, so the intervals of a site add up to its meter, gaps or not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np

from shoal.bidding.group_meters import meter_group
from shoal.bidding.settling_ports import MeteredDay
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import Delivered
from shoal.market.contract import Market
from shoal.market.settlement import settlement_intervals
from shoal.store.group_energy import Memberships
from shoal.store.history import History

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
        metered = meter_group(
            fleet, group_id, bounds_ns=bounds_ns, history=self._history, memberships=self._memberships
        )
        return MeteredDay(
            delivered=tuple(
                Delivered(start_ns=at.start_ns, end_ns=at.end_ns, delivered_wh=wh, estimated=guessed)
                for at, wh, guessed in zip(
                    intervals, metered.delivered_wh.tolist(), metered.estimated.tolist(), strict=True
                )
            ),
            site_ids=tuple(fleet.site_ids[row] for row in metered.rows.tolist()),
            weight_wh=metered.throughput_wh,
        )
